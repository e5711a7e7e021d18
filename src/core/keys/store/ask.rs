//! A request that meets an unknown `kid` asks for an attempt, and perhaps waits for its end.
//!
//! Word *asked* is when an attempt was last asked for, word *answered* the value of *asked* that the last attempt
//! to end had found when it began. While they differ, an attempt is wanted that begins after the ask. One
//! compare-and-swap on *asked* both begins the cool-down and wants the attempt, so a process that dies
//! loses no ask. The two are compared for equality only, so no clock can make an ask hang.

use std::time::Duration;

use super::layout::{ANSWERED, ASKED};
use super::source::{Source, TRIES, is_recent};
use crate::sync::spin_hint;
use crate::time::MonoNanos;

/// What became of an ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// An attempt will say. See [`Source::answer`].
    Wait(Ticket),
    /// The source was asked within the cool-down and has answered: what it does not know, it does not know.
    Unknown,
    /// The source was asked within the cool-down and has not answered; or nobody will ask it any more, since the store
    /// is retired.
    Unavailable,
}

/// Stands for an attempt that was asked for. Good for the source that gave it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket(u64);

impl Source<'_> {
    /// Asks for an attempt that begins from now on. For all processes together, one ask in each `cooldown` is
    /// granted; while the attempt has not ended, further asks get the same ticket.
    pub fn ask(&self, cooldown: Duration, now: MonoNanos) -> Asked {
        let now = MonoNanos(now.0.max(1));
        for _ in 0..TRIES {
            if self.store.is_retired() {
                return Asked::Unavailable;
            }
            let asked = self.load(ASKED);
            if asked != self.load(ANSWERED) {
                return Asked::Wait(Ticket(asked));
            }
            // 0: never.
            if asked != 0 && is_recent(asked, now, cooldown) {
                return if self.has_answered() { Asked::Unknown } else { Asked::Unavailable };
            }
            // Always another value than before, even without cool-down.
            let ask = if now.0 == asked { asked.wrapping_add(1) } else { now.0 };
            if self.swap(ASKED, asked, ask) {
                return Asked::Wait(Ticket(ask));
            }
            spin_hint();
        }
        Asked::Unavailable
    }

    /// Whether the attempt of a ticket has succeeded. `None` while it has not ended; it never ends in a retired
    /// store, which counts as failed.
    pub fn answer(&self, ticket: Ticket) -> Option<bool> {
        let pending = self.load(ANSWERED) != ticket.0 && self.load(ASKED) == ticket.0;
        match (pending, self.store.is_retired()) {
            (true, true) => Some(false),
            (true, false) => None,
            // Answered, perhaps so long ago that somebody else has asked since.
            (false, _) => Some(self.has_answered()),
        }
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.load(ASKED) != self.load(ANSWERED)
    }

    /// Whether what is published is what the source said when it was last asked.
    fn has_answered(&self) -> bool {
        self.failures() == 0 && (self.has_succeeded() || self.version() != 0)
    }
}
