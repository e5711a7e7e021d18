//! `jwt-gate token inspect`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::folder::{Folder, PROGRAM, Run, fed, run, words};

const ISS: &str = "https://login.example.com/";
const SECRET: &[u8] = b"a secret of the tests, known to everybody";
const PRIVATE: &[u8] = include_bytes!("../data/keys/rsa.pkcs8");
const PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/keys/rsa.pub.pem");
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/keys/rsa-other.pub.pem");
const HOUR: i64 = 3600;

/// Seconds since 1970, so many hours from now.
fn hours(hours: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + hours * HOUR
}

/// With these members in the place of the usual ones; null takes one away.
fn claims(more: &Value) -> Value {
    let mut claims = json!({ "iss": ISS, "aud": ["my-api", "other"], "sub": "alice", "exp": hours(2) + HOUR / 2, "iat": hours(-1) - HOUR / 2 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn input(header: &str, payload: &str) -> String {
    format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload))
}

/// Signed with the secret, whatever the header says.
fn with_secret(header: &str, payload: &str) -> String {
    let input = input(header, payload);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), input.as_bytes());
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn good() -> String {
    with_secret(r#"{"alg":"HS256","typ":"JWT"}"#, &claims(&json!({})).to_string())
}

fn with_rsa(header: &str, claims: &Value) -> String {
    let key = RsaKeyPair::from_pkcs8(PRIVATE).unwrap();
    let input = input(header, &claims.to_string());
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A folder with the secret.
fn secret() -> Folder {
    let folder = Folder::with(SECRET);
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// `jwt-gate token inspect - --secret FILE --issuer ISS --audience my-api WORDS…`, fed with a token.
fn verified(token: &str, more: &[&str]) -> Run {
    let folder = secret();
    let file = folder.file();
    let keys = ["token", "inspect", "-", "--secret", file.to_str().unwrap(), "--issuer", ISS, "--audience", "my-api"];
    fed(&[&keys, more].concat(), token.as_bytes())
}

#[test]
fn a_token_is_shown_and_verified() {
    let run = verified(&format!("Bearer {}\n", good()), &[]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
    let has = |text: &str| assert!(run.out.contains(text), "{text:?} in {}", run.out);
    has("header\n  alg  \"HS256\"\n  typ  \"JWT\"\nclaims\n");
    has("  aud  [\"my-api\",\"other\"]\n");
    has("  sub  \"alice\"\n");
    has("Z, 1h 3");
    has("Z, in 2h ");
    has("\nvalid: ");
}

#[test]
fn what_the_gate_refuses_is_refused() {
    let hs256 = r#"{"alg":"HS256"}"#;
    let with = |more: Value| with_secret(hs256, &claims(&more).to_string());
    let headed = |header: &str| with_secret(header, &claims(&json!({})).to_string());
    let own = claims(&json!({})).to_string();
    for (token, reason, about) in [
        (with(json!({ "exp": hours(-2) })), "token-expired", "it expired 2h"),
        (with(json!({ "exp": null })), "claim-mismatch", "there is no `exp`"),
        (with(json!({ "exp": "2999" })), "token-malformed", "`exp` is not a number"),
        (with(json!({ "nbf": hours(1) })), "token-not-yet-valid", "it begins in "),
        (
            with(json!({ "iss": "https://login.example.com" })),
            "issuer-unknown",
            "accepted: \"https://login.example.com/\"",
        ),
        (with(json!({ "iss": null })), "issuer-unknown", "there is no `iss`"),
        (with(json!({ "aud": "their-api" })), "audience-mismatch", "`aud` is \"their-api\"; accepted: my-api"),
        (with(json!({ "aud": null })), "claim-mismatch", "there is no `aud`"),
        (with(json!({ "sub": 5 })), "token-malformed", "`sub` is not a text"),
        (headed(r#"{"alg":"HS384"}"#), "algorithm-refused", "`alg` is \"HS384\"; accepted: HS256"),
        (headed(r#"{"alg":"none"}"#), "algorithm-refused", "`alg` is \"none\""),
        (headed(r#"{"alg":"HS256","typ":"dpop+jwt"}"#), "type-mismatch", "accepted: none, JWT, at+jwt"),
        (headed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#), "token-malformed", ""),
        (with_rsa(hs256, &claims(&json!({}))), "signature-invalid", ""),
        (format!("{}=", good()), "token-malformed", ""),
        (format!("{}.", input(hs256, &own)), "signature-invalid", ""),
        (
            with_secret(hs256, &format!("{},\"sub\":\"root\"}}", &own[..own.len() - 1])),
            "token-malformed",
            "the payload is not strict JSON",
        ),
        (with(json!({ "x": "x".repeat(9000) })), "token-too-large", "bytes"),
        ("a.b.c.d.e".to_owned(), "token-malformed", "five parts"),
        ("opaque".to_owned(), "token-malformed", "no dots"),
        ("..".to_owned(), "token-malformed", "the header is not strict JSON"),
        (good().replacen('.', "=.", 1), "token-malformed", "the header is not base64url"),
        (good().replacen('.', " .", 1), "token-malformed", "the header is not base64url"),
        ("\u{0}\u{1b}[2J".to_owned(), "token-malformed", ""),
    ] {
        let run = verified(&token, &[]);
        let last = run.out.lines().last().unwrap();
        assert_eq!((run.code, run.err.as_str()), (Some(1), ""), "{reason}: {run:?}");
        assert!(
            last.starts_with(&format!("refused, {reason}: ")) && last.contains(about),
            "{reason} {about:?}: {run:?}"
        );
        assert!(!run.out.contains(|c: char| c.is_control() && c != '\n'), "{run:?}");
    }
    let readme = include_str!("../../README.md");
    let expired = verified(&with(json!({ "exp": 1 })), &[]).out;
    let advice = "The client gets a new token. If all are expired: is the clock right?";
    assert!(expired.contains(advice) && readme.contains(advice), "{expired}");
}

#[test]
fn the_options_are_those_of_the_directive() {
    for (more, ends) in [
        (&["--leeway", "5m"][..], Some(0)),
        (&["--algorithms", "HS256,HS384"], Some(2)), // the secret is too short for the other
        (&["--algorithms", "RS256"], Some(2)),
        (&["--algorithms", "none"], Some(2)),
        (&["--leeway", "5"], Some(2)),
        (&["--leeway", "301s"], Some(2)),
        (&["--typ", "at+jwt"], Some(1)),
        (&["--typ", "JWT,at+jwt"], Some(0)),
        (&["--audience", "another"], Some(0)),
        (&["--audience", "*"], Some(2)),
        (&["--option", "max-age=1h"], Some(1)),
        (&["--option", "max-age=2h"], Some(0)),
        (&["--option", "claim.sub=alice"], Some(0)),
        (&["--option", "claim.sub=bob"], Some(1)),
        (&["--option", "discovery"], Some(2)),
        (&["--option", "secret=x"], Some(2)),
        (&["--option", "refresh=1m"], Some(2)),
        (&["--option", "\u{1b}[2J=1"], Some(2)),
    ] {
        let run = verified(&good(), more);
        assert_eq!(run.code, ends, "{more:?}: {run:?}");
        if ends == Some(2) {
            run.refused(2, "");
            assert!(!run.err.contains('\u{1b}'), "{run:?}");
        }
    }
}

#[test]
fn tokens_without_issuer_and_without_audience_are_asked_for() {
    let folder = secret();
    let file = folder.file();
    let keys = ["token", "inspect", "--secret", file.to_str().unwrap()];
    let token = with_secret(r#"{"alg":"HS256"}"#, &json!({ "exp": hours(1) }).to_string());
    let run = |more: &[&str]| fed(&[&keys, more].concat(), token.as_bytes());
    assert_eq!(run(&["--issuer", "-", "--audience", "*"]).code, Some(0));
    assert_eq!(run(&["--issuer", "-", "--audience", "a"]).code, Some(1));
    run(&["--issuer", "-"]).refused(2, "--audience");
    run(&["--audience", "*"]).refused(2, "--issuer");
    run(&[]).refused(2, "--issuer");
}

#[test]
fn public_keys_of_pem_files_and_of_a_jwk_set() {
    let token = with_rsa(r#"{"alg":"RS256","kid":"one"}"#, &claims(&json!({})));
    let policy = ["--issuer", ISS, "--audience", "my-api"];
    let run = |keys: &[&str]| fed(&[&["token", "inspect"], keys, &policy[..]].concat(), token.as_bytes());
    assert_eq!(run(&["--pem", PUBLIC]).code, Some(0));
    assert_eq!(run(&["--pem", OTHER, "--pem", PUBLIC]).code, Some(0));
    let other = run(&["--pem", OTHER]);
    assert!(other.code == Some(1) && other.out.contains("signature-invalid"), "{other:?}");

    let key = RsaKeyPair::from_pkcs8(PRIVATE).unwrap();
    let parts: ring::rsa::PublicKeyComponents<Vec<u8>> = key.public().into();
    let jwk = |kid: &str| {
        let [n, e] = [&parts.n, &parts.e].map(|octets| BASE64_URL_SAFE_NO_PAD.encode(octets));
        json!({ "kty": "RSA", "kid": kid, "n": n, "e": e })
    };
    let set = |keys: Value| Folder::with(json!({ "keys": keys }).to_string());
    let jwks = |folder: &Folder| run(&["--jwks", folder.file().to_str().unwrap()]);
    let good = jwks(&set(json!([jwk("one"), { "kty": "EC", "kid": "\u{1b}[2J" }])));
    assert!(good.code == Some(0) && good.err.contains("not used: key ") && !good.err.contains('\u{1b}'), "{good:?}");
    let unknown = jwks(&set(json!([jwk("two"), jwk("three")])));
    assert_eq!((unknown.code, unknown.err.as_str()), (Some(1), ""));
    assert!(unknown.out.contains("key-unknown") && unknown.out.contains("the keys are: two, three."), "{unknown:?}");
    // What is public is no secret.
    run(&["--secret", PUBLIC]).refused(2, "");
    run(&["--jwks", PUBLIC]).refused(2, "not a JWK set");
    jwks(&set(json!([]))).refused(2, "no usable key");
}

/// As a shell makes it of `<(curl …)`.
#[test]
fn keys_may_come_through_a_pipe() {
    let token = with_rsa(r#"{"alg":"RS256"}"#, &claims(&json!({})));
    let script =
        format!("printf %s {token} | {PROGRAM} token inspect - --pem <(cat {PUBLIC}) --issuer {ISS} --audience my-api");
    let run = run(Command::new("bash").args(["-c", &script]));
    assert!(run.code == Some(0) && run.err.is_empty(), "{run:?}");
}

#[test]
fn without_keys_it_is_only_decoded() {
    let forged = with_rsa(r#"{"alg":"HS256"}"#, &claims(&json!({ "exp": 1 })));
    for words in [&["token", "inspect"][..], &["token", "inspect", "-"]] {
        let run = fed(words, forged.as_bytes());
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
        assert!(
            run.out.contains("  exp  1  1970-01-01T00:00:01Z, ") && run.out.contains("\nnot verified: "),
            "{run:?}"
        );
    }
    for (payload, about) in [
        (json!({ "exp": -1 }), "`exp` is not a number"),
        (json!({ "aud": [1] }), "`aud` is neither"),
        (json!({ "iss": [] }), ""),
        (json!([]), "the payload is not"),
    ] {
        let token = with_secret(r#"{"alg":"HS256"}"#, &payload.to_string());
        let run = fed(&["token", "inspect"], token.as_bytes());
        assert_eq!(run.code, Some(1), "{payload}: {run:?}");
        assert!(run.out.contains("refused, token-malformed: ") && run.out.contains(about), "{payload}: {run:?}");
    }
    let far = with_secret(r#"{"alg":"HS256"}"#, r#"{"exp":1e300,"nbf":18446744073709551615,"iat":0.5}"#);
    let run = fed(&["token", "inspect"], far.as_bytes());
    assert!(run.code == Some(0) && run.out.contains("1e+300  after the year 9999, in "), "{run:?}");
}

#[test]
fn a_token_on_the_command_line_is_warned_about() {
    let run = words(&["token", "inspect", &good()]);
    assert_eq!(run.code, Some(0));
    assert!(run.err.contains("stays in the history of the shell") && run.err.lines().count() == 1, "{run:?}");
    assert_eq!(words(&["token", "inspect", &format!("bearer {}", good())]).code, Some(0));
}

#[test]
fn json_for_programs() {
    let run = verified(&good(), &["--json"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (&shown["verdict"], &shown["header"]["alg"], &shown["claims"]["sub"]),
        (&json!("valid"), &json!("HS256"), &json!("alice"))
    );
    assert!(shown["times"]["exp"]["seconds_from_now"].as_i64().unwrap() > HOUR, "{shown}");

    let run = verified(
        &with_secret("{\"alg\":\"HS256\"}", &claims(&json!({ "aud": "a\u{202e}\u{9b}" })).to_string()),
        &["--json"],
    );
    assert_eq!(run.code, Some(1));
    assert!(!run.out.contains(['\u{202e}', '\u{9b}']), "{run:?}");
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&shown["verdict"], &shown["reason"]), (&json!("refused"), &json!("audience-mismatch")));
    assert_eq!(shown["claims"]["aud"], "a\u{202e}\u{9b}");

    let shown: Value = serde_json::from_str(&verified("x", &["--json"]).out).unwrap();
    assert_eq!(
        (&shown["header"], &shown["claims"], &shown["reason"]),
        (&Value::Null, &Value::Null, &json!("token-malformed"))
    );
}

#[test]
fn what_a_token_says_is_not_obeyed_by_a_terminal() {
    let hostile = "a\u{1b}[2J\u{9b}31m\u{202e}\nvalid: \u{7f}";
    let claims = json!({ hostile: hostile, "aud": [{ hostile: hostile }], "exp": 1 }).to_string();
    let header = json!({ "alg": "HS256", "kid": hostile, "typ": hostile, hostile: 1 }).to_string();
    for run in [
        fed(&["token", "inspect"], with_secret(&header, &claims).as_bytes()),
        verified(&with_secret(&header, &claims), &[]),
    ] {
        assert_eq!(run.code, Some(1));
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!run.out.contains(obeyed) && !run.out.contains("\nvalid: "), "{run:?}");
    }
}

#[test]
fn what_cannot_be_used_ends_with_2() {
    fed(&["token", "inspect"], b"").refused(2, "there is no token");
    fed(&["token", "inspect"], b" \n").refused(2, "there is no token");
    let policy = ["--issuer", ISS, "--audience", "a"];
    let run = |keys: &[&str]| fed(&[&["token", "inspect"], keys, &policy[..]].concat(), good().as_bytes());
    run(&["--secret", "/nonexistent"]).refused(2, "/nonexistent: cannot be read: No such file");
    run(&["--jwks", "/"]).refused(2, "/: cannot be read: Is a directory");
    run(&["--pem", "/dev/zero"]).refused(2, "150001 bytes; at most 150000 are accepted");
    let folder = secret();
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o644)).unwrap();
    run(&["--secret", folder.file().to_str().unwrap()]).refused(2, "can be read or written by everybody (mode 644)");
    for wrong in [
        &["token", "inspect", "--issuer", "a"][..],
        &["token", "inspect", "--leeway", "5s"],
        &["token", "inspect", "--pem", "a", "--jwks", "b"],
        &["token", "inspect", "a", "b"],
        &["token", "verify"],
    ] {
        let run = words(wrong);
        assert!(run.code == Some(2) && run.out.is_empty() && !run.err.is_empty(), "{wrong:?}: {run:?}");
    }
}

/// More than a token can have is not even read.
#[test]
fn an_endless_token_has_an_end() {
    let script = format!("{PROGRAM} token inspect - < /dev/zero");
    let run = run(Command::new("bash").args(["-c", &script]));
    assert!(
        run.code == Some(1) && run.out.contains("token-too-large") && run.out.len() < 1000,
        "{} {}",
        run.out.len(),
        run.err
    );
}
