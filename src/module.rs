//! Which function serves which hook of httpd, and why there.

use crate::httpd::{Request, Server, Status};
use crate::{access, account, check, decision_log, lifecycle, refresher};

/// The hooks, in the order in which httpd runs them.
pub(crate) struct Hooks {
    /// After the configuration was read: finds every mistake that can be found, also under `httpd -t`,
    /// which ends after this hook.
    pub(crate) check_config: fn(Server<'_>) -> Result<(), ()>,
    /// In the parent, before children are started: reads files, opens shared memory, builds what requests
    /// use.
    pub(crate) post_config: fn(Server<'_>) -> Result<(), ()>,
    /// First in each new child process, before it accepts a connection: what was announced since the parent
    /// built the runtime counts from the first request on.
    pub(crate) child_init: fn(Server<'_>),
    /// Last in post_read_request, behind mod_headers' `early` and mod_remoteip: takes identity headers away
    /// from every request, before anything could believe them.
    pub(crate) read_request: fn(Request<'_>) -> Status,
    /// First in access_checker: the decision. Registered with AP_AUTH_INTERNAL_PER_CONF, so that httpd may
    /// skip it for sub-requests of the same configuration; they find the verdict of their main request.
    pub(crate) access: fn(Request<'_>) -> Status,
    /// First in access_checker_ex: a document about a protected resource is for everybody, whatever `Require` asks of
    /// others.
    pub(crate) authorize: fn(Request<'_>) -> Status,
    /// First in check_authn, which httpd asks when a `Require` line needs to know who calls: we know it already, or
    /// ask for a token, unless another module's AuthType is there for it.
    pub(crate) authenticate: fn(Request<'_>) -> Status,
    /// Really first in fixups: httpd's authorization has let the request in, and no module has had a say since. The
    /// page for a refusal is still the one that was named.
    pub(crate) authorized: fn(Request<'_>) -> Status,
    /// Really last in fixups: enforces the verdict once more (`Satisfy Any` can override the first time)
    /// and sets identity headers behind everything mod_headers and mod_rewrite do.
    pub(crate) fixups: fn(Request<'_>) -> Status,
    /// Really first among handlers, before mod_cache's: nothing is forwarded from a gated place without a verdict.
    /// Answers for the documents about protected resources, which ProxyPass may have claimed.
    pub(crate) handler: fn(Request<'_>) -> Status,
    /// When httpd is about to write its own page for an error.
    pub(crate) error: fn(Request<'_>),
    /// When a client request is over and its answer sent, whatever became of it: what it is counted and logged as.
    pub(crate) log: fn(Request<'_>),
    /// Ten times a second in each child, in a thread of its own (mod_watchdog): keys and files.
    pub(crate) background: fn(Server<'_>),
    /// When a child ends: nothing is begun in the background any more.
    pub(crate) stop_background: fn(Server<'_>),
    /// When a child ends, with the pool of its process: what only it would have told.
    pub(crate) child_exit: fn(Server<'_>),
}

/// The hooks of this module.
pub(crate) const HOOKS: Hooks = Hooks {
    check_config: check::check_config,
    post_config: lifecycle::post_config,
    child_init: refresher::on_child_init,
    read_request: access::on_read_request,
    access: access::on_access,
    authorize: access::on_authorize,
    authenticate: access::on_authenticate,
    authorized: access::on_authorized,
    fixups: access::on_fixups,
    handler: access::on_handler,
    error: access::on_error,
    log: account::on_log,
    background: refresher::on_background,
    stop_background: refresher::on_stop,
    child_exit: decision_log::on_child_exit,
};
