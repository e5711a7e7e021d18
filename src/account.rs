//! What a client request comes to when it is over: one decision, for metrics and for the decision log.
//!
//! A client request may have several parts that were decided: sub-requests, internal redirects, the page of an
//! `ErrorDocument`. What counts is the decision that led to the answer: the refusal, if the answer is one of ours; else
//! that of the part that was answered, and where the gate is off for that, that of the part before. What was never
//! decided is neither counted nor logged.

use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::gate::{Refusal, Verdict};
use jwt_gate_core::identity::Identity;
use jwt_gate_core::limit::QUOTA_SUFFIX;
use jwt_gate_core::time::{Now, UnixMicros};
use jwt_gate_core::verdict::{Reason, Ruling};

use crate::decision::{answered, decision, refusal, root};
use crate::httpd::{Request, now};

/// What is told of one decision.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) ruling: Ruling,
    /// The limit that refused, or would have.
    pub(crate) limit: Option<Arc<LimitDef>>,
    /// When a limit or a lock-out refuses no more.
    pub(crate) until: Option<UnixMicros>,
    /// Who sent the request, as far as that was found out.
    pub(crate) identity: Option<Identity>,
    pub(crate) time: UnixMicros,
    pub(crate) took: Duration,
}

impl Account {
    /// Of a decision that began at `started`.
    pub(crate) fn of(verdict: &Verdict<'_>, started: Now) -> Self {
        let (ruling, refusal) = match (&verdict.outcome, &verdict.would_deny) {
            (Err(refusal), _) => (Ruling::Deny(refusal.reason), Some(refusal)),
            (Ok(_), Some(refusal)) => (Ruling::WouldDeny(refusal.reason), Some(refusal)),
            (Ok(_), None) => (Ruling::Allow, None),
        };
        let identity = verdict.outcome.as_ref().map_or(&verdict.refused, |identity| identity);
        let took = now().mono.since(started.mono);
        let until = refusal.and_then(|refusal| until(refusal, started.wall));
        Self { ruling, limit: limit(refusal), until, identity: identity.clone(), time: started.wall, took }
    }

    /// Of a refusal that took no time worth measuring.
    pub(crate) fn of_reason(reason: Reason) -> Self {
        let (limit, until, identity) = (None, None, None);
        Self { ruling: Ruling::Deny(reason), limit, until, identity, time: now().wall, took: Duration::ZERO }
    }

    /// The same request, refused after all.
    pub(crate) fn denied(&self, reason: Reason) -> Self {
        Self { ruling: Ruling::Deny(reason), limit: None, until: None, ..self.clone() }
    }

    /// The name of the limit that refused, or would have, as answers tell it.
    pub(crate) fn limit_name(&self) -> Option<String> {
        let suffix = if self.ruling.reason() == Some(Reason::QuotaExceeded) { QUOTA_SUFFIX } else { "" };
        self.limit.as_ref().map(|def| format!("{}{suffix}", def.name))
    }
}

fn limit(refusal: Option<&Refusal<'_>>) -> Option<Arc<LimitDef>> {
    refusal?.limit.map(|limit| Arc::clone(&limit.def))
}

fn until(refusal: &Refusal<'_>, time: UnixMicros) -> Option<UnixMicros> {
    let waits = matches!(refusal.reason, Reason::RateLimited | Reason::QuotaExceeded | Reason::LockedOut);
    refusal.retry_after.filter(|_| waits).map(|seconds| time.saturating_add(Duration::from_secs(seconds)))
}

/// A client request is over.
pub(crate) fn on_log(request: Request<'_>) {
    let first = root(request);
    let last = std::iter::successors(Some(first), |part| part.next()).last().unwrap_or(first);
    let (Some((runtime, server)), Some(account)) = (first.server().runtime(), account(last)) else { return };
    // Where the page for an error cannot be had, httpd answers with the error, and for the part that it befell.
    let mut parts = std::iter::successors(Some(last), |part| part.previous());
    let status = parts.find(|part| part.has_answered()).unwrap_or(last).status();
    runtime.metering.answered(account.ruling, account.took, status, first.age(now().wall));
    runtime.refusals.note(server, first, &account, status);
    if !runtime.logs.write(server, first, &account, status) {
        runtime.metering.lost_log_line();
    }
}

/// The decision that led to the answer of the last part.
fn account(last: Request<'_>) -> Option<Arc<Account>> {
    let answered = answered(last);
    if let Some((_, refused)) = refusal(answered, answered.status()) {
        return Some(refused.account);
    }
    let mut parts = std::iter::successors(Some(answered), |part| part.previous());
    let decided = parts.find_map(|part| Some(Arc::clone(decision(part)?.account.as_ref()?)));
    decided.or_else(|| root(last).state()?.ledger.borrow().fault.clone())
}
