//! Limits: how many requests a key may make, counted in memory that all processes share.
//!
//! [`Numbers`] say how fast, a [`LimitId`] and a [`KeyHash`] say whose bucket, and
//! [`SlotTable::charge_all`] decides. A bucket is one 64-bit word ([`gcra`]), updated by compare-and-swap, so
//! nobody ever waits for a lock, and a process that dies holds none.
//!
//! What always holds: over any time t, no bucket admits more than `burst + rate * t` requests, by however
//! many processes, whatever their number of keys and whichever of them dies. What may happen instead:
//!
//! * More keys are in debt than there is room for: some of them share a bucket of their limit, and together get no
//!   more than one of them would.
//! * A charge is given back because another limit of the request refuses, while a third party looks: that one
//!   may be refused, and told to wait for it. A request's slowest bucket is charged last, so it is never that one.
//! * A process is killed within a few nanoseconds of handing a slot from one key to another: the slot is lost until
//!   the segment is made anew.
//! * Two keys have the same keyed hash of 64 bits within one group of seven: they share a bucket.

mod bank;
mod buckets;
mod charge;
pub mod gcra;
mod geometry;
mod group;
mod key;
mod rate;
mod slots;

pub use bank::Bank;
pub use buckets::{Buckets, Subject, issuer};
pub use charge::{Charge, Outcome, Standing};
pub use geometry::{Geometry, MAX_BYTES, MIN_BYTES, OVERFLOW_CELLS, SLOTS};
pub use key::{KeyHash, KeyHasher, LimitId, Part};
pub use rate::{MAX_COUNT, MAX_WINDOW, Numbers, Rate};
pub use slots::{Mismatch, SlotTable};
