//! What the gate answers itself: the handlers that an administrator may name with `SetHandler`, and the documents about
//! protected resources (RFC 9728).

use std::ffi::CStr;

use jwt_gate_core::usage::{self, Used};

use crate::answers::has_large_body;
use crate::decision::{Caller, Decision, Kept, LimitStanding, caller, decision, is_inner, root};
use crate::httpd::{Level, Log, Request, Status, now};
use crate::{explaining, metrics, status};

/// The handler that tells callers of their plan and limits.
const USAGE: &[u8] = b"jwt-gate-usage";

/// Writes the answer, if it is for the gate to write.
pub(crate) fn answer(request: Request<'_>) -> Option<Status> {
    if let Some(Decision { verdict: Kept::Document { path }, .. }) = decision(request) {
        return Some(send_document(request, path));
    }
    let handler = request.handler().filter(|_| request.main().is_none())?;
    match handler {
        USAGE => Some(send_usage(request)),
        explaining::HANDLER => Some(explaining::answer(request)),
        metrics::HANDLER => Some(send_metrics(request)),
        status::HANDLER => Some(send_status(request)),
        _ => None,
    }
}

/// Whether a document about a protected resource is asked for.
pub(crate) fn asks_for_document(request: Request<'_>) -> bool {
    !is_inner(request) && document(request, request.path()).is_some()
}

/// What the server tells of a protected resource.
fn document<'r>(request: Request<'r>, path: &[u8]) -> Option<&'r str> {
    let (runtime, server) = request.server().runtime()?;
    runtime.document(server, path)
}

fn send_document(request: Request<'_>, path: &[u8]) -> Status {
    match document(request, path) {
        Some(document) => send_json(request, c"max-age=300", document),
        None => Status::http(404),
    }
}

fn send_usage(request: Request<'_>) -> Status {
    let identity = match caller(request) {
        Caller::Known(identity) => Some(identity),
        Caller::Anonymous | Caller::ShownErrorPage => None,
        // Nobody is known here and nothing is counted: that this caller has no limits would not be true.
        Caller::NotDecided => {
            request.log(Level::Info, || {
                "JG1030 jwt-gate-usage has nothing to tell where the gate is off: answered with 404".to_owned()
            });
            return Status::http(404);
        }
    };
    let document = match root(request).state() {
        Some(state) => {
            let ledger = state.ledger.borrow();
            let used = ledger.standings.iter().map(|LimitStanding { def, measure, standing, .. }| Used {
                name: &def.name,
                measure: *measure,
                standing: *standing,
            });
            usage::document(identity, used)
        }
        None => usage::document(identity, std::iter::empty()),
    };
    send_json(request, c"no-store", &document)
}

fn send_metrics(request: Request<'_>) -> Status {
    match request.server().runtime() {
        Some((runtime, _)) => send(request, c"no-store", metrics::CONTENT_TYPE, &metrics::render(runtime, now())),
        None => Status::http(500),
    }
}

fn send_status(request: Request<'_>) -> Status {
    match status::answer(request) {
        Some((content_type, document)) => send(request, c"no-store", content_type, &document),
        None => Status::http(500),
    }
}

fn send_json(request: Request<'_>, cache: &'static CStr, document: &str) -> Status {
    send(request, cache, c"application/json", document)
}

/// Answers who reads, and nobody else.
fn send(request: Request<'_>, cache: &'static CStr, content_type: &'static CStr, document: &str) -> Status {
    if !matches!(request.method(), b"GET" | b"HEAD") {
        if has_large_body(request) {
            request.close_connection();
        }
        request.allow_reading_only();
        return Status::http(405);
    }
    request.handler_headers().set_constant(c"Cache-Control", cache);
    request.send(content_type, document.as_bytes());
    Status::OK
}
