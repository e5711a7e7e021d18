//! Files, and when they are read.

use std::time::Duration;

use jwt_gate_core::time::MonoNanos;

use crate::files::Stamp;

/// A file, and what this process knows of it.
pub(crate) struct Watched {
    /// As it was when it was read last; `None` if it could not be seen.
    read: Option<Stamp>,
    /// As it was at the last look, and for how many looks it has been another than the one that was read.
    seen: Option<Stamp>,
    looks: u32,
    /// What was wrong with it when it was read last; it is then read again from time to time.
    wrong: Option<String>,
    again: MonoNanos,
    /// A thread reads it.
    reading: Option<BeingRead>,
}

/// A file that is being read.
#[derive(Clone, Copy)]
struct BeingRead {
    /// As it was when it was read before.
    before: Option<Stamp>,
    /// It may still be written: what is wrong with it then is not told.
    in_haste: bool,
}

/// Whether a file should be read now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    NotNow,
    /// It may still be written.
    InHaste,
    Now,
}

impl Watched {
    /// A file as the parent has read it.
    pub(crate) fn new(read: Option<Stamp>, wrong: Option<String>) -> Self {
        Self { read, seen: read, looks: 0, wrong, again: MonoNanos(0), reading: None }
    }

    /// Whether it should be read now that it looks like this.
    ///
    /// A change is read when the file is the same at two looks, since it may be written in place. One that never is
    /// the same is read all the same if half of it could not be taken for the whole (`shows_its_end`).
    fn is_due(&mut self, stamp: Option<Stamp>, shows_its_end: bool, now: MonoNanos) -> Reading {
        if stamp == self.read {
            self.looks = 0;
            return if self.wrong.is_some() && now >= self.again { Reading::Now } else { Reading::NotNow };
        }
        self.looks += 1;
        if std::mem::replace(&mut self.seen, stamp) == stamp {
            Reading::Now
        } else if shows_its_end && self.looks >= MOST_LOOKS {
            Reading::InHaste
        } else {
            Reading::NotNow
        }
    }

    /// Whether it is to be read now that it looks like this; then it counts as read.
    pub(super) fn begin(&mut self, stamp: Option<Stamp>, shows_its_end: bool, now: MonoNanos) -> bool {
        if self.reading.is_some() {
            return false;
        }
        let in_haste = match self.is_due(stamp, shows_its_end, now) {
            Reading::NotNow => return false,
            Reading::InHaste => true,
            Reading::Now => false,
        };
        self.reading = Some(BeingRead { before: std::mem::replace(&mut self.read, stamp), in_haste });
        self.looks = 0;
        true
    }

    /// As it was when it was read.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.read
    }

    /// Whether what is being read is another version than the one before, and not the same once more.
    pub(super) fn has_changed(&self) -> bool {
        self.reading.is_some_and(|reading| reading.before != self.read)
    }

    /// It was read well. Tells whether something was wrong with it before.
    pub(super) fn is_good(&mut self) -> bool {
        self.reading = None;
        self.wrong.take().is_some()
    }

    /// Something is wrong with it. Tells whether that is worth a word: what is wrong with another version is, since
    /// whoever wrote that waits for it to be in use.
    pub(super) fn is_bad(&mut self, why: &str, now: MonoNanos) -> bool {
        if self.reading.is_some_and(|reading| reading.in_haste) {
            self.has_moved();
            return false;
        }
        let is_same = !self.has_changed();
        self.reading = None;
        self.again = now.saturating_add(READ_AGAIN);
        let is_known = is_same && self.wrong.as_deref() == Some(why);
        self.wrong = Some(why.to_owned());
        !is_known
    }

    /// It has changed while it was read, and is looked at again as if it had not been.
    pub(super) fn has_moved(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.read = reading.before;
        }
    }
}

/// A file that is never the same at two looks may be read after this many.
const MOST_LOOKS: u32 = 3;
/// How often a file is read again that could not be read well.
const READ_AGAIN: Duration = Duration::from_secs(10);
