//! What a caller is told of its own plan and limits: the document of `SetHandler jwt-gate-usage`.

use serde_json::{Value, json};

use crate::identity::Identity;
use crate::limit::{Measure, Standing};

/// One limit of the caller.
#[derive(Clone, Copy, Debug)]
pub struct Used<'u> {
    /// Its name.
    pub name: &'u str,
    /// What it allows.
    pub measure: Measure,
    /// What is left of it.
    pub standing: Standing,
}

/// The document, JSON: who asks, their plan, and for each limit how many requests it allows in a window of so many
/// seconds, how many are left, and in how many seconds there will be more (at a quota: all of them).
pub fn document<'u>(identity: Option<&Identity>, limits: impl Iterator<Item = Used<'u>>) -> String {
    let limits: Vec<Value> = limits.map(limit).collect();
    json!({
        "subject": identity.and_then(Identity::subject),
        "api_key": identity.and_then(Identity::key).map(|key| key.id()),
        "plan": identity.and_then(Identity::plan),
        "limits": limits,
    })
    .to_string()
}

fn limit(Used { name, measure, standing }: Used<'_>) -> Value {
    let kind = match measure {
        Measure::Rate(_) => "rate",
        Measure::Quota { .. } => "quota",
    };
    json!({
        "name": name,
        "kind": kind,
        "requests": measure.quantity(),
        "window_seconds": measure.window_secs(),
        "remaining": standing.remaining,
        "more_in_seconds": standing.secs_until_one_more,
    })
}
