//! JwtGateRevocations: who is revoked is refused by every process, soon and from then on, and a bad list revokes what
//! the last good one did.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::each_child::answers_of_new_children;
use crate::harness::{AtEnd, GATED, MAIN, Mpm, Request, Server, Site, Token, await_true, now};

const OTHER: &str = "JwtGateIssuer other https://other.test audience=api jwks=file:keys/all.jwks\n";

const REVOKED: &str = "token-revoked";

/// The directives of a server with this list.
fn with_list(path: &str) -> String {
    format!("{MAIN}{GATED}JwtGateRevocations {path}\n")
}

fn list(entries: &[Value]) -> String {
    json!({"revoked": entries}).to_string()
}

/// A list that revokes this token of the issuer `main`.
fn list_of(jti: &str) -> String {
    list(&[json!({"issuer": "main", "jti": jti})])
}

fn with_jti(server: &Server, jti: &str) -> Request {
    server.get("/").bearer(server.token().claim("jti", jti).sign())
}

fn mkfifo(server: &Site, path: &str) {
    let made = Command::new("mkfifo").arg(server.root.join(path)).status().unwrap();
    assert!(made.success());
}

/// Every kind of entry, while the tokens are in all caches and the connections are open; and back again.
fn each_kind(mpm: Mpm) {
    // 1577836800 seconds after 1970.
    const BEFORE: &str = "2020-01-01T00:00:00Z";
    let site = Site::new().mpm(mpm).children(3);
    site.write("conf/revoked.json", list(&[]));
    let server = site.start(&format!(
        "{}{OTHER}JwtGateIssuer old https://old.test audience=api jwks=file:keys/all.jwks",
        with_list("conf/revoked.json")
    ));
    let none = || Value::Null;
    let token = || server.token();
    let other = || server.token().claim("iss", "https://other.test");
    let old = || server.token().claim("iss", "https://old.test");
    let get = |token: Token<'_>| server.get("/").bearer(token.sign());
    let entries = [
        json!({"issuer": "main", "jti": "one"}),
        json!({"issuer": "main", "sub": "mallory"}),
        json!({"issuer": "main", "client": "old-app"}),
        json!({"issuer": "main", "sid": "session"}),
        json!({"issuer": "old", "issued_before": BEFORE}),
        json!({"issuer": "main", "sub": "bob", "issued_before": BEFORE}),
    ];
    let revoked = [
        token().claim("jti", "one"),
        token().claim("sub", "mallory"),
        token().claim("azp", "old-app"),
        token().claim("client_id", "old-app"),
        token().claim("sid", "session"),
        token().claim("origin_jti", "session"),
        old().claim("iat", 1_577_836_799),
        old().claim("iat", none()),
        token().claim("sub", "bob").claim("iat", 1_577_836_799),
        token().claim("sub", "bob").claim("iat", none()),
    ]
    .map(get);
    let spared = [
        token(),
        token().claim("jti", "One"),
        token().claim("jti", none()),
        other().claim("jti", "one"),
        token().claim("sub", "one"),
        other().claim("sub", "mallory"),
        token().claim("client_id", "mallory"),
        token().claim("azp", "new-app").claim("client_id", "old-app"),
        other().claim("client_id", "old-app"),
        token().claim("jti", "session"),
        other().claim("sid", "session"),
        old().claim("iat", 1_577_836_800),
        old().claim("iat", now()),
        token().claim("iat", none()),
        token().claim("sub", "bob").claim("iat", 1_577_836_800),
        token().claim("sub", "carol").claim("iat", 1_577_836_799),
        other().claim("sub", "bob").claim("iat", none()),
    ]
    .map(get);
    let mut children = server.each_child();
    let mut all = |revoked_status| {
        children.await_status(&revoked[0], revoked_status);
        // From memory and, the first time, not.
        for _ in 0..2 {
            for request in &revoked {
                children.assert_status(request, revoked_status);
            }
            for request in &spared {
                children.assert_status(request, 200);
            }
        }
    };
    all(200);
    server.write("conf/revoked.json", list(&entries));
    all(401);
    server.await_log("conf/revoked.json has changed: 6 entries are in use");
    server.write("conf/revoked.json", list(&[]));
    all(200);
    server.await_log_lines(2, "JG4006");
}

#[test]
fn each_kind_is_refused_by_every_process_under_prefork() {
    each_kind(Mpm::Prefork);
}

#[test]
fn each_kind_is_refused_by_every_process_under_worker() {
    each_kind(Mpm::Worker);
}

#[test]
fn each_kind_is_refused_by_every_process_under_event() {
    each_kind(Mpm::Event);
}

#[test]
fn a_revoked_token_is_an_invalid_token_and_no_more_is_said() {
    let site = Site::new();
    site.write("conf/revoked.json", list_of("one"));
    let server = site.start(&format!(
        "{}CustomLog logs/reasons.log %{{JWT_GATE_REASON}}e",
        with_list("conf/revoked.json").replace("JwtGate on", "JwtGate on\nJwtGateForward X-User subject")
    ));
    let revoked = with_jti(&server, "one");
    // The second one comes from the cache.
    for _ in 0..2 {
        let answer = server.refused(&revoked, 401, REVOKED);
        assert_eq!(answer.header("WWW-Authenticate"), Some(r#"Bearer realm="api", error="invalid_token""#));
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        assert!(!answer.text().contains("revoked"), "{}", answer.text());
    }
    assert_eq!(server.log.count("JG1021 token-revoked: refused with 401"), 2);
    assert_eq!(server.app.count(), 0);
    await_true("the reasons in a log", || {
        let reasons = std::fs::read_to_string(server.root.join("logs/reasons.log")).unwrap_or_default();
        reasons.lines().filter(|line| *line == REVOKED).count() == 2
    });
    // What else is wrong with a token is found first: who has forged one does not learn who is revoked.
    let one = || server.token().claim("jti", "one");
    server.refused(&server.get("/").bearer(one().forge()), 401, "signature-invalid");
    server.refused(&server.get("/").bearer(one().claim("exp", now() - 60).sign()), 401, "token-expired");
    server.refused(&server.get("/").bearer(one().claim("aud", "else").sign()), 401, "audience-mismatch");
    assert_eq!(with_jti(&server, "two").send().seen().header("X-User"), Some("alice"));
}

#[test]
fn it_does_not_matter_how_the_token_comes() {
    let site = Site::new();
    site.write("conf/revoked.json", list_of("one"));
    let sources = "JwtGate on\nJwtGateCredentials bearer header:X-Token cookie:session query:token";
    let server = site.start(&with_list("conf/revoked.json").replace("JwtGate on", sources));
    let with = |jti: &str| {
        let token = server.token().claim("jti", jti).sign();
        [
            server.get("/").bearer(&token),
            server.get("/").header("X-Token", &token),
            server.get("/").header("Cookie", format!("session={token}")),
            server.get(&format!("/?token={token}")),
        ]
    };
    // A token that comes first in one place is known in the others.
    for request in with("one").iter().chain(&with("one")) {
        server.refused(request, 401, REVOKED);
    }
    for request in with("two") {
        assert_eq!(request.status(), 200);
    }
    // It is no question of where the request comes from when the token is worth nothing.
    let session = format!("session={}", server.token().claim("jti", "one").sign());
    server.refused(&server.request("POST", "/").header("Cookie", session), 401, REVOKED);
}

#[test]
fn where_a_token_is_optional_a_revoked_one_is_not_none() {
    let site = Site::new();
    site.write("conf/revoked.json", list_of("one"));
    let server = site.start(&format!(
        r#"{}
        <Location "/optional">
            JwtGateToken optional
        </Location>
        <Location "/none">
            JwtGateToken none
        </Location>"#,
        with_list("conf/revoked.json")
    ));
    let one = server.token().claim("jti", "one").sign();
    server.refused(&server.get("/optional").bearer(&one), 401, REVOKED);
    assert_eq!(server.get("/optional").status(), 200);
    assert_eq!(server.get("/none").bearer(&one).status(), 200);
}

#[test]
fn a_revoked_token_uses_up_nothing_of_its_subject() {
    let site = Site::new();
    site.write("conf/revoked.json", list_of("one"));
    let limits =
        "JwtGate on\nJwtGateLimit mine key=subject rate=1/d burst=1\nJwtGateLimit all key=global rate=1/d burst=9";
    let server = site.start(&with_list("conf/revoked.json").replace("JwtGate on", limits));
    for _ in 0..3 {
        server.refused(&with_jti(&server, "one"), 401, REVOKED);
    }
    let answer = with_jti(&server, "two").send();
    assert_eq!(answer.status, 200);
    // What needs no identity is charged before any token is looked at.
    assert!(answer.header("RateLimit").is_some_and(|value| value.contains("\"all\";r=5;")), "{answer:?}");
}

#[test]
fn behind_an_internal_redirect_the_new_issuer_is_asked_too() {
    let site = Site::new();
    site.write(
        "conf/revoked.json",
        list(&[json!({"issuer": "a", "jti": "of-a"}), json!({"issuer": "b", "jti": "of-b"})]),
    );
    let server = site.start(
        r#"JwtGateIssuer a https://issuer.test audience=a jwks=file:keys/all.jwks
        JwtGateIssuer b https://issuer.test audience=b jwks=file:keys/all.jwks
        JwtGateRevocations conf/revoked.json
        ProxyPass /app ${APP}/app
        <Directory "${ROOT}/html/old">
            RewriteEngine on
            RewriteRule "^" "/app/new"
        </Directory>
        <Location "/old">
            JwtGate on
            JwtGateIssuers a
        </Location>
        <Location "/app">
            JwtGate on
            JwtGateIssuers b
        </Location>"#,
    );
    server.write("html/old/x", "");
    let get = |jti: &str, audiences: &[&str]| {
        server.get("/old/x").bearer(server.token().claim("jti", jti).claim("aud", audiences).sign())
    };
    assert_eq!(get("free", &["a", "b"]).status(), 200);
    server.refused(&get("of-a", &["a", "b"]), 401, REVOKED);
    server.refused(&get("of-b", &["a", "b"]), 401, REVOKED);
    assert_eq!(server.app.count(), 1);
}

#[test]
fn a_virtual_host_has_its_own_list_or_that_of_the_main_server() {
    let site = Site::new().children(1);
    site.write("conf/main.json", list_of("of-main"));
    site.write("conf/own.json", list_of("of-own"));
    let server = site.start(&format!(
        r#"{}
        <VirtualHost *:${{PORT}}>
            ServerName heir.test
        </VirtualHost>
        <VirtualHost *:${{PORT}}>
            ServerName own.test
            JwtGateRevocations conf/own.json
        </VirtualHost>"#,
        with_list("conf/main.json")
    ));
    let (of_main, of_own) =
        (server.token().claim("jti", "of-main").sign(), server.token().claim("jti", "of-own").sign());
    let answers = || {
        let main = server.get("/").to(server.second_address());
        let [heir, own] = ["http://heir.test/", "http://own.test/"].map(|target| server.get(target));
        [main, heir, own].map(|request| [&of_main, &of_own].map(|token| request.clone().bearer(token).status()))
    };
    // The process remembers the tokens, and asks each host's list about them.
    for _ in 0..3 {
        assert_eq!(answers(), [[401, 200], [401, 200], [200, 401]]);
    }
    server.write("conf/own.json", list_of("of-main"));
    server.write("conf/main.json", list_of("of-own"));
    await_true("the new lists", || answers() == [[200, 401], [200, 401], [401, 200]]);
}

#[test]
fn an_issuer_that_nobody_defined_is_warned_about_once() {
    let site = Site::new();
    let known = json!({"issuer": "main", "jti": "one"});
    let with = |name: &str, jti: &str| list(&[json!({"issuer": name, "jti": jti}), known.clone()]);
    site.write("conf/revoked.json", with("stranger", "one"));
    let mut server = site.start(&with_list("conf/revoked.json"));
    server.expect_log("conf/revoked.json names the issuer `stranger`, which no JwtGateIssuer defines");
    server.expect_log("conf/revoked.json names the issuer `phantom`, which no JwtGateIssuer defines");
    server.refused(&with_jti(&server, "one"), 401, REVOKED);
    server.write("conf/revoked.json", with("phantom", "two"));
    server.await_log("JG4006");
    // The process that reads files goes; the next one does not say it again.
    for pid in server.children() {
        server.kill_child(pid);
    }
    server.write("conf/revoked.json", list_of("two"));
    server.await_log_lines(2, "JG4006");
    assert_eq!((server.log.count("`stranger`"), server.log.count("`phantom`")), (1, 1));
    assert_eq!(server.log.count("JG2207"), 2);
}

/// What may be wrong with a list, each with what must be said of it.
const BAD: [(&str, &str); 11] = [
    ("cut", "line 3: not JSON"),
    ("misspelt", "line 2: \"jit\" is not known here"),
    ("wrong-type", "line 3: invalid type: integer `7`, expected \"jti\" as text in double quotes"),
    ("two-things", "line 2: this entry has more than one of"),
    ("bad-time", "line 2: \"issued_before\": "),
    ("no-list", "line 1: invalid type: map, expected a list of entries"),
    ("empty", "line 1: not JSON"),
    ("absent", "cannot be read: No such file or directory"),
    ("pipe", "is not a regular file: name a file"),
    ("folder", "is not a regular file: name a file"),
    ("huge", "is larger than 268435456 bytes"),
];

/// Makes the list of this name bad in its own way.
fn spoil(site: &Site, name: &str) {
    let path = format!("conf/{name}.json");
    let content = match name {
        "cut" => "{\"revoked\":[\n{\"issuer\":\"main\",\"jti\":\"two\"},\n{\"issuer\":\"ma",
        "misspelt" => "{\"revoked\":[\n{\"issuer\":\"main\",\"jit\":\"two\"}]}",
        "wrong-type" => "{\"revoked\":[\n{\"issuer\":\"main\",\n\"jti\":7}]}",
        "two-things" => "{\"revoked\":[\n{\"issuer\":\"main\",\"jti\":\"two\",\"sub\":\"alice\"}]}",
        "bad-time" => "{\"revoked\":[\n{\"issuer\":\"main\",\"issued_before\":\"yesterday\"}]}",
        "no-list" => "{\"revoked\":{}}",
        "empty" => "",
        _ => {
            // It may be there or not.
            drop(std::fs::remove_file(site.root.join(&path)));
            match name {
                "pipe" => mkfifo(site, &path),
                "folder" => std::fs::create_dir(site.root.join(&path)).unwrap(),
                "huge" => std::fs::File::create(site.root.join(&path)).unwrap().set_len(300 << 20).unwrap(),
                _ => {}
            }
            return;
        }
    };
    site.write(&path, content);
}

/// A virtual host with a list for each way in which one may be bad, and one more.
fn bad_hosts() -> String {
    let hosts = BAD.iter().map(|(name, _)| *name).chain(["good"]).map(|name| {
        format!(
            "<VirtualHost *:${{PORT}}>\nServerName {name}.test\nJwtGateRevocations conf/{name}.json\n</VirtualHost>\n"
        )
    });
    format!("{MAIN}{GATED}{}", hosts.collect::<String>())
}

/// Asks the virtual host of this name.
fn of_host(server: &Server, name: &str, jti: &str) -> Request {
    server.get(&format!("http://{name}.test/")).bearer(server.token().claim("jti", jti).sign())
}

#[test]
fn a_bad_new_version_changes_nothing() {
    let site = Site::new();
    for name in BAD.iter().map(|(name, _)| *name).chain(["good"]) {
        site.write(&format!("conf/{name}.json"), list_of("one"));
    }
    let mut server = site.start(&bad_hosts());
    let in_force = |server: &Server, revoked: &str, spared: &str| {
        for (name, _) in BAD {
            assert_eq!(of_host(server, name, revoked).status(), 401, "{name}");
            assert_eq!(of_host(server, name, spared).status(), 200, "{name}");
        }
    };
    in_force(&server, "one", "two");
    for (name, _) in BAD {
        spoil(&server, name);
    }
    server.write("conf/good.json", list_of("two"));
    for (name, why) in BAD {
        let path = server.root.join(format!("conf/{name}.json"));
        let line = format!("JG4007 JwtGateRevocations: {}: {why}", path.display());
        server.expect_log(&line);
        await_true(&line, || {
            server
                .log
                .text()
                .lines()
                .any(|logged| logged.contains(&line) && logged.contains("its last good version stays in use"))
        });
    }
    in_force(&server, "one", "two");
    await_true("the good list", || of_host(&server, "good", "two").status() == 401);
    // All of it again at a restart.
    for (name, why) in BAD {
        let path = server.root.join(format!("conf/{name}.json"));
        server.expect_log(&format!("JG2002 JwtGateRevocations: {}: {why}", path.display()));
    }
    server.graceful();
    in_force(&server, "one", "two");
    assert_eq!((server.log.count("JG4007"), server.log.count("JG2002")), (BAD.len(), BAD.len()));
    // And good again.
    std::fs::remove_dir(server.root.join("conf/folder.json")).unwrap();
    for (name, _) in BAD {
        server.write(&format!("conf/{name}.json"), list_of("two"));
    }
    for (name, _) in BAD {
        server.await_log_lines(1, &format!("conf/{name}.json has changed: 1 entry is in use"));
    }
    let mut children = server.each_child();
    for (name, _) in BAD {
        children.await_status(&of_host(&server, name, "two"), 401);
        children.assert_status(&of_host(&server, name, "one"), 200);
    }
}

#[test]
fn a_bad_list_at_the_first_start_closes_its_server_only() {
    let site = Site::new();
    site.write("conf/good.json", list_of("one"));
    for (name, _) in BAD {
        spoil(&site, name);
    }
    let check = site.configtest(&bad_hosts());
    assert!(!check.passed);
    for (name, why) in BAD {
        let path = site.root.join(format!("conf/{name}.json"));
        let mistake = format!("JG2001 JwtGateRevocations: {}: {why}", path.display());
        assert!(check.output.contains(&mistake), "{mistake}\n{}", check.output);
    }
    let mut server = site.start(&bad_hosts());
    for (name, _) in BAD {
        server.expect_log(&format!("conf/{name}.json"));
    }
    assert_eq!(server.log.count("until it can be read, tokens that need it are answered with 503"), BAD.len());
    for (name, _) in BAD {
        // A token that the process knows from another host is no more welcome.
        assert_eq!(of_host(&server, "good", name).status(), 200, "{name}");
        for jti in [name, "one"] {
            let answer = server.refused(&of_host(&server, name, jti), 503, "keys-unavailable");
            assert!(answer.header("Retry-After").is_some(), "{answer:?}");
        }
    }
    server.refused(&of_host(&server, "good", "one"), 401, REVOKED);
    std::fs::remove_dir(server.root.join("conf/folder.json")).unwrap();
    for (name, _) in BAD {
        server.write(&format!("conf/{name}.json"), list_of("one"));
    }
    let mut children = server.each_child();
    for (name, _) in BAD {
        children.await_status(&of_host(&server, name, name), 200);
        children.assert_status(&of_host(&server, name, "one"), 401);
    }
}

#[test]
fn a_list_that_only_root_can_read_is_read_at_restarts() {
    let site = Site::new();
    site.write("conf/revoked.json", list_of("one"));
    site.chmod("conf/revoked.json", 0o600);
    let mut server = site.start(&with_list("conf/revoked.json"));
    server.refused(&with_jti(&server, "one"), 401, REVOKED);
    // Without root all processes are of one user, and this is a file like any other.
    let root = rustix::process::geteuid().is_root();
    assert_eq!(server.log.count("JG2204"), usize::from(root));
    let draft = server.write("conf/draft.json", list_of("two"));
    server.chmod("conf/draft.json", 0o600);
    std::fs::rename(draft, server.root.join("conf/revoked.json")).unwrap();
    if root {
        server.expect_log("conf/revoked.json: cannot be read: Permission denied");
        server.await_log("JG4007");
        assert_eq!((with_jti(&server, "one").status(), with_jti(&server, "two").status()), (401, 200));
    }
    server.graceful();
    assert_eq!((with_jti(&server, "one").status(), with_jti(&server, "two").status()), (200, 401));
}

/// A list of so many tokens and one more.
fn long_list(name: &str, count: usize) -> String {
    let entry = |jti: String| format!("{{\"issuer\":\"main\",\"jti\":\"{jti}\"}}");
    let entries = (0..count).map(|n| entry(format!("{name}-{n}"))).chain([entry("both".to_owned())]);
    format!("{{\"revoked\":[\n{}\n]}}\n", entries.collect::<Vec<_>>().join(",\n"))
}

#[test]
fn a_list_of_a_hundred_thousand_is_a_list_like_any_other() {
    let site = Site::new().children(3);
    site.write("conf/revoked.json", long_list("a", 100_000));
    let directives = with_list("conf/revoked.json");
    let check = site.configtest(&directives);
    assert!(check.passed, "{}", check.output);
    let server = site.start(&directives);
    let tokens = |name: &str| [0, 1, 49_999, 99_999].map(|n| with_jti(&server, &format!("{name}-{n}")));
    let both = with_jti(&server, "both");
    let mut children = server.each_child();
    let mut all = |revoked: &str, spared: &str| {
        let (revoked, spared) = (tokens(revoked), tokens(spared));
        await_true("the list in each child", || {
            // Whichever list is in force, this one is revoked.
            children.assert_status(&both, 401);
            children.statuses(&revoked[0]).iter().all(|status| *status == 401)
        });
        for (requests, status) in [(&revoked, 401), (&spared, 200)] {
            for request in requests {
                children.assert_status(request, status);
            }
        }
    };
    all("a", "b");
    server.write("conf/revoked.json", long_list("b", 100_000));
    all("b", "a");
    server.await_log("conf/revoked.json has changed: 100001 entries are in use");
}

#[test]
fn a_list_that_is_being_written_is_not_in_force_before_it_is_whole() {
    let site = Site::new();
    site.write("conf/revoked.json", long_list("a", 100_000));
    let server = site.start(&with_list("conf/revoked.json"));
    let mut children = server.each_child();
    let (old, new, both) = (with_jti(&server, "a-7"), with_jti(&server, "b-7"), with_jti(&server, "both"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Longer than it takes to find out that a file changes no more.
            let _end = AtEnd(&done);
            server.write_slowly("conf/revoked.json", long_list("b", 100_000), 70);
        });
        while !done.load(Ordering::Acquire) {
            children.assert_status(&both, 401);
            let statuses = [children.statuses(&new), children.statuses(&old)];
            if !done.load(Ordering::Acquire) {
                assert_eq!(statuses, [[200; 2], [401; 2]]);
            }
        }
    });
    children.await_status(&new, 401);
    children.assert_status(&old, 200);
    children.assert_status(&both, 401);
}

#[test]
fn a_link_that_points_to_another_file_is_a_change() {
    let site = Site::new();
    site.write("conf/a.json", list_of("one"));
    site.write("conf/b.json", list_of("two"));
    symlink("a.json", site.root.join("conf/revoked.json")).unwrap();
    let server = site.start(&with_list("conf/revoked.json"));
    server.refused(&with_jti(&server, "one"), 401, REVOKED);
    symlink("b.json", server.root.join("conf/new")).unwrap();
    std::fs::rename(server.root.join("conf/new"), server.root.join("conf/revoked.json")).unwrap();
    let mut children = server.each_child();
    children.await_status(&with_jti(&server, "two"), 401);
    children.assert_status(&with_jti(&server, "one"), 200);
}

/// Gives the server a long new list, kills all children, one after another, and asks all the time: nobody lets a token
/// in that was revoked after the parent read the list.
fn new_children(mut server: Server) {
    server.write("conf/revoked.json", long_list("new", 10_000));
    let (revoked, spared) = (with_jti(&server, "both"), with_jti(&server, "free"));
    server.each_child().await_status(&revoked, 401);
    assert_eq!(answers_of_new_children(&mut server, &revoked), [401].into());
    let mut children = server.each_child();
    children.assert_status(&revoked, 401);
    children.assert_status(&spared, 200);
}

#[test]
fn a_new_child_uses_the_newest_list_from_its_first_request_on() {
    let site = Site::new().children(1);
    site.write("conf/revoked.json", list_of("one"));
    new_children(site.start(&with_list("conf/revoked.json")));
}

/// A server whose state folder is none.
fn without_state(children: u32) -> Server {
    let site = Site::new().children(children);
    site.write("state", "a file");
    site.write("conf/revoked.json", list_of("one"));
    let mut server = site.start(&with_list("conf/revoked.json"));
    server.expect_log("JG2205");
    server
}

#[test]
fn without_a_state_folder_every_process_compiles_the_list_for_itself() {
    let server = without_state(3);
    let mut children = server.each_child();
    children.assert_status(&with_jti(&server, "one"), 401);
    children.assert_status(&with_jti(&server, "two"), 200);
    server.write("conf/revoked.json", list_of("two"));
    children.await_status(&with_jti(&server, "two"), 401);
    children.assert_status(&with_jti(&server, "one"), 200);
}

#[test]
fn without_a_state_folder_a_new_child_uses_the_newest_list_from_its_first_request_on() {
    new_children(without_state(1));
}

#[test]
fn without_a_state_folder_a_bad_list_changes_nothing() {
    let mut server = without_state(2);
    let mut children = server.each_child();
    let (old, new) = (with_jti(&server, "one"), with_jti(&server, "two"));
    server.write("conf/revoked.json", list_of("two"));
    children.await_status(&new, 401);
    drop(children);
    server.write("conf/revoked.json", "{");
    server.expect_log("JG4007");
    server.await_log("JG4007");
    let mut children = server.each_child();
    children.assert_status(&new, 401);
    children.assert_status(&old, 200);
    drop(children);
    // Nobody can tell a new child who is revoked: it lets nobody in.
    server.expect_log("JG4008");
    for pid in server.children() {
        server.kill_child(pid);
    }
    server.each_child().await_status(&new, 503);
    server.await_log("JG4008");
    server.write("conf/revoked.json", list_of("two"));
    let mut children = server.each_child();
    children.await_status(&new, 401);
    children.await_status(&old, 200);
}

#[test]
fn without_a_state_folder_a_list_that_comes_back_after_a_restart_is_used() {
    let mut server = without_state(2);
    let (revoked, spared) = (with_jti(&server, "one"), with_jti(&server, "two"));
    assert_eq!((revoked.status(), spared.status()), (401, 200));
    server.write("conf/revoked.json", "{");
    server.expect_log("JG2002");
    server.graceful();
    // Nobody remembers the last good one.
    server.refused(&spared, 503, "keys-unavailable");
    server.write("conf/revoked.json", list_of("one"));
    let mut children = server.each_child();
    children.await_status(&spared, 200);
    children.assert_status(&revoked, 401);
}
