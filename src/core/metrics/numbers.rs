//! Which numbers of the table are what.

use std::collections::BTreeMap;
use std::time::Duration;

use super::family::{
    DECISION_SECONDS, DECISIONS, FILE_READS, Family, KEY_FETCHES, LIMITS, LOCKOUTS, LOG_LINES_LOST, REQUEST_SECONDS,
    RESPONSES, TOKEN_CACHE,
};
use super::histogram::{self, Histogram};
use super::table::{MetricTable, Series, SeriesId};
use super::text::{Gauges, Text};
use super::totals::Totals;
use crate::token::cache::Lookup;
use crate::verdict::{Reason, Ruling};

/// The label of what has no room of its own. Nothing can be called so.
const OTHER: &str = "(other)";
/// The reason of a request that was let in.
const NO_REASON: &str = "none";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const REASONS: usize = Reason::ALL.len();

/// All that is counted. Adding is lock-free and allocates nothing; `shard` is any number that threads running at the
/// same time should not share.
#[derive(Debug)]
pub struct Metrics<'m> {
    pub(super) table: MetricTable<'m>,
    allowed: Series,
    denied: [Series; REASONS],
    would_be_denied: [Series; REASONS],
    pub(super) decision_seconds: Histogram,
    pub(super) request_seconds: Histogram,
    responses: [Series; CLASSES.len()],
    token_hits: Series,
    token_misses: Series,
    lockouts: Series,
    log_lines_lost: Series,
    limits: BTreeMap<String, LimitSeries>,
    other_limits: LimitSeries,
    fetches: BTreeMap<String, FetchSeries>,
    other_fetches: FetchSeries,
    file_reads: [FetchSeries; FileKind::ALL.len()],
}

/// What is in a file that is read again when it has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// Keys of issuers.
    Keys,
    /// API keys.
    ApiKeys,
    /// Networks.
    Networks,
    /// What is revoked.
    Revocations,
}

impl FileKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Keys, Self::ApiKeys, Self::Networks, Self::Revocations];

    /// The label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::ApiKeys => "api-keys",
            Self::Networks => "networks",
            Self::Revocations => "revocations",
        }
    }
}

/// Where the outcomes of a limit are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LimitSeries {
    allow: Series,
    deny: Series,
    would_deny: Series,
}

/// Where the attempts at getting something are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FetchSeries {
    ok: Series,
    failed: Series,
}

impl<'m> Metrics<'m> {
    /// Finds or makes a place for each number, by the names of all limits and of all issuers whose keys are fetched; a
    /// name may come more than once, and is then one. Names for which there is no room are counted together as
    /// `(other)`: see [`left_out`](Self::left_out). Issuers are few, and have their place first.
    ///
    /// `None` if the table has no room for what there always is. See [`MetricTable::assign`] for who may call this.
    pub fn assign<'n>(
        table: MetricTable<'m>,
        limits: impl IntoIterator<Item = &'n str>,
        issuers: impl IntoIterator<Item = &'n str>,
    ) -> Option<Self> {
        let of = |family: &Family| SeriesId::new(family.name);
        let decision = |ruling: Ruling| {
            let reason = ruling.reason().map_or(NO_REASON, Reason::word);
            table.assign(of(&DECISIONS).with("verdict", ruling.verdict()).with("reason", reason))
        };
        let labelled = |family: &Family, label, value| table.assign(of(family).with(label, value));
        let limit = |name: &str| LimitSeries::assign(&table, name);
        let issuer = |name: &str| FetchSeries::assign(&table, &KEY_FETCHES, "issuer", name);
        let file = |kind: FileKind| FetchSeries::assign(&table, &FILE_READS, "kind", kind.word());
        let mut metrics = Self {
            allowed: decision(Ruling::Allow)?,
            denied: all(Reason::ALL.map(|reason| decision(Ruling::Deny(reason))))?,
            would_be_denied: all(Reason::ALL.map(|reason| decision(Ruling::WouldDeny(reason))))?,
            decision_seconds: Histogram::assign(&table, DECISION_SECONDS.name, histogram::DECISION)?,
            request_seconds: Histogram::assign(&table, REQUEST_SECONDS.name, histogram::REQUEST)?,
            responses: all(CLASSES.map(|class| labelled(&RESPONSES, "class", class)))?,
            token_hits: labelled(&TOKEN_CACHE, "outcome", "hit")?,
            token_misses: labelled(&TOKEN_CACHE, "outcome", "miss")?,
            lockouts: table.assign(of(&LOCKOUTS))?,
            log_lines_lost: table.assign(of(&LOG_LINES_LOST))?,
            other_limits: limit(OTHER)?,
            other_fetches: issuer(OTHER)?,
            file_reads: all(FileKind::ALL.map(file))?,
            limits: BTreeMap::new(),
            fetches: BTreeMap::new(),
            table,
        };
        for name in issuers {
            let series = issuer(name).unwrap_or(metrics.other_fetches);
            metrics.fetches.insert(name.to_owned(), series);
        }
        for name in limits {
            let series = limit(name).unwrap_or(metrics.other_limits);
            metrics.limits.insert(name.to_owned(), series);
        }
        Some(metrics)
    }

    /// How many limits and issuers are counted as `(other)`, for want of room: for the log.
    pub fn left_out(&self) -> usize {
        let limits = self.limits.iter().filter(|(name, series)| is_left_out(name, *series, &self.other_limits));
        let fetches = self.fetches.iter().filter(|(name, series)| is_left_out(name, *series, &self.other_fetches));
        limits.count() + fetches.count()
    }

    /// Where a limit is counted. For the start: requests keep what they get here.
    pub fn limit(&self, name: &str) -> LimitSeries {
        self.limits.get(name).copied().unwrap_or(self.other_limits)
    }

    /// Counts a decision, and how long it took.
    pub fn decided(&self, shard: usize, ruling: Ruling, took: Duration) {
        let series = match ruling {
            Ruling::Allow => Some(&self.allowed),
            Ruling::Deny(reason) => self.denied.get(reason as usize),
            Ruling::WouldDeny(reason) => self.would_be_denied.get(reason as usize),
        };
        if let Some(series) = series {
            self.table.add(*series, shard, 1);
        }
        self.decision_seconds.observe(&self.table, shard, nanos(took));
    }

    /// Counts an answer with this status, which came so long after its request.
    pub fn responded(&self, shard: usize, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.table.add(self.responses[class], shard, 1);
        self.request_seconds.observe(&self.table, shard, nanos(took));
    }

    /// Counts a token that was looked for in the cache.
    pub fn looked_up(&self, shard: usize, lookup: Lookup) {
        let series = match lookup {
            Lookup::Hit => self.token_hits,
            Lookup::Miss => self.token_misses,
        };
        self.table.add(series, shard, 1);
    }

    /// Counts what a limit said.
    pub fn limited(&self, shard: usize, limit: LimitSeries, ruling: Ruling) {
        let series = match ruling {
            Ruling::Allow => limit.allow,
            Ruling::Deny(_) => limit.deny,
            Ruling::WouldDeny(_) => limit.would_deny,
        };
        self.table.add(series, shard, 1);
    }

    /// Counts an address that is locked out from now on.
    pub fn locked_out(&self, shard: usize) {
        self.table.add(self.lockouts, shard, 1);
    }

    /// Counts a line of the decision log that could not be written.
    pub fn lost_log_line(&self, shard: usize) {
        self.table.add(self.log_lines_lost, shard, 1);
    }

    /// Counts an attempt at fetching an issuer's keys.
    pub fn fetched(&self, shard: usize, issuer: &str, succeeded: bool) {
        let FetchSeries { ok, failed } = self.fetches.get(issuer).copied().unwrap_or(self.other_fetches);
        self.table.add(if succeeded { ok } else { failed }, shard, 1);
    }

    /// Counts a file that was read because it had changed, or had been bad.
    pub fn file_read(&self, shard: usize, kind: FileKind, succeeded: bool) {
        let FetchSeries { ok, failed } = self.file_reads[kind as usize];
        self.table.add(if succeeded { ok } else { failed }, shard, 1);
    }

    /// All metrics as OpenMetrics text, [`CONTENT_TYPE`](super::CONTENT_TYPE). What is counted meanwhile may be in it
    /// or not; no number is ever less than it was before.
    pub fn render(&self, gauges: &Gauges<'_>) -> String {
        let mut text = Text::new();
        let read = |series: Series| self.table.read(series);

        text.begin(&DECISIONS);
        text.sample(&DECISIONS, &[Ruling::Allow.verdict(), NO_REASON], read(self.allowed));
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            for (ruling, series) in
                [(Ruling::Deny(reason), self.denied[at]), (Ruling::WouldDeny(reason), self.would_be_denied[at])]
            {
                text.sample(&DECISIONS, &[ruling.verdict(), reason.word()], read(series));
            }
        }
        for (family, histogram) in
            [(&DECISION_SECONDS, &self.decision_seconds), (&REQUEST_SECONDS, &self.request_seconds)]
        {
            text.begin(family);
            text.histogram(family, histogram, &self.table);
        }
        text.begin(&RESPONSES);
        for (class, series) in CLASSES.iter().zip(self.responses) {
            text.sample(&RESPONSES, &[class], read(series));
        }
        text.begin(&TOKEN_CACHE);
        text.sample(&TOKEN_CACHE, &["hit"], read(self.token_hits));
        text.sample(&TOKEN_CACHE, &["miss"], read(self.token_misses));
        text.keys_age(gauges);

        text.begin(&KEY_FETCHES);
        for (name, FetchSeries { ok, failed }) in own_or_other(&self.fetches, self.other_fetches) {
            text.sample(&KEY_FETCHES, &[name, "ok"], read(ok));
            text.sample(&KEY_FETCHES, &[name, "failed"], read(failed));
        }
        text.begin(&LIMITS);
        for (name, series) in own_or_other(&self.limits, self.other_limits) {
            for (outcome, series) in series.outcomes() {
                text.sample(&LIMITS, &[name, outcome], read(series));
            }
        }
        text.tables(gauges);
        text.network_age(gauges);
        text.begin(&FILE_READS);
        for (kind, FetchSeries { ok, failed }) in FileKind::ALL.into_iter().zip(self.file_reads) {
            text.sample(&FILE_READS, &[kind.word(), "ok"], read(ok));
            text.sample(&FILE_READS, &[kind.word(), "failed"], read(failed));
        }
        text.begin(&LOCKOUTS);
        text.sample(&LOCKOUTS, &[], read(self.lockouts));
        text.begin(&LOG_LINES_LOST);
        text.sample(&LOG_LINES_LOST, &[], read(self.log_lines_lost));
        text.build(gauges);
        text.end()
    }
}

impl Metrics<'_> {
    /// All but the histograms.
    pub(super) fn read_into(&self, totals: &mut Totals) {
        let read = |series: Series| self.table.read(series);
        let reasons = |all: &[Series]| {
            let counts = Reason::ALL.into_iter().zip(all).map(|(reason, series)| (reason, read(*series)));
            counts.filter(|(_, count)| *count > 0).collect()
        };
        totals.allowed = read(self.allowed);
        totals.denied = reasons(&self.denied);
        totals.would_be_denied = reasons(&self.would_be_denied);
        totals.responses =
            CLASSES.into_iter().zip(self.responses).map(|(class, series)| (class, read(series))).collect();
        totals.token_cache = [self.token_hits, self.token_misses].map(read);
        totals.lockouts = read(self.lockouts);
        let limits = own_or_other(&self.limits, self.other_limits);
        totals.limits =
            limits.map(|(name, limit)| (name.to_owned(), limit.outcomes().map(|(_, series)| read(series)))).collect();
        let fetches = own_or_other(&self.fetches, self.other_fetches);
        totals.fetches = fetches.map(|(name, of)| (name.to_owned(), [of.ok, of.failed].map(read))).collect();
    }
}

impl LimitSeries {
    fn assign(table: &MetricTable<'_>, limit: &str) -> Option<Self> {
        let outcome = |outcome| table.assign(SeriesId::new(LIMITS.name).with("limit", limit).with("outcome", outcome));
        Some(Self { allow: outcome("allow")?, deny: outcome("deny")?, would_deny: outcome("would-deny")? })
    }

    fn outcomes(self) -> [(&'static str, Series); 3] {
        [("allow", self.allow), ("deny", self.deny), ("would-deny", self.would_deny)]
    }
}

impl FetchSeries {
    fn assign(table: &MetricTable<'_>, family: &Family, label: &str, name: &str) -> Option<Self> {
        let outcome = |outcome| table.assign(SeriesId::new(family.name).with(label, name).with("outcome", outcome));
        Some(Self { ok: outcome("ok")?, failed: outcome("failed")? })
    }
}

/// Those with numbers of their own, by name, and `other` once if anybody needs it.
fn own_or_other<T: Copy + PartialEq>(named: &BTreeMap<String, T>, other: T) -> impl Iterator<Item = (&str, T)> {
    let own = named.iter().filter(move |(_, series)| **series != other).map(|(name, series)| (&**name, *series));
    let rest = named.values().any(|series| *series == other);
    own.chain(rest.then_some((OTHER, other)))
}

/// Whether a name shares the numbers of `other`, and is not that name itself.
fn is_left_out<T: PartialEq>(name: &str, series: &T, other: &T) -> bool {
    series == other && name != OTHER
}

fn all<T: Copy, const N: usize>(series: [Option<T>; N]) -> Option<[T; N]> {
    let found: Vec<T> = series.into_iter().flatten().collect();
    found.try_into().ok()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_under_their_own_number() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.word());
        }
    }
}
