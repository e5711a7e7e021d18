//! One refusal, as the words that are kept of it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::config::limit::LimitDef;
use crate::config::plan::PlanDef;
use crate::decision_log::SubjectHash;
use crate::limit::LockoutRule;
use crate::net::address::Cidr;
use crate::time::{MonoNanos, UnixMicros};
use crate::verdict::{Reason, Ruling};

/// A refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// When it was decided; of a wait, when it was noted.
    pub time: UnixMicros,
    /// When it was noted, on the clock that nobody sets.
    pub noted: MonoNanos,
    /// The virtual host.
    pub server: NameId,
    /// Why.
    pub reason: Reason,
    /// It was let in by a dry run, else refused.
    pub would_deny: bool,
    /// Of the answer.
    pub status: u16,
    /// The limit that refused; of a wait, the terms by which a limit or a lock-out did.
    pub limit: Option<NameId>,
    /// Who was refused; of a wait, who is counted together.
    pub who: Who,
    /// When a limit or a lock-out is over.
    pub until: Option<UnixMicros>,
}

/// Who was refused: as much of it as is known, or as a limit counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Who {
    /// The client's address, with those that are counted together with it; or the peer's, for a limit that counts peers.
    pub address: Option<Cidr>,
    /// The pseudonym of the subject, or of the API key.
    pub subject: Option<SubjectHash>,
}

/// What stands for a name of the configuration, or for terms. It is known again as long as something has that name, or
/// those terms.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NameId(u64);

/// Words of an entry without its seal. A place that was never written is all zeros, and its seal is wrong.
pub(super) const WORDS: usize = 10;

/// The words of an entry.
pub(super) type Words = [u64; WORDS];

const TIME: usize = 0;
/// Bits 0 to 7 the reason, 8 to 15 the length of the address's prefix, 16 to 31 the status, from 32 on the marks below.
const FACTS: usize = 1;
const SERVER: usize = 2;
const LIMIT: usize = 3;
const UNTIL: usize = 4;
const ADDRESS: usize = 5;
const SUBJECT: usize = 7;
const NOTED: usize = 9;

const WOULD_DENY: u64 = 1 << 32;
const HAS_LIMIT: u64 = 1 << 33;
const HAS_UNTIL: u64 = 1 << 34;
const HAS_SUBJECT: u64 = 1 << 35;
const HAS_V4: u64 = 1 << 36;
const HAS_V6: u64 = 1 << 37;

impl Entry {
    /// What became of the request.
    pub const fn ruling(&self) -> Ruling {
        if self.would_deny { Ruling::WouldDeny(self.reason) } else { Ruling::Deny(self.reason) }
    }

    /// Whether both are about the same terms, and about the same caller.
    pub(super) fn is_same_wait(&self, other: &Self) -> bool {
        let of = |entry: &Self| (entry.limit, entry.reason, entry.would_deny, entry.who);
        of(self) == of(other)
    }

    /// A hash of what [`is_same_wait`](Self::is_same_wait) looks at.
    pub(super) fn wait_hash(&self) -> u64 {
        let (time, noted) = (UnixMicros(0), MonoNanos(0));
        let wait = Self { time, noted, server: NameId(0), status: 0, until: None, ..*self };
        seal(&wait.words())
    }

    pub(super) fn words(&self) -> Words {
        let Self { time, noted, server, reason, would_deny, status, limit, who, until } = *self;
        let mut words = [0; WORDS];
        words[TIME] = time.0;
        words[NOTED] = noted.0;
        words[FACTS] = reason as u64 | u64::from(status) << 16;
        words[SERVER] = server.0;
        if would_deny {
            words[FACTS] |= WOULD_DENY;
        }
        if let Some(limit) = limit {
            words[FACTS] |= HAS_LIMIT;
            words[LIMIT] = limit.0;
        }
        if let Some(until) = until {
            words[FACTS] |= HAS_UNTIL;
            words[UNTIL] = until.0;
        }
        if let Some(block) = who.address {
            let (family, bits) = match block.network() {
                IpAddr::V4(v4) => (HAS_V4, u128::from(v4.to_bits())),
                IpAddr::V6(v6) => (HAS_V6, v6.to_bits()),
            };
            words[FACTS] |= family | u64::from(block.prefix()) << 8;
            [words[ADDRESS], words[ADDRESS + 1]] = halves(bits);
        }
        if let Some(subject) = who.subject {
            words[FACTS] |= HAS_SUBJECT;
            [words[SUBJECT], words[SUBJECT + 1]] = halves(subject.to_bits());
        }
        words
    }

    /// The entry of these words; `None` if they are none. Whatever they are, what comes out is possible.
    pub(super) fn of(words: &Words) -> Option<Self> {
        let facts = words[FACTS];
        let has = |mark: u64| facts & mark != 0;
        let [reason, prefix, status @ ..] = facts.to_le_bytes();
        let address = whole(words[ADDRESS], words[ADDRESS + 1]);
        let address = if has(HAS_V4) {
            Some(Cidr::around(IpAddr::V4(u32::try_from(address).ok()?.into()), prefix)?)
        } else if has(HAS_V6) {
            Some(Cidr::around(IpAddr::V6(address.into()), prefix)?)
        } else {
            None
        };
        let subject = SubjectHash::from_bits(whole(words[SUBJECT], words[SUBJECT + 1]));
        Some(Self {
            time: UnixMicros(words[TIME]),
            noted: MonoNanos(words[NOTED]),
            server: NameId(words[SERVER]),
            reason: *Reason::ALL.get(usize::from(reason))?,
            would_deny: has(WOULD_DENY),
            status: u16::from_le_bytes([status[0], status[1]]),
            limit: has(HAS_LIMIT).then_some(NameId(words[LIMIT])),
            who: Who { address, subject: has(HAS_SUBJECT).then_some(subject) },
            until: has(HAS_UNTIL).then_some(UnixMicros(words[UNTIL])),
        })
    }
}

impl NameId {
    /// Of a name, or of any text that says which one is meant.
    pub fn new(name: &str) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write(name.as_bytes());
        Self(hasher.finish())
    }

    /// Of the terms of a limit: all that it says, and all plans that its callers may have. Who was refused by other ones
    /// may be let in by these.
    pub fn of_limit<'p>(def: &LimitDef, plans: impl Iterator<Item = &'p PlanDef>) -> Self {
        let plans = distinct(plans.filter(|_| def.follows_plans()));
        Self::new(&format!("{def:?} {plans:?}"))
    }

    /// Of the terms of lock-outs: all rules of the server.
    pub fn of_lockouts(rules: impl Iterator<Item = LockoutRule>) -> Self {
        Self::new(&format!("{:?}", distinct(rules)))
    }
}

/// All of these once, in an order of their own. Where another build of the module writes them otherwise, waits are
/// forgotten.
fn distinct(all: impl Iterator<Item = impl Debug>) -> BTreeSet<String> {
    all.map(|one| format!("{one:?}")).collect()
}

/// The seal of an entry: what shows that its words belong together.
pub(super) fn seal(words: &Words) -> u64 {
    let mut hasher = SipHasher24::new();
    for word in words {
        hasher.write_u64(*word);
    }
    hasher.finish()
}

/// Of all reasons in their order: memory that counts them otherwise, of another build of the module, is not to be read.
pub(super) fn vocabulary() -> u64 {
    let mut hasher = SipHasher24::new();
    for reason in Reason::ALL {
        hasher.write(reason.word().as_bytes());
        hasher.write_u8(0);
    }
    hasher.finish()
}

fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

fn whole(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}
