//! Keys that change at the provider: whoever has a token of a published key comes in, nobody else, and the provider
//! is asked no more often than it must be.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::provider::{Endpoint, Manner, ONCE, Reply};
use crate::harness::{GATED, Mpm, Provider, Request, Server, Signer, Site, await_some, await_true, under_load};

/// Starts a server with these directives and waits until all its children have the keys of all providers, of which one
/// stands beside each.
fn start(site: Site, directives: &str, providers: &[(&Provider, &Signer)]) -> Server {
    let mut server = site.start(&format!("{directives}{GATED}"));
    // http://127.0.0.1 is for tests only.
    server.expect_log("JG2201");
    let mut everyone = server.each_child();
    for (provider, signer) in providers {
        let request = by(&server, provider, signer);
        await_true("the first keys", || everyone.all_answer(&request, 200));
    }
    server
}

/// A request with a token of this key.
fn by(server: &Server, provider: &Provider, signer: &Signer) -> Request {
    server.get("/").bearer(provider.token(signer).sign())
}

/// A request with a token of a key that nobody knows.
fn unknown(server: &Server, provider: &Provider, kid: &str) -> Request {
    server.get("/").bearer(provider.token(&server.keys.es256).header("kid", kid).sign())
}

#[test]
fn a_rotation_under_load_has_no_wrong_answer() {
    // What is so when a request is sent, in this order.
    const OLD_KEY: usize = 0;
    const BOTH: usize = 1;
    const OLD_ONE_LEAVES: usize = 2;
    const OLD_ONE_IS_GONE: usize = 3;
    for mpm in Mpm::ALL {
        let provider = Provider::http();
        let (old, new) = (Signer::ec("ES256", "old"), Signer::ec("ES256", "new"));
        provider.publish(&[&old]);
        let issuer = provider.directive("main", "refresh=1s cooldown=1s timeout=15s");
        let server = start(Site::new().mpm(mpm).children(3), &issuer, &[(&provider, &old)]);
        let phase = AtomicUsize::new(OLD_KEY);
        // One token of each that comes again and again, as from memory; the others are new each time.
        let (known_old, known_new) = (by(&server, &provider, &old), by(&server, &provider, &new));
        let client = |number: usize| {
            let before = phase.load(Ordering::SeqCst);
            let of_old = number.is_multiple_of(2) || before == OLD_KEY;
            let status = match (number < 2, of_old) {
                (true, true) => known_old.status(),
                (true, false) => known_new.status(),
                (false, true) => by(&server, &provider, &old).status(),
                (false, false) => by(&server, &provider, &new).status(),
            };
            let after = phase.load(Ordering::SeqCst);
            let right = match status {
                200 => !of_old || before != OLD_ONE_IS_GONE,
                401 => of_old && after >= OLD_ONE_LEAVES,
                _ => false,
            };
            assert!(right, "{mpm:?}: {status} for the old key ({of_old}) from phase {before} to {after}");
        };
        under_load(6, client, |load| {
            load.more(50);
            provider.publish(&[&old, &new]);
            phase.store(BOTH, Ordering::SeqCst);
            load.more(200);
            phase.store(OLD_ONE_LEAVES, Ordering::SeqCst);
            provider.publish(&[&new]);
            await_true("the end of the old key in each child", || server.each_child().all_answer(&known_old, 401));
            phase.store(OLD_ONE_IS_GONE, Ordering::SeqCst);
            load.more(200);
        });
        assert!(server.each_child().all_answer(&known_new, 200), "{mpm:?}");
    }
}

/// Between two sets a process has either the old or the new one, and knows which.
#[test]
fn tokens_of_a_new_key_pass_in_the_moment_of_the_change() {
    let site = Site::new().children(3);
    let rotations: Vec<_> = (0..12)
        .map(|number| {
            let (provider, old) = (Provider::http().at(&format!("/{number}")), Signer::ec("ES256", "old"));
            // A large set takes its time.
            provider.answer(Endpoint::Keys, Reply::many_keys(99, &old));
            (provider, old, Signer::ec("ES256", "new"))
        })
        .collect();
    let issuers = rotations.iter().enumerate().map(|(n, (provider, ..))| provider.directive(&format!("n{n}"), ONCE));
    let directives = issuers.collect::<String>() + "ThreadsPerChild 16\nMaxRequestWorkers 48\nMaxSpareThreads 48\n";
    let firsts: Vec<_> = rotations.iter().map(|(provider, old, _)| (provider, old)).collect();
    let server = start(site, &directives, &firsts);
    for (provider, _, new) in &rotations {
        provider.answer(Endpoint::Keys, Reply::many_keys(100, new));
        let request = by(&server, provider, new);
        under_load(12, |_| assert_eq!(request.status(), 200, "{}", provider.issuer()), |load| load.more(120));
    }
}

/// A process that has yet to follow what another one announced does so first; what it does not know then is asked for.
#[test]
fn a_new_key_right_after_others_is_waited_for() {
    let rotations = [(); 8].map(|()| (Provider::http(), Signer::ec("ES256", "old"), Signer::ec("ES256", "new")));
    let issuers = rotations.iter().enumerate().map(|(n, (provider, old, _))| {
        provider.publish(&[old]);
        provider.directive(&format!("n{n}"), ONCE)
    });
    let directives = issuers.collect::<String>() + GATED;
    let mut server = Site::new().children(3).start(&directives);
    server.expect_log("JG2201");
    std::thread::scope(|scope| {
        for (provider, old, new) in &rotations {
            let request = by(&server, provider, new);
            scope.spawn(move || {
                provider.await_fetch(1);
                provider.publish(&[old, new]);
                // There are none before the first ones.
                let status = await_some("the first keys", || Some(request.status()).filter(|status| *status != 503));
                assert_eq!(status, 200);
            });
        }
    });
}

#[test]
fn a_child_that_begins_later_has_the_newest_keys_from_its_first_request_on() {
    for restarted in [false, true] {
        let provider = Provider::http();
        let (old, new) = (Signer::ec("ES256", "old"), Signer::ec("ES256", "new"));
        provider.publish(&[&old]);
        let issuer = provider.directive("main", ONCE);
        let mut server = start(Site::new().children(1), &issuer, &[(&provider, &old)]);
        if restarted {
            // Then the parent has the old key.
            server.graceful();
        }
        provider.publish(&[&new]);
        assert_eq!(by(&server, &provider, &new).status(), 200);
        let (known_old, known_new) = (by(&server, &provider, &old), by(&server, &provider, &new));
        assert_eq!(known_old.status(), 401);
        for _ in 0..3 {
            let child = server.children()[0];
            server.kill_child(child);
            let statuses = [&known_old, &known_new, &known_old].map(Request::status);
            assert_eq!(statuses, [401, 200, 401], "after a graceful restart: {restarted}");
        }
        assert_eq!(provider.count(Endpoint::Keys), 2);
    }
}

/// What is not known by its kid is not missed, so it comes with the next refresh.
#[test]
fn sets_follow_each_other_with_kids_without_and_under_the_same_kid() {
    let signers = |kid: Option<&str>| {
        [(); 2].map(|()| {
            let mut signer = Signer::ec("ES256", "replaced");
            signer.kid = kid.map(str::to_owned);
            signer
        })
    };
    let [a, b] = [Signer::ec("ES256", "a"), Signer::ed25519("b")];
    let ([one, two], [k, same]) = (signers(None), signers(Some("k")));
    let provider = Provider::http();
    provider.publish(&[&a]);
    let issuer = provider.directive("main", "refresh=1s cooldown=1s timeout=15s");
    let server = start(Site::new().children(3), &issuer, &[(&provider, &a)]);
    let mut everyone = server.each_child();
    let all = [&a, &b, &one, &two, &k, &same];
    let requests = all.map(|signer| by(&server, &provider, signer));
    for published in [
        &[&b, &one][..],
        &[&one, &two],
        &[&two, &k],
        &[&same],
        // Two keys of one kid: each is tried.
        &[&k, &same],
        &[&a, &k, &one],
    ] {
        provider.publish(published);
        let expected = all.map(|signer| if published.iter().any(|&p| std::ptr::eq(p, signer)) { 200 } else { 401 });
        for (request, status) in requests.iter().zip(expected) {
            await_true("each child to follow", || everyone.all_answer(request, status));
        }
        for (number, (request, status)) in requests.iter().zip(expected).enumerate() {
            assert!(everyone.all_answer(request, status), "not {status} any more for number {number} of the keys");
        }
    }
    // Without kid in the token, every key of the set is tried.
    let without_kid = |signer| server.get("/").bearer(provider.token(signer).header("kid", ()).sign());
    for signer in [&a, &k, &one] {
        assert!(everyone.all_answer(&without_kid(signer), 200));
    }
    assert!(everyone.all_answer(&without_kid(&same), 401));
}

#[test]
fn a_token_of_an_algorithm_that_no_key_has_is_refused() {
    let (provider, only) = (Provider::http(), Signer::ed25519("only"));
    provider.publish(&[&only]);
    let server = start(Site::new(), &provider.directive("main", ONCE), &[(&provider, &only)]);
    let token = provider.token(&server.keys.es256);
    for kid in [serde_json::Value::Null, "only".into()] {
        let request = server.get("/").bearer(token.clone().header("kid", kid).sign());
        server.refused(&request, 401, "algorithm-refused");
    }
    assert_eq!(provider.count(Endpoint::Keys), 1);
}

/// Sends `each` tokens with kids that nobody ever had over each of `clients` connections, always some at once; gives
/// how many were answered how.
fn flood(server: &Server, provider: &Provider, clients: usize, each: usize) -> BTreeMap<u16, usize> {
    const AT_ONCE: usize = 50;
    let answers = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for client in 0..clients {
            let answers = &answers;
            scope.spawn(move || {
                let mut connection = server.connect();
                let mut left: Vec<_> = (0..each).map(|n| format!("{client}-{n}")).collect();
                while !left.is_empty() {
                    let next = left.len().saturating_sub(AT_ONCE);
                    let requests = left[next..].iter().rev().map(|kid| unknown(server, provider, kid).bytes());
                    connection.send(requests.collect::<Vec<_>>().concat());
                    while left.len() > next {
                        // httpd ends connections when it has much to do; the flood goes on over the next one.
                        let Ok(answer) = connection.try_answer(false) else {
                            connection = server.connect();
                            break;
                        };
                        left.pop();
                        *answers.lock().unwrap().entry(answer.status).or_default() += 1;
                    }
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

#[test]
fn a_flood_of_unknown_kids_costs_the_provider_one_request() {
    for (mpm, each) in [(Mpm::Event, 1250), (Mpm::Worker, 250), (Mpm::Prefork, 250)] {
        let (flooded, other) = (Provider::http(), Provider::http());
        let (mine, theirs, new) = (Signer::ec("ES256", "a"), Signer::ec("ES256", "b"), Signer::ec("ES256", "c"));
        flooded.publish(&[&mine]);
        other.publish(&[&theirs]);
        let issuers = flooded.directive("flooded", ONCE) + &other.directive("other", ONCE);
        let site = Site::new().mpm(mpm).children(3);
        let server = start(site, &issuers, &[(&flooded, &mine), (&other, &theirs)]);
        let known = [by(&server, &flooded, &mine), by(&server, &other, &theirs)];
        let client = |number: usize| assert_eq!(known[number].status(), 200, "{mpm:?}");
        let answers = under_load(2, client, |load| {
            let answers = flood(&server, &flooded, 8, each);
            load.more(1);
            // The cool-down is that of one issuer.
            other.publish(&[&theirs, &new]);
            assert_eq!(by(&server, &other, &new).status(), 200, "{mpm:?}");
            answers
        });
        assert_eq!(answers, BTreeMap::from([(401, 8 * each)]), "{mpm:?}");
        assert_eq!((flooded.count(Endpoint::Keys), other.count(Endpoint::Keys)), (2, 2), "{mpm:?}");
        assert!(server.served_by().len() >= 3, "{mpm:?}: {:?}", server.served_by());
    }
}

#[test]
fn a_flood_that_goes_on_costs_one_request_in_each_cool_down() {
    let provider = Provider::http();
    let (old, new) = (Signer::ec("ES256", "old"), Signer::ec("ES256", "new"));
    provider.publish(&[&old]);
    let begin = Instant::now();
    let issuer = provider.directive("main", "refresh=1h cooldown=1s timeout=15s");
    let server = start(Site::new().children(3), &issuer, &[(&provider, &old)]);
    let kid = AtomicUsize::new(0);
    let client = |_| {
        let kid = kid.fetch_add(1, Ordering::Relaxed).to_string();
        assert_eq!(unknown(&server, &provider, &kid).status(), 401);
    };
    under_load(4, client, |_| {
        provider.await_fetch(4);
        // A flood does not keep a new key out for longer than until the next cool-down is over.
        provider.publish(&[&old, &new]);
        let request = by(&server, &provider, &new);
        await_true("the new key", || request.status() == 200);
    });
    // The first, and at most one in each second that has begun.
    let most = 2 + usize::try_from(begin.elapsed().as_secs()).unwrap();
    assert!((5..=most).contains(&provider.count(Endpoint::Keys)), "{} of {most}", provider.count(Endpoint::Keys));
}

#[test]
fn within_the_cool_down_what_is_unknown_is_refused_at_once_and_without_a_fetch() {
    let provider = Provider::http();
    let (old, new) = (Signer::ec("ES256", "old"), Signer::ec("ES256", "new"));
    provider.publish(&[&old]);
    let server = start(Site::new().children(3), &provider.directive("main", ONCE), &[(&provider, &old)]);
    server.refused(&unknown(&server, &provider, "x"), 401, "key-unknown");
    provider.publish(&[&old, &new]);
    provider.behave(Endpoint::Keys, Manner::Never);
    let mut everyone = server.each_child();
    assert!(everyone.all_answer(&by(&server, &provider, &new), 401));
    assert!(everyone.all_answer(&by(&server, &provider, &old), 200));
    assert_eq!((provider.count(Endpoint::Keys), provider.open(Endpoint::Keys)), (2, 0));
}

#[test]
fn requests_that_wait_are_seventeen_in_a_child_for_each_issuer() {
    let (slow, other) = (Provider::http(), Provider::http());
    let (mine, theirs, new) = (Signer::ec("ES256", "a"), Signer::ec("ES256", "b"), Signer::ec("ES256", "c"));
    slow.publish(&[&mine]);
    other.publish(&[&theirs]);
    let issuers = slow.directive("slow", ONCE) + &other.directive("other", ONCE);
    let directives = issuers + "ThreadsPerChild 40\nMaxRequestWorkers 40\nMaxSpareThreads 40\n";
    let server = start(Site::new().children(1), &directives, &[(&slow, &mine), (&other, &theirs)]);
    slow.behave(Endpoint::Keys, Manner::After(Duration::from_secs(8)));
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..30 {
            let (server, slow, answers) = (&server, &slow, &answers);
            scope.spawn(move || {
                let answer = unknown(server, slow, &client.to_string()).send();
                answers.lock().unwrap().push(answer);
            });
        }
        await_true("answers to those for whom there is no room", || answers.lock().unwrap().len() == 13);
        // While the others wait, there is room for another issuer's, and what is known passes.
        other.publish(&[&theirs, &new]);
        assert_eq!(by(&server, &other, &new).status(), 200);
        assert_eq!(by(&server, &slow, &mine).status(), 200);
        let answers = answers.lock().unwrap();
        assert_eq!((answers.len(), slow.open(Endpoint::Keys)), (13, 1));
        assert!(answers.iter().all(|answer| answer.status == 503 && answer.header("Retry-After").is_some()));
    });
    let answers = answers.into_inner().unwrap();
    let waited: Vec<u16> = answers[13..].iter().map(|answer| answer.status).collect();
    assert_eq!(waited, [401; 17]);
    assert_eq!(slow.count(Endpoint::Keys), 2);
}

#[test]
fn requests_wait_no_longer_than_timeout() {
    for mpm in Mpm::ALL {
        let provider = Provider::http();
        let (old, new) = (Signer::ec("ES256", "old"), Signer::ec("ES256", "new"));
        provider.publish(&[&old]);
        let issuer = provider.directive("main", "refresh=1h cooldown=1h timeout=300ms");
        let mut server = start(Site::new().mpm(mpm).children(2), &issuer, &[(&provider, &old)]);
        server.expect_log("JG4002");
        provider.publish(&[&old, &new]);
        provider.behave(Endpoint::Keys, Manner::Never);
        let mut everyone = server.each_child();
        let begin = Instant::now();
        assert!(everyone.all_answer(&by(&server, &provider, &new), 503), "{mpm:?}");
        // A machine at work may take its time; what is without end takes far more.
        assert!(begin.elapsed() < Duration::from_secs(5), "{mpm:?}: {:?}", begin.elapsed());
        assert!(everyone.all_answer(&by(&server, &provider, &old), 200), "{mpm:?}");
        // Tried again, though nobody asks any more.
        provider.behave(Endpoint::Keys, Manner::Prompt);
        await_true("the new key", || everyone.all_answer(&by(&server, &provider, &new), 200));
    }
}

#[test]
fn a_request_waits_no_longer_than_timeout_for_a_fetch_of_several_exchanges() {
    let (provider, old, new) = (Provider::http(), Signer::ec("ES256", "old"), Signer::ec("ES256", "new"));
    provider.publish(&[&old]);
    let issuer =
        format!("JwtGateIssuer main {} audience=api discovery refresh=1h cooldown=1h timeout=3s\n", provider.issuer());
    let server = start(Site::new().children(2), &issuer, &[(&provider, &old)]);
    provider.publish(&[&old, &new]);
    for endpoint in [Endpoint::OpenId, Endpoint::Keys] {
        provider.behave(endpoint, Manner::After(Duration::from_secs(2)));
    }
    let request = by(&server, &provider, &new);
    server.refused(&request, 503, "keys-unavailable");
    // It is there a second later; those who come again wait the rest of the time.
    await_true("the new key", || request.status() == 200);
    assert_eq!((provider.count(Endpoint::OpenId), provider.count(Endpoint::Keys)), (2, 2));
}

#[test]
fn after_a_failed_fetch_unknown_kids_get_503_and_known_ones_pass() {
    let provider = Provider::http();
    let (old, new) = (Signer::ec("ES256", "old"), Signer::ec("ES256", "new"));
    provider.publish(&[&old]);
    let mut server = start(Site::new().children(3), &provider.directive("main", ONCE), &[(&provider, &old)]);
    server.expect_log("JG4002");
    provider.answer(Endpoint::Keys, Reply::status(500));
    let answer = server.refused(&by(&server, &provider, &new), 503, "keys-unavailable");
    assert!(answer.header("Retry-After").unwrap().parse::<u64>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    let mut everyone = server.each_child();
    assert!(everyone.all_answer(&by(&server, &provider, &new), 503));
    assert!(everyone.all_answer(&by(&server, &provider, &old), 200));
    provider.publish(&[&old, &new]);
    await_true("the new key", || everyone.all_answer(&by(&server, &provider, &new), 200));
    // Now it has answered: what it does not know is unknown.
    assert!(everyone.all_answer(&unknown(&server, &provider, "x"), 401));
}

#[test]
fn a_request_that_waits_for_keys_is_counted_once() {
    let limits = r#"<Location "/">
        JwtGateLimit by-address key=address rate=1/d burst=12
        JwtGateLimit by-user key=subject rate=1/d burst=10
    </Location>"#;
    for mpm in Mpm::ALL {
        let (provider, old) = (Provider::http(), Signer::ec("ES256", "old"));
        let new = Signer::ec("ES256", "new");
        provider.publish(&[&old]);
        let directives = provider.directive("main", ONCE) + limits;
        let mut server = Site::new().mpm(mpm).children(2).start(&format!("{directives}{GATED}"));
        server.expect_log("JG2201");
        server.await_log("JG4001");
        provider.publish(&[&old, &new]);
        // So that they wait all together.
        provider.behave(Endpoint::Keys, Manner::After(Duration::from_millis(500)));
        let (request, statuses) = (by(&server, &provider, &new), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..9 {
                scope.spawn(|| statuses.lock().unwrap().push(request.status()));
            }
        });
        assert_eq!(statuses.into_inner().unwrap(), [200; 9], "{mpm:?}");
        assert_eq!(provider.count(Endpoint::Keys), 2, "{mpm:?}");
        let answer = request.send();
        let left = answer.header("RateLimit").unwrap();
        assert!(left.contains(r#""by-address";r=2;"#) && left.contains(r#""by-user";r=0;"#), "{mpm:?}: {left}");
        server.refused(&request, 429, "rate-limited");
        // Refused by the second limit, it counts for the first one.
        server.refused(&unknown(&server, &provider, "x"), 401, "key-unknown");
        server.refused(&unknown(&server, &provider, "x"), 429, "rate-limited");
    }
}
