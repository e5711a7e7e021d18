//! Tokens that must not get in, by the step that stops them. Each table also holds the nearest tokens that
//! must get in, so that a rule which refuses everything fails too.

use std::{iter, sync::Arc};

use jwt_gate_core::{
    algorithm::Algorithm::{self, *},
    keys::set,
    token::{
        self, MAX_HEADER, MAX_TOKEN,
        issuer::{Audiences, Issuer, IssuerSet},
        verify::VerifyingKey,
    },
    verdict::Reason,
};
use ring::{hmac, signature};

use super::token_mint::*;

/// A token, EdDSA unless its header says otherwise, with this header.
fn with_header(header: &str) -> String {
    sign(EdDSA, header, good_claims())
}

fn good() -> String {
    token(EdDSA, &good_claims())
}

/// A good token of exactly this many bytes.
fn of_length(length: usize) -> String {
    // A claim that fills up is three characters for four of the token; the header makes up the rest.
    for spaces in 0..4 {
        let header = format!("{{\"alg\":\"EdDSA\"{}}}", " ".repeat(spaces));
        let empty = sign(EdDSA, &header, claims(r#""x":"""#)).len();
        for filling in ((length - empty) * 3 / 4).saturating_sub(4)..=(length - empty) * 3 / 4 + 4 {
            let token = sign(EdDSA, &header, claims(&format!(r#""x":"{}""#, "x".repeat(filling))));
            if token.len() == length {
                return token;
            }
        }
    }
    panic!("no token of {length} bytes");
}

#[test]
fn size() {
    assert_eq!(refusal(of_length(MAX_TOKEN)), None);
    assert_eq!(refusal(of_length(MAX_TOKEN + 1)), Some(Reason::TokenTooLarge));
    assert_eq!(refusal(vec![b'.'; 1 << 20]), Some(Reason::TokenTooLarge));

    let header = |octets: usize| format!("{:<octets$}", r#"{"alg":"EdDSA"}"#);
    assert_eq!(refusal(with_header(&header(MAX_HEADER / 4 * 3))), None);
    assert_eq!(refusal(with_header(&header(MAX_HEADER / 4 * 3 + 1))), Some(Reason::TokenTooLarge));
}

#[test]
fn segments() {
    let good = good();
    assert_eq!(refusal(&good), None);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    for malformed in [
        String::new(),
        ".".into(),
        "..".into(),
        "....".into(),
        ".".repeat(MAX_TOKEN),
        "a".repeat(MAX_TOKEN),
        header.into(),
        input.into(),
        format!("{good}."),
        format!(".{good}"),
        format!("{input}..{signature}"),
        format!("{good}.{signature}"),
        // A JWE has five segments, whatever is in them (CVE-2026-29000).
        format!("{good}.{payload}.{signature}"),
        format!("{header}....{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("Bearer {good}"),
        sign(EdDSA, r#"{"alg":"dir","enc":"A256GCM"}"#, "") + ".AAAA.AAAA",
        // The JSON serialization (RFC 7515 section 7.2).
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
        format!(r#"{{"a":"{good}"}}"#),
    ] {
        assert_eq!(refusal(&malformed), Some(Reason::TokenMalformed), "{malformed}");
    }
    assert_eq!(refusal(format!("{input}.")), Some(Reason::SignatureInvalid));
}

#[test]
fn base64url_is_strict_in_every_segment() {
    let good = good();
    let segments: Vec<&str> = good.split('.').collect();
    for index in 0..3 {
        let broken = |segment: String| {
            let mut segments = segments.clone();
            segments[index] = &segment;
            segments.join(".")
        };
        let segment = segments[index];
        for spelling in [
            format!("{segment}="),
            format!("{segment}=="),
            format!(" {segment}"),
            format!("{segment}\n"),
            format!("{segment}%3D"),
            format!("{}\r\n{}", &segment[..8], &segment[8..]),
            format!("{}\0{}", &segment[..8], &segment[8..]),
            format!("{}+{}", &segment[..8], &segment[9..]),
            format!("{}/{}", &segment[..8], &segment[9..]),
            format!("{}é{}", &segment[..8], &segment[10..]),
        ] {
            assert_eq!(refusal(broken(spelling.clone())), Some(Reason::TokenMalformed), "{index}: {spelling}");
        }
        let mut bytes = good.clone().into_bytes();
        let place = segments[..index].iter().map(|s| s.len() + 1).sum::<usize>() + 3;
        bytes[place] = 0xff;
        assert_eq!(refusal(bytes), Some(Reason::TokenMalformed));
    }
    // 64 octets leave four bits in the last character. Any but zero would be a second spelling of the
    // same signature, and so a second token that nobody revoked.
    let (rest, last) = good.split_at(good.len() - 1);
    for other in ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).filter(|c| !last.starts_with(*c)) {
        let expected = if "AQgw".contains(other) { Reason::SignatureInvalid } else { Reason::TokenMalformed };
        assert_eq!(refusal(format!("{rest}{other}")), Some(expected), "{other}");
    }
}

#[test]
fn headers() {
    for accepted in [
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"Ed25519"}"#,
        r#"{"\u0061lg":"Ed\u0044SA"}"#,
        " \r\n{\t\"typ\":\"JWT\", \"alg\":\"EdDSA\"} ",
        r#"{"alg":"EdDSA","kid":"whatever the PEM has no kid"}"#,
        r#"{"alg":"EdDSA","cty":7,"x5t":null,"zip":"DEF","Crit":1,"ALG":"none"}"#,
    ] {
        assert_eq!(refusal(with_header(accepted)), None, "{accepted}");
    }
    for malformed in [
        "",
        "null",
        "[]",
        "\"EdDSA\"",
        "{}",
        r#"[{"alg":"EdDSA"}]"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":7}"#,
        r#"{"alg":["EdDSA"]}"#,
        r#"{"alg":{"EdDSA":1}}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        r#"{"alg":"EdDSA","kid":null}"#,
        r#"{"alg":"EdDSA","kid":["a"]}"#,
        r#"{"alg":"EdDSA","typ":7}"#,
        r#"{"alg":"EdDSA","typ":null}"#,
        // No extension is understood, so none may be demanded (CVE-2025-59420, CVE-2026-32597).
        r#"{"alg":"EdDSA","crit":["exp"],"exp":1}"#,
        r#"{"alg":"EdDSA","crit":[]}"#,
        r#"{"alg":"EdDSA","crit":null}"#,
        r#"{"alg":"EdDSA","b64":false}"#,
        r#"{"alg":"EdDSA","b64":true}"#,
        r#"{"alg":"EdDSA","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"EdDSA","\u0063rit":["x"]}"#,
        r#"{"alg":"none","crit":["x"]}"#,
        r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
        r#"{"alg":"none","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","\u0061lg":"none"}"#,
        r#"{"alg":"EdDSA","x":{"a":1,"\u0061":2}}"#,
        r#"{"alg":"EdDSA",}"#,
        r#"{"alg":"EdDSA"}{}"#,
        r#"{"alg":"EdDSA"} x"#,
        "{\"alg\":\"EdDSA\"}\0",
        "\u{feff}{\"alg\":\"EdDSA\"}",
        r#"{"alg":"EdDSA","x":"\ud800"}"#,
        r#"{'alg':'EdDSA'}"#,
        r#"{"alg":"EdDSA","x":1e400}"#,
    ] {
        assert_eq!(refusal(with_header(malformed)), Some(Reason::TokenMalformed), "{malformed}");
    }
    assert_eq!(
        refusal(sign(EdDSA, b"{\"alg\":\"EdDSA\",\"x\":\"\xff\"}", good_claims())),
        Some(Reason::TokenMalformed)
    );
}

#[test]
fn payloads() {
    for more in [r#""x":"\ud83d\ude00""#, r#""x":1e300,"y":[[]],"z":null"#, r#""EXP":"x","Iss":7"#] {
        assert_eq!(refusal_of(&claims(more), |_| {}), None, "{more}");
    }
    for malformed in [
        "",
        "{}}",
        "[]",
        "null",
        "7",
        "\"text\"",
        &format!("[{}]", good_claims()),
        &format!("{} x", good_claims()),
        &format!("{}{}", good_claims(), good_claims()),
        &format!("\u{feff}{}", good_claims()),
        &claims(r#""iss":"https://other.test""#),
        &claims(r#""\u0065xp":9999999999"#),
        &claims(r#""x":[{"y":{"z":1,"z":1}}]"#),
        &claims(r#""x":"\udc00""#),
        &claims(r#""x":1e400"#),
        &claims(r#""x":-1e400"#),
        &claims("\"x\":\"line\nbreak\""),
    ] {
        assert_eq!(refusal_of(malformed, |_| {}), Some(Reason::TokenMalformed), "{malformed}");
    }
    let invalid = [&br#"{"iss":"https://issuer.test","x":""#[..], b"\xc3\x28\"}"].concat();
    assert_eq!(refusal(sign(EdDSA, r#"{"alg":"EdDSA"}"#, invalid)), Some(Reason::TokenMalformed));
}

#[test]
fn depth() {
    // The object around it is the first of 16 levels.
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    for (levels, expected) in [(15, None), (16, Some(Reason::TokenMalformed)), (2500, Some(Reason::TokenMalformed))] {
        assert_eq!(refusal_of(&claims(&format!("\"x\":{}", nested(levels))), |_| {}), expected, "{levels}");
    }
    for (levels, expected) in [(15, None), (16, Some(Reason::TokenMalformed)), (400, Some(Reason::TokenMalformed))] {
        assert_eq!(refusal_of(&claims(&format!("\"x\":{}", objects(levels))), |_| {}), expected, "{levels}");
        let header = format!(r#"{{"alg":"EdDSA","x":{}}}"#, nested(levels));
        assert_eq!(refusal(with_header(&header)), expected, "{levels}");
    }
    // Without an end: the parser must not recurse to find that out.
    assert_eq!(refusal_of(&"[".repeat(6000), |_| {}), Some(Reason::TokenMalformed));
}

#[test]
fn no_algorithm_named_none() {
    let mut spellings: Vec<String> = (0..16u8)
        .map(|bits| "none".chars().enumerate().map(|(i, c)| upper_if(bits >> i & 1 == 1, c)).collect())
        .collect();
    spellings.extend(["", " none", "none ", "none\0", "nоne", "null", "\\u006eone"].map(str::to_owned));
    for spelling in spellings {
        let header = format!(r#"{{"alg":"{}"}}"#, spelling.replace('\0', "\\u0000"));
        let token = with_header(&header);
        let (input, signature) = token.rsplit_once('.').unwrap();
        for shape in [format!("{input}."), format!("{input}.{signature}"), format!("{input}.AAAA")] {
            assert_eq!(refusal(&shape), Some(Reason::AlgorithmRefused), "{spelling:?}");
        }
        // Without the last dot it is no token at all.
        assert_eq!(refusal(input), Some(Reason::TokenMalformed));
    }
}

fn upper_if(upper: bool, c: char) -> char {
    if upper { c.to_ascii_uppercase() } else { c }
}

#[test]
fn names_of_algorithms_are_compared_byte_for_byte() {
    for name in
        ["eddsa", "EDDSA", "EdDSA ", "ed25519", "Ed448", "ES256K", "RS1", "RS256", "HS256", "ML-DSA-44", "A128KW"]
    {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        assert_eq!(refusal(with_header(&header)), Some(Reason::AlgorithmRefused), "{name}");
    }
}

/// Every algorithm's tokens against every algorithm's issuer: one diagonal.
#[test]
fn an_algorithm_is_good_for_its_own_issuer_only() {
    for signed in Algorithm::ALL {
        let token = token(signed, &good_claims());
        for accepted in Algorithm::ALL {
            let verdict = token::verify(token.as_bytes(), &only(issuer(accepted)), now()).err();
            let expected = if signed == accepted { None } else { Some(Reason::AlgorithmRefused) };
            assert_eq!(verdict, expected, "{signed:?} at {accepted:?}");
        }
    }
}

/// Allowed, but no key is made for it (CVE-2022-23541): the list of algorithms does not make a key fit.
#[test]
fn an_allowed_algorithm_without_a_fitting_key() {
    for signed in Algorithm::ALL {
        let token = token(signed, &good_claims());
        for held in Algorithm::ALL.into_iter().filter(|held| *held != signed) {
            let mut issuer = issuer(held);
            issuer.algorithms = Algorithm::ALL.into_iter().collect();
            let verdict = token::verify(token.as_bytes(), &only(issuer), now()).err();
            assert_eq!(verdict, Some(Reason::AlgorithmRefused), "{signed:?} with the key for {held:?}");
        }
    }
}

/// CVE-2022-29217, CVE-2023-48223, CVE-2026-34950 and others: a public key as the secret of HS256, in every
/// form in which it is published.
#[test]
fn a_public_key_is_no_secret() {
    let pem: &[u8] = key_file!("rsa.pub.pem");
    let der = pem_octets(pem);
    let texts: [&[u8]; 8] = [
        pem,
        pem.trim_ascii_end(),
        &[b" \n", pem].concat(),
        &der,
        key_file!("rsa.pkcs1.pub.pem"),
        key_file!("rsa.crt"),
        key_file!("rsa.openssh.pub"),
        br#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"0123456789"}"#,
    ];
    for text in texts {
        for (algorithm, mac) in [(HS256, hmac::HMAC_SHA256), (HS384, hmac::HMAC_SHA384), (HS512, hmac::HMAC_SHA512)] {
            let header = format!(r#"{{"alg":"{}"}}"#, algorithm.name());
            let input = format!("{}.{}", base64url(header), base64url(good_claims()));
            let forged = hmac::sign(&hmac::Key::new(mac, text), input.as_bytes());
            let forged = format!("{input}.{}", base64url(forged));
            let verdict = token::verify(forged.as_bytes(), &only(issuer(RS256)), now()).err();
            assert_eq!(verdict, Some(Reason::AlgorithmRefused));
            // Not even where somebody allows both, which the configuration refuses.
            let mut both = issuer(RS256);
            both.algorithms = algorithms(&[RS256, algorithm]);
            both.keys = Some(Arc::new(set::from_pem(pem, both.algorithms).unwrap().keys));
            let verdict = token::verify(forged.as_bytes(), &only(both), now()).err();
            assert_eq!(verdict, Some(Reason::AlgorithmRefused));
            // And nobody can make such a text the secret.
            assert!(set::from_secret(text, algorithms(&[algorithm])).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }
}

/// The last line of defence below the lists of algorithms: a key does not serve another family at all, and
/// in its own only the algorithms that it was loaded for.
#[test]
fn a_key_serves_its_own_algorithms_only() {
    let (x, input) = (b"a public key of 32 octets is here", b"header.payload");
    let key = VerifyingKey::ed25519(&x[..32]).unwrap();
    let forged = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &x[..32]), input);
    assert!(VerifyingKey::hmac(&x[..32]).verify(HS256, input, &base64url(forged)));
    assert!(!key.verify(HS256, input, &base64url(forged)));

    let ps256 = set::from_pem(key_file!("rsa.pub.pem"), algorithms(&[PS256])).unwrap().keys;
    let key = ps256.iter().next().unwrap();
    assert!(key.verify(PS256, input, &base64url(signature_of(PS256, input))));
    assert!(!key.verify(RS256, input, &base64url(signature_of(RS256, input))));

    // A set that was loaded for more than this issuer allows, as when two policies share it.
    let mut narrow = issuer(RS256);
    narrow.keys = Some(Arc::new(set::from_pem(key_file!("rsa.pub.pem"), algorithms(&[RS256, PS256])).unwrap().keys));
    let issuers = only(narrow);
    let verdict = |algorithm| token::verify(token(algorithm, &good_claims()).as_bytes(), &issuers, now()).err();
    assert_eq!((verdict(RS256), verdict(PS256)), (None, Some(Reason::AlgorithmRefused)));
}

fn pem_octets(pem: &[u8]) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let lines = str::from_utf8(pem).unwrap().lines().filter(|line| !line.starts_with("-----"));
    BASE64_STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// CVE-2018-0114, CVE-2026-27962, CVE-2026-34240: what a token says about its own key.
#[test]
fn keys_in_the_header_are_not_read() {
    let attacker = signature::RsaKeyPair::from_pkcs8(key_file!("rsa-other.pkcs8")).unwrap();
    let components = signature::RsaPublicKeyComponents::<Vec<u8>>::from(attacker.public());
    let jwk = format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, base64url(&components.n), base64url(&components.e));
    for brought in [
        format!(r#""jwk":{jwk}"#),
        format!(r#""jwk":{jwk},"kid":"mine""#),
        r#""jku":"http://127.0.0.1:9/keys""#.into(),
        r#""x5u":"file:///etc/passwd""#.into(),
        r#""x5c":["MIIB"],"x5t":"AAAA""#.into(),
        r#""jwk":null,"jku":7,"x5c":{}"#.into(),
    ] {
        let input = format!("{}.{}", base64url(format!(r#"{{"alg":"RS256",{brought}}}"#)), base64url(good_claims()));
        let forged = rsa(key_file!("rsa-other.pkcs8"), &signature::RSA_PKCS1_SHA256, input.as_bytes());
        let forged = format!("{input}.{}", base64url(forged));
        let issuers = only(issuer(RS256));
        let verdict = token::verify(forged.as_bytes(), &issuers, now()).err();
        assert_eq!(verdict, Some(Reason::SignatureInvalid), "{brought}");
        // The same header under the issuer's own signature does no harm.
        let own = sign(RS256, format!(r#"{{"alg":"RS256",{brought}}}"#), good_claims());
        assert_eq!(token::verify(own.as_bytes(), &issuers, now()).err(), None, "{brought}");
    }
}

/// CVE-2022-21449, CVE-2020-28042: signatures that were never made by a key.
#[test]
fn signatures_of_the_wrong_length_or_range() {
    // The order of each curve, and one less, are the edges of r and s.
    let order =
        |hex: &str| (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    let p256: Vec<u8> = order("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let p384: Vec<u8> =
        order("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973");
    let p521: Vec<u8> = order(concat!(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa",
        "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409"
    ));
    for algorithm in Algorithm::ALL {
        let issuers = only(issuer(algorithm));
        let good = token(algorithm, &good_claims());
        assert_eq!(token::verify(good.as_bytes(), &issuers, now()).err(), None);
        let (input, _) = good.rsplit_once('.').unwrap();
        let signature = signature_of(algorithm, input.as_bytes());
        let length = signature.len();
        let mut forged = vec![
            vec![],
            vec![0],
            vec![0; length],
            vec![1; length],
            vec![0xff; length],
            signature[..length - 1].to_vec(),
            signature[1..].to_vec(),
            [&[0], &signature[..]].concat(),
            [&signature[..], &[0]].concat(),
            [&signature[..], &signature[..]].concat(),
            vec![0; 5000],
        ];
        let half = length / 2;
        let n = match algorithm {
            ES256 => Some(&p256),
            ES384 => Some(&p384),
            ES512 => Some(&p521),
            _ => None,
        };
        if let Some(n) = n {
            assert_eq!(n.len(), half);
            let zero = vec![0; half];
            let (r, s) = signature.split_at(half);
            for pair in [[&zero[..], s], [r, &zero], [n, s], [r, n], [n, n], [&zero, n], [n, &zero], [s, r]] {
                forged.push(pair.concat());
            }
            forged.push(der_signature(r, s));
        }
        for signature in forged {
            let token = format!("{input}.{}", base64url(&signature));
            let verdict = token::verify(token.as_bytes(), &issuers, now()).err();
            assert_eq!(verdict, Some(Reason::SignatureInvalid), "{algorithm:?} {signature:x?}");
        }
    }
}

/// ECDSA as X.509 writes it: a JWS never carries that.
fn der_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| [&[2, number.len() as u8 + 1, 0], number].concat();
    let body = [integer(r), integer(s)].concat();
    let mut der = vec![0x30];
    der.extend(if body.len() > 127 { vec![0x81, body.len() as u8] } else { vec![body.len() as u8] });
    der.extend(body);
    der
}

#[test]
fn iss_is_one_string_compared_byte_for_byte() {
    let of = |iss: &str| format!(r#"{{"iss":{iss},"aud":"{AUD}","exp":{}}}"#, NOW + 300);
    assert_eq!(refusal_of(&of(&format!("{ISS:?}")), |_| {}), None);
    for unknown in
        ["https://issuer.test/", "https://issuer.tes", "HTTPS://issuer.test", " https://issuer.test", "", "-", "*"]
    {
        assert_eq!(refusal_of(&of(&format!("{unknown:?}")), |_| {}), Some(Reason::IssuerUnknown), "{unknown:?}");
    }
    // CVE-2024-53861: a part of the name; also in a list, as an object, and as nothing.
    for wrong in ["[\"https://issuer.test\"]", "[]", "{}", "null", "7", "true"] {
        assert_eq!(refusal_of(&of(wrong), |_| {}), Some(Reason::TokenMalformed), "{wrong}");
    }
    let missing = format!(r#"{{"aud":"{AUD}","exp":{}}}"#, NOW + 300);
    assert_eq!(refusal_of(&missing, |_| {}), Some(Reason::IssuerUnknown));
    assert_eq!(refusal_of(&missing, |issuer| issuer.issuer = None), None);
    assert_eq!(refusal_of(&good_claims(), |issuer| issuer.issuer = None), Some(Reason::IssuerUnknown));
    assert_eq!(refusal_of(&of("\"-\""), |issuer| issuer.issuer = None), Some(Reason::IssuerUnknown));
    assert_eq!(refusal_of(&of("null"), |issuer| issuer.issuer = None), Some(Reason::TokenMalformed));
}

/// CVE-2025-59936: a key belongs to its issuer, whatever `kid` says.
#[test]
fn a_key_of_another_issuer() {
    let jwks = |kid: &str, file: &[u8]| {
        let components = rsa_components(file);
        format!(r#"{{"keys":[{{"kty":"RSA","kid":"{kid}","n":"{}","e":"{}"}}]}}"#, components.0, components.1)
    };
    let holder = |id: u32, iss: &str, jwks: String| {
        let mut issuer = issuer(RS256);
        (issuer.id, issuer.issuer) = (id, Some(iss.into()));
        issuer.keys = Some(Arc::new(set::from_jwks(jwks.as_bytes(), issuer.algorithms).unwrap().keys));
        Arc::new(issuer)
    };
    let first = holder(0, ISS, jwks("one", key_file!("rsa.pkcs8")));
    let second = holder(1, "https://second.test", jwks("two", key_file!("rsa-other.pkcs8")));
    let issuers = IssuerSet::new(vec![first, second]).unwrap();

    let verdict = |kid: Option<&str>, key: &[u8]| {
        let kid = kid.map_or(String::new(), |kid| format!(r#","kid":"{kid}""#));
        let input = format!("{}.{}", base64url(format!(r#"{{"alg":"RS256"{kid}}}"#)), base64url(good_claims()));
        let signature = rsa(key, &signature::RSA_PKCS1_SHA256, input.as_bytes());
        token::verify(format!("{input}.{}", base64url(signature)).as_bytes(), &issuers, now()).err()
    };
    assert_eq!(verdict(Some("one"), key_file!("rsa.pkcs8")), None);
    assert_eq!(verdict(None, key_file!("rsa.pkcs8")), None);
    assert_eq!(verdict(Some("two"), key_file!("rsa-other.pkcs8")), Some(Reason::KeyUnknown));
    assert_eq!(verdict(Some("two"), key_file!("rsa.pkcs8")), Some(Reason::KeyUnknown));
    assert_eq!(verdict(Some("one"), key_file!("rsa-other.pkcs8")), Some(Reason::SignatureInvalid));
    assert_eq!(verdict(None, key_file!("rsa-other.pkcs8")), Some(Reason::SignatureInvalid));
    for kid in ["", "On", "one ", "ONE", "../one", "one\\u0000", "' OR 1=1"] {
        assert_eq!(verdict(Some(kid), key_file!("rsa.pkcs8")), Some(Reason::KeyUnknown), "{kid:?}");
    }
}

fn rsa_components(pkcs8: &[u8]) -> (String, String) {
    let key = signature::RsaKeyPair::from_pkcs8(pkcs8).unwrap();
    let components = signature::RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    (base64url(&components.n), base64url(&components.e))
}

/// CVE-2026-31837: without keys nothing is let in, and the answer says that it is not the token's fault.
#[test]
fn no_keys_at_all() {
    assert_eq!(refusal_of(&good_claims(), |issuer| issuer.keys = None), Some(Reason::KeysUnavailable));
    let hs = token(HS256, &good_claims());
    assert_eq!(judge(hs, |issuer| issuer.keys = None).err(), Some(Reason::AlgorithmRefused));
}

/// Before the signature holds, nothing but `alg`, `kid` and `iss` decides: a forger learns nothing else.
#[test]
fn claims_are_judged_after_the_signature() {
    for claims in [
        claims(r#""nbf":"x""#),
        claims(r#""sub2":1"#),
        good_claims().replace("\"api\"", "7"),
        good_claims().replace(&(NOW + 300).to_string(), "1"),
    ] {
        let good = token(EdDSA, &claims);
        let forged = format!("{}.{}", good.rsplit_once('.').unwrap().0, base64url([0; 64]));
        assert_eq!(refusal(forged), Some(Reason::SignatureInvalid), "{claims}");
    }
}

#[test]
fn claims_of_wrong_types_refuse_even_where_they_are_optional() {
    let off = |issuer: &mut Issuer| {
        issuer.require_exp = false;
        issuer.audiences = Audiences::Any;
    };
    let bare = |more: &str| format!(r#"{{"iss":"{ISS}"{more}}}"#);
    assert_eq!(refusal_of(&bare(""), off), None);
    // CVE-2026-25537: a time of the wrong type is not an absent one.
    for name in ["exp", "nbf", "iat"] {
        for wrong in ["\"1700000000\"", "null", "true", "[1700000000]", "{}", "-1", "-0.5", "-1e300", "\"\""] {
            let claims = bare(&format!(r#","{name}":{wrong}"#));
            assert_eq!(refusal_of(&claims, off), Some(Reason::TokenMalformed), "{claims}");
        }
    }
    for name in ["sub", "jti", "azp", "client_id"] {
        for wrong in ["7", "null", "true", "[\"a\"]", "{}"] {
            let claims = bare(&format!(r#","{name}":{wrong}"#));
            assert_eq!(refusal_of(&claims, off), Some(Reason::TokenMalformed), "{claims}");
        }
    }
    for wrong in ["7", "null", "false", "{}", "{\"api\":1}", "[7]", "[\"api\",null]", "[[\"api\"]]"] {
        let claims = bare(&format!(r#","aud":{wrong}"#));
        assert_eq!(refusal_of(&claims, off), Some(Reason::TokenMalformed), "{claims}");
    }
    let other_subject = bare(r#","email":["a@b.test"]"#);
    assert_eq!(refusal_of(&other_subject, off), None);
    let by_email = |issuer: &mut Issuer| {
        off(issuer);
        issuer.subject = "email".into();
    };
    assert_eq!(refusal_of(&other_subject, by_email), Some(Reason::TokenMalformed));
}

/// Many members cost no more than their share, and none is overlooked.
#[test]
fn many_members() {
    let member = |i: usize| format!("\"m{i:x}\":0");
    let many =
        |last: &str| claims(&(0..500).map(member).chain(iter::once(last.to_owned())).collect::<Vec<_>>().join(","));
    assert_eq!(refusal_of(&many("\"other\":0"), |_| {}), None);
    assert_eq!(refusal_of(&many("\"m7\":0"), |_| {}), Some(Reason::TokenMalformed));
}
