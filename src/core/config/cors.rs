//! `JwtGateCors ORIGIN… [methods=…] [headers=…] [expose=…] [max-age=TIME] [credentials=on|off]`, or `off`:
//! which pages of other origins may use what is here (WHATWG Fetch, section "CORS protocol").
//!
//! A directive in an inner section takes the place of the inherited one as a whole; `off` drops it. There is no
//! pattern for subdomains: any of them that an attacker gets hold of would count, so each origin is named.

use std::time::Duration;

use super::parse;
use super::web_origin::WebOrigin;
use crate::forward::is_tchar;

/// What a directive said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CorsDef {
    /// Whose pages; never [`Accepted::Any`] together with `credentials`.
    pub origins: Accepted,
    /// The methods that a preflight is granted. Browsers send GET, HEAD and POST of plain forms without one.
    pub methods: Accepted,
    /// The request headers that a preflight is granted; names are compared without case.
    pub headers: Accepted,
    /// `Access-Control-Expose-Headers`: what scripts may read of an answer.
    pub expose: String,
    /// How long a browser may remember a preflight; whole seconds.
    pub max_age: Duration,
    /// Whether pages may have the user's cookies sent along and read the answer.
    pub credentials: bool,
}

/// Everything, or what is listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// Written `*`.
    Any,
    /// These, in the order written.
    Only(Vec<String>),
}

/// What an application is asked for commonly. A HEAD or GET with a token needs a preflight, too.
const DEFAULT_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// The token, and JSON.
const DEFAULT_HEADERS: [&str; 2] = ["Authorization", "Content-Type"];
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(600);
/// No browser remembers a preflight for longer.
const LONGEST_MAX_AGE: Duration = Duration::from_secs(86_400);

/// What the gate itself says with a refusal or a limit; a script that cannot read it cannot act on it.
const ALWAYS_EXPOSED: [&str; 4] = ["RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"];

/// Parses the arguments; `None` for the single word `off`.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Option<CorsDef>, String> {
    if let [only] = words
        && only.eq_ignore_ascii_case("off")
    {
        return Ok(None);
    }
    let mut origins = Vec::new();
    let (mut methods, mut headers, mut expose, mut max_age, mut credentials) = (None, None, None, None, None);
    for word in words {
        let Some((option, value)) = option(word) else {
            origins.push(*word);
            continue;
        };
        (|| {
            // An empty value has its own remedy.
            parse::option(word)?;
            match option {
                "methods" => parse::set_once(&mut methods, option, accepted(value, method)?),
                "headers" => parse::set_once(&mut headers, option, accepted(value, header)?),
                "expose" => parse::set_once(&mut expose, option, accepted(value, header)?),
                "max-age" => parse::set_once(&mut max_age, option, self::max_age(value)?),
                "credentials" => parse::set_once(&mut credentials, option, parse::switch(value)?),
                _ => {
                    Err("is not an option: use `methods=`, `headers=`, `expose=`, `max-age=` and `credentials=`"
                        .to_owned())
                }
            }
        })()
        .map_err(|why| format!("`{word}`: {why}"))?;
    }
    let origins = self::origins(&origins)?;
    let credentials = credentials.unwrap_or(false);
    if credentials && origins == Accepted::Any {
        return Err("`*` together with `credentials=on` would show every site what belongs to the user: name the \
                    origins, or leave out `credentials=on`"
            .to_owned());
    }
    if credentials && expose == Some(Accepted::Any) {
        return Err("`expose=*` means nothing to browsers together with `credentials=on` (Fetch takes the `*` for a \
                    name): name the headers"
            .to_owned());
    }
    let defaults = |names: &[&str]| Accepted::Only(names.iter().map(|&name| name.to_owned()).collect());
    Ok(Some(CorsDef {
        origins,
        methods: methods.unwrap_or_else(|| defaults(&DEFAULT_METHODS)),
        headers: headers.unwrap_or_else(|| defaults(&DEFAULT_HEADERS)),
        expose: exposed(expose),
        max_age: max_age.unwrap_or(DEFAULT_MAX_AGE),
        credentials,
    }))
}

/// A word that is an option, not an origin: those have no `=` before their `:`.
fn option(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(name, _)| !name.contains(':'))
}

fn origins(words: &[&str]) -> Result<Accepted, String> {
    if words.is_empty() {
        return Err("names no origin: write the origins of the pages that may call, like `https://app.example.com`, \
                    or `off`"
            .to_owned());
    }
    if words == ["*"] {
        return Ok(Accepted::Any);
    }
    let mut origins: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let origin = origin(word).map_err(|why| format!("`{word}`: {why}"))?;
        if origins.contains(&origin) {
            return Err(format!("`{word}` is named twice: leave one out"));
        }
        origins.push(origin);
    }
    Ok(Accepted::Only(origins))
}

/// One origin, as browsers will send it.
fn origin(word: &str) -> Result<String, String> {
    match word.to_ascii_lowercase().as_str() {
        "*" => return Err("stands for all origins, and alone: leave the others out, or the `*`".to_owned()),
        "null" => {
            return Err("is what sandboxed frames and local files of anybody send: name the origin of the page, and \
                        serve the page from there"
                .to_owned());
        }
        "off" | "on" | "none" => {
            return Err("is not an origin: write origins like `https://app.example.com`, or `off` alone".to_owned());
        }
        _ => {}
    }
    let (origin, behind) = WebOrigin::split(word)?;
    if matches!(origin.scheme(), "ws" | "wss") {
        return Err(
            "browsers send the origin of the page, also for a WebSocket: write `https://` or `http://`".to_owned()
        );
    }
    if !behind.is_empty() {
        return Err(format!("an origin ends with its host or port: write `{origin}`, without `{behind}`"));
    }
    Ok(origin.to_string())
}

/// `*`, or a list of names that `check` accepts.
fn accepted(value: &str, check: fn(&str) -> Result<(), String>) -> Result<Accepted, String> {
    if value == "*" {
        return Ok(Accepted::Any);
    }
    let names = parse::list(value)?;
    for (at, name) in names.iter().enumerate() {
        if name == "*" {
            return Err("`*` stands alone: leave the other names out, or the `*`".to_owned());
        }
        check(name)?;
        if names[..at].iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
            return Err(format!("names `{name}` twice: leave one out"));
        }
    }
    Ok(Accepted::Only(names))
}

/// A method that scripts can send (Fetch section 2.2.1, "Methods").
fn method(name: &str) -> Result<(), String> {
    let upper = name.to_ascii_uppercase();
    match upper.as_str() {
        "CONNECT" | "TRACE" | "TRACK" => Err(format!("no script can send `{name}`: leave it out")),
        "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" if upper != name => {
            Err(format!("methods are case-sensitive: write `{upper}` for `{name}`"))
        }
        _ if name.bytes().all(is_tchar) => Ok(()),
        _ => Err(format!("`{name}` is not a method: write names like `GET`")),
    }
}

fn header(name: &str) -> Result<(), String> {
    if name.bytes().all(is_tchar) {
        return Ok(());
    }
    Err(format!("`{name}` is not the name of a header: write names like `X-Request-Id`"))
}

fn max_age(value: &str) -> Result<Duration, String> {
    match parse::duration(value)? {
        age if age > LONGEST_MAX_AGE => {
            Err("no browser remembers it for longer than a day: write `24h` or less".to_owned())
        }
        age if age.subsec_nanos() > 0 => Err("is sent in whole seconds: write `1s` or a multiple of it".to_owned()),
        age => Ok(age),
    }
}

/// The gate's own fields, then those of the application.
fn exposed(more: Option<Accepted>) -> String {
    let more = match more {
        None => Vec::new(),
        Some(Accepted::Any) => vec!["*".to_owned()],
        Some(Accepted::Only(names)) => names,
    };
    let is_own = |name: &String| ALWAYS_EXPOSED.iter().any(|own| own.eq_ignore_ascii_case(name));
    let more = more.iter().filter(|name| !is_own(name)).map(String::as_str);
    ALWAYS_EXPOSED.into_iter().chain(more).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&str> {
        line.split(' ').filter(|word| !word.is_empty()).collect()
    }

    fn ok(line: &str) -> CorsDef {
        parse(&words(line)).unwrap_or_else(|why| panic!("{line}: {why}")).unwrap()
    }

    fn only(names: &[&str]) -> Accepted {
        Accepted::Only(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn defaults() {
        let cors = ok("https://App.example.com http://localhost:5173");
        assert_eq!(cors.origins, only(&["https://app.example.com", "http://localhost:5173"]));
        assert_eq!(cors.methods, only(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]));
        assert_eq!(cors.headers, only(&["Authorization", "Content-Type"]));
        assert_eq!(cors.expose, "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate");
        assert_eq!((cors.max_age, cors.credentials), (Duration::from_secs(600), false));
        assert_eq!(parse(&["off"]), Ok(None));
    }

    #[test]
    fn options() {
        let cors = ok("https://a.example methods=GET,PROPFIND headers=X-A,x-b max-age=24h credentials=on \
                       expose=Link,retry-after");
        assert_eq!((cors.methods, cors.headers), (only(&["GET", "PROPFIND"]), only(&["X-A", "x-b"])));
        assert_eq!((cors.max_age, cors.credentials), (Duration::from_secs(86_400), true));
        assert_eq!(cors.expose, "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, Link");
        let cors = ok("* methods=* headers=* expose=* max-age=0s credentials=off");
        assert_eq!([cors.origins, cors.methods, cors.headers], [(); 3].map(|()| Accepted::Any));
        assert_eq!(cors.expose, "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, *");
    }

    #[test]
    fn mistakes_name_the_value_and_the_remedy() {
        for (line, remedy) in [
            ("", "https://app.example.com"),
            ("credentials=on", "names no origin"),
            ("null", "name the origin"),
            ("NULL", "name the origin"),
            ("on", "is not an origin"),
            ("off https://a.example", "`off` alone"),
            ("* https://a.example", "alone"),
            ("https://a.example *", "alone"),
            ("* *", "alone"),
            ("* credentials=on", "name the origins"),
            ("https://a.example expose=* credentials=on", "name the headers"),
            ("https://*.example.com", "each host in full"),
            ("https://*", "each host in full"),
            ("https://a.example/", "write `https://a.example`, without `/`"),
            ("https://A.example/path", "write `https://a.example`, without `/path`"),
            ("https://a.example?x=y", "without `?x=y`"),
            ("https://a.example#x", "without `#x`"),
            ("https://a.example:443", "write `https://a.example`"),
            ("http://a.example:80", "write `http://a.example`"),
            ("https://user@a.example", "before `@`"),
            ("a.example", "https://HOST"),
            ("a.example:8443", "https://HOST"),
            ("wss://a.example", "https://"),
            ("https://a.example https://A.example", "twice"),
            ("https://a.example,https://b.example", "malformed"),
            ("https://a.example origins=b", "methods="),
            ("https://a.example methods=", "no value"),
            ("https://a.example methods=get", "write `GET`"),
            ("https://a.example methods=Patch", "write `PATCH`"),
            ("https://a.example methods=TRACE", "leave it out"),
            ("https://a.example methods=GET,*", "alone"),
            ("https://a.example methods=GET,,PUT", "empty member"),
            ("https://a.example methods=GET methods=PUT", "twice"),
            ("https://a.example methods=G@T", "not a method"),
            ("https://a.example headers=X-A,x-a", "twice"),
            ("https://a.example headers=X:A", "not the name of a header"),
            ("https://a.example expose=*,Link", "alone"),
            ("https://a.example max-age=10", "unit"),
            ("https://a.example max-age=500ms", "whole seconds"),
            ("https://a.example max-age=25h", "24h"),
            ("https://a.example credentials=yes", "`on` or `off`"),
        ] {
            let why = parse(&words(line)).unwrap_err();
            assert!(why.contains(remedy), "{line}: {why}");
        }
    }
}
