//! A server with four issuers and shared memory, policies written as directives, and requests to it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::algorithm::Algorithm::EdDSA;
use jwt_gate_core::apikey::{self, ApiKeyList};
use jwt_gate_core::config::credentials::{self, TokenMode};
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{Mode, Section};
use jwt_gate_core::config::server::ServerTables;
use jwt_gate_core::config::{address, cors, limit, lockout, plan, resource};
use jwt_gate_core::explain::{Explanation, StepResult, explain};
use jwt_gate_core::facts::{Facts, Found, PlainFacts};
use jwt_gate_core::gate::{ApiKeys, FailureCount, Prior, Refusal, Shared, Verdict, decide};
use jwt_gate_core::identity::Identity;
use jwt_gate_core::limit::{Geometry, LockoutRule, Lockouts, Meter, SlotTable, TableKind, Tables};
use jwt_gate_core::net::address::AddressPrefix;
use jwt_gate_core::revocation::RevocationList;
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, Now};
use jwt_gate_core::token::cache::TokenCache;
use ring::digest;

use super::token_mint::{self, AUD, ISS, issuer, sign, token};

pub(crate) const OTHER: &str = "https://other.test";
/// Its keys could never be fetched.
pub(crate) const LOST: &str = "https://lost.test";

/// What the requests of one test share.
pub(crate) struct Gate {
    counts: Tables<'static>,
    failures: SlotTable<'static>,
    /// Those of all policies so far.
    lockouts: RefCell<Vec<LockoutRule>>,
    tokens: TokenCache,
    pub(crate) tables: ServerTables,
    /// As last read.
    pub(crate) api_keys: ApiKeys<'static>,
    /// As last read.
    pub(crate) revocations: Option<RevocationList>,
}

impl Gate {
    /// The issuers `login`, `other`, `lost` (without keys) and `session` (tokens without `iss`), and the
    /// networks `@office` (198.51.100.0/24) and `@unread`.
    pub(crate) fn new() -> Self {
        let table = |kind| {
            let geometry = Geometry::new(64, 64);
            // The table borrows its memory; a test's may as well stay until the process ends.
            let words = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
            SlotTable::format(kind, words, geometry, [1, 2]).unwrap()
        };
        let counts = Tables { rates: table(TableKind::Rates), quotas: Some(table(TableKind::Quotas)) };
        let issuers = [("login", Some(ISS)), ("other", Some(OTHER)), ("lost", Some(LOST)), ("session", None)];
        let issuers = issuers.into_iter().zip(0..).map(|((name, iss), id)| {
            let mut issuer = issuer(EdDSA);
            (issuer.id, issuer.name, issuer.issuer) = (id, name.to_owned(), iss.map(str::to_owned));
            issuer.keys = issuer.keys.filter(|_| name != "lost");
            Arc::new(issuer)
        });
        let office = Arc::new(["198.51.100.0/24".parse().unwrap()].into_iter().collect());
        let networks = [("office".to_owned(), Some(office)), ("unread".to_owned(), None)].into();
        let prefix = AddressPrefix::default();
        let tables = ServerTables { issuers: issuers.collect(), networks, plans: Vec::new(), prefix };
        Self {
            counts,
            failures: table(TableKind::Lockouts),
            lockouts: RefCell::default(),
            tokens: TokenCache::new(64),
            tables,
            api_keys: ApiKeys::None,
            revocations: None,
        }
    }

    /// The same with these plans, in this order.
    pub(crate) fn with_plans(plans: &[&str]) -> Self {
        let mut gate = Self::new();
        let words = |line: &str| plan::parse(&line.split(' ').collect::<Vec<_>>()).unwrap();
        gate.tables.plans = plans.iter().map(|line| Arc::new(words(line))).collect();
        gate
    }

    /// What one section with these directives asks for, their prefix `JwtGate` left out; `dry-run` is one.
    pub(crate) fn policy(&self, directives: &[&str]) -> Policy {
        let mut section = Section { mode: Some(Mode::On), ..Section::default() };
        for directive in directives {
            let words: Vec<&str> = directive.split(' ').collect();
            match words[0] {
                "dry-run" => section.mode = Some(Mode::DryRun),
                "Allow" => {
                    let directive = address::parse(&words[1..]).unwrap();
                    section.addresses(directive.dry_run).allow = directive.items;
                }
                "Deny" => {
                    let directive = address::parse(&words[1..]).unwrap();
                    section.addresses(directive.dry_run).deny.add(directive.items);
                }
                "Lockout" => section.lockout = Some(lockout::parse(&words[1..]).unwrap()),
                "Limit" => {
                    let limit = limit::parse(&words[1..]).unwrap().unwrap();
                    section.limits.items.push((Default::default(), Arc::new(limit)));
                }
                "Token" => section.token = Some(TokenMode::parse(words[1]).unwrap()),
                "Credentials" => section.credentials = Some(credentials::parse(&words[1..]).unwrap()),
                "Cors" => section.cors = Some(cors::parse(&words[1..]).unwrap().map(Arc::new)),
                "Resource" => section.resource = Some(resource::parse(&words[1..]).unwrap().map(Arc::new)),
                "Issuers" => section.issuers = Some(words[1..].iter().map(|word| (*word).to_owned()).collect()),
                other => panic!("{other}"),
            }
        }
        self.lockouts.borrow_mut().extend(section.lockout.flatten().map(|lockout| lockout.rule));
        let iss: Vec<_> = self.tables.issuers.iter().map(|i| i.issuer.as_deref().unwrap_or(&i.name)).collect();
        let now = Now { mono: START, wall: token_mint::now() };
        let meter = |def: &LimitDef, numbers, quota, dry_run| {
            Meter::reserve(self.counts, def.id(dry_run), &def.key, (numbers, quota), &iss, now).map(Arc::new)
        };
        Policy::resolve(&[&section], &self.tables, &meter).unwrap()
    }

    /// The decision on a request that is not part of another.
    pub(crate) fn decide<'p>(&self, policy: &'p Policy, request: &Request) -> Verdict<'p> {
        self.decide_after(policy, request, Prior::default())
    }

    pub(crate) fn decide_after<'p>(&self, policy: &'p Policy, request: &Request, prior: Prior<'_>) -> Verdict<'p> {
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let facts = PlainFacts {
            client: request.client,
            peer: request.peer,
            method: request.method.as_bytes(),
            query: request.query.as_deref().map(str::as_bytes),
            headers: &headers,
            own_scheme: b"https",
        };
        let mono = |time: Duration| MonoNanos(START.0 + u64::try_from(time.as_nanos()).unwrap());
        let now = Now { mono: mono(request.time), wall: token_mint::now().saturating_add(request.time) };
        let facts = TimedFacts { facts, later: mono(request.time + request.taking) };
        let rules = Lockouts::new(self.lockouts.borrow().iter().copied());
        let shared = Shared {
            limits: self.counts,
            lockouts: Some(FailureCount { rules: &rules, table: self.failures }),
            tokens: &self.tokens,
            revocations: self.revocations.as_ref(),
            api_keys: self.api_keys,
            networks: &self.tables.networks,
        };
        // Asking before changes nothing: the tests of the decision itself say so.
        let (told, explanation) = explain(policy, shared, &facts, prior, now);
        let verdict = decide(policy, shared, &facts, prior, now);
        assert_explained(&verdict, &told, &explanation);
        verdict
    }

    /// The decision in one word: `ok`, or the reason of the refusal.
    pub(crate) fn word(&self, policy: &Policy, request: &Request) -> &'static str {
        word(&self.decide(policy, request))
    }
}

/// Asserts that a decision is as it was explained before.
fn assert_explained(verdict: &Verdict<'_>, told: &Verdict<'_>, explanation: &Explanation) {
    let refusal = |refusal: &Refusal<'_>| (refusal.reason, refusal.limit.map(|limit| limit.id), refusal.keys_of);
    let all = |verdict: &Verdict<'_>| {
        let who = verdict.outcome.as_ref().map_or(verdict.refused.as_ref(), |identity| identity.as_ref());
        let who = who.map(|who| (who.subject().map(str::to_owned), who.plan().map(str::to_owned)));
        let outcome = verdict.outcome.as_ref().err().map(refusal);
        let would_deny = verdict.would_deny.as_ref().map(refusal);
        let Verdict { source, charged, has_failed, preflight, .. } = verdict;
        (outcome, would_deny, who, source.clone(), charged.clone(), *has_failed, *preflight)
    };
    assert_eq!(all(verdict), all(told));
    let count = |result| explanation.steps.iter().filter(|step| step.result == result).count();
    assert_eq!(count(StepResult::Refused), usize::from(verdict.outcome.is_err()), "{explanation:?}");
    assert_eq!(count(StepResult::WouldRefuse) > 0, verdict.would_deny.is_some(), "{explanation:?}");
    let standings = verdict.standings.iter().zip(&told.standings);
    assert_eq!(verdict.standings.len(), told.standings.len());
    for (after, before) in standings {
        let is_charged = verdict.charged.contains(&after.limit.id);
        assert_eq!(after.standing.remaining + u32::from(is_charged), before.standing.remaining, "{explanation:?}");
    }
}

/// A request to a host whose clock goes on.
struct TimedFacts<'r> {
    facts: PlainFacts<'r>,
    later: MonoNanos,
}

impl<'r> Facts<'r> for TimedFacts<'r> {
    fn client(&self) -> IpAddr {
        self.facts.client()
    }

    fn peer(&self) -> IpAddr {
        self.facts.peer()
    }

    fn method(&self) -> &'r [u8] {
        self.facts.method()
    }

    fn query(&self) -> Option<&'r [u8]> {
        self.facts.query()
    }

    fn header(&self, name: &str) -> Found<'r> {
        self.facts.header(name)
    }

    fn own_scheme(&self) -> &'r [u8] {
        self.facts.own_scheme()
    }

    fn later(&self, _: MonoNanos) -> MonoNanos {
        self.later
    }
}

const START: MonoNanos = MonoNanos(1 << 40);

pub(crate) fn word(verdict: &Verdict<'_>) -> &'static str {
    verdict.outcome.as_ref().map_or_else(|refusal| refusal.reason.word(), |_| "ok")
}

/// Whether these are by one token that was verified once.
pub(crate) fn is_same_token(one: &Identity, other: &Identity) -> bool {
    Arc::ptr_eq(one.token().unwrap(), other.token().unwrap())
}

/// Why the request would have been refused, or `-`.
pub(crate) fn would_deny(verdict: &Verdict<'_>) -> &'static str {
    verdict.would_deny.as_ref().map_or("-", |refusal| refusal.reason.word())
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    client: IpAddr,
    peer: IpAddr,
    method: &'static str,
    query: Option<String>,
    headers: Vec<(&'static str, String)>,
    /// Since the beginning of the test, on both clocks.
    time: Duration,
    /// How long the decision takes.
    taking: Duration,
}

/// A GET of this client over a proxy on the same machine.
pub(crate) fn from(client: &str) -> Request {
    Request {
        client: client.parse().unwrap(),
        peer: "127.0.0.1".parse().unwrap(),
        method: "GET",
        query: None,
        headers: vec![("Host", "app.test".to_owned())],
        time: Duration::ZERO,
        taking: Duration::ZERO,
    }
}

/// A GET of some client with this token.
pub(crate) fn with(token: impl Into<String>) -> Request {
    from("192.0.2.1").bearer(token)
}

impl Request {
    pub(crate) fn peer(self, peer: &str) -> Self {
        Self { peer: peer.parse().unwrap(), ..self }
    }

    pub(crate) fn post(self) -> Self {
        Self { method: "POST", ..self }
    }

    /// What a browser asks before a page of this origin may send this method.
    pub(crate) fn preflight(self, origin: &str, method: &str) -> Self {
        Self { method: "OPTIONS", ..self }.header("Origin", origin).header("Access-Control-Request-Method", method)
    }

    pub(crate) fn query(self, query: String) -> Self {
        Self { query: Some(query), ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn bearer(self, token: impl Into<String>) -> Self {
        self.header("Authorization", format!("Bearer {}", token.into()))
    }

    pub(crate) fn cookie(self, token: impl Into<String>) -> Self {
        self.header("Cookie", format!("session={}", token.into()))
    }

    /// With the API key of this id, where keys are looked for.
    pub(crate) fn key(self, id: &str) -> Self {
        self.header("X-Api-Key", key_text(id))
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    pub(crate) fn taking(self, taking: Duration) -> Self {
        Self { taking, ..self }
    }
}

/// A token of this issuer; `more` claims as they stand behind a comma. Good for 300 s and the leeway of 30 s.
pub(crate) fn token_of(iss: Option<&str>, more: &str) -> String {
    let iss = iss.map(|iss| format!(r#""iss":"{iss}","#)).unwrap_or_default();
    let comma = if more.is_empty() { "" } else { "," };
    token(EdDSA, &format!(r#"{{{iss}"aud":"{AUD}","exp":{}{comma}{more}}}"#, token_mint::NOW + 300))
}

/// A token of `login` with these claims that is good for years.
pub(crate) fn lasting(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    token(EdDSA, &format!(r#"{{"iss":"{ISS}","aud":"{AUD}","exp":9000000000{comma}{more}}}"#))
}

/// The API keys of a server that knows these, by their ids; each with the other members of its entry, as they stand
/// behind a comma.
pub(crate) fn api_keys(keys: &[(&str, &str)]) -> ApiKeys<'static> {
    let entry = |(id, more): &(&str, &str)| {
        let hash = digest::digest(&digest::SHA256, key_text(id).as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let comma = if more.is_empty() { "" } else { "," };
        format!(r#"{{"id":"{id}","sha256":"{hash}"{comma}{more}}}"#)
    };
    let entries = keys.iter().map(entry).collect::<Vec<_>>().join(",");
    let compiled = apikey::compile(format!(r#"{{"keys":[{entries}]}}"#).as_bytes()).unwrap();
    ApiKeys::List(Box::leak(Box::new(ApiKeyList::open(Arc::new(compiled.bytes)).unwrap())))
}

/// The API key of this id.
pub(crate) fn key_text(id: &str) -> String {
    format!("secret-of-the-tests:{id}")
}

/// A token of `login` for this subject.
pub(crate) fn token_for(subject: &str) -> String {
    token_of(Some(ISS), &format!(r#""sub":"{subject}""#))
}

/// A token for alice with the signature of another.
pub(crate) fn forged() -> String {
    let (good, other) = (token_for("alice"), sign(EdDSA, r#"{"alg":"EdDSA"}"#, "{}"));
    let (input, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    format!("{input}.{signature}")
}
