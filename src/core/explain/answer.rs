//! What is told of a decision, as JSON.

use serde_json::{Map, Value, json};

use super::{Explanation, LimitState, Step};
use crate::config::cors::Accepted;
use crate::config::credentials::{Credentials, Source, TokenMode};
use crate::config::forward::{ForwardDef, ForwardValue};
use crate::config::limit::KeyPart;
use crate::config::policy::{Limit, Policy};
use crate::config::section::{ErrorBody, Mode};
use crate::cors::Permission;
use crate::limit::Measure;
use crate::net::rules::{AddressRule, AddressRules};

/// The document of `SetHandler jwt-gate-explain`.
#[derive(Debug, Default)]
pub struct Answer<'a> {
    /// `allow`, `deny` or `would-deny`.
    pub verdict: &'a str,
    /// What the request is answered with, or in a dry run would be; `None` if the application says.
    pub status: Option<u16>,
    /// Why the gate refuses, or would.
    pub reason: Option<&'a str>,
    /// How it came about.
    pub explanation: Explanation,
    /// The sections that were merged, outermost first.
    pub sections: Vec<String>,
    /// What they come to.
    pub policy: Option<&'a Policy>,
    /// Who sent the request: names and values.
    pub identity: Vec<(&'a str, String)>,
    /// What the application receives about that.
    pub headers: Vec<(&'a str, String)>,
    /// What pages of other origins are told, where CORS is configured.
    pub cors: Option<Permission<'a>>,
}

impl Answer<'_> {
    /// The document in the place of an answer, where there is none.
    pub fn error(why: &str) -> String {
        json!({ "error": why }).to_string()
    }

    /// The document.
    pub fn to_json(&self) -> String {
        let Explanation { steps, limits } = &self.explanation;
        let mut answer = Map::new();
        let mut put = |name: &str, value: Value| answer.insert(name.to_owned(), value);
        put("verdict", self.verdict.into());
        if let Some(status) = self.status {
            put("status", status.into());
        }
        if let Some(reason) = self.reason {
            put("reason", reason.into());
        }
        put("steps", steps.iter().map(step).collect());
        put("limits", limits.iter().map(limit).collect());
        put("sections", self.sections.as_slice().into());
        if let Some(policy) = self.policy {
            put("policy", summary(policy));
        }
        let identity: Map<String, Value> =
            self.identity.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        put("identity", if identity.is_empty() { Value::Null } else { identity.into() });
        put("headers_for_application", self.headers.iter().map(|(name, value)| json!([name, value])).collect());
        if let Some(Permission { allowed, fields, .. }) = &self.cors {
            let fields: Vec<Value> = fields.iter().map(|(name, value)| json!([name, value])).collect();
            put("cors", json!({ "allowed": allowed, "fields": fields }));
        }
        Value::Object(answer).to_string()
    }
}

fn step(step: &Step) -> Value {
    let mut value = json!({ "step": step.name, "result": step.result.word() });
    if !step.detail.is_empty() {
        value["detail"] = step.detail.as_str().into();
    }
    value
}

fn limit(LimitState { name, dry_run, measure, standing }: &LimitState) -> Value {
    json!({
        "name": name,
        "kind": if matches!(measure, Measure::Quota { .. }) { "quota" } else { "rate" },
        "dry_run": dry_run,
        "requests": measure.quantity(),
        "window_seconds": measure.window_secs(),
        "remaining": standing.remaining,
        "more_in_seconds": standing.secs_until_one_more,
    })
}

/// A policy, by the names of the directives that make it.
fn summary(policy: &Policy) -> Value {
    let gate = match policy.mode {
        Mode::Off => "off",
        Mode::DryRun => "dry-run",
        Mode::On => "on",
    };
    if policy.mode == Mode::Off {
        return json!({ "gate": gate });
    }
    let token = match policy.token {
        TokenMode::Required => "required",
        TokenMode::Optional => "optional",
        TokenMode::None => "none",
    };
    let issuers = policy.issuers.identifiers().into_iter().map(Some).chain([None]);
    let issuers: Vec<&str> =
        issuers.filter_map(|iss| policy.issuers.by_iss(iss)).map(|issuer| issuer.name.as_str()).collect();
    let limits: Vec<String> = policy.early_limits.iter().chain(&policy.late_limits).map(limit_line).collect();
    let addresses = |of: fn(&AddressRules) -> &Vec<AddressRule>| -> Vec<String> {
        let items = |rules, dry_run: &str| -> Vec<String> {
            of(rules).iter().flat_map(|rule| &rule.items).map(|item| format!("{dry_run}{item}")).collect()
        };
        [items(&policy.addresses, ""), items(&policy.address_trial, "dry-run ")].concat()
    };
    let forward: Vec<String> = policy.forward.iter().map(|def| forward_line(def)).collect();
    let mut summary = json!({
        "gate": gate,
        "allow": addresses(|rules| &rules.allow),
        "deny": addresses(|rules| &rules.deny),
        "token": token,
        "credentials": credentials(&policy.credentials),
        "issuers": issuers,
        "limits": limits,
        "forward": forward,
        "forward_credentials": if policy.forward_credentials { "on" } else { "off" },
        "realm": policy.realm,
        "error_body": match policy.error_body { ErrorBody::Problem => "problem", ErrorBody::Httpd => "httpd" },
    });
    if let Some(lockout) = &policy.lockout {
        let rule = &lockout.rule;
        summary["lockout"] = format!(
            "failures={}/{}s block={}s{}",
            rule.failures,
            rule.within.as_secs(),
            rule.block.as_secs(),
            if lockout.count_backend { " count=backend" } else { "" }
        )
        .into();
    }
    if let Some(cors) = &policy.cors {
        summary["cors"] = match &cors.origins {
            Accepted::Any => json!(["*"]),
            Accepted::Only(origins) => json!(origins),
        };
    }
    if let Some(resource) = &policy.resource {
        summary["resource"] = format!("{}{}", resource.origin, resource.path).into();
    }
    summary
}

fn credentials(credentials: &Credentials) -> Vec<String> {
    let source = |source: &Source| match source {
        Source::Bearer => "bearer".to_owned(),
        Source::Header(name) => format!("header:{name}"),
        Source::Cookie(name) => format!("cookie:{name}"),
        Source::Query(name) => format!("query:{name}"),
        Source::ApiKey(name) => format!("api-key:{name}"),
    };
    match &credentials.plan_key {
        Some(header) => vec![format!("bearer+api-key:{header}")],
        None => credentials.sources.iter().map(source).collect(),
    }
}

/// As in `JwtGateLimit`, without its numbers: those of the caller are among the limits of the answer.
fn limit_line(limit: &Limit) -> String {
    let part = |part: &KeyPart| match part {
        KeyPart::Global => "global".to_owned(),
        KeyPart::Address => "address".to_owned(),
        KeyPart::Peer => "peer".to_owned(),
        KeyPart::Subject => "subject".to_owned(),
        KeyPart::Client => "client".to_owned(),
        KeyPart::Issuer => "issuer".to_owned(),
        KeyPart::ApiKey => "api-key".to_owned(),
        KeyPart::Claim(name) => format!("claim:{name}"),
    };
    let key: Vec<String> = limit.def.key.iter().map(part).collect();
    format!("{} key={}{}", limit.def.name, key.join("+"), if limit.dry_run { " dry-run" } else { "" })
}

/// As in `JwtGateForward`.
fn forward_line(def: &ForwardDef) -> String {
    let value = match &def.value {
        ForwardValue::Subject => "subject",
        ForwardValue::Issuer => "issuer",
        ForwardValue::Client => "client",
        ForwardValue::Scope => "scope",
        ForwardValue::Plan => "plan",
        ForwardValue::ApiKey => "api-key",
        ForwardValue::Claim(name) => return format!("{} claim:{name}", def.header.as_str()),
        ForwardValue::Claims => "claims",
        ForwardValue::Expression { text, .. } => return format!("{} expr={text}", def.header.as_str()),
    };
    format!("{} {value}", def.header.as_str())
}
