//! Key sources: JWK sets, PEM files and secrets. What is sound is taken, all else named with its remedy.

use std::sync::Arc;

use jwt_gate_core::{
    algorithm::{
        Algorithm::{self, *},
        AlgorithmSet,
    },
    keys::{KeySet, Loaded, set},
    verdict::Reason,
};

use super::token_mint::*;

fn all() -> AlgorithmSet {
    Algorithm::ALL.into_iter().filter(|a| !a.name().starts_with("HS")).collect()
}

fn jwks(keys: &[String]) -> Result<Loaded, String> {
    set::from_jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes(), all())
}

/// Why a set of this one key is refused.
fn refusal(key: &str) -> String {
    jwks(&[key.to_owned()]).unwrap_err()
}

fn okp(more: &str) -> String {
    format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"{more}}}"#)
}

fn rsa_jwk(modulus: &[u8], exponent: &[u8]) -> String {
    format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, base64url(modulus), base64url(exponent))
}

/// An odd number of this many bits.
fn modulus(bits: usize) -> Vec<u8> {
    let mut number = vec![0x55; bits.div_ceil(8)];
    let top = (bits - 1) % 8;
    number[0] = 1 << top;
    *number.last_mut().unwrap() |= 1;
    number
}

fn ec_jwk(crv: &str, point: &[u8]) -> String {
    let (x, y) = point[1..].split_at(point.len() / 2);
    format!(r#"{{"kty":"EC","crv":"{crv}","x":"{}","y":"{}"}}"#, base64url(x), base64url(y))
}

/// The uncompressed point at the end of an EC public key in PEM.
fn point(pem: &[u8], octets: usize) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let lines = str::from_utf8(pem).unwrap().lines().filter(|line| !line.starts_with("-----"));
    let der = BASE64_STANDARD.decode(lines.collect::<String>()).unwrap();
    der[der.len() - octets..].to_vec()
}

fn points() -> [(&'static str, Algorithm, Vec<u8>); 3] {
    [
        ("P-256", ES256, point(key_file!("p256.pub.pem"), 65)),
        ("P-384", ES384, point(key_file!("p384.pub.pem"), 97)),
        ("P-521", ES512, point(key_file!("p521.pub.pem"), 133)),
    ]
}

fn names(set: AlgorithmSet) -> Vec<&'static str> {
    set.iter().map(Algorithm::name).collect()
}

fn only_key(loaded: &Loaded) -> &jwt_gate_core::keys::Key {
    assert_eq!(loaded.keys.iter().count(), 1);
    loaded.keys.iter().next().unwrap()
}

#[test]
fn what_a_jwk_may_be_used_for() {
    for (more, expected) in [
        ("", vec!["EdDSA"]),
        (r#","alg":"EdDSA""#, vec!["EdDSA"]),
        (r#","alg":"Ed25519""#, vec!["EdDSA"]),
        (r#","use":"sig""#, vec!["EdDSA"]),
        (r#","key_ops":["verify"]"#, vec!["EdDSA"]),
        (r#","key_ops":["sign","verify"],"use":"sig","x5c":["AAAA"],"x5t":7,"exp":1"#, vec!["EdDSA"]),
    ] {
        assert_eq!(names(only_key(&jwks(&[okp(more)]).unwrap()).algorithms()), expected, "{more}");
    }
    for (more, expected) in [
        (r#","alg":"ES256""#, "does not fit"),
        (r#","alg":"RS256""#, "does not fit"),
        (r#","alg":"none""#, "not supported"),
        (r#","alg":"""#, "not supported"),
        (r#","alg":"eddsa""#, "not supported"),
        (r#","alg":7"#, "not a string"),
        (r#","alg":null"#, "not a string"),
        (r#","use":"enc""#, "not for signatures"),
        (r#","use":"""#, "not for signatures"),
        (r#","use":["sig"]"#, "not a string"),
        (r#","key_ops":["sign"]"#, "verify"),
        (r#","key_ops":[]"#, "verify"),
        (r#","key_ops":"verify""#, "verify"),
        (r#","key_ops":[["verify"]]"#, "verify"),
        (r#","kid":7"#, "not a string"),
        (r#","kid":null"#, "not a string"),
    ] {
        assert!(refusal(&okp(more)).contains(expected), "{more}: {}", refusal(&okp(more)));
    }
    // RSA without alg serves all of RS and PS that are allowed; with alg, that one.
    let rsa = rsa_jwk(&modulus(2048), &[1, 0, 1]);
    let allowed = algorithms(&[RS256, PS256, ES256]);
    let load = |key: &str| set::from_jwks(format!(r#"{{"keys":[{key}]}}"#).as_bytes(), allowed);
    assert_eq!(names(only_key(&load(&rsa).unwrap()).algorithms()), ["RS256", "PS256"]);
    let named = |alg: &str| load(&rsa.replacen('{', &format!(r#"{{"alg":"{alg}","#), 1));
    assert_eq!(names(only_key(&named("PS256").unwrap()).algorithms()), ["PS256"]);
    assert!(named("RS512").unwrap_err().contains("not allowed"));
    assert!(named("RSA-OAEP").unwrap_err().contains("not supported"));
    assert!(load(&okp("")).unwrap_err().contains("fits none of the algorithms RS256,PS256,ES256"));
}

/// A public set that holds what only the issuer may know.
#[test]
fn private_and_symmetric_keys_are_refused() {
    for private in [
        okp(r#","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#),
        okp(r#","d":"""#),
        okp(r#","d":null"#),
        okp(r#","k":"AAAA""#),
        rsa_jwk(&modulus(2048), &[1, 0, 1]).replacen('{', r#"{"p":"AQ","#, 1),
        format!(r#"{{"kty":"oct","k":"{}"}}"#, base64url(SECRET)),
        r#"{"kty":"oct"}"#.into(),
    ] {
        let error = refusal(&private);
        assert!(error.contains("private or symmetric"), "{error}");
        assert!(!error.contains("nWGx") && !error.contains(&base64url(SECRET)));
    }
    let hmac = set::from_jwks(
        format!(r#"{{"keys":[{{"kty":"oct","k":"{}"}}]}}"#, base64url(SECRET)).as_bytes(),
        algorithms(&[HS256]),
    );
    assert!(hmac.is_err(), "not even where HMAC is allowed");
}

#[test]
fn rsa_numbers() {
    for good in [modulus(2048), modulus(2049), modulus(3072), modulus(8192), [&[0][..], &modulus(2048)].concat()] {
        for exponent in [&[3][..], &[17], &[1, 0, 1], &[0, 1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]] {
            assert!(jwks(&[rsa_jwk(&good, exponent)]).is_ok(), "{} {exponent:?}", good.len());
        }
    }
    for (bits, expected) in [(1024, "1024 bits"), (2047, "2047 bits"), (8193, "8193 bits"), (16384, "16384 bits")] {
        assert!(refusal(&rsa_jwk(&modulus(bits), &[1, 0, 1])).contains(expected));
    }
    let mut even = modulus(2048);
    *even.last_mut().unwrap() &= 0xfe;
    assert!(refusal(&rsa_jwk(&even, &[1, 0, 1])).contains("even"));
    assert!(refusal(&rsa_jwk(&[], &[1, 0, 1])).contains("0 bits"));
    assert!(refusal(&rsa_jwk(&[0; 256], &[1, 0, 1])).contains("0 bits"));
    for exponent in
        [&[][..], &[0], &[1], &[2], &[4], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 0, 1], &modulus(2048)]
    {
        assert!(refusal(&rsa_jwk(&modulus(2048), exponent)).contains("exponent"), "{exponent:?}");
    }
    for (key, expected) in [
        (r#"{"kty":"RSA","e":"AQAB"}"#.to_owned(), "n is missing"),
        (format!(r#"{{"kty":"RSA","n":"{}"}}"#, base64url(modulus(2048))), "e is missing"),
        (format!(r#"{{"kty":"RSA","n":"{}=","e":"AQAB"}}"#, base64url(modulus(2048))), "n is not base64url"),
        (r#"{"kty":"RSA","n":7,"e":"AQAB"}"#.to_owned(), "n is not a string"),
    ] {
        assert!(refusal(&key).contains(expected));
    }
}

#[test]
fn points_lie_on_their_curve() {
    for (crv, algorithm, point) in points() {
        let loaded = jwks(&[ec_jwk(crv, &point)]).unwrap();
        assert_eq!(names(only_key(&loaded).algorithms()), [algorithm.name()]);
        let half = point.len() / 2;
        let mut off = point.clone();
        off[half] ^= 1;
        let swapped = [&[4][..], &point[half + 1..], &point[1..=half]].concat();
        let negative_infinity = [&[4][..], &vec![0xff; 2 * half]].concat();
        for wrong in [off, swapped, [&[4][..], &vec![0; 2 * half]].concat(), negative_infinity] {
            assert!(refusal(&ec_jwk(crv, &wrong)).contains("point"), "{crv}");
        }
        for (x, y) in [(half - 1, half), (half + 1, half), (half, half - 1), (half, 0), (0, half)] {
            let key = format!(
                r#"{{"kty":"EC","crv":"{crv}","x":"{}","y":"{}"}}"#,
                base64url(vec![1; x]),
                base64url(vec![1; y])
            );
            assert!(refusal(&key).contains("octets"), "{crv}");
        }
        for (other, _, _) in points().into_iter().filter(|(other, _, _)| *other != crv) {
            assert!(refusal(&ec_jwk(other, &point)).contains("octets"));
        }
        for unsupported in ["secp256k1", "P256", "p-256", "Ed25519", ""] {
            assert!(refusal(&ec_jwk(unsupported, &point)).contains("not supported"));
        }
    }
}

#[test]
fn ed25519_points() {
    let okp = |crv: &str, x: &[u8]| format!(r#"{{"kty":"OKP","crv":"{crv}","x":"{}"}}"#, base64url(x));
    assert!(refusal(&okp("Ed25519", &[9; 31])).contains("31 octets"));
    assert!(refusal(&okp("Ed25519", &[9; 33])).contains("33 octets"));
    assert!(refusal(&okp("Ed25519", &[])).contains("0 octets"));
    for crv in ["Ed448", "X25519", "ed25519", "P-256"] {
        assert!(refusal(&okp(crv, &[9; 32])).contains("not supported"));
    }
    // Zero, one and minus one in each spelling, with either sign. With these, anybody could sign.
    for (first, rest, last) in [(0, 0, 0), (1, 0, 0), (0xec, 0xff, 0x7f), (0xed, 0xff, 0x7f), (0xee, 0xff, 0x7f)] {
        for sign in [0, 0x80] {
            let mut x = [rest; 32];
            (x[0], x[31]) = (first, last | sign);
            assert!(refusal(&okp("Ed25519", &x)).contains("small order"), "{x:x?}");
        }
    }
    // The points of order 8.
    for x in ["JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU", "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o"] {
        assert!(refusal(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)).contains("small order"), "{x}");
    }
}

#[test]
fn unusable_keys_are_skipped_and_said_so() {
    let loaded = jwks(&[
        okp(r#","kid":"good""#),
        okp(r#","kid":"encryption","use":"enc""#),
        r#"{"kty":"AKP","kid":"ml-dsa","alg":"ML-DSA-44","pub":"AAAA"}"#.into(),
        "7".into(),
        r#"{"kid":"evil\r\nJG1234 forged\u001b[31m"}"#.into(),
        format!(r#"{{"kid":"{}"}}"#, "long".repeat(100)),
        format!(r#"{{"kid":"{0}","kty":"{0}"}}"#, "\u{10ffff}".repeat(100)),
    ])
    .unwrap();
    assert_eq!(only_key(&loaded).kid(), Some("good"));
    let [encryption, unsupported, number, evil, long, escaped] = loaded.skipped.try_into().unwrap();
    assert!(encryption.contains("\"encryption\"") && encryption.contains("enc"), "{encryption}");
    assert!(unsupported.contains("\"AKP\" is not supported"), "{unsupported}");
    assert!(number.contains("number 4") && number.contains("object"), "{number}");
    assert!(evil.chars().all(|c| !c.is_control()), "{evil}");
    assert!(long.len() < 150, "{long}");
    assert!(escaped.len() < 250, "{escaped}");

    let all = refusal(&vec![r#"{"kty":"oct"}"#; 100].join(","));
    assert!(all.contains("key number 1: private") && all.contains("the other 99") && all.len() < 400, "{all}");
}

#[test]
fn sets_that_are_none() {
    for (text, expected) in [
        ("", "not a JWK set"),
        ("null", "no array \"keys\""),
        ("[]", "no array \"keys\""),
        ("{}", "no array \"keys\""),
        (r#"{"keys":{}}"#, "no array \"keys\""),
        (r#"{"keys":null}"#, "no array \"keys\""),
        (r#"{"keys":[]}"#, "it is empty"),
        (r#"{"keys":[null]}"#, "not a JSON object"),
        (r#"{"keys":[]}x"#, "not a JWK set"),
        (r#"{"keys":[],"keys":[]}"#, "twice"),
        ("<html>not found</html>", "not a JWK set"),
        ("\u{feff}{\"keys\":[]}", "not a JWK set"),
        (&okp(""), "write {\"keys\":[...]} around it"),
        (&format!(r#"{{"keys":{}}}"#, "[".repeat(100)), "levels"),
        (&format!(r#"{{"keys":[{}]}}"#, okp(r#","x":"AA""#)), "twice"),
    ] {
        let error = set::from_jwks(text.as_bytes(), all()).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn sizes_and_numbers() {
    let with_kid = |count: usize| (0..count).map(|i| okp(&format!(r#","kid":"{i}""#))).collect::<Vec<_>>();
    assert_eq!(jwks(&with_kid(100)).unwrap().keys.iter().count(), 100);
    assert!(jwks(&with_kid(101)).unwrap_err().contains("at most 100"));
    assert!(jwks(&vec![okp(""); 4]).is_ok());
    assert!(jwks(&vec![okp(""); 5]).unwrap_err().contains("5 keys without kid"));
    let set = format!(r#"{{"keys":[{}]}}"#, okp(""));
    let padded = |octets: usize| set.clone() + &" ".repeat(octets - set.len());
    assert!(set::from_jwks(padded(150_000).as_bytes(), all()).is_ok());
    assert!(set::from_jwks(padded(150_001).as_bytes(), all()).unwrap_err().contains("150001 bytes"));
    assert!(set::from_pem(&vec![b'\n'; 150_001], all()).unwrap_err().contains("150001 bytes"));
}

#[test]
fn several_files_of_one_issuer() {
    let set = |more: &str| jwks(&[okp(more)]).unwrap().keys;
    assert_eq!(KeySet::merge(&[set(r#","kid":"a""#), set(r#","kid":"a""#), set("")]).unwrap().iter().count(), 3);
    assert!(KeySet::merge(&[(); 4].map(|()| set(""))).is_ok());
    assert!(KeySet::merge(&[(); 5].map(|()| set(""))).unwrap_err().contains("5 keys without kid"));
    assert!(KeySet::merge([]).is_err());
}

#[test]
fn which_keys_are_tried() {
    let rsa = |kid: &str| rsa_jwk(&modulus(2048), &[1, 0, 1]).replacen('{', &format!(r#"{{"kid":"{kid}","#), 1);
    let named = [okp(r#","kid":"a""#), okp(r#","kid":"b""#), okp(r#","kid":"a""#), rsa("r"), okp(r#","kid":"""#)];
    let tried = |keys: &[String], kid: Option<&str>, algorithm: Algorithm| {
        let set = jwks(keys).unwrap().keys;
        set.candidates(kid, algorithm).map(|keys| keys.map(|k| k.kid().unwrap_or("-").to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(tried(&named, Some("a"), EdDSA).unwrap(), ["a", "a"]);
    assert_eq!(tried(&named, Some("b"), EdDSA).unwrap(), ["b"]);
    assert_eq!(tried(&named, Some(""), EdDSA).unwrap(), [""]);
    assert_eq!(tried(&named, None, EdDSA).unwrap(), ["a", "b", "a", ""]);
    assert_eq!(tried(&named, None, RS256).unwrap(), ["r"]);
    assert_eq!(tried(&named, Some("c"), EdDSA), Err(Reason::KeyUnknown));
    assert_eq!(tried(&named, Some("A"), EdDSA), Err(Reason::KeyUnknown));
    assert_eq!(tried(&named, Some("a"), RS256), Err(Reason::AlgorithmRefused));
    assert_eq!(tried(&named, None, ES256), Err(Reason::AlgorithmRefused));
    // Keys without kid fit any token, after those that are named.
    let mixed = [okp(""), okp(r#","kid":"a""#), okp("")];
    assert_eq!(tried(&mixed, Some("a"), EdDSA).unwrap(), ["a", "-", "-"]);
    assert_eq!(tried(&mixed, Some("x"), EdDSA).unwrap(), ["-", "-"]);
    assert_eq!(tried(&mixed, None, EdDSA).unwrap(), ["-", "a", "-"]);
    assert_eq!(tried(&mixed, Some("x"), RS256), Err(Reason::AlgorithmRefused));
    // Never more than four.
    let many: Vec<String> = (0..9).map(|i| okp(&format!(r#","kid":"{}""#, i % 2))).collect();
    assert_eq!(tried(&many, None, EdDSA).unwrap().len(), 4);
    assert_eq!(tried(&many, Some("0"), EdDSA).unwrap(), ["0"; 4]);
}

#[test]
fn pem_files() {
    let load = |pem: &[u8]| set::from_pem(pem, all()).unwrap();
    for (pem, expected) in [
        (&key_file!("rsa.pub.pem")[..], vec!["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (key_file!("rsa.crt"), vec!["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (key_file!("p256.pub.pem"), vec!["ES256"]),
        (key_file!("p256.crt"), vec!["ES256"]),
        (key_file!("p384.pub.pem"), vec!["ES384"]),
        (key_file!("p521.pub.pem"), vec!["ES512"]),
        (key_file!("ed25519.pub.pem"), vec!["EdDSA"]),
    ] {
        let loaded = load(pem);
        assert_eq!((names(only_key(&loaded).algorithms()), only_key(&loaded).kid()), (expected, None));
        // Other line ends, other line lengths, text around it.
        let text = str::from_utf8(pem).unwrap();
        let (first, body) = text.trim_end().split_once('\n').unwrap();
        let (body, last) = body.rsplit_once('\n').unwrap();
        for spelling in [
            text.replace('\n', "\r\n"),
            format!("{first}\n{}\n{last}", body.replace('\n', "")),
            format!("subject=CN = issuer.test\n\n{text}\n# the end\n"),
            format!("  \n{}", text.trim_end()),
        ] {
            assert_eq!(load(spelling.as_bytes()).keys.iter().count(), 1, "{spelling}");
        }
    }
    let chain = [&key_file!("rsa.crt")[..], key_file!("p256.pub.pem"), key_file!("rsa-other.pub.pem")].concat();
    assert_eq!(load(&chain).keys.iter().count(), 3);
    let five = key_file!("p256.pub.pem").repeat(5);
    assert!(set::from_pem(&five, all()).unwrap_err().contains("5 keys without kid"));
    let wrong_kind = set::from_pem(key_file!("p256.pub.pem"), algorithms(&[RS256])).unwrap_err();
    assert!(wrong_kind.contains("P256") && wrong_kind.contains("RS256"), "{wrong_kind}");
}

#[test]
fn pem_files_that_are_refused_name_the_remedy() {
    let text = |file: &[u8]| String::from_utf8(file.to_vec()).unwrap();
    let public = text(key_file!("p256.pub.pem"));
    let relabelled = |label: &str| public.replace("PUBLIC KEY", label);
    let der = base64::Engine::decode(
        &base64::prelude::BASE64_STANDARD,
        public.lines().filter(|l| !l.starts_with('-')).collect::<String>(),
    )
    .unwrap();
    let cases: [(Vec<u8>, &[&str]); 25] = [
        (key_file!("rsa.pem").to_vec(), &["private key", "openssl pkey -in FILE -pubout"]),
        (key_file!("rsa.pkcs1.pem").to_vec(), &["private key (RSA PRIVATE KEY)", "openssl pkey"]),
        (relabelled("ENCRYPTED PRIVATE KEY").into(), &["private key (ENCRYPTED PRIVATE KEY)"]),
        (relabelled("OPENSSH PRIVATE KEY").into(), &["private key"]),
        ([public.as_bytes(), key_file!("rsa.pem")].concat(), &["private key"]),
        (key_file!("rsa.pkcs1.pub.pem").to_vec(), &["RSA PUBLIC KEY", "openssl rsa -RSAPublicKey_in"]),
        (key_file!("rsa.csr").to_vec(), &["CERTIFICATE REQUEST", "openssl req"]),
        (key_file!("rsa.openssh.pub").to_vec(), &["OpenSSH", "ssh-keygen -e -m PKCS8"]),
        (relabelled("TRUSTED CERTIFICATE").into(), &["TRUSTED CERTIFICATE"]),
        (relabelled("X\r\nJG1234 forged").into(), &["no label"]),
        (relabelled(&"X".repeat(65)).into(), &["no label"]),
        (key_file!("rsa-1024.pub.pem").to_vec(), &["1024 bits"]),
        (key_file!("secp256k1.pub.pem").to_vec(), &["1.3.132.0.10", "P-256"]),
        (key_file!("ed448.pub.pem").to_vec(), &["1.3.101.113", "Ed25519"]),
        (key_file!("p256.compressed.pub.pem").to_vec(), &["uncompressed", "openssl ec"]),
        (der, &["in DER", "openssl pkey -pubin -inform DER"]),
        (jwks_text(), &["JSON", "jwks=file:"]),
        (Vec::new(), &["no PEM block"]),
        (b"ssh".to_vec(), &["no PEM block"]),
        (b"-----BEGIN PUBLIC KEY".to_vec(), &["cut off"]),
        (public.replace("-----END", "----END").into(), &["no -----END PUBLIC KEY-----"]),
        (public.replace("END PUBLIC", "END PRIVATE").into(), &["no -----END PUBLIC KEY-----"]),
        (relabelled("CERTIFICATE").into(), &["something else"]),
        (public.replacen("MF", "M*", 1).into(), &["not base64"]),
        (public.replacen("MF", "MG", 1).into(), &["something else"]),
    ];
    for (file, expected) in cases {
        let error = set::from_pem(&file, all()).unwrap_err();
        assert!(expected.iter().all(|e| error.contains(e)), "{error}\n{}", String::from_utf8_lossy(&file));
        assert!(!error.contains("MFkw") && !error.contains("MII"), "{error}");
    }
}

fn jwks_text() -> Vec<u8> {
    format!("\n{{\"keys\":[{}]}}", okp("")).into_bytes()
}

#[test]
fn secrets_and_their_spellings() {
    let works = |file: &[u8]| {
        let mut issuer = issuer(HS256);
        issuer.keys = Some(Arc::new(set::from_secret(file, algorithms(&[HS256])).unwrap().keys));
        let verdict = jwt_gate_core::token::verify(token(HS256, &good_claims()).as_bytes(), &only(issuer), now());
        verdict.is_ok()
    };
    let hex: String = SECRET.iter().map(|octet| format!("{octet:02x}")).collect();
    for file in [
        SECRET.to_vec(),
        [SECRET, &b"\n"[..]].concat(),
        [SECRET, &b"\r\n"[..]].concat(),
        format!("base64url:{}", base64url(SECRET)).into(),
        format!("base64url:{}\n", base64url(SECRET)).into(),
        format!("hex:{hex}").into(),
        format!("hex:{}\r\n", hex.to_uppercase()).into(),
    ] {
        assert!(works(&file), "{}", String::from_utf8_lossy(&file));
    }
    // One line break is no part of it; all else is.
    for file in [[SECRET, &b"\n\n"[..]].concat(), [SECRET, &b"\r"[..]].concat(), [SECRET, &b" \n"[..]].concat()] {
        assert!(!works(&file), "{}", String::from_utf8_lossy(&file));
    }
    for (file, expected) in [
        ("base64url:", "0 bytes"),
        ("base64url:QQ==", "not base64url"),
        ("base64url:+/+/", "not base64url"),
        ("base64url: QUJD", "not base64url"),
        ("hex:", "0 bytes"),
        ("hex:abc", "pairs"),
        ("hex:+f", "pairs"),
        ("hex:0x41", "pairs"),
        ("hex:é", "pairs"),
    ] {
        let error = set::from_secret(file.as_bytes(), algorithms(&[HS256])).unwrap_err();
        assert!(error.contains(expected), "{file}: {error}");
    }
}

/// CVE-2026-44351 and others: no empty secret, no short one.
#[test]
fn secrets_are_as_long_as_the_hash() {
    for (allowed, needed) in
        [(&[HS256][..], 32), (&[HS384], 48), (&[HS512], 64), (&[HS256, HS512], 64), (&[HS256, HS384], 48)]
    {
        let load = |octets: usize| set::from_secret(&SECRET[..octets], algorithms(allowed));
        assert!(load(needed).is_ok());
        for short in [0, 1, needed - 1] {
            let error = load(short).unwrap_err();
            assert!(error.contains(&format!("{short} bytes")) && error.contains(&needed.to_string()), "{error}");
            assert!(short < 2 || !error.contains("secret of the tests"), "{error}");
        }
        assert!(set::from_secret(&[&SECRET[..needed - 1], b"\n"].concat(), algorithms(allowed)).is_err());
    }
    assert!(set::from_secret(SECRET, AlgorithmSet::default()).is_err());
    assert!(set::from_secret(SECRET, algorithms(&[RS256])).unwrap_err().contains("RS256"));
}

#[test]
fn nothing_public_becomes_a_secret() {
    let hs256 = algorithms(&[HS256]);
    let pem = key_file!("rsa.pub.pem");
    let hidden = format!("base64url:{}", base64url(pem));
    let padded = [&SECRET[..], pem].concat();
    for public in
        [hidden.as_bytes(), &padded, &jwks_text(), key_file!("rsa.csr"), key_file!("rsa.pem"), key_file!("p256.crt")]
    {
        assert!(set::from_secret(public, hs256).unwrap_err().contains("no secret"));
    }
}

#[test]
fn nothing_secret_is_printed() {
    let set = set::from_secret(SECRET, algorithms(&[HS256])).unwrap();
    let shown = format!("{set:?} {:?}", issuer(HS256));
    assert!(!shown.contains("secret of") && !shown.contains("97, 32, 115"), "{shown}");
}
