//! The last refusals, and who is at a limit: what comes out is what went in, whatever else writes the same memory.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use jwt_gate_core::config::limit::{self, LimitDef};
use jwt_gate_core::config::plan::{self, PlanDef};
use jwt_gate_core::decision_log::SubjectHash;
use jwt_gate_core::limit::LockoutRule;
use jwt_gate_core::metrics::Mismatch;
use jwt_gate_core::net::address::Cidr;
use jwt_gate_core::refusals::{Caller, Entry, Geometry, NameId, RefusalTable, Who};
use jwt_gate_core::sync::{AtomicU64, Ordering::Relaxed};
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use jwt_gate_core::verdict::{Reason, Ruling};
use proptest::prelude::*;

const NOW: UnixMicros = UnixMicros::from_secs(1_700_000_000);
/// When the clocks began that nobody sets.
const BOOT: UnixMicros = UnixMicros::from_secs(1_699_000_000);
const DAY: u64 = 86_400;
/// Words of an entry with its seal, and of the place that it is in.
const WRITTEN: usize = 11;
const LINE: usize = 16;

fn memory(geometry: Geometry) -> Vec<AtomicU64> {
    // What was there before does not matter.
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(u64::MAX)).collect();
    RefusalTable::format(&words, geometry).unwrap();
    words
}

fn open(words: &[AtomicU64], geometry: Geometry) -> RefusalTable<'_> {
    RefusalTable::open(words, geometry).unwrap()
}

fn after(seconds: u64) -> UnixMicros {
    NOW.saturating_add(Duration::from_secs(seconds))
}

/// Both clocks, when nobody has set one.
fn clocks(wall: UnixMicros) -> Now {
    Now { mono: MonoNanos::default().saturating_add(wall.since(BOOT)), wall }
}

/// The same entry, noted at another time.
fn noted(entry: Entry, now: Now) -> Entry {
    Entry { time: now.wall, noted: now.mono, ..entry }
}

/// All of it follows from the number.
fn entry(number: u64) -> Entry {
    Entry {
        time: UnixMicros(NOW.0 + number),
        noted: clocks(UnixMicros(NOW.0 + number)).mono,
        server: NameId::new(&format!("server {number}")),
        reason: Reason::ALL[number as usize % Reason::ALL.len()],
        would_deny: number.is_multiple_of(5),
        status: number as u16,
        limit: number.is_multiple_of(3).then(|| NameId::new(&format!("limit {number}"))),
        who: who(number),
        until: number.is_multiple_of(7).then(|| after(number)),
    }
}

fn who(number: u64) -> Who {
    let address: std::net::Ipv6Addr = (u128::from(number) << 64).into();
    Who {
        address: Cidr::around(address.into(), 64),
        subject: number.is_multiple_of(2).then(|| SubjectHash::from_bits(u128::from(number) << 60)),
    }
}

/// One who is refused now by a limit, up to some moment.
fn waiting(number: u64, until: UnixMicros) -> Entry {
    let refused = noted(entry(number), clocks(NOW));
    Entry { limit: Some(NameId::new("limit")), reason: Reason::RateLimited, until: Some(until), ..refused }
}

#[test]
fn the_newest_of_all_shards_come_first() {
    let geometry = Geometry::new(4, 8, 1);
    let words = memory(geometry);
    let table = open(&words, geometry);
    assert_eq!(table.newest(64), []);
    for number in 0..100 {
        // Whatever the shard is, it is one.
        table.note(usize::MAX - number as usize, &entry(number));
    }
    let newest = table.newest(8);
    assert_eq!(newest, (92..100).rev().map(entry).collect::<Vec<_>>());
    assert_eq!(table.newest(1000).len(), 4 * 8, "each shard keeps its own newest");
    assert_eq!(newest[0].ruling(), Ruling::Deny(Reason::ALL[99 % Reason::ALL.len()]));
    assert_eq!(newest[4].ruling(), Ruling::WouldDeny(Reason::ALL[95 % Reason::ALL.len()]));
}

#[test]
fn the_newest_come_first_whatever_is_done_to_the_wall_clock() {
    let words = memory(Geometry::DEFAULT);
    let table = open(&words, Geometry::DEFAULT);
    let early: Vec<Entry> = (0..64).map(entry).map(|entry| Entry { time: after(7200), ..entry }).collect();
    let late: Vec<Entry> = (64..364).map(entry).collect();
    for (shard, entry) in early.iter().chain(&late).enumerate() {
        table.note(shard, entry);
    }
    assert_eq!(table.newest(64), late.into_iter().rev().take(64).collect::<Vec<_>>());
}

#[test]
fn who_waits_is_known_once_and_up_to_the_end() {
    let geometry = Geometry::new(1, 1, 8);
    let words = memory(geometry);
    let table = open(&words, geometry);
    table.wait(&waiting(1, after(60)));
    table.wait(&Entry { until: None, ..waiting(2, NOW) });
    table.wait(&waiting(3, NOW));
    let known = |seconds| table.waiting(clocks(after(seconds)));
    assert_eq!(known(0), [waiting(1, after(60))]);
    assert_eq!(known(59).len(), 1);
    assert_eq!(known(60), []);

    // The same wait, told later and rounded up otherwise, from another virtual host: nothing is written.
    let before: Vec<u64> = words.iter().map(|word| word.load(Relaxed)).collect();
    let later = |entry| noted(entry, clocks(after(5)));
    table.wait(&Entry { status: 200, server: NameId::new("other"), ..later(waiting(1, after(61))) });
    assert_eq!(words.iter().map(|word| word.load(Relaxed)).collect::<Vec<_>>(), before);
    // Another one.
    let longer = later(waiting(1, after(90)));
    table.wait(&longer);
    assert_eq!(known(5), [longer]);
    // A quota of the same limit, its dry run, other terms and a lock-out are waits of their own; who waits longest comes
    // first.
    let other = Entry { reason: Reason::QuotaExceeded, ..later(waiting(1, after(1000))) };
    let trial = Entry { would_deny: true, ..later(waiting(1, after(80))) };
    let locked = Entry { limit: Some(NameId::new("rules")), reason: Reason::LockedOut, ..later(waiting(1, after(70))) };
    for entry in [&trial, &locked, &other] {
        table.wait(entry);
    }
    assert_eq!(known(5), [other, longer, trial, locked]);
}

#[test]
fn those_are_known_who_wait_longest() {
    let geometry = Geometry::new(1, 1, 1);
    let words = memory(geometry);
    let table = open(&words, geometry);
    for number in [30, 10, 50, 20, 40, 5] {
        table.wait(&waiting(number, after(number)));
    }
    let known = |now| table.waiting(clocks(now)).iter().map(|entry| entry.until.unwrap()).collect::<Vec<_>>();
    assert_eq!(known(NOW), [50, 40, 30, 20].map(after));
    // Where a wait is over, there is room.
    table.wait(&noted(waiting(25, after(25)), clocks(after(20))));
    assert_eq!(known(after(20)), [50, 40, 30, 25].map(after));
    assert_eq!(Geometry::DEFAULT.waits(), 512);
}

#[test]
fn who_is_not_refused_for_a_day_is_told_no_more_and_gives_way() {
    let geometry = Geometry::new(1, 1, 1);
    let words = memory(geometry);
    let table = open(&words, geometry);
    let count = |seconds| table.waiting(clocks(after(seconds))).len();
    let month = after(30 * DAY);
    for number in 0..4 {
        table.wait(&waiting(number, month));
    }
    assert_eq!((count(DAY - 1), count(DAY)), (4, 0));
    // One who is refused again and again is told all the time, for one write in an hour.
    let mut written = Vec::new();
    for minute in 1..=3 * 24 * 60 {
        let again = noted(waiting(1, month), clocks(after(60 * minute)));
        table.wait(&again);
        if table.waiting(clocks(after(60 * minute))).contains(&again) {
            written.push(minute);
        }
    }
    assert_eq!(written, (1..=3 * 24).map(|hour| 60 * hour).collect::<Vec<_>>());
    // The others have given way to those who wait a second.
    for number in 5..8 {
        table.wait(&noted(waiting(number, after(3 * DAY + 1)), clocks(after(3 * DAY))));
    }
    assert_eq!(count(3 * DAY), 4);
}

#[test]
fn waits_from_before_the_wall_clock_was_set_are_told_no_more_and_give_way() {
    let geometry = Geometry::new(1, 1, 1);
    let words = memory(geometry);
    let table = open(&words, geometry);
    // A second later by the clock that nobody sets.
    let mono = clocks(after(1)).mono;
    for number in 0..4 {
        table.wait(&waiting(number, after(60)));
    }
    // What a clock is kept right by is less.
    for wall in [NOW, after(2)] {
        assert_eq!(table.waiting(Now { mono, wall }).len(), 4);
    }
    let (back, ahead) = (NOW.saturating_sub(Duration::from_secs(7200)), after(10));
    for wall in [back, ahead] {
        assert_eq!(table.waiting(Now { mono, wall }), []);
    }
    let shorter = noted(waiting(1, back.saturating_add(Duration::from_secs(3))), Now { mono, wall: back });
    let another = noted(waiting(9, back.saturating_add(Duration::from_secs(2))), Now { mono, wall: back });
    table.wait(&shorter);
    table.wait(&another);
    assert_eq!(table.waiting(Now { mono, wall: back }), [shorter, another]);
}

#[test]
fn waits_on_terms_that_are_no_more_are_forgotten() {
    let geometry = Geometry::new(1, 1, 1);
    let words = memory(geometry);
    let table = open(&words, geometry);
    let (kept, gone) = (NameId::new("kept"), NameId::new("gone"));
    let wait = |number, terms| Entry { limit: terms, ..waiting(number, after(3600)) };
    for entry in [wait(1, Some(kept)), wait(2, Some(gone)), wait(3, None), wait(4, Some(gone))] {
        table.wait(&entry);
    }
    table.keep_waits(|id| id == kept);
    assert_eq!(table.waiting(clocks(NOW)), [wait(1, Some(kept))]);
    // Nothing of them is left, and there is room.
    let stale = |word: &&AtomicU64| word.load(Relaxed) == after(3600).0;
    assert_eq!(words.iter().filter(stale).count(), 1);
    for number in 5..8 {
        table.wait(&Entry { until: Some(after(1)), ..wait(number, Some(kept)) });
    }
    assert_eq!(table.waiting(clocks(NOW)).len(), 4);
}

#[test]
fn terms_are_others_with_every_number_that_a_caller_may_have() {
    let def = |text: &str| -> LimitDef { limit::parse(&text.split(' ').collect::<Vec<_>>()).unwrap().unwrap() };
    let plan = |text: &str| -> PlanDef { plan::parse(&text.split(' ').collect::<Vec<_>>()).unwrap() };
    let (gold, free) = (plan("gold rate=9/s"), plan("free quota=1/day"));
    let of = |text: &str| NameId::of_limit(&def(text), [&gold].into_iter());
    let first = of("a key=subject rate=5/s burst=6 quota=2/month");
    for other in [
        "b key=subject rate=5/s burst=6 quota=2/month",
        "a key=address rate=5/s burst=6 quota=2/month",
        "a key=subject rate=6/s burst=6 quota=2/month",
        "a key=subject rate=5/s burst=7 quota=2/month",
        "a key=subject rate=5/s burst=6 quota=1000000/month",
        "a key=subject rate=5/s burst=6 quota=2/day",
        "a key=subject rate=5/s burst=6",
        "a key=subject rate=5/s burst=6 quota=2/month plan-claim=tier",
        "a key=subject rate=5/s burst=6 quota=2/month default-plan=gold",
        "a key=subject rate=5/s burst=6 quota=2/month exempt=@office",
        "a key=subject rate=5/s burst=6 quota=2/month dry-run",
    ] {
        assert_ne!(of(other), first, "{other}");
    }
    // Of its plans the order is all the same, and of a limit without plans they are.
    let with = |plans: &[&PlanDef], text| NameId::of_limit(&def(text), plans.iter().copied());
    let (follows, alone) = ("a key=subject rate=5/s", "a key=address rate=5/s");
    assert_eq!(with(&[&gold, &free], follows), with(&[&free, &gold, &free], follows));
    for changed in [plan("gold rate=8/s"), plan("gold rate=9/s quota=3/day"), plan("silver rate=9/s")] {
        assert_ne!(with(&[&changed, &free], follows), with(&[&gold, &free], follows), "{changed:?}");
        assert_eq!(with(&[&changed, &free], alone), with(&[&gold, &free], alone));
    }

    let rule = |failures, within, block| {
        let [within, block] = [within, block].map(Duration::from_secs);
        LockoutRule { failures, within, block }
    };
    let of = |rules: &[LockoutRule]| NameId::of_lockouts(rules.iter().copied());
    let (first, second) = (rule(5, 60, 60), rule(20, 60, 60));
    assert_eq!(of(&[first, second]), of(&[second, first, second]));
    for other in [&[][..], &[first], &[second], &[first, rule(20, 61, 60)], &[first, rule(20, 60, 61)]] {
        assert_ne!(of(other), of(&[first, second]), "{other:?}");
    }
}

/// A process is killed, or pauses, in the middle of an entry: others go on, and what is half and half is left out.
#[test]
fn what_is_half_one_entry_and_half_another_is_left_out() {
    let geometry = Geometry::new(1, 1, 1);
    let image = |entry: &Entry| {
        let words = memory(geometry);
        open(&words, geometry).note(0, entry);
        words.into_iter().map(AtomicU64::into_inner).collect::<Vec<u64>>()
    };
    let (one, other) = (image(&entry(6)), image(&entry(70)));
    // Header, the line of the shard, then the only place.
    let place = 2 * LINE;
    let differ = (place..place + WRITTEN).filter(|at| one[*at] != other[*at]).count();
    assert!(differ > 5, "{differ}");
    for mask in 0..1_u32 << WRITTEN {
        let mixed: Vec<AtomicU64> = one.iter().copied().map(AtomicU64::new).collect();
        for at in (0..WRITTEN).filter(|at| mask >> at & 1 == 1) {
            mixed[place + at].store(other[place + at], Relaxed);
        }
        let now: Vec<u64> = mixed.iter().map(|word| word.load(Relaxed)).collect();
        let expected = match &now[place..] {
            words if words == &one[place..] => vec![entry(6)],
            words if words == &other[place..] => vec![entry(70)],
            _ => vec![],
        };
        let table = open(&mixed, geometry);
        assert_eq!(table.newest(64), expected, "{mask:b}");
        // The next one is whole again.
        table.note(0, &entry(99));
        assert_eq!(table.newest(64), [entry(99)]);
    }
}

/// Sets a flag when it goes, also by a panic: threads of a scope that wait for the flag would keep it from ending.
struct AtEnd<'f>(&'f AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_flood_shows_whole_entries_only() {
    const WRITERS: u64 = 3;
    // One place for all, so that they meet as often as possible.
    let geometry = Geometry::new(1, 1, 1);
    let words = memory(geometry);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = AtEnd(&stop);
        for writer in 0..WRITERS {
            let (words, stop) = (&words, &stop);
            scope.spawn(move || {
                let table = open(words, geometry);
                for round in 0.. {
                    let number = round * WRITERS + writer;
                    table.note(0, &entry(number));
                    table.wait(&waiting(number % 1000, after(number % 1000)));
                    if stop.load(Relaxed) {
                        break;
                    }
                }
            });
        }
        let table = open(&words, geometry);
        let mut seen = 0_u32;
        while seen < 20_000 {
            for found in table.newest(64) {
                assert_eq!(found, entry(found.time.0 - NOW.0));
                seen += 1;
            }
            for found in table.waiting(clocks(NOW)) {
                let number = found.until.unwrap().since(NOW).as_secs();
                assert_eq!(found, waiting(number, after(number)));
            }
        }
    });
}

#[test]
fn a_table_is_found_again_unless_its_layout_is_another() {
    let geometry = Geometry::new(2, 4, 2);
    let words = memory(geometry);
    open(&words, geometry).note(0, &entry(1));
    assert_eq!(open(&words, geometry).newest(64), [entry(1)]);
    let wrong = |words: &[AtomicU64], geometry| RefusalTable::open(words, geometry).err();
    assert_eq!(wrong(&words, Geometry::new(2, 4, 1)), Some(Mismatch::Geometry));
    assert_eq!(wrong(&words, Geometry::new(2, 2, 2)), Some(Mismatch::Geometry));
    assert_eq!(wrong(&words[1..], geometry), Some(Mismatch::Geometry));
    for (at, expected) in [Mismatch::Layout; 3].into_iter().chain([Mismatch::Geometry; 3]).enumerate() {
        let words = memory(geometry);
        words[at].fetch_add(1, Relaxed);
        assert_eq!(wrong(&words, geometry), Some(expected), "word {at}");
    }
    assert!(RefusalTable::format(&words[1..], geometry).is_err());
}

#[test]
fn sizes_are_kept_in_bounds() {
    assert_eq!(Geometry::new(0, 0, 0), Geometry::new(1, 1, 1));
    assert_eq!(Geometry::new(5, 3, 9), Geometry::new(8, 4, 16));
    assert_eq!(Geometry::new(usize::MAX, usize::MAX, usize::MAX), Geometry::new(1024, 1024, 1024));
    assert_eq!(Geometry::new(8, 64, 128), Geometry::DEFAULT);
    assert!(Geometry::DEFAULT.words() * 8 < 140 << 10);
}

#[test]
fn only_those_are_told_who_are_counted_together() {
    let def = |key: &str| -> LimitDef { limit::parse(&["a", &format!("key={key}"), "rate=1/s"]).unwrap().unwrap() };
    let block = |text: &str| text.parse::<Cidr>().unwrap();
    let [subject, api_key] = [1, 2].map(SubjectHash::from_bits);
    let (client, peer) = (block("192.0.2.7"), block("10.0.0.1"));
    let caller = Caller { address: client, peer, subject: Some(subject), api_key: Some(api_key) };
    for (key, address, told) in [
        ("global", None, None),
        ("address", Some(client), None),
        ("peer", Some(peer), None),
        ("address+peer", Some(client), None),
        ("subject", None, Some(subject)),
        ("api-key", None, Some(api_key)),
        ("subject+api-key", None, Some(subject)),
        ("issuer", None, None),
        ("client", None, None),
        ("claim:org", None, None),
        ("peer+subject+client", Some(peer), Some(subject)),
        ("address+issuer", Some(client), None),
    ] {
        assert_eq!(caller.counted_by(&def(key).key), Who { address, subject: told }, "{key}");
    }
    let nobody = Caller { subject: None, api_key: None, ..caller };
    for key in ["subject", "api-key"] {
        assert_eq!(nobody.counted_by(&def(key).key), Who::default(), "{key}");
    }
    assert_eq!(caller.who(), Who { address: Some(client), subject: Some(subject) });
    assert_eq!(caller.locked_out(), Who { address: Some(client), subject: None });
}

proptest! {
    /// Whatever the memory holds, what comes out can be written, and the table goes on.
    #[test]
    fn hostile_memory_harms_nobody(
        words in proptest::collection::vec(any::<u64>(), Geometry::new(1, 2, 1).words()),
        facts in any::<u64>(),
    ) {
        let geometry = Geometry::new(1, 2, 1);
        let hostile: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
        prop_assert!(RefusalTable::open(&hostile, geometry).is_err());
        // With a header that is right.
        for (at, word) in memory(geometry).iter().take(LINE).enumerate() {
            hostile[at].store(word.load(Relaxed), Relaxed);
        }
        let table = open(&hostile, geometry);
        prop_assert_eq!(table.newest(64), []);
        prop_assert_eq!(table.waiting(Now::default()), []);
        table.note(0, &entry(3));
        table.wait(&waiting(3, after(3)));
        prop_assert_eq!(table.newest(64), [entry(3)]);
        prop_assert_eq!(table.waiting(clocks(NOW)), [waiting(3, after(3))]);
        // With a seal that is right, of facts that are not.
        let sealed = memory(geometry);
        open(&sealed, geometry).note(0, &Entry { time: UnixMicros(0), ..entry(3) });
        sealed[2 * LINE + 1].store(facts, Relaxed);
        let written: Vec<u64> = sealed[2 * LINE..].iter().take(WRITTEN - 1).map(|word| word.load(Relaxed)).collect();
        sealed[2 * LINE + WRITTEN - 1].store(seal(&written), Relaxed);
        for found in open(&sealed, geometry).newest(64) {
            prop_assert!(found.who.address.is_none_or(|block| block.prefix() <= 128));
            prop_assert_eq!(found.reason as u64, facts & 0xff);
        }
    }
}

/// As somebody would make it who can write the memory.
fn seal(words: &[u64]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new();
    words.iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}
