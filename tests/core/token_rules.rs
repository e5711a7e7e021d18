//! What an issuer's policy asks of a well-signed token, both sides of each edge; and what can be read
//! from one that was let in.

use std::{sync::Arc, time::Duration};

use jwt_gate_core::{
    algorithm::Algorithm::{self, *},
    time::UnixMicros,
    token::{
        self, Verified,
        issuer::{Audiences, Issuer, IssuerSet, Types},
        json::Json,
    },
    verdict::Reason,
};

use super::token_mint::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// The verdict at `micros` on a token with just these members beside `iss` and `aud`.
fn at(micros: u64, members: &str, change: impl FnOnce(&mut Issuer)) -> Option<Reason> {
    let token = token(EdDSA, &format!(r#"{{"iss":"{ISS}","aud":"{AUD}",{members}}}"#));
    let mut issuer = issuer(EdDSA);
    change(&mut issuer);
    token::verify(token.as_bytes(), &only(issuer), UnixMicros(micros)).err()
}

#[test]
fn exp_and_its_leeway() {
    let exp = 1_000 * 1_000_000;
    let leeway = 30 * 1_000_000;
    for (now, expected) in [
        (0, None),
        (exp, None),
        (exp + leeway - 1, None),
        (exp + leeway, Some(Reason::TokenExpired)),
        (u64::MAX, Some(Reason::TokenExpired)),
    ] {
        assert_eq!(at(now, r#""exp":1000"#, |_| {}), expected, "{now}");
        assert_eq!(at(now, r#""exp":1000"#, |i| i.require_exp = false), expected, "{now}");
    }
    let strict = |i: &mut Issuer| i.leeway = Duration::ZERO;
    assert_eq!(at(exp - 1, r#""exp":1000"#, strict), None);
    assert_eq!(at(exp, r#""exp":1000"#, strict), Some(Reason::TokenExpired));
    assert_eq!(at(exp + 249_999, r#""exp":1000.25"#, strict), None);
    assert_eq!(at(exp + 250_000, r#""exp":1000.25"#, strict), Some(Reason::TokenExpired));
    assert_eq!(at(0, r#""exp":0"#, strict), Some(Reason::TokenExpired));
    for far in ["1e300", "18446744073709551615", "18446744073709551616", "9007199254740993"] {
        assert_eq!(at(exp, &format!("\"exp\":{far}"), strict), None, "{far}");
    }
    assert_eq!(at(exp, r#""exp":1e400"#, |_| {}), Some(Reason::TokenMalformed));
    assert_eq!(at(exp, r#""sub":"a""#, |_| {}), Some(Reason::ClaimMismatch));
    assert_eq!(at(exp, r#""sub":"a""#, |i| i.require_exp = false), None);
}

#[test]
fn nbf_and_its_leeway() {
    let nbf = 1_000 * 1_000_000;
    let leeway = 30 * 1_000_000;
    let claims = r#""exp":1e9,"nbf":1000"#;
    assert_eq!(at(nbf - leeway - 1, claims, |_| {}), Some(Reason::TokenNotYetValid));
    assert_eq!(at(nbf - leeway, claims, |_| {}), None);
    assert_eq!(at(nbf - 1, claims, |i| i.leeway = Duration::ZERO), Some(Reason::TokenNotYetValid));
    assert_eq!(at(nbf, claims, |i| i.leeway = Duration::ZERO), None);
    assert_eq!(at(0, r#""exp":1e9,"nbf":29"#, |_| {}), None);
    assert_eq!(at(nbf, r#""exp":1e300,"nbf":1e300"#, |_| {}), Some(Reason::TokenNotYetValid));
}

#[test]
fn max_age_and_iat() {
    let max_age = |i: &mut Issuer| i.max_age = Some(Duration::from_secs(600));
    let claims = r#""exp":1e9,"iat":1000"#;
    let seconds = |s: u64| s * 1_000_000;
    assert_eq!(at(seconds(1630), claims, max_age), None);
    assert_eq!(at(seconds(1630) + 1, claims, max_age), Some(Reason::TokenExpired));
    assert_eq!(at(seconds(970), claims, max_age), None);
    assert_eq!(at(seconds(970) - 1, claims, max_age), Some(Reason::TokenNotYetValid));
    assert_eq!(at(seconds(1000), r#""exp":1e9"#, max_age), Some(Reason::ClaimMismatch));
    assert_eq!(at(seconds(1000), r#""exp":1e9,"iat":1e300"#, max_age), Some(Reason::TokenNotYetValid));
    // Without a greatest age, when a token was issued does not matter.
    assert_eq!(at(seconds(9999), claims, |_| {}), None);
    assert_eq!(at(seconds(1), claims, |_| {}), None);
}

#[test]
fn audiences() {
    let of = |aud: &str| format!(r#"{{"iss":"{ISS}","exp":{},"aud":{aud}}}"#, NOW + 300);
    for good in [r#""api""#, r#"["api"]"#, r#"["other","api"]"#, r#""\u0061pi""#] {
        assert_eq!(refusal_of(&of(good), |_| {}), None, "{good}");
    }
    for other in [
        r#""""#,
        r#""ap""#,
        r#""apis""#,
        r#""API""#,
        r#""api ""#,
        r#""other api""#,
        r#""*""#,
        "[]",
        r#"["other"]"#,
        r#"["",""]"#,
    ] {
        assert_eq!(refusal_of(&of(other), |_| {}), Some(Reason::AudienceMismatch), "{other}");
        assert_eq!(refusal_of(&of(other), |i| i.audiences = Audiences::Any), None, "{other}");
    }
    let missing = format!(r#"{{"iss":"{ISS}","exp":{}}}"#, NOW + 300);
    assert_eq!(refusal_of(&missing, |_| {}), Some(Reason::ClaimMismatch));
    assert_eq!(refusal_of(&missing, |i| i.audiences = Audiences::Any), None);
    let several = |i: &mut Issuer| i.audiences = Audiences::OneOf(words(&["web", "api"]));
    assert_eq!(refusal_of(&of(r#""web""#), several), None);
    assert_eq!(refusal_of(&of(r#""api""#), several), None);
    assert_eq!(refusal_of(&of(r#""webapi""#), several), Some(Reason::AudienceMismatch));
}

/// The first audience claim that is present is compared; a later one cannot make up for it.
#[test]
fn other_audience_claims() {
    let both = |i: &mut Issuer| i.audience_claims = words(&["aud", "client_id"]);
    let of = |members: &str| format!(r#"{{"iss":"{ISS}","exp":{},{members}}}"#, NOW + 300);
    for (members, expected) in [
        (r#""client_id":"api""#, None),
        (r#""aud":"api","client_id":"x""#, None),
        (r#""aud":"x","client_id":"api""#, Some(Reason::AudienceMismatch)),
        (r#""aud":[],"client_id":"api""#, Some(Reason::AudienceMismatch)),
        (r#""aud":null,"client_id":"api""#, Some(Reason::TokenMalformed)),
        (r#""client_id":"x""#, Some(Reason::AudienceMismatch)),
        (r#""azp":"api""#, Some(Reason::ClaimMismatch)),
    ] {
        assert_eq!(refusal_of(&of(members), both), expected, "{members}");
    }
    let nested = |i: &mut Issuer| i.audience_claims = words(&["app.id"]);
    assert_eq!(refusal_of(&of(r#""app":{"id":"api"}"#), nested), None);
    assert_eq!(refusal_of(&of(r#""app":{"id":7}"#), nested), Some(Reason::TokenMalformed));
}

#[test]
fn types() {
    let verdict = |typ: Option<&str>, accepted: Option<&[&str]>| {
        let typ = typ.map_or(String::new(), |typ| format!(r#","typ":"{typ}""#));
        let token = sign(EdDSA, format!(r#"{{"alg":"EdDSA"{typ}}}"#), good_claims());
        let change = |i: &mut Issuer| {
            if let Some(accepted) = accepted {
                i.types = Types::OneOf(words(accepted));
            }
        };
        judge(token, change).err()
    };
    for good in [
        None,
        Some("JWT"),
        Some("jwt"),
        Some("at+jwt"),
        Some("AT+JWT"),
        Some("application/at+jwt"),
        Some("Application/JWT"),
    ] {
        assert_eq!(verdict(good, None), None, "{good:?}");
    }
    for other in [
        "",
        "JW",
        "JWTX",
        "jwt ",
        "id+jwt",
        "dpop+jwt",
        "logout+jwt",
        "application/",
        "application/application/jwt",
        "text/jwt",
        "application/jwt/x",
        "/jwt",
        "applicationjwt",
    ] {
        assert_eq!(verdict(Some(other), None), Some(Reason::TypeMismatch), "{other:?}");
    }
    let access: Option<&[&str]> = Some(&["at+jwt"]);
    assert_eq!(verdict(Some("at+jwt"), access), None);
    assert_eq!(verdict(Some("application/AT+jwt"), access), None);
    assert_eq!(verdict(Some("JWT"), access), Some(Reason::TypeMismatch));
    assert_eq!(verdict(None, access), Some(Reason::TypeMismatch));
    let spelt: Option<&[&str]> = Some(&["application/at+jwt", "x/y"]);
    assert_eq!(verdict(Some("AT+JWT"), spelt), None);
    assert_eq!(verdict(Some("X/Y"), spelt), None);
    assert_eq!(verdict(Some("y"), spelt), Some(Reason::TypeMismatch));
}

#[test]
fn fixed_claims() {
    let verdict = |member: &str, value: &str| {
        refusal_of(&claims(member), |i| i.fixed_claims = vec![("token_use".into(), value.into())])
    };
    for (member, value) in [
        (r#""token_use":"access""#, "access"),
        (r#""token_use":7"#, "7"),
        (r#""token_use":-1.5"#, "-1.5"),
        (r#""token_use":true"#, "true"),
        (r#""token_use":"true""#, "true"),
        (r#""token_use":"""#, ""),
    ] {
        assert_eq!(verdict(member, value), None, "{member}");
    }
    for (member, value) in [
        (r#""token_use":"id""#, "access"),
        (r#""token_use":"Access""#, "access"),
        (r#""token_use":"access ""#, "access"),
        (r#""token_use":["access"]"#, "access"),
        (r#""token_use":{"access":1}"#, "access"),
        (r#""token_use":null"#, "null"),
        (r#""token_use":null"#, ""),
        (r#""Token_use":"access""#, "access"),
        (r#""x":1"#, "access"),
        (r#""x":1"#, ""),
    ] {
        assert_eq!(verdict(member, value), Some(Reason::ClaimMismatch), "{member}");
    }
    let two = |i: &mut Issuer| i.fixed_claims = vec![("a.b".into(), "1".into()), ("c".into(), "x".into())];
    assert_eq!(refusal_of(&claims(r#""a":{"b":1},"c":"x""#), two), None);
    assert_eq!(refusal_of(&claims(r#""a":{"b":1}"#), two), Some(Reason::ClaimMismatch));
}

/// What a token is refused for first: time before audience before type before fixed claims.
#[test]
fn order() {
    let refused = |exp: u64, aud: &str, typ: &str| {
        let claims = format!(r#"{{"iss":"{ISS}","aud":"{aud}","exp":{exp}}}"#);
        let token = sign(EdDSA, format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#), claims);
        judge(token, |i| i.fixed_claims = vec![("x".into(), "y".into())]).err()
    };
    assert_eq!(refused(1, "x", "x"), Some(Reason::TokenExpired));
    assert_eq!(refused(NOW, "x", "x"), Some(Reason::AudienceMismatch));
    assert_eq!(refused(NOW, "api", "x"), Some(Reason::TypeMismatch));
    assert_eq!(refused(NOW, "api", "JWT"), Some(Reason::ClaimMismatch));
}

#[test]
fn one_issuer_for_each_iss() {
    let named = |id: u32, name: &str, iss: Option<&str>| {
        Arc::new(Issuer { id, name: name.into(), issuer: iss.map(str::to_owned), ..issuer(EdDSA) })
    };
    let error = |issuers| IssuerSet::new(issuers).unwrap_err();
    let twice = error(vec![named(0, "web", Some(ISS)), named(1, "mobile", Some(ISS))]);
    assert!(twice.contains("web") && twice.contains("mobile") && twice.contains(ISS), "{twice}");
    let twice = error(vec![named(0, "a", None), named(1, "b", Some(ISS)), named(2, "c", None)]);
    assert!(twice.contains("issuers a and c") && twice.contains('-'), "{twice}");

    let (first, second, third) = (named(0, "a", None), named(1, "b", Some(ISS)), named(2, "c", Some("x")));
    let set = IssuerSet::new(vec![first.clone(), second.clone(), third]).unwrap();
    assert_eq!(set.by_iss(None).unwrap().name, "a");
    assert_eq!(set.by_iss(Some(ISS)).unwrap().name, "b");
    assert!(set.by_iss(Some("")).is_none() && set.by_iss(Some("-")).is_none());
    assert!(set.accepts(&first) && set.accepts(&second));
    assert!(!set.accepts(&named(1, "b", Some(ISS))), "the same policy, made anew, has other keys");
    assert!(IssuerSet::default().by_iss(None).is_none());
}

fn verified(more: &str, change: impl FnOnce(&mut Issuer)) -> Verified {
    judge(token(EdDSA, &claims(more)), change).unwrap()
}

#[test]
fn subject_and_client() {
    let token = verified(r#""azp":"web","client_id":"other","email":"a@b.test","realm":{"id":"r"}"#, |_| {});
    assert_eq!((token.subject(), token.client()), (Some("alice"), Some("web")));
    assert_eq!(verified(r#""client_id":"app""#, |_| {}).client(), Some("app"));
    assert_eq!(verified(r#""azp":"","client_id":"app""#, |_| {}).client(), Some("app"));
    assert_eq!(verified("", |_| {}).client(), None);
    let subject = |name: &str, more: &str| {
        let token = verified(more, |i| i.subject = name.into());
        token.subject().map(str::to_owned)
    };
    assert_eq!(subject("email", r#""email":"a@b.test""#).as_deref(), Some("a@b.test"));
    assert_eq!(subject("realm.id", r#""realm":{"id":"r"}"#).as_deref(), Some("r"));
    // No name is made up, and `sub` does not stand in for another claim.
    assert_eq!(subject("email", r#""x":1"#), None);
    assert_eq!(subject("email", r#""email":"""#), None);
}

#[test]
fn scopes_and_groups() {
    let scopes = |more: &str| verified(more, |_| {}).scopes().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(scopes(r#""scope":"read  write:all ""#), ["read", "write:all"]);
    assert_eq!(scopes(r#""scp":["read","write"]"#), ["read", "write"]);
    assert_eq!(scopes(r#""scp":"b","scope":"a""#), ["a"]);
    // Present, though empty or of no use: the next one does not count.
    for none in [r#""scope":"","scp":"b""#, r#""scope":null,"scp":"b""#, r#""scope":7"#, r#""scope":{"a":1}"#, ""] {
        assert!(scopes(none).is_empty(), "{none}");
    }
    let groups = |more: &str| verified(more, |_| {}).groups().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(groups(r#""cognito:groups":["admins","ops"]"#), ["admins", "ops"]);
    assert_eq!(groups(r#""roles":"Domain Users""#), ["Domain Users"]);
    assert_eq!(groups(r#""groups":[],"roles":["x"]"#), [""; 0]);
}

#[test]
fn payload_and_claims_are_those_that_were_signed() {
    let token = token(EdDSA, &claims(r#""iat":1600000000.5,"n":18446744073709551615"#));
    let verified = judge(&token, |_| {}).unwrap();
    assert_eq!(verified.payload_base64url(), token.split('.').nth(1).unwrap());
    assert_eq!(verified.claim("n").and_then(Json::scalar_text).as_deref(), Some("18446744073709551615"));
    assert_eq!(verified.issued_at(), Some(UnixMicros(1_600_000_000_500_000)));
    assert_eq!(verified.expires(), Some(UnixMicros::from_secs(NOW + 300)));
    assert_eq!(verified.issuer().name, "test");
}

/// Both names of RFC 9864 and every algorithm, through the whole of `verify`.
#[test]
fn every_algorithm() {
    for algorithm in Algorithm::ALL {
        let issuers = only(issuer(algorithm));
        for typ in ["", r#","typ":"at+jwt""#] {
            let header = format!(r#"{{"alg":"{}"{typ}}}"#, algorithm.name());
            let token = sign(algorithm, header, good_claims());
            assert_eq!(token::verify(token.as_bytes(), &issuers, now()).unwrap().subject(), Some("alice"));
        }
    }
}
