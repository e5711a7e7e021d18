//! What httpd makes of one request inside: sub-requests, internal redirects, rewrites, error pages.

use crate::harness::{MAIN, Site};

#[test]
fn one_client_request_counts_once_whatever_it_causes_inside() {
    let server = Site::new().load(&["include", "autoindex"]).start(&format!(
        r#"{MAIN}
        ProxyPass /app ${{APP}}/app
        DirectoryIndex first.html second.html
        <Directory "${{ROOT}}/html">
            Options +Includes +Indexes
            AddType text/html .shtml
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateLimit all key=global rate=1/d burst=1000
            JwtGateLimit mine key=subject rate=1/d burst=1000
            ErrorDocument 404 /missing.html
            ErrorDocument 502 /missing.html
        </Location>
        RewriteEngine on
        RewriteRule "^/internal$" "/app/rewritten" [PT]
        RewriteCond "%{{LA-U:REMOTE_USER}}" "^never$"
        RewriteRule "^/look-ahead" "-" [F]
        <Directory "${{ROOT}}/html/again">
            RewriteEngine on
            RewriteRule "^old$" "/again/new.html"
        </Directory>"#
    ));
    for page in ["second.html", "missing.html", "part.html", "again/new.html", "folder/second.html"] {
        server.write(&format!("html/{page}"), page);
    }
    server.write("html/all.shtml", "<!--#include virtual=\"/part.html\" --><!--#include virtual=\"/part.html\" -->");
    let token = server.token().sign();
    let get = |target: &str| server.get(target).bearer(&token).send();
    let (mut left, mut faults) = (1000, Vec::new());
    for (target, status, text) in [
        ("/app/plain", 200, "/app/plain"),
        ("/second.html", 200, "second.html"),
        ("/", 200, "second.html"),
        ("/folder/", 200, "folder/second.html"),
        ("/internal", 200, "/app/rewritten"),
        ("/look-ahead", 404, "missing.html"),
        ("/not/there", 404, "missing.html"),
        ("/again/old", 200, "again/new.html"),
        ("/all.shtml", 200, "part.htmlpart.html"),
    ] {
        let answer = get(target);
        left -= 1;
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.text().contains(text), "{target}: {}", answer.text());
        let limits = answer.header("RateLimit").unwrap_or("no RateLimit");
        if !["all", "mine"].iter().all(|name| limits.contains(&format!(r#""{name}";r={left};"#))) {
            faults.push(format!("{target}: {limits}, not {left}"));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn a_sub_request_into_another_policy_is_judged_by_it() {
    let mut server = Site::new().load(&["include"]).start(&format!(
        r#"{MAIN}
        JwtGateIssuer other https://other.test audience=api jwks=file:keys/all.jwks
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateIssuers main
        </Location>
        <Location "/public">
            JwtGate off
        </Location>
        <Location "/others">
            JwtGateIssuers other
        </Location>"#
    ));
    server.write("html/public/page.shtml", "[<!--#include virtual=\"/secret.html\" -->]");
    server.write("html/page.shtml", "[<!--#include virtual=\"/others/secret.html\" -->]");
    server.write("html/secret.html", "the secret");
    server.write("html/others/secret.html", "the secret");
    server.expect_log("unable to include");
    assert_eq!(server.get("/secret.html").bearer(server.token().sign()).send().text(), "the secret");
    let public = server.get("/public/page.shtml").send();
    assert!(public.status == 200 && !public.text().contains("the secret"), "{}", public.text());
    let page = server.get("/page.shtml").bearer(server.token().sign()).send();
    assert!(page.status == 200 && !page.text().contains("the secret"), "{}", page.text());
}

#[test]
fn an_identity_is_told_only_where_the_policy_of_a_sub_request_tells_it() {
    let server = Site::new().load(&["include"]).start(&format!(
        r#"{MAIN}
        ProxyPass /app ${{APP}}/app
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateForward X-User subject
        </Location>
        <Location "/app/open">
            JwtGate off
        </Location>
        <Location "/app/untold">
            JwtGateForward none
        </Location>"#
    ));
    let token = server.token().claim("sub", "alice-in-a-header").sign();
    for (target, told) in [("/app/told", true), ("/app/open", false), ("/app/untold", false)] {
        server.write("html/page.shtml", format!("<!--#include virtual=\"{target}\" -->"));
        let text = server.get("/page.shtml").bearer(&token).header("X-User", "eve").send().text();
        assert!(text.contains(target) && !text.contains("eve"), "{text}");
        assert_eq!(text.contains("alice-in-a-header"), told, "{text}");
    }
}

#[test]
fn a_token_for_both_passes_from_one_issuer_of_a_name_to_another() {
    let server = Site::new().start(
        r#"
        JwtGateIssuer a https://issuer.test audience=a jwks=file:keys/all.jwks
        JwtGateIssuer b https://issuer.test audience=b jwks=file:keys/all.jwks
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
            JwtGateForward X-Issuer issuer
        </Location>"#,
    );
    server.write("html/old/other", "");
    let get = |audience: &[&str]| server.get("/old/x").bearer(server.token().claim("aud", audience).sign());
    assert_eq!(get(&["a", "b"]).send().seen().header("X-Issuer"), Some("b"));
    server.refused(&get(&["a"]), 401, "audience-mismatch");
    server.refused(&get(&["b"]), 401, "audience-mismatch");
    assert_eq!(server.app.count(), 1);
}

#[test]
fn hundreds_of_refused_sub_requests_add_nothing_to_the_answer() {
    let server = Site::new().load(&["autoindex"]).start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            Options +Indexes
            IndexOptions ShowForbidden
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateLimit all key=global rate=1/d burst=10
        </Location>
        <LocationMatch "^/limited/file">
            JwtGateLimit files key=global rate=1/d burst=1
        </LocationMatch>
        <LocationMatch "^/gated/file">
            JwtGateToken required
            JwtGateLimit files key=global rate=1/d burst=1
        </LocationMatch>"#
    ));
    for n in 0..200 {
        server.write(&format!("html/limited/file-{n}"), "");
        server.write(&format!("html/gated/file-{n}"), "");
    }
    // The first list takes the one request that there is for files, for all of them; those of the others are refused
    // (and for httpd only 401 and 403 are ShowForbidden).
    for (left, target, shown) in [(9, "/gated/", true), (8, "/limited/", false), (7, "/limited/", false)] {
        let answer = server.get(target).send();
        assert_eq!((answer.status, answer.text().contains("file-199")), (200, shown), "{target}: {}", answer.text());
        assert!(answer.header("RateLimit").unwrap().contains(&format!(r#""all";r={left};"#)), "{answer:?}");
        for (field, limit) in [("RateLimit", "\"all\""), ("RateLimit-Policy", "\"all\""), ("RateLimit", "\"files\"")] {
            assert_eq!(answer.header(field).unwrap().matches(limit).count(), 1, "{answer:?}");
        }
        for absent in ["Retry-After", "Cache-Control", "WWW-Authenticate"] {
            assert_eq!(answer.header(absent), None, "{target}");
        }
    }
    assert_eq!((server.log.count("token-missing"), server.log.count("rate-limited")), (200, 400));
}

#[test]
fn a_refusal_that_httpd_passes_on_is_as_complete_as_its_own() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html/fallback">
            FallbackResource /pages/limited
        </Directory>
        <Directory "${{ROOT}}/html/fallback-401">
            FallbackResource /pages/gated
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateToken optional
        </Location>
        <LocationMatch "/limited$">
            JwtGateLimit few key=address rate=1/d burst=1
        </LocationMatch>
        <LocationMatch "/gated$">
            JwtGateToken required
            JwtGateRealm inner
        </LocationMatch>
        <LocationMatch "^/(index|documented)/limits">
            DirectoryIndex limited
        </LocationMatch>
        <LocationMatch "^/(index|documented)/tokens">
            DirectoryIndex gated
        </LocationMatch>
        <Location "/documented">
            ErrorDocument 401 /pages/error
            ErrorDocument 429 /pages/error
        </Location>"#
    ));
    for page in ["limited", "gated", "error"] {
        server.write(&format!("html/pages/{page}"), page);
    }
    for file in ["fallback", "fallback-401", "index/limits", "documented/limits", "index/tokens", "documented/tokens"] {
        server.write(&format!("html/{file}/other"), "");
    }
    for folder in ["index", "documented"] {
        server.write(&format!("html/{folder}/limits/limited"), "limited");
        server.write(&format!("html/{folder}/tokens/gated"), "gated");
    }
    for (n, target) in ["/index/limits/", "/documented/limits/", "/fallback/absent"].into_iter().enumerate() {
        // Each from a client of its own.
        let request = server.get(target).from(&format!("127.0.0.{}", n + 2));
        let text = request.send().text();
        assert_eq!(text, "limited", "{target}");
        let answer = request.send();
        assert_eq!((answer.status, answer.header("Cache-Control")), (429, Some("no-store")), "{target}: {answer:?}");
        let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!((86_000..=86_400).contains(&wait), "{wait}");
        assert!(answer.header("RateLimit").unwrap().starts_with(r#""few";r=0;"#), "{answer:?}");
        assert_eq!(answer.header("WWW-Authenticate"), None);
        if target.starts_with("/documented") {
            assert_eq!(answer.text(), "error");
        } else {
            assert_eq!(answer.json()["status"], 429);
        }
    }
    for target in ["/index/tokens/", "/documented/tokens/", "/fallback-401/absent"] {
        let answer = server.refused(&server.get(target), 401, "token-missing");
        assert_eq!(answer.header("WWW-Authenticate"), Some(r#"Bearer realm="inner""#), "{target}");
        assert_eq!(
            (answer.header("Cache-Control"), answer.header("Retry-After")),
            (Some("no-store"), None),
            "{target}"
        );
        if target.starts_with("/documented") {
            assert_eq!(answer.text(), "error");
        } else {
            assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{target}");
        }
        assert_eq!(server.get(target).bearer(server.token().sign()).send().text(), "gated", "{target}");
    }
}

#[test]
fn a_limit_of_several_sub_requests_is_named_once() {
    let server = Site::new().start(
        r#"DirectoryIndex few more
        <Location "/">
            JwtGate on
            JwtGateToken none
        </Location>
        <LocationMatch "^/pages/(few|more)">
            JwtGateLimit pages key=global rate=1/d burst=10
        </LocationMatch>
        <Location "/pages/few">
            JwtGateLimit few key=global rate=1/d burst=1
        </Location>"#,
    );
    server.write("html/pages/few", "few");
    server.write("html/pages/more", "more");
    assert_eq!(server.get("/pages/few").status(), 200);
    // The first page is refused by one of its limits, then httpd tries the second one.
    let answer = server.get("/pages/").send();
    assert_eq!(answer.text(), "more");
    for name in ["\"few\";", "\"pages\";"] {
        for field in ["RateLimit", "RateLimit-Policy"] {
            assert_eq!(answer.header(field).map(|value| value.matches(name).count()), Some(1), "{answer:?}");
        }
    }
    // As it stands after the page that was let in: two of ten are used.
    assert!(answer.header("RateLimit").is_some_and(|value| value.contains("\"pages\";r=8;")), "{answer:?}");
}
