//! The metrics that exist. What is rendered, tested and documented is made or checked from this list.

/// What a metric is (OpenMetrics 1.0, "Metric Types").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A number of events, which only grows.
    Counter,
    /// How something stands now.
    Gauge,
    /// Durations, counted by how long they are.
    Histogram,
    /// What does not change while a process lives, in labels.
    Info,
}

impl Kind {
    /// The type as it is rendered.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// A metric: samples of one name, told apart by labels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Family {
    /// The name under which it is documented and asked for: that of a counter ends with `_total`, that of an info with
    /// `_info`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The labels of each sample, but `le`.
    pub labels: &'static [&'static str],
    /// One line that says what is counted.
    pub help: &'static str,
}

impl Family {
    /// The name under which its type is rendered: the samples of a counter and of an info have more.
    pub fn base(&self) -> &'static str {
        self.name.strip_suffix("_total").or_else(|| self.name.strip_suffix("_info")).unwrap_or(self.name)
    }

    /// Its unit, which the name ends with.
    pub fn unit(&self) -> Option<&'static str> {
        self.base().ends_with("_seconds").then_some("seconds")
    }
}

const fn row(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind, labels, help }
}

pub(super) const DECISIONS: Family = row(
    "jwt_gate_decisions_total",
    Kind::Counter,
    &["verdict", "reason"],
    "Decisions: allow, deny or would-deny (a dry run), and why; the reason of allow is none",
);
pub(super) const DECISION_SECONDS: Family =
    row("jwt_gate_decision_seconds", Kind::Histogram, &[], "Time that a decision took, with its waits for keys");
pub(super) const REQUEST_SECONDS: Family = row(
    "jwt_gate_request_seconds",
    Kind::Histogram,
    &[],
    "Time from the arrival of a decided request to the end of its answer",
);
pub(super) const RESPONSES: Family =
    row("jwt_gate_responses_total", Kind::Counter, &["class"], "Answers to decided requests, by class of the status");
pub(super) const TOKEN_CACHE: Family = row(
    "jwt_gate_token_cache_total",
    Kind::Counter,
    &["outcome"],
    "Tokens looked for in the cache: hit (seen before) or miss (verified)",
);
pub(super) const KEYS_AGE: Family = row(
    "jwt_gate_keys_age_seconds",
    Kind::Gauge,
    &["issuer"],
    "Time since the keys in use of an issuer were fetched; +Inf if it has none",
);
pub(super) const KEY_FETCHES: Family = row(
    "jwt_gate_key_fetches_total",
    Kind::Counter,
    &["issuer", "outcome"],
    "Attempts at fetching an issuer's keys: ok or failed",
);
pub(super) const LIMITS: Family = row(
    "jwt_gate_limit_total",
    Kind::Counter,
    &["limit", "outcome"],
    "Requests that a limit let pass (allow), refused (deny) or would have refused (would-deny, a dry run)",
);
pub(super) const LIMIT_SLOTS: Family =
    row("jwt_gate_limit_slots", Kind::Gauge, &["state"], "Places for rates of limits in shared memory: used or free");
pub(super) const QUOTA_SLOTS: Family =
    row("jwt_gate_quota_slots", Kind::Gauge, &["state"], "Places for quotas of limits in shared memory: used or free");
pub(super) const LOCKOUT_SLOTS: Family =
    row("jwt_gate_lockout_slots", Kind::Gauge, &["state"], "Places for failed tries in shared memory: used or free");
pub(super) const OVERFLOWS: Family = row(
    "jwt_gate_overflows_total",
    Kind::Counter,
    &["table"],
    "Requests that were counted in a place that several clients share, for want of one of their own (rates, quotas), and \
     failed tries that were not counted (lock-outs)",
);
pub(super) const NETWORK_AGE: Family = row(
    "jwt_gate_network_age_seconds",
    Kind::Gauge,
    &["network"],
    "Time since the file of a network was last read and good; +Inf if it never was",
);
pub(super) const FILE_READS: Family = row(
    "jwt_gate_file_reads_total",
    Kind::Counter,
    &["kind", "outcome"],
    "Files read while the server runs, because they have changed: ok, or failed (again and again until they are good)",
);
pub(super) const BUILD: Family = row("jwt_gate_build_info", Kind::Info, &["version"], "The module that runs");
pub(super) const LOCKOUTS: Family =
    row("jwt_gate_lockouts_total", Kind::Counter, &[], "Times that an address was locked out");
pub(super) const LOG_LINES_LOST: Family =
    row("jwt_gate_log_lines_lost_total", Kind::Counter, &[], "Lines of the decision log that could not be written");

/// All metrics, in the order in which they are rendered.
pub const FAMILIES: [Family; 17] = [
    DECISIONS,
    DECISION_SECONDS,
    REQUEST_SECONDS,
    RESPONSES,
    TOKEN_CACHE,
    KEYS_AGE,
    KEY_FETCHES,
    LIMITS,
    LIMIT_SLOTS,
    QUOTA_SLOTS,
    LOCKOUT_SLOTS,
    OVERFLOWS,
    NETWORK_AGE,
    FILE_READS,
    LOCKOUTS,
    LOG_LINES_LOST,
    BUILD,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_kind_and_unit() {
        for (at, family) in FAMILIES.iter().enumerate() {
            assert_eq!(FAMILIES.iter().position(|other| other.base() == family.base()), Some(at), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            assert_eq!(family.name.ends_with("_info"), family.kind == Kind::Info, "{}", family.name);
            assert_eq!(family.name.ends_with("_seconds"), family.unit().is_some(), "{}", family.name);
            assert!(family.name.starts_with("jwt_gate_") && !family.help.contains(['\n', '\\', '"']));
        }
    }
}
