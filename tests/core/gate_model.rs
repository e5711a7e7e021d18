//! Limits, quotas, plans and dry runs together, over time, against a simple model of them.
//!
//! The model has no words and no tables: a bucket is a level that rises with time, a window is a number of the
//! calendar.

use std::collections::HashMap;
use std::time::Duration;

use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::gate::Verdict;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::gate_fixture::*;
use super::token_mint::NOW;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// A rate, the nanoseconds for one request, and the size of the bucket.
type Rate = (&'static str, u64, u64);
/// How many, in which period.
type Quota = (u64, &'static str);

const RATES: [(&str, u64); 5] =
    [("2/s", SECOND / 2), ("1/s", SECOND), ("10/m", 6 * SECOND), ("1/m", 60 * SECOND), ("1/h", 3600 * SECOND)];

#[derive(Clone, Debug)]
struct Limit {
    key: &'static str,
    rate: Rate,
    quota: Option<Quota>,
    has_claim: bool,
    default: Option<usize>,
    is_exempt: bool,
    dry_run: bool,
}

#[derive(Clone, Debug)]
struct Plan {
    rate: Option<Rate>,
    quota: Option<Quota>,
}

/// In which place a request is made, from where, by whom and with which plan in its token, and how long after
/// the one before.
#[derive(Clone, Debug)]
struct Step {
    is_trial: bool,
    client: &'static str,
    subject: Option<&'static str>,
    plan: Option<usize>,
    wait: Wait,
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    Nanos(u64),
    /// Until so many microseconds before the end of the day.
    Midnight(u64),
}

fn rate() -> impl Strategy<Value = Rate> {
    (select(&RATES[..]), 1..4_u64).prop_map(|((text, interval), burst)| (text, interval, burst))
}

fn quota() -> impl Strategy<Value = Quota> {
    (1..6_u64, select(&["day", "week", "month"][..]))
}

fn limit() -> impl Strategy<Value = Limit> {
    let key = select(&["global", "address", "subject", "address+subject"][..]);
    let plan = (any::<bool>(), prop::option::of(0..PLANS));
    (key, rate(), prop::option::of(quota()), plan, any::<bool>(), prop::bool::weighted(0.25)).prop_map(
        |(key, rate, quota, (has_claim, default), is_exempt, dry_run)| Limit {
            key,
            rate,
            quota,
            has_claim,
            default,
            is_exempt,
            dry_run,
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    (prop::option::of(rate()), prop::option::of(quota())).prop_map(|(rate, quota)| Plan { rate, quota })
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        8 => select(&[0, 1, SECOND / 3, SECOND, 6 * SECOND, 59 * SECOND][..]).prop_map(Wait::Nanos),
        2 => select(&[3600 * SECOND, DAY, 9 * DAY][..]).prop_map(Wait::Nanos),
        2 => (0..3_u64).prop_map(Wait::Midnight),
    ];
    let client = select(&["192.0.2.1", "192.0.2.2", "198.51.100.1"][..]);
    let subject = prop::option::weighted(0.8, select(&["alice", "bob"][..]));
    (prop::bool::weighted(0.2), client, subject, prop::option::of(0..PLANS), wait)
        .prop_map(|(is_trial, client, subject, plan, wait)| Step { is_trial, client, subject, plan, wait })
}

const PLANS: usize = 3;

impl Limit {
    fn line(&self, name: usize) -> String {
        let mut line = format!("Limit l{name} key={} rate={} burst={}", self.key, self.rate.0, self.rate.2);
        line.extend(self.quota.map(|(count, period)| format!(" quota={count}/{period}")));
        line.extend(self.has_claim.then_some(" plan-claim=tier"));
        line.extend(self.default.map(|plan| format!(" default-plan=p{plan}")));
        line.extend(self.is_exempt.then_some(" exempt=@office"));
        line.extend(self.dry_run.then_some(" dry-run"));
        line
    }

    fn is_late(&self) -> bool {
        self.key.contains("subject") || self.has_claim || self.default.is_some()
    }

    fn applies(&self, step: &Step) -> bool {
        (step.subject.is_some() || !self.key.contains("subject")) && !(self.is_exempt && step.client == "198.51.100.1")
    }

    /// Whose bucket.
    fn whose(&self, step: &Step) -> String {
        match self.key {
            "global" => String::new(),
            "address" => step.client.to_owned(),
            "subject" => step.subject.unwrap().to_owned(),
            _ => format!("{} {}", step.client, step.subject.unwrap()),
        }
    }

    fn numbers(&self, plans: &[Plan], step: &Step) -> (Rate, Option<Quota>) {
        let claimed = step.plan.filter(|_| self.has_claim && step.subject.is_some());
        let plan = claimed.or(self.default).map(|plan| &plans[plan]);
        (plan.and_then(|plan| plan.rate).unwrap_or(self.rate), plan.and_then(|plan| plan.quota).or(self.quota))
    }
}

impl Plan {
    fn line(&self, name: usize) -> String {
        let mut line = format!("p{name}");
        line.extend(self.rate.map(|(rate, _, burst)| format!(" rate={rate} burst={burst}")));
        line.extend(self.quota.map(|(count, period)| format!(" quota={count}/{period}")));
        line
    }
}

/// A limit, tried out or not, and whose.
type Owner = (usize, bool, String);

#[derive(Default)]
struct Model {
    /// What is left, in nanoseconds of waiting, and when that was.
    levels: HashMap<(Owner, u64, u64), (u64, u64)>,
    /// What was used up in which window.
    used: HashMap<(Owner, &'static str), (u64, u64)>,
}

/// What one limit says of a request by one of its measures.
struct Said {
    limit: usize,
    is_quota: bool,
    left: u64,
    /// Nanoseconds until it would admit the request, if it does not now.
    wait: Option<u64>,
}

/// A refusal: its reason, the limit, and the seconds to wait.
type Refusal = (&'static str, String, u64);

/// The number of a window, and where it ends, nanoseconds since 1970.
fn window(period: &str, now: u64) -> (u64, u64) {
    let day = now / DAY;
    match period {
        "day" => (day, (day + 1) * DAY),
        // Day 4 was a Monday.
        "week" => ((day + 3) / 7, ((day + 3) / 7 * 7 + 4) * DAY),
        _ => {
            // The firsts of December 2023 to December 2024.
            let firsts = [19692, 19723, 19754, 19783, 19814, 19844, 19875, 19905, 19936, 19967, 19997, 20028, 20058];
            let passed = firsts.iter().filter(|first| **first <= day).count();
            (passed as u64, firsts[passed] * DAY)
        }
    }
}

impl Model {
    /// Charges all of these limits, or none of them: what they say, and what the first of them refuses with.
    fn charge(
        &mut self,
        (limits, plans): (&[Limit], &[Plan]),
        chosen: &[usize],
        (step, is_trial): (&Step, bool),
        now: u64,
    ) -> (Vec<Said>, Option<Refusal>) {
        let mut said = Vec::new();
        let mut after = Vec::new();
        for &index in chosen {
            let limit = &limits[index];
            let owner = (index, is_trial, limit.whose(step));
            let ((_, interval, burst), quota) = limit.numbers(plans, step);
            let bucket = (owner.clone(), interval, burst);
            let (level, then) = self.levels.get(&bucket).copied().unwrap_or((interval * burst, 0));
            let level = (level + (now - then)).min(interval * burst);
            let is_empty = level < interval;
            let wait = is_empty.then(|| interval - level);
            let kept = if is_empty { level } else { level - interval };
            said.push(Said { limit: index, is_quota: false, left: level / interval, wait });
            after.push((Some((bucket, (kept, now))), None));
            if let Some((count, period)) = quota {
                // The wall clock has microseconds.
                let wall = now / 1000 * 1000;
                let (number, end) = window(period, wall);
                let bucket = (owner, period);
                let used = self.used.get(&bucket).filter(|(window, _)| *window == number).map_or(0, |(_, used)| *used);
                let wait = (used >= count).then(|| end - wall);
                said.push(Said { limit: index, is_quota: true, left: count.saturating_sub(used), wait });
                after.push((None, Some((bucket, (number, used + 1)))));
            }
        }
        let refusing = || said.iter().filter(|said| said.wait.is_some());
        let Some(first) = refusing().find(|said| said.is_quota).or_else(|| refusing().next()) else {
            for (level, used) in after {
                self.levels.extend(level);
                self.used.extend(used);
            }
            said.iter_mut().for_each(|said| said.left -= 1);
            return (said, None);
        };
        let seconds = refusing().filter_map(|said| said.wait).max().unwrap_or(0).div_ceil(SECOND).max(1);
        let reason = if first.is_quota { "quota-exceeded" } else { "rate-limited" };
        let refusal = (reason, format!("l{}", first.limit), seconds);
        (said, Some(refusal))
    }
}

/// The request, decided and modelled.
fn check(
    gate: &Gate,
    policies: &[Policy; 2],
    model: &mut Model,
    limits: &[Limit],
    plans: &[Plan],
    step: &Step,
    now: u64,
) {
    let mut request = from(step.client).after(Duration::from_nanos(now - NOW * SECOND));
    if let Some(subject) = step.subject {
        let plan = step.plan.map(|plan| format!(r#","tier":"p{plan}""#)).unwrap_or_default();
        request = request.bearer(lasting(&format!(r#""sub":"{subject}"{plan}"#)));
    }
    let verdict = gate.decide(&policies[usize::from(step.is_trial)], &request);

    let (mut refused, mut would): (Option<Refusal>, Option<Refusal>) = (None, None);
    let mut standings = Vec::new();
    'steps: for is_late in [false, true] {
        for is_trial in [false, true] {
            let chosen: Vec<_> = (0..limits.len())
                .filter(|&index| {
                    let limit = &limits[index];
                    limit.is_late() == is_late && limit.applies(step) && (limit.dry_run || step.is_trial) == is_trial
                })
                .collect();
            let (said, refusal) = model.charge((limits, plans), &chosen, (step, is_trial), now);
            if is_trial {
                would = would.or(refusal);
                continue;
            }
            standings.extend(said.iter().map(|said| (format!("l{}", said.limit), said.is_quota, said.left)));
            if refusal.is_some() {
                refused = refusal;
                break 'steps;
            }
        }
    }
    let told = |refusal: &jwt_gate_core::gate::Refusal<'_>| {
        (refusal.reason.word(), refusal.limit.unwrap().def.name.clone(), refusal.retry_after.unwrap())
    };
    assert_eq!(verdict.outcome.as_ref().err().map(told), refused, "{step:?}");
    assert_eq!(verdict.would_deny.as_ref().map(told), would, "{step:?}");
    assert_eq!(shown(&verdict), standings, "{step:?}");
}

fn shown(verdict: &Verdict<'_>) -> Vec<(String, bool, u64)> {
    let tested = verdict.standings.iter();
    tested
        .map(|tested| {
            let is_quota = tested.measure.suffix() == "-quota";
            (tested.limit.def.name.clone(), is_quota, tested.standing.remaining.into())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn decisions_are_those_of_the_model(
        limits in vec(limit(), 1..4),
        plans in vec(plan(), PLANS),
        steps in vec(step(), 1..40),
    ) {
        let lines: Vec<_> = plans.iter().enumerate().map(|(name, plan)| plan.line(name)).collect();
        let gate = Gate::with_plans(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let lines: Vec<_> = limits.iter().enumerate().map(|(name, limit)| limit.line(name)).collect();
        let policies = [None, Some("dry-run")].map(|mode| {
            let lines = lines.iter().map(String::as_str).chain(["Token optional"]).chain(mode);
            gate.policy(&lines.collect::<Vec<_>>())
        });
        let mut model = Model::default();
        let mut now = NOW * SECOND;
        for step in &steps {
            now = match step.wait {
                Wait::Nanos(nanos) => now + nanos,
                Wait::Midnight(micros) => now.max((now / DAY + 1) * DAY - micros * 1000),
            };
            check(&gate, &policies, &mut model, &limits, &plans, step, now);
        }
    }
}
