//! Ways around the gate that httpd offers, and that none of them is one.

use crate::harness::{MAIN, Site};

#[test]
fn a_rewrite_to_the_proxy_keeps_the_policy_of_what_was_asked_for() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        RewriteEngine on
        RewriteRule "^/secret/at-server" "${{APP}}/public/a" [P]
        RewriteRule "^/open/at-server" "${{APP}}/secret/b" [P]
        RewriteRule "^/secret/inside" "/public/c" [PT]
        ProxyPass /public ${{APP}}/public
        <Location "/secret">
            JwtGate on
        </Location>
        <Location "/secret/at-location">
            RewriteEngine on
            RewriteRule "^" "${{APP}}/public/d" [P]
        </Location>
        <Location "/secret/by-handler">
            SetHandler "proxy:${{APP}}/"
        </Location>
        <Directory "${{ROOT}}/html/files">
            RewriteEngine on
            RewriteRule "^to-secret" "/secret/at-location" [PT]
            RewriteRule "^to-proxy" "${{APP}}/public/e" [P]
        </Directory>"#
    ));
    server.write("html/files/x", "");
    for gated in ["/secret/at-server", "/secret/at-location", "/secret/by-handler", "/files/to-secret"] {
        server.refused(&server.get(gated), 401, "token-missing");
        assert_eq!(server.get(gated).bearer(server.token().sign()).status(), 200, "{gated}");
    }
    for open in ["/open/at-server", "/public", "/files/to-proxy"] {
        assert_eq!(server.get(open).status(), 200, "{open}");
    }
    assert_eq!(server.app.count(), 7);
}

#[test]
fn every_spelling_of_a_gated_path_is_gated() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/secret">
            JwtGate on
        </Location>"#
    ));
    for target in [
        "/secret",
        "/secret/",
        "/secret/x",
        "//secret",
        "/%73ecret",
        "/./secret",
        "/x/../secret",
        "/x/%2e%2e/secret",
        "/secret?x",
        "/%2e/secret",
        "/secret//x",
        "/x//../secret",
        "http://gate.test/secret",
        "http://other.test/secret",
    ] {
        let answer = server.get(target).send();
        assert!(matches!(answer.status, 400 | 401), "{target}: {answer:?}");
    }
    assert_eq!(server.app.count(), 0);
    assert_eq!(server.get("/secrets").status(), 200);
}

#[test]
fn every_method_is_gated() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        TraceEnable on
        <Location "/">
            JwtGate on
        </Location>"#
    ));
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "INVENTED"] {
        server.refused(&server.request(method, "/"), 401, "token-missing");
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn a_proxy_section_carries_a_policy() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Proxy "${{APP}}/a*">
            JwtGate on
        </Proxy>"#
    ));
    server.refused(&server.get("/a"), 401, "token-missing");
    assert_eq!(server.get("/a").bearer(server.token().sign()).status(), 200);
    assert_eq!(server.get("/b").status(), 200);
}

#[test]
fn an_if_section_carries_a_policy() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <If "%{{QUERY_STRING}} =~ /protect/">
            JwtGate on
        </If>"#
    ));
    server.refused(&server.get("/?protect"), 401, "token-missing");
    assert_eq!(server.get("/?protect").bearer(server.token().sign()).status(), 200);
    assert_eq!(server.get("/").status(), 200);
}

#[test]
fn an_if_section_inside_a_location_carries_a_policy() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
        </Location>
        <Location "/health">
            <If "%{{REQUEST_METHOD}} == 'GET'">
                JwtGateToken none
            </If>
            <Else>
                JwtGateDeny 127.0.0.2
            </Else>
        </Location>
        <If "%{{QUERY_STRING}} == 'stop'">
            JwtGateDeny 0.0.0.0/0
        </If>"#
    ));
    assert_eq!(server.get("/health").status(), 200);
    server.refused(&server.get("/other"), 401, "token-missing");
    let post = || server.request("POST", "/health");
    server.refused(&post(), 401, "token-missing");
    assert_eq!(post().bearer(server.token().sign()).status(), 200);
    server.refused(&post().bearer(server.token().sign()).from("127.0.0.2"), 403, "address-denied");
    for target in ["/health?stop", "/other?stop"] {
        server.refused(&server.get(target).bearer(server.token().sign()), 403, "address-denied");
    }
    assert_eq!(server.app.count(), 2);
}

#[test]
fn satisfy_any_met_at_run_time_is_refused() {
    let mut server = Site::new().load(&["access_compat"]).start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            AllowOverride AuthConfig
            Require all granted
        </Directory>
        <Location "/">
            JwtGate on
        </Location>"#
    ));
    server.write("html/any/file", "the secret");
    server.write("html/any/.htaccess", "Satisfy Any\nRequire all granted\n");
    server.expect_log("Satisfy");
    for request in [server.get("/any/file"), server.get("/any/file").bearer(server.token().sign())] {
        let answer = request.send();
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(!answer.text().contains("the secret"));
    }
    assert_eq!(server.get("/index.html").bearer(server.token().sign()).send().text(), "static page");
}

#[test]
fn htaccess_has_no_say() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            AllowOverride All
        </Directory>
        <Location "/">
            JwtGate on
        </Location>"#
    ));
    server.expect_log("not allowed here");
    for directive in
        ["JwtGate off", "JwtGateToken none", "JwtGateAllow none", "JwtGateLimit none", "JwtGateIssuers main"]
    {
        server.write("html/folder/file", "the secret");
        server.write("html/folder/.htaccess", directive);
        assert_eq!(server.get("/folder/file").bearer(server.token().sign()).status(), 500, "{directive}");
    }
}

#[test]
fn htaccess_has_no_say_even_where_the_administrator_lists_the_directives() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            AllowOverride None
            AllowOverrideList JwtGate JwtGateToken JwtGateAllow JwtGateLimit JwtGateIssuers JwtGateLockout Options
        </Directory>
        <Location "/gated">
            JwtGate on
        </Location>"#
    ));
    server.expect_log("cannot occur within htaccess files");
    for folder in ["gated", "open"] {
        server.write(&format!("html/{folder}/file"), "the secret");
        for directive in [
            "JwtGate off",
            "JwtGate on",
            "JwtGate dry-run",
            "JwtGateLockout off",
            "JwtGateToken none",
            "JwtGateAllow none",
            "JwtGateLimit none",
            "JwtGateIssuers main",
        ] {
            server.write(&format!("html/{folder}/.htaccess"), directive);
            let name = directive.split(' ').next().unwrap();
            let said = format!("{name} cannot occur within");
            let before = server.log.count(&said);
            for request in [server.get(&format!("/{folder}/file")), server.get(&format!("/{folder}/"))] {
                let answer = request.bearer(server.token().sign()).send();
                assert!(answer.status == 500 && !answer.text().contains("the secret"), "{directive}: {answer:?}");
            }
            assert_eq!(server.log.count(&said), before + 2, "{directive}");
        }
        // Other directives may be there.
        server.write(&format!("html/{folder}/.htaccess"), "Options -Indexes");
        let answer = server.get(&format!("/{folder}/file")).bearer(server.token().sign()).send();
        assert_eq!(answer.text(), "the secret");
    }
}

#[test]
fn require_of_httpd_still_holds_beside_the_gate() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
        </Location>
        <Location "/denied">
            Require all denied
        </Location>
        <Location "/near">
            Require ip 127.0.0.1
        </Location>"#
    ));
    let get = |target: &str| server.get(target).bearer(server.token().sign());
    assert_eq!(get("/near").status(), 200);
    server.expect_log("AH01630");
    let get = |target: &str| server.get(target).bearer(server.token().sign());
    let refused = [get("/near").from("127.0.0.2").status(), get("/denied").status()];
    assert_eq!(refused, [403, 403]);
    assert_eq!(server.get("/near").status(), 401);
    assert_eq!(server.app.count(), 1);
}

#[test]
fn every_way_to_forward_is_gated_and_tells_who_asks() {
    let modules = ["proxy_balancer", "slotmem_shm", "lbmethod_byrequests", "proxy_wstunnel"];
    let server = Site::new().load(&modules).start(&format!(
        r#"{MAIN}
        ProxyPass /tunnel ${{APP}}/tunnel upgrade=websocket
        <Proxy "balancer://pool">
            BalancerMember "${{APP}}"
        </Proxy>
        <Location "/">
            JwtGate on
            JwtGateForward X-User subject
        </Location>
        <Location "/in-location">
            ProxyPass ${{APP}}/
        </Location>
        ProxyPassMatch "^/match/(.*)$" "${{APP}}/$1"
        ProxyPass /balanced balancer://pool/
        <Directory "${{ROOT}}/html/handler">
            SetHandler "proxy:${{APP}}/"
        </Directory>
        <Directory "${{ROOT}}/html/rewritten">
            RewriteEngine on
            RewriteRule "^" "${{APP}}/" [P]
        </Directory>
        <Directory "${{ROOT}}/html/fallback">
            FallbackResource /balanced/fallback
        </Directory>"#
    ));
    for file in ["handler/file", "rewritten/file", "fallback/other"] {
        server.write(&format!("html/{file}"), "");
    }
    let targets =
        ["/in-location", "/match/x", "/balanced", "/tunnel", "/handler/file", "/rewritten/file", "/fallback/file"];
    for (n, target) in targets.iter().enumerate() {
        let upgrade = server.get(target).header("Connection", "Upgrade, X-User").header("Upgrade", "websocket");
        for anonymous in [server.get(target), upgrade.clone()] {
            server.refused(&anonymous.header("X-User", "eve"), 401, "token-missing");
        }
        assert_eq!(server.app.count(), 2 * n, "{target}");
        for request in [server.get(target), upgrade] {
            let seen = request.bearer(server.token().sign()).header("x_user", "eve").send().seen();
            let users: Vec<_> =
                seen.headers.iter().filter(|header| header.0.to_lowercase().ends_with("user")).collect();
            assert_eq!(users, [&("X-User".to_owned(), "alice".to_owned())], "{target}");
        }
    }
}
