//! `JwtGateForwardCredentials off`: the credential is nowhere in what those behind the gate are told, and not in the log.

use std::fs;

use crate::harness::{Backend, MAIN, Mpm, Request, Server, Site, await_some};

/// The same token in each place where it may be, with a query of the client's own around it.
fn each_way(server: &Server, target: &str, token: &str) -> [Request; 3] {
    [
        server.get(&format!("{target}?a=1&b=2")).bearer(token),
        server.get(&format!("{target}?a=1&b=2")).header("Cookie", format!("a=1; session={token}; b=2")),
        server.get(&format!("{target}?a=1&access_token={token}&b=2")),
    ]
}

const GATE: &str = r#"
    <Location "/">
        JwtGate on
        JwtGateCredentials bearer cookie:session query:access_token
    </Location>
    <Location "/app">
        JwtGateForwardCredentials off
    </Location>
"#;

#[test]
fn internal_redirects_and_sub_requests_withhold_it_too() {
    let server = Site::new().load(&["include"]).start(&format!(
        r#"{MAIN}{GATE}
        ProxyPass /app ${{APP}}/app
        ProxyPass /told ${{APP}}/told
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Directory "${{ROOT}}/html/rewritten">
            RewriteEngine on
            RewriteRule "^old" "/app/rewritten"
            RewriteRule "^told" "/told/rewritten"
        </Directory>
        <Directory "${{ROOT}}/html/index">
            DirectoryIndex /app/index
        </Directory>
        <Directory "${{ROOT}}/html/fallback">
            FallbackResource /app/fallback
        </Directory>"#
    ));
    for file in ["rewritten/other", "index/other", "fallback/other"] {
        server.write(&format!("html/{file}"), "");
    }
    server.write("html/page.shtml", "<!--#include virtual=\"/app/part?$QUERY_STRING\" -->");
    let token = server.token().sign();
    for (target, behind) in [
        ("/rewritten/old", "/app/rewritten"),
        ("/index/", "/app/index"),
        ("/fallback/absent", "/app/fallback"),
        ("/page.shtml", "/app/part"),
    ] {
        for request in each_way(&server, target, &token) {
            let text = request.send().text();
            assert!(text.contains(behind) && !text.contains(&token), "{request:?}\n{text}");
        }
    }
    for request in each_way(&server, "/rewritten/told", &token) {
        assert!(request.send().text().contains(&token), "{request:?}");
    }
}

#[test]
fn no_way_to_forward_tells_the_query() {
    let fastcgi = Backend::fastcgi();
    let fastcgi = fastcgi.url();
    let server = Site::new().load(&["proxy_fcgi"]).start(&format!(
        r#"{MAIN}{GATE}
        RewriteEngine on
        RewriteRule "^/app/query-added/(.*)$" "/app/query-added/$1?x=1" [QSA,PT]
        RewriteRule "^/app/rewritten/(.*)$" "${{APP}}/app/rewritten/$1" [P]
        ProxyPass /app/nocanon ${{APP}}/app/nocanon nocanon
        ProxyPass /app/query-added ${{APP}}/app/query-added nocanon
        ProxyPass /app/encoded ${{APP}}/app/encoded mapping=encoded
        ProxyPassMatch "^/app/match/(.*)$" "${{APP}}/app/match/$1"
        ProxyPass /app/plain ${{APP}}/app/plain
        ProxyPass /app/fastcgi {fastcgi}/app
        <Location "/app/handler">
            SetHandler "proxy:${{APP}}/"
        </Location>"#
    ));
    let token = server.token().sign();
    let ways = ["plain", "nocanon", "query-added", "encoded", "match", "rewritten", "handler", "fastcgi"];
    for way in ways {
        for target in [format!("/app/{way}/x"), format!("/app/{way}/%7Ex")] {
            let answer = server.get(&format!("{target}?a=1&access_token={token}&b=2")).send();
            let text = answer.text();
            assert_eq!(answer.status, 200, "{target}: {text}");
            assert!(text.contains("a=1&b=2") && !text.contains(&token), "{target}: {text}");
        }
    }
    let seen = server.get(&format!("/app/fastcgi/x?access_token={token}&b=2")).send().seen();
    assert_eq!(seen.target, "/app/fastcgi/x?b=2");
    let log = await_some("the log of all requests", || {
        let log = fs::read_to_string(server.root.join("logs/access.log")).ok()?;
        (log.lines().count() == 2 * ways.len() + 1).then_some(log)
    });
    assert!(log.contains("?a=1&b=2 HTTP/1.1") && !log.contains(&token), "{log}");
    assert!(!server.log.text().contains(&token));
}

#[test]
fn a_cgi_program_does_not_find_it_in_its_environment() {
    let server = Site::new().mpm(Mpm::Prefork).load(&["cgi"]).start(&format!(
        r#"{MAIN}{GATE}
        ScriptAlias /app "${{ROOT}}/html/cgi""#
    ));
    server.write("html/cgi/environment", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n");
    server.chmod("html/cgi/environment", 0o755);
    let token = server.token().sign();
    for request in each_way(&server, "/app/environment", &token) {
        let text = request.send().text();
        assert!(text.contains("REQUEST_URI=/app/environment?a=1&b=2\n"), "{text}");
        assert!(text.contains("QUERY_STRING=a=1&b=2\n") && !text.contains(&token), "{text}");
    }
}
