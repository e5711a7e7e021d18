//! Limits: how many requests a key may make, counted in memory that all processes share.
//!
//! [`Numbers`] say how fast, a [`Quota`] how many in each day, week or month, a [`LimitId`] and a [`KeyHash`] say whose
//! bucket, and [`charge_all`] decides for all buckets of a request at once. A bucket is one 64-bit word in a
//! [`SlotTable`] ([`gcra`]), updated by compare-and-swap, so nobody ever waits for a lock, and a process that dies
//! holds none. [`Lockouts`] keep the failures of addresses in a table of the same kind.
//!
//! What always holds: over any time t, no rate's bucket admits more than `burst + rate * t` requests, and no quota's bucket
//! more than its count in any window, by however many processes, whatever their number of keys and whichever of them
//! dies. A request belongs to the window in which it is counted; that is the one of its process's clock, or the next
//! one if another process's clock is there already. What may happen instead:
//!
//! * More keys are in debt than there is room for: some of them share a bucket of their limit, and together get no
//!   more than one of them would.
//! * A charge is given back because another limit of the request refuses, while a third party looks: that one
//!   may be refused, and told to wait for it. A request's slowest bucket is charged last, so it is never that one.
//! * A process is killed within a few nanoseconds of handing a slot from one key to another: the slot is lost until
//!   the segment is made anew.
//! * Two keys have the same keyed hash of 64 bits within one group of seven: they share a bucket. In tables of quotas and
//!   lock-outs, where the hash says the place as well, within the whole table.
//! * The wall clock is set forward by more than a window of a quota and back again: what was counted in the window that
//!   it left first is forgotten.

mod bank;
mod carry;
mod charge;
pub mod gcra;
mod geometry;
mod group;
mod key;
mod lockout;
mod meter;
mod period;
mod quota;
mod rate;
mod rule;
mod slots;

pub use bank::Bank;
pub use carry::Carried;
pub use charge::{Charge, Outcome, Standing, charge_all, charge_all_by_clock, test_all};
pub use geometry::{Geometry, MAX_BYTES, MIN_BYTES, OVERFLOW_CELLS, SLOTS};
pub use key::{KeyHash, KeyHasher, LimitId, Part};
pub use lockout::{LockoutRule, Lockouts, MAX_FAILURES, MAX_LOCKOUT, MIN_LOCKOUT};
pub use meter::{Measure, Meter, QUOTA_SUFFIX, Subject, Tables, issuer};
pub use period::{Period, Window};
pub use quota::Quota;
pub use rate::{MAX_COUNT, MAX_WINDOW, Numbers, Rate};
pub use slots::{Mismatch, Occupancy, SlotTable, TableKind};
