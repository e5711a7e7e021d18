//! What is counted for monitoring, and the handler that tells it.
//!
//! A client request is counted as one decision, when it is over (`account.rs`): as what led to its answer. What a
//! decision does on the way is counted when it is done, for each part of a client request: limits, lock-outs, and
//! tokens that are looked for.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jwt_gate_core::gate::Verdict;
use jwt_gate_core::limit::LimitId;
use jwt_gate_core::metrics::{FileKind, Gauges, Geometry, LimitSeries, MetricTable, Metrics, Totals};
use jwt_gate_core::time::{Now, UnixMicros};
use jwt_gate_core::verdict::Ruling;

use crate::check::limits;
use crate::httpd::{Level, Log, Segment, SegmentName, Server};
use crate::runtime::Runtime;
use crate::sources::{Plan, What};

/// [`CONTENT_TYPE`](jwt_gate_core::metrics::CONTENT_TYPE) for httpd.
pub(crate) const CONTENT_TYPE: &CStr = c"application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The handler that tells monitoring what was counted.
pub(crate) const HANDLER: &[u8] = b"jwt-gate-metrics";

/// Where it is counted what all processes do.
pub(crate) struct Metering {
    metrics: Metrics<'static>,
    limits: HashMap<LimitId, LimitSeries>,
}

impl Metering {
    /// Opens or makes the memory, with a place for each limit and issuer of the configuration.
    pub(crate) fn open(main: Server<'_>, plan: &Plan) -> Result<Self, ()> {
        let failed = |why: &str| main.log(Level::Error, || format!("JG2003 shared memory for metrics: {why}"));
        let assign = |table| {
            let issuers = plan.fetched_issuers().map(|(issuer, _)| issuer.def.name.as_str());
            Metrics::assign(table, limits(main).map(|(_, def)| def.name.as_str()), issuers)
        };
        let metrics = match existing(main).map(assign) {
            Some(Some(metrics)) => metrics,
            // Full of what an earlier build or configuration counted, so that what there always is has no place.
            full => {
                if full.is_some() {
                    main.log(Level::Notice, || "JG2004 metrics start anew: their shared memory was full".to_owned());
                }
                assign(new(main).map_err(|why| failed(&why))?).ok_or_else(|| failed("it is too small"))?
            }
        };
        let left_out = metrics.left_out();
        if left_out > 0 {
            main.log(Level::Warning, || {
                format!(
                    "JG2213 there is no room for so many metrics: {left_out} limits and issuers are counted together, \
                     as `(other)`"
                )
            });
        }
        let series = |dry_run| limits(main).map(move |(_, def)| (def.id(dry_run), def.name.as_str()));
        let limits = series(false).chain(series(true)).map(|(id, name)| (id, metrics.limit(name))).collect();
        Ok(Self { metrics, limits })
    }

    /// What was counted.
    pub(crate) fn totals(&self) -> Totals {
        self.metrics.totals()
    }

    /// Counts what a decision has done.
    pub(crate) fn judged(&self, verdict: &Verdict<'_>) {
        let shard = shard();
        let charged = verdict.charged.iter().map(|id| (*id, Ruling::Allow));
        for (id, ruling) in charged.chain(verdict.refused_by.iter().copied()) {
            if let Some(limit) = self.limits.get(&id) {
                self.metrics.limited(shard, *limit, ruling);
            }
        }
        if let Some(lookup) = verdict.looked_up {
            self.metrics.looked_up(shard, lookup);
        }
        self.locked_out(verdict.locked.len());
    }

    /// Counts addresses that are locked out from now on.
    pub(crate) fn locked_out(&self, times: usize) {
        for _ in 0..times {
            self.metrics.locked_out(shard());
        }
    }

    /// Counts a line of the decision log that could not be written.
    pub(crate) fn lost_log_line(&self) {
        self.metrics.lost_log_line(shard());
    }

    /// Counts a client request that is over: how it was decided and how long that took, the status of its answer, and
    /// how long ago it came.
    pub(crate) fn answered(&self, ruling: Ruling, took: Duration, status: u16, since: Duration) {
        let shard = shard();
        self.metrics.decided(shard, ruling, took);
        self.metrics.responded(shard, status, since);
    }

    /// Counts an attempt at fetching the keys of this source, for all issuers that have them from there.
    pub(crate) fn fetched(&self, plan: &Plan, source: usize, succeeded: bool) {
        let mut names: Vec<&str> = Vec::new();
        for (issuer, _) in plan.fetched_issuers().filter(|(_, index)| *index == source) {
            if !names.contains(&issuer.def.name.as_str()) {
                names.push(&issuer.def.name);
                self.metrics.fetched(shard(), &issuer.def.name, succeeded);
            }
        }
    }

    /// Counts a file that was read because it had changed.
    pub(crate) fn file_read(&self, what: &What, succeeded: bool) {
        let kind = match what {
            What::Remote { .. } | What::KeyFile { .. } => FileKind::Keys,
            What::List(list) => list.kind.metric(),
        };
        self.metrics.file_read(shard(), kind, succeeded);
    }
}

/// All metrics as text.
pub(crate) fn render(runtime: &Runtime, now: Now) -> String {
    let age = |since: UnixMicros| now.wall.since(since);
    let keys: Vec<_> = runtime.fetched_issuers().map(|(name, fetched)| (name, fetched.map(age))).collect();
    let networks: Vec<_> = runtime.network_files().map(|file| (file.name, file.read.map(age))).collect();
    let (tables, version) = (runtime.occupancies(now), env!("CARGO_PKG_VERSION"));
    let gauges = Gauges { keys: &keys, tables: &tables, networks: &networks, version };
    runtime.metering.metrics.render(&gauges)
}

/// The memory of the last configuration, unless another build of the module made it.
fn existing(main: Server<'_>) -> Option<MetricTable<'static>> {
    let segment = Segment::existing(main, SegmentName::METRICS)?;
    match MetricTable::open(segment.words(), Geometry::DEFAULT) {
        Ok(table) => {
            table.begin_generation();
            Some(table)
        }
        Err(why) => {
            main.log(Level::Notice, || format!("JG2004 metrics start anew with other shared memory: {why}"));
            None
        }
    }
}

fn new(main: Server<'_>) -> Result<MetricTable<'static>, String> {
    let geometry = Geometry::DEFAULT;
    let table =
        Segment::replace(main, SegmentName::METRICS, geometry.words(), |words, _| MetricTable::format(words, geometry));
    table?.map_err(|why| why.to_string())
}

/// A number that threads running at the same time seldom share, in whatever process.
pub(crate) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id() as usize);
    }
    // A thread that ends may log its last request.
    SHARD.try_with(|shard| *shard).unwrap_or(0)
}
