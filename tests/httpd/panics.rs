//! A panic inside the module ends one request, closed, and nothing else.
//!
//! The module of these tests panics when asked to: `cargo build --features panic-probe`.

use crate::harness::{MAIN, Mpm, Server, Site};

fn start(site: Site) -> Server {
    let mut server = site.panic_probe().children(1).start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
        </Location>"#
    ));
    // What Rust says of a panic, and what the module does.
    for text in ["panicked at", "asked for by the request", "RUST_BACKTRACE", "JG1019"] {
        server.expect_log(text);
    }
    server
}

/// The line that the log must have for a panic in this hook.
fn line(hook: &str) -> String {
    format!("JG1019 internal: {hook} failed: asked for by the request")
}

#[test]
fn a_panic_refuses_its_request_and_the_child_goes_on() {
    for mpm in Mpm::ALL {
        let server = start(Site::new().mpm(mpm));
        let token = server.token().sign();
        let children = server.children();
        let hooks = ["post_read_request", "access_checker", "access_checker_ex", "fixups", "handler"];
        for (done, hook) in hooks.into_iter().enumerate() {
            let answer = server.get("/").bearer(&token).header("X-Panic-In", hook).send();
            assert_eq!(answer.status, 500, "{mpm:?}: {hook}");
            assert_eq!(server.log.count(&line(hook)), 1, "{mpm:?}: {hook}");
            assert_eq!(server.app.count(), done, "{mpm:?}: {hook}");
            assert_eq!(server.get("/").bearer(&token).status(), 200, "{mpm:?}: after {hook}");
        }
        assert_eq!(server.children(), children, "{mpm:?}");
    }
}

#[test]
fn a_panic_beside_an_error_page_leaves_the_error_as_it_is() {
    let server = start(Site::new());
    let children = server.children();
    let answer = server.get("/").header("X-Panic-In", "insert_error_filter").send();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("WWW-Authenticate"), Some(r#"Bearer realm="api""#));
    assert!(answer.text().contains("401"), "{answer:?}");
    assert_eq!(server.log.count(&line("insert_error_filter")), 1);
    assert_eq!(server.get("/").bearer(server.token().sign()).status(), 200);
    assert_eq!((server.children(), server.app.count()), (children, 1));
}

#[test]
fn a_stream_that_panics_leaves_the_others_of_its_connection_alone() {
    let server = start(Site::new());
    let authorization = format!("Bearer {}", server.token().sign());
    let good = vec![("authorization", authorization.as_str())];
    let bad = [good.clone(), vec![("x-panic-in", "access_checker")]].concat();
    let requests = [good.clone(), bad.clone(), good.clone(), bad, good].map(|headers| ("/".to_owned(), headers));
    let statuses: Vec<u16> = server.http2().get_all(&requests).iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 500, 200, 500, 200]);
    assert_eq!(server.app.count(), 3);
}
