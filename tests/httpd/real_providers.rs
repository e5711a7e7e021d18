//! Tokens and keys of providers that others have written, from their first fetch to the application.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::certificates::Authority;
use crate::harness::idp::{Cognito, Joserfc, Oidc};
use crate::harness::provider::{Endpoint, Reply};
use crate::harness::tokens::claims;
use crate::harness::{MAIN, Provider, Server, Site, Token, await_true, now};

/// Everything is proxied, and the application is told who comes.
const TOLD: &str = r#"
    ProxyPass / ${APP}/
    JwtGateForward X-Issuer issuer
    JwtGateForward X-User   subject
    JwtGateForward X-Client client
    JwtGateForward X-Scope  scope
    JwtGateForward X-Groups claim:cognito:groups
    JwtGateForward X-Roles  claim:roles
"#;

/// These programs take their time to answer on a machine that has much to do.
const PATIENT: &str = "timeout=15s";

/// A location that accepts these issuers, of all none but these.
fn location(path: &str, issuers: &str) -> String {
    format!("<Location \"{path}\">\nJwtGate on\nJwtGateIssuers {issuers}\n</Location>\n")
}

/// A location `/NAME` for each of these issuers, which accepts that one alone.
fn locations(names: &[&str]) -> String {
    names.iter().fold(TOLD.to_owned(), |text, name| text + &location(&format!("/{name}"), name))
}

fn status(server: &Server, target: &str, token: &str) -> u16 {
    server.get(target).bearer(token).status()
}

fn refused(server: &Server, target: &str, token: &str, reason: &str) {
    server.refused(&server.get(target).bearer(token), 401, reason);
}

/// Waits until all processes have the keys that a token is let in with, also those that did not fetch them.
fn await_let_in(server: &Server, target: &str, token: &str) {
    let all = || (0..8).all(|_| status(server, target, token) == 200);
    await_true(&format!("a token to be let in at {target}"), all);
}

/// All resources of [`Oidc`] whose access tokens are JWTs, as `audience=` takes them.
fn resources() -> String {
    Oidc::ALGORITHMS.map(Oidc::resource).join(",")
}

/// These need what `make target/idp/node_modules` installs.
mod installed {
    use super::*;

    #[test]
    fn access_tokens_of_cognito_are_let_in_and_others_are_not() {
        let cognito = Cognito::start(None);
        let (issuer, client) = (&cognito.issuer, &cognito.client_id);
        let options = format!("{issuer} audience={client} profile=cognito leeway=0s {PATIENT}");
        let found = format!("JwtGateIssuer found {options}\n");
        let given = format!("JwtGateIssuer given {options} jwks={}\n", cognito.keys_url());
        let mut server = Site::new().start(&(found + &given + &locations(&["found", "given"])));
        server.expect_log("JG2201");

        let hour = Duration::from_secs(3600);
        let alice = cognito.access_token();
        let bob = cognito.login("bob", client, hour).access_token;
        let other = cognito.login("alice", &cognito.other_client_id, hour);
        let short = cognito.login("alice", client, Duration::from_secs(1)).access_token;
        let end = now() + 1;
        for name in ["found", "given"] {
            let target = format!("/{name}");
            await_let_in(&server, &target, &alice);
            let seen = server.get(&target).bearer(&alice).send().seen();
            assert_eq!(seen.header("X-Issuer"), Some(name));
            assert_eq!(seen.header("X-Client"), Some(client.as_str()));
            assert_eq!(seen.header("X-Groups"), Some("admins"));
            let subject = seen.header("X-User").unwrap().to_owned();
            let seen = server.get(&target).bearer(&bob).send().seen();
            assert_eq!(seen.header("X-Groups"), None);
            assert_ne!(seen.header("X-User"), Some(subject.as_str()));

            refused(&server, &target, &cognito.id_token(), "claim-mismatch");
            refused(&server, &target, &other.access_token, "audience-mismatch");
            assert_eq!(status(&server, &target, &other.id_token), 401);
            // The claims of one token under the signature of another.
            let (message, _) = alice.rsplit_once('.').unwrap();
            let (_, signature) = bob.rsplit_once('.').unwrap();
            refused(&server, &target, &format!("{message}.{signature}"), "signature-invalid");
            await_true("the end of a token", || now() > end);
            refused(&server, &target, &short, "token-expired");
        }
    }

    #[test]
    fn cognito_rotates_its_keys() {
        let site = Site::new();
        let folder = site.root.join("conf");
        Authority::new().write(&folder);
        let cognito = Cognito::start(Some(&folder));
        let (issuer, client) = (&cognito.issuer, &cognito.client_id);
        let options = format!("audience={client} profile=cognito ca=conf/ca.pem cooldown=1s {PATIENT}");
        let server = site.start(&format!("JwtGateIssuer pool {issuer} {options}\n{}", locations(&["pool"])));
        let first = cognito.access_token();
        await_let_in(&server, "/pool", &first);

        let kids = cognito.rotate();
        let second = cognito.access_token();
        assert_eq!(status(&server, "/pool", &second), 200, "the first token with a new key");
        await_let_in(&server, "/pool", &second);
        assert_eq!(status(&server, "/pool", &first), 200, "its key is still published");

        assert_eq!(cognito.rotate()[0], kids[1]);
        let third = cognito.access_token();
        await_let_in(&server, "/pool", &third);
        assert_eq!(status(&server, "/pool", &second), 200);
        refused(&server, "/pool", &first, "key-unknown");
    }

    #[test]
    fn access_tokens_of_oidc_provider_are_let_in_with_every_algorithm() {
        const USUAL: [&str; 6] = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"];
        let oidc = Oidc::start(None);
        let issuer = &oidc.issuer;
        let options = format!("audience={} {PATIENT}", resources());
        let mut server = Site::new().start(&format!(
            "JwtGateIssuer usual {issuer} {options}\n\
             JwtGateIssuer asked {issuer} {options} algorithms=RS384,RS512,PS384,PS512,ES512 jwks={}\n\
             JwtGateIssuer typed {issuer} {options} algorithms=ES256,EdDSA typ=at+jwt\n\
             JwtGateIssuer other {issuer} {PATIENT} audience={}\n{}",
            oidc.keys_url(),
            Oidc::resource("ES256"),
            locations(&["usual", "asked", "typed", "other"])
        ));
        server.expect_log("JG2201");
        // Each issuer skips the keys of the others' algorithms.
        server.expect_log("JG2203");

        let token = |algorithm| oidc.token(&Oidc::resource(algorithm));
        for (name, algorithm) in [("/usual", "ES256"), ("/asked", "ES512"), ("/typed", "ES256"), ("/other", "ES256")] {
            await_let_in(&server, name, &token(algorithm));
        }
        for algorithm in Oidc::ALGORITHMS {
            let token = token(algorithm);
            let (target, elsewhere) =
                if USUAL.contains(&algorithm) { ("/usual", "/asked") } else { ("/asked", "/usual") };
            let seen = server.get(target).bearer(&token).send().seen();
            assert_eq!(seen.header("X-User"), Some("svc"), "{algorithm}");
            refused(&server, elsewhere, &token, "algorithm-refused");
        }
        let seen = server.get("/usual").bearer(token("ES256")).send().seen();
        assert_eq!(seen.header("X-Issuer"), Some("usual"));
        assert_eq!(seen.header("X-Client"), Some("svc"));
        assert_eq!(seen.header("X-Scope"), Some("read write"));
        assert_eq!(seen.header("X-Roles"), Some("ops"));
        let reader = oidc.token_of("reader", "read", &Oidc::resource("PS256"));
        let seen = server.get("/usual").bearer(reader).send().seen();
        assert_eq!((seen.header("X-Client"), seen.header("X-Scope")), (Some("reader"), Some("read")));

        // RFC 9068: at+jwt
        for algorithm in ["EdDSA", "Ed25519"] {
            assert_eq!(status(&server, "/typed", &token(algorithm)), 200, "{algorithm}");
        }
        refused(&server, "/other", &token("EdDSA"), "audience-mismatch");
        let opaque = oidc.token(&Oidc::resource("opaque"));
        for name in ["/usual", "/asked", "/typed", "/other"] {
            refused(&server, name, &opaque, "token-malformed");
        }
    }

    #[test]
    fn keys_of_oidc_provider_come_over_tls_of_a_private_authority() {
        let site = Site::new();
        let folder = site.root.join("conf");
        Authority::new().write(&folder);
        site.write("conf/other.pem", Authority::new().pem());
        let oidc = Oidc::start(Some(&folder));
        let (issuer, audience) = (&oidc.issuer, resources());
        let options = format!("audience={audience} cooldown=1s {PATIENT}");
        let mut server = site.start(&format!(
            "JwtGateIssuer private {issuer} {options} ca=conf/ca.pem\n\
             JwtGateIssuer public {issuer} {options}\n\
             JwtGateIssuer other {issuer} {options} ca=conf/other.pem\n{}",
            locations(&["private", "public", "other"])
        ));
        // Of P-521, which is not among the algorithms that are usual.
        server.expect_log("JG2203");
        let token = || oidc.token(&Oidc::resource("EdDSA"));
        let first = token();
        await_let_in(&server, "/private", &first);
        for name in ["public", "other"] {
            let line = format!("JG4002 JwtGateIssuer {name}");
            server.expect_log(&line);
            server.await_log(&line);
            let target = format!("/{name}");
            server.refused(&server.get(&target).bearer(&first), 503, "keys-unavailable");
            let log = server.log.text();
            let why = log.lines().find(|log| log.contains(&line)).unwrap();
            assert!(why.contains("certificate"), "{why}");
        }

        oidc.rotate();
        let second = token();
        assert_eq!(status(&server, "/private", &second), 200, "the first token with a new key");
        await_let_in(&server, "/private", &second);
        assert_eq!(status(&server, "/private", &first), 200, "its key is still published");
        oidc.rotate();
        let third = token();
        await_let_in(&server, "/private", &third);
        assert_eq!(status(&server, "/private", &second), 200);
        refused(&server, "/private", &first, "key-unknown");
    }

    #[test]
    fn keys_and_tokens_of_another_library_fit() {
        const GOOD: [&str; 7] = ["ES512", "RS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"];
        let joserfc = Joserfc::start(&[&GOOD[..], &["Ed448", "ES256K", "HS256"]].concat());
        let provider = Provider::http();
        provider.answer(Endpoint::Keys, Reply::json(&joserfc.keys));
        let site = Site::new();
        site.write("keys/joserfc.jwks", joserfc.keys.to_string());
        let secret = joserfc.keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == "HS256").unwrap();
        site.write("keys/joserfc.secret", format!("base64url:{}\n", secret["k"].as_str().unwrap()));
        site.chmod("keys/joserfc.secret", 0o600);
        let options = "https://issuer.test audience=api";
        let all = "algorithms=ES512,RS384,PS512,ES256,ES384,EdDSA";
        let mut server = site.start(&format!(
            "JwtGateIssuer fetched {options} {all} jwks={}\n\
             JwtGateIssuer file {options} {all} jwks=file:keys/joserfc.jwks\n\
             JwtGateIssuer secret {options} secret=keys/joserfc.secret\n\
             JwtGateIssuer typed {options} {all} jwks=file:keys/joserfc.jwks typ=at+jwt\n{}",
            provider.keys_url(),
            locations(&["fetched", "file", "secret", "typed"])
        ));
        server.expect_log("JG2201");
        await_let_in(&server, "/fetched", &joserfc.token("ES512"));
        for name in ["fetched", "file"] {
            for kid in ["Ed448", "ES256K", "HS256"] {
                let words = ["JG2203", &format!("JwtGateIssuer {name} "), &format!("key \"{kid}\"")];
                let log = server.log.text();
                let told = log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
                assert_eq!(told, 1, "lines about {kid} of {name}");
            }
        }
        server.expect_log("JG2203");
        for algorithm in GOOD {
            for target in ["/fetched", "/file"] {
                let seen = server.get(target).bearer(joserfc.token(algorithm)).send().seen();
                assert_eq!(seen.header("X-User"), Some("alice"), "{algorithm}");
            }
            refused(&server, "/secret", &joserfc.token(algorithm), "algorithm-refused");
        }
        assert_eq!(status(&server, "/secret", &joserfc.token("HS256")), 200);
        for algorithm in ["Ed448", "ES256K", "HS256"] {
            for target in ["/fetched", "/file"] {
                refused(&server, target, &joserfc.token(algorithm), "algorithm-refused");
            }
        }
        // typ=at+jwt
        let typed = |typ: &Value| joserfc.sign("ES256", typ, &claims());
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
            assert_eq!(status(&server, "/typed", &typed(&json!({"typ": typ}))), 200, "{typ}");
        }
        for header in [json!({"typ": "JWT"}), json!({}), json!({"typ": "at+jwt2"}), json!({"typ": "logout+jwt"})] {
            refused(&server, "/typed", &typed(&header), "type-mismatch");
        }
        assert_eq!(status(&server, "/file", &typed(&json!({"typ": "JWT"}))), 200);
    }

    #[test]
    fn issuers_are_chosen_by_what_tokens_say() {
        let (cognito, oidc) = (Cognito::start(None), Oidc::start(None));
        let site = Site::new();
        let (pool, client, machines, audience) =
            (&cognito.issuer, &cognito.client_id, &oidc.issuer, Oidc::resource("ES256"));
        let mut server = site.start(&format!(
            "{}\n\
             JwtGateIssuer pool {pool} audience={client} profile=cognito {PATIENT}\n\
             JwtGateIssuer machines {machines} audience={audience} {PATIENT}\n\
             JwtGateIssuer own https://own.test audience=api pem=keys/es256.pem\n\
             {TOLD}\n<Location \"/\">\nJwtGate on\n</Location>\n{}{}",
            MAIN.replace("all.jwks", "eddsa.jwks"),
            location("/people", "pool"),
            location("/inside", "machines own")
        ));
        server.expect_log("JG2201");
        server.expect_log("JG2203");
        let tokens = [
            ("pool", cognito.access_token()),
            ("machines", oidc.token(&audience)),
            ("own", server.token().claim("iss", "https://own.test").sign()),
            ("main", Token::new(&server.keys.eddsa).sign()),
        ];
        for (name, token) in &tokens {
            await_let_in(&server, "/", token);
            let seen = server.get("/").bearer(token).send().seen();
            assert_eq!(seen.header("X-Issuer"), Some(*name));
            for (target, accepted) in [("/people", &["pool"][..]), ("/inside", &["machines", "own"])] {
                if accepted.contains(name) {
                    assert_eq!(status(&server, target, token), 200, "{name} at {target}");
                } else {
                    refused(&server, target, token, "issuer-unknown");
                }
            }
        }

        // The key of one issuer makes no tokens of another.
        let posing = |issuer: &str| server.token().claim("iss", issuer).header("kid", Value::Null);
        refused(&server, "/", &posing(pool).claim("client_id", client.as_str()).sign(), "algorithm-refused");
        refused(&server, "/", &posing(machines).claim("aud", audience).sign(), "signature-invalid");
        refused(&server, "/", &posing("https://issuer.test").sign(), "algorithm-refused");
        refused(&server, "/", &posing("https://nobody.test").sign(), "issuer-unknown");
    }
}
