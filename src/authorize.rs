//! What `Require` lines and expressions learn of who sent a request.

use std::borrow::Cow;

use jwt_gate_core::expression;
use jwt_gate_core::identity::Identity;
use jwt_gate_core::requirement::Requirement;

use crate::decision::{self, Caller};
use crate::httpd::{Level, Log, Request};

/// What a `Require` line says to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    Granted,
    Denied,
    /// Nobody is known, and somebody might be let in.
    NobodyKnown,
}

/// A `Require` line of this module.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) requirement: Requirement,
    /// httpd turns the answer round (`Require not`, `<RequireNone>`), so that what it asks for is not needed.
    pub(crate) negated: bool,
}

impl Line {
    /// Scopes that would help whom the line does not let in.
    fn needed_scopes(&self) -> &[String] {
        if self.negated { &[] } else { self.requirement.needed_scopes() }
    }
}

/// Judges a request by one line.
pub(crate) fn judge(request: Request<'_>, line: &Line) -> Judgement {
    let note = |scopes: &[String], judgement| {
        decision::note_required(request, scopes);
        judgement
    };
    match decision::caller(request) {
        Caller::Known(identity) if line.requirement.is_met_by(identity) => note(&[], Judgement::Granted),
        Caller::Known(_) => note(line.needed_scopes(), Judgement::Denied),
        Caller::Anonymous => note(line.needed_scopes(), Judgement::NobodyKnown),
        // The administrator's page for a refusal is for everybody, also where httpd turns the answer round.
        Caller::ShownErrorPage if line.negated => Judgement::Denied,
        Caller::ShownErrorPage => Judgement::Granted,
        Caller::NotDecided => {
            request.log(Level::Info, || {
                "JG1024 claim-denied: a `Require jwt-...` line applies where the gate is off: nobody meets it"
                    .to_owned()
            });
            // Nor does anybody meet what httpd makes of it by turning the answer round.
            if line.negated { Judgement::Granted } else { Judgement::Denied }
        }
    }
}

/// `jwt(NAME)`: the text of a claim.
pub(crate) fn claim_text<'r>(request: Request<'r>, name: &str) -> Option<Cow<'r, str>> {
    expression::claim_text(identity(request)?, name)
}

/// `jwt_list(NAME)`: the elements of a claim.
pub(crate) fn claim_list<'r>(request: Request<'r>, name: &str) -> impl Iterator<Item = Cow<'r, str>> {
    identity(request).into_iter().flat_map(move |identity| expression::claim_list(identity, name))
}

fn identity(request: Request<'_>) -> Option<&Identity> {
    match decision::caller(request) {
        Caller::Known(identity) => Some(identity),
        _ => None,
    }
}
