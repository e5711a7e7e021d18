//! How a request would be decided, and why: the very decision, followed step by step, which charges nothing.
//!
//! [`explain`] takes the steps of [`gate::decide`](crate::gate::decide) themselves, so that the two cannot differ; what
//! it does not do is charge limits and count failed tries. [`Described`] is the request that is asked about, and
//! [`Answer`] what is told of it: the document of `SetHandler jwt-gate-explain`.

mod answer;
mod described;

use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;

use smallvec::SmallVec;

pub use self::answer::Answer;
pub use self::described::Described;
use crate::config::credentials::{Source, TokenMode};
use crate::config::policy::{Limit, LockoutKey, Policy};
use crate::config::server::Networks;
use crate::facts::Facts;
use crate::gate::{Effect, FailureCount, Prior, Refusal, Shared, Stage, Tested, Verdict, decide_with};
use crate::limit::{Charge, LockoutRule, Measure, Outcome, Standing, Subject, test_all};
use crate::net::rules::AddressRules;
use crate::time::{MonoNanos, Now};
use crate::verdict::Reason;

/// What became of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StepResult {
    /// It has no objection.
    Passed,
    /// It refuses, and ends the decision.
    Refused,
    /// It would refuse, if it were no dry run.
    WouldRefuse,
    /// It was not come to, or there is nothing to it.
    Skipped,
}

impl StepResult {
    /// Its one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::WouldRefuse => "would-refuse",
            Self::Skipped => "skipped",
        }
    }
}

/// A step of a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What it is about.
    pub name: String,
    /// What became of it.
    pub result: StepResult,
    /// More about it, for the administrator; may be empty.
    pub detail: String,
}

impl Step {
    /// A step.
    pub fn new(name: impl Into<String>, result: StepResult, detail: impl Into<String>) -> Self {
        Self { name: name.into(), result, detail: detail.into() }
    }
}

/// How a limit stands before the request.
#[derive(Clone, Debug)]
pub struct LimitState {
    /// Its name.
    pub name: String,
    /// It is tried out only.
    pub dry_run: bool,
    /// What it allows.
    pub measure: Measure,
    /// What is left of it.
    pub standing: Standing,
}

/// How a decision came about.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// In the order of the decision; those that it did not come to, too.
    pub steps: Vec<Step>,
    /// The limits that were tested.
    pub limits: Vec<LimitState>,
}

/// What [`gate::decide`](crate::gate::decide) would decide, and how. Nothing is charged, and no failure is counted:
/// [`Verdict::charged`] and [`Verdict::has_failed`] say what would have been, and standings are those before the
/// request.
pub fn explain<'r, 'p>(
    policy: &'p Policy,
    shared: Shared<'_>,
    facts: &impl Facts<'r>,
    prior: Prior<'_>,
    now: Now,
) -> (Verdict<'p>, Explanation) {
    let follower = Follower::default();
    let verdict = decide_with(policy, shared, facts, prior, now, &follower);
    let events = follower.0.into_inner();
    let teller = Teller {
        policy,
        networks: shared.networks,
        subject: Subject {
            client: facts.client(),
            peer: facts.peer(),
            prefix: policy.prefix,
            identity: verdict.outcome.as_ref().map_or(verdict.refused.as_ref(), |identity| identity.as_ref()),
        },
        prior,
        verdict: &verdict,
        events: &events,
    };
    let limits = events.iter().filter_map(|event| match event {
        Event::Tested(Tested { limit, measure, standing }) => Some(LimitState {
            name: limit.def.name.clone(),
            dry_run: limit.dry_run,
            measure: *measure,
            standing: *standing,
        }),
        _ => None,
    });
    let explanation = Explanation { steps: teller.steps(), limits: limits.collect() };
    (verdict, explanation)
}

/// What is noted of a decision.
enum Event<'p> {
    Reached(Stage),
    Refused { stage: Option<Stage>, dry_run: bool, refusal: Refusal<'p> },
    Tested(Tested<'p>),
}

/// Follows a decision, and keeps it from having effects.
#[derive(Default)]
struct Follower<'p>(RefCell<Vec<Event<'p>>>);

impl<'p> Effect<'p> for Follower<'p> {
    fn charge(&self, charges: &mut [Charge<'_>], now: Now, clock: impl Fn(MonoNanos) -> MonoNanos) -> Outcome {
        test_all(charges, now.at(now.mono.max(clock(now.mono))))
    }

    fn count(&self, _: FailureCount<'_>, _: &LockoutKey, _: Now) -> SmallVec<[LockoutRule; 1]> {
        SmallVec::new()
    }

    fn reached(&self, stage: Stage) {
        self.0.borrow_mut().push(Event::Reached(stage));
    }

    fn refused(&self, dry_run: bool, refusal: &Refusal<'p>) {
        let mut events = self.0.borrow_mut();
        let stage = events.iter().rev().find_map(|event| match event {
            Event::Reached(stage) => Some(*stage),
            _ => None,
        });
        events.push(Event::Refused { stage, dry_run, refusal: refusal.clone() });
    }

    fn tested(&self, tested: Tested<'p>) {
        self.0.borrow_mut().push(Event::Tested(tested));
    }
}

/// Tells of a decision.
struct Teller<'t, 'p> {
    policy: &'p Policy,
    networks: &'t Networks,
    subject: Subject<'t>,
    prior: Prior<'t>,
    verdict: &'t Verdict<'p>,
    events: &'t [Event<'p>],
}

impl<'p> Teller<'_, 'p> {
    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![self.addresses(), self.lockout()];
        steps.extend(self.policy.early_limits.iter().map(|limit| self.limit(limit, Stage::EarlyLimits)));
        steps.extend(self.preflight());
        steps.extend([self.credential(), self.identity(), self.csrf()]);
        steps.extend(self.policy.late_limits.iter().map(|limit| self.limit(limit, Stage::LateLimits)));
        steps
    }

    fn is_reached(&self, stage: Stage) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Reached(reached) if *reached == stage))
    }

    /// The first refusal of a stage, and whether it is tried out only.
    fn refusal(&self, at: Stage) -> Option<(StepResult, &Refusal<'p>)> {
        self.events.iter().find_map(|event| match event {
            Event::Refused { stage, dry_run, refusal } if *stage == Some(at) => Some((result(*dry_run), refusal)),
            _ => None,
        })
    }

    /// A step of one stage: `passed` tells what there is to it.
    fn step(
        &self,
        name: &str,
        stage: Stage,
        passed: impl FnOnce() -> (StepResult, String),
        refused: impl FnOnce(&Refusal<'p>) -> String,
    ) -> Step {
        if !self.is_reached(stage) {
            return Step::new(name, StepResult::Skipped, "");
        }
        match self.refusal(stage) {
            Some((result, refusal)) => Step::new(name, result, refused(refusal)),
            None => {
                let (result, detail) = passed();
                Step::new(name, result, detail)
            }
        }
    }

    fn addresses(&self) -> Step {
        let Policy { addresses, address_trial, .. } = self.policy;
        let who = self.who();
        let why = |rules: &AddressRules| {
            let Subject { client, peer, .. } = self.subject;
            let denied = rules.deny.iter().any(|rule| rule.set.contains(if rule.peer { peer } else { client }));
            if denied { "in a JwtGateDeny" } else { "in no JwtGateAllow" }
        };
        let is_free = [addresses, address_trial].iter().all(|rules| rules.allow.is_empty() && rules.deny.is_empty());
        let passed =
            || (StepResult::Passed, if is_free { format!("{who}; everybody may connect") } else { who.clone() });
        self.step("addresses", Stage::Addresses, passed, |_| {
            let Subject { client, peer, .. } = self.subject;
            let rules = if addresses.permits(client, peer) { address_trial } else { addresses };
            format!("{who}; {}", why(rules))
        })
    }

    /// The addresses, and the networks that they are in.
    fn who(&self) -> String {
        let Subject { client, peer, .. } = self.subject;
        let mut text = self.with_networks(client);
        if peer != client {
            let _ = write!(text, ", connected from {}", self.with_networks(peer));
        }
        text
    }

    fn with_networks(&self, address: IpAddr) -> String {
        let mut names: Vec<&str> = self
            .networks
            .iter()
            .filter(|(_, set)| set.as_ref().is_some_and(|set| set.contains(address)))
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        let names: String = names.iter().map(|name| format!(" @{name}")).collect();
        let address = address.to_canonical();
        if names.is_empty() { address.to_string() } else { format!("{address} is in{names}") }
    }

    fn lockout(&self) -> Step {
        let passed = || match self.policy.lockout {
            None => (StepResult::Skipped, "no JwtGateLockout applies".to_owned()),
            Some(_) => (StepResult::Passed, String::new()),
        };
        self.step("lock-out", Stage::Lockout, passed, |refusal| {
            format!("for {} s more", refusal.retry_after.unwrap_or_default())
        })
    }

    fn limit(&self, limit: &'p Limit, stage: Stage) -> Step {
        let name = format!("limit {}", limit.def.name);
        let refusal = self.events.iter().find_map(|event| match event {
            Event::Refused { dry_run, refusal, .. } if refusal.limit.is_some_and(|other| other.id == limit.id) => {
                Some((*dry_run, refusal))
            }
            _ => None,
        });
        let standings = self.events.iter().filter_map(|event| match event {
            Event::Tested(tested) if tested.limit.id == limit.id => Some(tested),
            _ => None,
        });
        let mut details: Vec<String> = standings.map(standing).collect();
        let is_tested = !details.is_empty();
        let result = match refusal {
            Some((dry_run, refusal)) => {
                details.extend(refusal.retry_after.map(|secs| format!("again in {secs} s")));
                result(dry_run)
            }
            None if is_tested => StepResult::Passed,
            None => {
                details.extend(self.why_not_tested(limit, stage).map(str::to_owned));
                StepResult::Skipped
            }
        };
        Step::new(name, result, details.join("; "))
    }

    fn why_not_tested(&self, limit: &Limit, stage: Stage) -> Option<&'static str> {
        if !self.is_reached(stage) {
            return None;
        }
        Some(if limit.is_exempt(self.subject.client) {
            "does not count this address (exempt=)"
        } else if !limit.counts(&self.subject) {
            "counts nobody who is anonymous"
        } else if self.prior.charged.contains(&limit.id) {
            "counted before, for another part of this request"
        } else {
            return None;
        })
    }

    /// Where CORS is configured.
    fn preflight(&self) -> Option<Step> {
        self.policy.cors.as_ref()?;
        Some(if self.verdict.preflight {
            Step::new("preflight", StepResult::Passed, "answered here with 204, without a credential")
        } else {
            Step::new("preflight", StepResult::Skipped, "")
        })
    }

    fn credential(&self) -> Step {
        let passed = || {
            let found = self.verdict.source.as_ref().map(place);
            match found {
                _ if self.policy.token == TokenMode::None => {
                    (StepResult::Skipped, "not looked for (JwtGateToken none)".to_owned())
                }
                Some(place) => (StepResult::Passed, format!("found {place}")),
                None => (StepResult::Passed, "none, which may be (JwtGateToken optional)".to_owned()),
            }
        };
        self.step("credential", Stage::Credential, passed, word)
    }

    fn identity(&self) -> Step {
        let name = if matches!(self.verdict.source, Some(Source::ApiKey(_))) { "API key" } else { "token" };
        let passed = || {
            let Some(identity) = self.subject.identity else { return (StepResult::Passed, String::new()) };
            let mut text = identity.subject().map_or("without subject".to_owned(), |subject| format!("of {subject}"));
            for (what, of) in [("issuer", identity.issuer()), ("plan", identity.plan())] {
                if let Some(of) = of {
                    let _ = write!(text, ", {what} {of}");
                }
            }
            (StepResult::Passed, text)
        };
        self.step(name, Stage::Identity, passed, |refusal| match refusal {
            Refusal { reason: Reason::KeyUnknown, keys_of: Some(_), .. } => {
                "key-unknown; the request itself may have newer keys fetched first".to_owned()
            }
            refusal => word(refusal),
        })
    }

    fn csrf(&self) -> Step {
        let passed = || match self.verdict.source {
            Some(Source::Cookie(_)) => (StepResult::Passed, "meant by the user".to_owned()),
            _ => (StepResult::Skipped, "the credential is not in a cookie".to_owned()),
        };
        self.step("csrf", Stage::Forgery, passed, |_| "another site may have made the browser send it".to_owned())
    }
}

const fn result(dry_run: bool) -> StepResult {
    if dry_run { StepResult::WouldRefuse } else { StepResult::Refused }
}

fn word(refusal: &Refusal<'_>) -> String {
    refusal.reason.word().to_owned()
}

/// Where a credential was.
fn place(source: &Source) -> String {
    match source {
        Source::Bearer => "in Authorization".to_owned(),
        Source::Header(name) | Source::ApiKey(name) => format!("in the header {name}"),
        Source::Cookie(name) => format!("in the cookie {name}"),
        Source::Query(name) => format!("in the parameter {name}"),
    }
}

fn standing(tested: &Tested<'_>) -> String {
    let Tested { measure, standing, .. } = tested;
    let kind = if matches!(measure, Measure::Quota { .. }) { "quota" } else { "rate" };
    format!("{kind}: {} of {} left", standing.remaining, measure.quantity())
}
