//! `JwtGateForward HEADER VALUE`: which parts of the identity the application receives.

use std::any::Any;
use std::sync::Arc;

use crate::forward::HeaderName;

/// A header for the application.
#[derive(Clone, Debug)]
pub struct ForwardDef {
    /// Its name.
    pub header: HeaderName,
    /// Its value.
    pub value: ForwardValue,
}

/// What a forwarded header holds.
#[derive(Clone, Debug)]
pub enum ForwardValue {
    /// The token's subject.
    Subject,
    /// The administrator's name of the issuer.
    Issuer,
    /// The token's client.
    Client,
    /// The scopes, separated by spaces.
    Scope,
    /// The usage plan.
    Plan,
    /// The id of the API key.
    ApiKey,
    /// A claim.
    Claim(String),
    /// The whole payload as it stands in the token (base64url).
    Claims,
    /// A string expression of httpd.
    Expression {
        /// As written behind `expr=`.
        text: String,
        /// Compiled and evaluated by the host.
        compiled: Arc<dyn Any + Send + Sync>,
    },
}

/// Parses the arguments; `None` for the single word `none`. `compile` turns the text behind `expr=` into
/// an expression.
///
/// # Errors
/// Text for the administrator.
pub fn parse(
    words: &[&str],
    compile: impl FnOnce(&str) -> Result<Arc<dyn Any + Send + Sync>, String>,
) -> Result<Option<ForwardDef>, String> {
    let (header, value) = match words {
        [only] if only.eq_ignore_ascii_case("none") => return Ok(None),
        [header, value] => (HeaderName::parse(header)?, *value),
        _ => return Err("takes a header and a value: write `JwtGateForward X-User subject`".to_owned()),
    };
    let value = match value {
        "subject" => ForwardValue::Subject,
        "issuer" => ForwardValue::Issuer,
        "client" => ForwardValue::Client,
        "scope" => ForwardValue::Scope,
        "plan" => ForwardValue::Plan,
        "api-key" => ForwardValue::ApiKey,
        "claims" => ForwardValue::Claims,
        _ => match value.split_once([':', '=']) {
            Some(("claim", name)) if value.starts_with("claim:") && !name.is_empty() => {
                ForwardValue::Claim(name.to_owned())
            }
            Some(("expr", text)) if value.starts_with("expr=") && !text.is_empty() => {
                let compiled = compile(text).map_err(|why| format!("`{value}`: {why}"))?;
                ForwardValue::Expression { text: text.to_owned(), compiled }
            }
            _ => {
                return Err(format!(
                    "`{value}` is not known: use `subject`, `issuer`, `client`, `scope`, `plan`, `api-key`, \
                     `claim:NAME`, `claims` or `expr=STRING`"
                ));
            }
        },
    };
    Ok(Some(ForwardDef { header, value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Arc<dyn Any + Send + Sync>, String> {
        if text == "%{" { Err("does not parse".to_owned()) } else { Ok(Arc::new(text.to_owned())) }
    }

    #[test]
    fn values() {
        let value = |text| parse(&["X-User", text], compile).unwrap().unwrap().value;
        assert!(matches!(value("subject"), ForwardValue::Subject));
        assert!(matches!(value("claim:a=b:c"), ForwardValue::Claim(name) if name == "a=b:c"));
        let ForwardValue::Expression { text, compiled } = value("expr=%{REQUEST_URI}") else {
            panic!("not an expression")
        };
        assert_eq!(text, "%{REQUEST_URI}");
        assert_eq!(compiled.downcast_ref::<String>(), Some(&text));
        assert!(parse(&["none"], compile).unwrap().is_none());
    }

    #[test]
    fn mistakes() {
        for wrong in [
            &[][..],
            &["X-User"],
            &["X-User", "sub"],
            &["X-User", "claim:"],
            &["X-User", "expr="],
            &["X-User", "expr=%{"],
            &["X-User", "claim=x"],
            &["X-User", "subject", "x"],
            &["Host", "subject"],
            &["Authorization", "subject"],
            &["X User", "subject"],
        ] {
            assert!(parse(wrong, compile).is_err(), "{wrong:?}");
        }
    }
}
