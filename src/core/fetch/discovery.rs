//! From an issuer to the address of its keys: OpenID Connect Discovery 1.0, and RFC 8414 for authorization
//! servers that are no OpenID providers.

use super::{RULE, quoted, url::Url};
use crate::token::json::Json;

/// Where the metadata of `issuer` may be: OpenID Connect Discovery section 4 appends, RFC 8414 section 3
/// inserts between host and path; neither counts one `/` at the end of the issuer.
///
/// # Errors
/// As [`Url::parse`]; a query (OpenID Connect Discovery section 2). Text for the administrator.
pub(super) fn addresses(issuer: &str) -> Result<(Url, Url), String> {
    let url = Url::parse(issuer)?;
    if url.has_query() {
        return Err(format!(
            "`{}`: discovery needs an issuer without a query: write the issuer as tokens have it, or where its \
             keys are: `jwks=https://...`",
            quoted(issuer)
        ));
    }
    let openid = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let path = url.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let oauth = format!("{}/.well-known/oauth-authorization-server{path}", url.origin());
    Ok((Url::parse(&openid)?, Url::parse(&oauth)?))
}

/// The address of the keys in the metadata of `issuer`. The document has to name this very issuer, byte for
/// byte (OpenID Connect Discovery section 4.3, RFC 8414 section 3.3): otherwise one issuer could have its keys
/// taken for another's.
///
/// # Errors
/// Not strictly JSON, no or another `issuer`, no `jwks_uri` or one that keys may not come from. One line of
/// printable ASCII for the log.
pub fn jwks_uri(document: &[u8], issuer: &str) -> Result<Url, String> {
    let document = Json::parse(document).map_err(|e| format!("not the metadata of an issuer: {e}"))?;
    let text = |name| {
        let member =
            document.member(name).ok_or_else(|| format!("not the metadata of an issuer: it has no `{name}`"))?;
        member.as_str().ok_or_else(|| format!("not the metadata of an issuer: its `{name}` is no text"))
    };
    let named = text("issuer")?;
    if named != issuer {
        return Err(other_issuer(named, issuer));
    }
    let (from, target) = (Url::parse(issuer)?, text("jwks_uri")?);
    Url::parse(target)
        .ok()
        .filter(|target| from.may_lead_to(target))
        .ok_or_else(|| format!("its `jwks_uri` is `{}`; {RULE}", quoted(target)))
}

fn other_issuer(named: &str, issuer: &str) -> String {
    let hint = match (named.strip_suffix('/'), issuer.strip_suffix('/')) {
        (Some(start), _) if start == issuer => ": write it with `/` at its end, if tokens have it so",
        (_, Some(start)) if start == named => ": write it without `/` at its end, if tokens have it so",
        _ => "",
    };
    format!("the document says issuer `{}`, the configuration and tokens `{}`{hint}", quoted(named), quoted(issuer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses() {
        for (issuer, openid, oauth) in [
            (
                "https://id.example",
                "https://id.example/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://id.example/",
                "https://id.example/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://id.example:8443/realms/one",
                "https://id.example:8443/realms/one/.well-known/openid-configuration",
                "https://id.example:8443/.well-known/oauth-authorization-server/realms/one",
            ),
            (
                "http://localhost:9/a/b/",
                "http://localhost:9/a/b/.well-known/openid-configuration",
                "http://localhost:9/.well-known/oauth-authorization-server/a/b",
            ),
            (
                "https://id.example/a//",
                "https://id.example/a//.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server/a/",
            ),
        ] {
            let (first, second) = addresses(issuer).unwrap();
            assert_eq!((first.to_string().as_str(), second.to_string().as_str()), (openid, oauth));
        }
        for issuer in ["https://id.example/?", "https://id.example?a=b", "https://id.example/#", "id.example", "urn:x"]
        {
            assert!(addresses(issuer).is_err(), "{issuer}");
        }
    }
}
