//! CORS: what browsers are told, and what they cannot be made to believe.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

use jwt_gate_core::config::cors::{Accepted, CorsDef, parse};
use jwt_gate_core::cors::is_preflight;
use jwt_gate_core::facts::{Found, PlainFacts};
use proptest::prelude::*;

const APP: &str = "https://app.example.com";
const PREFLIGHT_VARY: [&str; 3] = ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"];

fn cors(line: &str) -> CorsDef {
    parse(&line.split(' ').collect::<Vec<_>>()).unwrap().unwrap()
}

fn options<'r>(headers: &'r [(&'r str, &'r [u8])]) -> PlainFacts<'r> {
    let local = "127.0.0.1".parse().unwrap();
    PlainFacts { client: local, peer: local, method: b"OPTIONS", query: None, headers, own_scheme: b"https" }
}

/// The fields of the answer to a preflight, a line each, behind a word for whether it is a permission.
fn preflight(cors: &CorsDef, origin: &[u8], method: &[u8], headers: &[&[u8]]) -> Vec<String> {
    let mut sent = vec![("Origin", origin), ("Access-Control-Request-Method", method)];
    sent.extend(headers.iter().map(|names| ("Access-Control-Request-Headers", *names)));
    let facts = options(&sent);
    assert!(is_preflight(&facts));
    let permission = cors.preflight(&facts);
    assert_eq!(permission.vary, PREFLIGHT_VARY);
    assert_eq!(permission.allowed, !permission.fields.is_empty());
    permission.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

fn fields(cors: &CorsDef, origin: Found<'_>) -> Vec<String> {
    let permission = cors.fields(origin);
    assert_eq!(permission.allowed, !permission.fields.is_empty());
    permission.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn a_preflight_is_told_all_that_is_accepted() {
    let plain = cors("https://app.example.com http://localhost:5173 max-age=5m");
    assert_eq!(
        preflight(&plain, APP.as_bytes(), b"PUT", &[b"authorization,content-type"]),
        [
            "Access-Control-Allow-Origin: https://app.example.com",
            "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE",
            "Access-Control-Allow-Headers: Authorization, Content-Type",
            "Access-Control-Max-Age: 300",
        ]
    );
    let with_cookies = cors("http://localhost:5173 methods=GET headers=X-A credentials=on");
    assert_eq!(
        preflight(&with_cookies, b"http://localhost:5173", b"GET", &[]),
        [
            "Access-Control-Allow-Origin: http://localhost:5173",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Allow-Methods: GET",
            "Access-Control-Allow-Headers: X-A",
            "Access-Control-Max-Age: 600",
        ]
    );
    // Names of headers are compared without case, blanks and empty elements of a list mean nothing.
    assert_eq!(preflight(&with_cookies, b"http://localhost:5173", b"GET", &[b" x-a ,, X-A"]).len(), 5);
}

#[test]
fn a_preflight_for_anything_else_is_told_nothing() {
    let cors = cors("https://app.example.com methods=GET,PUT headers=X-A credentials=on");
    assert!(!preflight(&cors, APP.as_bytes(), b"PUT", &[b"x-a"]).is_empty());
    for (origin, method, headers) in [
        (&b"https://evil.example"[..], &b"GET"[..], &[] as &[&[u8]]),
        (b"http://app.example.com", b"GET", &[]),
        (b"https://app.example.com:8443", b"GET", &[]),
        (b"https://APP.example.com", b"GET", &[]),
        (b"https://app.example.com, https://app.example.com", b"GET", &[]),
        (b"null", b"GET", &[]),
        (b"", b"GET", &[]),
        (APP.as_bytes(), b"POST", &[]),
        (APP.as_bytes(), b"get", &[]),
        (APP.as_bytes(), b"", &[]),
        (APP.as_bytes(), b"GET", &[b"x-a,x-b"]),
        (APP.as_bytes(), b"GET", &[b"*"]),
        (APP.as_bytes(), b"GET", &[b"x-a;x-b"]),
        (APP.as_bytes(), b"GET", &[b"x-a", b"x-a"]),
    ] {
        assert_eq!(preflight(&cors, origin, method, headers), [""; 0], "{} {headers:?}", origin.escape_ascii());
    }
}

/// `*` in an answer would leave out `Authorization`, and would be a name together with credentials.
#[test]
fn a_star_grants_by_name_what_is_asked_for() {
    for line in ["https://app.example.com methods=* headers=* credentials=on", "* methods=* headers=*"] {
        let cors = cors(line);
        let answer = preflight(&cors, APP.as_bytes(), b"PROPFIND", &[b"Authorization,X-A"]);
        assert!(answer.contains(&"Access-Control-Allow-Methods: PROPFIND".to_owned()), "{answer:?}");
        assert!(answer.contains(&"Access-Control-Allow-Headers: authorization, x-a".to_owned()), "{answer:?}");
        let answer = preflight(&cors, APP.as_bytes(), b"GET", &[]);
        assert!(!answer.iter().any(|field| field.starts_with("Access-Control-Allow-Headers")), "{answer:?}");
        for (method, headers) in
            [(&b"G T"[..], &b"x"[..]), (b"", b"x"), (b"GET", b"x y"), (b"GET", b"\xff"), (b"G\0", b"x")]
        {
            assert_eq!(preflight(&cors, APP.as_bytes(), method, &[headers]), [""; 0]);
        }
    }
}

#[test]
fn every_other_answer_says_who_may_read_it() {
    const EXPOSED: &str = "Access-Control-Expose-Headers: RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate";
    let named = cors("https://app.example.com https://b.example credentials=on expose=Link");
    let (app, link) = (Found::One(APP.as_bytes()), format!("{EXPOSED}, Link"));
    let allowed = format!("Access-Control-Allow-Origin: {APP}");
    assert_eq!(fields(&named, app), [allowed.as_str(), "Access-Control-Allow-Credentials: true", link.as_str()]);
    for origin in [Found::None, Found::Many, Found::One(b"null"), Found::One(b"https://evil.example")] {
        assert_eq!(fields(&named, origin), [""; 0]);
    }
    let any = cors("*");
    for origin in [app, Found::None, Found::Many, Found::One(b"null")] {
        assert_eq!(fields(&any, origin), ["Access-Control-Allow-Origin: *", EXPOSED]);
        assert!(any.fields(origin).vary.is_empty(), "it is the same for everybody");
        assert_eq!(named.fields(origin).vary, ["Origin"], "also where nothing is said");
    }
}

#[test]
fn a_preflight_has_one_origin_and_one_method() {
    let (origin, method) = (("origin", APP.as_bytes()), ("access-control-request-method", &b"GET"[..]));
    assert!(is_preflight(&options(&[origin, method])));
    for headers in [
        &[][..],
        &[origin],
        &[method],
        &[origin, origin, method],
        &[origin, method, method],
        &[("Accept", b"*/*"), origin],
    ] {
        assert!(!is_preflight(&options(headers)), "{headers:?}");
    }
    for method_of_request in [&b"GET"[..], b"options", b"POST", b"OPTIONS "] {
        assert!(!is_preflight(&PlainFacts { method: method_of_request, ..options(&[origin, method]) }));
    }
}

/// Bytes, and texts that are nearly the origin that counts.
fn hostile_origin() -> impl Strategy<Value = Vec<u8>> {
    let near = (0..=APP.len(), 0..=APP.len(), ".{0,3}").prop_map(|(end, start, middle)| {
        [&APP.as_bytes()[..end], middle.as_bytes(), &APP.as_bytes()[start..]].concat()
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..64), near]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_origin_but_the_one_named_is_ever_let_in(origin in hostile_origin()) {
        let cors = cors("https://app.example.com methods=* headers=* credentials=on");
        let expected = origin == APP.as_bytes();
        let found = Found::One(&origin[..]);
        prop_assert_eq!(cors.fields(found).allowed, expected);
        prop_assert_eq!(cors.trusts(found), expected);
        prop_assert_eq!(!preflight(&cors, &origin, b"GET", &[b"x-a"]).is_empty(), expected);
    }

    #[test]
    fn what_is_repeated_is_names_and_nothing_else(
        method in prop::collection::vec(any::<u8>(), 0..12),
        headers in prop_oneof!["[a-zA-Z-]{1,8}(, ?[a-zA-Z-]{1,8}){0,4}".prop_map(String::into_bytes),
                               prop::collection::vec(any::<u8>(), 0..40)],
    ) {
        let name = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
        for field in preflight(&cors("* methods=* headers=*"), b"null", &method, &[&headers]) {
            let (_, value) = field.split_once(": ").unwrap();
            prop_assert!(value.split(", ").all(|word| !word.is_empty() && word.chars().all(name)), "{:?}", field);
        }
    }

    /// What a directive accepts is what a browser can send: the same text is accepted again, and lets itself in.
    #[test]
    fn an_origin_that_is_accepted_is_serialized(
        origin in "[a-z]{0,2}(https?|HTTPS)://[a-zA-Z0-9.:@/*\\[\\]_-]{0,12}(:[0-9]{1,5})?/?|.{0,20}",
    ) {
        match parse(&[&origin]) {
            Ok(Some(cors)) if origin != "*" => {
                let Accepted::Only(origins) = &cors.origins else { panic!() };
                prop_assert_eq!(parse(&[&origins[0]]), Ok(Some(cors.clone())));
                prop_assert!(cors.fields(Found::One(origins[0].as_bytes())).allowed);
                prop_assert!(origins[0].is_ascii() && !origins[0].contains(|c: char| c.is_ascii_uppercase()));
            }
            Ok(_) => prop_assert!(origin == "*" || origin.eq_ignore_ascii_case("off")),
            Err(why) => prop_assert!(!why.is_empty()),
        }
    }
}
