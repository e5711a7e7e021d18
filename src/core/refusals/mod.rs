//! The last refusals, and who is at a limit: what an administrator asks first, in memory that all processes share.
//!
//! [`RefusalTable`] has a ring of the newest entries for each shard, so that processes that refuse at the same time
//! seldom write the same memory, and places for those whom a limit refuses up to some moment, found by who they are. All
//! sizes are fixed. What does not fit any more is forgotten: the oldest refusal, and who has the least time to wait. Order
//! and age are those of the clock that nobody sets.
//!
//! Who is let in writes nothing here, so a wait is what was known at a refusal. It is not told, and gives way, when that
//! may be wrong: if the configuration has other terms, if the wall clock was set, or after a day without a refusal.
//!
//! Nobody waits for a lock, and there is none to be left behind by a process that is killed. Two processes may write one
//! place at once, if one of them pauses while the other goes all around the ring. So each entry ends with a seal, a hash
//! of all its other words: what is half one entry and half another is left out by whoever reads it, but for one time in
//! 2^64. Since the seal tells, the order in which the words of an entry get there does not matter.
//!
//! Nothing is kept but numbers, pseudonyms and the ids of names: what the memory holds can at worst be wrong.

mod caller;
mod entry;
mod table;

pub use caller::Caller;
pub use entry::{Entry, NameId, Who};
pub use table::{Geometry, RefusalTable};
