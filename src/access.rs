//! One request: facts, decision, and what follows from it.

use std::sync::Arc;

use arc_swap::Guard;
use jwt_gate_core::config::credentials::{Source, TokenMode};
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{ErrorBody, Mode};
use jwt_gate_core::explain;
use jwt_gate_core::gate::{self, Prior, Refusal, Shared, Verdict};
use jwt_gate_core::identity::Identity;
use jwt_gate_core::limit::LockoutRule;
use jwt_gate_core::path;
use jwt_gate_core::time::Now;
use jwt_gate_core::verdict::Reason;

use crate::account::Account;
use crate::answers::{add_cors, has_large_body, limit_fields, refusal_fields};
use crate::decision::{
    Asked, Caching, Decision, Kept, Refused, answered, decision, is_imagined, keep, ledger, refusal, root, take_asked,
};
use crate::facts::RequestFacts;
use crate::handlers::asks_for_document;
use crate::httpd::{Filter, Level, Log, Request, Status, now};
use crate::refresher::shown;
use crate::runtime::{Live, Runtime, Waited};
use crate::{explaining, handlers, identity, tracing};

/// The status of the answer to a preflight.
const PREFLIGHT: Status = Status::http(204);

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
    if is_imagined(request) {
        request.silence();
    }
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
        Kept::ErrorPage { .. } => {
            return request.previous().map_or(Status::http(500), |first| Status::http(first.status()));
        }
        Kept::Refused(_) | Kept::Preflight | Kept::Document { .. } => return Status::DECLINED,
    };
    if identity::leaves_user(request, policy) {
        return Status::DECLINED;
    }
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
///
/// The page for a refusal is recognised here at the latest, while it is the one that was named: httpd skips the hook
/// above where the page has the sections of what was refused, and mod_dir puts another in the place of a missing one.
pub(crate) fn on_authorized(request: Request<'_>) -> Status {
    forget_asked(request);
    if request.previous().is_some() && decision(request).is_none() { judge(request) } else { Status::DECLINED }
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
        identity::set_headers(request, &decision.policy, runtime.scrub(), identity.as_ref());
        tracing::set_headers(request);
        decision.has_passed.set(true);
        if *cache != Caching::AsIs && request.main().is_none() {
            request.add_filter(Filter::AnswerHeaders);
        }
    }
    if request.main().is_none() {
        watch_for_failures(request);
    }
    add_cors(request);
    status
}

/// Lets nothing be forwarded without a decision. Reached with one, unless a module behind `on_fixups` changed
/// what applies. What the gate answers itself is written here.
pub(crate) fn on_handler(request: Request<'_>) -> Status {
    if let Some(status) = handlers::answer(request) {
        return status;
    }
    if !request.is_proxied() {
        return Status::DECLINED;
    }
    let status = before_forwarding(request);
    if status != Status::OK {
        return status;
    }
    if decision(request).is_some_and(|decision| !decision.has_passed.replace(true)) {
        watch_for_failures(request);
    }
    Status::DECLINED
}

/// The last word about a request that mod_proxy is about to forward.
pub(crate) fn before_forwarding(request: Request<'_>) -> Status {
    // A rewrite since the decision may have put what the client wrote into the URL.
    if may_leave(request) { judge(request) } else { settle(request) }
}

/// Whether the request may get around a gate of this server, by a path that the application understands differently.
fn may_leave(request: Request<'_>) -> bool {
    request.server().runtime().is_some_and(|(runtime, server)| runtime.has_gate(server)) && climbs(request)
}

/// Whether an application may find that the path climbs out of where httpd sees it.
fn climbs(request: Request<'_>) -> bool {
    request.paths().into_iter().flatten().any(path::climbs)
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
    watch_for_failures(request);
    add_cors(request);
}

/// Has the answer looked at, if what the application says of a try counts.
fn watch_for_failures(request: Request<'_>) {
    if tried(request).is_some() {
        request.add_filter(Filter::FailedTry);
    }
}

/// The application answers: its own 401 and 403 count as failed tries where that is configured.
pub(crate) fn on_answer(request: Request<'_>) {
    let (Some((runtime, server)), Some(state)) = (request.server().runtime(), root(request).state()) else { return };
    let Some(policy) = tried(request) else { return };
    if !matches!(answered(request).status(), 401 | 403) || !state.ledger.borrow_mut().fails(policy) {
        return;
    }
    let live = runtime.live();
    let Some(lockouts) = runtime.shared(&live, server).lockouts else { return };
    let locked = lockouts.count(&policy.lockout_key(request.client_address()), now());
    runtime.metering.locked_out(locked.len());
    for rule in locked {
        speak_of_lockout(request, policy, &rule);
    }
}

/// The policy under which the application was reached, if it counts what the application says. What this module or a
/// `Require` line refused never passed.
fn tried(request: Request<'_>) -> Option<&Policy> {
    let decision = decision(answered(request))?;
    (decision.counts_answers() && decision.has_passed.get()).then_some(&decision.policy)
}

/// A 403 that came of `Require` lines is the gate's refusal if some of them are its own.
pub(crate) fn take_denial(request: Request<'_>) {
    if request.status() == 403
        && let Some(Asked { policy, known, scopes }) = take_asked(request)
    {
        deny(request, policy, if known { scopes } else { Vec::new() });
    }
}

/// What is asked from now on is asked anew. What ended in a denial before is kept as that, also where httpd asks
/// nothing for the page that it shows for it, or where that page is outside of the gate.
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

/// The status of the decision if it was made under the configuration that applies now, else of a new one.
fn settle(request: Request<'_>) -> Status {
    match decision(request) {
        Some(decision) => match &decision.verdict {
            Kept::Refused(refused) => Status::http(refused.status()),
            Kept::Preflight => PREFLIGHT,
            Kept::ErrorPage { path, .. } if may_be_shown(request, &decision.policy, path) => Status::OK,
            Kept::ErrorPage { refused, .. } => Status::http(refused.status()),
            Kept::Allowed { .. } if decision.configuration == request.configuration() => Status::OK,
            // Whatever became of the request since: `on_handler` writes the document and nothing else.
            Kept::Document { .. } => Status::OK,
            Kept::Allowed { .. } => judge(request),
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
    // Also where the gate is off: a path that leads elsewhere in the application would leave the exception.
    if may_leave(request) {
        return refuse_unasked(request, policy, Reason::PathAmbiguous);
    }
    if let Some(status) = error_page(request, &policy) {
        return status;
    }
    if policy.mode == Mode::Off {
        explaining::note_off(request);
        return Status::DECLINED;
    }
    let started = now();
    // A document is written by the gate itself, or refused: there is nothing that it could let pass.
    if request.satisfies_any() && policy.mode == Mode::On && !asks_for_document(request) {
        request.log(Level::Error, || {
            "JG1020 internal: `Satisfy Any` applies where the gate is on, and would let requests pass by `Require`: \
             remove it"
                .to_owned()
        });
        return refuse_unasked(request, policy, Reason::Internal);
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
        let Some(&Refusal { keys_of: Some(issuer), reason, .. }) = verdict.refusal() else {
            return conclude(request, runtime, &policy, verdict, started);
        };
        let next = if !std::mem::replace(&mut followed, true) && runtime.has_news_of(&live, issuer) {
            Waited::Again
        } else if reason != Reason::KeyUnknown {
            runtime.keys_unavailable(issuer)
        } else if is_imagined(request) {
            // Nobody fetches anything for it.
            Waited::Refuse(reason, None)
        } else if !std::mem::replace(&mut waited, true) {
            runtime.wait_for_keys(&live, issuer)
        } else {
            Waited::Refuse(reason, None)
        };
        if let Waited::Refuse(reason, retry_after) = next {
            verdict.replace_refusal(Refusal { retry_after, ..Refusal::from(reason) });
            return conclude(request, runtime, &policy, verdict, started);
        }
        record(request, runtime, &policy, &verdict);
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
    let first = root(request);
    let ledger = first.state().map(|state| state.ledger.borrow());
    let prior = ledger.as_deref().map_or_else(Prior::default, |ledger| Prior {
        charged: &ledger.charged,
        refused: &ledger.refused_by,
        identity: ledger.identity.as_ref().map(|(identity, source)| (identity, source)),
        has_failed: ledger.failed_under.contains(&policy.mode),
    });
    if !is_imagined(first) {
        return gate::decide(policy, shared, &RequestFacts(request), prior, now);
    }
    let (verdict, explanation) = explain::explain(policy, shared, &RequestFacts(request), prior, now);
    drop(ledger);
    explaining::note(first, explanation);
    verdict
}

fn conclude(
    request: Request<'_>,
    runtime: &Runtime,
    policy: &Arc<Policy>,
    mut verdict: Verdict<'_>,
    started: Now,
) -> Status {
    record(request, runtime, policy, &verdict);
    // While the gate is on nowhere, there is nothing that such a path could get around.
    if policy.mode == Mode::DryRun && verdict.outcome.is_ok() && climbs(request) {
        verdict.would_deny = Some(Reason::PathAmbiguous.into());
    }
    let account = Account::of(&verdict, started);
    request.environment().set_static(c"JWT_GATE_TIME_US", account.took.as_micros().to_string().as_bytes());
    runtime.report_overflows(request, started);
    carry_out(request, policy, verdict, account)
}

/// The sections that meet in this request contradict each other.
fn without_policy(request: Request<'_>, why: &str) -> Status {
    let reason = Reason::Internal.consequence();
    request.log(Level::Error, || format!("{} {}: {why}", reason.log_id, reason.word));
    if let Some(ledger) = ledger(request) {
        ledger.borrow_mut().fault = Some(Arc::new(Account::of_reason(Reason::Internal)));
    }
    Status::http(reason.status)
}

/// `ErrorDocument` for a refusal of ours: shown if it may be, refused once more if not (httpd then writes its own).
fn error_page(request: Request<'_>, policy: &Arc<Policy>) -> Option<Status> {
    let previous = request.previous()?;
    if matches!(decision(previous), Some(Decision { verdict: Kept::Preflight, .. })) {
        // There is no page for it.
        tell_verdict(request, None, None);
        return Some(answer_preflight(request, policy, None));
    }
    let (refusing, refused) = refusal(previous, previous.status())?;
    if !matches!(decision(previous), Some(Decision { verdict: Kept::Refused(_), .. })) {
        refusal_fields(request, &refusing, &refused);
    }
    let named = match decision(previous) {
        Some(Decision { verdict: Kept::ErrorPage { path, .. }, .. }) => path.as_slice(),
        _ => request.path(),
    };
    let (verdict, status) = if may_be_shown(request, policy, named) {
        // httpd lets a page that has the sections of what was refused have its user, too.
        request.forget_user();
        (Kept::ErrorPage { path: named.to_vec(), refused }, Status::OK)
    } else {
        let status = Status::http(refused.status());
        (Kept::Refused(refused), status)
    };
    keep(request, Arc::clone(policy), verdict, None);
    Some(status)
}

/// Whether a page is still the one that was named for a refusal, or what was found by that name. In the place of one
/// that is missing, mod_rewrite and mod_dir put programs that answer what was asked for. Where the gate is on, a page
/// comes from this server itself.
fn may_be_shown(request: Request<'_>, policy: &Policy, named: &[u8]) -> bool {
    request.path().starts_with(named) && (policy.mode == Mode::Off || !request.is_proxied())
}

fn carry_out(request: Request<'_>, policy: &Arc<Policy>, verdict: Verdict<'_>, account: Account) -> Status {
    let Verdict { outcome, refused, would_deny, source, preflight, locked, .. } = verdict;
    for rule in locked {
        speak_of_lockout(request, policy, &rule);
    }
    if let Some(identity) = &refused {
        identity::set_environment(request, policy, identity);
    }
    if outcome.is_ok() {
        tell_verdict(request, would_deny.as_ref(), source.as_ref());
    }
    let account = Arc::new(account);
    match outcome {
        Ok(_) if preflight => answer_preflight(request, policy, Some(account)),
        Ok(_) if asks_for_document(request) => {
            request.forget_file();
            let document = Kept::Document { path: request.path().to_vec() };
            keep(request, Arc::clone(policy), document, Some(account));
            Status::OK
        }
        Ok(identity) => {
            allow(request, policy, identity, source.as_ref(), account);
            Status::OK
        }
        Err(refusal) => refuse(request, Arc::clone(policy), &refusal, source.as_ref(), Vec::new(), account),
    }
}

/// Keeps what a decision means for the client request as a whole, and counts what it has done.
fn record(request: Request<'_>, runtime: &Runtime, policy: &Policy, verdict: &Verdict<'_>) {
    let first = root(request);
    if !is_imagined(first) {
        runtime.metering.judged(verdict);
    }
    tracing::begin(request, policy);
    let Verdict { outcome, source, standings, charged, has_failed, .. } = verdict;
    if let Some(ledger) = ledger(request) {
        let mut ledger = ledger.borrow_mut();
        ledger.charged.extend_from_slice(charged);
        if *has_failed {
            ledger.fails(policy);
        }
        for tested in standings {
            ledger.note(tested, policy.limit_headers);
        }
        if policy.limit_headers && !standings.is_empty() {
            limit_fields(first, &ledger);
        }
        match (outcome, source) {
            // What a dry run let in is asked again where the gate is on: it may have failed to prove that it was meant.
            (Ok(Some(identity)), Some(source)) if ledger.identity.is_none() && policy.mode == Mode::On => {
                ledger.identity = Some((identity.clone(), source.clone()));
            }
            (Err(Refusal { reason, limit: Some(limit), retry_after: Some(seconds), .. }), _) => {
                ledger.refused_by.push((limit.id, *reason, *seconds));
            }
            _ => {}
        }
    }
}

fn allow(
    request: Request<'_>,
    policy: &Arc<Policy>,
    identity: Option<Identity>,
    source: Option<&Source>,
    account: Arc<Account>,
) {
    if let Some(identity) = &identity {
        identity::set_environment(request, policy, identity);
    }
    // What is tried out changes nothing for the application, nor for caches.
    let source = source.filter(|_| policy.mode == Mode::On);
    if let Some(source) = source
        && !policy.forward_credentials
    {
        identity::take_credential(request, source);
        if let Some(header) = &policy.credentials.plan_key {
            identity::take_credential(request, &Source::ApiKey(Arc::clone(header)));
        }
    }
    let cache = match source {
        None => Caching::AsIs,
        Some(_) if !policy.forward_credentials => Caching::AsAuthorized,
        Some(Source::Bearer) => Caching::AsIs,
        Some(_) => Caching::Private,
    };
    keep(request, Arc::clone(policy), Kept::Allowed { identity, cache }, Some(account));
}

/// Tells log and environment that a request was let in, and what would have refused it.
fn tell_verdict(request: Request<'_>, would_deny: Option<&Refusal<'_>>, source: Option<&Source>) {
    let environment = request.environment();
    match would_deny {
        None => environment.set_constant(c"JWT_GATE_VERDICT", c"allow"),
        Some(refusal) => {
            environment.set_constant(c"JWT_GATE_VERDICT", c"would-deny");
            tell_refusal(request, refusal, source, "let in by a dry run, else refused");
        }
    }
}

/// Tells log and environment why a request is refused, or would be.
fn tell_refusal(request: Request<'_>, refusal: &Refusal<'_>, source: Option<&Source>, what: &str) {
    let row = refusal.reason.consequence();
    let environment = request.environment();
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
            Some(Source::Header(name) | Source::ApiKey(name)) => format!(", in the header {name}"),
            Some(Source::Cookie(name)) => format!(", in the cookie {name}"),
            Some(Source::Query(name)) => format!(", in the parameter {name}"),
        };
        let fault = refusal.api_key.as_ref().map(|fault| format!(", {fault}")).unwrap_or_default();
        format!("{} {}: {what} with {}{limit}{place}{fault}", row.log_id, row.word, row.status)
    });
}

/// Says that an address is locked out from now on, or would be.
fn speak_of_lockout(request: Request<'_>, policy: &Policy, rule: &LockoutRule) {
    request.log(Level::Warning, || {
        let LockoutRule { failures, within, block } = *rule;
        let is = if policy.mode == Mode::DryRun { "would be" } else { "is" };
        let tries = if failures == 1 { "try" } else { "tries" };
        format!(
            "JG3002 an address {is} locked out for {}: {failures} failed {tries} within {}",
            shown(block),
            shown(within)
        )
    });
}

/// Ends a preflight: it is not let in, and nobody is asked who sent it.
fn answer_preflight(request: Request<'_>, policy: &Arc<Policy>, account: Option<Arc<Account>>) -> Status {
    if has_large_body(request) {
        request.close_connection();
    }
    keep(request, Arc::clone(policy), Kept::Preflight, account);
    PREFLIGHT
}

/// Refuses a request for which nothing needs to be looked at.
fn refuse_unasked(request: Request<'_>, policy: Arc<Policy>, reason: Reason) -> Status {
    tracing::begin(request, &policy);
    refuse(request, policy, &reason.into(), None, Vec::new(), Arc::new(Account::of_reason(reason)))
}

/// Refuses a request that lacks one of these scopes, or an identity that could have it.
fn refuse_for_scopes(request: Request<'_>, policy: Arc<Policy>, reason: Reason, scopes: Vec<String>) -> Status {
    let before = decision(request).and_then(|decision| decision.account.as_deref());
    let account = before.map_or_else(|| Account::of_reason(reason), |account| account.denied(reason));
    refuse(request, policy, &reason.into(), None, scopes, Arc::new(account))
}

fn refuse(
    request: Request<'_>,
    policy: Arc<Policy>,
    refusal: &Refusal<'_>,
    source: Option<&Source>,
    scopes: Vec<String>,
    account: Arc<Account>,
) -> Status {
    let row = refusal.reason.consequence();
    request.environment().set_constant(c"JWT_GATE_VERDICT", c"deny");
    tell_refusal(request, refusal, source, "refused");
    if has_large_body(request) {
        request.close_connection();
    }
    let limit = if policy.limit_headers { account.limit_name() } else { None };
    let Refusal { reason, retry_after, .. } = *refusal;
    let refused = Refused { reason, retry_after, limit, scopes, account: Arc::clone(&account) };
    // The page for an error that is not the gate's: httpd answers with that error, and not with this refusal.
    let is_page = request.previous().is_some_and(|previous| previous.status() >= 400);
    if !is_page {
        refusal_fields(request, &policy, &refused);
        if let Some(state) = root(request).state() {
            state.ledger.borrow_mut().refusal = Some((Arc::clone(&policy), refused.clone()));
        }
    }
    keep(request, policy, Kept::Refused(refused), Some(account));
    Status::http(row.status)
}
