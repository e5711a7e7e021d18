//! Restarts and bad files: no request is lost, nothing leaks, nothing opens, the server never ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::config::Gate;
use crate::harness::server::resources_of;
use crate::harness::{MAIN, Mpm, Server, Site};

const PROTECTED: &str = r#"
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateLimit all key=global rate=1000000/s
    </Location>
"#;

#[test]
fn graceful_restarts_under_load_lose_no_request() {
    for mpm in Mpm::ALL {
        let mut server = Site::new().mpm(mpm).start(&format!("{MAIN}{PROTECTED}"));
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let request = server.get("/").bearer(server.token().sign());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(request.status(), 200);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..5 {
                let before = sent.load(Ordering::Relaxed);
                server.graceful();
                crate::harness::await_true("some load", || sent.load(Ordering::Relaxed) > before + 20);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(server.app.count(), sent.into_inner(), "{mpm:?}");
    }
}

#[test]
fn a_request_under_way_is_finished_by_the_old_generation() {
    let mut server = Site::new().start(&format!("{MAIN}{PROTECTED}"));
    let mut connection = server.connect();
    connection.send(server.get("/hold").bearer(server.token().sign()).bytes());
    crate::harness::await_true("the application to have it", || server.app.count() == 1);
    server.restart_gracefully();
    server.app.release();
    connection.answer().seen();
    assert_eq!(server.get("/").bearer(server.token().sign()).status(), 200);
}

/// Loads a copy of the module from the ServerRoot.
fn loaded_from(site: &Site, name: &str) -> String {
    let (module, copy) = (Gate::UnderTest.file().unwrap(), site.root.join(name));
    // By a new file, as packages do: one that is mapped is not written to.
    std::fs::copy(module, site.root.join("new.so")).unwrap();
    std::fs::rename(site.root.join("new.so"), copy).unwrap();
    format!("LoadModule jwt_gate_module {name}\nJwtGateStateDir state\n{MAIN}{PROTECTED}")
}

#[test]
fn another_path_of_the_module_is_another_module() {
    let site = Site::new().without_gate();
    let few = "<Location /few>\nJwtGateLimit few key=global rate=1/d burst=3\n</Location>\n";
    let versions = ["one.so", "two.so"].map(|name| format!("{}{few}", loaded_from(&site, name)));
    let mut server = site.start(&versions[0]);
    assert_eq!(server.get("/few").bearer(server.token().sign()).status(), 200);
    for version in [&versions[1], &versions[0]] {
        server.graceful_with(version);
        assert_eq!(server.get("/few").bearer(server.token().sign()).status(), 200);
        server.refused(&server.get("/"), 401, "token-missing");
    }
    server.refused(&server.get("/few").bearer(server.token().sign()), 429, "rate-limited");
    assert_eq!(server.log.count("JG2004"), 0);
}

#[test]
fn a_replaced_module_is_told_of() {
    let site = Site::new().without_gate();
    let directives = loaded_from(&site, "gate.so");
    let mut server = site.start(&directives);
    server.graceful();
    assert_eq!(server.log.count("JG2214"), 0);
    loaded_from(&server, "gate.so");
    server.expect_log("gate.so has been replaced or removed, and the server goes on with what it has loaded");
    server.graceful();
    assert_eq!(server.log.count("JG2214"), 1);
    assert_eq!(server.get("/").bearer(server.token().sign()).status(), 200);
}

#[test]
fn twenty_graceful_restarts_leave_no_files_and_maps_behind() {
    let quota = PROTECTED.replace("rate=1000000/s", "rate=1000000/s quota=1000000/month");
    let same = [format!("{MAIN}{quota}")];
    // Each of these has a new file of quotas, and new segments.
    let other = ["256K", "512K"].map(|size| format!("JwtGateSharedMemory {size}\n{}", same[0]));
    for directives in [&same[..], &other[..]] {
        let mut server = Site::new().children(1).start(&directives[0]);
        let request = server.get("/").bearer(server.token().sign());
        let mut measure = |restarts| {
            for number in 0..restarts {
                server.configure(&directives[number % directives.len()]);
                server.restart_gracefully();
            }
            server.graceful();
            assert_eq!(request.status(), 200);
            (resources_of(server.pid()), resources_of(server.children()[0]))
        };
        let (parent, child) = measure(4);
        let (later_parent, later_child) = measure(20);
        for (before, after) in [(parent, later_parent), (child, later_child)] {
            // A connection may just be closing, the allocator may have mapped a little more; twenty of anything would
            // show.
            assert!(after.0 < before.0 + 10, "open files: {before:?} then {after:?}");
            assert!(after.1 < before.1 + 10, "memory maps: {before:?} then {after:?}");
        }
        let folder = std::fs::read_dir(server.root.join("state")).unwrap();
        assert_eq!(folder.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["quotas.table"]);
    }
}

#[test]
fn a_new_configuration_applies_after_a_graceful_restart() {
    let mut server = Site::new().start(&format!("{MAIN}{PROTECTED}"));
    assert_eq!(server.get("/").status(), 401);
    server.graceful_with(&format!("{MAIN}{}", PROTECTED.replace("JwtGate on", "JwtGate off")));
    assert_eq!(server.get("/").status(), 200);
    server.graceful_with(&format!("{MAIN}{PROTECTED}"));
    assert_eq!(server.get("/").status(), 401);
    let other = Site::new().keys.es256.pem();
    server.write("keys/other.pem", other);
    server
        .graceful_with(&format!("JwtGateIssuer main https://issuer.test audience=api pem=keys/other.pem\n{PROTECTED}"));
    server.refused(&server.get("/").bearer(server.token().sign()), 401, "signature-invalid");
}

#[test]
fn a_bad_key_file_at_a_restart_leaves_the_last_good_keys_in_use() {
    let mut server = Site::new().start(&format!(
        "{MAIN}JwtGateIssuer healthy https://healthy.test audience=api jwks=file:keys/es384.jwks\n{PROTECTED}"
    ));
    let good = std::fs::read(server.root.join("keys/all.jwks")).unwrap();
    let valid = server.get("/").bearer(server.token().sign());
    let healthy = crate::harness::Token::new(&server.keys.es384).claim("iss", "https://healthy.test").sign();
    let healthy = server.get("/").bearer(healthy);
    let forged = server.get("/").bearer(server.token().forge());
    server.expect_log("all.jwks");
    for bad in ["", "{", "{\"keys\":[]}", "\0\0\0\0", "{\"keys\":[{\"kty\":\"RSA\"}]}"] {
        server.write("keys/all.jwks", bad);
        server.graceful();
        assert_eq!(valid.status(), 200, "the last good keys stay in use: {bad:?}");
        assert_eq!(healthy.status(), 200, "{bad:?}");
        assert_ne!(forged.status(), 200, "{bad:?}");
        assert_eq!(server.get("/").status(), 401, "{bad:?}");
    }
    std::fs::remove_file(server.root.join("keys/all.jwks")).unwrap();
    server.graceful();
    assert_eq!(valid.status(), 200, "the last good keys stay in use");
    server.write("keys/all.jwks", good);
    server.graceful();
    assert_eq!(valid.status(), 200);
}

#[test]
fn a_bad_file_at_the_first_start_closes_its_issuer_only() {
    let site = Site::new();
    site.write("keys/broken.jwks", "{\"keys\":");
    site.write("keys/short.secret", "short");
    site.chmod("keys/short.secret", 0o600);
    let mut server = site.start(&format!(
        "{MAIN}{PROTECTED}
        JwtGateIssuer broken https://broken.test audience=api jwks=file:keys/broken.jwks
        JwtGateIssuer absent https://absent.test audience=api pem=keys/absent.pem
        JwtGateIssuer short https://short.test audience=api secret=keys/short.secret"
    ));
    let by = |server: &Server, issuer: &str| server.get("/").bearer(server.token().claim("iss", issuer).sign());
    for file in ["broken.jwks", "absent.pem", "short.secret"] {
        server.expect_log(file);
    }
    server.refused(&by(&server, "https://broken.test"), 503, "keys-unavailable");
    server.refused(&by(&server, "https://absent.test"), 503, "keys-unavailable");
    assert_eq!(by(&server, "https://issuer.test").status(), 200);
}

#[test]
fn a_bad_network_file_at_a_restart_leaves_the_last_good_list_in_use() {
    let site = Site::new();
    site.write("conf/banned.txt", "127.0.0.66\n");
    site.write("conf/friends.txt", "127.0.0.0/24\n");
    let mut server = site.start(
        r#"ProxyPass / ${APP}/
        JwtGateNetwork banned file=conf/banned.txt
        JwtGateNetwork friends file=conf/friends.txt
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateDeny @banned
            JwtGateAllow @friends
        </Location>"#,
    );
    let from = |server: &Server, from: &str| server.get("/").from(from).status();
    assert_eq!([from(&server, "127.0.0.1"), from(&server, "127.0.0.66"), from(&server, "127.0.1.1")], [200, 403, 403]);
    server.expect_log("banned.txt");
    server.expect_log("friends.txt");
    for bad in ["", "127.0.0.66 and others\n", "# nobody\n"] {
        server.write("conf/banned.txt", bad);
        server.write("conf/friends.txt", bad);
        server.graceful();
        let answers = ["127.0.0.1", "127.0.0.66", "127.0.1.1"].map(|client| from(&server, client));
        assert_eq!(answers, [200, 403, 403], "the last good lists stay in use: {bad:?}");
    }
    std::fs::remove_file(server.root.join("conf/banned.txt")).unwrap();
    server.graceful();
    assert_eq!([from(&server, "127.0.0.1"), from(&server, "127.0.0.66")], [200, 403]);
    server.write("conf/banned.txt", "127.0.0.77\n");
    server.write("conf/friends.txt", "127.0.0.0/16\n");
    server.graceful();
    assert_eq!([from(&server, "127.0.0.66"), from(&server, "127.0.0.77"), from(&server, "127.0.1.1")], [200, 403, 200]);
}
