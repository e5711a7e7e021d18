//! Durations, counted by how long they are.

use super::table::{MetricTable, Series, SeriesId};

/// Where one bucket of a histogram ends and the next begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// The largest duration of each bucket but the last, in nanoseconds, and the same in seconds, as the label `le` is
    /// written (OpenMetrics 1.0, "Considerations: Canonical Numbers").
    pub(super) bounds: &'static [(u64, &'static str)],
    /// Nanoseconds that are one in the sum: as few as let it grow for centuries.
    pub(super) grain: u64,
}

/// Of decisions: from a millionth of a second to a tenth. Those that wait for keys take longer.
pub(super) const DECISION: Scale = Scale {
    bounds: &[
        (1_000, "1e-06"),
        (2_000, "2e-06"),
        (5_000, "5e-06"),
        (10_000, "1e-05"),
        (20_000, "2e-05"),
        (50_000, "5e-05"),
        (100_000, "0.0001"),
        (200_000, "0.0002"),
        (500_000, "0.0005"),
        (1_000_000, "0.001"),
        (2_000_000, "0.002"),
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (20_000_000, "0.02"),
        (50_000_000, "0.05"),
        (100_000_000, "0.1"),
    ],
    grain: 1,
};

/// Of requests as a whole: from a thousandth of a second to a minute. Ten thousand at once add ten thousand seconds in
/// each.
pub(super) const REQUEST: Scale = Scale {
    bounds: &[
        (1_000_000, "0.001"),
        (2_000_000, "0.002"),
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (20_000_000, "0.02"),
        (50_000_000, "0.05"),
        (100_000_000, "0.1"),
        (200_000_000, "0.2"),
        (500_000_000, "0.5"),
        (1_000_000_000, "1.0"),
        (2_000_000_000, "2.0"),
        (5_000_000_000, "5.0"),
        (10_000_000_000, "10.0"),
        (30_000_000_000, "30.0"),
        (60_000_000_000, "60.0"),
    ],
    grain: 1_000,
};

/// A histogram in a table.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    scale: Scale,
    /// One more than there are bounds. Each counts what is in it, not what is in smaller ones.
    buckets: Box<[Series]>,
    sum: Series,
}

impl Histogram {
    /// Finds or makes a histogram; `None` if the table has no room. See [`MetricTable::assign`].
    pub(super) fn assign(table: &MetricTable<'_>, name: &str, scale: Scale) -> Option<Self> {
        let bucket = SeriesId::new(name).with("", "bucket");
        let bounds = scale.bounds.iter().map(|(_, le)| *le).chain(["+Inf"]);
        let buckets = bounds.map(|le| table.assign(bucket.with("le", le))).collect::<Option<_>>()?;
        Some(Self { scale, buckets, sum: table.assign(SeriesId::new(name).with("", "sum"))? })
    }

    /// Counts a duration.
    #[inline]
    pub(super) fn observe(&self, table: &MetricTable<'_>, shard: usize, nanos: u64) {
        let bucket = self.scale.bounds.partition_point(|(most, _)| *most < nanos);
        if let Some(series) = self.buckets.get(bucket) {
            table.add(*series, shard, 1);
            table.add(self.sum, shard, nanos / self.scale.grain);
        }
    }

    /// The label `le` of each bucket, and how many durations are at most that long.
    pub(super) fn cumulative(&self, table: &MetricTable<'_>) -> impl Iterator<Item = (&'static str, u128)> {
        let bounds = self.scale.bounds.iter().map(|(_, le)| *le).chain(["+Inf"]);
        bounds.zip(&self.buckets).scan(0, |count, (le, series)| {
            *count += table.read(*series);
            Some((le, *count))
        })
    }

    /// The largest duration of each bucket in nanoseconds, `None` for the last, and how many are at most that long.
    pub(super) fn bounded(&self, table: &MetricTable<'_>) -> impl Iterator<Item = (Option<u64>, u128)> {
        let bounds = self.scale.bounds.iter().map(|(nanos, _)| Some(*nanos)).chain([None]);
        bounds.zip(self.cumulative(table)).map(|(bound, (_, count))| (bound, count))
    }

    /// All durations together, in nanoseconds.
    pub(super) fn sum_nanos(&self, table: &MetricTable<'_>) -> u128 {
        table.read(self.sum) * u128::from(self.scale.grain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_are_written_as_what_they_are() {
        for Scale { bounds, .. } in [DECISION, REQUEST] {
            assert!(bounds.is_sorted_by(|(one, _), (next, _)| one < next));
            for (nanos, le) in bounds {
                let seconds: f64 = le.parse().unwrap();
                assert!((seconds * 1e9 - *nanos as f64).abs() < 1e-3, "{le}");
                assert!(le.contains(['.', 'e']), "{le}");
            }
        }
    }
}
