//! `JwtGateCredentials SOURCE…`: where a token is looked for.

use std::sync::Arc;

use super::parse;

/// A place in the request that may hold a token. Cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
    Bearer,
    /// A header of this name.
    Header(Arc<str>),
    /// A cookie of this name (RFC 6265 section 5.4); its name is case-sensitive.
    Cookie(Arc<str>),
    /// A parameter of the query string (RFC 6750 section 2.3); its name is case-sensitive.
    Query(Arc<str>),
}

/// The sources of one directive, in the order written.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Vec<Source>, String> {
    let mut sources = Vec::with_capacity(words.len());
    for word in words {
        let source = source(word)?;
        if sources.contains(&source) {
            return Err(format!("`{word}` is named twice: leave one out"));
        }
        sources.push(source);
    }
    if sources.is_empty() {
        return Err("names no source: write `bearer`, `header:NAME`, `cookie:NAME` or `query:NAME`".to_owned());
    }
    Ok(sources)
}

fn source(word: &str) -> Result<Source, String> {
    if word.eq_ignore_ascii_case("bearer") {
        return Ok(Source::Bearer);
    }
    let unknown = || format!("`{word}` is not known: use `bearer`, `header:NAME`, `cookie:NAME` or `query:NAME`");
    let (kind, name) = word.split_once(':').ok_or_else(unknown)?;
    if name.is_empty() || !name.bytes().all(parse_is_tchar) {
        return Err(format!("`{word}`: `{name}` cannot be a name: use letters, digits and `-` or `_`"));
    }
    match kind.to_ascii_lowercase().as_str() {
        "header" if name.eq_ignore_ascii_case("authorization") => {
            Err(format!("`{word}`: write `bearer` for the Authorization header"))
        }
        "header"
            if ["cookie", "host", "connection", "content-length", "transfer-encoding"]
                .iter()
                .any(|taken| taken.eq_ignore_ascii_case(name)) =>
        {
            Err(format!("`{word}`: {name} has a meaning of its own: use another header, or `cookie:NAME` for a cookie"))
        }
        "header" => Ok(Source::Header(name.into())),
        "cookie" => Ok(Source::Cookie(name.into())),
        "query" => Ok(Source::Query(name.into())),
        _ => Err(unknown()),
    }
}

/// `tchar` of RFC 9110 section 5.6.2, of which header and cookie names are made.
fn parse_is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// `JwtGateToken`: whether a token is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenMode {
    /// Without a valid token the request is refused.
    Required,
    /// No credential means anonymous; an invalid one is refused.
    Optional,
    /// Credentials are not looked at.
    None,
}

impl TokenMode {
    /// The mode of this name.
    ///
    /// # Errors
    /// Text for the administrator.
    pub fn parse(word: &str) -> Result<Self, String> {
        parse::one_of(word, &[("required", Self::Required), ("optional", Self::Optional), ("none", Self::None)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let all = parse(&["bearer", "header:X-Token", "cookie:access_token", "query:t"]).unwrap();
        assert_eq!(all[1], Source::Header("X-Token".into()));
        assert_eq!(all[3], Source::Query("t".into()));
        for wrong in [
            "",
            "basic",
            "header:",
            "header:a b",
            "cookie:a=b",
            "cookie:a;b",
            "header:Authorization",
            "query:",
            "header:Cookie",
            "api-key:X",
        ] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        assert!(parse(&[]).is_err() && parse(&["bearer", "Bearer"]).is_err());
    }
}
