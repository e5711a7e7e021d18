//! OpenMetrics text (OpenMetrics 1.0, "Text format"): what monitoring reads.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::family::{BUILD, Family, KEYS_AGE, LIMIT_SLOTS, LOCKOUT_SLOTS, NETWORK_AGE, OVERFLOWS, QUOTA_SLOTS};
use super::histogram::Histogram;
use super::table::MetricTable;
use crate::limit::Occupancy;

/// The media type of [`Metrics::render`](super::Metrics::render).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How things stand that are not counted. Where a name comes twice (virtual hosts may each have an issuer or a network
/// of one name), the older one is told.
#[derive(Clone, Copy, Debug)]
pub struct Gauges<'g> {
    /// Issuers whose keys are fetched, by name, and how long ago that was; `None` without keys.
    pub keys: &'g [(&'g str, Option<Duration>)],
    /// The tables that exist.
    pub tables: &'g [(Table, Occupancy)],
    /// Networks in files by name, and how long ago the file was last read and good, if it ever was.
    pub networks: &'g [(&'g str, Option<Duration>)],
    /// Of the module.
    pub version: &'g str,
}

/// A table in shared memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Table {
    /// Of rates.
    Rates,
    /// Of quotas.
    Quotas,
    /// Of failed tries.
    Lockouts,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rates, Self::Quotas, Self::Lockouts];

    /// What it is called in metrics and on the status page.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rates => "rates",
            Self::Quotas => "quotas",
            Self::Lockouts => "lock-outs",
        }
    }

    const fn slots(self) -> &'static Family {
        match self {
            Self::Rates => &LIMIT_SLOTS,
            Self::Quotas => &QUOTA_SLOTS,
            Self::Lockouts => &LOCKOUT_SLOTS,
        }
    }
}

/// A text that is being written. Writing to memory cannot fail.
pub(super) struct Text(String);

impl Text {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(16 << 10))
    }

    /// What the samples that follow are.
    pub(super) fn begin(&mut self, family: &Family) {
        let (base, kind) = (family.base(), family.kind.word());
        let _ = writeln!(self.0, "# TYPE {base} {kind}");
        if let Some(unit) = family.unit() {
            let _ = writeln!(self.0, "# UNIT {base} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {base} {}", family.help);
    }

    pub(super) fn histogram(&mut self, family: &Family, histogram: &Histogram, table: &MetricTable<'_>) {
        let name = family.name;
        let mut total = 0;
        for (le, count) in histogram.cumulative(table) {
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{le}\"}} {count}");
            total = count;
        }
        let _ = writeln!(self.0, "{name}_count {total}");
        let nanos = histogram.sum_nanos(table);
        let _ = writeln!(self.0, "{name}_sum {}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    }

    pub(super) fn keys_age(&mut self, gauges: &Gauges<'_>) {
        self.ages(&KEYS_AGE, gauges.keys);
    }

    pub(super) fn network_age(&mut self, gauges: &Gauges<'_>) {
        self.ages(&NETWORK_AGE, gauges.networks);
    }

    /// How full the tables are. Those that do not exist have no samples.
    pub(super) fn tables(&mut self, gauges: &Gauges<'_>) {
        for table in Table::ALL {
            let family = table.slots();
            self.begin(family);
            for (_, Occupancy { used, free, .. }) in gauges.tables.iter().filter(|(of, _)| *of == table) {
                self.sample(family, &["used"], used);
                self.sample(family, &["free"], free);
            }
        }
        self.begin(&OVERFLOWS);
        for (table, occupancy) in gauges.tables {
            self.sample(&OVERFLOWS, &[table.word()], occupancy.overflows);
        }
    }

    pub(super) fn build(&mut self, gauges: &Gauges<'_>) {
        self.begin(&BUILD);
        self.sample(&BUILD, &[gauges.version], 1);
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }

    fn ages(&mut self, family: &Family, ages: &[(&str, Option<Duration>)]) {
        let mut oldest: BTreeMap<&str, Age> = BTreeMap::new();
        for (name, age) in ages {
            let age = age.map_or(Age::Infinite, Age::Of);
            let known = oldest.entry(name).or_insert(age);
            *known = age.max(*known);
        }
        self.begin(family);
        for (name, age) in oldest {
            self.sample(family, &[name], age);
        }
    }

    /// One sample, with the values of the family's labels.
    pub(super) fn sample(&mut self, family: &Family, values: &[&str], value: impl Display) {
        self.0.push_str(family.name);
        let mut before = '{';
        for (label, value) in family.labels.iter().zip(values) {
            let _ = write!(self.0, "{before}{label}=\"");
            self.escaped(value);
            self.0.push('"');
            before = ',';
        }
        if before == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// The value of a label ("escaped-string" of the format's ABNF).
    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\n' => self.0.push_str("\\n"),
                '"' | '\\' => self.0.extend(['\\', character]),
                _ => self.0.push(character),
            }
        }
    }
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Age {
    Of(Duration),
    Infinite,
}

impl Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(age) => write!(f, "{}.{:03}", age.as_secs(), age.subsec_millis()),
            Self::Infinite => f.write_str("+Inf"),
        }
    }
}
