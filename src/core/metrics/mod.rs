//! Metrics: what all child processes have done, past and present, as OpenMetrics text.
//!
//! [`MetricTable`] is memory with numbers that only grow, and [`Metrics`] knows which of them is which.
//! [`Metrics::render`] adds up, and puts in what is not counted but looked up ([`Gauges`]). [`FAMILIES`] lists what
//! there is.
//!
//! Counting is one relaxed addition, without a lock and without allocation. A process that dies has added what it
//! counted, but for the duration of one observation, if it dies between its two additions.

mod family;
mod histogram;
mod numbers;
mod table;
mod text;
mod totals;

pub use family::{FAMILIES, Family, Kind};
pub use numbers::{FileKind, LimitSeries, Metrics};
pub use table::{Geometry, MetricTable, Mismatch, Series, SeriesId};
pub use text::{CONTENT_TYPE, Gauges, Table};
pub use totals::{Durations, Totals};
