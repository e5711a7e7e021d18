//! Tokens on the wire: every algorithm and key source, every way to be wrong, and odd shapes of the header.

use serde_json::json;

use crate::harness::tokens::base64url;
use crate::harness::{MAIN, Request, Server, Signer, Site, Token, now};

const PROTECTED: &str = r#"
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateForward X-User subject
    </Location>
"#;

fn protected() -> Server {
    Site::new().start(&format!("{MAIN}{PROTECTED}"))
}

#[test]
fn every_algorithm_is_verified_by_every_source_of_keys() {
    let server = Site::new().start(&format!(
        "{PROTECTED}
        JwtGateIssuer jwks https://jwks.test audience=api jwks=file:keys/all.jwks
        JwtGateIssuer rs256 https://rs256.test audience=api pem=keys/rs256.pem
        JwtGateIssuer ps256 https://ps256.test audience=api pem=keys/ps256.pem
        JwtGateIssuer es256 https://es256.test audience=api pem=keys/es256.pem
        JwtGateIssuer es384 https://es384.test audience=api pem=keys/es384.pem
        JwtGateIssuer eddsa https://eddsa.test audience=api pem=keys/eddsa.pem
        JwtGateIssuer certificate https://certificate.test audience=api pem=keys/rs256.crt
        JwtGateIssuer several https://several.test audience=api pem=keys/rs256.pem,keys/es256.pem
        JwtGateIssuer hs256 https://hs256.test audience=api secret=keys/hs256.secret"
    ));
    let keys = &server.keys;
    for (issuer, signer) in [
        ("jwks", &keys.rs256),
        ("jwks", &keys.ps256),
        ("jwks", &keys.es256),
        ("jwks", &keys.es384),
        ("jwks", &keys.eddsa),
        ("rs256", &keys.rs256),
        ("ps256", &keys.ps256),
        ("es256", &keys.es256),
        ("es384", &keys.es384),
        ("eddsa", &keys.eddsa),
        ("certificate", &keys.rs256),
        ("several", &keys.rs256),
        ("several", &keys.es256),
        ("hs256", &keys.hs256),
    ] {
        let token = Token::new(signer).claim("iss", format!("https://{issuer}.test"));
        let get = |token: &str| server.get("/").bearer(token);
        let what = format!("{} by {issuer}", signer.algorithm);
        // The second one is answered from the cache of verified tokens.
        for _ in 0..2 {
            assert_eq!(get(&token.sign()).send().seen().header("X-User"), Some("alice"), "{what}");
        }
        server.refused(&get(&token.forge()), 401, "signature-invalid");
        assert_eq!(get(&token.claim("iss", "https://other.test").sign()).status(), 401, "{what}");
    }
}

#[test]
fn a_key_belongs_to_its_issuer() {
    let server = Site::new().start(&format!(
        "{PROTECTED}
        JwtGateIssuer a https://a.test audience=api jwks=file:keys/es256.jwks
        JwtGateIssuer b https://b.test audience=api jwks=file:keys/eddsa.jwks"
    ));
    let by = |signer, issuer: &str| server.get("/").bearer(Token::new(signer).claim("iss", issuer).sign());
    let keys = &server.keys;
    assert_eq!(by(&keys.es256, "https://a.test").status(), 200);
    assert_eq!(by(&keys.eddsa, "https://b.test").status(), 200);
    server.refused(&by(&keys.es256, "https://b.test"), 401, "key-unknown");
    server.refused(&by(&keys.eddsa, "https://a.test"), 401, "key-unknown");
}

#[test]
fn each_fault_of_a_token_has_its_reason() {
    let server = protected();
    let token = server.token();
    let stranger = Signer::ec("ES256", "ec256");
    let unknown = Signer::ec("ES256", "nobody");
    let hmac_with_public_key = Signer::hmac("HS256", server.keys.rs256.pem().as_bytes());
    let header = r#"{"alg":"ES256","kid":"ec256"}"#;
    let valid = json!({"iss": "https://issuer.test", "aud": "api", "sub": "alice", "exp": now() + 60}).to_string();
    let doubled = valid.replacen('{', r#"{"sub":"eve","#, 1);
    let compact = |header: &str, payload: &str| server.keys.es256.compact(header, payload);
    let unsigned = format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(&valid));
    for (reason, token) in [
        ("token-expired", token.clone().claim("exp", now() - 31).sign()),
        ("token-not-yet-valid", token.clone().claim("nbf", now() + 60).sign()),
        ("audience-mismatch", token.clone().claim("aud", "other").sign()),
        ("audience-mismatch", token.clone().claim("aud", json!([])).sign()),
        ("audience-mismatch", token.clone().claim("aud", "API").sign()),
        ("claim-mismatch", token.clone().claim("aud", json!(null)).sign()),
        ("claim-mismatch", token.clone().claim("exp", json!(null)).sign()),
        ("token-malformed", token.clone().claim("exp", "9999999999").sign()),
        ("token-malformed", token.clone().claim("exp", -1).sign()),
        ("type-mismatch", token.clone().header("typ", "id+jwt").sign()),
        ("issuer-unknown", token.clone().claim("iss", "https://issuer.test/").sign()),
        ("issuer-unknown", token.clone().claim("iss", json!(null)).sign()),
        ("signature-invalid", token.forge()),
        ("signature-invalid", Token::new(&stranger).sign()),
        ("key-unknown", Token::new(&unknown).sign()),
        ("algorithm-refused", Token::new(&hmac_with_public_key).sign()),
        ("algorithm-refused", unsigned),
        ("algorithm-refused", token.clone().header("alg", "es256").sign()),
        ("token-malformed", token.clone().header("crit", json!(["exp"])).sign()),
        ("token-malformed", compact(header, &doubled)),
        ("token-malformed", compact(header, "[]")),
        ("token-malformed", compact(header, "")),
        ("token-malformed", compact(&header.replace("ES256", r#"ES256","alg":"ES256"#), &valid)),
        ("token-malformed", format!("{}.", token.sign())),
        ("token-malformed", format!("{}=", token.sign())),
    ] {
        server.refused(&server.get("/").bearer(&token), 401, reason);
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn a_key_is_not_used_with_an_algorithm_that_it_is_not_made_for() {
    let server = protected();
    let token = server.token().header("kid", "ed").sign();
    server.refused(&server.get("/").bearer(token), 401, "algorithm-refused");
}

#[test]
fn both_sides_of_each_edge_in_time() {
    let server = protected();
    let token = server.token();
    let get = |token: Token<'_>| server.get("/").bearer(token.sign());
    // The leeway is 30 s; a few are left for the run itself.
    for good in [
        token.clone().claim("exp", now() - 25),
        token.clone().claim("nbf", now() + 25),
        token.clone().claim("exp", json!(1e15)),
        token.clone().claim("exp", json!(now() as f64 + 0.5)),
        token.clone().claim("iat", now() + 3600),
        token.clone().header("typ", json!(null)),
        token.clone().header("typ", "application/AT+jwt"),
        token.clone().header("kid", json!(null)),
        token.clone().claim("aud", json!(["other", "api"])),
    ] {
        assert_eq!(get(good.clone()).status(), 200, "{good:?}");
    }
    server.refused(&get(token.clone().claim("exp", now() - 31)), 401, "token-expired");
    server.refused(&get(token.clone().claim("nbf", now() + 35)), 401, "token-not-yet-valid");
}

#[test]
fn a_token_in_the_cache_still_expires() {
    let server = Site::new().start(&format!(
        "JwtGateIssuer main https://issuer.test audience=api jwks=file:keys/all.jwks leeway=0s\n{PROTECTED}"
    ));
    // A busy machine may take its time for the first request.
    let expiry = now() + 4;
    let request = server.get("/").bearer(server.token().claim("exp", expiry).sign());
    assert_eq!(request.status(), 200);
    crate::harness::await_true("the token's end", || now() > expiry);
    server.refused(&request, 401, "token-expired");
}

#[test]
fn odd_shapes_of_the_header() {
    let server = protected();
    let token = server.token().sign();
    let get = |value: &str| server.get("/").header("Authorization", value);
    for value in ["Bearer TOKEN", "bearer TOKEN", "BEARER TOKEN", "Bearer  TOKEN", "  Bearer TOKEN  "] {
        assert_eq!(get(&value.replace("TOKEN", &token)).status(), 200, "{value}");
    }
    for value in ["Basic YTpi", "Digest TOKEN", "BearerTOKEN", "TOKEN", "Bearer2 TOKEN"] {
        server.refused(&get(&value.replace("TOKEN", &token)), 401, "token-missing");
    }
    let malformed = ["Bearer", "Bearer ", "Bearer TOKEN x", "Bearer \"TOKEN\"", "Bearer TOK\u{e9}N"];
    for value in malformed {
        server.refused(&get(&value.replace("TOKEN", &token)), 400, "credentials-malformed");
    }
    // httpd joins repeated headers with a comma.
    for ambiguous in [get(&format!("Bearer {token}")).bearer(&token), get(&format!("Bearer {token}, Basic YTpi"))] {
        server.refused(&ambiguous, 400, "credentials-ambiguous");
    }
    let after_basic = get("Basic YTpi").bearer(&token);
    let before_basic = server.get("/").bearer(&token).header("Authorization", "Basic YTpi");
    let raw = server.get("/").header("Authorization", b"Bearer \xff\xfe");
    let tab = get(&format!("Bearer\t{token}"));
    for request in [after_basic, before_basic, raw, tab] {
        let answer = request.send();
        assert!(matches!(answer.status, 400 | 401), "{request:?}: {answer:?}");
    }
    assert_eq!(server.app.count(), 5);
}

/// A valid token of exactly this many bytes.
fn token_of(server: &Server, length: usize) -> String {
    let token = Token::new(&server.keys.eddsa);
    let plain = token.sign().len();
    let pads =
        (0..4).flat_map(|kid| ((length - plain) * 3 / 4 - 20..(length - plain) * 3 / 4).map(move |pad| (kid, pad)));
    let mut candidates =
        pads.map(|(header, pad)| token.clone().header("x", "x".repeat(header)).claim("pad", "x".repeat(pad)).sign());
    candidates.find(|token| token.len() == length).expect("a token of that length")
}

#[test]
fn a_token_may_have_8192_bytes_and_no_more() {
    let server = Site::new().start(&format!("LimitRequestFieldSize 16384\n{MAIN}{PROTECTED}"));
    let get = |length| server.get("/").bearer(token_of(&server, length));
    assert_eq!(get(8192).status(), 200);
    server.refused(&get(8193), 401, "token-too-large");
    let huge: Request = server.get("/").bearer("x".repeat(16_000));
    server.refused(&huge, 401, "token-too-large");
}

#[test]
fn a_token_in_the_cache_is_still_judged_by_the_place() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        JwtGateIssuer strict https://issuer.test audience=strict jwks=file:keys/all.jwks
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateIssuers main
        </Location>
        <Location "/strict">
            JwtGateIssuers strict
        </Location>"#
    ));
    let token = server.token().sign();
    for _ in 0..3 {
        assert_eq!(server.get("/").bearer(&token).status(), 200);
        server.refused(&server.get("/strict").bearer(&token), 401, "audience-mismatch");
    }
    let both = server.token().claim("aud", json!(["api", "strict"])).sign();
    assert_eq!((server.get("/").bearer(&both).status(), server.get("/strict").bearer(&both).status()), (200, 200));
}

#[test]
fn optional_and_none() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateToken optional
        </Location>
        <Location "/none">
            JwtGateToken none
        </Location>"#
    ));
    let forged = server.token().forge();
    assert_eq!(server.get("/").status(), 200);
    assert_eq!(server.get("/").bearer(server.token().sign()).status(), 200);
    server.refused(&server.get("/").bearer(&forged), 401, "signature-invalid");
    server.refused(&server.get("/").header("Authorization", "Bearer"), 400, "credentials-malformed");
    assert_eq!(server.get("/none").bearer(&forged).status(), 200);
}

#[test]
fn without_a_cache_every_token_is_verified() {
    let server = Site::new().start(&format!("JwtGateTokenCache 0\n{MAIN}{PROTECTED}"));
    let token = server.token().sign();
    for _ in 0..3 {
        assert_eq!(server.get("/").bearer(&token).send().seen().header("X-User"), Some("alice"));
        server.refused(&server.get("/").bearer(server.token().forge()), 401, "signature-invalid");
    }
}

#[test]
fn what_the_log_says_holds_no_token_and_is_no_place_to_write_for_clients() {
    let server = Site::new().start(&format!("LogLevel info jwt_gate:trace8\n{MAIN}{PROTECTED}"));
    let hostile = "x\n[Sat] [jwt_gate:emerg] JG6666\r\n\u{1b}[2J";
    let tokens = [
        server.token().sign(),
        server.token().forge(),
        server.token().claim("exp", 1).sign(),
        server.token().claim("iss", hostile).sign(),
        server.token().header("kid", hostile).sign(),
        server.token().header("typ", hostile).sign(),
        server.token().claim("aud", hostile).sign(),
        server.token().claim("sub", hostile).sign(),
        Token::new(&server.keys.hs256).sign(),
    ];
    for token in &tokens {
        server.get("/").bearer(token).send();
    }
    let log = server.log.text();
    for part in tokens.iter().flat_map(|token| token.split('.')) {
        assert!(!log.contains(part), "{part}");
    }
    assert!(!log.contains('\u{1b}'));
    for line in log.lines().filter(|line| line.contains("JG6666")) {
        assert!(line.contains(":info]") || line.contains(":debug]"), "{line}");
    }
}
