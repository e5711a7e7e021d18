//! `SetHandler jwt-gate-explain`: how a request that is only described would be decided, and why.
//!
//! httpd itself looks the request up, as a sub-request ([`Request::imagine`]): it finds the virtual host and merges
//! the sections, and the hooks of this and of all other modules are asked about it as about any other request. Those of
//! this module recognise it ([`crate::decision::is_imagined`]): they decide by the same steps, but charge nothing,
//! count no failed try, fetch no keys and log nothing. So `Require` lines and all that other modules refuse are
//! httpd's own answer.

use std::mem;
use std::sync::Arc;

use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::Section;
use jwt_gate_core::explain::{Answer, Described, Explanation, Step, StepResult};
use jwt_gate_core::facts::Found;
use jwt_gate_core::verdict::Reason;

use crate::access::{before_forwarding, take_denial};
use crate::decision::{Decision, Kept, RequestState, decision, is_imagined, ledger, refusal};
use crate::facts::RequestFacts;
use crate::httpd::{Level, Log, Request, Status};

/// The name of the handler.
pub(crate) const HANDLER: &[u8] = b"jwt-gate-explain";

/// More is no request that any client could send.
const MOST: usize = 64 << 10;

/// Answers a request to the handler.
pub(crate) fn answer(request: Request<'_>) -> Status {
    match explain(request) {
        Ok(document) => send(request, 200, &document),
        Err((status, why)) => {
            if status == 405 {
                request.answer_headers().set_constant(c"Allow", c"POST");
            }
            // What is left of the body is not worth reading.
            request.close_connection();
            send(request, status, &Answer::error(&why))
        }
    }
}

fn send(request: Request<'_>, status: u16, document: &str) -> Status {
    request.answer_headers().set_constant(c"Cache-Control", c"no-store");
    request.set_status(status);
    request.send(c"application/json", document.as_bytes());
    Status::OK
}

/// The document, or the status and the text of an error.
fn explain(request: Request<'_>) -> Result<String, (u16, String)> {
    if request.method() != b"POST" {
        return Err((405, "describe a request in JSON and send it with POST, as `jwt-gate explain` does".to_owned()));
    }
    if !is_json(request) {
        // A page of another site could not make a browser send this type without being asked first.
        return Err((415, "the body is not JSON: send it with `Content-Type: application/json`".to_owned()));
    }
    let body = request.body(MOST).map_err(|status| match status {
        413 => (413, format!("the body is longer than {MOST} bytes")),
        status => (status, "the body cannot be read".to_owned()),
    })?;
    let mut described = Described::parse(&body).map_err(|why| (400, why))?;
    let (runtime, _) = request.server().runtime().ok_or((500, "the module is not in use".to_owned()))?;
    // As from any request, before anything could believe them.
    described.headers.retain(|(name, _)| !runtime.scrub().matches(name.as_bytes()));
    if request.state().is_none() {
        request.set_state(RequestState::default());
    }
    let state = request.state().ok_or((500, "nothing can be kept with the request".to_owned()))?;
    state.asks.set(true);
    let document = request.imagine(&described, tell);
    state.asks.set(false);
    request.log(Level::Info, || {
        let Described { method, path, .. } = &described;
        let path = path.split('?').next().unwrap_or_default();
        format!("JG1029 explained how {method} {path} would be decided")
    });
    Ok(document.unwrap_or_else(|status| {
        let why = Step::new("httpd", StepResult::Refused, "the header Host is malformed");
        let explanation = Explanation { steps: vec![why], limits: Vec::new() };
        Answer { verdict: "deny", status: Some(status), explanation, ..Answer::default() }.to_json()
    }))
}

fn is_json(request: Request<'_>) -> bool {
    let Found::One(kind) = request.headers_in().header("Content-Type") else { return false };
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Keeps how a decision came about. Of several, all count: the later ones are about what is left.
pub(crate) fn note(request: Request<'_>, explanation: Explanation) {
    if let Some(ledger) = ledger(request) {
        let known = &mut ledger.borrow_mut().explanation;
        known.steps.extend(explanation.steps);
        known.limits.extend(explanation.limits);
    }
}

/// Keeps that the gate was asked and is off, if anybody asks how that came about.
pub(crate) fn note_off(request: Request<'_>) {
    if is_imagined(request)
        && let Some(ledger) = ledger(request)
    {
        let steps = &mut ledger.borrow_mut().explanation.steps;
        if steps.is_empty() {
            steps.push(Step::new("gate", StepResult::Skipped, "JwtGate is off here"));
        }
    }
}

/// What httpd, and the gate in it, make of a request.
fn tell(imagined: Request<'_>) -> String {
    let mut status = imagined.status();
    if status == 200 && imagined.is_proxied() {
        status = before_forwarding(imagined).code().unwrap_or(status);
    }
    if status == 403 {
        take_denial(imagined);
    }
    let refused = refusal(imagined, status);
    let mut explanation =
        ledger(imagined).map(|ledger| mem::take(&mut ledger.borrow_mut().explanation)).unwrap_or_default();
    let told = |name| match imagined.environment().header(name) {
        Found::One(value) => Some(String::from_utf8_lossy(value).into_owned()),
        Found::None | Found::Many => None,
    };
    let would_be = || {
        let word = told("JWT_GATE_REASON").filter(|_| told("JWT_GATE_VERDICT").as_deref() == Some("would-deny"))?;
        Reason::ALL.into_iter().find(|reason| reason.word() == word)
    };
    let reason = refused.as_ref().map(|(_, refused)| refused.reason);
    let would_be = if status >= 400 { None } else { would_be() };
    let decided = decision(imagined);
    let has_fault = ledger(imagined).is_some_and(|ledger| ledger.borrow().fault.is_some());
    // httpd finds out which sections apply before it asks.
    let why = reason.or(has_fault.then_some(Reason::Internal));
    let is_asked = decided.is_some() || why.is_some() || !explanation.steps.is_empty();
    add_httpd(imagined, is_asked, status, why, &mut explanation.steps);
    let policy = match decided {
        Some(decision) => Some(decision.policy.clone()),
        None if is_asked => policy(imagined),
        None => None,
    };
    let sections = if is_asked { imagined.sections() } else { &[] };
    let answered = match (reason.or(would_be), status, decided) {
        (Some(reason), ..) => Some(reason.consequence().status),
        (None, 0, _) => None,
        // The handler says, which may be the application.
        (None, 200, Some(Decision { verdict: Kept::Document { .. }, .. })) => Some(200),
        (None, 200, _) => None,
        (None, status, _) => Some(status),
    };
    let identity = [
        ("subject", "JWT_GATE_SUBJECT"),
        ("issuer", "JWT_GATE_ISSUER"),
        ("client", "JWT_GATE_CLIENT"),
        ("scope", "JWT_GATE_SCOPE"),
        ("plan", "JWT_GATE_PLAN"),
    ];
    let forwards = policy.iter().filter(|_| status == 200).flat_map(|policy| &policy.forward);
    let headers = forwards.filter_map(|def| match imagined.headers_in().header(def.header.as_str()) {
        Found::One(value) => Some((def.header.as_str(), String::from_utf8_lossy(value).into_owned())),
        Found::None | Found::Many => None,
    });
    let cors = policy.as_ref().and_then(|policy| policy.cors.as_deref()).map(|def| {
        match decided.map(|decision| &decision.verdict) {
            Some(Kept::Preflight) => def.preflight(&RequestFacts(imagined)),
            _ => def.fields(imagined.headers_in().header("Origin")),
        }
    });
    Answer {
        verdict: match (status >= 400, would_be) {
            (true, _) => "deny",
            (false, Some(_)) => "would-deny",
            (false, None) => "allow",
        },
        status: answered,
        reason: reason.or(would_be).map(Reason::word),
        explanation,
        sections: sections.iter().map(|section| place(section)).collect(),
        policy: policy.as_deref(),
        identity: identity.into_iter().filter_map(|(name, variable)| Some((name, told(variable)?))).collect(),
        headers: headers.collect(),
        cors,
    }
    .to_json()
}

/// The policy of a request that was not decided.
fn policy(request: Request<'_>) -> Option<Arc<Policy>> {
    let (runtime, server) = request.server().runtime()?;
    runtime.policy(&runtime.live(), server, request.sections()).ok()
}

/// Where a section is.
fn place(section: &Section) -> String {
    match &section.path {
        Some(path) => format!("\"{path}\": {}", section.origin),
        None => format!("server: {}", section.origin),
    }
}

/// What stands before and behind the steps of the decision: the path, and `Require` and whatever else httpd asks.
fn add_httpd(request: Request<'_>, is_asked: bool, status: u16, reason: Option<Reason>, steps: &mut Vec<Step>) {
    let is_open = steps.iter().all(|step| step.result != StepResult::Refused);
    match reason {
        Some(Reason::PathAmbiguous) => {
            let why = "an application may find that it leads elsewhere";
            steps.insert(0, Step::new("path", StepResult::Refused, why));
            return;
        }
        Some(Reason::Internal) => {
            let why = "sections contradict each other, or `Satisfy Any` applies: see the error log of such a request";
            steps.push(Step::new("configuration", StepResult::Refused, why));
            return;
        }
        _ => {}
    }
    if !is_asked {
        let (result, what) = match status {
            0 => (StepResult::Passed, "answered by httpd itself".to_owned()),
            400.. => (StepResult::Refused, format!("{status} from httpd")),
            status => (StepResult::Passed, format!("{status} from httpd")),
        };
        steps.push(Step::new("httpd", result, format!("{what}, before the gate was asked")));
        return;
    }
    let (result, detail) = match (reason, status) {
        _ if !is_open => (StepResult::Skipped, String::new()),
        (Some(reason), _) => (StepResult::Refused, format!("{} by a `Require` line", reason.word())),
        (None, 0) => (StepResult::Passed, "httpd answers this itself".to_owned()),
        (None, 400..) => (StepResult::Refused, format!("{status} from httpd: a `Require` line, or another module")),
        (None, 200 | 204) => (StepResult::Passed, String::new()),
        (None, status) => (StepResult::Passed, format!("{status} from httpd")),
    };
    steps.push(Step::new("require", result, detail));
    if request.handler() == Some(b"redirect-handler") {
        let why = "mod_rewrite sends it on to another path, which is decided as well: ask about that, too";
        steps.push(Step::new("rewrite", StepResult::Skipped, why));
    }
}
