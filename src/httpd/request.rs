//! A request, as modules see it.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::raw::c_int;
use std::ptr::NonNull;
use std::time::Duration;

use jwt_gate_core::config::section::Section;
use jwt_gate_core::facts::Found;
use jwt_gate_core::time::UnixMicros;

use super::config::{self, DirConfig, RequestState};
use super::filter::Filter;
use super::pool::Pool;
use super::server::Server;
use super::table::Table;
use super::{ffi, text};

/// A request, borrowed for `'r`: one callback.
#[derive(Clone, Copy)]
pub(crate) struct Request<'r> {
    raw: NonNull<ffi::request_rec>,
    life: PhantomData<&'r ffi::request_rec>,
}

impl<'r> Request<'r> {
    /// # Safety
    /// `raw` is a live request, used by this thread alone during `'r`.
    pub(super) unsafe fn from_raw(raw: *mut ffi::request_rec) -> Self {
        Self { raw: NonNull::new(raw).expect("httpd hands out requests, never null"), life: PhantomData }
    }

    pub(super) fn raw(self) -> *mut ffi::request_rec {
        self.raw.as_ptr()
    }

    /// A member of the record, by value. No reference to the record is kept, since httpd changes it in
    /// calls that we make.
    fn get<T: Copy>(self, member: impl FnOnce(&ffi::request_rec) -> T) -> T {
        // SAFETY: live by the promise of `from_raw`; the reference ends with this call.
        member(unsafe { self.raw.as_ref() })
    }

    pub(super) fn pool(self) -> Pool<'r> {
        // SAFETY: a request's pool outlives every callback for it.
        unsafe { Pool::from_raw(self.get(|r| r.pool)) }
    }

    /// The server that answers it.
    pub(crate) fn server(self) -> Server<'r> {
        // SAFETY: a request belongs to a server of the running configuration.
        unsafe { Server::from_raw(self.get(|r| r.server)) }
    }

    /// The sections that apply to it, outermost first.
    pub(crate) fn sections(self) -> &'r [&'r Section] {
        // SAFETY: made by `create_dir` or `merge_dir`, on a pool that outlives the request's callbacks.
        unsafe { (*(*config::entry(self.get(|r| r.per_dir_config))).cast::<DirConfig>()).sections() }
    }

    /// What httpd has merged for it, as a number: while it is the same, so are the sections.
    pub(crate) fn configuration(self) -> usize {
        self.get(|r| r.per_dir_config).addr()
    }

    /// The request of which this is a sub-request.
    pub(crate) fn main(self) -> Option<Self> {
        NonNull::new(self.get(|r| r.main)).map(|raw| Self { raw, life: PhantomData })
    }

    /// The request that was redirected internally to this one.
    pub(crate) fn previous(self) -> Option<Self> {
        NonNull::new(self.get(|r| r.prev)).map(|raw| Self { raw, life: PhantomData })
    }

    /// The request to which this one was redirected internally.
    pub(crate) fn next(self) -> Option<Self> {
        NonNull::new(self.get(|r| r.next)).map(|raw| Self { raw, life: PhantomData })
    }

    /// What this module keeps with the request.
    pub(crate) fn state(self) -> Option<&'r RequestState> {
        // SAFETY: the entry is null or was set by `set_state`.
        unsafe { (*config::entry(self.get(|r| r.request_config))).cast::<RequestState>().as_ref() }
    }

    /// Keeps `state` with the request; it is dropped with the request's pool. An earlier one stays on the
    /// pool, so that references to it stay good.
    pub(crate) fn set_state(self, state: RequestState) {
        let state = self.pool().place(state);
        // SAFETY: the entry is ours; `state` lives as long as the request.
        unsafe { *config::entry(self.get(|r| r.request_config)) = state.as_ptr().cast::<c_void>() };
    }

    /// The headers that the client sent, and that mod_proxy will send.
    pub(crate) fn headers_in(self) -> Table<'r> {
        // SAFETY: a table of this request.
        unsafe { Table::from_raw(self.get(|r| r.headers_in), self.pool()) }
    }

    /// Headers of the answer that survive errors, internal redirects and mod_proxy.
    pub(crate) fn answer_headers(self) -> Table<'r> {
        // SAFETY: a table of this request.
        unsafe { Table::from_raw(self.get(|r| r.err_headers_out), self.pool()) }
    }

    /// Headers of the answer that the handler made.
    pub(crate) fn handler_headers(self) -> Table<'r> {
        // SAFETY: a table of this request.
        unsafe { Table::from_raw(self.get(|r| r.headers_out), self.pool()) }
    }

    /// The environment: for logs, expressions and CGI.
    pub(crate) fn environment(self) -> Table<'r> {
        // SAFETY: a table of this request.
        unsafe { Table::from_raw(self.get(|r| r.subprocess_env), self.pool()) }
    }

    /// The method.
    pub(crate) fn method(self) -> &'r [u8] {
        // SAFETY: NUL-terminated, on the request's pool or for ever.
        unsafe { text::bytes(self.get(|r| r.method)) }.unwrap_or_default()
    }

    /// The target, as the client sent it: nobody decodes or rewrites this copy, but for [`Self::edit_query`].
    pub(crate) fn target(self) -> &'r [u8] {
        // SAFETY: NUL-terminated or null, on the request's pool.
        unsafe { text::bytes(self.get(|r| r.unparsed_uri)) }.unwrap_or_default()
    }

    /// The path, decoded.
    pub(crate) fn path(self) -> &'r [u8] {
        // SAFETY: NUL-terminated or null, on the request's pool.
        unsafe { text::bytes(self.get(|r| r.uri)) }.unwrap_or_default()
    }

    /// The path as sections are found by it, decoded; and the URL that the request is about to be forwarded to, if that
    /// is known yet, without the query string, which `nocanon` leaves in it.
    pub(crate) fn paths(self) -> [Option<&'r [u8]>; 2] {
        // SAFETY: NUL-terminated or null, on the request's pool.
        let url = unsafe { text::bytes(self.get(|r| r.filename)) }.and_then(|name| name.strip_prefix(b"proxy:"));
        [Some(self.path()), url.and_then(|url| url.split(|byte| *byte == b'?').next())]
    }

    /// The query string, without `?`.
    pub(crate) fn query(self) -> Option<&'r [u8]> {
        // SAFETY: NUL-terminated or null, on the request's pool.
        unsafe { text::bytes(self.get(|r| r.args)) }
    }

    /// Changes the query string wherever the application could see it: in the parsed URL, in what mod_proxy has
    /// made of it already, and in the request line, of which CGI and FastCGI make `REQUEST_URI`. `edit` gives
    /// `None` if nothing is left of it.
    pub(crate) fn edit_query(self, edit: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        let pool = self.pool();
        // `text` up to the query, and the query up to `end`.
        let edited = |text: *const c_char, end: &[u8]| {
            // SAFETY: NUL-terminated or null, on the request's pool.
            let text = unsafe { text::bytes(text) }?;
            let (path, query) = text.split_at(text.iter().position(|b| *b == b'?')?);
            let length = query.windows(end.len().max(1)).rposition(|w| w == end).unwrap_or(query.len());
            let (query, rest) = query[1..].split_at(length - 1);
            let query = edit(query).map(|query| [b"?", query.as_slice()].concat()).unwrap_or_default();
            Some(pool.c_string(&[path, &query, rest].concat()).cast_mut())
        };
        let args = self.query().map(|query| edit(query).map_or(std::ptr::null(), |query| pool.c_string(&query)));
        let filename = self.get(|r| r.filename);
        // SAFETY: NUL-terminated or null, on the request's pool.
        let is_url = unsafe { text::bytes(filename) }.is_some_and(|name| name.starts_with(b"proxy:"));
        let filename = if is_url { edited(filename, b"") } else { None };
        let unparsed = edited(self.get(|r| r.unparsed_uri), b"");
        let line = edited(self.get(|r| r.the_request), b" HTTP/");
        // SAFETY: live, used by this thread alone; the strings are on its pool. httpd's members are not
        // const only for history's sake.
        unsafe {
            let record = self.raw.as_ptr();
            if let Some(args) = args {
                (*record).args = args.cast_mut();
                (*record).parsed_uri.query = args.cast_mut();
            }
            (*record).filename = filename.unwrap_or((*record).filename);
            (*record).unparsed_uri = unparsed.unwrap_or((*record).unparsed_uri);
            (*record).the_request = line.unwrap_or((*record).the_request);
        }
    }

    /// The client's address as mod_remoteip found it, else the peer's.
    pub(crate) fn client_address(self) -> IpAddr {
        // SAFETY: null or live as long as the request.
        unsafe { address(self.get(|r| r.useragent_addr)) }
    }

    /// The address of the connection's peer.
    pub(crate) fn peer_address(self) -> IpAddr {
        // SAFETY: a request has a connection, which outlives it; the address is null or lives with it.
        unsafe { address((*self.get(|r| r.connection)).client_addr) }
    }

    /// `http` or `https`, as the connection is.
    pub(crate) fn scheme(self) -> &'r [u8] {
        // SAFETY: the request is live; the result is a constant of httpd or mod_ssl.
        unsafe { text::bytes(ffi::ap_run_http_scheme(self.raw())) }.unwrap_or(b"http")
    }

    /// Whether mod_proxy will handle it (as far as is known yet).
    pub(crate) fn is_proxied(self) -> bool {
        // SAFETY: NUL-terminated or null, on the request's pool or for ever.
        let (filename, handler) =
            unsafe { (text::bytes(self.get(|r| r.filename)), text::bytes(self.get(|r| r.handler))) };
        self.get(|r| r.proxyreq) != ffi::PROXYREQ_NONE.cast_signed()
            || filename.is_some_and(|name| name.starts_with(b"proxy:"))
            || handler.is_some_and(|name| name == b"proxy-server" || name.starts_with(b"proxy:"))
    }

    /// Whether `Satisfy Any` applies.
    pub(crate) fn satisfies_any(self) -> bool {
        // SAFETY: the request is live.
        unsafe { ffi::ap_satisfies(self.raw()) == ffi::SATISFY_ANY.cast_signed() }
    }

    /// The status as it stands.
    pub(crate) fn status(self) -> u16 {
        u16::try_from(self.get(|r| r.status)).unwrap_or(0)
    }

    /// Whether the end of an answer was sent for this part.
    pub(crate) fn has_answered(self) -> bool {
        self.get(|r| r.eos_sent) != 0
    }

    /// Sets the status of an answer that a handler writes itself.
    pub(crate) fn set_status(self, status: u16) {
        // SAFETY: live, used by this thread alone.
        unsafe { (*self.raw.as_ptr()).status = c_int::from(status) };
    }

    /// The administrator's `ErrorDocument` for a status: a text behind `"`, or a URL.
    pub(crate) fn error_document(self, status: u16) -> Option<&'r [u8]> {
        // SAFETY: the request is live; the index is httpd's own; the result is configuration.
        unsafe { text::bytes(ffi::ap_response_code_string(self.raw(), ffi::ap_index_of_response(c_int::from(status)))) }
    }

    /// How long ago it came, by the wall clock.
    pub(crate) fn age(self, now: UnixMicros) -> Duration {
        let came = u64::try_from(self.get(|r| r.request_time)).unwrap_or(0);
        now.since(UnixMicros(came))
    }

    /// The name by which httpd's logs know it: mod_unique_id's, else that of the error log, if it has given one.
    pub(crate) fn log_id(self) -> Option<&'r [u8]> {
        match self.environment().header("UNIQUE_ID") {
            Found::One(id) => Some(id),
            // SAFETY: NUL-terminated or null, on the request's pool.
            Found::None | Found::Many => unsafe { text::bytes(self.get(|r| r.log_id)) },
        }
    }

    /// Whether a body follows of which the client did not say how long it is.
    pub(crate) fn has_body_of_unknown_length(self) -> bool {
        // mod_http2 writes this header, too, for a stream with a body and without Content-Length.
        self.headers_in().has("Transfer-Encoding")
    }

    /// Ends the connection after the answer, so that httpd does not read what is left of the body.
    pub(crate) fn close_connection(self) {
        // SAFETY: a request has a connection, used by this thread alone.
        unsafe { (*self.get(|r| r.connection)).keepalive = ffi::AP_CONN_CLOSE };
    }

    /// Sets the user, for `%u` and `REMOTE_USER`.
    pub(crate) fn set_user(self, user: &[u8], auth_type: &'static CStr) {
        let user = self.pool().c_string(user).cast_mut();
        // SAFETY: live, used by this thread alone; both strings live long enough, and httpd does not write
        // into them.
        unsafe {
            (*self.raw.as_ptr()).user = user;
            (*self.raw.as_ptr()).ap_auth_type = auth_type.as_ptr().cast_mut();
        }
    }

    /// Takes the user away.
    pub(crate) fn forget_user(self) {
        // SAFETY: live, used by this thread alone.
        unsafe {
            (*self.raw.as_ptr()).user = std::ptr::null_mut();
            (*self.raw.as_ptr()).ap_auth_type = std::ptr::null_mut();
        }
    }

    /// Whether it has a user.
    pub(crate) fn has_user(self) -> bool {
        !self.get(|r| r.user).is_null()
    }

    /// Whether an `AuthType` of another module applies.
    pub(crate) fn has_auth_type(self) -> bool {
        // SAFETY: the request is live; the result is configuration, or null.
        let auth_type = unsafe { text::bytes(ffi::ap_auth_type(self.raw())) };
        auth_type.is_some_and(|auth_type| !auth_type.eq_ignore_ascii_case(b"none"))
    }

    pub(super) fn set_content_type(self, content_type: &'static CStr) {
        // SAFETY: the request is live; the type lives for ever.
        unsafe { ffi::ap_set_content_type(self.raw(), content_type.as_ptr()) };
    }

    /// Makes it a request for no file, with a handler of ours: mod_dir looks for nothing in its place.
    pub(crate) fn forget_file(self) {
        // SAFETY: live, used by this thread alone; the name lives for ever.
        unsafe {
            (*self.raw.as_ptr()).handler = c"jwt-gate-document".as_ptr();
            (*self.raw.as_ptr()).finfo.filetype = ffi::APR_NOFILE;
        }
    }

    /// The name of the handler that will answer.
    pub(crate) fn handler(self) -> Option<&'r [u8]> {
        // SAFETY: null or a string that lives as long as the request.
        unsafe { text::bytes(self.get(|r| r.handler)) }
    }

    /// Says in a 405 that only GET and HEAD are allowed.
    pub(crate) fn allow_reading_only(self) {
        // SAFETY: a request has its list of methods; the name lives for ever.
        unsafe {
            let methods = self.get(|r| r.allowed_methods);
            ffi::ap_clear_method_list(methods);
            ffi::ap_method_list_add(methods, c"GET".as_ptr());
        }
    }

    /// Answers with this body, which httpd leaves out for HEAD. A client that is gone is no error of the request.
    pub(crate) fn send(self, content_type: &'static CStr, body: &[u8]) {
        let Ok(length) = c_int::try_from(body.len()) else { return };
        self.set_content_type(content_type);
        // SAFETY: the request is live; the body is readable for its length and is copied.
        unsafe {
            ffi::ap_set_content_length(self.raw(), ffi::apr_off_t::from(length));
            ffi::ap_rwrite(body.as_ptr().cast(), length, self.raw());
        }
    }

    /// Puts one of this module's filters into the answer's way.
    pub(crate) fn add_filter(self, filter: Filter) {
        // SAFETY: the request is live and its connection with it; the filter was registered at load.
        unsafe {
            ffi::ap_add_output_filter(
                filter.name().as_ptr(),
                std::ptr::null_mut(),
                self.raw(),
                self.get(|r| r.connection),
            );
        }
    }
}

/// The address in APR's structure; the unspecified one for what is not IP.
///
/// # Safety
/// `address` is null or live.
unsafe fn address(address: *const ffi::apr_sockaddr_t) -> IpAddr {
    // SAFETY: the caller's promise. APR sets pointer and length to the address inside of its structure: 4
    // bytes for IPv4, 16 for IPv6.
    unsafe {
        let Some(address) = address.as_ref() else { return IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let bytes = address.ipaddr_ptr.cast::<u8>();
        match address.ipaddr_len {
            _ if bytes.is_null() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            4 => IpAddr::V4(Ipv4Addr::from(bytes.cast::<[u8; 4]>().read_unaligned())),
            16 => IpAddr::V6(Ipv6Addr::from(bytes.cast::<[u8; 16]>().read_unaligned())),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}
