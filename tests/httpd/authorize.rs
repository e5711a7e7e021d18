//! `Require jwt-...`: who is let in, and what those get who are not.

use serde_json::json;

use crate::harness::http2::Http2;
use crate::harness::{Answer, MAIN, Mpm, Server, Site, await_some};

/// What mod_authz_core says at level error of every request that it refuses itself.
const DENIED: &str = "AH01630";

/// A gate on everything, and a location for each of `places`: its path below `/`, and what is in it.
fn gated(site: Site, places: &[(&str, &str)]) -> Server {
    let mut directives = format!(
        "{MAIN}JwtGateIssuer second https://second.test audience=api jwks=file:keys/all.jwks\n\
         ProxyPass /page !\nProxyPass /inside !\nProxyPass / ${{APP}}/\n<Location />\nJwtGate on\n</Location>\n"
    );
    for (path, lines) in places {
        directives += &format!("<Location /{path}>\n{lines}\n</Location>\n");
    }
    site.start(&directives)
}

#[test]
fn each_line_lets_in_who_has_one_of_its_values() {
    let lines = [
        ("jwt-scope read", true),
        ("jwt-scope admin read", true),
        ("jwt-scope rea", false),
        ("jwt-scope \"write\"", true),
        ("jwt-group staff", true),
        ("jwt-group \"night shift\"", true),
        ("jwt-group 'night shift'", true),
        ("jwt-group night", false),
        ("jwt-group Größe", true),
        (r"jwt-group DOM\\group", true),
        ("jwt-client web", true),
        ("jwt-client shop web", true),
        ("jwt-client shop", false),
        ("jwt-issuer main", true),
        ("jwt-issuer second", false),
        ("jwt-plan gold", false),
        ("jwt-claim role admin", true),
        ("jwt-claim role Admin", false),
        ("jwt-claim role editor admin", true),
        ("jwt-claim roles b", true),
        ("jwt-claim roles c", false),
        ("jwt-claim level 5", true),
        ("jwt-claim level \"5.0\"", true),
        ("jwt-claim level 6", false),
        ("jwt-claim active true", true),
        ("jwt-claim active 1", false),
        ("jwt-claim nothing null", false),
        ("jwt-claim nested.deep.x y", true),
        ("jwt-claim nested.deep y", false),
        ("jwt-claim a.b flat", true),
        ("jwt-claim a.b inner", false),
        ("jwt-claim quoted 'say \"hi\"'", true),
        ("jwt-claim absent \"\"", false),
        ("not jwt-scope admin\nRequire all granted", true),
        ("not jwt-scope read\nRequire all granted", false),
    ];
    let places: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(i, (line, _))| (format!("{i}/"), format!("<RequireAll>\nRequire {line}\n</RequireAll>")))
        .collect();
    let places: Vec<_> = places.iter().map(|(path, line)| (path.as_str(), line.as_str())).collect();
    let mut server = gated(Site::new(), &places);
    server.expect_log("JG2212 Require jwt-plan gold");
    server.expect_log(DENIED);
    let token = server
        .token()
        .claim("scope", "read write")
        .claim("groups", json!(["staff", "night shift", "Größe", r"DOM\group"]))
        .claim("azp", "web")
        .claim("role", "admin")
        .claim("roles", json!(["a", "b", 3]))
        .claim("level", 5)
        .claim("active", true)
        .claim("nested", json!({"deep": {"x": "y"}}))
        .claim("a.b", "flat")
        .claim("a", json!({"b": "inner"}))
        .claim("quoted", "say \"hi\"")
        .sign();
    for (i, (line, granted)) in lines.into_iter().enumerate() {
        let status = server.get(&format!("/{i}/")).bearer(&token).status();
        assert_eq!(status, if granted { 200 } else { 403 }, "Require {line}");
    }
}

const PLACES: [(&str, &str); 9] = [
    ("scope/", "Require jwt-scope read write"),
    ("claim/", "Require jwt-claim role admin"),
    ("optional/scope/", "JwtGateToken optional\nRequire jwt-scope read write"),
    ("optional/user/", "JwtGateToken optional\nRequire valid-user"),
    (
        "optional/far/",
        "JwtGateToken optional\nRequire ip 192.0.2.1\n<RequireAll>\nRequire jwt-scope read\nRequire ip 192.0.2.1\n</RequireAll>",
    ),
    (
        "optional/not/",
        "JwtGateToken optional\n<RequireAll>\nRequire all granted\nRequire not jwt-claim banned true\n</RequireAll>",
    ),
    ("never/", "JwtGateToken none\nRequire jwt-scope read"),
    ("never/user/", "AuthMerging Off\nJwtGateToken none\nRequire valid-user"),
    (
        "negated/",
        "<RequireAll>\nRequire not jwt-scope readonly\n<RequireNone>\nRequire jwt-scope guest\n</RequireNone>\n\
         Require jwt-claim role admin\n</RequireAll>",
    ),
];

fn places() -> Server {
    let mut server = gated(Site::new().load(&["authz_user"]), &PLACES);
    server.expect_log(DENIED);
    server
}

fn assert_problem(answer: &Answer, challenge: Option<&str>, error: Option<&str>) {
    assert_eq!(answer.header("WWW-Authenticate"), challenge, "{answer:?}");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.json()["status"], answer.status, "{answer:?}");
    assert_eq!(answer.json().get("error").and_then(|error| error.as_str()), error, "{answer:?}");
}

#[test]
fn who_lacks_a_scope_is_told_which() {
    let server = places();
    let answer = server.refused(&server.get("/scope/").bearer(server.token().sign()), 403, "scope-insufficient");
    let challenge = r#"Bearer realm="api", error="insufficient_scope", scope="read write""#;
    assert_problem(&answer, Some(challenge), Some("insufficient_scope"));
    server.await_log("JG1022");
    assert_eq!(server.app.count(), 0);
}

#[test]
fn who_lacks_anything_else_is_told_no_more() {
    let server = places();
    for path in ["/claim/", "/negated/"] {
        let answer = server.refused(&server.get(path).bearer(server.token().sign()), 403, "claim-denied");
        assert_problem(&answer, None, None);
    }
    server.await_log("JG1023");
    assert_eq!(server.log.count("scope-insufficient"), 0);
    assert_eq!(server.app.count(), 0);
}

#[test]
fn who_has_no_token_is_asked_for_one_if_it_could_help() {
    let server = places();
    let answer = server.refused(&server.get("/optional/scope/"), 401, "token-missing");
    assert_problem(&answer, Some(r#"Bearer realm="api", scope="read write""#), None);
    let answer = server.refused(&server.get("/optional/user/"), 401, "token-missing");
    assert_problem(&answer, Some(r#"Bearer realm="api""#), None);
    assert_eq!(server.get("/optional/not/").status(), 200);
    // Neither would a token help from this address, nor where none is looked at.
    let answer = server.refused(&server.get("/optional/far/"), 403, "claim-denied");
    assert_problem(&answer, None, None);
    for path in ["/never/", "/never/user/"] {
        let answer = server.refused(&server.get(path).bearer(server.token().sign()), 403, "claim-denied");
        assert_problem(&answer, None, None);
    }
    assert_eq!(server.app.count(), 1);
}

#[test]
fn a_token_without_subject_is_no_valid_user() {
    let server = places();
    let nameless = server.token().claim("sub", serde_json::Value::Null).sign();
    server.refused(&server.get("/optional/user/").bearer(&nameless), 403, "claim-denied");
    assert_eq!(server.get("/optional/user/").bearer(server.token().sign()).status(), 200);
    assert_eq!(server.get("/optional/not/").bearer(server.token().claim("banned", true).sign()).status(), 403);
}

#[test]
fn the_environment_names_the_verdict() {
    let mut server = Site::new().start(&format!(
        "{MAIN}LogFormat \"%U %{{JWT_GATE_VERDICT}}e %{{JWT_GATE_REASON}}e %{{JWT_GATE_SUBJECT}}e\" verdict\n\
         CustomLog logs/verdicts.log verdict\nProxyPass / ${{APP}}/\n<Location />\nJwtGate on\n</Location>\n\
         <Location /scope/>\nRequire jwt-scope read\n</Location>\n\
         <Location /claim/>\nRequire jwt-claim role admin\n</Location>\n"
    ));
    server.expect_log(DENIED);
    let token = server.token().claim("role", "admin").sign();
    assert_eq!(server.get("/claim/").bearer(&token).status(), 200);
    assert_eq!(server.get("/claim/").bearer(server.token().sign()).status(), 403);
    assert_eq!(server.get("/scope/").bearer(&token).status(), 403);
    let lines = await_some("three lines", || {
        let text = std::fs::read_to_string(server.root.join("logs/verdicts.log")).ok()?;
        (text.lines().count() == 3).then_some(text)
    });
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["/claim/ allow - alice", "/claim/ deny claim-denied alice", "/scope/ deny scope-insufficient alice"]
    );
}

#[test]
fn a_page_of_the_administrator_is_shown_with_status_and_challenge() {
    let page = |document: &str| format!("ErrorDocument 403 {document}\nRequire jwt-scope read");
    let (outside, inside, own) = (page("/page/open.html"), page("/inside/page.html"), page("/page/own/page.html"));
    let (met, user) = (page("/inside/met/page.html"), page("/inside/user/page.html"));
    let (not, none) = (page("/inside/not/page.html"), page("/inside/none/page.html"));
    let negated = |line| format!("<RequireAll>\nRequire all granted\n{line}\n</RequireAll>");
    let in_not = negated("Require not jwt-claim status suspended");
    let in_none = negated("<RequireNone>\nRequire jwt-claim status suspended\n</RequireNone>");
    let (text, proxied) = (page("\"Ask for more.\""), page("/proxied"));
    let mut server = gated(
        Site::new().load(&["authz_user"]),
        &[
            ("outside/", &outside),
            ("inside/a/", &inside),
            ("page/own/", &own),
            ("text/", &text),
            ("to-proxied/", &proxied),
            ("page/open.html", "JwtGate off"),
            ("to-met/", &met),
            ("to-user/", &user),
            ("inside/met/", "Require jwt-scope read"),
            ("inside/user/", "Require valid-user"),
            ("to-not/", &not),
            ("to-none/", &none),
            ("inside/not/", &in_not),
            ("inside/none/", &in_none),
        ],
    );
    server.expect_log(DENIED);
    for page in [
        "page/open.html",
        "inside/page.html",
        "inside/met/page.html",
        "inside/user/page.html",
        "inside/not/page.html",
        "inside/none/page.html",
        "page/own/page.html",
    ] {
        server.write(&format!("html/{page}"), "ask for more");
    }
    let token = server.token().sign();
    let get = |path: &str| {
        let answer = server.refused(&server.get(path).bearer(&token), 403, "scope-insufficient");
        let challenge = r#"Bearer realm="api", error="insufficient_scope", scope="read""#;
        assert_eq!(answer.header("WWW-Authenticate"), Some(challenge), "{path}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{path}");
        answer.text()
    };
    for path in ["/outside/", "/inside/a/", "/page/own/", "/to-met/", "/to-not/", "/to-none/"] {
        assert_eq!(get(path), "ask for more", "{path}");
    }
    assert_eq!(get("/text/"), "Ask for more.");
    get("/to-proxied/");
    // A page for users is for none of whom it could be shown to.
    assert!(!get("/to-user/").contains("ask for more"));
    assert_eq!(server.app.count(), 0);
}

#[test]
fn another_403_is_not_taken_for_ours() {
    let mut server = Site::new().start(&format!(
        "{MAIN}ProxyPass /page !\nProxyPass / ${{APP}}/\n<Location />\nJwtGate on\n</Location>\n\
         <Location /errors/>\nProxyErrorOverride On\nRequire jwt-scope read\n</Location>\n\
         <Location /page/ip/>\nRequire ip 192.0.2.1\n</Location>\n\
         <Location /page/rule/>\nRequire jwt-scope read\n</Location>\n\
         <Directory \"${{ROOT}}/html/page/rule\">\nRewriteEngine on\nRewriteRule ^ - [F]\n</Directory>\n\
         <Location /page/denied/>\nRequire jwt-scope admin\n</Location>\n\
         <Location /page/look/>\nProxyErrorOverride On\n</Location>\n\
         <Directory \"${{ROOT}}/html/page/look\">\nRewriteEngine on\nRewriteCond /page/denied/ !-U\n\
         RewriteRule ^ ${{APP}}/?answer=403 [P]\n</Directory>\n"
    ));
    server.expect_log(DENIED);
    server.write("html/page/rule/x.html", "x");
    server.write("html/page/look/x.html", "x");
    let token = server.token().claim("scope", "read").sign();
    for path in ["/errors/?answer=403", "/page/ip/x.html", "/page/rule/x.html", "/page/look/x.html"] {
        let answer = server.get(path).bearer(&token).send();
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.header("Content-Type").unwrap().starts_with("text/html"), "{path} {answer:?}");
        assert_eq!(answer.header("WWW-Authenticate"), None, "{path}");
    }
    assert_eq!(server.log.count("claim-denied") + server.log.count("scope-insufficient"), 0);
}

/// `bob` with the password `secret`.
const USERS: &str = "bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";
const BOB: &str = "Basic Ym9iOnNlY3JldA==";
const BASIC: &str = "AuthType Basic\nAuthName users\nAuthBasicProvider file\nAuthUserFile keys/users\n";

#[test]
fn a_gate_beside_basic_authentication() {
    let optional = format!("JwtGateToken optional\n{BASIC}");
    let (user, either, scope) = (
        format!("{optional}Require valid-user"),
        format!("{optional}Require user bob\nRequire jwt-scope read"),
        format!("{optional}Require jwt-scope read"),
    );
    let site = Site::new().load(&["auth_basic", "authn_file", "authz_user"]);
    site.write("keys/users", USERS);
    let mut server = gated(site, &[("user/", &user), ("either/", &either), ("scope/", &scope)]);
    for text in [DENIED, "AH01617", "AH01629"] {
        server.expect_log(text);
    }
    let token = server.token().sign();
    let reader = server.token().claim("scope", "read").sign();
    let basic = Some(r#"Basic realm="users""#);
    let wrong = "Basic Ym9iOndyb25n";
    let forged = format!("Bearer {}", server.token().forge());
    let (token, reader) = (format!("Bearer {token}"), format!("Bearer {reader}"));
    let invalid = Some(r#"Bearer realm="api", error="invalid_token""#);
    let lacking = Some(r#"Bearer realm="api", error="insufficient_scope", scope="read""#);
    for (path, authorization, status, challenge) in [
        ("/user/", "", 401, basic),
        ("/user/", BOB, 200, None),
        ("/user/", wrong, 401, basic),
        ("/user/", &token, 200, None),
        ("/user/", &forged, 401, invalid),
        ("/either/", "", 401, basic),
        ("/either/", BOB, 200, None),
        ("/either/", &token, 403, lacking),
        ("/either/", &reader, 200, None),
        ("/scope/", "", 401, basic),
        ("/scope/", BOB, 401, basic),
        ("/scope/", &token, 403, lacking),
        ("/scope/", &reader, 200, None),
    ] {
        let request = server.get(path);
        let request = if authorization.is_empty() { request } else { request.header("Authorization", authorization) };
        let answer = request.send();
        assert_eq!(answer.status, status, "{path} {authorization}");
        assert_eq!(answer.header("WWW-Authenticate"), challenge, "{path} {authorization}");
    }
}

#[test]
fn where_the_gate_is_off_nobody_meets_a_line() {
    let mut server = gated(
        Site::new(),
        &[
            ("off/", "JwtGate off\nRequire jwt-issuer main"),
            ("off/not/", "JwtGate off\n<RequireAll>\nRequire all granted\nRequire not jwt-issuer main\n</RequireAll>"),
            ("none/", "AuthType None\nRequire jwt-issuer main"),
        ],
    );
    server.expect_log(DENIED);
    let token = server.token().sign();
    server.refused(&server.get("/off/").bearer(&token), 403, "JG1024");
    server.refused(&server.get("/off/not/").bearer(&token), 403, "JG1024");
    assert_eq!(server.get("/none/").bearer(&token).status(), 200);
}

#[test]
fn groups_of_a_file_and_aliases() {
    let site = Site::new().load(&["authz_user", "authz_groupfile"]);
    site.write("keys/groups", "operators: alice\n");
    let mut server = site.start(&format!(
        "{MAIN}ProxyPass / ${{APP}}/\n\
         <AuthzProviderAlias jwt-scope readers \"read\">\n</AuthzProviderAlias>\n\
         <Location />\nJwtGate on\n</Location>\n\
         <Location /alias/>\nRequire readers\n</Location>\n\
         <Location /group/>\nAuthGroupFile keys/groups\nRequire group operators\n</Location>\n"
    ));
    server.expect_log(DENIED);
    for (path, token, status) in [
        ("/alias/", server.token().claim("scope", "read"), 200),
        ("/alias/", server.token(), 403),
        ("/group/", server.token(), 200),
        ("/group/", server.token().claim("sub", "bob"), 403),
    ] {
        assert_eq!(server.get(path).bearer(token.sign()).status(), status, "{path}");
    }
}

#[test]
fn sub_requests_and_redirects_keep_the_rule_of_what_they_reach() {
    let mut server = Site::new().load(&["include"]).start(&format!(
        r#"{MAIN}
        DirectoryIndex index.html
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
            RewriteEngine on
            RewriteRule "^old\.html$" "/admin/page.html"
        </Directory>
        <Location "/">
            JwtGate on
        </Location>
        <LocationMatch "^/(admin/|folder/index.html)">
            Require jwt-scope admin
        </LocationMatch>"#
    ));
    for text in [DENIED, "unable to include"] {
        server.expect_log(text);
    }
    for page in ["admin/page.html", "folder/index.html"] {
        server.write(&format!("html/{page}"), "the secret");
    }
    server.write("html/page.shtml", "[<!--#include virtual=\"/admin/page.html\" -->]");
    let (user, admin) = (server.token().sign(), server.token().claim("scope", "admin").sign());
    for path in ["/page.shtml", "/old.html", "/folder/", "/admin/page.html"] {
        let answer = server.get(path).bearer(&admin).send();
        assert!(answer.status == 200 && answer.text().contains("the secret"), "{path} {answer:?}");
        let answer = server.get(path).bearer(&user).send();
        assert!(!answer.text().contains("the secret"), "{path}");
        if path == "/page.shtml" {
            assert_eq!(answer.status, 200);
        } else {
            let challenge = r#"Bearer realm="api", error="insufficient_scope", scope="admin""#;
            assert_problem(&answer, Some(challenge), Some("insufficient_scope"));
        }
    }
}

#[test]
fn lines_in_htaccess_are_read_for_each_request() {
    let mut server = Site::new().start(&format!(
        "{MAIN}<Directory \"${{ROOT}}/html\">\nAllowOverride AuthConfig\n</Directory>\n\
         <Location />\nJwtGate on\n</Location>\n"
    ));
    server.expect_log(DENIED);
    let (user, reader) = (server.token().sign(), server.token().claim("scope", "read").sign());
    let none =
        "<RequireAll>\nRequire all granted\n<RequireNone>\nRequire jwt-scope read\n</RequireNone>\n</RequireAll>\n";
    for (lines, statuses) in [("Require jwt-scope read\n", [403, 200]), (none, [200, 403])] {
        server.write("html/.htaccess", lines);
        let answers = [&user, &reader].map(|token| server.get("/index.html").bearer(token).send());
        assert_eq!(answers.each_ref().map(|answer| answer.status), statuses, "{lines}");
        let refused = answers.iter().find(|answer| answer.status == 403).unwrap();
        assert_eq!(refused.header("WWW-Authenticate").is_some(), statuses[0] == 403, "{lines}");
    }
    server.write("html/.htaccess", "Require jwt-scope \"a b\"\n");
    server.expect_log("cannot be a scope");
    assert_eq!(server.get("/index.html").bearer(&reader).status(), 500);
}

#[test]
fn every_process_model_and_http2() {
    for mpm in Mpm::ALL {
        let mut server = gated(Site::new().mpm(mpm), &[("scope/", "Require jwt-scope read")]);
        server.expect_log(DENIED);
        let (user, reader) = (server.token().sign(), server.token().claim("scope", "read").sign());
        let statuses = |get: &mut dyn FnMut(&str) -> Answer| [&user, &reader].map(|token| get(token).status);
        assert_eq!(statuses(&mut |token| server.get("/scope/").bearer(token).send()), [403, 200], "{mpm:?}");
        if mpm.has_threads() {
            let mut connection: Http2 = server.http2();
            let mut get = |token: &str| connection.get("/scope/", &[("authorization", &format!("Bearer {token}"))]);
            assert_problem(
                &get(&user),
                Some(r#"Bearer realm="api", error="insufficient_scope", scope="read""#),
                Some("insufficient_scope"),
            );
            assert_eq!(statuses(&mut get), [403, 200], "{mpm:?}");
        }
    }
}

#[test]
fn mistakes_are_found_by_configtest() {
    let site = Site::new();
    for (line, parts) in [
        ("jwt-claim", &["Require jwt-claim: needs a claim"][..]),
        ("jwt-claim role", &["`role` has no values"]),
        ("jwt-scope", &["does not name a scope"]),
        ("not jwt-scope", &["does not name a scope"]),
        ("jwt-scope \"a b\"", &["`a b` cannot be a scope"]),
        ("jwt-scope a\u{1}b", &["control characters"]),
        ("jwt-group \"\"", &["cannot be a group"]),
        ("jwt-issuer https://x", &["cannot be the name of an issuer"]),
        ("jwt-plan a/b", &["cannot be the name of a plan"]),
        ("jwt-client %{HTTP_HOST}", &["write the value itself"]),
        ("jwt-role admin", &["Unknown Authz provider: jwt-role"]),
    ] {
        let all = format!(
            "{MAIN}<Location />\n<RequireAll>\nRequire all granted\nRequire {line}\n</RequireAll>\n</Location>\n"
        );
        let check = site.configtest(&all);
        assert!(!check.passed, "{line}");
        for part in parts {
            assert!(check.output.contains(part), "{line}: {}", check.output);
        }
    }
    let check = site
        .configtest(&format!("{MAIN}<Location />\nJwtGate on\nRequire jwt-claim role \"a b\" 'c' 5\n</Location>\n"));
    assert!(check.passed, "{}", check.output);
}

#[test]
fn the_example_of_the_guide() {
    let section = include_str!("../../docs/authorization.md").split("\n## Require\n").nth(1).unwrap();
    let example = section.split("```apache\n").nth(1).unwrap().split("```").next().unwrap();
    let (_, sections) = example.split_once("\n\n").expect("an issuer, for which there is another one here");
    let mut server = Site::new().start(&format!("{MAIN}ProxyPass / ${{APP}}/\n{sections}"));
    server.expect_log(DENIED);
    let token = |claims: serde_json::Value| {
        let all = claims.as_object().unwrap().iter();
        all.fold(server.token(), |token, (name, value)| token.claim(name, value.clone())).sign()
    };
    for (path, claims, status) in [
        ("/api/x", json!({"scope": "read"}), 200),
        ("/api/x", json!({"scope": "write"}), 403),
        ("/api/admin/x", json!({"groups": ["admins"], "department": "sales"}), 200),
        ("/api/admin/x", json!({"groups": ["night shift"], "department": "sales"}), 200),
        ("/api/admin/x", json!({"groups": ["admins"], "employment": {"status": "suspended"}}), 403),
        ("/api/admin/x", json!({"scope": "read"}), 403),
        ("/api/reports/x", json!({"groups": ["auditors"], "level": 3}), 200),
        ("/api/reports/x", json!({"groups": ["auditors"], "level": 2}), 403),
    ] {
        let answer = server.get(path).bearer(token(claims.clone())).send();
        assert_eq!(answer.status, status, "{path} {claims}");
        if claims["department"] == "sales" {
            assert_eq!(answer.seen().header("X-Department"), Some("sales"));
        }
    }
}
