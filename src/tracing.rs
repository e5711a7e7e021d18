//! `JwtGateTrace`: the trace that a client request belongs to (W3C Trace Context).

use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::trace::Trace;

use crate::decision::{ledger, root};
use crate::httpd::{Request, random_bytes};

/// Finds or begins the trace of a client request, once for all of its parts, and tells the environment.
pub(crate) fn begin(request: Request<'_>, policy: &Policy) {
    let Some(ledger) = ledger(request).filter(|_| policy.trace) else { return };
    let find = || Trace::of(root(request).headers_in().header("traceparent"), random_bytes);
    let trace = *ledger.borrow_mut().trace.get_or_insert_with(find);
    request.environment().set_static(c"JWT_GATE_TRACEPARENT", trace.parent().to_string().as_bytes());
}

/// Tells the application of a trace that was begun here. One that was kept goes on as it came.
pub(crate) fn set_headers(request: Request<'_>) {
    let trace = root(request).state().and_then(|state| state.ledger.borrow().trace);
    if let Some(Trace::Begun(parent)) = trace {
        let headers = request.headers_in();
        headers.set("traceparent", parent.to_string().as_bytes());
        headers.remove(|name| name.eq_ignore_ascii_case(b"tracestate"));
    }
}
