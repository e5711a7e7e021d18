//! The decision.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::apikey::{self, ApiKey, ApiKeyList};
use crate::config::credentials::{Source, TokenMode};
use crate::config::policy::{Limit, LockoutKey, Policy};
use crate::config::section::Mode;
use crate::config::server::Networks;
use crate::cors;
use crate::credentials;
use crate::csrf;
use crate::facts::Facts;
use crate::identity::Identity;
use crate::limit::{
    Charge, LimitId, LockoutRule, Lockouts, Measure, Outcome, SlotTable, Standing, Subject, Tables, charge_all_by_clock,
};
use crate::revocation::RevocationList;
use crate::time::{MonoNanos, Now};
use crate::token::cache::{Lookup, TokenCache};
use crate::token::{Rejection, Verified};
use crate::verdict::{Reason, Ruling};

/// What outlives requests and decisions share.
#[derive(Clone, Copy)]
pub struct Shared<'s> {
    /// Where limits are counted.
    pub limits: Tables<'s>,
    /// Where failures are counted; `None` if no address is ever locked out.
    pub lockouts: Option<FailureCount<'s>>,
    /// Tokens that were verified before.
    pub tokens: &'s TokenCache,
    /// Tokens that are refused whatever else is good about them.
    pub revocations: Option<&'s RevocationList>,
    /// The API keys of the server.
    pub api_keys: ApiKeys<'s>,
    /// The networks of the server.
    pub networks: &'s Networks,
}

/// The failures of addresses: by which rules, and where.
#[derive(Clone, Copy)]
pub struct FailureCount<'s> {
    /// All rules of the configuration.
    pub rules: &'s Lockouts,
    /// Of lock-outs.
    pub table: SlotTable<'s>,
}

impl FailureCount<'_> {
    /// For how many more seconds a rule locks an address out.
    pub fn locked_secs(self, rule: &LockoutRule, key: &LockoutKey, now: Now) -> Option<u64> {
        self.rules.locked(self.table, self.rules.index(rule)?, key, now)
    }

    /// Counts a failure. The rules that lock the address out from now on.
    pub fn count(self, key: &LockoutKey, now: Now) -> SmallVec<[LockoutRule; 1]> {
        let locked = self.rules.record_failure(self.table, key, now);
        locked.into_iter().filter_map(|index| self.rules.rule(index).copied()).collect()
    }
}

/// The API keys of a server.
#[derive(Clone, Copy)]
pub enum ApiKeys<'s> {
    /// It names none.
    None,
    /// Its file could never be read.
    Unavailable,
    /// These.
    List(&'s ApiKeyList),
}

/// What is known of the same client request from before an internal redirect, or from the main request of
/// a sub-request.
#[derive(Clone, Copy, Default)]
pub struct Prior<'s> {
    /// Limits that were charged; they are not charged again.
    pub charged: &'s [LimitId],
    /// Limits that refused, why, and the seconds for `Retry-After`; they are not asked again.
    pub refused: &'s [(LimitId, Reason, u64)],
    /// Who sent the request, and where the credential was. It is judged again, but not looked for again.
    pub identity: Option<(&'s Identity, &'s Source)>,
    /// The request was counted as a failed try under a policy of the same mode; it is not counted again. A dry run
    /// counts apart: what was counted in one must still be counted where failures lock out.
    pub has_failed: bool,
}

/// What was decided.
#[derive(Debug)]
pub struct Verdict<'p> {
    /// Who sent the request (`None`: anonymous), or why it is refused.
    pub outcome: Result<Option<Identity>, Refusal<'p>>,
    /// Who sent a request that is refused, if that was found out before.
    pub refused: Option<Identity>,
    /// Why it would have been refused first, if something were not a dry run.
    pub would_deny: Option<Refusal<'p>>,
    /// Where the credential was found, in this part of the client request or before.
    pub source: Option<Source>,
    /// How the limits stand that were tested.
    pub standings: SmallVec<[Tested<'p>; 4]>,
    /// Limits that are charged, for [`Prior::charged`].
    pub charged: SmallVec<[LimitId; 4]>,
    /// Limits that have refused now, or would have.
    pub refused_by: SmallVec<[(LimitId, Ruling); 1]>,
    /// Whether the token was known, if one was looked at.
    pub looked_up: Option<Lookup>,
    /// The request was counted as a failed try, for [`Prior::has_failed`] under policies of the same mode.
    pub has_failed: bool,
    /// What locked the address out by this request.
    pub locked: SmallVec<[LockoutRule; 1]>,
    /// Nobody's credential was looked for: the request is a CORS preflight and is answered as
    /// [`CorsDef::preflight`](crate::config::cors::CorsDef::preflight) says. It must never be let in.
    pub preflight: bool,
}

/// A limit and how it stands.
#[derive(Clone, Copy, Debug)]
pub struct Tested<'p> {
    /// Which.
    pub limit: &'p Limit,
    /// By which numbers.
    pub measure: Measure,
    /// After this request.
    pub standing: Standing,
}

/// Why a request is refused.
#[derive(Clone, Debug)]
pub struct Refusal<'p> {
    /// The one word for it.
    pub reason: Reason,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// The limit that refuses.
    pub limit: Option<&'p Limit>,
    /// [`Issuer::id`](crate::token::issuer::Issuer::id) of the issuer that lacks the key, or all keys: another
    /// decision may follow once it has new ones.
    pub keys_of: Option<u32>,
    /// What is wrong with the API key.
    pub api_key: Option<ApiKeyFault>,
}

/// What is wrong with an API key. For the error log only: whoever tries keys learns nothing of it.
#[derive(Clone, Debug)]
pub enum ApiKeyFault {
    /// The server names no file of keys, or its file has not this one.
    Unknown,
    /// It is in the file, and may not be used.
    Refused(Arc<ApiKey>, apikey::Refusal),
    /// The file could never be read.
    Unavailable,
}

/// Names the key by its id.
impl fmt::Display for ApiKeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such API key is listed"),
            Self::Refused(key, why) => write!(f, "key {}: {why}", key.id()),
            Self::Unavailable => f.write_str("the file of JwtGateApiKeys could not be read yet"),
        }
    }
}

impl From<ApiKeyFault> for Refusal<'_> {
    fn from(fault: ApiKeyFault) -> Self {
        let reason = match fault {
            ApiKeyFault::Unknown | ApiKeyFault::Refused(..) => Reason::ApiKeyInvalid,
            ApiKeyFault::Unavailable => Reason::KeysUnavailable,
        };
        Self { api_key: Some(fault), ..reason.into() }
    }
}

impl From<Rejection> for Refusal<'_> {
    fn from(Rejection { reason, keys_of }: Rejection) -> Self {
        let retry_after = (reason == Reason::KeysUnavailable).then_some(KEYS_RETRY_SECS);
        Self { reason, retry_after, limit: None, keys_of, api_key: None }
    }
}

impl From<Reason> for Refusal<'_> {
    fn from(reason: Reason) -> Self {
        Rejection::from(reason).into()
    }
}

impl<'p> Verdict<'p> {
    /// Ends the decision, or, where this is tried out only, remembers why it would have ended.
    fn refuse(&mut self, dry_run: bool, refusal: Refusal<'p>) -> Result<(), Refusal<'p>> {
        if !dry_run {
            return Err(refusal);
        }
        self.would_deny.get_or_insert(refusal);
        Ok(())
    }

    /// Puts another refusal in the place of the one that counts, or would.
    pub fn replace_refusal(&mut self, refusal: Refusal<'p>) {
        match &mut self.outcome {
            Err(known) => *known = refusal,
            Ok(_) => self.would_deny = Some(refusal),
        }
    }

    /// The refusal that counts, or would.
    pub fn refusal(&self) -> Option<&Refusal<'p>> {
        self.outcome.as_ref().err().or(self.would_deny.as_ref())
    }
}

/// When a client should try again whose issuer's keys are not to be had.
const KEYS_RETRY_SECS: u64 = 30;

/// Decides a request. Cheapest first, so that a hostile request costs little; the first refusal wins:
/// networks, lock-out, limits without identity, credential, token and its revocation, proof against forgery from other
/// sites, limits with identity. Where CORS is configured, a preflight ends behind the limits without identity:
/// browsers send it without credentials.
pub fn decide<'r, 'p>(
    policy: &'p Policy,
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    prior: Prior<'_>,
    now: Now,
) -> Verdict<'p> {
    decide_with(policy, shared, facts, prior, now, &Counting)
}

/// As [`decide`], with another effect on what requests share.
pub(crate) fn decide_with<'r, 'p>(
    policy: &'p Policy,
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    prior: Prior<'_>,
    now: Now,
    effect: &impl Effect<'p>,
) -> Verdict<'p> {
    let mut verdict = Verdict {
        outcome: Ok(None),
        refused: None,
        would_deny: None,
        source: None,
        standings: SmallVec::new(),
        charged: SmallVec::new(),
        refused_by: SmallVec::new(),
        looked_up: None,
        has_failed: false,
        locked: SmallVec::new(),
        preflight: false,
    };
    verdict.outcome = Decision { policy, shared, facts, prior, now, effect }.steps(&mut verdict);
    verdict
}

/// What a decision does to what requests share, and who follows how it comes about. That is all in which an explanation
/// differs from a decision.
pub(crate) trait Effect<'p> {
    /// Charges all of `charges`, or none; `clock` gives the time by now.
    fn charge(&self, charges: &mut [Charge<'_>], now: Now, clock: impl Fn(MonoNanos) -> MonoNanos) -> Outcome;
    /// Counts a failed try. The rules that lock the address out from now on.
    fn count(&self, lockouts: FailureCount<'_>, key: &LockoutKey, now: Now) -> SmallVec<[LockoutRule; 1]>;
    /// The decision has come to this stage.
    fn reached(&self, _: Stage) {}
    /// The stage refuses, or would if it were no dry run.
    fn refused(&self, _dry_run: bool, _: &Refusal<'p>) {}
    /// How a limit stands that was charged, or that refuses.
    fn tested(&self, _: Tested<'p>) {}
}

/// What is decided one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    Addresses,
    Lockout,
    EarlyLimits,
    /// Only where the request is one.
    Preflight,
    Credential,
    /// Only where there is a credential.
    Identity,
    /// Only where somebody is known.
    Forgery,
    LateLimits,
}

/// What requests cause.
struct Counting;

impl Effect<'_> for Counting {
    fn charge(&self, charges: &mut [Charge<'_>], now: Now, clock: impl Fn(MonoNanos) -> MonoNanos) -> Outcome {
        charge_all_by_clock(charges, now, clock)
    }

    fn count(&self, lockouts: FailureCount<'_>, key: &LockoutKey, now: Now) -> SmallVec<[LockoutRule; 1]> {
        lockouts.count(key, now)
    }
}

/// What one decision goes by.
struct Decision<'d, 'p, F, E> {
    policy: &'p Policy,
    shared: Shared<'d>,
    facts: &'d F,
    prior: Prior<'d>,
    now: Now,
    effect: &'d E,
}

impl<'r, 'p, F: Facts<'r>, E: Effect<'p>> Decision<'_, 'p, F, E> {
    fn steps(&self, verdict: &mut Verdict<'p>) -> Result<Option<Identity>, Refusal<'p>> {
        let (policy, facts) = (self.policy, self.facts);
        let dry_run = policy.mode == Mode::DryRun;
        let (client, peer) = (facts.client(), facts.peer());
        self.effect.reached(Stage::Addresses);
        if !policy.addresses.permits(client, peer) {
            self.refuse(verdict, dry_run, Reason::AddressDenied.into())?;
        } else if !policy.address_trial.permits(client, peer) {
            self.refuse(verdict, true, Reason::AddressDenied.into())?;
        }
        self.effect.reached(Stage::Lockout);
        if let Some(secs) = self.locked_secs() {
            self.refuse(verdict, dry_run, Refusal { retry_after: Some(secs), ..Reason::LockedOut.into() })?;
        }
        self.effect.reached(Stage::EarlyLimits);
        let mut subject = Subject { client, peer, prefix: policy.prefix, identity: None };
        self.charge(&policy.early_limits, &subject, verdict)?;
        if policy.cors.is_some() && cors::is_preflight(facts) {
            self.effect.reached(Stage::Preflight);
            verdict.preflight = true;
            return Ok(None);
        }
        self.effect.reached(Stage::Credential);
        let identity = match self.identity(verdict) {
            Ok(identity) => identity,
            Err(refusal) => {
                self.count_failure(refusal.reason, verdict);
                self.refuse(verdict, dry_run, refusal)?;
                None
            }
        };
        subject.identity = identity.as_ref();
        match self.judge_known(&subject, verdict) {
            Ok(()) => Ok(identity),
            Err(refusal) => {
                verdict.refused = identity;
                Err(refusal)
            }
        }
    }

    /// Ends the decision, unless this is tried out only.
    fn refuse(&self, verdict: &mut Verdict<'p>, dry_run: bool, refusal: Refusal<'p>) -> Result<(), Refusal<'p>> {
        self.effect.refused(dry_run, &refusal);
        verdict.refuse(dry_run, refusal)
    }

    /// What is asked of who is known, and of the anonymous who are let in: that nobody else made them send the request,
    /// and the limits behind the credential.
    fn judge_known(&self, subject: &Subject<'_>, verdict: &mut Verdict<'p>) -> Result<(), Refusal<'p>> {
        if subject.identity.is_some() {
            self.effect.reached(Stage::Forgery);
            if self.may_be_forged(verdict) {
                self.refuse(verdict, self.policy.mode == Mode::DryRun, Reason::Csrf.into())?;
            }
        }
        self.effect.reached(Stage::LateLimits);
        self.charge(&self.policy.late_limits, subject, verdict)
    }

    /// Who sent the request, with the plan that is theirs here.
    fn identity(&self, verdict: &mut Verdict<'p>) -> Result<Option<Identity>, Refusal<'p>> {
        let identity = match self.prior.identity {
            _ if self.policy.token == TokenMode::None => return Ok(None),
            Some((identity, source)) => {
                self.effect.reached(Stage::Identity);
                verdict.source = Some(source.clone());
                Some(self.judge_again(identity, verdict)?)
            }
            None => self.identify(verdict)?,
        };
        Ok(identity.map(|identity| {
            let plan = self.policy.plan(&identity).cloned();
            identity.with_plan(plan)
        }))
    }

    /// The identity that an earlier policy found, by this one. If the definition of the issuer by which it was
    /// verified is not accepted here, another one for the same issuer may be: the token is verified by that.
    fn judge_again(&self, identity: &Identity, verdict: &mut Verdict<'p>) -> Result<Identity, Refusal<'p>> {
        if self.accepts(identity) {
            if let Some(token) = identity.token() {
                token.check_time(self.now.wall)?;
                self.check_revocation(token)?;
            }
            if let Some(key) = identity.key() {
                self.check_key(key)?;
            }
            return Ok(identity.clone());
        }
        match self.identify(verdict) {
            // The credential was taken away, or is not where this policy looks for it.
            Ok(None) | Err(Refusal { reason: Reason::TokenMissing, .. }) => Err(match identity.token() {
                Some(token) if !self.policy.issuers.accepts(token.issuer()) => Reason::IssuerUnknown.into(),
                _ => Reason::TokenMissing.into(),
            }),
            identified => identified.and_then(|identity| identity.ok_or(Reason::TokenMissing.into())),
        }
    }

    /// Whether what proved an identity elsewhere is a proof here.
    fn accepts(&self, identity: &Identity) -> bool {
        let Policy { credentials, issuers, .. } = self.policy;
        match (identity.token(), identity.key()) {
            (Some(token), key) => {
                issuers.accepts(token.issuer())
                    && !credentials.takes_only_api_keys()
                    && (credentials.plan_key.is_none() || key.is_some())
            }
            (None, _) => credentials.takes_api_keys() && credentials.plan_key.is_none(),
        }
    }

    fn identify(&self, verdict: &mut Verdict<'p>) -> Result<Option<Identity>, Refusal<'p>> {
        let Policy { credentials, token, .. } = self.policy;
        let found = credentials::find(&credentials.sources, self.facts)?;
        let plan_key = match &credentials.plan_key {
            Some(header) => credentials::find_api_key(header, self.facts)?,
            None => None,
        };
        let nothing = match token {
            TokenMode::Required => Err(Reason::TokenMissing.into()),
            TokenMode::Optional | TokenMode::None => Ok(None),
        };
        let Some(credential) = found else {
            return if plan_key.is_some() { Err(Reason::TokenMissing.into()) } else { nothing };
        };
        self.effect.reached(Stage::Identity);
        verdict.source = Some(credential.source.clone());
        if matches!(credential.source, Source::ApiKey(_)) {
            return Ok(Some(Identity::of_key(self.find_key(&credential.token)?)));
        }
        if credentials.plan_key.is_some() && plan_key.is_none() {
            return Err(Reason::TokenMissing.into());
        }
        // The key first: looking it up is cheaper than verifying a signature.
        let key = plan_key.map(|key| self.find_key(&key)).transpose()?;
        let (token, lookup) = self.shared.tokens.verify(&credential.token, &self.policy.issuers, self.now.wall);
        verdict.looked_up = Some(lookup);
        let token = token?;
        self.check_revocation(&token)?;
        Ok(Some(match key {
            Some(key) => Identity::of_both(token, key),
            None => Identity::of_token(token),
        }))
    }

    /// A token from memory is asked about like any other: the list may have changed since.
    fn check_revocation(&self, token: &Verified) -> Result<(), Reason> {
        match self.shared.revocations {
            Some(list) if list.revokes(token) => Err(Reason::TokenRevoked),
            _ => Ok(()),
        }
    }

    fn find_key(&self, text: &[u8]) -> Result<Arc<ApiKey>, ApiKeyFault> {
        let key = match self.shared.api_keys {
            ApiKeys::None => None,
            ApiKeys::Unavailable => return Err(ApiKeyFault::Unavailable),
            ApiKeys::List(list) => list.find(text),
        };
        let key = key.map(Arc::new).ok_or(ApiKeyFault::Unknown)?;
        self.check_key(&key).map(|()| key)
    }

    /// Whether a key may be used now, and from here.
    fn check_key(&self, key: &Arc<ApiKey>) -> Result<(), ApiKeyFault> {
        let client = self.facts.client();
        let is_in = |name: &str| match self.shared.networks.get(name) {
            Some(Some(network)) => network.contains(client),
            Some(None) | None => false,
        };
        key.check(self.now.wall, client, is_in).map_err(|why| ApiKeyFault::Refused(Arc::clone(key), why))
    }

    /// Whether another site may have made a browser send this request with the user's cookie. Each part of a client
    /// request is asked: the one before may have been let in by a dry run, or trust other sites.
    fn may_be_forged(&self, verdict: &Verdict<'_>) -> bool {
        matches!(verdict.source, Some(Source::Cookie(_))) && !csrf::is_meant(self.facts, self.policy.cors.as_deref())
    }

    /// For how many more seconds the client's address is locked out here.
    fn locked_secs(&self) -> Option<u64> {
        let lockout = self.policy.lockout.as_ref()?;
        self.shared.lockouts?.locked_secs(&lockout.rule, &self.lockout_key(), self.now)
    }

    fn count_failure(&self, reason: Reason, verdict: &mut Verdict<'_>) {
        let (Some(_), Some(lockouts)) = (&self.policy.lockout, self.shared.lockouts) else { return };
        if reason.is_failed_try() && !self.prior.has_failed {
            verdict.has_failed = true;
            verdict.locked = self.effect.count(lockouts, &self.lockout_key(), self.now);
        }
    }

    fn lockout_key(&self) -> LockoutKey {
        self.policy.lockout_key(self.facts.client())
    }

    /// Charges those of `limits` that apply and were not charged before: all, or none. Those that are only tried out
    /// are charged likewise, apart from the others.
    fn charge(&self, limits: &'p [Limit], subject: &Subject<'_>, verdict: &mut Verdict<'p>) -> Result<(), Refusal<'p>> {
        for dry_run in [false, true] {
            if let Err(refusal) = self.charge_group(limits, dry_run, subject, verdict) {
                self.refuse(verdict, dry_run, refusal)?;
            }
        }
        Ok(())
    }

    fn charge_group(
        &self,
        limits: &'p [Limit],
        dry_run: bool,
        subject: &Subject<'_>,
        verdict: &mut Verdict<'p>,
    ) -> Result<(), Refusal<'p>> {
        let applies = |limit: &&Limit| {
            limit.dry_run == dry_run && limit.counts(subject) && !self.prior.charged.contains(&limit.id)
        };
        let applying: SmallVec<[&'p Limit; 4]> = limits.iter().filter(applies).collect();
        if applying.is_empty() {
            return Ok(());
        }
        let refused = |limit: &&Limit| self.prior.refused.iter().find(|(id, ..)| *id == limit.id);
        if let Some((limit, (_, reason, retry_after))) =
            applying.iter().find_map(|limit| Some((*limit, refused(limit)?)))
        {
            return Err(refusal(*reason, Some(limit), *retry_after));
        }
        let mut charges: SmallVec<[Charge<'_>; 4]> = SmallVec::new();
        let mut charged: SmallVec<[(&'p Limit, Measure); 4]> = SmallVec::new();
        for limit in &applying {
            let meter = limit.meter(subject.identity);
            for (measure, charge) in meter.charges(self.shared.limits, &limit.def.key, subject, self.now.wall) {
                charges.push(charge);
                charged.push((*limit, measure));
            }
        }
        let outcome = self.effect.charge(&mut charges, self.now, |now| self.facts.later(now));
        let standings = charged.iter().zip(&charges);
        let standings =
            standings.map(|(&(limit, measure), charge)| Tested { limit, measure, standing: charge.standing() });
        for tested in standings {
            self.effect.tested(tested);
            if !dry_run {
                verdict.standings.push(tested);
            }
        }
        match outcome {
            Outcome::Admitted => {
                verdict.charged.extend(applying.iter().map(|limit| limit.id));
                Ok(())
            }
            Outcome::Refused { first, retry_after } => {
                let by_quota = charges.get(first).is_some_and(Charge::is_quota);
                let reason = if by_quota { Reason::QuotaExceeded } else { Reason::RateLimited };
                let limit = charged.get(first).map(|(limit, _)| *limit);
                let ruling = if dry_run { Ruling::WouldDeny(reason) } else { Ruling::Deny(reason) };
                verdict.refused_by.extend(limit.map(|limit| (limit.id, ruling)));
                Err(refusal(reason, limit, retry_after))
            }
        }
    }
}

fn refusal(reason: Reason, limit: Option<&Limit>, retry_after: u64) -> Refusal<'_> {
    Refusal { reason, retry_after: Some(retry_after), limit, keys_of: None, api_key: None }
}
