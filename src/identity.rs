//! What the application, the log and expressions are told about who calls.

use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::config::forward::ForwardValue;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::Mode;
use jwt_gate_core::credentials;
use jwt_gate_core::facts::Found;
use jwt_gate_core::forward::{self, ScrubList, clean_connection, encode_value, same_name};
use jwt_gate_core::identity::Identity;

use crate::httpd::{Expression, Request};

/// Sets the identity headers of a request that was let in, in place of whatever has their names, and keeps
/// the client from having them removed on the way (RFC 9110 section 7.6.1).
pub(crate) fn set_headers(request: Request<'_>, policy: &Policy, scrub: &ScrubList, identity: Option<&Identity>) {
    if policy.forward.is_empty() {
        return;
    }
    let headers = request.headers_in();
    for def in &policy.forward {
        let name = def.header.as_str();
        headers.remove(|other| same_name(other, name.as_bytes()));
        if let Some(value) = value(request, &def.value, identity) {
            headers.set(name, value.as_bytes());
        }
    }
    protect_from_connection(request, |name| scrub.matches(name));
}

/// Takes names that are ours out of `Connection`, by which a client has headers removed on the way (RFC 9110 section
/// 7.6.1).
pub(crate) fn protect_from_connection(request: Request<'_>, is_ours: impl Fn(&[u8]) -> bool) {
    let headers = request.headers_in();
    match headers.header("Connection") {
        Found::None => {}
        Found::One(connection) => {
            if let Some(rest) = clean_connection(connection, is_ours) {
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
fn value(request: Request<'_>, value: &ForwardValue, identity: Option<&Identity>) -> Option<String> {
    if let ForwardValue::Expression { compiled, .. } = value {
        let text = compiled.downcast_ref::<Expression>()?.evaluate(request)?;
        let mut out = String::new();
        encode_value(&String::from_utf8_lossy(text), &mut out);
        return Some(out).filter(|text| !text.is_empty());
    }
    forward::value(value, identity?)
}

/// Whether it is for another module to say who the user is: what is tried out beside that changes nothing of whom it
/// lets in.
pub(crate) fn leaves_user(request: Request<'_>, policy: &Policy) -> bool {
    policy.mode == Mode::DryRun && request.has_auth_type()
}

/// Sets user and environment of a request whose sender is known.
pub(crate) fn set_environment(request: Request<'_>, policy: &Policy, identity: &Identity) {
    let environment = request.environment();
    let of = |value| forward::value(&value, identity);
    let set = |name, text: Option<String>| {
        if let Some(text) = text {
            environment.set_static(name, text.as_bytes());
        }
    };
    let subject = of(ForwardValue::Subject);
    if let Some(subject) = &subject
        && !leaves_user(request, policy)
    {
        let kind = if identity.token().is_some() { c"Bearer" } else { c"ApiKey" };
        request.set_user(subject.as_bytes(), kind);
    }
    set(c"JWT_GATE_SUBJECT", subject);
    set(c"JWT_GATE_ISSUER", of(ForwardValue::Issuer));
    set(c"JWT_GATE_CLIENT", of(ForwardValue::Client));
    set(c"JWT_GATE_SCOPE", of(ForwardValue::Scope));
    set(c"JWT_GATE_PLAN", of(ForwardValue::Plan));
}

/// Takes the credential out of what the application will receive.
pub(crate) fn take_credential(request: Request<'_>, source: &Source) {
    let headers = request.headers_in();
    match source {
        Source::Bearer => headers.remove(|name| name.eq_ignore_ascii_case(b"authorization")),
        Source::Header(header) | Source::ApiKey(header) => {
            headers.remove(|name| forward::same_name(name, header.as_bytes()));
        }
        Source::Cookie(cookie) => {
            let Found::One(value) = headers.header("Cookie") else { return };
            match credentials::without_cookie(value, cookie) {
                Some(rest) => headers.set_static(c"Cookie", &rest),
                None => headers.remove(|name| name.eq_ignore_ascii_case(b"cookie")),
            }
        }
        Source::Query(name) => {
            request.edit_query(|query| credentials::without_parameter(query, name));
        }
    }
}
