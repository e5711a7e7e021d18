//! `JwtGateCredentials SOURCE…`: where a token or an API key is looked for.

use std::sync::Arc;

use super::parse;

/// A place in the request that may hold a credential. Cheap to clone.
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
    /// A header of this name that holds an API key.
    ApiKey(Arc<str>),
}

/// What a request may prove itself with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// One of these, in the order written.
    pub sources: Vec<Source>,
    /// The header of an API key that is needed besides: it says the plan, and the token who calls.
    pub plan_key: Option<Arc<str>>,
}

impl Source {
    /// The header of a name of the administrator's choice, behind the word that stands before it.
    fn header(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Header(name) => Some(("header", name)),
            Self::ApiKey(name) => Some(("api-key", name)),
            Self::Bearer | Self::Cookie(_) | Self::Query(_) => None,
        }
    }

    /// Whether both look at one place, so that what is there would always be there twice.
    fn is_place_of(&self, other: &Self) -> bool {
        match (self.header(), other.header()) {
            (Some((_, own)), Some((_, other))) => own.eq_ignore_ascii_case(other),
            _ => self == other,
        }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self { sources: vec![Source::Bearer], plan_key: None }
    }
}

impl Credentials {
    /// Whether an API key is a credential here.
    pub fn takes_api_keys(&self) -> bool {
        self.plan_key.is_some() || self.sources.iter().any(|source| matches!(source, Source::ApiKey(_)))
    }

    /// The headers with names of the administrator's choice, each behind the word that stands before it.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let plan_key = self.plan_key.iter().map(|name| ("bearer+api-key", &**name));
        self.sources.iter().filter_map(Source::header).chain(plan_key)
    }

    /// Whether nothing but an API key is one.
    pub fn takes_only_api_keys(&self) -> bool {
        self.sources.iter().all(|source| matches!(source, Source::ApiKey(_)))
    }
}

/// The sources of one directive.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Credentials, String> {
    if let Some((joined, header)) = words.iter().find_map(|word| Some((word, both(word)?))) {
        return match words {
            [_] => match source(header)? {
                Source::ApiKey(name) => Ok(Credentials { sources: vec![Source::Bearer], plan_key: Some(name) }),
                _ => Err(format!("`{joined}` is not known: write `bearer+api-key:HEADER`")),
            },
            _ => Err(format!("`{joined}` stands alone, since both are needed: leave the other sources out")),
        };
    }
    let mut sources = Vec::with_capacity(words.len());
    for word in words {
        let source = source(word)?;
        if sources.iter().any(|known| source.is_place_of(known)) {
            return Err(format!("`{word}` is a place that is named twice: leave one out"));
        }
        sources.push(source);
    }
    if sources.is_empty() {
        return Err(format!("names no source: write {FORMS}"));
    }
    Ok(Credentials { sources, plan_key: None })
}

/// What is joined with `bearer`.
fn both(word: &str) -> Option<&str> {
    let (first, second) = word.split_once('+')?;
    first.eq_ignore_ascii_case("bearer").then_some(second)
}

const FORMS: &str = "`bearer`, `header:NAME`, `cookie:NAME`, `query:NAME` or `api-key:HEADER`";

fn source(word: &str) -> Result<Source, String> {
    if word.eq_ignore_ascii_case("bearer") {
        return Ok(Source::Bearer);
    }
    let unknown = || format!("`{word}` is not known: use {FORMS}");
    let (kind, name) = word.split_once(':').ok_or_else(unknown)?;
    if name.is_empty() || !name.bytes().all(parse_is_tchar) {
        return Err(format!("`{word}`: `{name}` cannot be a name: use letters, digits and `-` or `_`"));
    }
    match kind.to_ascii_lowercase().as_str() {
        "api-key" if name.eq_ignore_ascii_case("authorization") => {
            Err(format!("`{word}`: API keys have a header of their own: write one like `api-key:X-Api-Key`"))
        }
        "header" if name.eq_ignore_ascii_case("authorization") => {
            Err(format!("`{word}`: write `bearer` for the Authorization header"))
        }
        "header" | "api-key"
            if ["cookie", "host", "connection", "content-length", "transfer-encoding"]
                .iter()
                .any(|taken| taken.eq_ignore_ascii_case(name)) =>
        {
            Err(format!("`{word}`: {name} has a meaning of its own: use another header, or `cookie:NAME` for a cookie"))
        }
        "header" => Ok(Source::Header(name.into())),
        "cookie" => Ok(Source::Cookie(name.into())),
        "query" => Ok(Source::Query(name.into())),
        "api-key" => Ok(Source::ApiKey(name.into())),
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
        let all = parse(&["bearer", "header:X-Token", "cookie:access_token", "query:t", "Api-Key:X-Key"]).unwrap();
        assert_eq!(all.sources[1], Source::Header("X-Token".into()));
        assert_eq!(all.sources[3], Source::Query("t".into()));
        assert_eq!(all.sources[4], Source::ApiKey("X-Key".into()));
        assert!(all.takes_api_keys() && !all.takes_only_api_keys());
        assert!(parse(&["api-key:X-Key"]).unwrap().takes_only_api_keys());
        assert_eq!(
            parse(&["Bearer+api-key:X-Key"]),
            Ok(Credentials { sources: vec![Source::Bearer], plan_key: Some("X-Key".into()) })
        );
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
            "api-key:",
            "api-key:Authorization",
            "api-key:Cookie",
            "bearer+",
            "bearer+header:X",
            "cookie:a+api-key:X",
        ] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        for twice in
            [["header:X-Key", "header:x-key"], ["api-key:X-Key", "api-key:x-key"], ["header:X-Key", "api-key:x-key"]]
        {
            assert!(parse(&twice).is_err_and(|why| why.contains("twice")), "{twice:?}");
        }
        assert!(parse(&["cookie:t", "cookie:T", "query:t", "header:t"]).is_ok());
        assert!(parse(&[]).is_err() && parse(&["bearer", "Bearer"]).is_err());
        assert!(parse(&["bearer+api-key:X", "cookie:t"]).is_err() && parse(&["bearer", "bearer+api-key:X"]).is_err());
    }
}
