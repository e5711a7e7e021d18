//! Threads in place of processes.

use std::sync::Barrier;
use std::thread;

pub(crate) const THREADS: u64 = 4;

/// Runs `process` in all threads at once.
pub(crate) fn run<T: Send>(process: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (barrier, process) = (&barrier, &process);
                scope.spawn(move || {
                    barrier.wait();
                    process(thread)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
