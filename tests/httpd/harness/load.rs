//! Clients that go on while a test changes things.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::await_true;

/// How far the clients are.
#[derive(Debug, Default)]
pub(crate) struct Load {
    done: AtomicUsize,
    over: AtomicBool,
}

/// Lets so many clients do the same again and again, each with its own number, until `meanwhile` has ended.
///
/// # Panics
/// When one of them does, at the end.
pub(crate) fn under_load<R>(clients: usize, client: impl Fn(usize) + Sync, meanwhile: impl FnOnce(&Load) -> R) -> R {
    let load = Load::default();
    std::thread::scope(|scope| {
        for number in 0..clients {
            let (load, client) = (&load, &client);
            scope.spawn(move || {
                while !load.over.load(Ordering::Relaxed) {
                    client(number);
                    load.done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _end = End(&load);
        meanwhile(&load)
    })
}

impl Load {
    /// Waits until the clients have done `count` more.
    pub(crate) fn more(&self, count: usize) {
        let enough = self.done.load(Ordering::Relaxed) + count;
        await_true("the load", || self.done.load(Ordering::Relaxed) >= enough);
    }
}

/// The clients end with it, also when the test fails.
struct End<'l>(&'l Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}
