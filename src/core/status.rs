//! How the gate is doing: the document behind the page of `SetHandler jwt-gate-status`.

use std::time::Duration;

use ring::digest;
use serde_json::{Map, Value, json};

use crate::config::limit::{KeyPart, LimitDef};
use crate::limit::{Occupancy, QUOTA_SUFFIX};
use crate::metrics::Table;
use crate::metrics::{Durations, Totals};
use crate::net::address::Cidr;
use crate::refusals::{Entry, Who};
use crate::time::UnixMicros;
use crate::verdict::Reason;

/// The page. It fetches the document every few seconds, and makes nothing of it but text.
pub const PAGE: &str = include_str!("status.html");

/// What the page may do (Content Security Policy Level 3): run its own script and style, which are named by their
/// hashes, and fetch from where it came from.
pub fn content_security_policy() -> String {
    let hash = |element: &str| {
        use base64::Engine;
        let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
        let content = PAGE.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).map_or("", |(text, _)| text);
        base64::engine::general_purpose::STANDARD.encode(digest::digest(&digest::SHA256, content.as_bytes()))
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// What is told.
#[derive(Clone, Debug)]
pub struct Status<'s> {
    /// When this was so.
    pub time: UnixMicros,
    /// What was counted.
    pub totals: Totals,
    /// Issuers whose keys are fetched.
    pub keys: Vec<KeysStatus<'s>>,
    /// Networks in files.
    pub networks: Vec<NetworkStatus<'s>>,
    /// How many API keys there are; `None` where no file is named, or none could be read.
    pub api_keys: Option<usize>,
    /// How many revocations there are, likewise.
    pub revocations: Option<usize>,
    /// Usage plans, by name.
    pub plans: Vec<&'s str>,
    /// Tables in shared memory, and how full they are.
    pub tables: Vec<(Table, Occupancy)>,
    /// The last refusals, the newest first; `None` if they cannot be kept.
    pub refusals: Option<Vec<RefusalStatus<'s>>>,
    /// Who is at a limit, or locked out; likewise.
    pub waiting: Option<Vec<WaitStatus<'s>>>,
}

/// A refusal, with the names of the configuration.
#[derive(Clone, Debug)]
pub struct RefusalStatus<'s> {
    /// What was noted.
    pub entry: Entry,
    /// The name of the virtual host, if there still is one of that name.
    pub server: Option<&'s str>,
    /// The limit that refused, if there still is one of that name.
    pub limit: Option<&'s LimitDef>,
}

/// Who is at a limit, or locked out.
#[derive(Clone, Debug)]
pub struct WaitStatus<'s> {
    /// What was noted.
    pub entry: Entry,
    /// The limit; `None`: locked out.
    pub limit: Option<&'s LimitDef>,
}

/// Keys that are fetched.
#[derive(Clone, Copy, Debug)]
pub struct KeysStatus<'s> {
    /// The administrator's name of the issuer.
    pub issuer: &'s str,
    /// How long ago they were fetched, if ever.
    pub age: Option<Duration>,
    /// In how long they are fetched again.
    pub due: Duration,
}

/// A network in a file.
#[derive(Clone, Copy, Debug)]
pub struct NetworkStatus<'s> {
    /// As in `@NAME`.
    pub name: &'s str,
    /// How many blocks of addresses are in use; `None` if the file could never be read.
    pub networks: Option<usize>,
    /// How long ago the file was last read and good.
    pub age: Option<Duration>,
    /// How long ago what was good was written, if that is known.
    pub written: Option<Duration>,
}

impl Status<'_> {
    /// The document, JSON. Durations are seconds.
    pub fn to_json(&self) -> String {
        let Self { time, totals, keys, networks, api_keys, revocations, plans, tables, refusals, waiting } = self;
        let fetches = |issuer: &str| totals.fetches.iter().find(|(name, _)| name == issuer).map(|(_, counts)| *counts);
        let secs = |span: &Option<Duration>| span.map(|span| span.as_secs());
        let keys = keys.iter().map(|KeysStatus { issuer, age, due }| {
            let [fetched, failed] = fetches(issuer).unwrap_or_default().map(number);
            json!({
                "issuer": issuer,
                "age_seconds": secs(age),
                "next_fetch_seconds": due.as_secs(),
                "fetched": fetched,
                "failed": failed,
            })
        });
        let networks = networks.iter().map(|NetworkStatus { name, networks, age, written }| {
            json!({ "name": name, "networks": networks, "age_seconds": secs(age), "written_seconds": secs(written) })
        });
        let limits = totals.limits.iter().map(|(name, counts)| {
            let [allow, deny, would_deny] = counts.map(number);
            json!({ "name": name, "allow": allow, "deny": deny, "would_deny": would_deny })
        });
        let tables = tables.iter().map(|(table, Occupancy { used, free, overflows })| {
            json!({ "name": table.word(), "used": used, "free": free, "overflows": overflows })
        });
        let responses = totals.responses.iter().map(|(class, count)| ((*class).to_owned(), number(*count).into()));
        json!({
            "time": time.rfc3339().to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "decisions": {
                "allow": number(totals.allowed),
                "deny": reasons(&totals.denied),
                "would_deny": reasons(&totals.would_be_denied),
            },
            "decision_time": durations(&totals.decisions),
            "request_time": durations(&totals.requests),
            "responses": responses.collect::<Map<String, Value>>(),
            "token_cache": { "hit": number(totals.token_cache[0]), "miss": number(totals.token_cache[1]) },
            "lockouts": number(totals.lockouts),
            "limits": limits.collect::<Vec<_>>(),
            "keys": keys.collect::<Vec<_>>(),
            "networks": networks.collect::<Vec<_>>(),
            "api_keys": api_keys,
            "revocations": revocations,
            "plans": plans,
            "tables": tables.collect::<Vec<_>>(),
            "refusals": refusals.as_ref().map(|all| all.iter().map(RefusalStatus::to_json).collect::<Vec<_>>()),
            "at_limit": waiting.as_ref().map(|all| all.iter().map(|one| one.to_json(*time)).collect::<Vec<_>>()),
        })
        .to_string()
    }
}

impl RefusalStatus<'_> {
    /// What was refused by no limit has none; a limit that is no more is null.
    fn to_json(&self) -> Value {
        let Entry { time, status, limit, who: Who { address, subject }, .. } = self.entry;
        object([
            ("time", Some(time.rfc3339().to_string().into())),
            ("server", Some(self.server.into())),
            ("verdict", Some(self.entry.ruling().verdict().into())),
            ("reason", Some(self.entry.reason.word().into())),
            ("status", Some(status.into())),
            ("limit", limit.map(|_| self.limit.map(|def| limit_name(def, self.entry.reason)).into())),
            ("address", address.map(shown)),
            ("subject", subject.map(|subject| subject.to_string().into())),
        ])
    }
}

impl WaitStatus<'_> {
    /// By what a limit counts and cannot be told is in `of_one`: who is refused are all with one value of each of these.
    /// A subject that is null stands for all who have none.
    fn to_json(&self, now: UnixMicros) -> Value {
        let Entry { until, who: Who { address, subject }, .. } = self.entry;
        let key = self.limit.map_or(&[KeyPart::Address][..], |def| &def.key);
        let counts = |part| key.contains(&part);
        let by_address = counts(KeyPart::Address);
        let untold: Vec<String> = key.iter().filter_map(|part| untold(part, key)).collect();
        let seconds = until.map(|until| until.since(now).as_secs().into());
        object([
            ("verdict", Some(self.entry.ruling().verdict().into())),
            ("reason", Some(self.entry.reason.word().into())),
            ("limit", self.limit.map(|def| limit_name(def, self.entry.reason).into())),
            ("address", address.filter(|_| by_address).map(shown)),
            ("peer", address.filter(|_| !by_address).map(shown)),
            (
                "subject",
                (counts(KeyPart::Subject) || counts(KeyPart::ApiKey))
                    .then(|| subject.map(|one| one.to_string()).into()),
            ),
            ("of_one", (!untold.is_empty()).then(|| untold.into())),
            ("until", until.map(|until| until.rfc3339().to_string().into())),
            ("seconds", seconds),
        ])
    }
}

/// The word of a part of a key whose value [`Caller::counted_by`](crate::refusals::Caller::counted_by) does not tell.
fn untold(part: &KeyPart, key: &[KeyPart]) -> Option<String> {
    match part {
        KeyPart::Global | KeyPart::Address | KeyPart::Subject => None,
        KeyPart::Peer => key.contains(&KeyPart::Address).then(|| "peer".to_owned()),
        KeyPart::ApiKey => key.contains(&KeyPart::Subject).then(|| "api-key".to_owned()),
        KeyPart::Client => Some("client".to_owned()),
        KeyPart::Issuer => Some("issuer".to_owned()),
        KeyPart::Claim(name) => Some(format!("claim:{name}")),
    }
}

fn limit_name(def: &LimitDef, reason: Reason) -> String {
    let suffix = if reason == Reason::QuotaExceeded { QUOTA_SUFFIX } else { "" };
    format!("{}{suffix}", def.name)
}

/// Of the members that there are.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}

/// A single address as such.
fn shown(block: Cidr) -> Value {
    let whole = if block.network().is_ipv4() { 32 } else { 128 };
    if block.prefix() == whole { block.network().to_string().into() } else { block.to_string().into() }
}

fn reasons(counts: &[(Reason, u128)]) -> Map<String, Value> {
    counts.iter().map(|(reason, count)| (reason.word().to_owned(), number(*count).into())).collect()
}

fn durations(durations: &Durations) -> Value {
    let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
    let Durations { count, sum_nanos, quantiles } = durations;
    let mean = sum_nanos.checked_div(*count).map(|nanos| seconds(number(nanos)));
    let [half, most, nearly_all] = quantiles.map(|nanos| nanos.map(seconds));
    json!({ "count": number(*count), "mean": mean, "p50": half, "p95": most, "p99": nearly_all })
}

/// More than this happens nowhere.
fn number(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_one_script_and_the_one_style_of_the_page() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
        }
        // What no hash allows, and what could turn a text into a part of the page.
        for never in
            [" style=", " onclick", " onload", "javascript:", "innerHTML", "outerHTML", "insertAdjacent", "eval("]
        {
            assert!(!PAGE.contains(never), "{never}");
        }
        // The name of SVG is no address that anything is fetched from.
        let page = PAGE.replace("\"http://www.w3.org/2000/svg\"", "");
        for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
        let policy = content_security_policy();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        // 32 bytes each, in base64.
        assert_eq!(policy.matches("='").count(), 2, "{policy}");
        assert!(!policy.contains("47DEQpj8HBSa"), "the hash of nothing: {policy}");
    }
}
