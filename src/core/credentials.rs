//! Finding the one credential of a request (RFC 6750 section 2), and taking it out again.

use std::borrow::Cow;

use crate::config::credentials::Source;
use crate::facts::{Facts, Found};
use crate::token::MAX_TOKEN;
use crate::verdict::Reason;

/// A credential as the client sent it, not yet looked into.
#[derive(Debug)]
pub struct Credential<'r, 's> {
    /// The token, without prefix and quotes, or the API key.
    pub token: Cow<'r, [u8]>,
    /// Where it was.
    pub source: &'s Source,
}

/// What one place holds.
enum Place<'r> {
    Empty,
    One(Cow<'r, [u8]>),
    Many,
}

/// Looks for a credential in all of `sources`.
///
/// # Errors
/// [`Reason::CredentialsAmbiguous`] if more than one is there, or one more than once;
/// [`Reason::CredentialsMalformed`] if it is empty or has bytes that no token has.
pub fn find<'r, 's>(sources: &'s [Source], facts: &impl Facts<'r>) -> Result<Option<Credential<'r, 's>>, Reason> {
    let mut found: Option<Credential<'r, 's>> = None;
    for source in sources {
        let place = match source {
            Source::Bearer => bearer(facts),
            Source::Header(name) => header(facts, name),
            Source::Cookie(name) => cookie(facts, name),
            Source::Query(name) => query(facts, name),
            Source::ApiKey(name) => api_key(facts, name),
        };
        match place {
            Place::Empty => {}
            Place::One(token) if found.is_none() => found = Some(Credential { token, source }),
            Place::One(_) | Place::Many => return Err(Reason::CredentialsAmbiguous),
        }
    }
    match found {
        Some(credential) if matches!(credential.source, Source::ApiKey(_)) => {
            check_api_key(&credential.token).map(|()| Some(credential))
        }
        // A token that is too long is refused as such, without looking at each of its bytes.
        Some(credential) if credential.token.len() <= MAX_TOKEN && !is_b64token(&credential.token) => {
            // A server that joins repeated headers puts a comma between them, which no token has.
            let joined =
                matches!(credential.source, Source::Bearer | Source::Header(_)) && credential.token.contains(&b',');
            Err(if joined { Reason::CredentialsAmbiguous } else { Reason::CredentialsMalformed })
        }
        found => Ok(found),
    }
}

/// `Authorization: Bearer TOKEN`. Another scheme is no credential, unless it is joined with a Bearer behind a
/// comma.
fn bearer<'r>(facts: &impl Facts<'r>) -> Place<'r> {
    let value = match facts.header("Authorization") {
        Found::None => return Place::Empty,
        Found::Many => return Place::Many,
        Found::One(value) => value.trim_ascii(),
    };
    let Some(token) = after_bearer(value) else {
        let hides_another = value.split(|b| *b == b',').skip(1).any(|part| after_bearer(part.trim_ascii()).is_some());
        return if hides_another { Place::Many } else { Place::Empty };
    };
    Place::One(Cow::Borrowed(token))
}

/// What follows the scheme `Bearer` (its case does not matter, RFC 9110 section 11.1) and spaces.
fn after_bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || rest.first().is_some_and(|b| !matches!(b, b' ' | b'\t')) {
        return None;
    }
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    Some(&rest[spaces..])
}

fn header<'r>(facts: &impl Facts<'r>, name: &str) -> Place<'r> {
    match facts.header(name) {
        Found::None => Place::Empty,
        Found::Many => Place::Many,
        Found::One(value) => Place::One(Cow::Borrowed(bare(value))),
    }
}

/// A header with an API key, which has a form of its own.
fn api_key<'r>(facts: &impl Facts<'r>, name: &str) -> Place<'r> {
    match facts.header(name) {
        Found::None => Place::Empty,
        Found::Many => Place::Many,
        Found::One(value) => Place::One(Cow::Borrowed(value.trim_ascii())),
    }
}

/// The API key in this header, which is needed besides a token.
///
/// # Errors
/// As [`find`].
pub fn find_api_key<'r>(header: &str, facts: &impl Facts<'r>) -> Result<Option<Cow<'r, [u8]>>, Reason> {
    match api_key(facts, header) {
        Place::Empty => Ok(None),
        Place::One(key) => check_api_key(&key).map(|()| Some(key)),
        Place::Many => Err(Reason::CredentialsAmbiguous),
    }
}

/// A server that joins repeated headers puts a comma between them, which no key has. What else is no key is found by
/// looking it up.
fn check_api_key(key: &[u8]) -> Result<(), Reason> {
    match key {
        [] => Err(Reason::CredentialsMalformed),
        key if key.contains(&b',') => Err(Reason::CredentialsAmbiguous),
        _ => Ok(()),
    }
}

/// A cookie (RFC 6265 section 4.2.1). Cookies are separated by `;`; a comma before the name means that a
/// server joined two Cookie headers, or that another reader could take the value for a cookie.
fn cookie<'r>(facts: &impl Facts<'r>, name: &str) -> Place<'r> {
    let value = match facts.header("Cookie") {
        Found::None => return Place::Empty,
        Found::Many => return Place::Many,
        Found::One(value) => value,
    };
    let mut found = Place::Empty;
    for pair in value.split(|b| *b == b';') {
        if pair.split(|b| *b == b',').skip(1).any(|part| cookie_value(part, name).is_some()) {
            return Place::Many;
        }
        let Some(value) = cookie_value(pair, name) else { continue };
        found = match found {
            Place::Empty => Place::One(Cow::Borrowed(bare(value))),
            _ => return Place::Many,
        };
    }
    found
}

fn cookie_value<'v>(pair: &'v [u8], name: &str) -> Option<&'v [u8]> {
    let (found, value) = split_once(pair, b'=')?;
    (found.trim_ascii() == name.as_bytes()).then_some(value)
}

/// A parameter of the query string, decoded as forms are (`%XX`, and `+` for a space).
fn query<'r>(facts: &impl Facts<'r>, name: &str) -> Place<'r> {
    let mut found = Place::Empty;
    for pair in facts.query().unwrap_or_default().split(|b| *b == b'&') {
        let (key, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        if *form_decode(key) != *name.as_bytes() {
            continue;
        }
        found = match found {
            Place::Empty => Place::One(match form_decode(value) {
                Cow::Borrowed(value) => Cow::Borrowed(bare(value)),
                Cow::Owned(value) => Cow::Owned(bare(&value).to_vec()),
            }),
            _ => return Place::Many,
        };
    }
    found
}

/// Takes off blanks, one pair of double quotes, and the prefix `Bearer `.
fn bare(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    match after_bearer(inner) {
        Some(token) if token.len() < inner.len() - 6 || token.is_empty() => token,
        _ => inner,
    }
}

/// `b64token` of RFC 6750 section 2.1.
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|b| **b == b'=').count();
    let body = &token[..token.len() - padding];
    // No branch and a length that is known: the compiler looks at all bytes of a chunk at once.
    let (chunks, rest) = body.as_chunks::<32>();
    let fits = |chunk: &[u8; 32]| chunk.iter().fold(0, |wrong, b| wrong | u8::from(!is_b64token_byte(*b))) == 0;
    !body.is_empty() && chunks.iter().all(fits) && rest.iter().all(|b| is_b64token_byte(*b))
}

const fn is_b64token_byte(b: u8) -> bool {
    // `-`, `.`, `/` and the digits are neighbours; setting 0x20 makes upper case lower.
    let digit = b.wrapping_sub(b'-') <= b'9' - b'-';
    let letter = (b | 0x20).wrapping_sub(b'a') <= b'z' - b'a';
    digit | letter | (b == b'_') | (b == b'~') | (b == b'+')
}

/// The `Cookie` header without one cookie; `None` if nothing is left of it.
pub fn without_cookie(header: &[u8], name: &str) -> Option<Vec<u8>> {
    without(header, b';', b"; ", |pair| cookie_value(pair, name).is_some())
}

/// The query string without one parameter; `None` if nothing is left of it.
pub fn without_parameter(query: &[u8], name: &str) -> Option<Vec<u8>> {
    without(query, b'&', b"&", |pair| {
        *form_decode(split_once(pair, b'=').map_or(pair, |(key, _)| key)) == *name.as_bytes()
    })
}

fn without(list: &[u8], separator: u8, glue: &[u8], drop: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let trimmed = |member| if separator == b';' { <[u8]>::trim_ascii(member) } else { member };
    let kept: Vec<&[u8]> = list.split(|b| *b == separator).map(trimmed).filter(|member| !drop(member)).collect();
    let kept = kept.join(glue);
    (!kept.is_empty()).then_some(kept)
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|b| *b == at)?;
    Some((&text[..position], &text[position + 1..]))
}

/// `application/x-www-form-urlencoded` (WHATWG URL); what is not a valid escape stays as it is.
fn form_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        decoded.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => first,
            },
            _ => first,
        });
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::facts::PlainFacts;

    fn all() -> Vec<Source> {
        let words = ["bearer", "header:X-Token", "cookie:access_token", "query:t", "api-key:X-Api-Key"];
        crate::config::credentials::parse(&words).unwrap().sources
    }

    fn look(headers: &[(&str, &[u8])], query: Option<&[u8]>) -> Result<Option<String>, Reason> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let facts = PlainFacts { client: local, peer: local, method: b"GET", query, headers, own_scheme: b"http" };
        let sources = all();
        find(&sources, &facts).map(|found| found.map(|c| String::from_utf8(c.token.into_owned()).unwrap()))
    }

    fn header(name: &str, value: &str) -> Result<Option<String>, Reason> {
        look(&[(name, value.as_bytes())], None)
    }

    fn token(text: &str) -> Result<Option<String>, Reason> {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn one_in_each_place() {
        for (name, value) in [
            ("Authorization", "Bearer a.b.c"),
            ("authorization", "bearer   a.b.c "),
            ("X-Token", "a.b.c"),
            ("X-Token", "Bearer a.b.c"),
            ("X-Token", "\"a.b.c\""),
            ("Cookie", "access_token=a.b.c"),
            ("Cookie", "x=y; access_token=\"Bearer a.b.c\"; z=1,2"),
            ("Cookie", "Access_Token=no;access_token=a.b.c"),
            ("X-Api-Key", " a.b.c "),
        ] {
            assert_eq!(header(name, value), token("a.b.c"), "{name}: {value}");
        }
        for query in ["t=a.b.c", "x=1&t=a%2Eb.c&y", "t=Bearer+a.b.c", "%74=a.b.c", "T=x&t=a.b.c"] {
            assert_eq!(look(&[], Some(query.as_bytes())), token("a.b.c"), "{query}");
        }
    }

    #[test]
    fn a_token_may_begin_with_the_letters_of_bearer() {
        assert_eq!(header("X-Token", "bearerabc"), token("bearerabc"));
    }

    #[test]
    fn none() {
        assert_eq!(look(&[], None), Ok(None));
        for (name, value) in [
            ("Authorization", "Basic dXNlcjpwYXNz"),
            ("Authorization", "Digest a=\"b\", c=\"d\""),
            ("Authorization", "Bearerx a"),
            ("Authorization", ""),
            ("Cookie", "xaccess_token=a"),
            ("Cookie", "access_token"),
        ] {
            assert_eq!(header(name, value), Ok(None), "{name}: {value}");
        }
        assert_eq!(look(&[], Some(b"tt=a&=a")), Ok(None));
    }

    #[test]
    fn more_than_one() {
        for (name, value) in [
            ("Authorization", "Bearer a.b.c, Bearer a.b.c"),
            ("X-Token", "a.b.c, a.b.c"),
            ("X-Api-Key", "a.b.c, a.b.c"),
            ("Authorization", "Basic dXNlcjpwYXNz, bearer a.b.c"),
            ("Cookie", "access_token=a; access_token=a"),
            ("Cookie", "x=1, access_token=a"),
            ("Cookie", "access_token=b; x=1, access_token=a"),
        ] {
            assert_eq!(header(name, value), Err(Reason::CredentialsAmbiguous), "{name}: {value}");
        }
        assert_eq!(look(&[], Some(b"t=a&%74=a")), Err(Reason::CredentialsAmbiguous));
        assert_eq!(look(&[("Authorization", b"Bearer a")], Some(b"t=a")), Err(Reason::CredentialsAmbiguous));
        assert_eq!(look(&[("X-Token", b"a"), ("x-token", b"a")], None), Err(Reason::CredentialsAmbiguous));
    }

    #[test]
    fn malformed() {
        for (name, value) in [
            ("Authorization", "Bearer"),
            ("Authorization", "Bearer "),
            ("Authorization", "Bearer\ta.b.c"),
            ("Authorization", "Bearer a.b.c d"),
            ("Authorization", "Bearer a=b"),
            ("Authorization", "Bearer ="),
            ("Authorization", "Bearer Bearer a"),
            ("Authorization", "Bearer \u{e4}"),
            ("X-Token", ""),
            ("X-Api-Key", ""),
            ("X-Api-Key", "  "),
            ("X-Token", "\""),
            ("Cookie", "access_token="),
            ("Cookie", "access_token=\"\""),
            ("Cookie", "access_token=Bearer%20a"),
        ] {
            assert_eq!(header(name, value), Err(Reason::CredentialsMalformed), "{name}: {value}");
        }
        for query in ["t", "t=", "t=%00", "t=a%"] {
            assert_eq!(look(&[], Some(query.as_bytes())), Err(Reason::CredentialsMalformed), "{query}");
        }
    }

    #[test]
    fn every_byte_of_a_token_is_looked_at() {
        for at in 0..200 {
            for bad in [b' ', b'\0', b'"', b',', b'@', b'[', b'`', b'{', 0x7f, 0x80, 0xff, b'=', b':'] {
                let mut token = vec![b'a'; 200];
                token[at] = bad;
                assert_eq!(is_b64token(&token), bad == b'=' && at == 199, "{bad} at {at}");
            }
        }
        assert!(is_b64token(b"azAZ09-._~+/=="));
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_stays() {
        assert_eq!(without_cookie(b"a=1; access_token=x; b=2", "access_token"), Some(b"a=1; b=2".to_vec()));
        assert_eq!(without_cookie(b"access_token=x", "access_token"), None);
        assert_eq!(without_parameter(b"a=1&%74=x&b=%20&t", "t"), Some(b"a=1&b=%20".to_vec()));
        assert_eq!(without_parameter(b"t=x", "t"), None);
    }
}
