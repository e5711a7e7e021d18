//! `JwtGateResource URL [scopes=…] [documentation=URL] [name=TEXT]`, or `off`: what OAuth clients are told about the
//! application (RFC 9728).
//!
//! A directive in an inner section takes the place of the inherited one as a whole; `off` drops it.

use super::parse;
use super::web_origin::WebOrigin;

/// What a directive said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResourceDef {
    /// Scheme, host and port, as `https://api.example.com`.
    pub origin: String,
    /// What follows: nothing, or a path that begins with `/`.
    pub path: String,
    /// The scopes that a client commonly needs. Not all that exist have to be named (RFC 9728 section 2).
    pub scopes: Vec<String>,
    /// A page for developers.
    pub documentation: Option<String>,
    /// A name for people.
    pub name: Option<String>,
}

/// Parses the arguments; `None` for the single word `off`.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Option<ResourceDef>, String> {
    let Some((url, rest)) = words.split_first() else {
        return Err("needs the URL of the application as clients know it: write \
                    `JwtGateResource https://api.example.com/`"
            .to_owned());
    };
    if url.eq_ignore_ascii_case("off") {
        return if rest.is_empty() {
            Ok(None)
        } else {
            Err("`off` stands alone and drops what is inherited: leave out the rest, or write a URL".to_owned())
        };
    }
    let (origin, path) = resource(url).map_err(|why| format!("`{url}`: {why}"))?;
    let (mut scopes, mut documentation, mut name) = (None, None, None);
    for word in rest {
        (|| {
            let (option, value) = parse::option(word)?;
            match option {
                "scopes" => parse::set_once(&mut scopes, option, self::scopes(value)?),
                "documentation" => parse::set_once(&mut documentation, option, page(value)?),
                "name" => parse::set_once(&mut name, option, text(value)?),
                _ => Err("is not an option: use `scopes=`, `documentation=` and `name=`".to_owned()),
            }
        })()
        .map_err(|why| format!("`{word}`: {why}"))?;
    }
    Ok(Some(ResourceDef { origin, path: path.to_owned(), scopes: scopes.unwrap_or_default(), documentation, name }))
}

/// A resource identifier (RFC 9728 section 1.2): https, no fragment. A query is advised against there, and
/// refused here; plain http is for trying things out on one machine.
fn resource(url: &str) -> Result<(String, &str), String> {
    let (origin, path) = web(url)?;
    if path.contains('#') {
        return Err("a resource has no fragment: leave out what begins with `#`".to_owned());
    }
    if path.contains('?') {
        return Err("a resource has no query: leave out what begins with `?`".to_owned());
    }
    // httpd decodes and merges before it compares, so there is only one way to write a path here.
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&b);
    if !path.bytes().all(fits) {
        return Err("the path has characters that need encoding: name the part of it that comes before them".to_owned());
    }
    if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("the path is not in its shortest form: write it without `//`, `/./` and `/../`".to_owned());
    }
    Ok((origin.to_string(), path))
}

/// The origin of a page or resource, and what follows.
fn web(url: &str) -> Result<(WebOrigin, &str), String> {
    let (origin, behind) = WebOrigin::split(url)?;
    match origin.scheme() {
        "https" => Ok((origin, behind)),
        "http" if origin.is_loopback() => Ok((origin, behind)),
        _ => {
            Err("clients must come over https: write `https://` (http is for 127.0.0.1, [::1] and localhost)"
                .to_owned())
        }
    }
}

/// A page for people; it may have a query and a fragment.
fn page(url: &str) -> Result<String, String> {
    let (origin, behind) = web(url)?;
    if !behind.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b)) {
        return Err("is not a URL: encode other characters as %XX".to_owned());
    }
    Ok(format!("{origin}{behind}"))
}

fn scopes(value: &str) -> Result<Vec<String>, String> {
    let scopes = parse::list(value)?;
    match scopes.iter().find(|scope| !is_scope(scope)) {
        Some(wrong) => Err(format!("`{wrong}` is not a scope: use visible ASCII characters but `\"` and `\\`")),
        None => Ok(scopes),
    }
}

/// `scope-token` of RFC 6749 section 3.3.
pub fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'!'..=b'~') && !matches!(b, b'"' | b'\\'))
}

fn text(value: &str) -> Result<String, String> {
    if value.chars().any(char::is_control) {
        return Err("has control characters: leave them out".to_owned());
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(words: &[&str]) -> ResourceDef {
        parse(words).unwrap_or_else(|why| panic!("{words:?}: {why}")).unwrap()
    }

    #[test]
    fn forms() {
        let resource = ok(&[
            "https://API.example.com:8443/mcp",
            "scopes=read,https://api.example.com/write",
            "documentation=https://docs.example.com/a?b=c#d",
            "name=The \"R\u{e9}cipes\" API",
        ]);
        assert_eq!((resource.origin.as_str(), resource.path.as_str()), ("https://api.example.com:8443", "/mcp"));
        assert_eq!(resource.scopes, ["read", "https://api.example.com/write"]);
        assert_eq!(resource.documentation.as_deref(), Some("https://docs.example.com/a?b=c#d"));
        assert_eq!(resource.name.as_deref(), Some("The \"R\u{e9}cipes\" API"));
        for url in ["https://a.example", "http://localhost:5031/mcp", "http://127.0.0.1", "http://[::1]:1/"] {
            assert_eq!(ok(&[url]).scopes.len(), 0);
        }
        assert_eq!(parse(&["off"]), Ok(None));
    }

    #[test]
    fn mistakes_name_the_value_and_the_remedy() {
        let with = |option| vec!["https://a.example", option];
        for (words, remedy) in [
            (vec![], "https://api.example.com/"),
            (vec!["off", "name=x"], "alone"),
            (vec!["api.example.com"], "https://HOST"),
            (vec!["/mcp"], "https://HOST"),
            (vec!["http://a.example/"], "write `https://`"),
            (vec!["http://localhost.example/"], "write `https://`"),
            (vec!["ftp://a.example/"], "write `https://`"),
            (vec!["https://a.example/#x"], "fragment"),
            (vec!["https://a.example/#"], "fragment"),
            (vec!["https://a.example/x?y"], "query"),
            (vec!["https://a.example?"], "query"),
            (vec!["https://u@a.example/"], "before `@`"),
            (vec!["https://a.example:443/x"], "write `https://a.example/x`"),
            (vec!["https://a.example/a%20b"], "need encoding"),
            (vec!["https://a.example/a\"b"], "need encoding"),
            (vec!["https://a.example/a\\b"], "need encoding"),
            (vec!["https://a.example/a\r\nb"], "need encoding"),
            (vec!["https://a.example//a"], "`//`"),
            (vec!["https://a.example/a/../b"], "`/../`"),
            (vec!["https://a.example/."], "`/./`"),
            (with("scopes="), "no value"),
            (with("scopes=a,,b"), "empty member"),
            (with("scopes=a,a"), "twice"),
            (with("scopes=a b"), "`a b` is not a scope"),
            (with("scopes=a\"b"), "is not a scope"),
            (with("scopes=\u{e4}"), "is not a scope"),
            (with("documentation=http://a.example/"), "write `https://`"),
            (with("documentation=docs"), "https://HOST"),
            (with("documentation=https://a.example/a b"), "%XX"),
            (with("name=a\u{7}b"), "control characters"),
            (with("name=a\u{85}b"), "control characters"),
            (with("title=x"), "use `scopes=`"),
            (with("https://b.example"), "is not an option"),
            (vec!["https://a.example", "name=a", "name=b"], "twice"),
        ] {
            let why = parse(&words).unwrap_err();
            assert!(why.contains(remedy), "{words:?}: {why}");
        }
    }
}
