//! What the processes that write a log know of it together: lines that were lost and are not told yet, and a line that
//! was written in part.
//!
//! It is kept in shared memory, so that it outlives whoever lost a line or began one, also if that was killed. Numbers
//! of lines only grow, and nobody waits for anybody. Memory of zeros has no log in it.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};
use crate::time::MonoNanos;

/// How often is told of lost lines.
const SILENCE: Duration = Duration::from_secs(60);

// Words of a log.
const DEVICE: usize = 0;
const INODE: usize = 1;
const GENERATION: usize = 2;
const TORN: usize = 3;
const MENDED: usize = 4;
const LOST: usize = 5;
const TOLD: usize = 6;
const SILENT_UNTIL: usize = 7;
/// Those of one log: a cache line. The first such place is for the generation of all.
const LOG: usize = 8;

/// What the system knows an open file or pipe by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FileId {
    /// The device on which it is.
    pub device: u64,
    /// Its number there; never 0.
    pub inode: u64,
}

/// The state of one log. Every process has one on the same memory.
#[derive(Clone, Copy, Debug)]
pub struct LogState<'m> {
    words: &'m [AtomicU64],
}

/// A line that was written in part, which a line break must follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Torn(u64);

impl<'m> LogState<'m> {
    /// 64-bit words for so many logs.
    pub const fn words(logs: usize) -> usize {
        (logs + 1) * LOG
    }

    /// The states of these logs, in their order: each that it has, else a new one, in a place that no log has had, else
    /// of the one that was asked for the longest ago: before the last start or graceful restart. `None` if there is no
    /// room.
    ///
    /// Old children may still write to the log that had the place. What they lose is then told of the new one, and what
    /// they tear costs that an empty line.
    ///
    /// Only the parent process may call this, and only before it starts the children of this generation.
    pub fn assign(words: &'m [AtomicU64], logs: &[FileId]) -> Option<Vec<Self>> {
        let (head, places) = words.split_at_checked(LOG)?;
        let generation = head[GENERATION].fetch_add(1, Ordering::Relaxed) + 1;
        let places = || places.chunks_exact(LOG).map(|words| Self { words });
        let state = |log: &FileId| {
            let known = places().find(|place| place.id() == *log);
            // The generation of a place that no log has had is 0.
            let free = || places().filter(|place| place.is_free(generation)).min_by_key(|place| place.load(GENERATION));
            let place = known.or_else(free)?;
            if place.id() != *log {
                place.begin(*log);
            }
            place.words[GENERATION].store(generation, Ordering::Relaxed);
            Some(place)
        };
        logs.iter().map(state).collect()
    }

    /// The line that the next one must not be a part of: begin that with a line break, and say with [`Self::mended`]
    /// that it was written.
    ///
    /// Several processes may be told of the same, and then there is an empty line: that is better than a lost one.
    pub fn torn(&self) -> Option<Torn> {
        let torn = self.load(TORN);
        (torn > self.load(MENDED)).then_some(Torn(torn))
    }

    /// A line was written in part.
    pub fn tear(&self) {
        self.words[TORN].fetch_add(1, Ordering::Relaxed);
    }

    /// A line break was written after that.
    pub fn mended(&self, Torn(torn): Torn) {
        self.words[MENDED].fetch_max(torn, Ordering::Relaxed);
    }

    /// A line was lost.
    pub fn lose(&self) {
        self.words[LOST].fetch_add(1, Ordering::Relaxed);
    }

    /// How many lines were lost that nobody told of: to be told now. `None` if there are none, or for a minute after
    /// the last time.
    pub fn to_tell(&self, now: impl FnOnce() -> MonoNanos) -> Option<u64> {
        if self.load(LOST) <= self.load(TOLD) {
            return None;
        }
        let (now, until) = (now(), self.load(SILENT_UNTIL));
        let next = now.saturating_add(SILENCE).0;
        let word = &self.words[SILENT_UNTIL];
        if now.0 < until || word.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return None;
        }
        self.left_to_tell()
    }

    /// The same whenever the last time was: for the end of a process.
    pub fn left_to_tell(&self) -> Option<u64> {
        loop {
            let (lost, told) = (self.load(LOST), self.load(TOLD));
            if lost <= told {
                return None;
            }
            let exchange = self.words[TOLD].compare_exchange(told, lost, Ordering::Relaxed, Ordering::Relaxed);
            if exchange.is_ok() {
                return Some(lost - told);
            }
        }
    }

    fn is_free(&self, generation: u64) -> bool {
        self.load(INODE) == 0 || self.load(GENERATION) + 1 < generation
    }

    /// The place is that of another log now. Numbers of lines go on from where they are: what an old child still says is
    /// mended or told is then never more than there was.
    fn begin(&self, log: FileId) {
        self.words[MENDED].fetch_max(self.load(TORN), Ordering::Relaxed);
        self.words[TOLD].fetch_max(self.load(LOST), Ordering::Relaxed);
        for (word, value) in [(SILENT_UNTIL, 0), (DEVICE, log.device), (INODE, log.inode)] {
            self.words[word].store(value, Ordering::Relaxed);
        }
    }

    fn id(&self) -> FileId {
        FileId { device: self.load(DEVICE), inode: self.load(INODE) }
    }

    fn load(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const LOGS: [FileId; 3] = [id(7, 1), id(7, 2), id(8, 1)];
    const MINUTE: u64 = SILENCE.as_nanos() as u64;

    const fn id(device: u64, inode: u64) -> FileId {
        FileId { device, inode }
    }

    fn memory(logs: usize) -> Vec<AtomicU64> {
        (0..LogState::words(logs)).map(|_| AtomicU64::new(0)).collect()
    }

    fn at(nanos: u64) -> impl FnOnce() -> MonoNanos {
        move || MonoNanos(nanos)
    }

    #[test]
    fn each_lost_line_is_told_once() {
        let memory = memory(1);
        let [one] = LogState::assign(&memory, &LOGS[..1]).unwrap()[..] else { panic!("one") };
        let other = LogState { words: one.words };
        assert_eq!(one.to_tell(|| panic!("the clock is not needed")), None);
        one.lose();
        assert_eq!(one.to_tell(at(5)), Some(1), "the first at once");
        for _ in 0..3 {
            one.lose();
            other.lose();
        }
        assert_eq!((one.to_tell(at(5 + MINUTE - 1)), other.to_tell(at(6))), (None, None));
        assert_eq!(other.to_tell(at(5 + MINUTE)), Some(6), "whoever writes next");
        assert_eq!((one.to_tell(at(u64::MAX)), one.left_to_tell()), (None, None));
        one.lose();
        other.lose();
        assert_eq!((one.left_to_tell(), other.left_to_tell()), (Some(2), None), "at an end, also in the silence");
        other.lose();
        assert_eq!(one.to_tell(at(6 + MINUTE)), None, "still silent");
        assert_eq!(one.to_tell(at(5 + 2 * MINUTE)), Some(1));
    }

    #[test]
    fn no_line_is_told_twice_or_never() {
        const THREADS: u64 = 8;
        const EACH: u64 = 2_000;
        let memory = memory(1);
        let state = LogState::assign(&memory, &LOGS[..1]).unwrap()[0];
        let told: u64 = std::thread::scope(|scope| {
            let lose = || {
                (0..EACH).fold(0, |told, _| {
                    state.lose();
                    told + state.left_to_tell().unwrap_or(0)
                })
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(lose)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(told, THREADS * EACH);
    }

    #[test]
    fn a_torn_line_is_known_until_a_line_break_is_written() {
        let memory = memory(1);
        let one = LogState::assign(&memory, &LOGS[..1]).unwrap()[0];
        let other = LogState { words: one.words };
        assert_eq!(one.torn(), None);
        one.tear();
        let torn = other.torn().expect("another process knows");
        assert_eq!(one.torn(), Some(torn), "until it is mended");
        // One that was torn while the other was mended.
        one.tear();
        other.mended(torn);
        let again = other.torn().expect("the second");
        one.mended(again);
        other.mended(torn);
        assert_eq!((one.torn(), other.torn()), (None, None));
    }

    #[test]
    fn a_log_keeps_its_state_over_graceful_restarts() {
        let memory = memory(3);
        let states = LogState::assign(&memory, &LOGS).unwrap();
        for (state, times) in states.iter().zip(1..) {
            (0..times).for_each(|_| state.lose());
        }
        states[1].tear();
        let [last, again, middle] = LogState::assign(&memory, &[LOGS[2], LOGS[2], LOGS[1]]).unwrap()[..] else {
            panic!("three")
        };
        assert_eq!((middle.left_to_tell(), middle.torn().is_some()), (Some(2), true));
        assert_eq!((again.left_to_tell(), last.left_to_tell()), (Some(3), None), "one file is one log");
        // A child of the generation before ends.
        assert_eq!(states[0].left_to_tell(), Some(1));
    }

    #[test]
    fn places_are_given_to_others_once_nobody_uses_them() {
        let memory = memory(2);
        let state = |inode| LogState::assign(&memory, &[id(9, inode)]).map(|states| states[0]);
        state(1).unwrap().tear();
        state(2).unwrap().lose();
        let third = state(3).expect("the place of the first");
        assert_eq!((third.torn(), third.left_to_tell()), (None, None), "begins anew");
        third.tear();
        third.lose();
        assert_eq!((third.torn().is_some(), third.left_to_tell()), (true, Some(1)));
        assert_eq!(state(3).unwrap().id(), id(9, 3));
        assert!(LogState::assign(&memory, &LOGS).is_none(), "two places");
        assert!(LogState::assign(&[], &[]).is_none(), "no place for the generation");
        assert!(LogState::assign(&memory[..LOG], &[]).is_some());
    }
    /// Each generation has a new pipe, and children of early ones still write to theirs.
    #[test]
    fn places_that_no_log_has_had_come_first_then_the_oldest() {
        let memory = memory(4);
        let place = |inode| LogState::assign(&memory, &[id(9, inode)]).unwrap()[0].words.as_ptr();
        let places: Vec<_> = (1..=8).map(place).collect();
        assert!((1..4).all(|at| !places[..at].contains(&places[at])), "{places:?}");
        assert_eq!(places[..4], places[4..]);
    }

    #[test]
    fn an_old_child_hides_nothing_of_the_log_that_has_its_place() {
        let memory = memory(1);
        let state = |inode| LogState::assign(&memory, &[id(9, inode)]).map(|states| states[0]);
        let old = state(1).unwrap();
        (0..3).for_each(|_| old.tear());
        (0..3).for_each(|_| old.lose());
        let torn = old.torn().unwrap();
        assert!(state(2).is_none(), "still that of the generation before");
        let new = state(2).expect("the place");
        assert_eq!((new.torn(), new.left_to_tell()), (None, None), "begins anew");
        old.mended(torn);
        assert_eq!(old.left_to_tell(), None);
        new.tear();
        new.lose();
        assert_eq!((new.torn().is_some(), new.left_to_tell()), (true, Some(1)));
    }
}
