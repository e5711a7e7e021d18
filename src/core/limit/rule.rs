//! By what a bucket's word is judged: a rate at one moment, or a quota.

use super::gcra::{self, Wait};
use super::quota::{Count, Quota};
use super::rate::Numbers;
use crate::time::{MonoNanos, Now};

/// What a bucket is counted by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Measure {
    Rate(Numbers),
    Quota(Quota),
}

impl Measure {
    pub(super) fn at(self, now: Now) -> Rule {
        match self {
            Self::Rate(numbers) => Rule::rate(numbers, now.mono),
            Self::Quota(quota) => Rule::Quota(Count::new(quota, now.wall)),
        }
    }
}

/// A measure at one moment. Words and times are nanoseconds of the clock of the table that the bucket is in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Rate { numbers: Numbers, now: MonoNanos },
    Quota(Count),
}

impl Rule {
    pub(super) fn rate(numbers: Numbers, now: MonoNanos) -> Self {
        Self::Rate { numbers, now: sane(now) }
    }

    /// The time by which slots of other keys are at rest.
    pub(super) const fn now(self) -> u64 {
        match self {
            Self::Rate { now, .. } => now.0,
            Self::Quota(count) => count.now,
        }
    }

    /// One request: the next word if it is admitted.
    pub(super) fn test(self, word: u64) -> Result<u64, Wait> {
        match self {
            Self::Rate { numbers, now } => gcra::test(word, now, numbers),
            Self::Quota(count) => count.test(word),
        }
    }

    /// A word as read from shared memory: one that cannot be counts as rest.
    pub(super) fn plausible(self, word: u64) -> u64 {
        match self {
            Self::Rate { now, .. } => gcra::plausible(word, now),
            Self::Quota(count) => count.plausible(word),
        }
    }

    /// Where a key without slot begins, after this word of another one was forgotten.
    pub(super) fn begin(self, forgotten: u64) -> u64 {
        match self {
            Self::Rate { now, .. } => gcra::plausible(forgotten, now),
            Self::Quota(count) => count.begin(forgotten),
        }
    }

    /// How far one request moves the word.
    pub(super) const fn interval(self) -> u64 {
        match self {
            Self::Rate { numbers, .. } => numbers.interval().get(),
            Self::Quota(_) => 1,
        }
    }

    /// By which charges of one measure are ordered: who is told to wait for this is told to wait longer.
    pub(super) const fn patience(self) -> u64 {
        match self {
            Self::Rate { numbers, .. } => numbers.interval().get(),
            Self::Quota(count) => count.end,
        }
    }

    /// The wait at a bucket that so many want that it counts as just emptied.
    pub(super) const fn busy(self) -> Wait {
        Wait(self.interval())
    }

    /// The word that was `found` without the request that made it `made`; `None` if time has made it good.
    ///
    /// If a rate's bucket has been at rest in the meantime, taking the charge back would admit one request too many.
    /// Charges since then have moved the word by whole intervals unless one began at rest.
    pub(super) fn given_back(self, found: u64, made: u64) -> Option<u64> {
        match self {
            Self::Rate { numbers, .. } => {
                let interval = numbers.interval().get();
                found.checked_sub(interval).filter(|_| found.abs_diff(made).is_multiple_of(interval))
            }
            Self::Quota(count) => count.given_back(found, made),
        }
    }

    /// The word of a bucket that asks for this `wait`.
    pub(super) fn refusing(self, wait: Wait) -> u64 {
        match self {
            Self::Rate { numbers, now } => gcra::refusing(wait, now, numbers),
            Self::Quota(count) => count.refusing(wait),
        }
    }

    pub(super) fn remaining(self, word: u64) -> u32 {
        match self {
            Self::Rate { numbers, now } => gcra::remaining(word, now, numbers),
            Self::Quota(count) => count.remaining(word),
        }
    }

    pub(super) fn secs_until_one_more(self, word: u64) -> u64 {
        match self {
            Self::Rate { numbers, now } => gcra::secs_until_one_more(word, now, numbers),
            Self::Quota(count) => count.secs_until_end(word),
        }
    }
}

/// The clock of a machine that has run for less than seventy years: times stay clear of the marks of slots.
pub(super) fn sane(now: MonoNanos) -> MonoNanos {
    now.min(MonoNanos(1 << 61))
}
