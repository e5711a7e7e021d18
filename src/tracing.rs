//! `JwtGateTrace`: the trace that a client request belongs to (W3C Trace Context).

use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::trace::Trace;

use crate::decision::{ledger, root};
use crate::httpd::{Request, random_bytes};
use crate::identity::protect_from_connection;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Finds or begins the trace of a client request, once for all of its parts, and tells the environment.
pub(crate) fn begin(request: Request<'_>, policy: &Policy) {
    let Some(ledger) = ledger(request).filter(|_| policy.trace) else { return };
    let find = || Trace::of(root(request).headers_in().header(TRACEPARENT), random_bytes);
    let trace = *ledger.borrow_mut().trace.get_or_insert_with(find);
    request.environment().set_static(c"JWT_GATE_TRACEPARENT", trace.parent().to_string().as_bytes());
}

/// Tells the application of the trace, and keeps the client from having that removed on the way. What goes on is what the
/// log has.
pub(crate) fn set_headers(request: Request<'_>) {
    let Some(trace) = root(request).state().and_then(|state| state.ledger.borrow().trace) else { return };
    let headers = request.headers_in();
    headers.set(TRACEPARENT, trace.parent().to_string().as_bytes());
    if let Trace::Begun(_) = trace {
        headers.remove(|name| name.eq_ignore_ascii_case(TRACESTATE.as_bytes()));
    }
    let is_ours = |name: &[u8]| [TRACEPARENT, TRACESTATE].iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()));
    protect_from_connection(request, is_ours);
}
