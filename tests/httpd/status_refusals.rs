//! `SetHandler jwt-gate-status`: the last refusals, and who is at a limit.
//!
//! Rates are one a day, so that nothing is refilled while a test runs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::chromium::Chromium;
use crate::harness::each_child::KEEP_ALIVE;
use crate::harness::{Connection, MAIN, Mpm, Request, Server, Site, await_some, await_true, httpd};
use crate::status::{STATUS, await_text, document, show, url};

/// On the first port there are places with a gate, on the second a virtual host with one.
fn gated(limits: &str, second: &str) -> String {
    format!(
        r#"{MAIN}{KEEP_ALIVE}
        ServerName gate.test
        JwtGateLog logs/gate.json
        ProxyPass /gate !
        ProxyPass / ${{APP}}/
        <Location "/api">
            JwtGate on
        </Location>
        <Location "/limited">
            JwtGate on
            {limits}
        </Location>
        <Location "/closed">
            JwtGate on
            JwtGateDeny 127.0.0.0/8
        </Location>
        <Location "/trial">
            JwtGate dry-run
        </Location>
        <Location "/login">
            JwtGate on
            JwtGateLockout failures=1/1h block=2h
        </Location>
        {STATUS}
        <VirtualHost 127.0.0.1:${{PORT2}}>
            ServerName {second}
            ProxyPass / ${{APP}}/
        </VirtualHost>
        "#
    )
}

const BY_USER: &str = "JwtGateLimit by-user key=subject rate=1/d burst=1\n";

fn valid(server: &Server, subject: &str) -> String {
    server.token().claim("sub", subject).sign()
}

/// What is told once there are so many refusals.
fn await_refusals(server: &Server, count: usize) -> Value {
    await_some(&format!("{count} refusals"), || {
        let said = document(server);
        let told = said["refusals"].as_array().unwrap().len();
        assert!(told <= count, "{told}, not {count}: {said:#}");
        (told == count).then_some(said)
    })
}

/// What each child says now.
fn of_each_child(server: &Server, children: usize) -> Vec<Value> {
    let ask = |connection: &mut Connection| {
        connection.send(server.get("/gate/status?format=json").bytes());
        connection.answer().json()
    };
    // No child has this number.
    let said: Vec<Value> = server.each_child().but(0).iter_mut().map(ask).collect();
    assert_eq!(said.len(), children);
    said
}

/// Without what differs from test to test.
fn told(entries: &Value, varying: &[&str]) -> Vec<Value> {
    let mut entries = entries.as_array().unwrap().clone();
    for entry in &mut entries {
        for member in varying {
            assert!(entry.as_object_mut().unwrap().remove(*member).is_some(), "no {member} in {entry}");
        }
    }
    entries
}

/// The pseudonym of a subject in the decision log.
fn pseudonym(server: &Server, path: &str) -> String {
    await_some("a line of the log with a subject", || {
        let text = fs::read_to_string(server.root.join("logs/gate.json")).ok()?;
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find_map(|line| Some(line["subject"].as_str().filter(|_| line["path"] == path)?.to_owned()))
    })
}

#[test]
fn every_refusal_is_told_with_its_reason_and_no_name_whatever_child_answers() {
    const CHILDREN: usize = 3;
    let limits = format!(
        "{BY_USER}JwtGateLimit all key=global rate=1000/s quota=4/month\nJwtGateLimit tried key=address rate=1/d burst=1 dry-run"
    );
    let mut server =
        Site::new().children(3).start(&gated(&limits, "other.test\n<Location /x>\nJwtGate on\n</Location>"));
    server.expect_log("JG3002");
    let mut asked = 0;
    let mut ask = |request: Request, status: u16| {
        assert_eq!(request.status(), status);
        asked += 1;
        // One after the other, so that their order is known.
        (asked != 3).then(|| await_refusals(&server, asked - usize::from(asked > 3)));
    };
    let (alice, bob) = (valid(&server, "alice"), valid(&server, "bob"));
    ask(server.get("/api?secret=hidden").from("127.0.0.5"), 401);
    ask(server.get("/closed").bearer(&alice).from("127.0.0.5"), 403);
    ask(server.get("/limited").bearer(&alice).from("127.0.0.5"), 200);
    ask(server.get("/limited").bearer(&alice).from("127.0.0.5"), 429);
    ask(server.get("/limited").bearer(&bob).from("127.0.0.5"), 200);
    ask(server.get("/limited").bearer(&bob).from("127.0.0.6"), 429);
    ask(server.get("/trial").from("127.0.0.6"), 200);
    ask(server.get("/login").bearer(server.token().forge()).from("127.0.0.7"), 401);
    ask(server.get("/login").bearer(&alice).from("127.0.0.7"), 429);
    ask(Request::new(server.second_address(), "GET", "/x").from("127.0.0.8"), 401);

    let (name, said) = (pseudonym(&server, "/limited"), await_refusals(&server, 9));
    let first = "gate.test";
    let second = format!("other.test:{}", server.second_port.number);
    let mut refusals = told(&said["refusals"], &["time"]);
    // Bob's name is another one.
    let bobs: Vec<Value> =
        [4, 5].iter().map(|at: &usize| refusals[*at].as_object_mut().unwrap().remove("subject").unwrap()).collect();
    assert!(bobs[0] == bobs[1] && bobs[0] != json!(name), "{bobs:?}");
    let expected = json!([
        {"verdict": "deny", "reason": "token-missing", "status": 401, "server": second, "address": "127.0.0.8"},
        {"verdict": "deny", "reason": "locked-out", "status": 429, "server": first, "address": "127.0.0.7"},
        {"verdict": "deny", "reason": "signature-invalid", "status": 401, "server": first, "address": "127.0.0.7"},
        {"verdict": "would-deny", "reason": "token-missing", "status": 200, "server": first, "address": "127.0.0.6"},
        {"verdict": "deny", "reason": "rate-limited", "status": 429, "server": first, "address": "127.0.0.6",
         "limit": "by-user"},
        {"verdict": "would-deny", "reason": "rate-limited", "status": 200, "server": first, "address": "127.0.0.5",
         "limit": "tried"},
        {"verdict": "deny", "reason": "rate-limited", "status": 429, "server": first, "address": "127.0.0.5",
         "limit": "by-user", "subject": name},
        {"verdict": "deny", "reason": "address-denied", "status": 403, "server": first, "address": "127.0.0.5"},
        {"verdict": "deny", "reason": "token-missing", "status": 401, "server": first, "address": "127.0.0.5"},
    ]);
    assert_eq!(Value::from(refusals), expected);

    // A rate of one a day, then a lock-out of two hours: who waits longest comes first.
    let (day, hours) = (86_000..=86_400, 7_100..=7_200);
    let waiting = said["at_limit"].as_array().unwrap();
    assert!(waiting.iter().all(|one| {
        let span = if one["reason"] == "locked-out" { &hours } else { &day };
        span.contains(&one["seconds"].as_u64().unwrap()) && one["until"].as_str().unwrap().ends_with('Z')
    }));
    let mut waiting = told(&said["at_limit"], &["until", "seconds"]);
    assert_eq!(waiting.pop(), Some(json!({"verdict": "deny", "reason": "locked-out", "address": "127.0.0.7"})));
    waiting.sort_by_key(Value::to_string);
    let mut expected = vec![
        json!({"verdict": "deny", "reason": "rate-limited", "limit": "by-user", "subject": name}),
        json!({"verdict": "deny", "reason": "rate-limited", "limit": "by-user", "subject": bobs[0]}),
        json!({"verdict": "would-deny", "reason": "rate-limited", "limit": "tried", "address": "127.0.0.5"}),
    ];
    expected.sort_by_key(Value::to_string);
    assert_eq!(waiting, expected);

    // The quota of all is used up: nobody in particular waits for it.
    assert_eq!(server.get("/limited").bearer(valid(&server, "carol")).status(), 429);
    let everybody = json!({"verdict": "deny", "reason": "quota-exceeded", "limit": "all-quota"});
    await_true("the quota", || told(&document(&server)["at_limit"], &["until", "seconds"]).contains(&everybody));

    let known = said["refusals"].as_array().unwrap();
    for said in of_each_child(&server, CHILDREN) {
        let text = said.to_string();
        for secret in ["alice", "bob", "carol", "hidden", &alice, "/closed"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let told = said["refusals"].as_array().unwrap();
        assert!(told.ends_with(known), "{said:#}");
    }
}

#[test]
fn a_flood_leaves_the_last_64_and_killed_children_take_none_along() {
    for mpm in Mpm::ALL {
        let mut server = Site::new().mpm(mpm).start(&gated(BY_USER, "other.test"));
        std::thread::scope(|scope| {
            for client in 1..=4 {
                let server = &server;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let from = format!("127.0.0.{client}");
                        assert_eq!(server.get("/api").from(&from).status(), 401);
                        assert_eq!(server.get("/closed").from(&from).status(), 403);
                    }
                });
            }
            // What is told meanwhile is whole.
            for _ in 0..10 {
                let said = document(&server);
                let refusals = said["refusals"].as_array().unwrap();
                assert!(refusals.len() <= 64);
                for refusal in refusals {
                    let status = if refusal["reason"] == "token-missing" { 401 } else { 403 };
                    assert_eq!(refusal["status"], status, "{refusal}");
                    assert!(
                        refusal["server"].is_string() && refusal["address"].as_str() < Some("127.0.0.5"),
                        "{refusal}"
                    );
                }
            }
        });
        await_true("the last refusals", || document(&server)["decisions"]["deny"]["address-denied"] == 80);
        let before = await_refusals(&server, 64);
        server.kill_all_children();
        assert_eq!(document(&server)["refusals"], before["refusals"], "{mpm:?}");
        assert_eq!(server.get("/api").from("127.0.0.9").status(), 401);
        await_true("one more", || document(&server)["refusals"][0]["address"] == "127.0.0.9");
        assert_eq!(document(&server)["refusals"][1], before["refusals"][0]);
    }
}

#[test]
fn a_graceful_restart_keeps_them_and_tells_no_names_that_are_gone() {
    let mut server = Site::new().start(&gated(BY_USER, "other.test\n<Location /x>\nJwtGate on\n</Location>"));
    let alice = valid(&server, "alice");
    assert_eq!(Request::new(server.second_address(), "GET", "/x").status(), 401);
    await_refusals(&server, 1);
    assert_eq!([(); 2].map(|()| server.get("/limited").bearer(&alice).status()), [200, 429]);
    let before = await_refusals(&server, 2);
    assert_eq!(before["at_limit"][0]["limit"], "by-user");

    server.graceful_with(&gated("", "new.test"));
    let said = document(&server);
    let [limited, missing] = &said["refusals"].as_array().unwrap()[..] else { panic!("{said:#}") };
    assert_eq!((&limited["limit"], &limited["subject"]), (&Value::Null, &before["refusals"][0]["subject"]));
    assert_eq!((&missing["server"], missing.get("limit")), (&Value::Null, None));
    assert_eq!(said["at_limit"], json!([]), "a limit that is gone refuses nobody");

    server.graceful_with(&gated(BY_USER, "other.test"));
    assert_eq!(document(&server)["refusals"], before["refusals"]);
    // Who was at it may have been let in meanwhile, until there is a refusal again.
    assert_eq!(document(&server)["at_limit"], json!([]));
    assert_eq!(server.get("/limited").bearer(&alice).status(), 429);
    let after = await_refusals(&server, 3);
    assert_eq!((&after["at_limit"][0]["limit"], &after["at_limit"][1]), (&json!("by-user"), &Value::Null));
    // What is as before is kept.
    server.graceful();
    assert_eq!(document(&server)["at_limit"][0]["until"], after["at_limit"][0]["until"]);
    // A start begins anew.
    server.stop();
    server.start_again();
    assert_eq!((&document(&server)["refusals"], &document(&server)["at_limit"]), (&json!([]), &json!([])));
}

/// Limits and reasons of those who are at a limit.
fn at_limit(server: &Server) -> Vec<String> {
    let said = document(server);
    let told = said["at_limit"].as_array().unwrap().iter();
    let mut told: Vec<_> =
        told.map(|one| one["limit"].as_str().or(one["reason"].as_str()).unwrap().to_owned()).collect();
    told.sort_unstable();
    told
}

#[test]
fn whom_another_configuration_may_let_in_is_told_no_more() {
    let gated = |quota: &str, gold: &str, lockout: &str| {
        format!(
            r#"{MAIN}
            ProxyPass / ${{APP}}/
            JwtGatePlan gold rate=1000/s quota={gold}
            <Location "/by-quota">
                JwtGate on
                JwtGateLimit by-quota key=subject rate=1000/s {quota}
            </Location>
            <Location "/by-plan">
                JwtGate on
                JwtGateLimit by-plan key=subject rate=1000/s default-plan=gold
            </Location>
            <Location "/by-rate">
                JwtGate on
                JwtGateLimit by-rate key=subject rate=1/d quota=9/day
            </Location>
            <Location "/login">
                JwtGate on
                {lockout}
            </Location>
            {STATUS}"#
        )
    };
    let lockout = "JwtGateLockout failures=1/1h block=2h";
    let mut server = Site::new().start(&gated("quota=2/month", "1/month", lockout));
    server.expect_log("JG3002");
    let alice = valid(&server, "alice");
    let statuses = |path: &str, times: usize| -> Vec<u16> {
        (0..times).map(|_| server.get(path).bearer(&alice).status()).collect()
    };
    assert_eq!(statuses("/by-quota", 3), [200, 200, 429]);
    assert_eq!(statuses("/by-plan", 2), [200, 429]);
    assert_eq!(statuses("/by-rate", 2), [200, 429]);
    assert_eq!(server.get("/login").from("127.0.0.7").bearer(server.token().forge()).status(), 401);
    assert_eq!(server.get("/login").from("127.0.0.7").bearer(&alice).status(), 429);
    await_true("all four", || at_limit(&server) == ["by-plan-quota", "by-quota-quota", "by-rate", "locked-out"]);

    server.graceful_with(&gated("quota=1000000/month", "1/month", lockout));
    assert_eq!(at_limit(&server), ["by-plan-quota", "by-rate", "locked-out"]);
    assert_eq!(server.get("/by-quota").bearer(&alice).status(), 200);
    server.graceful_with(&gated("", "1/month", ""));
    assert_eq!(at_limit(&server), ["by-plan-quota", "by-rate"]);
    assert_eq!(server.get("/login").from("127.0.0.7").bearer(&alice).status(), 200);
    server.graceful_with(&gated("", "5/month", ""));
    assert_eq!(at_limit(&server), Vec::<String>::new());
    assert_eq!(server.get("/by-plan").bearer(&alice).status(), 200);
    // The refusals were ones all the same.
    assert_eq!(document(&server)["refusals"].as_array().unwrap().len(), 5);
}

#[test]
fn nobody_is_blamed_who_only_shares_a_bucket() {
    let place = |name: &str, key: &str| {
        format!("<Location /{name}>\nJwtGate on\nJwtGateLimit {name} key={key} rate=1/d burst=1\n</Location>\n")
    };
    let keys = ["peer", "issuer", "client", "claim:org", "peer+subject", "address+claim:org+client"];
    let places: String = keys.iter().map(|key| place(&key.replace([':', '+'], "-"), key)).collect();
    let server = Site::new().load(&["remoteip"]).start(&format!(
        "{MAIN}ProxyPass / ${{APP}}/\nRemoteIPHeader X-Client\nRemoteIPInternalProxy 127.0.0.1\n{places}{STATUS}"
    ));
    let token = |subject: &str| server.token().claim("sub", subject).claim("azp", "shop").claim("org", "acme").sign();
    for key in keys {
        let path = format!("/{}", key.replace([':', '+'], "-"));
        // Where it counts whose request it is, that of one caller.
        let callers = if key.contains("subject") || key.contains("address") { [7; 4] } else { [1, 2, 3, 4] };
        let statuses = callers.map(|caller| {
            let request = server.get(&path).header("X-Client", format!("192.0.2.{caller}"));
            request.bearer(token(&format!("user-{caller}"))).status()
        });
        assert_eq!(statuses, [200, 429, 429, 429], "{key}");
    }
    let expected = |subject: &Value| {
        vec![
            json!({"limit": "address-claim-org-client", "address": "192.0.2.7", "of_one": ["claim:org", "client"]}),
            json!({"limit": "claim-org", "of_one": ["claim:org"]}),
            json!({"limit": "client", "of_one": ["client"]}),
            json!({"limit": "issuer", "of_one": ["issuer"]}),
            json!({"limit": "peer", "peer": "127.0.0.1"}),
            json!({"limit": "peer-subject", "peer": "127.0.0.1", "subject": subject}),
        ]
    };
    await_true("six limits", || at_limit(&server).len() == expected(&Value::Null).len());
    let said = document(&server);
    let mut waiting = told(&said["at_limit"], &["until", "seconds", "verdict", "reason"]);
    waiting.sort_by_key(|one| one["limit"].to_string());
    let of = |limit: &str| {
        let mut all = said["refusals"].as_array().unwrap().iter();
        all.find(|one| one["limit"] == limit).unwrap()["subject"].clone()
    };
    assert!(of("peer-subject").is_string());
    assert_eq!(waiting, expected(&of("peer-subject")));

    let browser = Chromium::start(&server);
    let page = browser.page(&url(&server));
    page.looks("light", 1280, 900);
    for text in [
        "all through 127.0.0.1",
        "all of one issuer",
        "all of one claim:org",
        ", through 127.0.0.1",
        "192.0.2.7, of one claim:org and client",
        "refused in the last 24 h",
    ] {
        await_text(&page, text);
    }
    assert!(!page.text().contains("everybody"));
    show(&page, "shared");
    assert_eq!(page.console(), Vec::<Value>::new());
}

/// In the place of APR's function: there is no memory of the size that refusals need.
const NO_MEMORY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
int apr_shm_create(void **shm, size_t bytes, const char *file, void *pool) {
    if (bytes == 132224) return ENOMEM;
    int (*create)(void **, size_t, const char *, void *) = dlsym(RTLD_NEXT, "apr_shm_create");
    return create(shm, bytes, file, pool);
}
"#;

#[test]
fn without_memory_for_them_the_server_goes_on_and_says_so() {
    let mut server = Site::new().start(&gated(BY_USER, "other.test"));
    server.expect_log("JG2003");
    server.stop();
    let (source, library) = (server.write("no-memory.c", NO_MEMORY), server.root.join("no-memory.so"));
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().unwrap();
    assert!(compiled.success());
    let program = httpd(&server.root);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program.get_program()).args(program.get_args()).arg("-DFOREGROUND");
    command.env("LD_PRELOAD", library).process_group(0);
    let mut httpd = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    await_true("the warning", || server.log.count("JG2003 shared memory for refusals: 132224 bytes") == 1);
    await_true("httpd", || std::net::TcpStream::connect(server.address()).is_ok());

    let alice = valid(&server, "alice");
    assert_eq!([(); 2].map(|()| server.get("/limited").bearer(&alice).status()), [200, 429]);
    assert_eq!(server.get("/api").status(), 401);
    let said = document(&server);
    assert_eq!((&said["refusals"], &said["at_limit"]), (&Value::Null, &Value::Null));
    {
        let browser = Chromium::start(&server);
        let page = browser.page(&url(&server));
        page.looks("light", 1280, 900);
        await_text(&page, "There was no memory to keep this");
        assert!(!page.text().contains("Nobody"));
        assert_eq!(page.console(), Vec::<Value>::new());
    }
    // A graceful restart tries again, and goes on as well.
    kill_process(Pid::from_child(&httpd), Signal::USR1).unwrap();
    await_true("another warning", || server.log.count("JG2003 shared memory for refusals: 132224 bytes") == 2);
    await_true("the restarted server", || document(&server)["refusals"] == Value::Null);
    assert!(httpd.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&httpd), Signal::TERM).unwrap();
    httpd.wait().unwrap();
    server.start_again();
    assert_eq!(document(&server)["refusals"], json!([]));
}

#[test]
fn hostile_names_are_texts_on_the_page_which_draws_what_it_has_seen() {
    const EVIL: &str = "<img/src=x/onerror=window.harmed=1>";
    let server = Site::new().start(&gated(BY_USER, &format!("\"{EVIL}\"\n<Location />\nJwtGate on\n</Location>")));
    let browser = Chromium::start(&server);
    let page = browser.page(&url(&server));
    page.looks("light", 1280, 900);
    await_text(&page, "Nobody has been refused.");
    await_text(&page, "Nobody is at a limit.");
    let bars = |kind: &str| page.run(&format!("return document.querySelectorAll('main svg rect.{kind}').length"));
    assert_eq!((bars("in"), bars("s0")), (json!(0), json!(0)));

    let evil = valid(&server, "<script>window.harmed=1</script>");
    assert_eq!([(); 2].map(|()| server.get("/limited").bearer(&evil).status()), [200, 429]);
    assert_eq!(Request::new(server.second_address(), "GET", "/<b>").bearer(server.token().forge()).status(), 401);
    assert_eq!(server.get("/trial").status(), 200);
    for text in ["by-user", EVIL, "token-missing (dry run)", "rate-limited", "in 23 h"] {
        await_text(&page, text);
    }
    // What came between two looks, by kind.
    for kind in ["in", "s0", "s1", "dry"] {
        await_true(&format!("a bar of the kind {kind}"), || bars(kind).as_u64() > Some(0));
    }
    assert_eq!(
        page.run("return [window.harmed ?? null, document.querySelectorAll('main img, main b').length]"),
        json!([null, 0])
    );
    let text = page.text();
    assert!(text.contains(&pseudonym(&server, "/limited")) && !text.contains("script"), "{text}");

    // What somebody has selected stays until it is copied.
    page.run("getSelection().selectAllChildren(document.querySelector('td code'))");
    await_text(&page, "waits while text is selected");
    page.run("getSelection().removeAllRanges()");
    await_text(&page, "as of");
    show(&page, "refusals");
    assert_eq!(page.console(), Vec::<Value>::new());
}
