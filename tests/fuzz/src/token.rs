//! Tokens and the JSON in them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwt_gate_core::algorithm::{Algorithm, AlgorithmSet};
use jwt_gate_core::keys::{KeySet, set};
use jwt_gate_core::time::UnixMicros;
use jwt_gate_core::token::cache::TokenCache;
use jwt_gate_core::token::issuer::{Audiences, Issuer, IssuerSet, Types};
use jwt_gate_core::token::json::Json;
use jwt_gate_core::token::{Verified, verify};
use jwt_gate_core::verdict::Reason;
use ring::hmac;
use serde_json::Value;

const NOW: u64 = 1_700_000_000;
const LEEWAY: u64 = 30;
const SECRET: &[u8; 32] = b"known to all who read this line.";

/// All tokens that the keys of `tests/data/keys` signed for these issuers; whatever else got in would be forged.
const SIGNED: [&[u8]; 3] = [
    include_bytes!("../corpus/token/good-eddsa"),
    include_bytes!("../corpus/token/good-es256"),
    include_bytes!("../corpus/token/good-rs256"),
];

static ISSUERS: LazyLock<IssuerSet> = LazyLock::new(|| {
    use Algorithm::{ES256, EdDSA, RS256};
    let pem = |pem: &[u8], algorithm| set::from_pem(pem, AlgorithmSet::from_iter([algorithm])).ok();
    let issuers = vec![
        issuer(0, EdDSA, pem(include_bytes!("../../data/keys/ed25519.pub.pem"), EdDSA)),
        issuer(1, ES256, pem(include_bytes!("../../data/keys/p256.pub.pem"), ES256)),
        issuer(2, RS256, pem(include_bytes!("../../data/keys/rsa.pub.pem"), RS256)),
        issuer(3, Algorithm::HS512, None),
    ];
    IssuerSet::new(issuers).expect("an iss each")
});

/// The issuer whose secret this file knows.
static LAX: LazyLock<IssuerSet> = LazyLock::new(|| {
    let keys = set::from_secret(SECRET, AlgorithmSet::from_iter([Algorithm::HS256])).ok();
    IssuerSet::new(vec![issuer(4, Algorithm::HS256, keys)]).expect("one iss")
});

/// `https://EdDSA.test` and the like, for the audience `api`.
fn issuer(id: u32, algorithm: Algorithm, loaded: Option<set::Loaded>) -> Arc<Issuer> {
    Arc::new(Issuer {
        id,
        name: algorithm.name().to_owned(),
        issuer: Some(format!("https://{}.test", algorithm.name())),
        audiences: Audiences::OneOf(vec!["api".to_owned()]),
        audience_claims: vec!["aud".to_owned()],
        algorithms: AlgorithmSet::from_iter([algorithm]),
        types: Types::Usual,
        fixed_claims: Vec::new(),
        require_exp: true,
        leeway: Duration::from_secs(LEEWAY),
        max_age: None,
        subject: "sub".to_owned(),
        scopes: vec!["scope".to_owned()],
        groups: vec!["groups".to_owned()],
        keys: loaded.map(|loaded| Arc::<KeySet>::new(loaded.keys)),
    })
}

/// A token: none gets in that was not signed.
pub fn token(data: &[u8]) {
    assert_eq!(judged(data, &ISSUERS).is_ok(), SIGNED.contains(&data));
}

/// Header and payload, one a line, well signed whatever they say: only what the policy asks for gets in.
pub fn signed_token(data: &[u8]) {
    let split = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (header, payload) = (&data[..split], data.get(split + 1..).unwrap_or_default());
    let Ok(verified) = judged(signed(header, payload).as_bytes(), &LAX) else { return };

    let object = |text| serde_json::from_slice::<Value>(text).expect("JSON");
    let (header, claims) = (object(header), object(payload));
    assert!(header["alg"] == "HS256" && header.get("crit").is_none() && header.get("b64").is_none());
    let typ = header.get("typ").map(|typ| typ.as_str().expect("text").to_ascii_lowercase());
    let typ = typ.as_ref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
    assert!(matches!(typ, None | Some("jwt" | "at+jwt")), "{typ:?}");

    assert_eq!(claims["iss"], "https://HS256.test");
    let aud = &claims["aud"];
    assert!(aud == "api" || aud.as_array().is_some_and(|all| all.iter().any(|one| one == "api")), "{aud}");
    let time = |name| claims.get(name).map(|time| time.as_f64().expect("a number"));
    let (now, leeway) = (NOW as f64, LEEWAY as f64);
    assert!(time("exp").is_some_and(|exp| exp > now - leeway), "{:?}", time("exp"));
    assert!(time("nbf").is_none_or(|nbf| (0.0..=now + leeway).contains(&nbf)), "{:?}", time("nbf"));
    assert!(time("iat").is_none_or(|iat| iat >= 0.0), "{:?}", time("iat"));
    let subject = claims.get("sub").map(|sub| sub.as_str().expect("text")).filter(|sub| !sub.is_empty());
    assert_eq!(verified.subject(), subject);
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(verified.payload_base64url()).as_deref(), Ok(payload));
}

/// A token with these claims, let in by an issuer of this name.
pub(super) fn let_in(name: &str, claims: &Value) -> Verified {
    let mut issuer = LAX.by_iss(Some("https://HS256.test")).expect("the one").as_ref().clone();
    issuer.name = name.to_owned();
    issuer.require_exp = false;
    let issuers = IssuerSet::new(vec![Arc::new(issuer)]).expect("one iss");
    let token = signed(br#"{"alg":"HS256"}"#, claims.to_string().as_bytes());
    verify(token.as_bytes(), &issuers, UnixMicros::from_secs(NOW)).expect("good")
}

fn signed(header: &[u8], payload: &[u8]) -> String {
    let base64url = |octets: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(octets);
    let input = format!("{}.{}", base64url(header), base64url(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), input.as_bytes());
    format!("{input}.{}", base64url(tag.as_ref()))
}

/// JSON as another reader has it, but for what is refused on purpose.
pub fn json(data: &[u8]) {
    let value = serde_json::from_slice::<Value>(data);
    match Json::parse(data) {
        Ok(json) => {
            let value = value.expect("JSON");
            assert_same(&json, &value);
            assert!(depth_of(&value) <= 16);
        }
        Err(error) => {
            super::assert_fit_for_log(&error);
            if let Ok(value) = value {
                let duplicates = names_in(data) > members_in(&value);
                assert!(duplicates || depth_of(&value) > 16, "{error}");
            }
        }
    }
}

/// The verdict, the same from memory as at first sight.
fn judged(token: &[u8], issuers: &IssuerSet) -> Result<Arc<Verified>, Reason> {
    let (cache, now) = (TokenCache::new(1), UnixMicros::from_secs(NOW));
    let verdict = verify(token, issuers, now);
    for _ in 0..2 {
        let again = cache.verify(token, issuers, now).0;
        let again = again.map_err(|rejection| rejection.reason);
        assert_eq!(again.as_ref().map(|v| v.payload_base64url()), verdict.as_ref().map(Verified::payload_base64url));
    }
    if let Err(reason) = verdict {
        assert!(matches!(reason.consequence().status, 401 | 503), "{reason:?}");
    }
    verdict.map(Arc::new)
}

fn assert_same(json: &Json, value: &Value) {
    match (json, value) {
        (Json::Null, Value::Null) => {}
        (Json::Bool(a), Value::Bool(b)) => assert_eq!(a, b),
        (Json::Number(a), Value::Number(b)) => assert_eq!(a, b),
        (Json::String(a), Value::String(b)) => assert_eq!(a, b),
        (Json::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| assert_same(a, b));
        }
        (Json::Object(a), Value::Object(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().for_each(|(name, a)| assert_same(a, &b[&**name]));
        }
        _ => panic!("{json:?} is not {value:?}"),
    }
}

/// Member names in a JSON text: its colons outside of strings.
pub(super) fn names_in(text: &[u8]) -> usize {
    let (mut in_string, mut escaped, mut names) = (false, false, 0);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => names += 1,
            _ => {}
        }
    }
    names
}

pub(super) fn members_in(value: &Value) -> usize {
    match value {
        Value::Array(elements) => elements.iter().map(members_in).sum(),
        Value::Object(members) => members.len() + members.values().map(members_in).sum::<usize>(),
        _ => 0,
    }
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth_of).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}
