//! Whatever bytes come: no panic, and nothing gets in that was not signed.

use std::sync::LazyLock;

use jwt_gate_core::{
    algorithm::Algorithm::{self, *},
    keys::set,
    token::{self, issuer::IssuerSet, json::Json},
};
use proptest::prelude::*;

use super::token_mint::*;

static ISSUERS: LazyLock<IssuerSet> = LazyLock::new(|| only(issuer(EdDSA)));
static GOOD: LazyLock<String> = LazyLock::new(|| token(EdDSA, &claims(r#""scope":"read","nbf":1600000000.5"#)));

fn let_in(token: &[u8]) -> bool {
    token::verify(token, &ISSUERS, now()).is_ok()
}

/// Every single byte of a good token, changed to every other value.
#[test]
fn no_byte_can_be_changed() {
    let good = GOOD.as_bytes();
    assert!(let_in(good));
    let mut token = good.to_vec();
    for place in 0..good.len() {
        // All values where the alphabet or the dots matter most, a few everywhere else.
        let values: Vec<u8> =
            if place % 16 == 0 { (0..=255).collect() } else { vec![0, b'.', b'=', good[place] ^ 1, 0xff] };
        for value in values.into_iter().filter(|v| *v != good[place]) {
            token[place] = value;
            assert!(!let_in(&token), "byte {place} as {value:#x}");
        }
        token[place] = good[place];
    }
}

/// One changed byte for the algorithms whose checks are slower.
#[test]
fn no_byte_can_be_changed_whatever_the_algorithm() {
    for algorithm in Algorithm::ALL.into_iter().filter(|a| *a != ES512) {
        let issuers = only(issuer(algorithm));
        let good = token(algorithm, &good_claims()).into_bytes();
        for place in (0..good.len()).step_by(7) {
            let mut token = good.clone();
            token[place] = if token[place] == b'A' { b'B' } else { b'A' };
            assert!(token::verify(&token, &issuers, now()).is_err(), "{algorithm:?}: byte {place}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(!let_in(&bytes));
    }

    #[test]
    fn arbitrary_segments(header in ".{0,80}", payload in ".{0,80}", signature in prop::collection::vec(any::<u8>(), 0..80)) {
        let token = format!("{}.{}.{}", base64url(header), base64url(payload), base64url(signature));
        prop_assert!(!let_in(token.as_bytes()));
    }

    /// Well signed, but with a header and claims out of the pieces that matter.
    #[test]
    fn arbitrary_members(
        header in r#"\{("(alg|kid|typ|crit|b64)":("EdDSA"|"none"|7|null|\[\]),?){0,4}\}"#,
        payload in r#"\{("(iss|aud|exp|nbf|iat|sub)":("https://issuer\.test"|"api"|-?[0-9]{1,25}(\.[0-9]{1,5})?(e[0-9]{1,3})?|null|\[("api",?){0,2}\]),?){0,6}\}"#,
    ) {
        let _ = let_in(sign(EdDSA, &header, &payload).as_bytes());
    }

    #[test]
    fn mutated_tokens(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let mut token = GOOD.clone().into_bytes();
        for (index, value, edit) in edits {
            if token.is_empty() { break; }
            let place = index.index(token.len());
            match edit {
                0 => token[place] = value,
                1 => token.insert(place, value),
                2 => { token.remove(place); }
                _ => token.truncate(place),
            }
        }
        prop_assert_eq!(let_in(&token), token == GOOD.as_bytes());
    }

    #[test]
    fn arbitrary_json(text in prop::collection::vec(prop::sample::select(br#"{}[]",:\0123e-.u truefalsn"#.to_vec()), 0..200)) {
        let _ = Json::parse(&text);
    }

    #[test]
    fn arbitrary_key_files(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let allowed = Algorithm::ALL.into_iter().collect();
        prop_assert!(set::from_jwks(&bytes, allowed).is_err());
        prop_assert!(set::from_pem(&bytes, allowed).is_err());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64url(&bytes));
        prop_assert!(set::from_pem(pem.as_bytes(), allowed).is_err());
    }
}
