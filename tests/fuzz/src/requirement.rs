//! What a `Require` line asks for, and claims as they leave the gate.

use std::sync::Arc;

use jwt_gate_core::config::forward::ForwardValue;
use jwt_gate_core::config::requirement::{Kind, words};
use jwt_gate_core::expression::{claim_list, claim_text};
use jwt_gate_core::forward::value;
use jwt_gate_core::identity::Identity;
use jwt_gate_core::requirement::Requirement;
use jwt_gate_core::token::json::Json;
use serde_json::{Value, json};

use super::token::let_in;
use super::{assert_field_value, assert_fit_for_log, decoded};

/// Longer claims might not fit into a token.
const MAX_CLAIM: usize = 1_000;

/// A line as it stands behind `Require jwt-…`, and behind a line break a claim: what is read is written and read as
/// the same, a claim meets its own value, and leaves the gate whole or not at all.
pub fn requirement(data: &[u8]) {
    let split = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (line, claim) = (&data[..split], data.get(split + 1..).unwrap_or_default());
    let identity = claim_of(claim).map(|claim| (Identity::of_token(Arc::new(let_in("test", &claims(&claim)))), claim));

    let Ok(line) = str::from_utf8(line) else { return };
    let written = words(line).iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    assert_eq!(words(&written), words(line));
    for kind in Kind::ALL {
        match Requirement::parse(kind, line) {
            Ok(requirement) => {
                assert_eq!(Requirement::parse(kind, &written).as_ref(), Ok(&requirement));
                assert_eq!(requirement.needed_scopes().is_empty(), kind != Kind::Scope);
                if let Some((identity, _)) = &identity {
                    assert!(kind != Kind::Plan || !requirement.is_met_by(identity));
                    let issuer = words(line).iter().any(|word| word == "test");
                    assert!(kind != Kind::Issuer || requirement.is_met_by(identity) == issuer);
                }
            }
            Err(error) => assert_fit_for_log(&error),
        }
    }

    let Some((identity, claim)) = identity else { return };
    let text = claim_text(&identity, "x");
    assert!(
        text.iter().all(|text| !text.contains('\0')) && claim_list(&identity, "x").all(|text| !text.contains('\0'))
    );
    let field = value(&ForwardValue::Claim("x".to_owned()), &identity);
    if let Some(field) = &field {
        assert_field_value(field);
        assert!(text.is_none_or(|text| decoded(field) == text));
    }
    let own = match &claim {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) => Some(claim.to_string()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    };
    if let Some(own) = own {
        assert_eq!(field.map(|field| decoded(&field)).as_ref(), Some(&own));
        if let Ok(requirement) = Requirement::parse(Kind::Claim, &format!("x {}", quoted(&own))) {
            assert!(requirement.is_met_by(&identity), "{own}");
        }
    }
}

/// A claim that a token may have.
fn claim_of(text: &[u8]) -> Option<Value> {
    // One level is the payload's.
    let nested = [b"[", text, b"]"].concat();
    let good = text.len() <= MAX_CLAIM && Json::parse(&nested).is_ok();
    serde_json::from_slice(text).ok().filter(|_| good)
}

fn claims(claim: &Value) -> Value {
    json!({"iss": "https://HS256.test", "aud": "api", "x": claim})
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', "\\\\").replace('\'', "\\'"))
}
