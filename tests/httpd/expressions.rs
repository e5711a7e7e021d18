//! `jwt(NAME)` and `jwt_list(NAME)` in httpd's expressions.

use serde_json::json;

use crate::harness::{MAIN, Site};

#[test]
fn claims_are_there_in_whatever_is_evaluated_behind_the_check() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass /app ${{APP}}/app
        LogFormat "%U %{{ROLE}}e" role
        CustomLog logs/roles.log role
        <Location "/">
            JwtGate on
            JwtGateToken optional
            Header set X-Answer "expr=%{{jwt:role}}"
            Header set X-Admin yes "expr=jwt('role') == 'admin'"
            RequestHeader set X-Role "expr=%{{jwt:role}}"
            RequestHeader set X-Both "expr=%{{toupper:%{{jwt:role}}}}"
            JwtGateForward X-Forwarded-Role "expr=role %{{jwt:role}}"
        </Location>
        <Location "/app/list">
            Require expr "'staff' -in jwt_list('groups')"
        </Location>
        <Location "/app/number">
            Require expr "jwt('level') -ge 5 && jwt('nested.x') == 'y' && JWT('active') == 'true'"
        </Location>
        <Directory "${{ROOT}}/html">
            RewriteEngine on
            RewriteCond expr "jwt('role') =~ /^(.+)$/"
            RewriteRule ^ - [E=ROLE:%1]
        </Directory>"#
    ));
    server.expect_log("AH01630");
    let admin = server.token().claim("role", "admin").sign();
    let answer = server.get("/app").bearer(&admin).send();
    assert_eq!((answer.header("X-Answer"), answer.header("X-Admin")), (Some("admin"), Some("yes")));
    let seen = answer.seen();
    assert_eq!(seen.header("X-Role"), Some("admin"));
    assert_eq!(seen.header("X-Forwarded-Role"), Some("role admin"));
    assert_eq!(server.get("/index.html").bearer(&admin).send().text(), "static page");
    crate::harness::await_true("the role in the log", || {
        let text = std::fs::read_to_string(server.root.join("logs/roles.log")).unwrap_or_default();
        text.lines().any(|line| line == "/index.html admin")
    });
    let anonymous = server.get("/app").send();
    assert_eq!((anonymous.header("X-Answer").unwrap_or(""), anonymous.header("X-Admin")), ("", None));
    for (path, claims, status) in [
        ("/app/list", json!({"groups": ["night", "staff"]}), 200),
        ("/app/list", json!({"groups": "staff"}), 200),
        ("/app/list", json!({"groups": ["night,staff", "staffs"]}), 403),
        ("/app/list", json!({"groups": []}), 403),
        ("/app/list", json!({"groups": ["staff\u{0}"]}), 403),
        ("/app/list", json!({}), 403),
        ("/app/number", json!({"level": 5, "nested": {"x": "y"}, "active": true}), 200),
        ("/app/number", json!({"level": 4, "nested": {"x": "y"}, "active": true}), 403),
        ("/app/number", json!({"level": 5, "nested": {"x": "y"}, "active": null}), 403),
    ] {
        let mut token = server.token();
        for (name, value) in claims.as_object().unwrap() {
            token = token.claim(name, value.clone());
        }
        assert_eq!(server.get(path).bearer(token.sign()).status(), status, "{path} {claims}");
    }
    assert_eq!(server.get("/app/list").status(), 403);
}

#[test]
fn claims_are_empty_before_the_check_and_where_the_gate_is_off() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass /app ${{APP}}/app
        RewriteEngine on
        RewriteCond expr "jwt('sub') != ''"
        RewriteRule ^ - [F]
        <If "jwt('sub') != ''">
            Require all denied
        </If>
        SetEnvIfExpr "jwt('sub') != ''" KNOWN
        <Location "/">
            JwtGate on
            RequestHeader set X-Known yes env=KNOWN
            Header set X-Sub "expr=[%{{jwt:sub}}]"
        </Location>
        <Location "/app/off">
            JwtGate off
        </Location>"#
    ));
    server.expect_log("JG2107");
    let token = server.token().sign();
    let answer = server.get("/app/on").bearer(&token).send();
    assert_eq!((answer.status, answer.header("X-Sub")), (200, Some("[alice]")));
    assert_eq!(answer.seen().header("X-Known"), None);
    let answer = server.get("/app/off").bearer(&token).send();
    assert_eq!((answer.status, answer.header("X-Sub")), (200, Some("[]")));
    assert_eq!(server.log.count("JG2107"), 3);
}

#[test]
fn odd_claims_cannot_break_out_of_a_header() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            RequestHeader set X-Odd "expr=%{{jwt:odd}}"
            JwtGateForward X-Safe "expr=%{{jwt:odd}}"
        </Location>"#
    ));
    let huge = "x".repeat(4000);
    for (claim, odd, safe) in [
        ("a\r\nX-Evil: 1", "", None),
        ("a\nX-Evil: 1", "", None),
        ("a\u{0}b", "", None),
        ("a\u{7f}", "", None),
        ("say \"hi\" \\ 'x' %{HTTP_HOST}", "say \"hi\" \\ 'x' %{HTTP_HOST}", Some("say \"hi\" \\ 'x' %25{HTTP_HOST}")),
        ("é", "\u{c3}\u{a9}", Some("%C3%A9")),
        (&huge, &huge, Some(huge.as_str())),
    ] {
        let seen = server.get("/").bearer(server.token().claim("odd", claim).sign()).send().seen();
        assert_eq!(seen.header("X-Odd").unwrap_or(""), odd, "{claim:?}");
        assert_eq!(seen.header("X-Safe"), safe, "{claim:?}");
        assert_eq!(seen.header("X-Evil"), None, "{claim:?}");
    }
}
