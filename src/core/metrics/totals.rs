//! What was counted, as numbers: for who does not read OpenMetrics text.

use super::histogram::Histogram;
use super::numbers::Metrics;
use super::table::MetricTable;
use crate::verdict::Reason;

/// All that was counted so far, by all processes.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Client requests that were let in.
    pub allowed: u128,
    /// Those that were refused, by reason; only reasons that occurred.
    pub denied: Vec<(Reason, u128)>,
    /// Those that a dry run let in, likewise.
    pub would_be_denied: Vec<(Reason, u128)>,
    /// How long decisions took.
    pub decisions: Durations,
    /// How long requests took as a whole.
    pub requests: Durations,
    /// Answers by the class of their status.
    pub responses: Vec<(&'static str, u128)>,
    /// Tokens that were remembered, and those that were not.
    pub token_cache: [u128; 2],
    /// Limits by name: charged, refused, would have refused.
    pub limits: Vec<(String, [u128; 3])>,
    /// Attempts at fetching keys, by issuer: good ones, failed ones.
    pub fetches: Vec<(String, [u128; 2])>,
    /// How often an address was locked out.
    pub lockouts: u128,
}

/// Durations, as a histogram knows them.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    /// How many.
    pub count: u128,
    /// All together, nanoseconds.
    pub sum_nanos: u128,
    /// Half of them, 95 % and 99 % are not longer, nanoseconds: the end of a bucket. `None` if there are none, or that
    /// is longer than any bucket.
    pub quantiles: [Option<u64>; 3],
}

impl Metrics<'_> {
    /// What was counted. What is counted meanwhile may be in it or not.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            decisions: Durations::of(&self.decision_seconds, &self.table),
            requests: Durations::of(&self.request_seconds, &self.table),
            ..Totals::default()
        };
        self.read_into(&mut totals);
        totals
    }
}

impl Durations {
    fn of(histogram: &Histogram, table: &MetricTable<'_>) -> Self {
        let counts: Vec<(Option<u64>, u128)> = histogram.bounded(table).collect();
        let count = counts.last().map_or(0, |(_, count)| *count);
        let quantile = |percent: u128| {
            let rank = (count * percent).div_ceil(100);
            counts.iter().find(|(_, up_to)| rank > 0 && *up_to >= rank).and_then(|(most, _)| *most)
        };
        Self { count, sum_nanos: histogram.sum_nanos(table), quantiles: [50, 95, 99].map(quantile) }
    }
}
