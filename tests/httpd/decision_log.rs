//! `JwtGateLog`: a line of JSON for each client request that was decided, whole and exact whatever else happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};

use crate::harness::metrics::{METRICS, Metrics};
use crate::harness::server::is_running;
use crate::harness::{Connection, MAIN, Request, Server, Site, await_some, await_true, httpd};

/// No file is there: an answer of httpd itself is enough.
const GATED: &str = "<Location />\nJwtGate on\n</Location>\n";

/// The lines of a log so far.
///
/// # Panics
/// When one of them is not whole.
fn lines(text: &str) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(line).collect()
}

/// Waits until there are so many lines in a file below the ServerRoot.
fn await_lines(server: &Server, path: &str, count: usize) -> Vec<Value> {
    await_some(&format!("{count} lines in {path}"), || {
        let lines = lines(&fs::read_to_string(server.root.join(path)).ok()?);
        assert!(lines.len() <= count, "{} lines in {path}, not {count}: {lines:#?}", lines.len());
        (lines.len() == count).then_some(lines)
    })
}

/// The last of so many lines.
fn await_line(server: &Server, count: usize) -> Value {
    await_lines(server, "logs/gate.json", count).pop().unwrap()
}

fn text<'l>(line: &'l Value, member: &str) -> &'l str {
    line[member].as_str().unwrap_or_else(|| panic!("no {member} in {line}"))
}

#[test]
fn a_line_tells_what_was_decided() {
    let site = Site::new().load(&["unique_id"]);
    let server = site.start(&format!(
        r#"{MAIN}
        JwtGateLog logs/gate.json subject=plain
        JwtGatePlan gold rate=1/d burst=2
        ProxyPass / ${{APP}}/
        LogFormat "%{{UNIQUE_ID}}e" id
        CustomLog logs/ids.log id
        <Location />
            JwtGate on
            JwtGateLimit mine key=subject rate=1/d burst=9 plan-claim=tier
            JwtGateLimit wide key=global rate=1/d burst=50
        </Location>
        <Location /trial>
            JwtGate dry-run
        </Location>
        <Location /open>
            JwtGate off
        </Location>"#
    ));
    let token = server.token().claim("tier", "gold").claim("azp", "web").sign();
    let ask = |target: &str| server.request("POST", target).bearer(&token).from("127.0.0.9").body("x").status();
    assert_eq!(ask("/a/b?secret=x"), 200);
    let mut line = await_line(&server, 1);
    let id = await_some("the access log", || {
        let log = fs::read_to_string(server.root.join("logs/ids.log")).ok()?;
        log.strip_suffix('\n').map(str::to_owned)
    });
    assert_eq!(text(&line, "request_id"), id);
    assert!(text(&line, "time").ends_with('Z') && line["decision_us"].is_u64(), "{line}");
    for varying in ["time", "request_id", "decision_us"] {
        line.as_object_mut().unwrap().remove(varying);
    }
    let expected = json!({
        "verdict": "allow", "server": "gate.test", "method": "POST", "path": "/a/b", "status": 200, "issuer": "main", "subject": "alice",
        "client": "web", "plan": "gold", "limit": "mine", "remaining": 1, "address": "127.0.0.9"
    });
    assert_eq!(line, expected);

    assert_eq!(ask("/a?answer=503"), 503);
    let line = await_line(&server, 2);
    assert_eq!((&line["verdict"], &line["status"], &line["remaining"]), (&json!("allow"), &json!(503), &json!(0)));
    assert_eq!(ask("/a"), 429);
    let line = await_line(&server, 3);
    assert_eq!((text(&line, "verdict"), text(&line, "reason")), ("deny", "rate-limited"));
    assert_eq!((text(&line, "limit"), &line["remaining"], text(&line, "subject")), ("mine", &json!(0), "alice"));
    assert_eq!((text(&line, "plan"), &line["status"]), ("gold", &json!(429)));

    assert_eq!(server.get("/trial").status(), 200);
    let line = await_line(&server, 4);
    assert_eq!(
        (text(&line, "verdict"), text(&line, "reason"), &line["status"]),
        ("would-deny", "token-missing", &json!(200))
    );
    assert_eq!(server.get("/open").status(), 200);
    assert_eq!(server.get("/b").status(), 401);
    let line = await_line(&server, 5);
    assert_eq!((text(&line, "reason"), text(&line, "method"), line.get("subject")), ("token-missing", "GET", None));
}

#[test]
fn one_client_request_is_one_line() {
    let mut server = Site::new().load(&["include"]).start(&format!(
        r#"{MAIN}
        JwtGateLog logs/gate.json
        DirectoryIndex first.html second.html
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Location />
            JwtGate on
            ErrorDocument 401 /sorry.html
        </Location>
        <Location /closed>
            JwtGateDeny 127.0.0.0/8
        </Location>
        <Location /admin>
            Require jwt-scope admin
        </Location>
        <Location /other>
            ErrorDocument 404 /closed/part.html
        </Location>
        <Location /lost>
            ErrorDocument 401 /no/such/page
        </Location>"#
    ));
    for page in ["second.html", "sorry.html", "closed/part.html"] {
        server.write(&format!("html/{page}"), page);
    }
    server.write("html/all.shtml", "<!--#include virtual=\"/closed/part.html\" -->");
    server.expect_log("part.html");
    server.expect_log("AH01630");
    let token = server.token().sign();
    for (at, (target, has_token, status, verdict, reason)) in [
        ("/", true, 200, "allow", Value::Null),
        ("/all.shtml", true, 200, "allow", Value::Null),
        ("/second.html", false, 401, "deny", json!("token-missing")),
        ("/admin", true, 403, "deny", json!("scope-insufficient")),
        ("/other/nothing", true, 404, "allow", Value::Null),
        ("/lost", false, 401, "deny", json!("token-missing")),
        ("/closed/%2e%2e%5c", true, 400, "deny", json!("path-ambiguous")),
    ]
    .into_iter()
    .enumerate()
    {
        let request = server.get(target);
        assert_eq!(if has_token { request.bearer(&token) } else { request }.status(), status, "{target}");
        let line = await_line(&server, at + 1);
        assert_eq!(
            (text(&line, "verdict"), &line["reason"], &line["status"]),
            (verdict, &reason, &json!(status)),
            "{line}"
        );
        // What another part was decided as has no part in it.
        assert_eq!(line["issuer"], if has_token && at != 6 { json!("main") } else { Value::Null }, "{line}");
    }
}

#[test]
fn subjects_are_told_by_a_name_that_stays_over_graceful_restarts() {
    let directives = format!("{MAIN}JwtGateLog logs/gate.json\n{GATED}");
    let mut server = Site::new().start(&directives);
    let [alice, bob] = ["alice", "bob"].map(|subject| server.token().claim("sub", subject).sign());
    let name = |server: &Server, token: &str, count| {
        assert_eq!(server.get("/nothing").bearer(token).status(), 404);
        text(&await_line(server, count), "subject").to_owned()
    };
    let first = name(&server, &alice, 1);
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_eq!(name(&server, &alice, 2), first);
    assert_ne!(name(&server, &bob, 3), first);
    server.graceful();
    assert_eq!(name(&server, &alice, 4), first);
    server.stop_and_start(|_| ());
    assert_ne!(name(&server, &alice, 5), first, "another start has another secret");
}

#[test]
fn whatever_clients_send_a_line_is_valid_and_one() {
    let server = Site::new().start(&format!("{MAIN}JwtGateLog logs/gate.json subject=plain\n{GATED}"));
    let long = "a".repeat(3000);
    for (at, (target, decoded)) in [
        ("/%0a%0d%7b%22verdict%22:%22allow%22%7d", "/\n\r{\"verdict\":\"allow\"}"),
        ("/%ff%fe%c3%28", "/\u{fffd}\u{fffd}\u{fffd}("),
        ("/%1b%5b31m%7f%e2%80%a8%e2%80%ae", "/\u{1b}[31m\u{7f}\u{2028}\u{202e}"),
        ("/%5c%22", "/\\\""),
        ("/%e2%98%83", "/☃"),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("{decoded}\u{0}\u{85}\"\\");
        let status = server.get(target).bearer(server.token().claim("sub", subject.as_str()).sign()).status();
        let line = await_line(&server, at + 1);
        assert_eq!((text(&line, "path"), text(&line, "subject")), (target, subject.as_str()), "{status}");
    }
    let request = server.get(&format!("/nothing/{long}")).bearer(server.token().claim("sub", &long[..2000]).sign());
    request.status();
    let line = await_line(&server, 6);
    assert!(text(&line, "path").ends_with("a…") && text(&line, "subject").ends_with("a…"), "{line}");
    let raw = fs::read_to_string(server.root.join("logs/gate.json")).unwrap();
    assert!(raw.lines().all(|line| line.len() < 4096 && !line.contains(|c: char| c.is_control())), "{raw}");
    let mut odd = server.connect();
    odd.send("G\"T /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \u{e9}\r\n\r\n");
    // httpd's own word about a request that never was one.
    assert_eq!(odd.answer().status, 400);
    assert_eq!(lines(&fs::read_to_string(server.root.join("logs/gate.json")).unwrap()).len(), 6);
}

#[test]
fn a_hundred_thousand_lines_of_several_processes_are_whole_and_exact() {
    const CLIENTS: usize = 8;
    const EACH: usize = 6_250;
    const BATCH: usize = 125;
    let rotatelogs = ["/usr/bin/rotatelogs", "/usr/sbin/rotatelogs", "/usr/local/apache2/bin/rotatelogs"];
    let rotatelogs = rotatelogs.into_iter().find(|path| Path::new(path).exists()).expect("rotatelogs of httpd");
    let server = Site::new().children(3).start(&format!(
        r#"{MAIN}{GATED}
        LogLevel jwt_gate:warn core:warn
        KeepAliveTimeout 60
        MaxKeepAliveRequests 0
        JwtGateLog "|/usr/bin/tee -a ${{ROOT}}/logs/piped.json"
        <VirtualHost *:${{PORT2}}>
            JwtGateLog "|{rotatelogs} ${{ROOT}}/logs/rotated.json 100K"
        </VirtualHost>"#
    ));
    let token = server.token().sign();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            for (port, to) in [server.address(), server.second_address()].into_iter().enumerate() {
                let token = &token;
                scope.spawn(move || {
                    let request = |number: usize| {
                        // Some lines are as long as they can be.
                        let padding = if number.is_multiple_of(10) { "x".repeat(number % 3000) } else { String::new() };
                        let request = Request::new(to, "GET", &format!("/{port}/{client}/{number}/{padding}"));
                        if number.is_multiple_of(3) { request } else { request.bearer(token) }.bytes()
                    };
                    let mut numbers = 0..EACH;
                    while !numbers.is_empty() {
                        // httpd may end a connection when it is busy, between two requests.
                        let mut connection = Connection::open(to, None);
                        let batch = numbers.start..(numbers.start / BATCH + 1) * BATCH;
                        connection.send(batch.flat_map(request).collect::<Vec<u8>>());
                        while let Ok(answer) = connection.try_answer(false) {
                            let number = numbers.next().unwrap();
                            assert_eq!(answer.status, if number.is_multiple_of(3) { 401 } else { 404 });
                            if numbers.start.is_multiple_of(BATCH) || answer.header("Connection") == Some("close") {
                                break;
                            }
                        }
                    }
                });
            }
        }
    });
    let count = |texts: &[String]| texts.iter().map(|text| text.bytes().filter(|byte| *byte == b'\n').count()).sum();
    for (port, prefix) in ["piped.json", "rotated.json"].into_iter().enumerate() {
        let files = || {
            let names = fs::read_dir(server.root.join("logs")).unwrap().flatten();
            let named = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
            named.map(|entry| fs::read_to_string(entry.path()).unwrap()).collect::<Vec<_>>()
        };
        await_true(&format!("all lines in {prefix}"), || -> bool {
            let lines: usize = count(&files());
            lines >= CLIENTS * EACH
        });
        let all: Vec<Value> = files().iter().flat_map(|text| lines(text)).collect();
        assert_eq!(all.len(), CLIENTS * EACH);
        let numbers: BTreeSet<(usize, usize)> = all
            .iter()
            .map(|line| {
                let mut words = text(line, "path").split('/').skip(1).map(|word| word.parse().unwrap_or(usize::MAX));
                assert_eq!(words.next(), Some(port));
                (words.next().unwrap(), words.next().unwrap())
            })
            .collect();
        assert_eq!(numbers.len(), CLIENTS * EACH, "each request has its own line");
        let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &all {
            *verdicts.entry(text(line, "verdict")).or_default() += 1;
        }
        let denied = CLIENTS * EACH.div_ceil(3);
        assert_eq!(verdicts, [("allow", CLIENTS * EACH - denied), ("deny", denied)].into());
    }
    assert!(server.served_by().len() >= 2, "several processes wrote");
}

#[test]
fn a_program_that_dies_is_started_again_and_no_request_suffers() {
    let mut server = Site::new().start(&format!(
        "{MAIN}{GATED}JwtGateLog \"|$echo $$ >> ${{ROOT}}/logs/pids; exec cat >> ${{ROOT}}/logs/gate.json\"\n"
    ));
    server.expect_log("AH00106");
    let pids = |server: &Server| -> Vec<i32> {
        let text = fs::read_to_string(server.root.join("logs/pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    await_true("the program", || pids(&server).len() == 1);
    assert_eq!(server.get("/before").status(), 401);
    await_lines(&server, "logs/gate.json", 1);
    for round in 1..=3 {
        let last = *pids(&server).last().unwrap();
        kill_process(Pid::from_raw(last).unwrap(), Signal::KILL).unwrap();
        // Until another is started, nobody reads.
        await_true("the program's end", || !is_running(last));
        for number in 0..20 {
            assert_eq!(server.get(&format!("/{round}/{number}")).status(), 401);
        }
        await_true("the next program", || pids(&server).len() == round + 1);
        await_lines(&server, "logs/gate.json", 1 + 20 * round);
    }
}

#[test]
fn a_program_that_reads_no_more_holds_nobody_up() {
    let mut server = Site::new().children(4).start(&format!("{MAIN}{GATED}JwtGateLog \"|$exec sleep 600\"\n"));
    server.expect_log("the program reads no more; see what it waits for, or restart the server gracefully");
    server.expect_log("lost since the last such message");
    // A little more than a pipe holds: who writes the rest waits for the program, for a while.
    let long = "x/".repeat(1000);
    for _ in 0..45 {
        assert_eq!(server.get(&format!("/nothing/{long}")).status(), 401);
    }
    server.await_log("JG3003");
    for _ in 0..20 {
        assert_eq!(server.get("/").status(), 401);
    }
    assert!(server.log.count("JG3003") <= 2, "once a minute, whichever process it is");
}

/// The lines that the error log says are lost.
fn said_to_be_lost(server: &Server) -> u32 {
    let text = server.log.text();
    let said = text.lines().filter_map(|line| line.split_once(" JwtGateLog ")?.1.split(": ").nth(1));
    said.map(|said| said.split(' ').next().unwrap().parse::<u32>().unwrap_or_else(|why| panic!("{why}: {said}"))).sum()
}

/// Lines that are lost, by the metrics.
fn await_lost(server: &Server, count: f64) {
    await_true("lost lines in the metrics", || {
        let lost = Metrics::of(server).value("jwt_gate_log_lines_lost_total", &[]);
        assert!(lost <= count, "{lost}");
        lost == count
    });
}

/// Lets new children write to a file up to so many bytes, and kills those that there are.
fn limit_files(server: &mut Server, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(server.pid()), Resource::Fsize, limit).unwrap();
    server.kill_all_children();
}

#[test]
fn each_lost_line_is_told_once_and_counted_and_no_request_suffers() {
    let mut server = Site::new().start(&format!("{MAIN}{GATED}{METRICS}JwtGateLog /dev/full\n"));
    server.expect_log("JG3003 JwtGateLog /dev/full: 1 line is lost: the disk is full; make room on it");
    let ask = |count: usize| (0..count).for_each(|_| assert_eq!(server.get("/").status(), 401));
    ask(30);
    await_lost(&server, 30.0);
    assert!(server.log.count("JG3003") <= 2, "once a minute, whichever process it is: {}", server.log.text());
    // A graceful restart ends the processes that lost the rest; what those say that are killed is not lost either.
    server.graceful();
    await_true("30 lines told", || said_to_be_lost(&server) == 30);
    for _ in 0..10 {
        assert_eq!(server.get("/").status(), 401);
    }
    await_lost(&server, 40.0);
    server.kill_all_children();
    assert_eq!(server.get("/").status(), 401);
    await_lost(&server, 41.0);
    server.stop();
    assert_eq!(said_to_be_lost(&server), 41, "{}", server.log.text());
    server.expect_log("lost since the last such message; this process ends");
}

#[test]
fn a_torn_line_is_ended_by_whoever_writes_next() {
    const SIZE: usize = 1 << 20;
    let site = Site::new();
    // So long that the limit is beyond every other file.
    let long = format!("{{\"padding\":\"{}\"}}\n", "x".repeat(SIZE));
    let path = site.write("logs/gate.json", &long);
    let mut server = site.start(&format!("{MAIN}{GATED}JwtGateLog logs/gate.json\n"));
    server.expect_log("1 line is lost: the disk is full in the middle of a line; make room on it");
    let length = || fs::metadata(&path).unwrap().len();
    let full = length() + 50;
    limit_files(&mut server, Some(full));
    assert_eq!(server.get("/torn").status(), 401);
    await_true("a torn line", || length() == full);
    // Nobody is left who could tell of it.
    limit_files(&mut server, None);
    assert_eq!(server.get("/whole").status(), 401);
    let lines = |count: usize| {
        let text = fs::read_to_string(&path).unwrap();
        let written: Vec<Value> = text.lines().skip(2).map(|line| serde_json::from_str(line).unwrap()).collect();
        (written.len() == count && text.ends_with('\n')).then_some(written)
    };
    assert_eq!(text(&await_some("a line", || lines(1))[0], "path"), "/whole");
    assert_eq!(server.get("/next").status(), 401);
    assert_eq!(text(&await_some("two lines", || lines(2))[1], "path"), "/next", "and there is no empty line");
    // What was torn before the start.
    server.stop_and_start(|site| fs::write(site.root.join("logs/gate.json"), "{\"time\":\n{\"time\"").unwrap());
    assert_eq!(server.get("/new").status(), 401);
    assert_eq!(text(&await_some("the line after", || lines(1))[0], "path"), "/new");
}

#[test]
fn a_line_tells_what_was_asked_for_and_of_whom() {
    let server = Site::new().start(&format!(
        "{MAIN}{GATED}JwtGateLog logs/gate.json\nRewriteEngine on\nRewriteRule ^/v1/(.*)$ /internal/$1 [PT]\n\
         <Location /internal>\nRewriteEngine on\nRewriteRule ^ /further [PT]\n</Location>\n\
         <Location /secret>\nErrorDocument 401 /page\n</Location>\n\
         <VirtualHost *:${{PORT2}}>\nServerName api.example\nServerAlias *.example\n</VirtualHost>\n"
    ));
    let (second, token) = (server.second_address(), server.token().sign());
    for (at, (target, host, to, path, name)) in [
        ("/v1/secret%20x?token=s", "gate.test", server.address(), "/v1/secret%20x", "gate.test"),
        ("/a/./%7eb/../c%2e//d;e?token=s", "any", server.address(), "/a/./%7eb/../c%2e//d;e", "gate.test"),
        ("http://gate.test/v1/x?token=s", "gate.test", server.address(), "/v1/x", "gate.test"),
        ("http://gate.test?token=s", "gate.test", server.address(), "/", "gate.test"),
        ("/secret?token=s", "other.example", second, "/secret", "api.example"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request::with_host(to, host, "GET", target);
        // The page for the refusal is not what was asked for either.
        let answer = if path == "/secret" { request } else { request.bearer(&token) }.send();
        let line = await_line(&server, at + 1);
        assert_eq!((text(&line, "path"), text(&line, "server")), (path, name), "{target}: {answer:?}");
    }
    assert!(!fs::read_to_string(server.root.join("logs/gate.json")).unwrap().contains("token="));
}

#[test]
fn what_cannot_be_written_is_found_before_the_start() {
    let site = Site::new();
    site.write("logs/program", "no program");
    assert!(Command::new("mkfifo").arg(site.root.join("logs/pipe")).status().unwrap().success());
    let (_reader, writer) = io::pipe().unwrap();
    let other = format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd());
    for (log, said) in [
        ("nowhere/gate.json", "no such folder"),
        ("logs", "is a folder"),
        ("logs/program/gate.json", "Not a directory"),
        ("\"|/nowhere/rotatelogs logs/gate.json 1M\"", "No such file"),
        ("\"|logs/program\"", "is not a program"),
        // A start would wait for who reads it.
        ("logs/pipe", "is a pipe, which perhaps nobody reads: name a file"),
        // As the output of the server is to a check of it.
        (&other, "is a pipe of another process: for the output of the server name /dev/stdout"),
    ] {
        let directives = format!("{MAIN}{GATED}JwtGateLog {log}\n");
        let check = site.configtest(&directives);
        assert!(
            !check.passed && check.output.contains("JwtGateLog") && check.output.contains(said),
            "{log}: {}",
            check.output
        );
        // What nobody checked ends the start, as it does for CustomLog.
        assert!(!httpd(&site.root).arg("-DFOREGROUND").output().unwrap().status.success(), "{log}");
    }
    let error_log = fs::read_to_string(site.root.join("logs/error.log")).unwrap();
    assert!(error_log.contains("JG2002 JwtGateLog"), "{error_log}");
    let check = site.configtest(&format!("{MAIN}{GATED}JwtGateLog logs/gate.json\n"));
    assert!(check.passed, "{}", check.output);
    assert!(!site.root.join("logs/gate.json").exists(), "a check makes nothing");
}

#[test]
fn the_output_of_the_server_can_be_the_log_though_it_is_a_pipe() {
    let site = Site::new();
    let directives = format!("{MAIN}{GATED}JwtGateLog /dev/stdout\n");
    let check = site.configtest(&directives);
    assert!(check.passed, "{}", check.output);
    let httpd = httpd(&site.root);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(httpd.get_program()).args(httpd.get_args()).arg("-DFOREGROUND");
    // A process group of its own: to end, httpd signals the whole group.
    let mut process = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let to = (std::net::Ipv4Addr::LOCALHOST, site.port.number).into();
    await_true("an answer", || Request::new(to, "GET", "/").try_send().is_ok_and(|answer| answer.status == 401));
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert!(process.wait().unwrap().success());
    assert_eq!(text(&lines(&line)[0], "reason"), "token-missing");
}

#[test]
fn virtual_hosts_inherit_a_log_share_a_file_or_have_none() {
    let mut server = Site::new().start(&format!(
        "{MAIN}{GATED}JwtGateLog logs/gate.json\n<VirtualHost *:${{PORT2}}>\nServerName one\n</VirtualHost>\n\
         <VirtualHost *:${{PORT2}}>\nServerName two\nJwtGateLog ${{ROOT}}/logs/gate.json subject=plain\n</VirtualHost>\n\
         <VirtualHost *:${{PORT2}}>\nServerName three\nJwtGateLog off\n</VirtualHost>\n\
         <VirtualHost *:${{PORT2}}>\nServerName four\nJwtGateLog logs/other.json\n</VirtualHost>\n"
    ));
    let to = server.second_address();
    let token = server.token().sign();
    let ask = |host: &str| {
        let text = format!(
            "GET /{host} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let mut connection = Connection::open(to, None);
        connection.send(text);
        assert_eq!(connection.answer().status, 404);
    };
    for host in ["one", "two", "three", "four"] {
        ask(host);
    }
    let all = await_lines(&server, "logs/gate.json", 2);
    let subjects: BTreeMap<&str, &str> = all.iter().map(|line| (text(line, "path"), text(line, "subject"))).collect();
    assert_eq!((subjects["/two"], subjects["/one"].len()), ("alice", 32));
    assert!(all.iter().all(|line| text(line, "path").strip_prefix('/') == Some(text(line, "server"))), "{all:?}");
    await_lines(&server, "logs/other.json", 1);
    // As with every log: moved away and restarted gracefully, it is begun anew.
    fs::rename(server.root.join("logs/gate.json"), server.root.join("logs/old.json")).unwrap();
    server.graceful();
    let to = server.second_address();
    assert_eq!(Request::new(to, "GET", "/x").status(), 401);
    await_lines(&server, "logs/gate.json", 1);
}
