//! What a `Require` line asks of an identity, and whether the identity meets it.

use crate::identity::Identity;
use crate::token::{json::Json, number::Exact};

/// One line. Any one of its values suffices.
#[derive(Clone, Debug, PartialEq)]
pub enum Requirement {
    /// A claim has one of these values; of an array, one of its elements has.
    Claim {
        /// The member of exactly that name; if there is none, dots reach into objects.
        name: String,
        /// What it may be.
        values: Vec<ClaimValue>,
    },
    /// One of the token's scopes.
    Scope(Vec<String>),
    /// One of the token's groups.
    Group(Vec<String>),
    /// The token's client.
    Client(Vec<String>),
    /// The administrator's name of the token's issuer.
    Issuer(Vec<String>),
    /// The usage plan.
    Plan(Vec<String>),
}

impl Requirement {
    /// Whether the identity meets it. Does not allocate.
    pub fn is_met_by(&self, identity: &Identity) -> bool {
        let among = |values: &[String], found: &str| values.iter().any(|value| value == found);
        match self {
            Self::Claim { name, values } => identity
                .claim(name)
                .is_some_and(|claim| claim.elements().iter().any(|found| values.iter().any(|value| value.is(found)))),
            Self::Scope(values) => identity.scopes().any(|scope| among(values, scope)),
            Self::Group(values) => identity.groups().any(|group| among(values, group)),
            Self::Client(values) => identity.client().is_some_and(|client| among(values, client)),
            Self::Issuer(values) => identity.issuer().is_some_and(|issuer| among(values, issuer)),
            Self::Plan(values) => identity.plan().is_some_and(|plan| among(values, plan)),
        }
    }

    /// The scopes that an `insufficient_scope` answer names (RFC 6750 section 3); none if it asks for something else.
    pub fn needed_scopes(&self) -> &[String] {
        match self {
            Self::Scope(scopes) => scopes,
            _ => &[],
        }
    }
}

/// A value as the administrator wrote it, ready to be compared with claims of any type.
///
/// httpd takes quotes away before anybody sees them, so that `5` and `"5"` are one: the text of a string, byte for
/// byte, and the number or boolean that it is in JSON. It never equals null, an array or an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimValue {
    text: String,
    number: Option<Exact>,
}

impl ClaimValue {
    /// The value of this text.
    pub fn new(text: String) -> Self {
        Self { number: Exact::parse(&text), text }
    }

    /// Whether a claim, or an element of one, has this value.
    pub fn is(&self, claim: &Json) -> bool {
        match claim {
            Json::String(text) => *text == self.text,
            Json::Number(number) => self.number.is_some() && self.number == Exact::of(number),
            Json::Bool(true) => self.text == "true",
            Json::Bool(false) => self.text == "false",
            Json::Null | Json::Array(_) | Json::Object(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(value: &str, claim: &str) -> bool {
        ClaimValue::new(value.to_owned()).is(&Json::parse(claim.as_bytes()).unwrap())
    }

    #[test]
    fn a_value_equals_the_string_and_the_scalar_that_it_spells() {
        for (value, claim) in [
            ("admin", r#""admin""#),
            ("admin", r#""\u0061dmin""#),
            ("", r#""""#),
            ("é", r#""\u00e9""#),
            ("5", "5"),
            ("5", r#""5""#),
            ("5", "5.0"),
            ("5.0", "5"),
            ("5e0", "5"),
            ("-3", "-3"),
            ("1.5", "1.50"),
            ("5.0", r#""5.0""#),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551616", r#""18446744073709551616""#),
            ("true", "true"),
            ("true", r#""true""#),
            ("false", "false"),
            ("null", r#""null""#),
        ] {
            assert!(is(value, claim), "{value} and {claim}");
        }
    }

    #[test]
    fn and_nothing_else() {
        for (value, claim) in [
            ("admin", r#""Admin""#),
            ("admin", r#""admin ""#),
            ("admin", r#""admin\u0000""#),
            ("é", r#""e\u0301""#),
            ("", "null"),
            ("null", "null"),
            ("5.0", r#""5""#),
            ("5 ", "5"),
            ("05", "5"),
            ("+5", "5"),
            ("5", "-5"),
            ("5", "true"),
            ("1", "true"),
            ("0", "false"),
            ("True", "true"),
            ("true", "false"),
            ("9007199254740992", "9007199254740993"),
            ("9007199254740993", "9007199254740992"),
            ("9007199254740993", "9007199254740993.0"),
            ("18446744073709551616", "18446744073709551616"),
            ("18446744073709551616", "18446744073709551617"),
            ("18446744073709551615", "18446744073709551616"),
            ("[]", "[]"),
            ("a", r#"["a"]"#),
            ("{}", "{}"),
        ] {
            assert!(!is(value, claim), "{value} and {claim}");
        }
    }
}
