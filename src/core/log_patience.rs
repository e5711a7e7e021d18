//! How long requests wait for a program that reads a log and does not keep up.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};
use crate::time::MonoNanos;

/// How long one line waits at most.
const LONGEST: Duration = Duration::from_millis(50);

/// A line that has less than this is lost at once, and says nothing of the program: it may be that it keeps up.
const SHORTEST: Duration = Duration::from_millis(1);

/// A wait is paid for with so many times as long, in which there is less patience.
const PRICE: u32 = 20;

/// There is no patience left while so much is owed.
const MOST_OWED: Duration = LONGEST.saturating_mul(PRICE);

/// Somebody waited in vain, and no line has found room at once since then.
const STUCK: u64 = u64::MAX;

/// What a process has of it for one log.
///
/// However many threads wait, and however slowly the program reads: beyond twice [`LONGEST`] at the beginning, there is
/// somebody who waits for at most two in [`PRICE`] parts of the time. Each of the waits that follow each other is paid
/// for. Of those that overlap, perhaps only the longest is; but any span of time that waits cover is covered to its half
/// by some that do not overlap.
#[derive(Debug)]
pub struct Patience {
    /// Until when waits are paid for, in nanoseconds of [`MonoNanos`], or [`STUCK`].
    owed_until: AtomicU64,
}

/// A line that waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    begin: MonoNanos,
    owed_until: MonoNanos,
    /// When the line is lost.
    pub deadline: MonoNanos,
}

impl Patience {
    /// All of it.
    pub fn new() -> Self {
        Self { owed_until: AtomicU64::new(0) }
    }

    /// A line finds no room. `None` if it is not to wait for it.
    pub fn wait(&self, now: MonoNanos) -> Option<Wait> {
        let owed_until = MonoNanos(self.owed_until.load(Ordering::Relaxed));
        let left = MOST_OWED.checked_sub(owed_until.since(now))? / PRICE;
        (left >= SHORTEST).then(|| Wait { begin: now, owed_until, deadline: now.saturating_add(left) })
    }

    /// The wait is over; `in_vain` if the line is lost.
    pub fn waited(&self, wait: Wait, now: MonoNanos, in_vain: bool) {
        let paid = || wait.owed_until.max(wait.begin).saturating_add(now.since(wait.begin).saturating_mul(PRICE));
        self.owed_until.fetch_max(if in_vain { STUCK } else { paid().0 }, Ordering::Relaxed);
    }

    /// A line has found room at once. The clock is read only if somebody has waited in vain before.
    pub fn flows(&self, now: impl FnOnce() -> MonoNanos) {
        if self.owed_until.load(Ordering::Relaxed) == STUCK {
            let owed = now().saturating_add(MOST_OWED).0;
            // Another thread may have seen the same.
            let _ = self.owed_until.compare_exchange(STUCK, owed, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    fn at(millis: u64) -> MonoNanos {
        MonoNanos(millis * MILLI)
    }

    /// How many milliseconds a line may wait.
    fn left(patience: &Patience, now: u64) -> Option<u64> {
        patience.wait(at(now)).map(|wait| wait.deadline.since(at(now)).as_nanos() as u64 / MILLI)
    }

    #[test]
    fn a_wait_is_paid_for_with_time() {
        let patience = Patience::new();
        patience.flows(|| panic!("the clock is not needed"));
        let wait = patience.wait(at(1000)).unwrap();
        assert_eq!(wait.deadline, at(1050));
        patience.waited(wait, at(1010), false);
        assert_eq!([1000, 1020, 1200, 9000].map(|now| left(&patience, now)), [40, 41, 50, 50].map(Some));
    }

    #[test]
    fn who_waited_in_vain_is_the_last_until_a_line_finds_room_at_once() {
        let patience = Patience::new();
        let [first, second] = [at(1000), at(1020)].map(|now| patience.wait(now).unwrap());
        patience.waited(first, at(1050), true);
        assert_eq!([1051, 2000, 1 << 40].map(|now| left(&patience, now)), [None; 3]);
        patience.waited(second, at(1060), false);
        assert_eq!(left(&patience, 1 << 40), None, "a line that had to wait shows nothing");
        patience.flows(|| at(5000));
        patience.flows(|| panic!("the clock is not needed"));
        assert_eq!(
            [5000, 5019, 5020, 5500, 6000].map(|now| left(&patience, now)),
            [None, None, Some(1), Some(25), Some(50)]
        );
    }

    #[test]
    fn waits_that_overlap_are_paid_for_once_and_by_half_at_least() {
        let owed = |waits: &[(u64, u64)]| {
            let patience = Patience::new();
            let mut times: Vec<(u64, bool, usize)> = Vec::new();
            for (number, &(begin, end)) in waits.iter().enumerate() {
                times.extend([(begin, true, number), (end, false, number)]);
            }
            times.sort_unstable();
            let mut known = vec![None; waits.len()];
            for (time, begins, number) in times {
                if begins {
                    known[number] = patience.wait(at(time));
                } else {
                    patience.waited(known[number].unwrap(), at(time), false);
                }
            }
            patience.owed_until.load(Ordering::Relaxed) / MILLI - waits[0].0
        };
        assert_eq!(owed(&[(1000, 1010); 64]), 200, "of all threads at once");
        assert_eq!(owed(&[(1000, 1010), (1010, 1020)]), 400, "one after the other");
        // Each begins before the last one is over.
        let chain: Vec<(u64, u64)> = (0..4).map(|number| (1000 + 9 * number, 1010 + 9 * number)).collect();
        assert!(owed(&chain) >= 37 * 10, "{}", owed(&chain));
    }

    /// A program reads now and then, and many threads write whenever they may.
    #[test]
    fn a_program_that_reads_slowly_takes_a_tenth_of_the_time_at_most() {
        const SPAN: u64 = 60_000;
        for pause in [2, 10, 40, 49, 50, 51, 200, 5000] {
            let patience = Patience::new();
            let (mut room, mut waiting, mut held) = (0, Vec::<Wait>::new(), 0);
            for milli in 1..SPAN {
                let now = at(milli);
                if milli.is_multiple_of(pause) {
                    room = 10;
                }
                held += u64::from(!waiting.is_empty());
                waiting.retain(|&wait| {
                    let is_over = room > 0 || wait.deadline <= now;
                    if is_over {
                        patience.waited(wait, now, room == 0);
                    }
                    room -= u64::from(room > 0);
                    !is_over
                });
                while room > 0 {
                    patience.flows(|| now);
                    room -= 1;
                }
                waiting.extend(patience.wait(now));
            }
            assert!(held > 0 && held <= SPAN / 10 + 100, "{held} of {SPAN} ms, read every {pause} ms");
        }
    }
}
