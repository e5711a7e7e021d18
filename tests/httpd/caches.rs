//! Caches between the gate and the application, and those on the way to the client: nobody gets another's answer.

use crate::harness::{MAIN, Server, Site};

/// A cache behind the gate, and an application that does not see the token.
const CACHED: &str = r#"
    CacheQuickHandler off
    CacheSocache shmcb
    CacheEnable socache /cached
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateForward X-User subject
    </Location>
    <Location "/cached/without-token">
        JwtGateForwardCredentials off
    </Location>
"#;

fn cached() -> Server {
    Site::new().load(&["cache", "cache_socache", "socache_shmcb"]).start(&format!("{MAIN}{CACHED}"))
}

/// Sends one request as each of three users; gives whose answer each of them got and its `Cache-Control`.
fn three_users(server: &Server, target: &str) -> Vec<(String, String)> {
    let answers = ["alice", "bob", "carol"].map(|user| {
        let answer = server.get(target).bearer(server.token().claim("sub", user).sign()).send();
        (answer.seen().header("X-User").unwrap().to_owned(), answer.header("Cache-Control").unwrap().to_owned())
    });
    answers.into()
}

fn owned(expected: [(&str, &str); 3]) -> Vec<(String, String)> {
    expected.map(|(user, control)| (user.to_owned(), control.to_owned())).into()
}

#[test]
fn a_cache_behind_the_gate_gives_nobody_the_answer_of_another() {
    let server = cached();
    for place in ["with-token", "without-token"] {
        let users: Vec<String> = three_users(&server, &format!("/cached/{place}?cache=max-age=60"))
            .into_iter()
            .map(|(user, _)| user)
            .collect();
        assert_eq!(users, ["alice", "bob", "carol"], "{place}");
    }
    assert_eq!(server.app.count(), 6);
}

#[test]
fn what_the_cache_cannot_know_to_be_of_one_user_is_private() {
    let server = cached();
    let private = "max-age=60, private";
    assert_eq!(
        three_users(&server, "/cached/without-token?cache=max-age=60"),
        owned([("alice", private), ("bob", private), ("carol", private)])
    );
    // `Authorization` says it, as long as it is there.
    assert_eq!(
        three_users(&server, "/cached/with-token?cache=max-age=60"),
        owned([("alice", "max-age=60"), ("bob", "max-age=60"), ("carol", "max-age=60")])
    );
}

/// Two users differ in nothing that is left of their requests.
#[test]
fn a_credential_that_is_taken_away_leaves_nobody_the_answer_of_another() {
    let server = Site::new().load(&["cache", "cache_socache", "socache_shmcb"]).start(&format!(
        r#"{MAIN}{CACHED}
        <Location "/cached/withheld">
            JwtGateCredentials cookie:session query:token header:X-Token
            JwtGateForwardCredentials off
        </Location>"#
    ));
    for place in ["query", "header", "cookie"] {
        for user in ["alice", "bob"] {
            let token = server.token().claim("sub", user).sign();
            let target = format!("/cached/withheld/{place}?cache=max-age=60");
            let answer = match place {
                "query" => server.get(&format!("{target}&token={token}")),
                "header" => server.get(&target).header("X-Token", token),
                _ => server.get(&target).header("Cookie", format!("session={token}")),
            }
            .send();
            assert_eq!(answer.seen().header("X-User"), Some(user), "{place}");
            assert_eq!(answer.header("Cache-Control"), Some("max-age=60, private"), "{place}");
        }
    }
}

#[test]
fn what_the_application_calls_public_is_cached_for_all() {
    for control in ["public,max-age=60", "s-maxage=60"] {
        let server = cached();
        assert_eq!(
            three_users(&server, &format!("/cached/without-token?cache={control}")),
            owned([("alice", control), ("alice", control), ("alice", control)])
        );
        assert_eq!(server.app.count(), 1, "{control}");
    }
}

#[test]
fn a_cached_answer_is_not_for_those_whom_the_gate_refuses() {
    let server = cached();
    let target = "/cached/without-token?cache=public,max-age=60";
    assert_eq!(server.get(target).bearer(server.token().sign()).status(), 200);
    assert_eq!(server.app.count(), 1);
    server.refused(&server.get(target), 401, "token-missing");
    assert_eq!(server.get(target).bearer(server.token().sign()).status(), 200);
    assert_eq!(server.app.count(), 1);
}

#[test]
fn an_answer_to_a_cookie_stays_private_behind_an_internal_redirect() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass /app ${{APP}}/app
        <Directory "${{ROOT}}/html/old">
            RewriteEngine on
            RewriteRule "^" "/app/new"
        </Directory>
        <Directory "${{ROOT}}/html/index">
            DirectoryIndex /app/index
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateCredentials bearer cookie:session
        </Location>"#
    ));
    server.write("html/old/other", "");
    server.write("html/index/other", "");
    let token = server.token().sign();
    for target in ["/app/direct", "/old/x", "/index/"] {
        let cookie = server.get(target).header("Cookie", format!("session={token}")).send();
        assert!(cookie.seen().target.starts_with("/app/"), "{cookie:?}");
        assert_eq!(cookie.header("Cache-Control"), Some("private"), "{target}");
        let bearer = server.get(target).bearer(&token).send();
        assert_eq!(bearer.header("Cache-Control"), None, "{target}");
    }
}
