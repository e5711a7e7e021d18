//! The harness itself, on a httpd without the gate.

use crate::harness::{Mpm, Site};

const PROXY: &str = "ProxyPass / ${APP}/";

#[test]
fn every_mpm_starts_serves_restarts_and_stops() {
    for mpm in Mpm::ALL {
        let mut server = Site::new().without_gate().mpm(mpm).children(3).start(PROXY);
        let seen = server.get("/a?b").header("X-One", "1").send().seen();
        assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.header("x-one")), ("GET", "/a?b", Some("1")));
        let old = server.children();
        assert_eq!(old.len(), 3, "{mpm:?}");
        server.graceful();
        assert!(server.children().iter().all(|pid| !old.contains(pid)));
        let first = server.children()[0];
        server.kill_child(first);
        assert_eq!(server.get("/").status(), 200);
        assert_eq!(server.app.count(), 2);
        if mpm.has_threads() {
            assert_eq!(server.http2().get("/two", &[("x-two", "2")]).seen().header("X-Two"), Some("2"));
        }
    }
}

#[test]
fn the_audit_reads_the_log_of_this_httpd() {
    let mut server = Site::new().without_gate().start("ProxyPass / http://127.0.0.1:1/");
    assert_eq!(server.log.audit(&[]), Ok(()));
    assert_eq!(server.get("/").status(), 503);
    assert!(server.log.audit(&[]).unwrap_err().contains("not declared"));
    server.expect_log("AH01114");
    server.expect_log("AH00957");
}

#[test]
fn a_mistake_is_found_by_configtest() {
    let check = Site::new().without_gate().configtest("NoSuchDirective on");
    assert!(!check.passed && check.output.contains("NoSuchDirective"), "{}", check.output);
    assert!(Site::new().without_gate().configtest(PROXY).passed);
}
