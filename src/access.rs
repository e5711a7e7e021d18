//! One request: facts, decision, and what follows from it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;
use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{ErrorBody, Mode};
use jwt_gate_core::facts::{Facts, Found};
use jwt_gate_core::gate::{self, Prior, Refusal, Shared, Tested, Verdict};
use jwt_gate_core::limit::{LimitId, Standing};
use jwt_gate_core::time::{MonoNanos, Now};
use jwt_gate_core::token::Verified;
use jwt_gate_core::verdict::Reason;
use jwt_gate_core::{answer, credentials, forward};
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
}

struct Decision {
    policy: Arc<Policy>,
    /// What httpd had merged for the request when this was decided.
    configuration: usize,
    verdict: Kept,
}

/// A verdict, as far as it is needed later.
enum Kept {
    /// Let in.
    Allowed { identity: Option<Arc<Verified>>, cache: Caching },
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
}

impl Refused {
    fn status(&self) -> u16 {
        self.reason.consequence().status
    }
}

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

/// Enforces the decision once more, makes it where httpd skipped the hook above, and tells the
/// application who calls.
pub(crate) fn on_fixups(request: Request<'_>) -> Status {
    let runtime = request.server().runtime();
    if let (Some(_), Some((runtime, _))) = (request.main(), runtime) {
        // A sub-request begins with a copy of its main request's headers, and of the identity among them.
        request.headers_in().remove(|name| runtime.scrub().matches(name));
    }
    let status = settle(request);
    if let (Some((runtime, _)), Some(decision)) = (runtime, decision(request))
        && status != Status::DECLINED
        && let Kept::Allowed { identity, cache } = &decision.verdict
    {
        identity::set_headers(request, &decision.policy, runtime.scrub(), identity.as_deref());
        if *cache != Caching::AsIs && request.main().is_none() {
            request.add_filter(Filter::AnswerHeaders);
        }
    }
    status
}

/// Lets nothing be forwarded without a decision. Reached with one, unless a module behind `on_fixups` changed
/// what applies.
pub(crate) fn on_handler(request: Request<'_>) -> Status {
    if !request.is_proxied() {
        return Status::DECLINED;
    }
    match settle(request) {
        Status::OK => Status::DECLINED,
        status => status,
    }
}

/// httpd is about to write its own page: put problem details in its place if that is our refusal's.
pub(crate) fn on_error(request: Request<'_>) {
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
            Kept::ErrorPage if !request.is_proxied() => Status::OK,
            Kept::Allowed { .. } if decision.configuration == request.configuration() => Status::OK,
            Kept::Allowed { .. } | Kept::ErrorPage => judge(request),
        },
        None => judge(request),
    }
}

/// Decides a request, or decides it again under another policy.
fn judge(request: Request<'_>) -> Status {
    let Some((runtime, server)) = request.server().runtime() else {
        // Without a runtime no configuration of ours is in force, or it failed to load: then nothing that
        // might be protected is served.
        return if request.sections().is_empty() { Status::DECLINED } else { Status::http(500) };
    };
    let live = runtime.live();
    let policy = match runtime.policy(&live, server, request.sections()) {
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
    let decision = Some(Decision { policy, configuration: request.configuration(), verdict });
    request.set_state(RequestState { ledger: ledger.into(), decision });
}

/// `ErrorDocument` for a refusal of ours: shown if it is a page of this server, refused once more (httpd then
/// writes its own) if it would be forwarded.
fn error_page(request: Request<'_>, policy: &Arc<Policy>) -> Option<Status> {
    let previous = request.previous()?;
    let (refusing, refused) = refusal(previous, previous.status())?;
    if !matches!(decision(previous), Some(Decision { verdict: Kept::Refused(_), .. })) {
        refusal_fields(request, &refusing, &refused);
    }
    let (verdict, status) = if request.is_proxied() {
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
    let Verdict { outcome, source, .. } = verdict;
    match outcome {
        Ok(identity) => {
            allow(request, policy, identity, source.as_ref());
            Status::OK
        }
        Err(refusal) => refuse(request, Arc::clone(policy), refusal, source.as_ref()),
    }
}

/// Keeps what a decision means for the client request as a whole.
fn record(request: Request<'_>, policy: &Policy, verdict: &Verdict<'_>) {
    let Verdict { outcome, source, standings, charged } = verdict;
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

fn refuse(request: Request<'_>, policy: Arc<Policy>, refusal: Refusal<'_>, source: Option<&Source>) -> Status {
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
    let refused = Refused { reason: refusal.reason, retry_after: refusal.retry_after, limit };
    refusal_fields(request, &policy, &refused);
    if let Some(state) = root(request).state() {
        state.ledger.borrow_mut().refusal = Some((Arc::clone(&policy), refused.clone()));
    }
    keep(request, policy, Kept::Refused(refused));
    Status::http(row.status)
}

/// The header fields of a refusal.
fn refusal_fields(request: Request<'_>, policy: &Policy, refused: &Refused) {
    let headers = request.answer_headers();
    headers.set_constant(c"Cache-Control", c"no-store");
    if let Some(challenge) = answer::challenge(&policy.realm, refused.reason) {
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
