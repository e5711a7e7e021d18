//! Providers that are away and processes that die or begin anew: what is known stays in use as long as it may, and
//! somebody always goes on.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::provider::{Door, Endpoint, Manner, ONCE, Reply};
use crate::harness::{
    Connection, GATED, Mpm, Provider, Request, Server, Signer, Site, await_key_files, await_true, under_load,
};

/// A provider that publishes one key.
fn provider() -> (Provider, Signer) {
    let (provider, signer) = (Provider::http(), Signer::ec("ES256", "first"));
    provider.publish(&[&signer]);
    (provider, signer)
}

/// Starts a server with these directives.
fn start(site: Site, directives: &str) -> Server {
    let mut server = site.start(&format!("{directives}{GATED}"));
    // http://127.0.0.1 is for tests only.
    server.expect_log("JG2201");
    server
}

/// Waits until a request passes, whichever child it meets.
fn await_keys(server: &Server, request: &Request) {
    let mut everyone = server.each_child();
    await_true("the keys", || everyone.all_answer(request, 200));
}

/// A request with a token of this key.
fn by(server: &Server, provider: &Provider, signer: &Signer) -> Request {
    server.get("/").bearer(provider.token(signer).sign())
}

/// Waits until so many sets lie in the folder of the server: a moment after they are in use.
fn await_kept(server: &Server, count: usize) -> Vec<PathBuf> {
    await_key_files(&server.root.join("state"), count)
}

#[test]
fn an_outage_longer_than_refresh_and_shorter_than_stale_is_noticed_by_nobody() {
    let down: [fn(&Provider); 4] = [
        |provider| provider.door(Door::Closed),
        |provider| provider.door(Door::Mute),
        |provider| provider.answer(Endpoint::Keys, Reply::status(500)),
        |provider| provider.behave(Endpoint::Keys, Manner::CutOff),
    ];
    let providers = down.map(|_| provider());
    let issuers = providers.iter().enumerate().map(|(n, (provider, _))| {
        let options = "refresh=1s stale=1h cooldown=1s timeout=300ms";
        provider.directive(&format!("n{n}"), options)
    });
    let mut server = start(Site::new().children(3), &issuers.collect::<String>());
    let requests = providers.each_ref().map(|(provider, signer)| by(&server, provider, signer));
    requests.iter().for_each(|request| await_keys(&server, request));
    for n in 0..down.len() {
        server.expect_log(&format!("JG4002 JwtGateIssuer n{n} "));
    }
    let client = |number: usize| assert_eq!(requests[number].status(), 200, "{number}");
    under_load(down.len(), client, |load| {
        for ((provider, _), down) in providers.iter().zip(down) {
            down(provider);
        }
        let lines = |id: &str, n: usize| server.log.count(&format!("{id} JwtGateIssuer n{n} "));
        for n in 0..down.len() {
            await_true("fetches that fail", || lines("JG4002", n) >= 2);
        }
        load.more(50);
        let before: Vec<_> = (0..down.len()).map(|n| lines("JG4001", n)).collect();
        for (provider, signer) in &providers {
            provider.door(Door::Open);
            provider.behave(Endpoint::Keys, Manner::Prompt);
            provider.publish(&[signer]);
        }
        for (n, before) in before.into_iter().enumerate() {
            await_true("a fetch that succeeds", || lines("JG4001", n) > before);
        }
        load.more(50);
    });
    assert_eq!(server.log.count("JG4003"), 0);
}

#[test]
fn an_outage_longer_than_stale_closes_its_issuer_until_it_is_over() {
    let ((away, mine), (other, theirs)) = (provider(), provider());
    // On a busy machine, a fetch may be late by a second or two.
    let options = "refresh=1s stale=5s cooldown=1s timeout=1s";
    let issuers = away.directive("away", options) + &other.directive("other", "");
    let mut server = start(Site::new().children(3), &issuers);
    let request = by(&server, &away, &mine);
    let healthy = by(&server, &other, &theirs);
    await_keys(&server, &request);
    await_keys(&server, &healthy);
    let mut everyone = server.each_child();
    server.expect_log("JG4002 JwtGateIssuer away ");
    server.expect_log("JG4003 JwtGateIssuer away ");
    under_load(
        2,
        |_| assert_eq!(healthy.status(), 200),
        |load| {
            away.door(Door::Closed);
            await_true("the end of the keys in each child", || everyone.all_answer(&request, 503));
            server.await_log("JG4003");
            load.more(20);
        },
    );
    let answer = server.refused(&request, 503, "keys-unavailable");
    assert!(answer.header("Retry-After").unwrap().parse::<u64>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    assert_eq!(answer.header("WWW-Authenticate"), None);
    let stranger = server.get("/").bearer(away.token(&mine).header("kid", "x").sign());
    assert!(everyone.all_answer(&stranger, 503));
    assert!(everyone.all_answer(&request, 503));
    assert_eq!(server.log.count("JG4003"), 1);
    away.door(Door::Open);
    await_true("the keys in each child", || everyone.all_answer(&request, 200));
    await_true("an unknown kid to be unknown", || everyone.all_answer(&stranger, 401));
}

#[test]
fn attempts_come_less_and_less_often_while_they_fail() {
    let (provider, signer) = provider();
    let mut server = start(Site::new().children(3), &provider.directive("main", "refresh=1s stale=1h"));
    let request = by(&server, &provider, &signer);
    await_keys(&server, &request);
    server.expect_log("JG4002");
    provider.answer(Endpoint::Keys, Reply::status(500));
    let before = provider.count(Endpoint::Keys);
    provider.await_fetch(before + 4);
    // The one that fails first may have been answered before.
    let times = &provider.times(Endpoint::Keys)[before..before + 4];
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, least) in pauses.iter().zip([500, 1000, 2000]) {
        assert!(*pause >= Duration::from_millis(least), "{pauses:?}");
    }
    assert_eq!(request.status(), 200);
}

#[test]
fn without_network_a_server_starts_with_the_keys_that_it_kept() {
    for mpm in Mpm::ALL {
        let (provider, signer) = provider();
        let issuer = provider.directive("main", "refresh=1s stale=1h cooldown=1s timeout=1s");
        let mut server = start(Site::new().mpm(mpm).children(2), &issuer);
        let request = by(&server, &provider, &signer);
        await_keys(&server, &request);
        server.expect_log("JG4002");
        await_kept(&server, 1);
        server.stop_and_start(|_| provider.door(Door::Closed));
        for _ in 0..20 {
            assert_eq!(request.status(), 200, "{mpm:?}");
        }
        let new = Signer::ec("ES256", "second");
        server.refused(&by(&server, &provider, &new), 503, "keys-unavailable");
        server.await_log("JG4002");
        provider.publish(&[&signer, &new]);
        provider.door(Door::Open);
        await_keys(&server, &by(&server, &provider, &new));
        assert_eq!(request.status(), 200, "{mpm:?}");
    }
}

#[test]
fn a_start_uses_what_was_kept_and_fetches_once() {
    let (provider, signer) = provider();
    let mut server = start(Site::new().children(3), &provider.directive("main", ONCE));
    let request = by(&server, &provider, &signer);
    await_keys(&server, &request);
    for restarts in 1..=2 {
        await_kept(&server, 1);
        server.stop_and_start(|_| {});
        let mut everyone = server.each_child();
        assert!(everyone.all_answer(&request, 200), "{restarts}");
        await_true("the fetch at the start", || server.log.count("JG4001") > restarts);
    }
    let new = Signer::ec("ES256", "second");
    provider.publish(&[&new]);
    assert_eq!(by(&server, &provider, &new).status(), 200);
    assert_eq!(provider.count(Endpoint::Keys), 4);
}

#[test]
fn kept_keys_are_used_until_they_are_stale() {
    const HOUR: i64 = 3600;
    let (provider, signer) = provider();
    let mut server = start(Site::new(), &provider.directive("main", "refresh=10h"));
    let request = by(&server, &provider, &signer);
    await_keys(&server, &request);
    provider.door(Door::Closed);
    server.expect_log("JG4002");
    server.expect_log("JG2205 JwtGateStateDir");
    // A set from the future is as little believed as one that is too old.
    for (age, status) in [(23 * HOUR, 200), (25 * HOUR, 503), (HOUR, 200), (-HOUR, 503)] {
        let file = &await_kept(&server, 1)[0];
        server.stop_and_start(|_| {
            let text = fs::read_to_string(file).unwrap();
            let line = text.lines().find(|line| line.starts_with("fetched: ")).unwrap();
            let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
            fs::write(file, text.replace(line, &format!("fetched: {}", (now - age) * 1_000_000))).unwrap();
        });
        for _ in 0..10 {
            assert_eq!(request.status(), status, "{age}");
        }
    }
    server.await_log("JG4002");
}

#[test]
fn a_server_that_starts_without_any_keys_answers_503_until_they_are_there() {
    for mpm in Mpm::ALL {
        let (provider, signer) = provider();
        provider.door(Door::Closed);
        let mut server = start(Site::new().mpm(mpm).children(2), &provider.directive("main", "timeout=1s"));
        server.expect_log("JG4002");
        let request = by(&server, &provider, &signer);
        let answer = server.refused(&request, 503, "keys-unavailable");
        assert!(answer.header("Retry-After").is_some(), "{mpm:?}");
        assert_eq!(server.get("/").status(), 401, "{mpm:?}");
        server.await_log("JG4002");
        assert_eq!(request.status(), 503, "{mpm:?}");
        provider.door(Door::Open);
        await_keys(&server, &request);
        assert_eq!(provider.count(Endpoint::Keys), 1, "{mpm:?}");
    }
}

#[test]
fn a_dead_provider_is_no_trouble_for_the_others() {
    let ((dead, lost), (alive, first)) = (provider(), provider());
    dead.door(Door::Mute);
    let issuers = dead.directive("dead", "timeout=8s") + &alive.directive("alive", ONCE);
    let mut server = start(Site::new().children(3), &issuers);
    server.expect_log("JG4002 JwtGateIssuer dead ");
    let (request, closed) = (by(&server, &alive, &first), by(&server, &dead, &lost));
    await_keys(&server, &request);
    assert_eq!(closed.status(), 503);
    let new = Signer::ec("ES256", "second");
    alive.publish(&[&first, &new]);
    assert_eq!(by(&server, &alive, &new).status(), 200);
    assert_eq!(server.log.count("JG4002"), 0, "the first fetch from the dead one was over before");
    server.graceful();
    let mut everyone = server.each_child();
    assert!(everyone.all_answer(&request, 200));
    assert!(everyone.all_answer(&closed, 503));
    server.await_log("JG4002");
    dead.door(Door::Open);
    await_true("the keys in each child", || everyone.all_answer(&closed, 200));
    assert_eq!(alive.count(Endpoint::Keys), 2);
}

#[test]
fn another_child_goes_on_when_the_one_that_fetches_is_killed() {
    for mpm in Mpm::ALL {
        let (provider, signer) = provider();
        // Without fetches the keys would soon be too old.
        let issuer = provider.directive("main", "refresh=1s stale=6s cooldown=1s timeout=5s");
        let begin = Instant::now();
        let mut server = start(Site::new().mpm(mpm).children(3), &issuer);
        let request = by(&server, &provider, &signer);
        await_keys(&server, &request);
        // What a child was about to answer is lost with it.
        let client = |_| {
            if let Ok(answer) = request.try_send() {
                assert_eq!(answer.status, 200, "{mpm:?}");
            }
        };
        under_load(3, client, |load| {
            for _ in 0..2 {
                let killed = server.fetcher();
                server.kill_child(killed);
                await_true("a fetch by another child", || server.fetcher() != killed);
                load.more(20);
            }
        });
        // One when it begins, one in each second, and perhaps one that was cut off each time.
        let most = 4 + usize::try_from(begin.elapsed().as_secs()).unwrap();
        assert!(provider.count(Endpoint::Keys) <= most, "{mpm:?}: {} of {most}", provider.count(Endpoint::Keys));
    }
}

#[test]
fn a_fetch_whose_child_is_killed_is_begun_anew_for_those_that_wait() {
    for mpm in Mpm::ALL {
        let (provider, old) = provider();
        let new = Signer::ec("ES256", "second");
        // A request that nobody cared for would get 503 before ten seconds are over.
        let issuer = provider.directive("main", "refresh=1h cooldown=1h timeout=8s");
        let mut server = start(Site::new().mpm(mpm).children(3), &issuer);
        await_keys(&server, &by(&server, &provider, &old));
        let killed = server.fetcher();
        let mut others = server.each_child().but(killed);
        provider.publish(&[&old, &new]);
        provider.behave(Endpoint::Keys, Manner::Never);
        for connection in &mut others {
            connection.send(by(&server, &provider, &new).bytes());
        }
        await_true("the fetch", || provider.open(Endpoint::Keys) == 1);
        provider.behave(Endpoint::Keys, Manner::Prompt);
        server.kill_child(killed);
        for mut connection in others {
            assert_eq!(connection.answer().status, 200, "{mpm:?}");
        }
        await_true("the word of another child", || server.fetcher() != killed);
        assert_eq!(provider.count(Endpoint::Keys), 3, "{mpm:?}");
        let mut everyone = server.each_child();
        assert!(everyone.all_answer(&by(&server, &provider, &new), 200), "{mpm:?}");
    }
}

#[test]
fn keys_outlive_all_children() {
    for mpm in Mpm::ALL {
        let (provider, signer) = provider();
        // httpd warns when three are killed in a row.
        let mut server = start(Site::new().mpm(mpm).children(2), &provider.directive("main", ONCE));
        let request = by(&server, &provider, &signer);
        await_keys(&server, &request);
        server.kill_all_children();
        assert_eq!(request.status(), 200, "{mpm:?}");
        let mut everyone = server.each_child();
        assert!(everyone.all_answer(&request, 200), "{mpm:?}");
        assert_eq!(provider.count(Endpoint::Keys), 1, "{mpm:?}");
    }
}

/// A server that fetches for a token of a new key, and what matters of it: the provider, which would answer the next
/// fetch, requests with tokens of a key that is known and of the new one, and the connection of one that waits.
fn while_it_fetches(mpm: Mpm, children: u32) -> (Server, Provider, [Request; 2], Connection) {
    let (provider, old) = provider();
    let new = Signer::ec("ES256", "second");
    let server = start(Site::new().mpm(mpm).children(children), &provider.directive("main", ONCE));
    let (known, fresh) = (by(&server, &provider, &old), by(&server, &provider, &new));
    await_keys(&server, &known);
    provider.publish(&[&old, &new]);
    provider.behave(Endpoint::Keys, Manner::Never);
    let mut connection = server.connect();
    connection.send(fresh.bytes());
    await_true("the fetch", || provider.open(Endpoint::Keys) == 1);
    provider.behave(Endpoint::Keys, Manner::Prompt);
    (server, provider, [known, fresh], connection)
}

#[test]
fn a_fetch_that_was_asked_for_outlives_all_children() {
    for mpm in Mpm::ALL {
        // httpd warns when three are killed in a row.
        let (mut server, provider, [known, fresh], _connection) = while_it_fetches(mpm, 2);
        server.kill_all_children();
        assert_eq!(known.status(), 200, "{mpm:?}");
        // Those who come now wait for it.
        assert_eq!(fresh.status(), 200, "{mpm:?}");
        assert_eq!(provider.count(Endpoint::Keys), 3, "{mpm:?}");
    }
}

#[test]
fn a_graceful_restart_during_a_fetch_begins_it_anew() {
    for mpm in Mpm::ALL {
        let (mut server, provider, [known, fresh], mut connection) = while_it_fetches(mpm, 3);
        server.graceful();
        // Its process ends, and what that waited for comes to another one.
        assert_eq!(connection.answer().status, 503, "{mpm:?}");
        let mut everyone = server.each_child();
        assert!(everyone.all_answer(&fresh, 200), "{mpm:?}");
        assert!(everyone.all_answer(&known, 200), "{mpm:?}");
        assert_eq!(provider.count(Endpoint::Keys), 3, "{mpm:?}");
    }
}

#[test]
fn graceful_restarts_under_load_have_no_wrong_answer_and_no_fetch_too_many() {
    for mpm in Mpm::ALL {
        let ((rare, first), (often, second)) = (provider(), provider());
        let begin = Instant::now();
        let issuers = rare.directive("rare", ONCE) + &often.directive("often", "refresh=1s cooldown=1s timeout=15s");
        let mut server = start(Site::new().mpm(mpm).children(2), &issuers);
        let requests = [by(&server, &rare, &first), by(&server, &often, &second)];
        requests.iter().for_each(|request| await_keys(&server, request));
        // From here on for an hour, unknown kids cause no fetch.
        let stranger = server.get("/").bearer(rare.token(&first).header("kid", "x").sign());
        assert_eq!(stranger.status(), 401, "{mpm:?}");
        let client = |number: usize| assert_eq!(requests[number % 2].status(), 200, "{mpm:?}");
        under_load(4, client, |load| {
            for _ in 0..5 {
                server.graceful();
                assert_eq!(stranger.status(), 401, "{mpm:?}");
                load.more(20);
            }
        });
        assert_eq!(rare.count(Endpoint::Keys), 2, "{mpm:?}");
        // One when it begins, one in each second, and perhaps one that was cut off each time.
        let most = 6 + usize::try_from(begin.elapsed().as_secs()).unwrap();
        assert!(often.count(Endpoint::Keys) <= most, "{mpm:?}: {} of {most}", often.count(Endpoint::Keys));
    }
}

#[test]
fn without_a_folder_keys_outlive_graceful_restarts_in_memory() {
    let (provider, signer) = provider();
    let site = Site::new().children(3);
    site.write("file", "");
    let directives = provider.directive("main", ONCE) + "JwtGateStateDir ${ROOT}/file\n" + GATED;
    let mut server = site.start(&directives);
    server.expect_log("JG2201");
    server.expect_log("JG2205 JwtGateStateDir");
    let request = by(&server, &provider, &signer);
    await_keys(&server, &request);
    for _ in 0..3 {
        server.graceful();
        let mut everyone = server.each_child();
        assert!(everyone.all_answer(&request, 200));
    }
    assert_eq!(provider.count(Endpoint::Keys), 1);
}

#[test]
fn issuers_come_and_go_with_graceful_restarts() {
    let ((stays, first), (comes, second)) = (provider(), provider());
    let staying = stays.directive("stays", ONCE);
    let mut server = start(Site::new().children(3), &staying);
    let (old, new) = (by(&server, &stays, &first), by(&server, &comes, &second));
    await_keys(&server, &old);
    server.refused(&new, 401, "issuer-unknown");
    await_kept(&server, 1);
    let statuses = Mutex::new(Vec::new());
    under_load(
        2,
        |_| assert_eq!(old.status(), 200),
        |_| {
            server.graceful_with(&format!("{}{staying}{GATED}", comes.directive("comes", ONCE)));
            await_true("the new keys", || {
                let status = new.status();
                statuses.lock().unwrap().push(status);
                status == 200
            });
            // Other options, and the other one gone: the keys stay.
            let changed = comes.directive("renamed", "refresh=1h cooldown=1h timeout=14s");
            server.graceful_with(&format!("{staying}{changed}{GATED}"));
            assert_eq!(new.status(), 200);
        },
    );
    assert!(statuses.into_inner().unwrap().iter().all(|status| [200, 503].contains(status)));
    await_kept(&server, 2);
    server.graceful_with(&format!("{}{GATED}", comes.directive("comes", ONCE)));
    server.refused(&old, 401, "issuer-unknown");
    assert_eq!(new.status(), 200);
    server.graceful_with(&format!("{staying}{GATED}"));
    server.refused(&new, 401, "issuer-unknown");
    // It was forgotten, but its keys are on the disk.
    assert_eq!(old.status(), 200);
    assert_eq!(comes.count(Endpoint::Keys), 1);
}
