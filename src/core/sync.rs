//! Atomics: the standard ones, or loom's when shared memory is model-checked (`--cfg loom`).
//! Nothing else in this crate names `std::sync::atomic`.

#[cfg(loom)]
pub use loom::sync::atomic::{Ordering, fence};
#[cfg(loom)]
pub use modelled::AtomicU64;
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Tells the processor (or loom's scheduler) that this thread waits for another one.
pub fn spin_hint() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}

/// An atomic of loom whose every access is a point where another thread may come first.
///
/// Loom remembers only the last access to an atomic. After a load by one thread, a load by a second
/// one hides the first from a store by the second, and the order in which the store comes first is never tried.
/// So each access is preceded by a read-modify-write of a companion, which loom cannot overlook. It is relaxed,
/// so that it orders nothing else.
#[cfg(loom)]
mod modelled {
    use loom::sync::atomic::{self, Ordering};

    /// See [`std::sync::atomic::AtomicU64`].
    #[derive(Debug)]
    pub struct AtomicU64 {
        turn: atomic::AtomicU64,
        word: atomic::AtomicU64,
    }

    #[allow(missing_docs)] // as in the standard library
    impl AtomicU64 {
        pub fn new(value: u64) -> Self {
            Self { turn: atomic::AtomicU64::new(0), word: atomic::AtomicU64::new(value) }
        }

        pub fn load(&self, order: Ordering) -> u64 {
            self.turn().load(order)
        }

        pub fn store(&self, value: u64, order: Ordering) {
            self.turn().store(value, order);
        }

        pub fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.turn().compare_exchange(current, new, success, failure)
        }

        pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            self.turn().fetch_add(value, order)
        }

        pub fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
            self.turn().fetch_max(value, order)
        }

        fn turn(&self) -> &atomic::AtomicU64 {
            self.turn.fetch_add(1, Ordering::Relaxed);
            &self.word
        }
    }
}
