//! The deny list: which tokens it revokes, and what the decision makes of that.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

#[allow(dead_code)] // the tests of the gate use the rest
mod gate_fixture;
mod revocation_array;
mod revocation_gate;
mod revocation_source;
#[allow(dead_code, unused_imports)] // the tests of tokens use the rest
mod token_mint;

use std::sync::Arc;

use jwt_gate_core::algorithm::Algorithm::EdDSA;
use jwt_gate_core::revocation::{RevocationList, compile};
use jwt_gate_core::token::Verified;
use jwt_gate_core::token::issuer::Issuer;
use jwt_gate_core::verdict::Reason;
use token_mint::*;

/// The list of these entries.
pub(crate) fn list(entries: &str) -> RevocationList {
    RevocationList::open(Arc::new(compiled(entries))).unwrap()
}

pub(crate) fn compiled(entries: &str) -> Vec<u8> {
    compile(format!(r#"{{"revoked":[{entries}]}}"#).as_bytes()).unwrap().bytes
}

/// A token of the issuer `test` with these members, written as they stand behind a comma.
pub(crate) fn bearing(members: &str) -> Verified {
    bearing_for(members, |_| {})
}

fn bearing_for(members: &str, change: impl FnOnce(&mut Issuer)) -> Verified {
    judge(token(EdDSA, &claims_without_sub(members)), change).unwrap()
}

fn claims_without_sub(members: &str) -> String {
    format!(r#"{{"iss":"{ISS}","aud":"{AUD}","exp":{},{members}}}"#, NOW + 300)
}

/// Members of entries, and the claims that each of them is compared with.
const KINDS: [(&str, &[&str]); 4] =
    [("jti", &["jti"]), ("sub", &["sub"]), ("client", &["azp", "client_id"]), ("sid", &["sid", "origin_jti"])];

#[test]
fn a_kind_hits_its_own_claims_and_no_other() {
    for (member, hit) in KINDS {
        let list = list(&format!(r#"{{"issuer":"test","{member}":"v1"}}"#));
        for claim in
            KINDS.into_iter().flat_map(|(_, claims)| claims).chain(&["nonce", "session", "client", "JTI", "a.jti"])
        {
            let expected = hit.contains(claim);
            assert_eq!(list.revokes(&bearing(&format!(r#""{claim}":"v1""#))), expected, "{member} and {claim}");
        }
        let all = r#""jti":"a","sub":"b","azp":"c","client_id":"v1","sid":"e","origin_jti":"f","x":{"jti":"v1"}"#;
        assert!(!list.revokes(&bearing(all)), "{member}");
    }
}

#[test]
fn values_are_compared_byte_for_byte() {
    for (member, claims) in KINDS {
        let list = list(&format!(r#"{{"issuer":"test","{member}":"Ab-1é"}}"#));
        for claim in claims {
            for (value, expected) in [
                ("Ab-1é", true),
                (r"\u0041b-1\u00e9", true),
                ("Ab-1e\u{301}", false),
                ("Ab-1", false),
                ("Ab-1éx", false),
                ("ab-1é", false),
                (" Ab-1é", false),
                ("Ab-1é ", false),
                (r"Ab-1é\u0000", false),
                ("", false),
            ] {
                let token = bearing(&format!(r#""{claim}":"{value}""#));
                assert_eq!(list.revokes(&token), expected, "{claim} {value:?}");
            }
        }
    }
}

#[test]
fn an_issuer_is_the_name_that_the_administrator_gave_it() {
    let of = |issuer: &str| {
        ["jti", "sub", "client", "sid"].map(|member| format!(r#"{{"issuer":"{issuer}","{member}":"v1"}},"#)).concat()
            + &format!(r#"{{"issuer":"{issuer}","issued_before":"2100-01-01T00:00:00Z"}}"#)
    };
    let all = r#""jti":"v1","sub":"v1","azp":"v1","sid":"v1","origin_jti":"v1","iat":1"#;
    for (listed, name, expected) in
        [("test", "test", true), ("test", "test1", false), ("test1", "test", false), ("Test", "test", false)]
    {
        let token = bearing_for(all, |issuer| issuer.name = name.to_owned());
        assert_eq!(list(&of(listed)).revokes(&token), expected, "{listed} and {name}");
    }
}

/// Where the name of an issuer ends and the value begins is not for the values to say.
#[test]
fn what_stands_together_is_not_joined() {
    let list = list(r#"{"issuer":"te","jti":"sta"},{"issuer":"tes","jti":"ta"},{"issuer":"testa","jti":"a"}"#);
    assert!(!list.revokes(&bearing(r#""jti":"a""#)));
}

#[test]
fn a_subject_is_the_claim_that_the_issuer_says() {
    let list = list(r#"{"issuer":"test","sub":"alice@example.com"}"#);
    let by =
        |claim: &str, members: &str| list.revokes(&bearing_for(members, |issuer| issuer.subject = claim.to_owned()));
    let (email, sub, nested) = (
        r#""sub":"7","email":"alice@example.com""#,
        r#""sub":"alice@example.com","email":"7""#,
        r#""user":{"mail":"alice@example.com"}"#,
    );
    assert_eq!((by("email", email), by("email", sub), by("sub", sub), by("sub", email)), (true, false, true, false));
    assert!(by("user.mail", nested));
}

#[test]
fn a_client_is_azp_and_else_client_id() {
    let list = list(r#"{"issuer":"test","client":"app"}"#);
    for (members, expected) in [
        (r#""azp":"app","client_id":"other""#, true),
        (r#""azp":"other","client_id":"app""#, false),
        (r#""azp":"","client_id":"app""#, true),
        (r#""client_id":"app""#, true),
    ] {
        assert_eq!(list.revokes(&bearing(members)), expected, "{members}");
    }
}

#[test]
fn a_session_is_sid_or_origin_jti() {
    let list = list(r#"{"issuer":"test","sid":"s1"}"#);
    for (members, expected) in [
        (r#""sid":"s1","origin_jti":"other""#, true),
        (r#""sid":"other","origin_jti":"s1""#, true),
        (r#""sid":"other","origin_jti":"other","jti":"s1""#, false),
        (r#""sid":["s1"],"origin_jti":{"s1":"s1"}"#, false),
    ] {
        assert_eq!(list.revokes(&bearing(members)), expected, "{members}");
    }
}

#[test]
fn claims_that_are_no_strings_match_nothing() {
    let list = list(&KINDS.map(|(member, _)| format!(r#"{{"issuer":"test","{member}":"7"}}"#)).join(","));
    for value in ["7", "7.0", "[\"7\"]", "null", "true", "{\"7\":7}"] {
        for claim in ["sid", "origin_jti"] {
            assert!(!list.revokes(&bearing(&format!(r#""{claim}":{value}"#))), "{claim} {value}");
        }
        for claim in ["jti", "sub", "azp", "client_id"] {
            let claims = claims_without_sub(&format!(r#""{claim}":{value}"#));
            assert_eq!(refusal_of(&claims, |_| {}), Some(Reason::TokenMalformed), "{claim} {value}");
        }
    }
}

/// 2023-11-14T22:13:20Z is 1700000000.
#[test]
fn issued_before_is_a_border() {
    const MOMENT: &str = "2023-11-14T22:13:20Z";
    let issuer = list(&format!(r#"{{"issuer":"test","issued_before":"{MOMENT}"}}"#));
    let subject = list(&format!(r#"{{"issuer":"test","sub":"alice","issued_before":"{MOMENT}"}}"#));
    let between = list(r#"{"issuer":"test","issued_before":"2023-11-15T00:13:20.25+02:00"}"#);
    for (iat, expected, expected_between) in [
        (r#","iat":1699999999"#, true, true),
        (r#","iat":1699999999.999"#, true, true),
        (r#","iat":0"#, true, true),
        (r#","iat":-0.0"#, true, true),
        (r#","iat":1700000000"#, false, true),
        (r#","iat":1.7e9"#, false, true),
        (r#","iat":1700000000.249"#, false, true),
        (r#","iat":1700000000.25"#, false, false),
        (r#","iat":1700000001"#, false, false),
        (r#","iat":1e300"#, false, false),
        ("", true, true),
        (r#","auth_time":1800000000"#, true, true),
    ] {
        let alice = bearing(&format!(r#""sub":"alice"{iat}"#));
        let said = [&issuer, &subject, &between].map(|list| list.revokes(&alice));
        assert_eq!(said, [expected, expected, expected_between], "{iat}");
        let (bob, nobody) = (bearing(&format!(r#""sub":"bob"{iat}"#)), bearing(&format!(r#""jti":"alice"{iat}"#)));
        for other in [bob, nobody] {
            assert_eq!((issuer.revokes(&other), subject.revokes(&other)), (expected, false), "{iat}");
        }
    }
}

#[test]
fn of_several_times_the_later_counts_and_none_is_the_latest() {
    let entry = |time: &str| format!(r#"{{"issuer":"test","sub":"alice","issued_before":"{time}"}}"#);
    let (early, late) = (entry("2023-01-01T00:00:00Z"), entry("2023-06-01T00:00:00Z"));
    let ever = r#"{"issuer":"test","sub":"alice"}"#.to_owned();
    let issuer = |time: &str| format!(r#"{{"issuer":"test","issued_before":"{time}"}}"#);
    let between = bearing(r#""sub":"alice","iat":1680000000"#);
    let after = bearing(r#""sub":"alice","iat":1690000000"#);
    for (entries, count, expected) in [
        (vec![&early], 1, (false, false)),
        (vec![&early, &late], 1, (true, false)),
        (vec![&late, &early, &late], 1, (true, false)),
        (vec![&early, &ever], 1, (true, true)),
        (vec![&ever, &late], 1, (true, true)),
        (vec![&issuer("2023-06-01T00:00:00Z"), &early], 2, (true, false)),
        (vec![&issuer("2022-06-01T00:00:00Z"), &issuer("2023-06-01T00:00:00Z")], 1, (true, false)),
    ] {
        let entries: Vec<&str> = entries.into_iter().map(String::as_str).collect();
        let list = list(&entries.join(","));
        assert_eq!((list.revokes(&between), list.revokes(&after)), expected, "{entries:?}");
        assert_eq!(list.len(), count, "{entries:?}");
    }
}

/// Two lists that are asked in turn: each says what it says, whatever the token remembers of the other.
#[test]
fn lists_do_not_answer_for_one_another() {
    let (one, other) = (list(r#"{"issuer":"test","sub":"alice"}"#), list(r#"{"issuer":"test","sub":"bob"}"#));
    let (alice, bob) = (bearing(r#""sub":"alice""#), bearing(r#""sub":"bob""#));
    for _ in 0..3 {
        assert_eq!([one.revokes(&alice), other.revokes(&alice)], [true, false]);
        assert_eq!([other.revokes(&bob), other.revokes(&bob), one.revokes(&bob)], [true, true, false]);
    }
}

#[test]
fn every_entry_of_a_long_list_is_found() {
    const ENTRIES: usize = 100_000;
    let value = |n: usize| format!("session-{n:08}");
    let entries: Vec<_> =
        (0..ENTRIES).map(|n| format!(r#"{{"issuer":"test","{}":"{}"}}"#, KINDS[n % KINDS.len()].0, value(n))).collect();
    let list = list(&entries.join(",\n"));
    assert_eq!(list.len(), ENTRIES);
    for n in (0..ENTRIES).step_by(331).chain(ENTRIES - 4..ENTRIES) {
        let (_, claims) = KINDS[n % KINDS.len()];
        let (_, others) = KINDS[(n + 1) % KINDS.len()];
        let hit = bearing(&format!(r#""{}":"{}""#, claims[0], value(n)));
        let miss = bearing(&format!(r#""{}":"{}""#, others[0], value(n)));
        assert_eq!((list.revokes(&hit), list.revokes(&miss)), (true, false), "{n}");
    }
}
