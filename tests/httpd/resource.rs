//! What OAuth clients are told of the application (RFC 9728): documents without token, and challenges that lead there.

use serde_json::json;

use crate::harness::{Answer, MAIN, Server, Site};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

const PLACES: &str = r#"
    JwtGateIssuer other https://other.test/realm audience=api jwks=file:keys/all.jwks
    JwtGateIssuer nameless no-address audience=api jwks=file:keys/all.jwks
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateIssuers main nameless
        JwtGateDeny 127.0.0.66
        JwtGateCredentials bearer query:access_token
        JwtGateResource https://api.test scopes=read,write "name=A \"good\" API" documentation=https://api.test/help
        Require valid-user
    </Location>
    <Location "/mcp">
        JwtGateIssuers other main
        JwtGateCredentials header:X-Token
        JwtGateResource https://api.test/mcp
    </Location>
    <Location "/closed">
        JwtGateResource off
    </Location>
"#;

fn site() -> Site {
    Site::new().load(&["authz_user"])
}

fn places() -> Server {
    site().start(&format!("{MAIN}{PLACES}"))
}

#[track_caller]
fn document(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{answer:?}");
    assert_eq!(answer.header("Cache-Control"), Some("max-age=300"), "{answer:?}");
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"), "{answer:?}");
    answer.json()
}

#[test]
fn documents_are_served_without_token_in_the_place_of_the_application() {
    let server = places();
    assert_eq!(
        document(&server.get(WELL_KNOWN).send()),
        json!({
            "authorization_servers": ["https://issuer.test"],
            "bearer_methods_supported": ["header", "query"],
            "resource": "https://api.test",
            "resource_documentation": "https://api.test/help",
            "resource_name": "A \"good\" API",
            "scopes_supported": ["read", "write"],
        })
    );
    let mcp = format!("{WELL_KNOWN}/mcp");
    for target in [mcp.clone(), format!("{mcp}?x=y"), "/.well-known/./oauth-protected-resource/%6dcp".into()] {
        assert_eq!(
            document(&server.get(&target).send()),
            json!({
                "authorization_servers": ["https://issuer.test", "https://other.test/realm"],
                "bearer_methods_supported": [],
                "resource": "https://api.test/mcp",
            }),
            "{target}"
        );
    }
    // A token, good or bad, changes nothing.
    for token in ["a.b.c".to_owned(), server.token().sign()] {
        document(&server.get(WELL_KNOWN).bearer(token).send());
    }
    // Nothing else is open.
    for target in [format!("{WELL_KNOWN}/"), format!("{WELL_KNOWN}/other"), format!("{mcp}/x"), "/.well-known/x".into()]
    {
        server.refused(&server.get(&target), 401, "token-missing");
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn head_is_answered_and_other_methods_are_not() {
    let server = places();
    let length = server.get(WELL_KNOWN).send().body.len().to_string();
    let head = server.request("HEAD", WELL_KNOWN).send();
    assert_eq!((head.status, head.header("Content-Length")), (200, Some(length.as_str())));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = server.request(method, WELL_KNOWN).bearer(server.token().sign()).send();
        assert_eq!(answer.status, 405, "{method}");
        let allowed = answer.header("Allow").unwrap();
        assert!(allowed.contains("GET") && !allowed.contains("POST"), "{allowed}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"));
    }
    let mut connection = server.connect();
    let framing = "Content-Length: 65537";
    connection.send(format!("POST {WELL_KNOWN} HTTP/1.1\r\nHost: gate.test\r\n{framing}\r\n\r\n"));
    assert_eq!(connection.answer().status, 405);
    assert!(connection.is_closed());
    assert_eq!(server.app.count(), 0);
}

#[test]
fn scripts_of_any_page_may_fetch_it() {
    let server = site()
        .start(&format!("{MAIN}{PLACES}<Location \"/\">\nJwtGateCors https://app.test credentials=on\n</Location>"));
    let preflight = server.request("OPTIONS", WELL_KNOWN).header("Origin", "https://page.test");
    let preflight = preflight.header("Access-Control-Request-Method", "GET");
    let answer = preflight.header("Access-Control-Request-Headers", "mcp-protocol-version").send();
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (204, Some("*")));
    assert_eq!(answer.header("Access-Control-Allow-Headers"), Some("mcp-protocol-version"));
    let answer = server.get(WELL_KNOWN).header("Origin", "https://app.test").send();
    document(&answer);
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);
}

#[test]
fn addresses_and_limits_come_first() {
    let server = site().start(&format!(
        r#"{MAIN}{PLACES}
        <Location "/.well-known">
            JwtGateLimit few key=address rate=2/d
            JwtGateLimit users key=subject rate=1/d
        </Location>"#
    ));
    server.refused(&server.get(WELL_KNOWN).from("127.0.0.66"), 403, "address-denied");
    for left in ["r=1", "r=0"] {
        let answer = server.get(WELL_KNOWN).send();
        document(&answer);
        assert!(answer.header("RateLimit").unwrap().contains(left), "{answer:?}");
    }
    let limited = server.refused(&server.get(WELL_KNOWN), 429, "rate-limited");
    assert_eq!(limited.header("Access-Control-Allow-Origin"), Some("*"));
}

#[test]
fn challenges_lead_to_the_document() {
    let server = places();
    let token = server.token();
    let at_root = format!("resource_metadata=\"https://api.test{WELL_KNOWN}\"");
    let challenge = |answer: Answer| answer.header("WWW-Authenticate").unwrap().to_owned();
    let missing = challenge(server.refused(&server.get("/x"), 401, "token-missing"));
    assert_eq!(missing, format!("Bearer realm=\"api\", scope=\"read write\", {at_root}"));
    let expired = server.get("/x").bearer(token.clone().claim("exp", 1).sign());
    let invalid = challenge(server.refused(&expired, 401, "token-expired"));
    assert_eq!(invalid, format!("Bearer realm=\"api\", error=\"invalid_token\", scope=\"read write\", {at_root}"));
    let mcp = challenge(server.refused(&server.get("/mcp/x"), 401, "token-missing"));
    assert_eq!(mcp, format!("Bearer realm=\"api\", resource_metadata=\"https://api.test{WELL_KNOWN}/mcp\""));
    let closed = challenge(server.refused(&server.get("/closed"), 401, "token-missing"));
    assert_eq!(closed, "Bearer realm=\"api\"");
    // What the challenge says is what is there.
    let (_, url) = mcp.split_once("https://api.test").unwrap();
    document(&server.get(url.trim_end_matches('"')).send());
}

#[test]
fn each_virtual_host_has_its_own_documents_and_what_it_inherits() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        JwtGateIssuer other https://other.test audience=api jwks=file:keys/all.jwks
        JwtGateResource https://everywhere.test name=Main
        <Location "/shared">
            JwtGate on
            JwtGateIssuers main
            JwtGateResource https://everywhere.test/shared
        </Location>
        <VirtualHost 127.0.0.1:${{PORT}}>
            ServerName gate.test
            ProxyPass / ${{APP}}/
            JwtGateResource https://first.test name=First
            JwtGateIssuers other
            <Location "/api">
                JwtGate on
                JwtGateResource https://first.test/api
            </Location>
        </VirtualHost>
        <VirtualHost 127.0.0.1:${{PORT2}}>
            ServerName gate.test
            ProxyPass / ${{APP}}/
            <Location "/api">
                JwtGate on
                JwtGateIssuers main
                JwtGateResource https://second.test/api
            </Location>
        </VirtualHost>"#
    ));
    let first = |path: &str| document(&server.get(&format!("{WELL_KNOWN}{path}")).send());
    let second = |path: &str| document(&server.get(&format!("{WELL_KNOWN}{path}")).to(server.second_address()).send());
    // Also where the gate is off for the document's own path.
    assert_eq!((&first("")["resource_name"], &second("")["resource_name"]), (&json!("First"), &json!("Main")));
    let named = |document: serde_json::Value| (document["resource"].clone(), document["authorization_servers"].clone());
    assert_eq!(named(first("/api")), (json!("https://first.test/api"), json!(["https://other.test"])));
    assert_eq!(named(second("/api")), (json!("https://second.test/api"), json!(["https://issuer.test"])));
    for shared in [first("/shared"), second("/shared")] {
        assert_eq!(named(shared), (json!("https://everywhere.test/shared"), json!(["https://issuer.test"])));
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn http2_gets_the_same_document() {
    let server = places();
    let expected = server.get(WELL_KNOWN).send().json();
    assert_eq!(document(&server.http2().get(WELL_KNOWN, &[])), expected);
}

#[test]
fn what_other_modules_make_of_the_request_neither_hides_the_document_nor_opens_anything() {
    let site = site();
    // What mod_dir shows in the place of what is not there; and a rule that turns the request into another.
    site.write("html/page.html", "a page");
    let server = site.start(&format!(
        r#"{MAIN}
        ProxyPass /.well-known !
        ProxyPass /page.html !
        {PLACES}
        <Directory "${{ROOT}}/html">
            FallbackResource /page.html
        </Directory>
        <Location "{WELL_KNOWN}/mcp">
            RewriteEngine on
            RewriteRule "^" "/secret" [PT]
        </Location>"#
    ));
    server.refused(&server.get("/page.html"), 401, "token-missing");
    for (path, resource) in [("", "https://api.test"), ("/mcp", "https://api.test/mcp")] {
        assert_eq!(document(&server.get(&format!("{WELL_KNOWN}{path}")).send())["resource"], resource);
    }
    for path in ["x", "mcp/", "index.html"] {
        server.refused(&server.get(&format!("{WELL_KNOWN}/{path}")), 401, "token-missing");
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn mistakes_are_found() {
    let site = Site::new();
    let shared = "JwtGateIssuer again https://issuer.test audience=b jwks=file:keys/all.jwks\n";
    let place = |path: &str, lines: &str| format!("<Location \"{path}\">\nJwtGate on\n{lines}\n</Location>\n");
    for (directives, remedy) in [
        (place("/", "JwtGateResource http://api.test"), "https"),
        (place("/", "JwtGateResource https://a.test\nJwtGateResource https://b.test"), "twice in the same section"),
        (
            place("/a", "JwtGateResource https://a.test") + &place("/b", "JwtGateResource https://b.test"),
            "another path",
        ),
        (
            format!("{shared}JwtGateResource https://a.test\n{}", place("/a", "JwtGateIssuers main")),
            "choose with JwtGateIssuers",
        ),
        // Clients look for the parameter anywhere in the challenge.
        (place("/", "JwtGateRealm \"my scope=all\""), "a text without it"),
    ] {
        let check = site.configtest(&format!("{MAIN}{directives}"));
        assert!(!check.passed && check.output.contains("JwtGateResource"), "{directives}{check:?}");
        assert!(check.output.contains(remedy), "{directives}{check:?}");
    }
    let twice = place("/a", "JwtGateResource https://a.test") + &place("/b", "JwtGateResource https://a.test");
    assert!(site.configtest(&format!("{MAIN}{twice}")).passed);
}
