//! The claims of a token (RFC 7519 section 4) and their types. A claim is absent, good or bad; bad
//! refuses the token even where the claim is optional.

use super::{
    issuer::{Audiences, Issuer},
    json::{self, Json, Members},
};
use crate::{time::UnixMicros, verdict::Reason};

/// The members of a payload.
#[derive(Debug)]
pub struct Claims<'t>(Members<'t>);

/// The times of a token (RFC 7519 sections 4.1.4 to 4.1.6), leeway not counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) expires: Option<UnixMicros>,
    pub(super) not_before: Option<UnixMicros>,
    pub(super) issued_at: Option<UnixMicros>,
}

impl<'t> Claims<'t> {
    /// Reads a payload's JSON text.
    ///
    /// # Errors
    /// `token-malformed` if it is not a JSON object, strictly (see [`Json::parse`]).
    pub(super) fn parse(text: &'t [u8]) -> Result<Self, Reason> {
        Json::parse_object(text).map(Self).ok_or(Reason::TokenMalformed)
    }

    /// The same claims, without the text.
    pub(super) fn into_owned(self) -> Claims<'static> {
        Claims(json::own_members(self.0))
    }

    /// The claim of this name: the member of exactly that name; if there is none, dots reach into objects.
    pub fn get(&self, name: &str) -> Option<&Json<'t>> {
        find(&self.0, name)
    }

    /// The first of these claims that is present.
    pub(super) fn first_of(&self, names: &[String]) -> Option<&Json<'t>> {
        names.iter().find_map(|name| self.get(name))
    }

    /// `iss`, which is one string or absent (RFC 7519 section 4.1.1).
    pub(super) fn iss(&self) -> Result<Option<&str>, Reason> {
        self.string("iss")
    }

    /// `exp`, `nbf` and `iat`.
    pub(super) fn times(&self) -> Result<Times, Reason> {
        let time = |name| member(&self.0, name).map(numeric_date).transpose();
        Ok(Times { expires: time("exp")?, not_before: time("nbf")?, issued_at: time("iat")? })
    }

    /// Refuses registered claims of a wrong type, also those that nobody asks for: who reads them later
    /// must not have to guess.
    pub(super) fn check_types(&self, issuer: &Issuer) -> Result<(), Reason> {
        for name in ["sub", "jti", "azp", "client_id", &issuer.subject] {
            match self.get(name) {
                None | Some(Json::String(_)) => {}
                Some(_) => return Err(Reason::TokenMalformed),
            }
        }
        let compared = match issuer.audiences {
            Audiences::Any => None,
            Audiences::OneOf(_) => self.first_of(&issuer.audience_claims),
        };
        for audience in member(&self.0, "aud").into_iter().chain(compared) {
            match audience {
                Json::String(_) => {}
                Json::Array(elements) if elements.iter().all(|e| matches!(e, Json::String(_))) => {}
                _ => return Err(Reason::TokenMalformed),
            }
        }
        Ok(())
    }

    fn string(&self, name: &str) -> Result<Option<&str>, Reason> {
        match member(&self.0, name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(Reason::TokenMalformed),
        }
    }
}

fn member<'j, 't>(members: &'j Members<'t>, name: &str) -> Option<&'j Json<'t>> {
    members.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

fn find<'j, 't>(members: &'j Members<'t>, name: &str) -> Option<&'j Json<'t>> {
    member(members, name).or_else(|| {
        name.match_indices('.').find_map(|(dot, _)| match member(members, &name[..dot]) {
            Some(Json::Object(inner)) => find(inner, &name[dot + 1..]),
            _ => None,
        })
    })
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, perhaps with a fraction. What lies beyond
/// the end of [`UnixMicros`] is its end.
fn numeric_date(value: &Json<'_>) -> Result<UnixMicros, Reason> {
    let Json::Number(number) = value else { return Err(Reason::TokenMalformed) };
    match (number.as_u64(), number.as_f64()) {
        (Some(seconds), _) => Ok(UnixMicros::from_secs(seconds)),
        // The conversion stops at the largest value.
        (None, Some(seconds)) if seconds >= 0.0 => Ok(UnixMicros((seconds * 1e6) as u64)),
        _ => Err(Reason::TokenMalformed),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn claims(text: &str) -> Claims<'_> {
        Claims::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_exact_name_wins_and_dots_reach_into_objects() {
        let claims = claims(
            r#"{"https://a.example/roles":["x"],"a":{"b":{"c":1},"b.c":2,"d":{"e.f":3}},"a.b":{"z":4},"s":"t","":5}"#,
        );
        let get = |name| claims.get(name).and_then(Json::scalar_text).map(Cow::into_owned);
        assert!(claims.get("https://a.example/roles").is_some());
        assert_eq!(get("a.b.c").as_deref(), Some("2"));
        assert_eq!(get("a.b.z").as_deref(), Some("4"));
        assert_eq!(get("a.d.e.f").as_deref(), Some("3"));
        assert_eq!(get("").as_deref(), Some("5"));
        for absent in ["b", "a.x", "a.b.c.d", "s.t", ".", "a.", ".a", "a..b", "A"] {
            assert!(claims.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn numeric_dates() {
        let date = |text: &str| claims(&format!("{{\"exp\":{text}}}")).times().map(|t| t.expires.unwrap().0);
        assert_eq!(date("0"), Ok(0));
        assert_eq!(date("-0"), Ok(0));
        assert_eq!(date("-0.0"), Ok(0));
        assert_eq!(date("1700000000"), Ok(1_700_000_000_000_000));
        assert_eq!(date("1700000000.25"), Ok(1_700_000_000_250_000));
        assert_eq!(date("1.7e9"), Ok(1_700_000_000_000_000));
        for far in ["18446744073709551615", "18446744073709551616", "1e300"] {
            assert_eq!(date(far), Ok(u64::MAX), "{far}");
        }
        for bad in ["-1", "-0.001", "-1e300", "\"1700000000\"", "null", "true", "[1]", "{}"] {
            assert_eq!(date(bad), Err(Reason::TokenMalformed), "{bad}");
        }
    }
}
