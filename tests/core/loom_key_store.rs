//! Two processes on one source of the key store, whose buffers hold eight bytes here.

use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::keys::store::{Asked, KeyStore, Source, SourceId, Ticket};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, UnixMicros};
use loom::thread;

use super::explore;

const COOLDOWN: Duration = Duration::from_secs(30);

/// Processes.
const A: u64 = 4_711;
const B: u64 = 4_712;

/// The memory of one server, with one source.
#[derive(Clone)]
struct Memory(Arc<Vec<AtomicU64>>);

impl Memory {
    fn new() -> Self {
        let words: Vec<_> = (0..KeyStore::words(1)).map(|_| AtomicU64::new(0)).collect();
        KeyStore::format(&words, &[SourceId::new("a")]).unwrap();
        Self(Arc::new(words))
    }

    fn store(&self) -> KeyStore<'_> {
        KeyStore::open(&self.0).unwrap()
    }

    fn source(&self) -> Source<'_> {
        self.store().source(0).unwrap()
    }

    fn spawn<T: 'static>(&self, process: impl FnOnce(&Self) -> T + 'static) -> thread::JoinHandle<T> {
        let memory = self.clone();
        thread::spawn(move || process(&memory))
    }
}

fn at(seconds: u64) -> MonoNanos {
    MonoNanos(seconds * 1_000_000_000)
}

fn publish(source: Source<'_>, byte: u8) {
    source.publish(&[byte], UnixMicros::from_secs(1)).unwrap();
}

fn ask(source: Source<'_>, now: u64) -> Option<Ticket> {
    match source.ask(COOLDOWN, at(now)) {
        Asked::Wait(ticket) => Some(ticket),
        _ => None,
    }
}

/// The old holder is late, or somebody else is first.
#[test]
fn a_lease_is_taken_over_by_one() {
    explore(3, || {
        let memory = Memory::new();
        let store = memory.store();
        assert!(store.hold(A, at(100)));
        let other = memory.spawn(|memory| memory.store().hold(B, at(102)));
        let own = store.hold(A, at(102));
        assert!(own != other.join().unwrap());
    });
}

#[test]
fn nobody_takes_the_lease_of_a_retired_store() {
    explore(3, || {
        let memory = Memory::new();
        let store = memory.store();
        let other = memory.spawn(|memory| memory.store().retire());
        store.hold(A, at(100));
        other.join().unwrap();
        assert!(store.is_retired() && !store.hold(A, at(100)));
    });
}

#[test]
fn one_ask_is_granted() {
    explore(3, || {
        let memory = Memory::new();
        let source = memory.source();
        let other = memory.spawn(|memory| ask(memory.source(), 101));
        let own = ask(source, 100);
        assert!(own.is_some() && own == other.join().unwrap());
    });
}

/// An attempt that has begun before an ask does not answer it; one attempt more does.
#[test]
fn an_answer_is_younger_than_its_ask() {
    explore(3, || {
        let memory = Memory::new();
        let (store, source) = (memory.store(), memory.source());
        assert!(store.hold(A, at(100)));
        let early = source.begin(A, at(100)).unwrap();
        let other = memory.spawn(|memory| ask(memory.source(), 100).unwrap());
        source.succeed(early, at(1_000));
        let mut attempts = 1;
        let mut fetch = || {
            let attempt = source.begin(A, at(100));
            attempts += u32::from(attempt.is_some());
            attempt.into_iter().for_each(|attempt| source.succeed(attempt, at(1_000)));
        };
        fetch();
        let ticket = other.join().unwrap();
        fetch();
        assert_eq!((source.answer(ticket), attempts), (Some(true), 2));
        assert_eq!(ask(source, 100), None, "one in a cool-down");
    });
}

/// The attempt begins while somebody asks.
#[test]
fn who_waits_gets_an_answer() {
    explore(3, || {
        let memory = Memory::new();
        let (store, source) = (memory.store(), memory.source());
        assert!(store.hold(A, at(100)));
        let other = memory.spawn(|memory| {
            let source = memory.source();
            let ticket = ask(source, 100).unwrap();
            (ticket, source.answer(ticket))
        });
        let attempt = source.begin(A, at(100)).unwrap();
        source.succeed(attempt, at(1_000));
        let (ticket, early) = other.join().unwrap();
        assert!(early != Some(false), "nothing has failed");
        match source.begin(A, at(100)) {
            Some(attempt) => {
                assert_eq!((early, source.answer(ticket)), (None, None));
                source.succeed(attempt, at(1_000));
            }
            None => assert_eq!(source.answer(ticket), Some(true)),
        }
        assert_eq!(source.answer(ticket), Some(true));
    });
}

/// The thread that has fetched says so while another one of the same process looks for something to do.
#[test]
fn an_end_is_no_reason_to_begin() {
    explore(3, || {
        let memory = Memory::new();
        let (store, source) = (memory.store(), memory.source());
        assert!(store.hold(A, at(100)) && ask(source, 100).is_some());
        let attempt = source.begin(A, at(100)).unwrap();
        let other = memory.spawn(|memory| memory.source().succeed(attempt, at(1_000)));
        assert!(source.begin(A, at(100)).is_none());
        other.join().unwrap();
        assert!(source.begin(A, at(100)).is_none());
    });
}

/// A holder comes back after its lease has gone to another one, which has begun its attempt anew.
#[test]
fn a_late_end_harms_nothing() {
    explore(3, || {
        let memory = Memory::new();
        let (store, source) = (memory.store(), memory.source());
        let ticket = ask(source, 100).unwrap();
        assert!(store.hold(A, at(100)));
        let late = source.begin(A, at(100)).unwrap();
        assert!(store.hold(B, at(102)));
        let other = memory.spawn(|memory| memory.source().succeed(late, at(1_000)));
        if let Some(attempt) = source.begin(B, at(102)) {
            source.succeed(attempt, at(1_000));
            assert_eq!(source.answer(ticket), Some(true));
            // The next cool-down.
            ask(source, 130).unwrap();
            assert!(store.hold(B, at(130)));
            source.succeed(source.begin(B, at(130)).unwrap(), at(1_000));
        }
        other.join().unwrap();
        assert_eq!(source.answer(ticket), Some(true));
        let state = source.state(at(130));
        assert!(!state.asked && !state.under_way && state.due == at(1_000), "{state:?}");
    });
}

/// The second publication writes the buffer from which the reader may still copy.
#[test]
fn a_reader_is_overtaken() {
    explore(2, || {
        let memory = Memory::new();
        let source = memory.source();
        source.set_due(at(1_000));
        publish(source, 1);
        let other = memory.spawn(|memory| {
            let source = memory.source();
            publish(source, 2);
            publish(source, 3);
        });
        let content = source.read().unwrap();
        assert_eq!(vec![content.version as u8], content.bytes);
        other.join().unwrap();
        assert_eq!(source.read().unwrap().bytes, [3]);
        assert_eq!(source.state(at(1)).due, at(1_000), "being overtaken is no damage");
    });
}

/// Two processes take themselves for the holder and write the same buffer.
#[test]
fn two_publishers_leave_one_content_or_none() {
    explore(2, || {
        let memory = Memory::new();
        let source = memory.source();
        source.set_due(at(1_000));
        let other = memory.spawn(|memory| publish(memory.source(), 1));
        publish(source, 2);
        other.join().unwrap();
        let is_due = source.state(at(1)).due <= at(1);
        match source.read() {
            Some(content) => assert!(content.bytes == [1] || content.bytes == [2]),
            None => assert!(is_due, "who lost has looked"),
        }
        publish(source, 3);
        assert_eq!(source.read().unwrap().bytes, [3]);
    });
}
