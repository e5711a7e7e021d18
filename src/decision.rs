//! What is kept of a decision with its request, for the hooks that come later, and of the client request as a whole.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::Mode;
use jwt_gate_core::explain::Explanation;
use jwt_gate_core::facts::Found;
use jwt_gate_core::gate::Tested;
use jwt_gate_core::identity::Identity;
use jwt_gate_core::limit::{LimitId, Measure, Standing};
use jwt_gate_core::trace::Trace;
use jwt_gate_core::verdict::Reason;
use smallvec::SmallVec;

use crate::account::Account;
use crate::httpd::Request;

/// What is kept with a request.
#[derive(Default)]
pub(crate) struct RequestState {
    /// Of the client request as a whole; only in the state of its first part (see [`root`]).
    pub(crate) ledger: RefCell<Ledger>,
    /// What was decided for this part of it; `None` if only other parts were decided.
    pub(crate) decision: Option<Decision>,
    /// It asks how another request would be decided: what are its sub-requests now are not parts of it.
    pub(crate) asks: Cell<bool>,
}

/// What one client request has been counted for, who sent it, and how a part of it was refused.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) charged: SmallVec<[LimitId; 4]>,
    pub(crate) refused_by: SmallVec<[(LimitId, Reason, u64); 1]>,
    /// It was counted as a failed try of the client's address: once where the gate is on, and once in dry runs.
    pub(crate) failed_under: SmallVec<[Mode; 2]>,
    /// What the answer says of limits.
    pub(crate) standings: SmallVec<[LimitStanding; 4]>,
    pub(crate) identity: Option<(Identity, Source)>,
    pub(crate) refusal: Option<(Arc<Policy>, Refused)>,
    /// The part whose `Require` lines are being asked: from its decision until httpd has let it in.
    pub(crate) asked: Option<Asked>,
    /// A part could not be decided, and is refused for that.
    pub(crate) fault: Option<Arc<Account>>,
    /// Where `JwtGateTrace` is on.
    pub(crate) trace: Option<Trace>,
    /// How the decisions came about, where somebody asks.
    pub(crate) explanation: Explanation,
}

/// How a limit stands after a client request.
pub(crate) struct LimitStanding {
    pub(crate) def: Arc<LimitDef>,
    pub(crate) measure: Measure,
    pub(crate) standing: Standing,
    /// In header fields, too.
    pub(crate) is_told: bool,
}

impl Ledger {
    /// Notes a failed try; `false` if it was counted before.
    pub(crate) fn fails(&mut self, policy: &Policy) -> bool {
        let is_new = !self.failed_under.contains(&policy.mode);
        if is_new {
            self.failed_under.push(policy.mode);
        }
        is_new
    }

    /// How a limit stands now. One that an earlier part of the client request was counted for is counted once.
    pub(crate) fn note(&mut self, tested: &Tested<'_>, is_told: bool) {
        let Tested { limit, measure, standing } = *tested;
        let same =
            |known: &&mut LimitStanding| known.def.name == limit.def.name && known.measure.suffix() == measure.suffix();
        match self.standings.iter_mut().find(same) {
            Some(known) => (known.standing, known.is_told) = (standing, known.is_told || is_told),
            None => self.standings.push(LimitStanding { def: Arc::clone(&limit.def), measure, standing, is_told }),
        }
    }
}

/// What was decided for one part of a client request.
pub(crate) struct Decision {
    pub(crate) policy: Arc<Policy>,
    /// What httpd had merged for the request when this was decided.
    pub(crate) configuration: usize,
    pub(crate) verdict: Kept,
    /// What is told of it; `None` if that of an earlier part is.
    pub(crate) account: Option<Arc<Account>>,
    /// Everything that could refuse it has let it in.
    pub(crate) has_passed: Cell<bool>,
    /// The client's `Origin`, where CORS applies: mod_headers may have taken it out when the answer comes.
    pub(crate) origin: Option<Vec<u8>>,
}

impl Decision {
    /// Whether answers of the application count as failed tries.
    pub(crate) fn counts_answers(&self) -> bool {
        self.policy.lockout.is_some_and(|lockout| lockout.count_backend)
    }
}

/// A part of a request that the gate let in, and that `Require` lines of this module were asked about: should httpd
/// answer it with 403, that is (also) our refusal.
pub(crate) struct Asked {
    pub(crate) policy: Arc<Policy>,
    /// Somebody sent it, so that the lack of a scope is the lack of that token.
    pub(crate) known: bool,
    /// Scopes of those lines that were not met.
    pub(crate) scopes: Vec<String>,
}

/// Who sent a request, as far as the gate knows.
pub(crate) enum Caller<'r> {
    Known(&'r Identity),
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
        Some(Kept::ErrorPage { .. }) => Caller::ShownErrorPage,
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
pub(crate) fn take_asked(request: Request<'_>) -> Option<Asked> {
    root(request).state()?.ledger.borrow_mut().asked.take()
}

/// A verdict, as far as it is needed later.
pub(crate) enum Kept {
    /// Let in.
    Allowed { identity: Option<Identity>, cache: Caching },
    /// What OAuth clients are told of a resource, and nothing else: the path that was asked for, of which another
    /// module may make another.
    Document { path: Vec<u8> },
    /// A CORS preflight, which is answered here.
    Preflight,
    /// Refused.
    Refused(Refused),
    /// The administrator's page for a refusal, by the path that was named for it: shown, without identity, whether the
    /// gate is on there or off.
    ErrorPage { path: Vec<u8>, refused: Refused },
}

/// What caches must be told of an answer that belongs to one user.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Caching {
    /// Nothing: nobody in particular asked, or `Authorization` tells them (RFC 9111 section 3.5).
    AsIs,
    /// `private`, unless the application said anything itself.
    Private,
    /// `private`, unless the application said what makes answers to `Authorization` public: the credential was
    /// taken away, so that neither it nor mod_cache can know of one.
    AsAuthorized,
}

/// A refusal, as far as its answer needs it.
#[derive(Clone)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<u64>,
    /// The limit, if the client may know its name.
    pub(crate) limit: Option<String>,
    /// Scopes of which one was needed.
    pub(crate) scopes: Vec<String>,
    /// What is told of it elsewhere.
    pub(crate) account: Arc<Account>,
}

impl Refused {
    pub(crate) fn status(&self) -> u16 {
        self.reason.consequence().status
    }
}

/// What was decided for this very request.
pub(crate) fn decision(request: Request<'_>) -> Option<&Decision> {
    request.state()?.decision.as_ref()
}

/// What is known of the client request as a whole, from now on if it was not before.
pub(crate) fn ledger(request: Request<'_>) -> Option<&RefCell<Ledger>> {
    let first = root(request);
    if first.state().is_none() {
        // At the root, so that what is not yet there (the next sub-request) finds it, too.
        first.set_state(RequestState::default());
    }
    first.state().map(|state| &state.ledger)
}

/// The request that the client sent, of which httpd made this one; or the one that is only asked about.
pub(crate) fn root(request: Request<'_>) -> Request<'_> {
    std::iter::successors(Some(request), |request| origin_of(*request)).last().unwrap_or(request)
}

/// The part of the client request of which httpd made this one.
fn origin_of(request: Request<'_>) -> Option<Request<'_>> {
    request.previous().or_else(|| request.main().filter(|main| !main.state().is_some_and(|state| state.asks.get())))
}

/// Whether it is (a part of) a request that nobody sent, of which is asked how it would be decided.
pub(crate) fn is_imagined(request: Request<'_>) -> bool {
    root(request).main().is_some()
}

/// Whether httpd made it for a part of an answer, or to look something up.
pub(crate) fn is_inner(request: Request<'_>) -> bool {
    request.main().is_some() && origin_of(request).is_some()
}

/// The part of the client request whose answer this is. An `ErrorDocument` is shown in the place of what was asked for.
pub(crate) fn answered(request: Request<'_>) -> Request<'_> {
    let is_error = |part: &Request<'_>| part.status() != 200;
    std::iter::successors(Some(request), |part| part.previous().filter(is_error)).last().unwrap_or(request)
}

/// Keeps a decision with its request. What is known of the client request goes on with its first part.
pub(crate) fn keep(request: Request<'_>, policy: Arc<Policy>, verdict: Kept, account: Option<Arc<Account>>) {
    let ledger = request.state().map(|state| state.ledger.take()).unwrap_or_default();
    let origin = policy.cors.as_ref().and_then(|_| origin(request));
    let (configuration, has_passed) = (request.configuration(), Cell::new(false));
    let decision = Decision { policy, configuration, verdict, account, has_passed, origin };
    request.set_state(RequestState { ledger: ledger.into(), decision: Some(decision), ..RequestState::default() });
}

/// The one `Origin` of the client request, as an earlier decision saw it or as it is now.
fn origin(request: Request<'_>) -> Option<Vec<u8>> {
    let mut parts = std::iter::successors(Some(request), |part| origin_of(*part));
    parts.find_map(|part| decision(part)?.origin.clone()).or_else(|| match request.headers_in().header("Origin") {
        Found::One(origin) => Some(origin.to_vec()),
        Found::None | Found::Many => None,
    })
}

/// The refusal that ends in this status: the request's own, or one of a part of it that httpd passes on (mod_dir
/// answers with what its sub-request was refused with).
pub(crate) fn refusal(request: Request<'_>, status: u16) -> Option<(Arc<Policy>, Refused)> {
    let found = match decision(request) {
        Some(Decision { policy, verdict: Kept::Refused(refused), .. }) => (Arc::clone(policy), refused.clone()),
        _ => root(request).state()?.ledger.borrow().refusal.clone()?,
    };
    (found.1.status() == status).then_some(found)
}
