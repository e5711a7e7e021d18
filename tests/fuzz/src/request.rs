//! What a client writes into its request: credentials, and where it was sent from.

use std::net::{IpAddr, Ipv4Addr};

use jwt_gate_core::config::cors;
use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::credentials::{find, without_cookie, without_parameter};
use jwt_gate_core::csrf::is_meant;
use jwt_gate_core::facts::PlainFacts;
use jwt_gate_core::token::MAX_TOKEN;
use jwt_gate_core::verdict::Reason;

const NAME: &str = "access_token";

/// `Authorization`, and a header that holds nothing but a token.
pub fn authorization(data: &[u8]) {
    match in_header(Source::Bearer, "Authorization", data) {
        Ok(Some(token)) => {
            assert_is_token(&token);
            let (scheme, rest) = data.trim_ascii().split_at(6);
            assert!(scheme.eq_ignore_ascii_case(b"bearer") && rest.starts_with(b" "));
            assert_eq!(rest.strip_suffix(&token[..]).map(<[u8]>::trim_ascii), Some(&b""[..]));
        }
        Ok(None) => {
            let text = data.trim_ascii().to_ascii_lowercase();
            assert!(text != b"bearer" && !text.starts_with(b"bearer "));
            assert!(!contains(&text, b",bearer ") && !contains(&text, b", bearer "));
        }
        Err(reason) => {
            assert_is_bad_request(reason);
            assert!(reason == Reason::CredentialsAmbiguous || !data.contains(&b','), "two in one field");
        }
    }
    let twice = [("Authorization", data), ("authorization", data)];
    assert_eq!(look(Source::Bearer, &twice, None), Err(Reason::CredentialsAmbiguous));

    match in_header(Source::Header("X-Token".into()), "X-Token", data) {
        Ok(token) => {
            let token = token.expect("a header is never no credential");
            assert_is_token(&token);
            assert!(contains(data, &token));
        }
        Err(Reason::CredentialsAmbiguous) => assert!(data.contains(&b','), "one value in one field"),
        Err(reason) => assert_eq!(reason, Reason::CredentialsMalformed),
    }
}

/// `Cookie`: one token, and without it all others as they were.
pub fn cookie(data: &[u8]) {
    let found = |data| in_header(Source::Cookie(NAME.into()), "Cookie", data);
    let mut behind_commas = data.split(|b| *b == b',').skip(1).map(<[u8]>::trim_ascii);
    if behind_commas.any(|part| part.starts_with(b"access_token=")) {
        assert_eq!(found(data), Err(Reason::CredentialsAmbiguous), "two in one field");
    }
    match found(data) {
        Ok(Some(token)) => {
            assert_is_token(&token);
            assert!(contains(data, &token));
            let left = without_cookie(data, NAME).unwrap_or_default();
            assert_eq!(found(&left), Ok(None));
            let pairs = data.split(|b| *b == b';').map(<[u8]>::trim_ascii);
            assert_eq!(left, pairs.filter(|pair| found(pair) == Ok(None)).collect::<Vec<_>>().join(&b"; "[..]));
            let twice = [data, b"; ", NAME.as_bytes(), b"=x"].concat();
            assert_eq!(found(&twice), Err(Reason::CredentialsAmbiguous));
        }
        Ok(None) => {
            let more = [data, b"; ", NAME.as_bytes(), b"=x"].concat();
            assert_eq!(found(&more), Ok(Some(b"x".to_vec())));
        }
        Err(reason) => assert_is_bad_request(reason),
    }
}

/// The query string: one token, and without it all other parameters as they were.
pub fn query(data: &[u8]) {
    let found = |query| look(Source::Query(NAME.into()), &[], Some(query));
    let more = [data, b"&access%5Ftoken=%78"].concat();
    match found(data) {
        Ok(Some(token)) => {
            assert_is_token(&token);
            assert!(contains(data, &token) || data.contains(&b'%') || data.contains(&b'+'));
            let left = without_parameter(data, NAME).unwrap_or_default();
            assert_eq!(found(&left), Ok(None));
            let pairs = data.split(|b| *b == b'&');
            assert_eq!(left, pairs.filter(|pair| found(pair) == Ok(None)).collect::<Vec<_>>().join(&b"&"[..]));
            assert_eq!(found(&more), Err(Reason::CredentialsAmbiguous));
        }
        Ok(None) => assert_eq!(found(&more), Ok(Some(b"x".to_vec()))),
        Err(reason) => assert_is_bad_request(reason),
    }
}

/// Method, `Origin`, `Host`, `Sec-Fetch-Site` and `Upgrade`, one a line; `-` is one that was not sent.
pub fn csrf(data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n');
    let method = lines.next().unwrap_or_default();
    let names = ["Origin", "Host", "Sec-Fetch-Site", "Upgrade"];
    let headers: Vec<_> = names.into_iter().zip(lines).filter(|(_, value)| *value != b"-").collect();
    let header = |name| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);

    let harmless = matches!(method, b"GET" | b"HEAD" | b"OPTIONS") && header("Upgrade").is_none();
    let trusted = "https://app.example.com:8443";
    let cors = cors::parse(&[trusted, "credentials=on"]).expect("an origin");
    let named = header("Origin") == Some(trusted.as_bytes());
    let told = matches!(header("Sec-Fetch-Site"), Some(b"same-origin" | b"none"));
    for (scheme, port) in [("http", ":80"), ("https", ":443")] {
        let own = header("Origin").zip(header("Host")).is_some_and(|(origin, host)| {
            let plain = |text: &[u8]| {
                let text = text.to_ascii_lowercase();
                text.strip_suffix(port.as_bytes()).map_or(text.clone(), <[u8]>::to_vec)
            };
            let host = plain(host);
            !host.is_empty() && plain(origin) == [scheme.as_bytes(), b"://", &host].concat()
        });
        let facts = PlainFacts { method, own_scheme: scheme.as_bytes(), ..facts(&headers, None) };
        assert_eq!(is_meant(&facts, None), harmless || told || own, "{scheme}");
        assert_eq!(is_meant(&facts, cors.as_ref()), harmless || told || own || named, "{scheme}");
    }
}

fn in_header(source: Source, name: &str, value: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
    look(source, &[(name, value)], None)
}

fn look(source: Source, headers: &[(&str, &[u8])], query: Option<&[u8]>) -> Result<Option<Vec<u8>>, Reason> {
    find(&[source], &facts(headers, query)).map(|found| found.map(|credential| credential.token.into_owned()))
}

fn facts<'r>(headers: &'r [(&'r str, &'r [u8])], query: Option<&'r [u8]>) -> PlainFacts<'r> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    PlainFacts { client: local, peer: local, method: b"GET", query, headers, own_scheme: b"https" }
}

/// RFC 6750 section 2.1; of one that is too long in any case, only the length was looked at.
fn assert_is_token(token: &[u8]) {
    let end = token.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(b);
    assert!(token.len() > MAX_TOKEN || end > 0 && token[..end].iter().all(fits), "{}", token.escape_ascii());
}

fn assert_is_bad_request(reason: Reason) {
    assert!(matches!(reason, Reason::CredentialsAmbiguous | Reason::CredentialsMalformed), "{reason:?}");
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
