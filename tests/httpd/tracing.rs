//! `JwtGateTrace`: each request belongs to a trace, and no client can break it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::harness::{MAIN, Server, Site, await_some};

const KEPT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn start(more: &str) -> Server {
    Site::new().start(&format!(
        "{MAIN}JwtGateLog logs/gate.json\nLogFormat \"%{{JWT_GATE_TRACEPARENT}}e\" trace\nCustomLog logs/trace.log trace\n\
         ProxyPass / ${{APP}}/\n<Location />\nJwtGate on\nJwtGateTrace on\n</Location>\n{more}"
    ))
}

/// What the last line of each log says of the trace.
fn logged(server: &Server, count: usize) -> [Option<String>; 2] {
    let last = |path: &str| {
        await_some(path, || {
            let text = fs::read_to_string(server.root.join(path)).ok()?;
            (text.lines().count() == count).then(|| text.lines().last().unwrap().to_owned())
        })
    };
    let line: Value = serde_json::from_str(&last("logs/gate.json")).unwrap();
    [line["traceparent"].as_str().map(str::to_owned), Some(last("logs/trace.log")).filter(|text| text != "-")]
}

fn is_good(traceparent: &str) -> bool {
    let fields: Vec<&str> = traceparent.split('-').collect();
    let digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let lengths: Vec<usize> = fields.iter().map(|field| field.len()).collect();
    lengths == [2, 32, 16, 2] && fields.iter().all(|field| digits(field)) && fields[0] == "00"
}

#[test]
fn a_good_trace_goes_on_as_version_00_writes_it() {
    let server = start("");
    let token = server.token().sign();
    for (at, (field, expected)) in [
        (KEPT, KEPT),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe",
        ),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", KEPT),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", KEPT),
    ]
    .into_iter()
    .enumerate()
    {
        let request = server.get("/").bearer(&token).header("TraceParent", field).header("tracestate", "vendor=1");
        let seen = request.header("TraceState", "other=2").send().seen();
        assert_eq!(
            (seen.header("traceparent"), seen.header("tracestate")),
            (Some(expected), Some("vendor=1, other=2"))
        );
        assert_eq!(logged(&server, at + 1), [Some(expected.to_owned()), Some(expected.to_owned())]);
    }
}

#[test]
fn no_client_takes_the_trace_away() {
    // With and without identity headers.
    let server = start("<Location /told>\nJwtGateForward X-User subject\n</Location>\n");
    let token = server.token().sign();
    for (at, (target, connection)) in [
        ("/", "traceparent, tracestate"),
        ("/", "close, TraceParent"),
        ("/", "keep-alive, \"TraceState\", traceparent;a"),
        ("/told", "close, x-user, traceparent, tracestate"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = server.get(target).bearer(&token).header("Connection", connection);
        let seen = request.header("traceparent", KEPT).header("tracestate", "vendor=1").send().seen();
        let told = (seen.header("traceparent"), seen.header("tracestate"));
        assert_eq!(told, (Some(KEPT), Some("vendor=1")), "{connection}");
        assert_eq!(seen.header("X-User"), (target == "/told").then_some("alice"), "{connection}");
        assert_eq!(logged(&server, at + 1)[0].as_deref(), Some(KEPT));
    }
    let seen = server.get("/").bearer(&token).header("Connection", "x-other, traceparent").header("X-Other", "1");
    let seen = seen.send().seen();
    assert_eq!(seen.header("X-Other"), None, "what is not ours goes as the client said");
    assert_eq!(seen.header("traceparent"), logged(&server, 5)[0].as_deref(), "one that was begun here");
}

#[test]
fn where_there_is_none_or_a_bad_one_a_trace_begins() {
    let server = start("");
    let token = server.token().sign();
    let upper = KEPT.to_uppercase();
    let mut begun = BTreeSet::new();
    for (at, fields) in [
        &[][..],
        &[""],
        &["nonsense"],
        &[upper.as_str()],
        &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
        &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        // Which of two is right cannot be told.
        &[KEPT, KEPT],
    ]
    .into_iter()
    .enumerate()
    {
        let request = server.get("/").bearer(&token).header("tracestate", "vendor=1");
        let request = fields.iter().fold(request, |request, field| request.header("traceparent", field));
        let seen = request.send().seen();
        let traceparent = seen.header("traceparent").unwrap();
        assert!(is_good(traceparent), "{fields:?}: {traceparent}");
        assert_eq!(seen.header("tracestate"), None, "says nothing of a new trace");
        assert_eq!(logged(&server, at + 1), [Some(traceparent.to_owned()), Some(traceparent.to_owned())]);
        begun.insert(traceparent.to_owned());
    }
    assert_eq!(begun.len(), 8, "each is another");
}

#[test]
fn refusals_belong_to_a_trace() {
    let server = start("");
    let answer = server.get("/").header("traceparent", KEPT).send();
    assert_eq!((answer.status, answer.header("traceparent")), (401, None));
    assert_eq!(logged(&server, 1), [Some(KEPT.to_owned()), Some(KEPT.to_owned())]);
    assert_eq!(server.get("/").status(), 401);
    let [log, environment] = logged(&server, 2);
    assert!(is_good(log.as_deref().unwrap()) && log == environment, "{log:?} {environment:?}");
    assert_eq!(server.get("/x/%252e%252e/y").header("traceparent", KEPT).status(), 400);
    assert_eq!(logged(&server, 3), [Some(KEPT.to_owned()), Some(KEPT.to_owned())]);
    assert_eq!(server.app.count(), 0);
}

#[test]
fn all_parts_of_a_client_request_belong_to_one_trace() {
    let server =
        start("RewriteEngine on\nRewriteRule ^/old$ /new [PT]\nErrorDocument 404 /page\nProxyErrorOverride on 404\n");
    let mut answer = server.get("/missing?answer=404").bearer(server.token().sign()).send();
    assert_eq!(std::mem::replace(&mut answer.status, 200), 404);
    let shown = answer.seen();
    let [log, environment] = logged(&server, 1);
    assert_eq!((shown.target.as_str(), shown.header("traceparent")), ("/page", log.as_deref()));
    assert_eq!(environment, log);
    assert_eq!(server.app.count(), 2);
}

#[test]
fn where_it_is_off_nothing_is_touched() {
    let server = start("<Location /off>\nJwtGateTrace off\n</Location>\n<Location /open>\nJwtGate off\n</Location>\n");
    let token = server.token().sign();
    let request = |target: &str| server.get(target).bearer(&token).header("tracestate", "vendor=1");
    for target in ["/off", "/open"] {
        let seen = request(target).header("traceparent", "nonsense").send().seen();
        assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some("nonsense"), Some("vendor=1")));
    }
    let line = await_some("the log", || {
        let text = fs::read_to_string(server.root.join("logs/gate.json")).ok()?;
        serde_json::from_str::<Value>(text.lines().next()?).ok()
    });
    assert_eq!(line.get("traceparent"), None, "{line}");
}
