//! One request: facts, decision, and what follows from it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;
use jwt_gate_core::config::cors::CorsDef;
use jwt_gate_core::config::credentials::{Source, TokenMode};
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{ErrorBody, Mode};
use jwt_gate_core::facts::{Facts, Found};
use jwt_gate_core::gate::{self, Prior, Refusal, Shared, Tested, Verdict};
use jwt_gate_core::limit::{LimitId, Standing};
use jwt_gate_core::time::{MonoNanos, Now};
use jwt_gate_core::token::Verified;
use jwt_gate_core::verdict::Reason;
use jwt_gate_core::{answer, cors, credentials, forward};
use smallvec::SmallVec;

use crate::httpd::{Filter, Level, Log, Request, Status, now};
use crate::identity;
use crate::runtime::{Live, Runtime, Waited};

/// What is kept with a request.
pub(crate) struct RequestState {
    /// Of the client request as a whole; only in the state of its first part (see [`root`]).
    ledger: RefCell<Ledger>,
    /// What was decided for this part of it; `None` if only other parts were decided.
    decision: Option<Decision>,
}

/// What one client request has been counted for, who sent it, and how a part of it was refused.
#[derive(Default)]
struct Ledger {
    charged: SmallVec<[LimitId; 4]>,
    refused_by: SmallVec<[(LimitId, u64); 1]>,
    /// What the answer says of limits.
    standings: SmallVec<[(Arc<LimitDef>, Standing); 4]>,
    identity: Option<(Arc<Verified>, Source)>,
    refusal: Option<(Arc<Policy>, Refused)>,
    /// The part whose `Require` lines are being asked: from its decision until httpd has let it in.
    asked: Option<Asked>,
}

struct Decision {
    policy: Arc<Policy>,
    /// What httpd had merged for the request when this was decided.
    configuration: usize,
    verdict: Kept,
    /// The client's `Origin`, where CORS applies: mod_headers may have taken it out when the answer comes.
    origin: Option<Vec<u8>>,
}

/// A part of a request that the gate let in, and that `Require` lines of this module were asked about: should httpd
/// answer it with 403, that is (also) our refusal.
struct Asked {
    policy: Arc<Policy>,
    /// Somebody sent it, so that the lack of a scope is the lack of that token.
    known: bool,
    /// Scopes of those lines that were not met.
    scopes: Vec<String>,
}

/// Who sent a request, as far as the gate knows.
pub(crate) enum Caller<'r> {
    Known(&'r Verified),
    Anonymous,
    /// It is the administrator's page for a refusal.
    ShownErrorPage,
    /// The gate is off here.
    NotDecided,
}

/// Who sent a request.
pub(crate) fn caller(request: Request<'_>) -> Caller<'_> {
    match decision(request).map(|decision| &decision.verdict) {
        Some(Kept::Allowed { identity: Some(identity), .. }) => Caller::Known(identity),
        Some(Kept::Allowed { identity: None, .. } | Kept::Document { .. }) => Caller::Anonymous,
        Some(Kept::ErrorPage) => Caller::ShownErrorPage,
        Some(Kept::Preflight | Kept::Refused(_)) | None => Caller::NotDecided,
    }
}

/// Remembers that a `Require` line was asked, and scopes that would have met it.
pub(crate) fn note_required(request: Request<'_>, scopes: &[String]) {
    let Some(Decision { policy, verdict: Kept::Allowed { identity, .. }, .. }) = decision(request) else { return };
    let Some(state) = root(request).state() else { return };
    let mut ledger = state.ledger.borrow_mut();
    let asked = ledger.asked.get_or_insert_with(|| Asked {
        policy: Arc::clone(policy),
        known: identity.is_some(),
        scopes: Vec::new(),
    });
    for scope in scopes {
        // httpd asks twice where another module looks for a user in between.
        if !asked.scopes.contains(scope) {
            asked.scopes.push(scope.clone());
        }
    }
}

/// What `Require` lines have asked so far.
fn take_asked(request: Request<'_>) -> Option<Asked> {
    root(request).state()?.ledger.borrow_mut().asked.take()
}

/// A verdict, as far as it is needed later.
enum Kept {
    /// Let in.
    Allowed { identity: Option<Arc<Verified>>, cache: Caching },
    /// What OAuth clients are told of a resource, and nothing else: the path that was asked for, of which another
    /// module may make another.
    Document { path: Vec<u8> },
    /// A CORS preflight, which is answered here.
    Preflight,
    /// Refused.
    Refused(Refused),
    /// The administrator's page for a refusal: shown, without identity.
    ErrorPage,
}

/// What caches must be told of an answer that belongs to one user.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Caching {
    /// Nothing: nobody in particular asked, or `Authorization` tells them (RFC 9111 section 3.5).
    AsIs,
    /// `private`, unless the application said anything itself.
    Private,
    /// `private`, unless the application said what makes answers to `Authorization` public: the credential was
    /// taken away, so that neither it nor mod_cache can know of one.
    AsAuthorized,
}

#[derive(Clone)]
struct Refused {
    reason: Reason,
    retry_after: Option<u64>,
    /// The limit, if the client may know its name.
    limit: Option<String>,
    /// Scopes of which one was needed.
    scopes: Vec<String>,
}

impl Refused {
    fn status(&self) -> u16 {
        self.reason.consequence().status
    }
}

/// The status of the answer to a preflight.
const PREFLIGHT: Status = Status::http(204);

/// A body up to this many bytes is read to its end when its request is refused, so that the connection can
/// be used again.
const SMALL_BODY: u64 = 64 << 10;

/// Takes identity headers away, whatever applies to the request.
pub(crate) fn on_read_request(request: Request<'_>) -> Status {
    if let Some((runtime, _)) = request.server().runtime() {
        let headers = request.headers_in();
        headers.remove(|name| runtime.scrub().matches(name));
    }
    Status::DECLINED
}

/// Decides.
pub(crate) fn on_access(request: Request<'_>) -> Status {
    judge(request)
}

/// Lets everybody have a document about a protected resource who has passed addresses and limits.
pub(crate) fn on_authorize(request: Request<'_>) -> Status {
    match decision(request) {
        Some(Decision { verdict: Kept::Document { .. }, .. }) => Status::OK,
        _ => Status::DECLINED,
    }
}

/// httpd asks who calls, because a `Require` line depends on it.
pub(crate) fn on_authenticate(request: Request<'_>) -> Status {
    let Some(Decision { policy, verdict, .. }) = decision(request) else { return Status::DECLINED };
    let is_known = match verdict {
        Kept::Allowed { identity, .. } => identity.is_some(),
        // The page is for nobody in particular: httpd writes its own in its place.
        Kept::ErrorPage => return request.previous().map_or(Status::http(500), |first| Status::http(first.status())),
        Kept::Refused(_) | Kept::Preflight | Kept::Document { .. } => return Status::DECLINED,
    };
    if is_known && request.has_user() {
        return Status::OK;
    }
    if !is_known && request.has_auth_type() {
        return Status::DECLINED;
    }
    let policy = Arc::clone(policy);
    let scopes = take_asked(request).map(|asked| asked.scopes).unwrap_or_default();
    if is_known || policy.token == TokenMode::None {
        // Known, but without a subject, and no user that another module could find would be this caller; or unknown,
        // and a token would not help.
        return deny(request, policy, if is_known { scopes } else { Vec::new() });
    }
    refuse_for_scopes(request, policy, Reason::TokenMissing, scopes)
}

/// All `Require` lines that apply have let it in: what happens from here on is not their doing.
pub(crate) fn on_authorized(request: Request<'_>) -> Status {
    forget_asked(request);
    Status::DECLINED
}

/// Enforces the decision once more, makes it where httpd skipped the hook above, and tells the
/// application who calls.
pub(crate) fn on_fixups(request: Request<'_>) -> Status {
    let runtime = request.server().runtime();
    if let (Some(_), Some((runtime, _))) = (request.main(), runtime) {
        // A sub-request begins with a copy of its main request's headers, and of the identity among them.
        request.headers_in().remove(|name| runtime.scrub().matches(name));
    }
    let status = settle(request);
    if request.main().is_none() {
        // What was asked of sub-requests that did not become its answer.
        take_asked(request);
    }
    if let (Some((runtime, _)), Some(decision)) = (runtime, decision(request))
        && status != Status::DECLINED
        && let Kept::Allowed { identity, cache } = &decision.verdict
    {
        identity::set_headers(request, &decision.policy, runtime.scrub(), identity.as_deref());
        if *cache != Caching::AsIs && request.main().is_none() {
            request.add_filter(Filter::AnswerHeaders);
        }
    }
    add_cors(request);
    status
}

/// Lets nothing be forwarded without a decision. Reached with one, unless a module behind `on_fixups` changed
/// what applies. Documents about protected resources are written here.
pub(crate) fn on_handler(request: Request<'_>) -> Status {
    if let Some(Decision { verdict: Kept::Document { path }, .. }) = decision(request) {
        return send_document(request, path);
    }
    if !request.is_proxied() {
        return Status::DECLINED;
    }
    match settle(request) {
        Status::OK => Status::DECLINED,
        status => status,
    }
}

/// Whether a document about a protected resource is asked for.
fn asks_for_document(request: Request<'_>) -> bool {
    request.main().is_none() && document(request, request.path()).is_some()
}

/// What the server tells of a protected resource.
fn document<'r>(request: Request<'r>, path: &[u8]) -> Option<&'r str> {
    let (runtime, server) = request.server().runtime()?;
    runtime.document(server, path)
}

fn send_document(request: Request<'_>, path: &[u8]) -> Status {
    let Some(document) = document(request, path) else { return Status::http(404) };
    if !matches!(request.method(), b"GET" | b"HEAD") {
        if has_large_body(request) {
            request.close_connection();
        }
        request.allow_reading_only();
        return Status::http(405);
    }
    request.handler_headers().set_constant(c"Cache-Control", c"max-age=300");
    request.send(c"application/json", document.as_bytes());
    Status::OK
}

/// httpd is about to write its own page: put problem details in its place if that is our refusal's.
pub(crate) fn on_error(request: Request<'_>) {
    take_denial(request);
    if let Some((policy, refused)) = refusal(request, request.status()) {
        if !matches!(decision(request), Some(Decision { verdict: Kept::Refused(_), .. })) {
            refusal_fields(request, &policy, &refused);
        }
        let page = request.error_document(refused.status());
        let has_text = page.is_some_and(|page| page.starts_with(b"\""));
        if policy.error_body == ErrorBody::Problem && !has_text {
            request.add_filter(Filter::Problem);
        }
    } else if let Some(Decision { verdict: Kept::Allowed { cache, .. }, .. }) = decision(request)
        && *cache != Caching::AsIs
    {
        request.add_filter(Filter::AnswerHeaders);
    }
    add_cors(request);
}

/// The body of a refused request's answer.
pub(crate) fn problem_body(request: Request<'_>) -> Option<Vec<u8>> {
    let (_, refused) = refusal(request, request.status())?;
    Some(answer::problem(refused.reason, refused.limit.as_deref()).into_bytes())
}

/// Keeps shared caches from an answer that belongs to one user.
pub(crate) fn complete_answer(request: Request<'_>) {
    let Some(Decision { verdict: Kept::Allowed { cache, .. }, .. }) = decision(request) else { return };
    let headers = [request.handler_headers(), request.answer_headers()];
    let said = headers.map(|headers| (headers, headers.header("Cache-Control")));
    let Some((headers, said)) = said.into_iter().find(|(_, said)| *said != Found::None) else {
        request.handler_headers().set_constant(c"Cache-Control", c"private");
        return;
    };
    if *cache == Caching::AsAuthorized {
        let Found::One(said) = said else { return headers.set_constant(c"Cache-Control", c"private") };
        // RFC 9111 section 3.5: these allow it; the last two forbid it already.
        const ENOUGH: [&[u8]; 5] = [b"public", b"s-maxage", b"must-revalidate", b"private", b"no-store"];
        let name = |directive: &'_ [u8]| {
            directive.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii().to_ascii_lowercase()
        };
        if !said.split(|b| *b == b',').any(|directive| ENOUGH.contains(&name(directive).as_slice())) {
            headers.set_static(c"Cache-Control", &[said, b", private"].concat());
        }
    }
}

/// The part of the client request whose policy says who may read the answer, and what it says. An `ErrorDocument` is
/// shown in the place of what was asked for; else what is answered counts, or what led to it where the gate is off.
fn readers(request: Request<'_>) -> Option<(Request<'_>, &Decision, &CorsDef)> {
    let mut asked = request;
    while let Some(previous) = asked.previous().filter(|previous| previous.status() != 200) {
        asked = previous;
    }
    let mut parts = std::iter::successors(Some(asked), |part| part.previous());
    let (part, decision) = parts.find_map(|part| Some((part, decision(part)?)))?;
    Some((part, decision, decision.policy.cors.as_deref()?))
}

fn add_cors(request: Request<'_>) {
    if request.main().is_none() && readers(request).is_some() {
        request.add_filter(Filter::Cors);
    }
}

/// Says which pages may read the answer, in the place of whatever else says so.
pub(crate) fn speak_of_cors(request: Request<'_>) {
    let Some((part, Decision { verdict, origin, .. }, def)) = readers(request) else { return };
    let permission = match verdict {
        Kept::Preflight => def.preflight(&RequestFacts(part)),
        _ => def.fields(origin.as_deref().map_or(Found::None, Found::One)),
    };
    let tables = [request.handler_headers(), request.answer_headers()];
    for table in tables {
        table.remove(cors::is_answer_field);
    }
    let [headers, _] = tables;
    for (name, value) in &permission.fields {
        headers.set(name, value.as_bytes());
    }
    let present = tables.map(|table| table.list("Vary"));
    let present =
        present.iter().filter(|list| !list.is_empty()).map(Vec::as_slice).collect::<Vec<_>>().join(&b", "[..]);
    if let Some(vary) = cors::with_vary(&present, permission.vary) {
        for table in tables {
            table.remove(|name| name.eq_ignore_ascii_case(b"vary"));
        }
        headers.set_static(c"Vary", &vary);
    }
}

/// A 403 that came of `Require` lines is the gate's refusal if some of them are its own.
fn take_denial(request: Request<'_>) {
    if request.status() == 403
        && let Some(Asked { policy, known, scopes }) = take_asked(request)
    {
        deny(request, policy, if known { scopes } else { Vec::new() });
    }
}

/// What is asked from now on is asked anew. What ended in a denial before is kept as that, also where httpd asks nothing
/// for the page that it shows for it, or where that page is outside of the gate.
fn forget_asked(request: Request<'_>) {
    if let Some(previous) = request.previous() {
        take_denial(previous);
    }
    take_asked(request);
}

/// Refuses a request with 403, for these scopes if it lacks any.
fn deny(request: Request<'_>, policy: Arc<Policy>, scopes: Vec<String>) -> Status {
    let reason = if scopes.is_empty() { Reason::ClaimDenied } else { Reason::ScopeInsufficient };
    refuse_for_scopes(request, policy, reason, scopes)
}

/// The refusal that ends in this status: the request's own, or one of a part of it that httpd passes on (mod_dir
/// answers with what its sub-request was refused with).
fn refusal(request: Request<'_>, status: u16) -> Option<(Arc<Policy>, Refused)> {
    let found = match decision(request) {
        Some(Decision { policy, verdict: Kept::Refused(refused), .. }) => (Arc::clone(policy), refused.clone()),
        _ => root(request).state()?.ledger.borrow().refusal.clone()?,
    };
    (found.1.status() == status).then_some(found)
}

/// What was decided for this very request.
fn decision(request: Request<'_>) -> Option<&Decision> {
    request.state()?.decision.as_ref()
}

/// The status of the decision if it was made under the configuration that applies now, else of a new one.
fn settle(request: Request<'_>) -> Status {
    match decision(request) {
        Some(decision) => match &decision.verdict {
            Kept::Refused(refused) => Status::http(refused.status()),
            Kept::Preflight => PREFLIGHT,
            Kept::ErrorPage if !request.is_proxied() => Status::OK,
            Kept::Allowed { .. } if decision.configuration == request.configuration() => Status::OK,
            // Whatever became of the request since: `on_handler` writes the document and nothing else.
            Kept::Document { .. } => Status::OK,
            Kept::Allowed { .. } | Kept::ErrorPage => judge(request),
        },
        None => judge(request),
    }
}

/// Decides a request, or decides it again under another policy.
fn judge(request: Request<'_>) -> Status {
    forget_asked(request);
    let Some((runtime, server)) = request.server().runtime() else {
        // Without a runtime no configuration of ours is in force, or it failed to load: then nothing that
        // might be protected is served.
        return if request.sections().is_empty() { Status::DECLINED } else { Status::http(500) };
    };
    let live = runtime.live();
    let policy = if asks_for_document(request) {
        runtime.policy_for_document(&live, server, request.sections())
    } else {
        runtime.policy(&live, server, request.sections())
    };
    let policy = match policy {
        Ok(policy) => policy,
        Err(why) => return without_policy(request, &why),
    };
    if policy.mode == Mode::Off {
        return Status::DECLINED;
    }
    if let Some(status) = error_page(request, &policy) {
        return status;
    }
    let started = now();
    if request.satisfies_any() {
        request.log(Level::Error, || {
            "JG1020 internal: `Satisfy Any` applies where the gate is on, and would let requests pass by `Require`: \
             remove it"
                .to_owned()
        });
        return refuse(request, policy, Reason::Internal.into(), None);
    }
    judge_with_keys(request, runtime, server, live, policy, started)
}

/// Decides; where a key is missing, again with keys that another process has announced, and again with those that
/// are worth waiting for. What an earlier decision was about is kept: its limits are charged.
fn judge_with_keys(
    request: Request<'_>,
    runtime: &Runtime,
    server: usize,
    mut live: Guard<Arc<Live>>,
    mut policy: Arc<Policy>,
    started: Now,
) -> Status {
    let (mut time, mut followed, mut waited) = (started, false, false);
    loop {
        let mut verdict = decide(request, &policy, runtime.shared(&live, server), time);
        let Err(Refusal { keys_of: Some(issuer), reason, .. }) = verdict.outcome else {
            return conclude(request, runtime, &policy, verdict, started);
        };
        let next = if !std::mem::replace(&mut followed, true) && runtime.has_news_of(&live, issuer) {
            Waited::Again
        } else if reason != Reason::KeyUnknown {
            runtime.keys_unavailable(issuer)
        } else if !std::mem::replace(&mut waited, true) {
            runtime.wait_for_keys(&live, issuer)
        } else {
            Waited::Refuse(reason, None)
        };
        if let Waited::Refuse(reason, retry_after) = next {
            verdict.outcome = Err(Refusal { retry_after, ..Refusal::from(reason) });
            return conclude(request, runtime, &policy, verdict, started);
        }
        record(request, &policy, &verdict);
        drop(verdict);
        live = runtime.live();
        policy = match runtime.policy(&live, server, request.sections()) {
            Ok(policy) => policy,
            Err(why) => return without_policy(request, &why),
        };
        time = now();
    }
}

fn decide<'p>(request: Request<'_>, policy: &'p Policy, shared: Shared<'_>, now: Now) -> Verdict<'p> {
    let root = root(request).state().map(|state| state.ledger.borrow());
    let prior = root.as_deref().map_or_else(Prior::default, |ledger| Prior {
        charged: &ledger.charged,
        refused: &ledger.refused_by,
        identity: ledger.identity.as_ref().map(|(identity, source)| (identity, source)),
    });
    gate::decide(policy, shared, &RequestFacts(request), prior, now)
}

fn conclude(
    request: Request<'_>,
    runtime: &Runtime,
    policy: &Arc<Policy>,
    verdict: Verdict<'_>,
    started: Now,
) -> Status {
    let micros = now().mono.0.saturating_sub(started.mono.0) / 1000;
    request.environment().set_static(c"JWT_GATE_TIME_US", micros.to_string().as_bytes());
    runtime.report_overflows(request, started.mono);
    carry_out(request, policy, verdict)
}

/// The sections that meet in this request contradict each other.
fn without_policy(request: Request<'_>, why: &str) -> Status {
    let reason = Reason::Internal.consequence();
    request.log(Level::Error, || format!("{} {}: {why}", reason.log_id, reason.word));
    Status::http(reason.status)
}

/// The request that the client sent, of which httpd made this one.
fn root(request: Request<'_>) -> Request<'_> {
    std::iter::successors(Some(request), |request| request.previous().or_else(|| request.main()))
        .last()
        .unwrap_or(request)
}

/// Keeps a decision with its request. What is known of the client request goes on with its first part.
fn keep(request: Request<'_>, policy: Arc<Policy>, verdict: Kept) {
    let ledger = request.state().map(|state| state.ledger.take()).unwrap_or_default();
    let origin = policy.cors.as_ref().and_then(|_| origin(request));
    let decision = Decision { policy, configuration: request.configuration(), verdict, origin };
    request.set_state(RequestState { ledger: ledger.into(), decision: Some(decision) });
}

/// The one `Origin` of the client request, as an earlier decision saw it or as it is now.
fn origin(request: Request<'_>) -> Option<Vec<u8>> {
    let mut parts = std::iter::successors(Some(request), |part| part.previous().or_else(|| part.main()));
    parts.find_map(|part| decision(part)?.origin.clone()).or_else(|| match request.headers_in().header("Origin") {
        Found::One(origin) => Some(origin.to_vec()),
        Found::None | Found::Many => None,
    })
}

/// `ErrorDocument` for a refusal of ours: shown if it is a page of this server, refused once more (httpd then
/// writes its own) if it would be forwarded, or was rewritten to something else.
fn error_page(request: Request<'_>, policy: &Arc<Policy>) -> Option<Status> {
    let previous = request.previous()?;
    if matches!(decision(previous), Some(Decision { verdict: Kept::Preflight, .. })) {
        // There is no page for it.
        return Some(answer_preflight(request, policy));
    }
    let (refusing, refused) = refusal(previous, previous.status())?;
    if !matches!(decision(previous), Some(Decision { verdict: Kept::Refused(_), .. })) {
        refusal_fields(request, &refusing, &refused);
    }
    // A page that is missing may be rewritten to a program that answers what was asked for.
    let became_another = matches!(decision(previous), Some(Decision { verdict: Kept::ErrorPage, .. }));
    let (verdict, status) = if request.is_proxied() || became_another {
        let status = Status::http(refused.status());
        (Kept::Refused(refused), status)
    } else {
        (Kept::ErrorPage, Status::OK)
    };
    keep(request, Arc::clone(policy), verdict);
    Some(status)
}

fn carry_out(request: Request<'_>, policy: &Arc<Policy>, verdict: Verdict<'_>) -> Status {
    record(request, policy, &verdict);
    let Verdict { outcome, source, preflight, .. } = verdict;
    match outcome {
        Ok(_) if preflight => answer_preflight(request, policy),
        Ok(_) if asks_for_document(request) => {
            request.environment().set_constant(c"JWT_GATE_VERDICT", c"allow");
            request.forget_file();
            keep(request, Arc::clone(policy), Kept::Document { path: request.path().to_vec() });
            Status::OK
        }
        Ok(identity) => {
            allow(request, policy, identity, source.as_ref());
            Status::OK
        }
        Err(refusal) => refuse(request, Arc::clone(policy), refusal, source.as_ref()),
    }
}

/// Keeps what a decision means for the client request as a whole.
fn record(request: Request<'_>, policy: &Policy, verdict: &Verdict<'_>) {
    let Verdict { outcome, source, standings, charged, .. } = verdict;
    let first = root(request);
    if first.state().is_none() {
        // At the root, so that what is not yet there (the next sub-request) finds it, too.
        first.set_state(RequestState { ledger: RefCell::default(), decision: None });
    }
    if let Some(state) = first.state() {
        let mut ledger = state.ledger.borrow_mut();
        ledger.charged.extend_from_slice(charged);
        if policy.limit_headers && !standings.is_empty() {
            limit_fields(first, &mut ledger, standings);
        }
        match (outcome, source) {
            (Ok(Some(identity)), Some(source)) if ledger.identity.is_none() => {
                ledger.identity = Some((Arc::clone(identity), source.clone()));
            }
            (Err(Refusal { limit: Some(limit), retry_after: Some(seconds), .. }), _) => {
                ledger.refused_by.push((limit.buckets.id(), *seconds));
            }
            _ => {}
        }
    }
}

fn allow(request: Request<'_>, policy: &Arc<Policy>, identity: Option<Arc<Verified>>, source: Option<&Source>) {
    request.environment().set_constant(c"JWT_GATE_VERDICT", c"allow");
    if let Some(identity) = &identity {
        identity::set_environment(request, identity);
    }
    if let Some(source) = source
        && !policy.forward_credentials
    {
        take_credential(request, source);
    }
    let cache = match source {
        None => Caching::AsIs,
        Some(_) if !policy.forward_credentials => Caching::AsAuthorized,
        Some(Source::Bearer) => Caching::AsIs,
        Some(_) => Caching::Private,
    };
    keep(request, Arc::clone(policy), Kept::Allowed { identity, cache });
}

/// Ends a preflight: it is not let in, and nobody is asked who sent it.
fn answer_preflight(request: Request<'_>, policy: &Arc<Policy>) -> Status {
    request.environment().set_constant(c"JWT_GATE_VERDICT", c"allow");
    if has_large_body(request) {
        request.close_connection();
    }
    keep(request, Arc::clone(policy), Kept::Preflight);
    PREFLIGHT
}

fn refuse(request: Request<'_>, policy: Arc<Policy>, refusal: Refusal<'_>, source: Option<&Source>) -> Status {
    refuse_with(request, policy, refusal, source, Vec::new())
}

/// Refuses a request that lacks one of these scopes, or an identity that could have it.
fn refuse_for_scopes(request: Request<'_>, policy: Arc<Policy>, reason: Reason, scopes: Vec<String>) -> Status {
    refuse_with(request, policy, reason.into(), None, scopes)
}

fn refuse_with(
    request: Request<'_>,
    policy: Arc<Policy>,
    refusal: Refusal<'_>,
    source: Option<&Source>,
    scopes: Vec<String>,
) -> Status {
    let row = refusal.reason.consequence();
    let environment = request.environment();
    environment.set_constant(c"JWT_GATE_VERDICT", c"deny");
    environment.set_static(c"JWT_GATE_REASON", row.word.as_bytes());
    let limit = refusal.limit.map(|limit| limit.def.name.as_str());
    if let Some(limit) = limit {
        environment.set_static(c"JWT_GATE_LIMIT", limit.as_bytes());
    }
    request.log(Level::Info, || {
        let limit = limit.map(|name| format!(", limit {name}")).unwrap_or_default();
        let place = match source {
            None => String::new(),
            Some(Source::Bearer) => ", in Authorization".to_owned(),
            Some(Source::Header(name)) => format!(", in the header {name}"),
            Some(Source::Cookie(name)) => format!(", in the cookie {name}"),
            Some(Source::Query(name)) => format!(", in the parameter {name}"),
        };
        format!("{} {}: refused with {}{limit}{place}", row.log_id, row.word, row.status)
    });
    if has_large_body(request) {
        request.close_connection();
    }
    let limit = limit.filter(|_| policy.limit_headers).map(str::to_owned);
    let refused = Refused { reason: refusal.reason, retry_after: refusal.retry_after, limit, scopes };
    // The page for an error that is not the gate's: httpd answers with that error, and not with this refusal.
    let is_page = request.previous().is_some_and(|previous| previous.status() >= 400);
    if !is_page {
        refusal_fields(request, &policy, &refused);
        if let Some(state) = root(request).state() {
            state.ledger.borrow_mut().refusal = Some((Arc::clone(&policy), refused.clone()));
        }
    }
    keep(request, policy, Kept::Refused(refused));
    Status::http(row.status)
}

/// The header fields of a refusal.
fn refusal_fields(request: Request<'_>, policy: &Policy, refused: &Refused) {
    let headers = request.answer_headers();
    headers.set_constant(c"Cache-Control", c"no-store");
    if let Some(challenge) =
        answer::challenge(&policy.realm, refused.reason, policy.resource.as_deref(), &refused.scopes)
    {
        headers.set_static(c"WWW-Authenticate", challenge.as_bytes());
    }
    if let Some(seconds) = refused.retry_after {
        headers.set_static(c"Retry-After", seconds.to_string().as_bytes());
    }
}

/// More than is worth reading, or of unknown length.
fn has_large_body(request: Request<'_>) -> bool {
    let length = match request.headers_in().header("Content-Length") {
        Found::None => return request.has_body_of_unknown_length(),
        Found::Many => None,
        Found::One(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<u64>().ok()),
    };
    request.has_body_of_unknown_length() || length.is_none_or(|length| length > SMALL_BODY)
}

/// `RateLimit-Policy` and `RateLimit`, on the answer that the client will get: all limits that any part of its
/// request was counted for, as they stand now.
fn limit_fields(first: Request<'_>, ledger: &mut Ledger, standings: &[Tested<'_>]) {
    for Tested { limit, standing } in standings {
        match ledger.standings.iter_mut().find(|(def, _)| def.name == limit.def.name) {
            Some((_, known)) => *known = *standing,
            None => ledger.standings.push((Arc::clone(&limit.def), *standing)),
        }
    }
    let room = 40 * ledger.standings.len();
    let (mut policies, mut limits) = (String::with_capacity(room), String::with_capacity(room));
    for (def, standing) in &ledger.standings {
        answer::policy_member(&mut policies, &def.name, def.numbers);
        answer::limit_member(&mut limits, &def.name, standing.remaining, standing.secs_until_one_more);
    }
    let headers = first.answer_headers();
    headers.set_static(c"RateLimit-Policy", policies.as_bytes());
    headers.set_static(c"RateLimit", limits.as_bytes());
}

/// Takes the credential out of what the application will receive.
fn take_credential(request: Request<'_>, source: &Source) {
    let headers = request.headers_in();
    match source {
        Source::Bearer => headers.remove(|name| name.eq_ignore_ascii_case(b"authorization")),
        Source::Header(header) => headers.remove(|name| forward::same_name(name, header.as_bytes())),
        Source::Cookie(cookie) => {
            let Found::One(value) = headers.header("Cookie") else { return };
            match credentials::without_cookie(value, cookie) {
                Some(rest) => headers.set_static(c"Cookie", &rest),
                None => headers.remove(|name| name.eq_ignore_ascii_case(b"cookie")),
            }
        }
        Source::Query(name) => {
            request.edit_query(|query| credentials::without_parameter(query, name));
        }
    }
}

/// What the decision may look at, over httpd's request.
struct RequestFacts<'r>(Request<'r>);

impl<'r> Facts<'r> for RequestFacts<'r> {
    fn later(&self, _: MonoNanos) -> MonoNanos {
        now().mono
    }

    fn client(&self) -> IpAddr {
        self.0.client_address()
    }

    fn peer(&self) -> IpAddr {
        self.0.peer_address()
    }

    fn method(&self) -> &'r [u8] {
        self.0.method()
    }

    fn query(&self) -> Option<&'r [u8]> {
        self.0.query()
    }

    fn header(&self, name: &str) -> Found<'r> {
        self.0.headers_in().header(name)
    }

    fn own_scheme(&self) -> &'r [u8] {
        self.0.server().scheme().unwrap_or_else(|| self.0.scheme())
    }
}
