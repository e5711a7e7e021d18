//! Protected resource metadata (RFC 9728), and the challenge that leads to it.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

#[allow(dead_code)] // the tests of the whole decision use the rest
mod gate_fixture;
#[allow(dead_code, unused_imports)] // likewise
mod token_mint;

use std::sync::Arc;

use gate_fixture::{Gate, OTHER};
use jwt_gate_core::algorithm::Algorithm::EdDSA;
use jwt_gate_core::answer::{Scheme, challenge};
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::resource::{ResourceDef, parse};
use jwt_gate_core::token::issuer::IssuerSet;
use jwt_gate_core::verdict::Reason;
use proptest::prelude::*;
use token_mint::{ISS, issuer};

fn resource(words: &[&str]) -> ResourceDef {
    parse(words).unwrap().unwrap()
}

fn metadata(policy: &Policy) -> String {
    policy.resource.as_ref().unwrap().metadata(&policy.issuers, &policy.credentials.sources)
}

/// RFC 9728 section 3.1: the well-known path goes between host and path.
#[test]
fn where_the_document_is() {
    for (url, expected) in [
        ("https://a.example", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://A.example:8443/mcp", "https://a.example:8443/.well-known/oauth-protected-resource/mcp"),
        ("https://a.example/v1/mcp/", "https://a.example/.well-known/oauth-protected-resource/v1/mcp/"),
        ("http://[::1]:5031/mcp", "http://[::1]:5031/.well-known/oauth-protected-resource/mcp"),
    ] {
        let resource = resource(&[url]);
        assert_eq!(resource.metadata_url(), expected);
        assert!(expected.ends_with(&resource.metadata_path()) && resource.metadata_path().starts_with("/.well-known/"));
        assert_eq!(resource.identifier(), url.replace('A', "a"), "clients compare it with the address they call");
    }
}

#[test]
fn the_document_says_what_the_policy_does() {
    let gate = Gate::new();
    let policy = gate.policy(&[
        "Resource https://api.example.com/mcp scopes=read,write documentation=https://docs.example.com/ name=Recipes",
        "Credentials bearer query:access_token",
        "Issuers other login session",
    ]);
    // In the order of the configuration, not of the directive that chooses; without the one that has no name.
    let expected = format!(
        "{{\"authorization_servers\":[\"{ISS}\",\"{OTHER}\"],\"bearer_methods_supported\":[\"header\",\"query\"],\
         \"resource\":\"https://api.example.com/mcp\",\"resource_documentation\":\"https://docs.example.com/\",\
         \"resource_name\":\"Recipes\",\"scopes_supported\":[\"read\",\"write\"]}}"
    );
    assert_eq!(metadata(&policy), expected);
    assert_eq!(metadata(&policy), expected, "the same each time");

    let policy = gate.policy(&["Resource https://api.example.com", "Issuers session"]);
    assert_eq!(metadata(&policy), r#"{"bearer_methods_supported":["header"],"resource":"https://api.example.com"}"#);
}

#[test]
fn only_the_methods_of_the_rfc_are_named() {
    let gate = Gate::new();
    for (credentials, expected) in [
        ("bearer", r#"["header"]"#),
        ("query:access_token bearer", r#"["query","header"]"#),
        ("query:token", "[]"),
        ("cookie:session header:X-Token", "[]"),
    ] {
        let line = format!("Credentials {credentials}");
        let policy = gate.policy(&["Resource https://a.example", "Issuers session", &line]);
        let expected = format!(r#"{{"bearer_methods_supported":{expected},"resource":"https://a.example"}}"#);
        assert_eq!(metadata(&policy), expected);
    }
}

#[test]
fn only_issuers_that_can_be_asked_are_authorization_servers() {
    let named = |iss: &str, id| {
        let mut issuer = issuer(EdDSA);
        (issuer.id, issuer.issuer) = (id, Some(iss.to_owned()));
        Arc::new(issuer)
    };
    let isses = [
        "https://z.example/realms/main",
        "urn:example:login",
        "accounts.example.com",
        "https://a.example?tenant=1",
        "http://a.example",
        "https://a.example/#x",
        "\"},{",
        "http://localhost:8080",
        "https://b.example/",
    ];
    let issuers = IssuerSet::new(isses.iter().zip(0..).map(|(iss, id)| named(iss, id)).collect()).unwrap();
    assert_eq!(issuers.identifiers(), isses);
    let document = resource(&["https://a.example"]).metadata(&issuers, &[]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let expected = ["https://z.example/realms/main", "http://localhost:8080", "https://b.example/"];
    assert_eq!(document["authorization_servers"], serde_json::json!(expected));
}

#[test]
fn who_lacks_a_token_or_scope_is_told_where_to_get_it() {
    let plain = resource(&["https://a.example/mcp"]);
    let scoped = resource(&["https://a.example/", "scopes=read,write"]);
    let needed = ["admin".to_owned(), "b:c".to_owned()];
    let leads = r#"resource_metadata="https://a.example/.well-known/oauth-protected-resource"#;
    for (reason, resource, needed, expected) in [
        (Reason::TokenMissing, None, &[][..], String::new()),
        (Reason::TokenMissing, Some(&plain), &[], format!(r#", {leads}/mcp""#)),
        (Reason::TokenMissing, Some(&scoped), &[], format!(r#", scope="read write", {leads}""#)),
        (Reason::TokenMissing, Some(&scoped), &needed, format!(r#", scope="admin b:c", {leads}""#)),
        (Reason::TokenExpired, Some(&scoped), &[], format!(r#", error="invalid_token", scope="read write", {leads}""#)),
        (Reason::ScopeInsufficient, None, &needed, r#", error="insufficient_scope", scope="admin b:c""#.to_owned()),
        (
            Reason::ScopeInsufficient,
            Some(&scoped),
            &needed,
            format!(r#", error="insufficient_scope", scope="admin b:c", {leads}""#),
        ),
        (Reason::CredentialsAmbiguous, Some(&scoped), &needed, r#", error="invalid_request""#.to_owned()),
    ] {
        let field = challenge(Scheme::Bearer, "api", reason, resource, needed).unwrap();
        assert_eq!(field, format!(r#"Bearer realm="api"{expected}"#));
    }
    for reason in Reason::ALL {
        let row = reason.consequence();
        let field = challenge(Scheme::Bearer, "api", reason, Some(&scoped), &[]);
        let leads_on = field.is_some_and(|field| field.contains("resource_metadata="));
        assert_eq!(leads_on, row.status == 401 || reason == Reason::ScopeInsufficient, "{}", row.word);
    }
}

/// The parameters of a challenge, read as RFC 9110 section 11.2 has them.
fn parameters(field: &str) -> Vec<(String, String)> {
    let mut chars = field.strip_prefix("Bearer ").unwrap().chars().peekable();
    let mut found = Vec::new();
    while chars.peek().is_some() {
        let name: String = chars.by_ref().take_while(|c| *c != '=').collect();
        assert_eq!(chars.next(), Some('"'));
        let mut value = String::new();
        loop {
            match chars.next().expect("an end of the quoted string") {
                '"' => break,
                '\\' => value.extend(chars.next()),
                c => value.push(c),
            }
        }
        found.push((name.trim_start().to_owned(), value));
        assert!(matches!(chars.next(), None | Some(',')));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_challenge_is_read_as_it_was_meant(
        realm in "[ -~]{1,20}",
        scopes in prop::collection::vec("[!#-\\[\\]-~]{1,8}", 0..4),
    ) {
        let resource = resource(&["https://a.example/a(b)'c"]);
        let field = challenge(Scheme::Bearer, &realm, Reason::ScopeInsufficient, Some(&resource), &scopes).unwrap();
        let mut expected = vec![("realm", realm), ("error", "insufficient_scope".to_owned())];
        if !scopes.is_empty() {
            expected.push(("scope", scopes.join(" ")));
        }
        expected.push(("resource_metadata", resource.metadata_url()));
        let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        prop_assert_eq!(parameters(&field), expected);
    }

    #[test]
    fn the_document_is_json_whatever_its_name_is(name in "[^\\p{Cc}]{1,20}") {
        let resource = resource(&["https://a.example", &format!("name={name}")]);
        let document: serde_json::Value = serde_json::from_str(&resource.metadata(&IssuerSet::default(), &[])).unwrap();
        prop_assert_eq!(document["resource_name"].as_str(), Some(name.as_str()));
    }

    #[test]
    fn what_is_accepted_leads_to_itself(path in "(/[a-zA-Z0-9%.#?\" ~@\\\\-]{0,4}){0,4}") {
        if let Ok(Some(resource)) = parse(&[&format!("https://a.example{path}")]) {
            prop_assert_eq!(parse(&[&resource.identifier()]), Ok(Some(resource.clone())));
            prop_assert!(resource.metadata_url().bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'));
        }
    }
}
