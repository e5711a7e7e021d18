//! What the application, the log and expressions are told about who calls.

use jwt_gate_core::config::forward::ForwardValue;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::facts::Found;
use jwt_gate_core::forward::{ScrubList, clean_connection, encode_list, encode_value, same_name};
use jwt_gate_core::token::Verified;
use jwt_gate_core::token::json::Json;

use crate::httpd::{Expression, Request};

/// Sets the identity headers of a request that was let in, in place of whatever has their names, and keeps
/// the client from having them removed on the way (RFC 9110 section 7.6.1).
pub(crate) fn set_headers(request: Request<'_>, policy: &Policy, scrub: &ScrubList, identity: Option<&Verified>) {
    if policy.forward.is_empty() {
        return;
    }
    let headers = request.headers_in();
    for forward in &policy.forward {
        let name = forward.header.as_str();
        headers.remove(|other| same_name(other, name.as_bytes()));
        if let Some(value) = value(request, &forward.value, identity) {
            headers.set(name, value.as_bytes());
        }
    }
    match headers.header("Connection") {
        Found::None => {}
        Found::One(connection) => {
            if let Some(rest) = clean_connection(connection, scrub) {
                if rest.is_empty() {
                    headers.remove(|name| name.eq_ignore_ascii_case(b"connection"));
                } else {
                    headers.set_static(c"Connection", &rest);
                }
            }
        }
        // httpd joins repeated headers; if another module added one, none of it is believed.
        Found::Many => headers.remove(|name| name.eq_ignore_ascii_case(b"connection")),
    }
}

/// The value of a header; `None` if the identity lacks it.
fn value(request: Request<'_>, value: &ForwardValue, identity: Option<&Verified>) -> Option<String> {
    if let ForwardValue::Expression(expression) = value {
        let text = expression.downcast_ref::<Expression>()?.evaluate(request)?;
        return encoded(&String::from_utf8_lossy(text)).filter(|text| !text.is_empty());
    }
    let identity = identity?;
    match value {
        ForwardValue::Subject => encoded(identity.subject()?),
        ForwardValue::Issuer => encoded(&identity.issuer().name),
        ForwardValue::Client => encoded(identity.client()?),
        ForwardValue::Scope => scope(identity),
        ForwardValue::Claims => Some(identity.payload_base64url().to_owned()),
        ForwardValue::Claim(name) => claim(identity.claim(name)?),
        // There are no plans and API keys yet, so no request has one.
        ForwardValue::Plan | ForwardValue::ApiKey | ForwardValue::Expression(_) => None,
    }
}

fn encoded(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    encode_value(text, &mut out);
    Some(out)
}

fn scope(identity: &Verified) -> Option<String> {
    let mut words = identity.scopes().peekable();
    words.peek()?;
    encoded(&words.collect::<Vec<_>>().join(" "))
}

/// A claim as text: scalars as they are, arrays of scalars joined by commas. An object, or an array with
/// anything else inside, has no form in a header; an empty array and `null` are absent.
fn claim(claim: &Json) -> Option<String> {
    let Json::Array(members) = claim else { return encoded(&claim.scalar_text()?) };
    let texts: Vec<_> = members.iter().map(Json::scalar_text).collect::<Option<_>>()?;
    if texts.is_empty() {
        return None;
    }
    let mut out = String::new();
    encode_list(texts.iter().map(AsRef::as_ref), &mut out);
    Some(out)
}

/// Sets user and environment of a request whose sender is known.
pub(crate) fn set_environment(request: Request<'_>, identity: &Verified) {
    let environment = request.environment();
    let set = |name, text: Option<String>| {
        if let Some(text) = text {
            environment.set_static(name, text.as_bytes());
        }
    };
    let subject = identity.subject().and_then(encoded);
    if let Some(subject) = &subject {
        request.set_user(subject.as_bytes(), c"Bearer");
    }
    set(c"JWT_GATE_SUBJECT", subject);
    set(c"JWT_GATE_ISSUER", encoded(&identity.issuer().name));
    set(c"JWT_GATE_CLIENT", identity.client().and_then(encoded));
    set(c"JWT_GATE_SCOPE", scope(identity));
}
