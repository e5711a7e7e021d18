//! What a refusal says: the challenge (RFC 6750 section 3), problem details (RFC 9457), and the RateLimit
//! fields (draft-ietf-httpapi-ratelimit-headers).

use std::fmt::Write;

use crate::config::resource::ResourceDef;
use crate::limit::{Measure, Standing};
use crate::verdict::{ErrorCode, Reason};

/// What a challenge asks for (RFC 9110 section 11.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// A token.
    Bearer,
    /// An API key, and nothing else.
    ApiKey,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::ApiKey => "ApiKey",
        }
    }
}

/// The `WWW-Authenticate` field of a refusal, or `None` if the reason asks for none.
///
/// A client that lacks a token, or whose token lacks a scope, is told where it finds out how to get one
/// (`resource_metadata`, RFC 9728 section 5.1), and with which scopes: those `needed` for this request, where that is
/// known, else those that the resource names. Clients of the Model Context Protocol ask for just these. A request that
/// is malformed (400) will not be helped by another token.
///
/// `scheme` is that of the credentials that are accepted.
pub fn challenge(
    scheme: Scheme,
    realm: &str,
    reason: Reason,
    resource: Option<&ResourceDef>,
    needed: &[String],
) -> Option<String> {
    let row = reason.consequence();
    row.challenge.then(|| {
        let mut field = format!("{} realm=", scheme.name());
        quote(&mut field, realm);
        if let Some(error) = row.error {
            let _ = write!(field, ", error=\"{}\"", error.word());
        }
        if row.error == Some(ErrorCode::InvalidRequest) {
            return field;
        }
        let known = resource.map_or(&[][..], |resource| &resource.scopes);
        let scopes = if needed.is_empty() { known } else { needed };
        if !scopes.is_empty() {
            field.push_str(", scope=");
            quote(&mut field, &scopes.join(" "));
        }
        if let Some(resource) = resource {
            field.push_str(", resource_metadata=");
            quote(&mut field, &resource.metadata_url());
        }
        field
    })
}

/// A quoted string (RFC 9110 section 5.6.4) of text in visible ASCII characters and spaces.
fn quote(field: &mut String, text: &str) {
    field.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            field.push('\\');
        }
        field.push(character);
    }
    field.push('"');
}

/// The problem type for a used-up limit (the draft's section "Problem Types").
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
/// The one for an address that is locked out.
const ABNORMAL_USAGE: &str = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected";

/// The body of a refusal, `application/problem+json`: the status and the error code, and for a limit its
/// name if the RateLimit fields show it as well.
pub fn problem(reason: Reason, violated: Option<&str>) -> String {
    let row = reason.consequence();
    let (kind, title) = match row.status {
        400 => ("about:blank", "Bad Request"),
        401 => ("about:blank", "Unauthorized"),
        403 => ("about:blank", "Forbidden"),
        429 if reason == Reason::LockedOut => (ABNORMAL_USAGE, "Too Many Requests"),
        429 => (QUOTA_EXCEEDED, "Too Many Requests"),
        503 => ("about:blank", "Service Unavailable"),
        _ => ("about:blank", "Internal Server Error"),
    };
    let mut body = format!("{{\"type\":\"{kind}\",\"title\":\"{title}\",\"status\":{}", row.status);
    if let Some(error) = row.error {
        let _ = write!(body, ",\"error\":\"{}\"", error.word());
    }
    if let Some(limit) = violated {
        // Names of limits are letters, digits, `.`, `_` and `-`.
        let _ = write!(body, ",\"violated-policies\":[\"{limit}\"]");
    }
    body.push('}');
    body
}

/// A member of `RateLimit-Policy`: how much the limit allows.
pub fn policy_member(field: &mut String, name: &str, measure: Measure) {
    member(field, name, measure, [(";q=", measure.quantity().into()), (";w=", measure.window_secs())]);
}

/// A member of `RateLimit`: how much is left, and in how many seconds there will be one more, or all again.
pub fn limit_member(field: &mut String, name: &str, measure: Measure, standing: Standing) {
    member(field, name, measure, [(";r=", standing.remaining.into()), (";t=", standing.secs_until_one_more)]);
}

/// Written for every answer: without the detours of `write!`.
fn member(field: &mut String, name: &str, measure: Measure, parameters: [(&str, u64); 2]) {
    field.push_str(if field.is_empty() { "\"" } else { ", \"" });
    field.push_str(name);
    field.push_str(measure.suffix());
    field.push('"');
    for (key, value) in parameters {
        field.push_str(key);
        field.push_str(itoa::Buffer::new().format(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Numbers, Rate};

    #[test]
    fn challenges() {
        let plain = |realm, reason| challenge(Scheme::Bearer, realm, reason, None, &[]);
        assert_eq!(plain("api", Reason::TokenMissing).as_deref(), Some("Bearer realm=\"api\""));
        assert_eq!(
            plain("a \"b\" \\", Reason::TokenExpired).as_deref(),
            Some("Bearer realm=\"a \\\"b\\\" \\\\\", error=\"invalid_token\"")
        );
        assert_eq!(
            plain("api", Reason::CredentialsAmbiguous).as_deref(),
            Some("Bearer realm=\"api\", error=\"invalid_request\"")
        );
        assert_eq!(
            plain("api", Reason::ScopeInsufficient).as_deref(),
            Some("Bearer realm=\"api\", error=\"insufficient_scope\"")
        );
        assert_eq!(
            challenge(Scheme::ApiKey, "api", Reason::ApiKeyInvalid, None, &[]).as_deref(),
            Some("ApiKey realm=\"api\", error=\"invalid_token\"")
        );
        for reason in [Reason::AddressDenied, Reason::ClaimDenied, Reason::RateLimited, Reason::KeysUnavailable] {
            assert_eq!(plain("api", reason), None);
        }
    }

    #[test]
    fn problems_are_json_and_say_no_more_than_they_should() {
        for reason in Reason::ALL {
            let mut json: serde_json::Value = serde_json::from_str(&problem(reason, None)).unwrap();
            let row = reason.consequence();
            assert_eq!(json["status"], row.status);
            assert_eq!(json["error"].as_str(), row.error.map(super::super::verdict::ErrorCode::word));
            // One for all limits, and called like one of the reasons.
            assert_eq!(json["type"] == QUOTA_EXCEEDED, row.status == 429 && reason != Reason::LockedOut);
            json["type"].take();
            assert!(!json.to_string().contains(row.word), "{}", row.word);
        }
        let json: serde_json::Value = serde_json::from_str(&problem(Reason::RateLimited, Some("per-user"))).unwrap();
        assert_eq!(json["violated-policies"][0], "per-user");
        assert_eq!(json["type"], QUOTA_EXCEEDED);
        let json: serde_json::Value = serde_json::from_str(&problem(Reason::LockedOut, None)).unwrap();
        assert_eq!(json["type"], ABNORMAL_USAGE);
    }

    #[test]
    fn fields() {
        let mut field = String::new();
        let rate = |rate: &str, burst| Measure::Rate(Numbers::new(rate.parse::<Rate>().unwrap(), Some(burst)).unwrap());
        let quota = Measure::Quota { count: 1000, window_secs: 86_400 };
        policy_member(&mut field, "a", rate("100/s", 200));
        policy_member(&mut field, "a", quota);
        policy_member(&mut field, "b", rate("7/m", 1));
        assert_eq!(field, "\"a\";q=200;w=2, \"a-quota\";q=1000;w=86400, \"b\";q=1;w=9");
        let mut field = String::new();
        limit_member(&mut field, "a", rate("100/s", 200), Standing { remaining: 3, secs_until_one_more: 1 });
        limit_member(&mut field, "b", quota, Standing { remaining: 0, secs_until_one_more: 60 });
        assert_eq!(field, "\"a\";r=3;t=1, \"b-quota\";r=0;t=60");
    }
}
