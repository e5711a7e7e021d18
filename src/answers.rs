//! What answers carry: fields of refusals and of limits, what caches and pages of other origins may do with them.

use jwt_gate_core::answer::Scheme;
use jwt_gate_core::config::cors::CorsDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::facts::Found;
use jwt_gate_core::{answer, cors};

use crate::decision::{Caching, Decision, Kept, Ledger, LimitStanding, Refused, answered, decision, refusal};
use crate::facts::RequestFacts;
use crate::httpd::{Filter, Request};

/// A body up to this many bytes is read to its end when its request is refused, so that the connection can
/// be used again.
const SMALL_BODY: u64 = 64 << 10;

/// The body of a refused request's answer.
pub(crate) fn problem_body(request: Request<'_>) -> Option<Vec<u8>> {
    let (_, refused) = refusal(request, request.status())?;
    Some(answer::problem(refused.reason, refused.limit.as_deref()).into_bytes())
}

/// Keeps shared caches from an answer that belongs to one user.
pub(crate) fn complete_answer(request: Request<'_>) {
    let Some(Decision { verdict: Kept::Allowed { cache, .. }, .. }) = decision(request) else { return };
    let headers = [request.handler_headers(), request.answer_headers()];
    let said = headers.map(|headers| (headers, headers.header("Cache-Control")));
    let Some((headers, said)) = said.into_iter().find(|(_, said)| *said != Found::None) else {
        request.handler_headers().set_constant(c"Cache-Control", c"private");
        return;
    };
    if *cache == Caching::AsAuthorized {
        let Found::One(said) = said else { return headers.set_constant(c"Cache-Control", c"private") };
        // RFC 9111 section 3.5: these allow it; the last two forbid it already.
        const ENOUGH: [&[u8]; 5] = [b"public", b"s-maxage", b"must-revalidate", b"private", b"no-store"];
        let name = |directive: &'_ [u8]| {
            directive.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii().to_ascii_lowercase()
        };
        if !said.split(|b| *b == b',').any(|directive| ENOUGH.contains(&name(directive).as_slice())) {
            headers.set_static(c"Cache-Control", &[said, b", private"].concat());
        }
    }
}

/// The part of the client request whose policy says who may read the answer, and what it says. An `ErrorDocument` is
/// shown in the place of what was asked for; else what is answered counts, or what led to it where the gate is off.
fn readers(request: Request<'_>) -> Option<(Request<'_>, &Decision, &CorsDef)> {
    let mut parts = std::iter::successors(Some(answered(request)), |part| part.previous());
    let (part, decision) = parts.find_map(|part| Some((part, decision(part)?)))?;
    Some((part, decision, decision.policy.cors.as_deref()?))
}

pub(crate) fn add_cors(request: Request<'_>) {
    if request.main().is_none() && readers(request).is_some() {
        request.add_filter(Filter::Cors);
    }
}

/// Says which pages may read the answer, in the place of whatever else says so.
pub(crate) fn speak_of_cors(request: Request<'_>) {
    let Some((part, Decision { verdict, origin, .. }, def)) = readers(request) else { return };
    let permission = match verdict {
        Kept::Preflight => def.preflight(&RequestFacts(part)),
        _ => def.fields(origin.as_deref().map_or(Found::None, Found::One)),
    };
    let tables = [request.handler_headers(), request.answer_headers()];
    for table in tables {
        table.remove(cors::is_answer_field);
    }
    let [headers, _] = tables;
    for (name, value) in &permission.fields {
        headers.set(name, value.as_bytes());
    }
    let present = tables.map(|table| table.list("Vary"));
    let present =
        present.iter().filter(|list| !list.is_empty()).map(Vec::as_slice).collect::<Vec<_>>().join(&b", "[..]);
    if let Some(vary) = cors::with_vary(&present, permission.vary) {
        for table in tables {
            table.remove(|name| name.eq_ignore_ascii_case(b"vary"));
        }
        headers.set_static(c"Vary", &vary);
    }
}

/// The header fields of a refusal.
pub(crate) fn refusal_fields(request: Request<'_>, policy: &Policy, refused: &Refused) {
    let headers = request.answer_headers();
    headers.set_constant(c"Cache-Control", c"no-store");
    let scheme = if policy.credentials.takes_only_api_keys() { Scheme::ApiKey } else { Scheme::Bearer };
    let Policy { realm, resource, .. } = policy;
    if let Some(challenge) = answer::challenge(scheme, realm, refused.reason, resource.as_deref(), &refused.scopes) {
        headers.set_static(c"WWW-Authenticate", challenge.as_bytes());
    }
    if let Some(seconds) = refused.retry_after {
        headers.set_static(c"Retry-After", seconds.to_string().as_bytes());
    }
}

/// More than is worth reading, or of unknown length.
pub(crate) fn has_large_body(request: Request<'_>) -> bool {
    let length = match request.headers_in().header("Content-Length") {
        Found::None => return request.has_body_of_unknown_length(),
        Found::Many => None,
        Found::One(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<u64>().ok()),
    };
    request.has_body_of_unknown_length() || length.is_none_or(|length| length > SMALL_BODY)
}

/// `RateLimit-Policy` and `RateLimit`, on the answer that the client will get: all limits that any part of its
/// request was counted for, as they stand now.
pub(crate) fn limit_fields(first: Request<'_>, ledger: &Ledger) {
    let room = 40 * ledger.standings.len();
    let (mut policies, mut limits) = (String::with_capacity(room), String::with_capacity(room));
    for LimitStanding { def, measure, standing, .. } in ledger.standings.iter().filter(|known| known.is_told) {
        answer::policy_member(&mut policies, &def.name, *measure);
        answer::limit_member(&mut limits, &def.name, *measure, *standing);
    }
    let headers = first.answer_headers();
    headers.set_static(c"RateLimit-Policy", policies.as_bytes());
    headers.set_static(c"RateLimit", limits.as_bytes());
}
