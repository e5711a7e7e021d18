//! Metrics as their users see them: what is counted, what outlives a restart, and what monitoring reads.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

#[path = "metrics_text.rs"]
mod metrics_text;

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use jwt_gate_core::limit::Occupancy;
use jwt_gate_core::metrics::{
    CONTENT_TYPE, FAMILIES, Gauges, Geometry, Kind, MetricTable, Metrics, Mismatch, Series, SeriesId, Table,
};
use jwt_gate_core::sync::{AtomicU64, Ordering::Relaxed};
use jwt_gate_core::token::cache::Lookup;
use jwt_gate_core::verdict::{Reason, Ruling};
use metrics_text::{Exposition, parse};
use proptest::prelude::*;

const NO_GAUGES: Gauges<'_> = Gauges { keys: &[], tables: &[], networks: &[], version: "0.0.0" };
const DENY: Ruling = Ruling::Deny(Reason::RateLimited);

fn memory(geometry: Geometry) -> Vec<AtomicU64> {
    // What was there before does not matter.
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(u64::MAX)).collect();
    MetricTable::format(&words, geometry).unwrap();
    words
}

/// A restart of the server.
fn restart(words: &[AtomicU64], geometry: Geometry) -> MetricTable<'_> {
    let table = MetricTable::open(words, geometry).unwrap();
    table.begin_generation();
    table
}

fn id(number: usize) -> SeriesId {
    SeriesId::new("test_total").with("number", &number.to_string())
}

fn rendered(metrics: &Metrics<'_>) -> Exposition {
    parse(&metrics.render(&NO_GAUGES))
}

#[test]
fn threads_lose_nothing_in_whatever_shard() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 2_000_000;
    let geometry = Geometry::new(2, 8);
    let words = memory(geometry);
    let series: Vec<Series> =
        (0..2).map(|n| MetricTable::open(&words, geometry).unwrap().assign(id(n)).unwrap()).collect();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (words, series, barrier) = (&words, &series, &barrier);
            scope.spawn(move || {
                let table = MetricTable::open(words, geometry).unwrap();
                barrier.wait();
                for round in 0..ROUNDS {
                    // Each shard is that of two threads, and two of the numbers are beyond the shards that there are.
                    table.add(series[round as usize % 2], thread, 1 + round % 3);
                }
            });
        }
    });
    let table = MetricTable::open(&words, geometry).unwrap();
    for (at, series) in series.iter().enumerate() {
        let expected: u64 = (0..ROUNDS).filter(|round| round % 2 == at as u64).map(|round| 1 + round % 3).sum();
        assert_eq!(table.read(*series), u128::from(expected) * THREADS as u128);
    }
}

#[test]
fn a_series_goes_on_after_restarts_that_add_remove_and_reorder_others() {
    let geometry = Geometry::new(4, 64);
    let words = memory(geometry);
    let count = |number: usize, table: MetricTable<'_>, add: u64| {
        let series = table.assign(id(number)).unwrap();
        for shard in 0..4 {
            table.add(series, shard, add);
        }
        table.read(series)
    };
    let table = MetricTable::open(&words, geometry).unwrap();
    for number in 0..10 {
        assert_eq!(count(number, table, number as u64), 4 * number as u128);
    }
    let table = restart(&words, geometry);
    for number in (5..20).rev() {
        let before = if number < 10 { 4 * number as u128 } else { 0 };
        assert_eq!(count(number, table, 1), before + 4, "{number}");
    }
    // Left out for long, and back again: there was room, so that nobody has taken its place.
    for _ in 0..5 {
        restart(&words, geometry);
    }
    assert_eq!(count(3, restart(&words, geometry), 0), 12);
}

#[test]
fn a_full_table_gives_away_only_what_two_generations_did_not_ask_for() {
    let geometry = Geometry::new(2, 4);
    let words = memory(geometry);
    let table = MetricTable::open(&words, geometry).unwrap();
    let first: Vec<_> = (0..4).map(|n| table.assign(id(n)).unwrap()).collect();
    table.add(first[3], 1, 9);
    assert_eq!(table.assign(id(4)), None);

    let table = restart(&words, geometry);
    for (number, series) in first.iter().enumerate().take(3) {
        assert_eq!(table.assign(id(number)), Some(*series));
    }
    assert_eq!(table.assign(id(4)), None, "children of the generation before may use it");
    let table = restart(&words, geometry);
    for (number, series) in first.iter().enumerate().take(3) {
        assert_eq!(table.assign(id(number)), Some(*series));
    }
    assert_eq!(table.assign(id(4)), Some(first[3]));
    assert_eq!(table.read(first[3]), 0, "it begins anew");
    assert_eq!(table.assign(id(3)), None);
}

#[test]
fn another_table_is_refused() {
    let geometry = Geometry::new(2, 8);
    let open = |words: &[AtomicU64], geometry| MetricTable::open(words, geometry).err();
    let words = memory(geometry);
    assert_eq!(open(&words, geometry), None);
    assert_eq!(open(&words[1..], geometry), Some(Mismatch::Geometry));
    assert_eq!(open(&[], geometry), Some(Mismatch::Geometry));
    assert_eq!(open(&words, Geometry::new(1, 8)), Some(Mismatch::Geometry));
    assert_eq!(open(&words, Geometry::new(2, 7)), Some(Mismatch::Geometry));
    assert!(MetricTable::format(&words[1..], geometry).is_err());
    for (index, expected) in
        [(0, Mismatch::Layout), (1, Mismatch::Layout), (2, Mismatch::Geometry), (3, Mismatch::Geometry)]
    {
        let words = memory(geometry);
        words[index].fetch_add(1, Relaxed);
        assert_eq!(open(&words, geometry), Some(expected), "word {index}");
    }
    let zeros: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    assert_eq!(open(&zeros, geometry), Some(Mismatch::Layout));
    for why in [Mismatch::Layout, Mismatch::Geometry] {
        assert!(why.to_string().starts_with("it"));
    }
}

proptest! {
    /// Behind its signature, a table may hold anything: what is counted from then on is added all the same.
    #[test]
    fn a_damaged_table_harms_nobody(damage in proptest::collection::vec((4_usize..200, any::<u64>()), 1..100)) {
        let geometry = Geometry::new(2, 16);
        let words = memory(geometry);
        for (word, value) in damage {
            if let Some(word) = words.get(word) {
                word.store(value, Relaxed);
            }
        }
        // Numbers at their end begin at 0 again; these do not.
        for cell in &words[words.len() - 32..] {
            cell.store(cell.load(Relaxed) >> 1, Relaxed);
        }
        let table = restart(&words, geometry);
        let mut seen = Vec::new();
        for series in (0..20).filter_map(|number| table.assign(id(number))) {
            prop_assert!(!seen.contains(&series));
            seen.push(series);
            let before = table.read(series);
            table.add(series, 0, 1);
            table.add(series, 1, 2);
            prop_assert_eq!(table.read(series), before + 3);
        }
    }
}

#[test]
fn every_number_is_counted_where_it_belongs() {
    let words = memory(Geometry::DEFAULT);
    let table = MetricTable::open(&words, Geometry::DEFAULT).unwrap();
    let metrics = Metrics::assign(table, ["b", "a", "b"], ["login"]).unwrap();
    assert_eq!(metrics.left_out(), 0);
    let zero = rendered(&metrics);
    let mut counted = zero.samples.iter().filter(|(sample, _)| !sample.starts_with("jwt_gate_build_info"));
    assert!(counted.all(|(_, value)| *value == "0" || *value == "0.000000000"), "{zero:?}");

    let micros = Duration::from_micros;
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut expect = |sample: String, value: String| {
        assert!(zero.get(&sample).is_some(), "{sample}");
        expected.insert(sample, value);
    };
    metrics.decided(0, Ruling::Allow, micros(1));
    expect("jwt_gate_decisions_total{verdict=\"allow\",reason=\"none\"}".into(), "1".into());
    let mut decisions = 1;
    for (at, reason) in Reason::ALL.into_iter().enumerate() {
        for (ruling, times) in [(Ruling::Deny(reason), 2 * at + 1), (Ruling::WouldDeny(reason), 2 * at + 2)] {
            for shard in 0..times {
                metrics.decided(shard, ruling, micros(3));
            }
            let (verdict, reason) = (ruling.verdict(), reason.word());
            let sample = format!("jwt_gate_decisions_total{{verdict=\"{verdict}\",reason=\"{reason}\"}}");
            expect(sample, times.to_string());
            decisions += times;
        }
    }
    for (le, count) in [
        ("1e-06", 1),
        ("2e-06", 1),
        ("5e-06", decisions),
        ("1e-05", decisions),
        ("2e-05", decisions),
        ("5e-05", decisions),
        ("0.0001", decisions),
        ("0.0002", decisions),
        ("0.0005", decisions),
        ("0.001", decisions),
        ("0.002", decisions),
        ("0.005", decisions),
        ("0.01", decisions),
        ("0.02", decisions),
        ("0.05", decisions),
        ("0.1", decisions),
        ("+Inf", decisions),
    ] {
        expect(format!("jwt_gate_decision_seconds_bucket{{le=\"{le}\"}}"), count.to_string());
    }
    expect("jwt_gate_decision_seconds_count".into(), decisions.to_string());
    expect("jwt_gate_decision_seconds_sum".into(), format!("0.{:09}", 1000 + 3000 * (decisions - 1)));

    for (at, status) in [(0, 99), (1, 101), (2, 204), (3, 304), (4, 404), (5, 503), (5, 700), (5, u16::MAX)] {
        metrics.responded(at, status, Duration::from_secs(61));
    }
    for (class, count) in [("1xx", 2), ("2xx", 1), ("3xx", 1), ("4xx", 1), ("5xx", 3)] {
        expect(format!("jwt_gate_responses_total{{class=\"{class}\"}}"), count.to_string());
    }
    expect("jwt_gate_request_seconds_bucket{le=\"+Inf\"}".into(), "8".into());
    expect("jwt_gate_request_seconds_count".into(), "8".into());
    expect("jwt_gate_request_seconds_sum".into(), "488.000000000".into());

    for (lookup, outcome, times) in [(Lookup::Hit, "hit", 3), (Lookup::Miss, "miss", 2)] {
        (0..times).for_each(|shard| metrics.looked_up(shard, lookup));
        expect(format!("jwt_gate_token_cache_total{{outcome=\"{outcome}\"}}"), times.to_string());
    }
    for (limit, factor) in [("a", 1), ("b", 10)] {
        let series = metrics.limit(limit);
        for (ruling, times) in
            [(Ruling::Allow, factor), (DENY, 2 * factor), (Ruling::WouldDeny(Reason::QuotaExceeded), 3 * factor)]
        {
            (0..times).for_each(|shard| metrics.limited(shard, series, ruling));
            let sample = format!("jwt_gate_limit_total{{limit=\"{limit}\",outcome=\"{}\"}}", ruling.verdict());
            expect(sample, times.to_string());
        }
    }
    for (succeeded, outcome, times) in [(true, "ok", 4), (false, "failed", 5)] {
        (0..times).for_each(|shard| metrics.fetched(shard, "login", succeeded));
        let sample = format!("jwt_gate_key_fetches_total{{issuer=\"login\",outcome=\"{outcome}\"}}");
        expect(sample, times.to_string());
    }
    (0..6).for_each(|shard| metrics.locked_out(shard));
    expect("jwt_gate_lockouts_total".into(), "6".into());
    (0..7).for_each(|shard| metrics.lost_log_line(shard));
    expect("jwt_gate_log_lines_lost_total".into(), "7".into());

    for (sample, value) in rendered(&metrics).samples {
        let expected = expected.get(&sample).map_or_else(|| zero.get(&sample).unwrap(), String::as_str);
        assert_eq!(value, expected, "{sample}");
    }
}

#[test]
fn numbers_go_on_after_a_restart_with_other_limits() {
    let words = memory(Geometry::DEFAULT);
    let metrics =
        Metrics::assign(MetricTable::open(&words, Geometry::DEFAULT).unwrap(), ["a", "b"], ["login"]).unwrap();
    metrics.limited(0, metrics.limit("b"), Ruling::Allow);
    metrics.fetched(0, "login", true);
    metrics.decided(0, DENY, Duration::from_millis(1));

    let reopened = Metrics::assign(restart(&words, Geometry::DEFAULT), ["c", "b"], ["sso", "login"]).unwrap();
    // A child of the generation before ends its last request.
    metrics.limited(1, metrics.limit("b"), Ruling::Allow);
    let text = rendered(&reopened);
    assert_eq!(text.get("jwt_gate_limit_total{limit=\"b\",outcome=\"allow\"}"), Some("2"));
    assert_eq!(text.get("jwt_gate_limit_total{limit=\"c\",outcome=\"allow\"}"), Some("0"));
    assert_eq!(text.get("jwt_gate_limit_total{limit=\"a\",outcome=\"allow\"}"), None);
    assert_eq!(text.get("jwt_gate_key_fetches_total{issuer=\"login\",outcome=\"ok\"}"), Some("1"));
    assert_eq!(text.get("jwt_gate_decisions_total{verdict=\"deny\",reason=\"rate-limited\"}"), Some("1"));
    assert_eq!(text.get("jwt_gate_decision_seconds_sum"), Some("0.001000000"));
}

#[test]
fn names_without_room_are_counted_together() {
    // Besides what there always is.
    let needed = (1..).find(|series| assigned(*series).is_some()).unwrap();
    let with_room = |more: usize, count: &dyn Fn(&Metrics<'_>)| {
        let geometry = Geometry::new(1, needed + more);
        let words = memory(geometry);
        let table = MetricTable::open(&words, geometry).unwrap();
        let metrics = Metrics::assign(table, ["other", "second"], ["login", "sso"]).unwrap();
        count(&metrics);
        (metrics.left_out(), rendered(&metrics))
    };
    let limited = |text: &Exposition, name: &str, outcome| {
        text.get(&format!("jwt_gate_limit_total{{limit=\"{name}\",outcome=\"{outcome}\"}}")).map(str::to_owned)
    };
    // Two issuers and one limit. That may be called so; what has no room is called as nothing can be.
    let (left_out, text) = with_room(2 + 2 + 3, &|metrics| {
        metrics.limited(0, metrics.limit("other"), Ruling::Allow);
        metrics.limited(0, metrics.limit("second"), Ruling::Allow);
        metrics.limited(0, metrics.limit("nobody"), DENY);
    });
    assert_eq!(left_out, 1);
    assert_eq!(limited(&text, "other", "allow").as_deref(), Some("1"));
    assert_eq!(limited(&text, "second", "allow"), None);
    assert_eq!(limited(&text, "(other)", "allow").as_deref(), Some("1"));
    assert_eq!(limited(&text, "(other)", "deny").as_deref(), Some("1"));
    // One issuer, and no limit.
    let (left_out, text) = with_room(2, &|metrics| {
        metrics.fetched(0, "login", true);
        metrics.fetched(0, "sso", false);
        metrics.limited(0, metrics.limit("other"), Ruling::Allow);
    });
    assert_eq!(left_out, 3);
    assert_eq!(text.get("jwt_gate_key_fetches_total{issuer=\"login\",outcome=\"ok\"}"), Some("1"));
    assert_eq!(text.get("jwt_gate_key_fetches_total{issuer=\"(other)\",outcome=\"failed\"}"), Some("1"));
    assert_eq!(limited(&text, "(other)", "allow").as_deref(), Some("1"));
}

/// Whoever opens a table of an earlier build may find no place for what has come since: that is told, and nothing of the
/// table is changed by it.
#[test]
fn a_table_full_of_the_generation_before_has_no_place_for_what_is_new() {
    let needed = (1..).find(|series| assigned(*series).is_some()).unwrap();
    let geometry = Geometry::new(1, needed);
    let words = memory(geometry);
    let table = || MetricTable::open(&words, geometry).unwrap();
    for number in 0..needed {
        assert!(table().assign(SeriesId::new("of_another_build_total").with("limit", &number.to_string())).is_some());
    }
    table().begin_generation();
    assert!(Metrics::assign(table(), [], []).is_none());
}

fn assigned(series: usize) -> Option<()> {
    let geometry = Geometry::new(1, series);
    let words = memory(geometry);
    Metrics::assign(MetricTable::open(&words, geometry).unwrap(), [], []).map(|_| ())
}

/// What administrators ask for by name; docs/observing.md lists the same.
#[test]
fn the_text_has_every_metric_and_no_other() {
    let names = [
        ("jwt_gate_decisions_total", "counter"),
        ("jwt_gate_decision_seconds", "histogram"),
        ("jwt_gate_request_seconds", "histogram"),
        ("jwt_gate_responses_total", "counter"),
        ("jwt_gate_token_cache_total", "counter"),
        ("jwt_gate_keys_age_seconds", "gauge"),
        ("jwt_gate_key_fetches_total", "counter"),
        ("jwt_gate_limit_total", "counter"),
        ("jwt_gate_limit_slots", "gauge"),
        ("jwt_gate_quota_slots", "gauge"),
        ("jwt_gate_lockout_slots", "gauge"),
        ("jwt_gate_overflows_total", "counter"),
        ("jwt_gate_network_age_seconds", "gauge"),
        ("jwt_gate_file_reads_total", "counter"),
        ("jwt_gate_lockouts_total", "counter"),
        ("jwt_gate_log_lines_lost_total", "counter"),
        ("jwt_gate_build_info", "info"),
    ];
    assert_eq!(FAMILIES.map(|family| (family.name, family.kind.word())), names);

    let words = memory(Geometry::DEFAULT);
    let table = MetricTable::open(&words, Geometry::DEFAULT).unwrap();
    let metrics = Metrics::assign(table, ["per-user"], ["login"]).unwrap();
    let second = Duration::from_secs(1);
    let gauges = Gauges {
        keys: &[("login", Some(second))],
        tables: &Table::ALL.map(|table| (table, Occupancy { used: 1, free: 2, overflows: 3 })),
        version: "1.2.3",
        networks: &[("office", Some(second))],
    };
    let text = parse(&metrics.render(&gauges));
    let families: Vec<_> = text.families.iter().map(|(base, kind, ..)| (base.as_str(), kind.as_str())).collect();
    assert_eq!(families, FAMILIES.each_ref().map(|family| (family.base(), family.kind.word())));
    for (family, (_, _, unit, help)) in FAMILIES.iter().zip(&text.families) {
        assert_eq!((unit.as_deref(), help.as_str()), (family.unit(), family.help));
        let of = |sample: &&(String, String)| sample.0.split('{').next() == Some(family.name);
        if family.kind == Kind::Histogram {
            continue;
        }
        let samples: Vec<_> = text.samples.iter().filter(of).collect();
        assert!(!samples.is_empty(), "{}", family.name);
        for (sample, _) in samples {
            let labels = sample.matches("=\"").count();
            assert_eq!(labels, family.labels.len(), "{sample}");
            assert!(family.labels.iter().all(|label| sample.contains(&format!("{label}=\""))), "{sample}");
        }
    }
}

#[test]
fn gauges_tell_how_things_stand() {
    let words = memory(Geometry::DEFAULT);
    let metrics = Metrics::assign(MetricTable::open(&words, Geometry::DEFAULT).unwrap(), [], []).unwrap();
    let millis = |millis| Some(Duration::from_millis(millis));
    let gauges = Gauges {
        keys: &[
            ("sso", millis(61_005)),
            ("login", None),
            ("a", millis(1)),
            ("a", millis(2)),
            ("b", None),
            ("b", millis(1)),
        ],
        tables: &[
            (Table::Rates, Occupancy { used: 3, free: 131_069, overflows: 0 }),
            (Table::Lockouts, Occupancy { used: 5, free: 0, overflows: 7 }),
        ],
        version: "1.2.3",
        networks: &[("odd \"\\\n\u{fc}", millis(0))],
    };
    let text = metrics.render(&gauges);
    let parsed = parse(&text);
    let age = |issuer: &str| parsed.get(&format!("jwt_gate_keys_age_seconds{{issuer=\"{issuer}\"}}")).unwrap();
    assert_eq!((age("sso"), age("login"), age("a"), age("b")), ("61.005", "+Inf", "0.002", "+Inf"));
    assert_eq!(parsed.get("jwt_gate_limit_slots{state=\"used\"}"), Some("3"));
    assert_eq!(parsed.get("jwt_gate_limit_slots{state=\"free\"}"), Some("131069"));
    assert_eq!(parsed.get("jwt_gate_quota_slots{state=\"free\"}"), None);
    assert_eq!(parsed.get("jwt_gate_lockout_slots{state=\"used\"}"), Some("5"));
    assert_eq!(parsed.get("jwt_gate_overflows_total{table=\"rates\"}"), Some("0"));
    assert_eq!(parsed.get("jwt_gate_overflows_total{table=\"lock-outs\"}"), Some("7"));
    assert_eq!(parsed.get("jwt_gate_build_info{version=\"1.2.3\"}"), Some("1"));
    assert!(text.contains("\njwt_gate_network_age_seconds{network=\"odd \\\"\\\\\\n\u{fc}\"} 0.000\n"), "{text}");
    assert_eq!(metrics.render(&gauges), text, "the order never changes");
    assert_eq!(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

proptest! {
    /// A duration is in the first bucket whose bound is not below it, and in all larger ones.
    #[test]
    fn durations_are_in_their_buckets(nanos in proptest::collection::vec(0_u64..200_000_000, 1..50)) {
        let words = memory(Geometry::DEFAULT);
        let metrics = Metrics::assign(MetricTable::open(&words, Geometry::DEFAULT).unwrap(), [], []).unwrap();
        for (shard, nanos) in nanos.iter().enumerate() {
            metrics.decided(shard, Ruling::Allow, Duration::from_nanos(*nanos));
        }
        let text = rendered(&metrics);
        for (sample, value) in &text.samples {
            let Some(le) = sample.strip_prefix("jwt_gate_decision_seconds_bucket{le=\"") else { continue };
            let le: f64 = le.trim_end_matches("\"}").parse().unwrap();
            let within = nanos.iter().filter(|nanos| **nanos as f64 <= (le * 1e9).round()).count();
            prop_assert_eq!(value, &within.to_string(), "{}", sample);
        }
        let sum: u64 = nanos.iter().sum();
        let expected = format!("{}.{:09}", sum / 1_000_000_000, sum % 1_000_000_000);
        prop_assert_eq!(text.get("jwt_gate_decision_seconds_sum"), Some(expected.as_str()));
    }
}

#[test]
fn totals_are_what_the_text_says_and_quantiles_are_ends_of_buckets() {
    let words = memory(Geometry::DEFAULT);
    let table = MetricTable::open(&words, Geometry::DEFAULT).unwrap();
    let metrics = Metrics::assign(table, ["b", "a"], ["login"]).unwrap();
    let none = metrics.totals();
    assert_eq!((none.allowed, none.denied.len(), none.decisions.count), (0, 0, 0));
    assert_eq!(none.decisions.quantiles, [None; 3]);
    for micros in 1..=100 {
        metrics.decided(micros as usize, Ruling::Allow, Duration::from_micros(micros));
    }
    metrics.decided(0, DENY, Duration::from_secs(9));
    metrics.decided(0, Ruling::WouldDeny(Reason::Csrf), Duration::from_secs(9));
    metrics.limited(0, metrics.limit("a"), DENY);
    metrics.fetched(1, "login", false);
    metrics.responded(0, 404, Duration::from_millis(3));
    metrics.looked_up(0, Lookup::Hit);
    metrics.locked_out(0);
    let totals = metrics.totals();
    assert_eq!((totals.allowed, totals.denied), (100, vec![(Reason::RateLimited, 1)]));
    assert_eq!(totals.would_be_denied, [(Reason::Csrf, 1)]);
    // The 51st of 102 took 51 µs, the 97th 97 µs, and the 101st longer than any bucket.
    assert_eq!(totals.decisions.quantiles, [Some(100_000), Some(100_000), None]);
    assert_eq!((totals.decisions.count, totals.decisions.sum_nanos), (102, 18_005_050_000));
    assert_eq!(totals.requests.quantiles, [Some(5_000_000); 3]);
    assert_eq!(totals.limits, [("a".to_owned(), [0, 1, 0]), ("b".to_owned(), [0, 0, 0])]);
    assert_eq!(totals.fetches, [("login".to_owned(), [0, 1])]);
    assert_eq!((totals.token_cache, totals.lockouts), ([1, 0], 1));
    assert!(totals.responses.contains(&("4xx", 1)));
}
