//! The decision.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::credentials::{Source, TokenMode};
use crate::config::policy::{Limit, Policy};
use crate::cors;
use crate::credentials;
use crate::csrf;
use crate::facts::Facts;
use crate::limit::LimitId;
use crate::limit::SlotTable;
use crate::limit::Subject;
use crate::limit::{Charge, Outcome, Standing};
use crate::revocation::RevocationList;
use crate::time::Now;
use crate::token::cache::TokenCache;
use crate::token::{Rejection, Verified};
use crate::verdict::Reason;

/// What outlives requests and decisions share.
#[derive(Clone, Copy)]
pub struct Shared<'s> {
    /// Where limits are counted.
    pub limits: SlotTable<'s>,
    /// Tokens that were verified before.
    pub tokens: &'s TokenCache,
    /// Tokens that are refused whatever else is good about them.
    pub revocations: Option<&'s RevocationList>,
}

/// What is known of the same client request from before an internal redirect, or from the main request of
/// a sub-request.
#[derive(Clone, Copy, Default)]
pub struct Prior<'s> {
    /// Limits that were charged; they are not charged again.
    pub charged: &'s [LimitId],
    /// Limits that refused, and the seconds for `Retry-After`; they are not asked again.
    pub refused: &'s [(LimitId, u64)],
    /// Who sent the request, and where the credential was. It is judged again, but not looked for again.
    pub identity: Option<(&'s Arc<Verified>, &'s Source)>,
}

/// What was decided.
#[derive(Debug)]
pub struct Verdict<'p> {
    /// Who sent the request (`None`: anonymous), or why it is refused.
    pub outcome: Result<Option<Arc<Verified>>, Refusal<'p>>,
    /// Where the credential was found, in this part of the client request or before.
    pub source: Option<Source>,
    /// How the limits stand that were tested.
    pub standings: SmallVec<[Tested<'p>; 4]>,
    /// Limits that are charged, for [`Prior::charged`].
    pub charged: SmallVec<[LimitId; 4]>,
    /// Nobody's credential was looked for: the request is a CORS preflight and is answered as
    /// [`CorsDef::preflight`](crate::config::cors::CorsDef::preflight) says. It must never be let in.
    pub preflight: bool,
}

/// A limit and how it stands.
#[derive(Clone, Copy, Debug)]
pub struct Tested<'p> {
    /// Which.
    pub limit: &'p Limit,
    /// After this request.
    pub standing: Standing,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
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
}

impl From<Rejection> for Refusal<'_> {
    fn from(Rejection { reason, keys_of }: Rejection) -> Self {
        let retry_after = (reason == Reason::KeysUnavailable).then_some(KEYS_RETRY_SECS);
        Self { reason, retry_after, limit: None, keys_of }
    }
}

impl From<Reason> for Refusal<'_> {
    fn from(reason: Reason) -> Self {
        Rejection::from(reason).into()
    }
}

/// When a client should try again whose issuer's keys are not to be had.
const KEYS_RETRY_SECS: u64 = 30;

/// Decides a request. Cheapest first, so that a hostile request costs little; the first refusal wins:
/// networks, limits without identity, credential, token and its revocation, proof against forgery from other
/// sites, limits with identity. Where CORS is configured, a preflight ends behind the limits without identity:
/// browsers send it without credentials.
pub fn decide<'r, 'p>(
    policy: &'p Policy,
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    prior: Prior<'_>,
    now: Now,
) -> Verdict<'p> {
    let mut verdict = Verdict {
        outcome: Ok(None),
        source: None,
        standings: SmallVec::new(),
        charged: SmallVec::new(),
        preflight: false,
    };
    verdict.outcome = steps(policy, shared, facts, prior, now, &mut verdict);
    verdict
}

fn steps<'r, 'p>(
    policy: &'p Policy,
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    prior: Prior<'_>,
    now: Now,
    verdict: &mut Verdict<'p>,
) -> Result<Option<Arc<Verified>>, Refusal<'p>> {
    let (client, peer) = (facts.client(), facts.peer());
    if !policy.addresses.permits(client, peer) {
        return Err(Reason::AddressDenied.into());
    }
    let mut subject = Subject { client, peer, prefix: policy.prefix, identity: None };
    charge(&policy.early_limits, shared, facts, &subject, prior, now, verdict)?;
    if policy.cors.is_some() && cors::is_preflight(facts) {
        verdict.preflight = true;
        return Ok(None);
    }
    let identity = match prior.identity {
        _ if policy.token == TokenMode::None => None,
        Some((identity, source)) => {
            verdict.source = Some(source.clone());
            Some(judge_again(policy, shared, facts, identity, now, verdict)?)
        }
        None => identify(policy, shared, facts, now, verdict)?,
    };
    // Limits that need an identity do not apply to the anonymous.
    if let Some(identity) = &identity {
        subject.identity = Some(identity);
        charge(&policy.late_limits, shared, facts, &subject, prior, now, verdict)?;
    }
    Ok(identity)
}

/// The identity that an earlier policy found, by this one. If the definition of the issuer by which it was
/// verified is not accepted here, another one for the same issuer may be: the token is verified by that.
fn judge_again<'r>(
    policy: &Policy,
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    identity: &Arc<Verified>,
    now: Now,
    verdict: &mut Verdict<'_>,
) -> Result<Arc<Verified>, Rejection> {
    if policy.issuers.accepts(identity.issuer()) {
        identity.check_time(now.wall)?;
        check_revocation(shared, identity)?;
        return Ok(Arc::clone(identity));
    }
    match identify(policy, shared, facts, now, verdict) {
        // The token was taken away, or is not where this policy looks for it.
        Ok(None) | Err(Rejection { reason: Reason::TokenMissing, .. }) => Err(Reason::IssuerUnknown.into()),
        Ok(Some(verified)) => Ok(verified),
        Err(rejection) => Err(rejection),
    }
}

fn identify<'r>(
    policy: &Policy,
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    now: Now,
    verdict: &mut Verdict<'_>,
) -> Result<Option<Arc<Verified>>, Rejection> {
    let Some(credential) = credentials::find(&policy.credentials, facts)? else {
        return match policy.token {
            TokenMode::Required => Err(Reason::TokenMissing.into()),
            TokenMode::Optional | TokenMode::None => Ok(None),
        };
    };
    verdict.source = Some(credential.source.clone());
    let (verified, _) = shared.tokens.verify(&credential.token, &policy.issuers, now.wall);
    let verified = verified?;
    check_revocation(shared, &verified)?;
    if matches!(credential.source, Source::Cookie(_)) && !csrf::is_meant(facts, policy.cors.as_deref()) {
        return Err(Reason::Csrf.into());
    }
    Ok(Some(verified))
}

/// A token from memory is asked about like any other: the list may have changed since.
fn check_revocation(shared: Shared<'_>, token: &Verified) -> Result<(), Reason> {
    match shared.revocations {
        Some(list) if list.revokes(token) => Err(Reason::TokenRevoked),
        _ => Ok(()),
    }
}

/// Charges those of `limits` that apply and were not charged before: all, or none.
fn charge<'r, 'p>(
    limits: &'p [Limit],
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    subject: &Subject<'_>,
    prior: Prior<'_>,
    now: Now,
    verdict: &mut Verdict<'p>,
) -> Result<(), Refusal<'p>> {
    let applies = |limit: &&Limit| {
        !limit.exempt.as_ref().is_some_and(|network| network.contains(subject.client))
            && !prior.charged.contains(&limit.buckets.id())
    };
    let applying: SmallVec<[&'p Limit; 4]> = limits.iter().filter(applies).collect();
    if applying.is_empty() {
        return Ok(());
    }
    let refused = |limit: &&Limit| prior.refused.iter().find(|(id, _)| *id == limit.buckets.id());
    if let Some((limit, (_, retry_after))) = applying.iter().find_map(|limit| Some((*limit, refused(limit)?))) {
        return Err(refusal(Some(limit), *retry_after));
    }
    let mut charges: SmallVec<[Charge; 4]> =
        applying.iter().map(|limit| limit.buckets.charge(shared.limits, &limit.def, subject)).collect();
    let outcome = shared.limits.charge_all_by_clock(&mut charges, now.mono, |now| facts.later(now));
    let standings = applying.iter().zip(&charges).map(|(&limit, charge)| Tested { limit, standing: charge.standing() });
    verdict.standings.extend(standings);
    match outcome {
        Outcome::Admitted => {
            verdict.charged.extend(applying.iter().map(|limit| limit.buckets.id()));
            Ok(())
        }
        Outcome::Refused { first, retry_after } => Err(refusal(applying.get(first).copied(), retry_after)),
    }
}

fn refusal(limit: Option<&Limit>, retry_after: u64) -> Refusal<'_> {
    Refusal { reason: Reason::RateLimited, retry_after: Some(retry_after), limit, keys_of: None }
}
