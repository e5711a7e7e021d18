//! CORS (WHATWG Fetch, section "CORS protocol"): what the gate answers to a preflight in the application's place,
//! and what it adds to every other answer, its own refusals included.
//!
//! Where `JwtGateCors` applies the gate alone speaks: what the application says of CORS itself is taken out
//! ([`is_answer_field`]), since two permissions are none to a browser. Access to private networks (the proposal with
//! `Access-Control-Request-Private-Network`) is not offered.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::config::cors::{Accepted, CorsDef};
use crate::facts::{Facts, Found};
use crate::forward::is_tchar;

/// Names and values of header fields.
pub type Fields<'c> = SmallVec<[(&'static str, Cow<'c, str>); 5]>;

/// What an answer says of CORS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Permission<'c> {
    /// Whether the browser will let the page have what it asks for.
    pub allowed: bool,
    /// The fields to set; each stands for itself alone.
    pub fields: Fields<'c>,
    /// What has to be among the members of `Vary` (see [`with_vary`]), allowed or not: caches must not show one
    /// origin what was meant for another.
    pub vary: &'static [&'static str],
}

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";

/// Whether this is a true preflight (Fetch, "HTTP requests"): an OPTIONS with exactly one `Origin` and one
/// `Access-Control-Request-Method`. Any other OPTIONS is a request like others.
pub fn is_preflight<'r>(facts: &impl Facts<'r>) -> bool {
    let is_one = |name| matches!(facts.header(name), Found::One(_));
    facts.method() == b"OPTIONS" && is_one("Origin") && is_one("Access-Control-Request-Method")
}

/// Whether a field of the application's answer is one of those that the gate sets in its place.
pub fn is_answer_field(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"access-control-";
    name.split_at_checked(PREFIX.len()).is_some_and(|(start, _)| start.eq_ignore_ascii_case(PREFIX))
}

/// The value of `Vary` (RFC 9110 section 12.5.5) with these members as well; `None` if they are there.
pub fn with_vary(present: &[u8], members: &[&str]) -> Option<Vec<u8>> {
    let has = |member: &str| {
        present
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .any(|m| m == b"*" || m.eq_ignore_ascii_case(member.as_bytes()))
    };
    let missing: Vec<&[u8]> = members.iter().filter(|member| !has(member)).map(|member| member.as_bytes()).collect();
    if missing.is_empty() {
        return None;
    }
    let missing = missing.join(&b", "[..]);
    Some(if present.trim_ascii().is_empty() { missing } else { [present.trim_ascii(), b", ", &missing].concat() })
}

impl CorsDef {
    /// The answer to a preflight ([`is_preflight`]), with status 204 in any case: a permission if the origin, the
    /// method and all headers are accepted, else no word of one, which is how a browser learns that it may not.
    ///
    /// `methods=*` and `headers=*` grant what is asked for by its name, because `*` in the answer would not cover
    /// `Authorization`, and would be no more than a strange name together with credentials.
    pub fn preflight<'r>(&self, facts: &impl Facts<'r>) -> Permission<'_> {
        const VARY: [&str; 3] = ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"];
        let fields = self.granted(facts).unwrap_or_default();
        Permission { allowed: !fields.is_empty(), fields, vary: &VARY }
    }

    fn granted<'r>(&self, facts: &impl Facts<'r>) -> Option<Fields<'_>> {
        let mut fields = self.origin_fields(facts.header("Origin"))?;
        let Found::One(method) = facts.header("Access-Control-Request-Method") else { return None };
        let methods = granted(&self.methods, &[method], <[u8]>::eq, str::to_owned)?;
        let asked = match facts.header("Access-Control-Request-Headers") {
            Found::None => Vec::new(),
            // A list may have empty elements (RFC 9110 section 5.6.1.2).
            Found::One(list) => list.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|n| !n.is_empty()).collect(),
            Found::Many => return None,
        };
        let headers = granted(&self.headers, &asked, <[u8]>::eq_ignore_ascii_case, str::to_ascii_lowercase)?;
        fields.push(("Access-Control-Allow-Methods", methods.into()));
        if !headers.is_empty() {
            fields.push(("Access-Control-Allow-Headers", headers.into()));
        }
        fields.push(("Access-Control-Max-Age", self.max_age.as_secs().to_string().into()));
        Some(fields)
    }

    /// What any other answer to a request with this `Origin` says, be it the application's or a refusal.
    ///
    /// `*` is said to everybody, also to a request without `Origin` and to the origin `null`, which Fetch lets
    /// read what carries no credentials; so it is the same in every cache. Among named origins `null` never is.
    pub fn fields(&self, origin: Found<'_>) -> Permission<'_> {
        let vary: &[&str] = if self.origins == Accepted::Any { &[] } else { &["Origin"] };
        let mut fields = self.origin_fields(origin).unwrap_or_default();
        let allowed = !fields.is_empty();
        if allowed {
            fields.push(("Access-Control-Expose-Headers", self.expose.as_str().into()));
        }
        Permission { allowed, fields, vary }
    }

    /// Whether requests that a page of this origin makes with the user's cookies are meant by the user. That
    /// needs the origin named, and `credentials=on`; `*` never counts.
    pub fn trusts(&self, origin: Found<'_>) -> bool {
        self.credentials && self.named(origin).is_some()
    }

    fn origin_fields(&self, origin: Found<'_>) -> Option<Fields<'_>> {
        let allowed = match self.origins {
            Accepted::Any => "*",
            Accepted::Only(_) => self.named(origin)?,
        };
        let mut fields = SmallVec::new();
        fields.push((ALLOW_ORIGIN, Cow::Borrowed(allowed)));
        if self.credentials {
            fields.push((ALLOW_CREDENTIALS, Cow::Borrowed("true")));
        }
        Some(fields)
    }

    /// The configured origin that equals what was sent, byte for byte, as Fetch compares ("CORS check").
    fn named(&self, origin: Found<'_>) -> Option<&str> {
        let (Accepted::Only(origins), Found::One(origin)) = (&self.origins, origin) else { return None };
        origins.iter().map(String::as_str).find(|named| named.as_bytes() == origin)
    }
}

/// The list that grants all of `asked`: what is configured, or what is asked for, `written` anew.
fn granted(
    accepted: &Accepted,
    asked: &[&[u8]],
    same: fn(&[u8], &[u8]) -> bool,
    written: fn(&str) -> String,
) -> Option<String> {
    let is_token = |name: &&[u8]| !name.is_empty() && name.iter().all(|b| is_tchar(*b));
    match accepted {
        Accepted::Only(names) => {
            asked.iter().all(|wanted| names.iter().any(|name| same(name.as_bytes(), wanted))).then(|| names.join(", "))
        }
        Accepted::Any => asked.iter().all(is_token).then(|| {
            asked.iter().filter_map(|name| str::from_utf8(name).ok()).map(written).collect::<Vec<_>>().join(", ")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vary_has_each_member_once() {
        let with = |present: &str, members: &[&str]| {
            with_vary(present.as_bytes(), members).map(|value| String::from_utf8(value).unwrap())
        };
        assert_eq!(with("", &["Origin"]).as_deref(), Some("Origin"));
        assert_eq!(with(" ", &["Origin", "X"]).as_deref(), Some("Origin, X"));
        assert_eq!(with("Accept-Encoding", &["Origin"]).as_deref(), Some("Accept-Encoding, Origin"));
        assert_eq!(with("a, ORIGIN ,b", &["Origin", "X"]).as_deref(), Some("a, ORIGIN ,b, X"));
        assert_eq!(with("X-Origin", &["Origin"]).as_deref(), Some("X-Origin, Origin"));
        for (present, members) in [("origin", &["Origin"][..]), ("a,*", &["Origin"]), ("", &[]), ("a", &[])] {
            assert_eq!(with(present, members), None, "{present}");
        }
    }

    #[test]
    fn fields_of_the_application_that_give_way() {
        for name in [ALLOW_ORIGIN, ALLOW_CREDENTIALS, "access-control-max-age", "ACCESS-CONTROL-ALLOW-PRIVATE-NETWORK"]
        {
            assert!(is_answer_field(name.as_bytes()), "{name}");
        }
        for name in ["", "Access-Control", "X-Access-Control-Allow-Origin", "Vary", "Timing-Allow-Origin"] {
            assert!(!is_answer_field(name.as_bytes()), "{name}");
        }
    }
}
