//! What a refusal says: the challenge (RFC 6750 section 3), problem details (RFC 9457), and the RateLimit
//! fields (draft-ietf-httpapi-ratelimit-headers).

use std::fmt::Write;

use crate::limit::Numbers;
use crate::verdict::Reason;

/// The `WWW-Authenticate` field of a refusal, or `None` if the reason asks for none.
pub fn challenge(realm: &str, reason: Reason) -> Option<String> {
    let row = reason.consequence();
    row.challenge.then(|| {
        let mut field = format!("Bearer realm=\"{}\"", realm.replace('\\', "\\\\").replace('"', "\\\""));
        if let Some(error) = row.error {
            let _ = write!(field, ", error=\"{}\"", error.word());
        }
        field
    })
}

/// The problem type for a used-up limit (the draft's section "Problem Types").
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// The body of a refusal, `application/problem+json`: the status and the error code, and for a limit its
/// name if the RateLimit fields show it as well.
pub fn problem(reason: Reason, violated: Option<&str>) -> String {
    let row = reason.consequence();
    let (kind, title) = match row.status {
        400 => ("about:blank", "Bad Request"),
        401 => ("about:blank", "Unauthorized"),
        403 => ("about:blank", "Forbidden"),
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
pub fn policy_member(field: &mut String, name: &str, numbers: Numbers) {
    separate(field);
    let _ = write!(field, "\"{name}\";q={};w={}", numbers.burst(), numbers.window_secs());
}

/// A member of `RateLimit`: how much is left, and in how many seconds there will be one more.
pub fn limit_member(field: &mut String, name: &str, remaining: u32, seconds: u64) {
    separate(field);
    let _ = write!(field, "\"{name}\";r={remaining};t={seconds}");
}

fn separate(field: &mut String) {
    if !field.is_empty() {
        field.push_str(", ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Rate;

    #[test]
    fn challenges() {
        assert_eq!(challenge("api", Reason::TokenMissing).as_deref(), Some("Bearer realm=\"api\""));
        assert_eq!(
            challenge("a \"b\" \\", Reason::TokenExpired).as_deref(),
            Some("Bearer realm=\"a \\\"b\\\" \\\\\", error=\"invalid_token\"")
        );
        assert_eq!(
            challenge("api", Reason::CredentialsAmbiguous).as_deref(),
            Some("Bearer realm=\"api\", error=\"invalid_request\"")
        );
        assert_eq!(challenge("api", Reason::AddressDenied), None);
    }

    #[test]
    fn problems_are_json_and_say_no_more_than_they_should() {
        for reason in Reason::ALL {
            let json: serde_json::Value = serde_json::from_str(&problem(reason, None)).unwrap();
            let row = reason.consequence();
            assert_eq!(json["status"], row.status);
            assert_eq!(json["error"].as_str(), row.error.map(super::super::verdict::ErrorCode::word));
            assert!(!json.to_string().contains(row.word), "{}", row.word);
        }
        let json: serde_json::Value = serde_json::from_str(&problem(Reason::RateLimited, Some("per-user"))).unwrap();
        assert_eq!(json["violated-policies"][0], "per-user");
        assert_eq!(json["type"], QUOTA_EXCEEDED);
    }

    #[test]
    fn fields() {
        let mut field = String::new();
        policy_member(&mut field, "a", Numbers::new("100/s".parse::<Rate>().unwrap(), Some(200)).unwrap());
        policy_member(&mut field, "b", Numbers::new("7/m".parse::<Rate>().unwrap(), Some(1)).unwrap());
        assert_eq!(field, "\"a\";q=200;w=2, \"b\";q=1;w=9");
        let mut field = String::new();
        limit_member(&mut field, "a", 3, 1);
        limit_member(&mut field, "b", 0, 60);
        assert_eq!(field, "\"a\";r=3;t=1, \"b\";r=0;t=60");
    }
}
