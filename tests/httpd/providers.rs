//! The identity providers that other tests use, without the gate: they do what they say.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::certificates::{Authority, Certificate};
use crate::harness::provider::{Door, Endpoint, Manner, Reply, unusable_keys};
use crate::harness::tokens::verified;
use crate::harness::{Answer, Connection, Provider, Request, Signer, Site, await_true};

/// Longer than a test takes.
const LONG: Duration = Duration::from_secs(3600);

const MEGABYTE: usize = 1 << 20;

fn get(provider: &Provider, endpoint: Endpoint) -> io::Result<Answer> {
    let url = provider.url(endpoint);
    let ca = url.starts_with("https").then(|| provider.ca_pem());
    Request::url("GET", &url, ca).try_send()
}

fn keys(provider: &Provider) -> Answer {
    get(provider, Endpoint::Keys).unwrap()
}

fn kids(key_set: &Value) -> Vec<&str> {
    key_set["keys"].as_array().unwrap().iter().filter_map(|key| key["kid"].as_str()).collect()
}

/// A connection over which the keys were asked for.
fn asked(provider: &Provider) -> Connection {
    let url = provider.keys_url();
    let address = url.trim_start_matches("http://").trim_end_matches("/keys").parse().unwrap();
    let mut connection = Connection::open(address, None);
    connection.send(Request::url("GET", &url, None).bytes());
    connection
}

#[test]
fn documents_lead_to_keys_that_verify() {
    let signers = [
        Signer::ec("ES256", "one"),
        Signer::ec("ES384", "two"),
        Signer::ed25519("three"),
        Signer::rsa("RS256", "four"),
        Signer::other_rsa("PS256", "five"),
    ];
    assert_ne!(signers[3].jwk()["n"], signers[4].jwk()["n"]);
    let tenants = [Provider::http(), Provider::http().at("/tenant"), Provider::https(Certificate::Good).at("/a/b")];
    for provider in tenants {
        assert_eq!(keys(&provider).json(), json!({"keys": []}));
        provider.publish(&signers.each_ref());
        for endpoint in [Endpoint::OpenId, Endpoint::OAuth] {
            let answer = get(&provider, endpoint).unwrap();
            assert_eq!(answer.header("Content-Type"), Some("application/json"));
            assert_eq!(answer.json()["issuer"], provider.issuer());
            assert_eq!(answer.json()["jwks_uri"], provider.keys_url());
        }
        let key_set = keys(&provider).json();
        for signer in &signers {
            let (_, claims) = verified(&provider.token(signer).sign(), &key_set);
            assert_eq!(claims["iss"], provider.issuer());
        }
        assert_eq!(get(&provider, Endpoint::Elsewhere).unwrap().status, 404);
        let endpoints = [Endpoint::OpenId, Endpoint::OAuth, Endpoint::Keys, Endpoint::Elsewhere];
        assert_eq!(endpoints.map(|endpoint| provider.count(endpoint)), [1, 1, 2, 1]);
        provider.await_fetch(2);
        let times = provider.times(Endpoint::Keys);
        assert!(times.len() == 2 && times.is_sorted());
    }
}

#[test]
fn paths_of_an_issuer_are_those_of_the_standards() {
    let provider = Provider::http().at("/tenant");
    let origin = provider.issuer().strip_suffix("/tenant").unwrap().to_owned();
    let openid = format!("{origin}/tenant/.well-known/openid-configuration");
    let oauth = format!("{origin}/.well-known/oauth-authorization-server/tenant");
    assert_eq!(provider.url(Endpoint::OpenId), openid);
    assert_eq!(provider.url(Endpoint::OAuth), oauth);
}

#[test]
fn only_the_good_certificate_is_trusted() {
    for (certificate, reason) in [
        (Certificate::Expired, "Expired"),
        (Certificate::OtherHost, "NotValidForName"),
        (Certificate::OtherAuthority, "BadSignature"),
    ] {
        let provider = Provider::https(certificate);
        let error = get(&provider, Endpoint::Keys).unwrap_err();
        let said = format!("{error:?}");
        assert!(said.contains(reason), "{said}");
        await_true("the connection to be counted", || provider.connections() == 1);
        assert_eq!(provider.count(Endpoint::Keys), 0);
    }
    let (good, other) = (Provider::https(Certificate::Good), Provider::https(Certificate::Good));
    assert_eq!(keys(&good).status, 200);
    let error = Request::url("GET", &good.keys_url(), Some(other.ca_pem())).try_send().unwrap_err();
    assert!(format!("{error:?}").contains("BadSignature"), "{error:?}");
}

#[test]
fn answers_are_what_a_test_wants() {
    let provider = Provider::http();
    let answered = |reply: Reply| {
        provider.answer(Endpoint::Keys, reply);
        keys(&provider)
    };
    assert_eq!(answered(Reply::status(503).header("Retry-After", "7")).header("Retry-After"), Some("7"));
    assert_eq!(keys(&provider).status, 503);
    let redirect = answered(Reply::redirect("http://127.0.0.1:1/"));
    assert_eq!((redirect.status, redirect.header("Location")), (302, Some("http://127.0.0.1:1/")));
    let typed = answered(Reply::keys(&[]).header("content-type", "text/html").header("Cache-Control", "max-age=60"));
    assert_eq!(typed.header("Content-Type"), Some("text/html"));
    assert_eq!(typed.header("Cache-Control"), Some("max-age=60"));
    assert_eq!(answered(Reply::bytes("{\"keys\":[")).text(), "{\"keys\":[");
    assert_eq!(answered(Reply::bytes(vec![b' '; 10 * MEGABYTE])).body.len(), 10 * MEGABYTE);

    let (one, again) = (Signer::ec("ES256", "one"), Signer::ed25519("one"));
    assert_eq!(kids(&answered(Reply::keys(&[&one, &again])).json()), ["one", "one"]);
    let many = answered(Reply::many_keys(10_000, &one)).json();
    assert_eq!((kids(&many).len(), kids(&many)[0], kids(&many)[9999]), (10_000, "filler-1", "one"));
    verified(&provider.token(&one).sign(), &many);
    let among = answered(Reply::key_set(&[unusable_keys(), vec![one.jwk()]].concat())).json();
    assert_eq!(kids(&among).last(), Some(&"one"));

    provider.describe("https://other.test/", "https://other.test/keys");
    for endpoint in [Endpoint::OpenId, Endpoint::OAuth] {
        let document = get(&provider, endpoint).unwrap().json();
        assert_eq!(document["issuer"], "https://other.test/");
        assert_eq!(document["jwks_uri"], "https://other.test/keys");
    }
}

#[test]
fn each_endpoint_has_its_own_manner() {
    let provider = Provider::http();
    provider.answer(Endpoint::Keys, Reply::bytes("12345678"));
    let time = Duration::from_millis(10);
    for (manner, shortest) in [(Manner::After(time), time), (Manner::Trickle(time), 8 * time)] {
        provider.behave(Endpoint::Keys, manner);
        let begin = Instant::now();
        assert_eq!(keys(&provider).text(), "12345678");
        assert!(begin.elapsed() >= shortest, "{manner:?} took {:?}", begin.elapsed());
    }
    for manner in [Manner::Never, Manner::After(LONG), Manner::Trickle(LONG)] {
        provider.behave(Endpoint::Keys, manner);
        let connections = [asked(&provider), asked(&provider)];
        await_true("two open requests", || provider.open(Endpoint::Keys) == 2);
        assert_eq!(get(&provider, Endpoint::OpenId).unwrap().status, 200);
        drop(connections);
        await_true("the end of both", || provider.open(Endpoint::Keys) == 0);
    }
}

#[test]
fn bodies_come_with_length_without_in_chunks_and_in_part() {
    for provider in [Provider::http(), Provider::https(Certificate::Good)] {
        let body = vec![b'1'; 3 * MEGABYTE];
        provider.answer(Endpoint::Keys, Reply::bytes(body.clone()));
        let length = body.len().to_string();
        for (manner, framing) in [
            (Manner::Prompt, ("Content-Length", length.as_str())),
            (Manner::Chunked, ("Transfer-Encoding", "chunked")),
            (Manner::Unframed, ("Connection", "close")),
        ] {
            provider.behave(Endpoint::Keys, manner);
            let answer = keys(&provider);
            assert_eq!(answer.header(framing.0), Some(framing.1));
            assert_eq!(answer.header("Content-Length").is_some(), matches!(manner, Manner::Prompt));
            assert_eq!(answer.body, body);
        }
        provider.behave(Endpoint::Keys, Manner::CutOff);
        assert_eq!(get(&provider, Endpoint::Keys).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        // A length that is a lie stays as the test wrote it.
        provider.behave(Endpoint::Keys, Manner::Prompt);
        provider.answer(Endpoint::Keys, Reply::bytes("12").header("Content-Length", "3"));
        assert_eq!(get(&provider, Endpoint::Keys).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn the_door_closes_and_opens_on_the_same_port() {
    let provider = Provider::http();
    for _ in 0..3 {
        assert_eq!(keys(&provider).status, 200);
        provider.door(Door::Closed);
        assert_eq!(get(&provider, Endpoint::Keys).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        provider.door(Door::Open);
    }
    assert_eq!((provider.count(Endpoint::Keys), provider.connections()), (3, 3));
    provider.door(Door::Mute);
    let ignored = asked(&provider);
    await_true("a connection that is ignored", || provider.connections() == 4);
    provider.door(Door::Open);
    assert_eq!(keys(&provider).status, 200);
    assert_eq!(provider.count(Endpoint::Keys), 4);
    let url = provider.keys_url();
    drop(provider);
    assert_eq!(Request::url("GET", &url, None).try_send().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(ignored);
}

/// Those that `make target/idp/node_modules` installs.
mod installed {
    use super::*;
    use crate::harness::idp::{Cognito, Joserfc, Oidc};

    /// Follows discovery to the key set.
    fn discovered(issuer: &str, ca: Option<&str>) -> Value {
        let url = format!("{issuer}/.well-known/openid-configuration");
        let document = Request::url("GET", &url, ca).send().json();
        assert_eq!(document["issuer"], issuer);
        Request::url("GET", document["jwks_uri"].as_str().unwrap(), ca).send().json()
    }

    /// A folder with the files for TLS.
    fn tls() -> (Site, String) {
        let site = Site::new();
        let authority = Authority::new();
        authority.write(&site.root);
        (site, authority.pem())
    }

    #[test]
    fn cognito_has_access_and_id_tokens_of_its_users() {
        let cognito = Cognito::start(None);
        let key_set = discovered(&cognito.issuer, None);
        assert_eq!(key_set, Request::url("GET", &cognito.keys_url(), None).send().json());
        let (header, access) = verified(&cognito.access_token(), &key_set);
        assert_eq!(header["typ"], Value::Null);
        assert_eq!(access["iss"], cognito.issuer);
        assert_eq!(access["client_id"], cognito.client_id);
        assert_eq!(access["aud"], Value::Null);
        assert_eq!(access["token_use"], "access");
        assert_eq!(access["cognito:groups"], json!(["admins"]));
        let (_, id) = verified(&cognito.id_token(), &key_set);
        assert_eq!((&id["iss"], &id["token_use"]), (&access["iss"], &json!("id")));
        assert_eq!((&id["aud"], &id["client_id"]), (&access["client_id"], &Value::Null));
        assert_eq!(id["sub"], access["sub"]);

        let login = cognito.login("bob", &cognito.other_client_id, Duration::from_secs(5));
        let (_, bob) = verified(&login.access_token, &key_set);
        assert_eq!(bob["username"], "bob");
        assert_eq!(bob["client_id"], cognito.other_client_id);
        assert_ne!(bob["sub"], access["sub"]);
        assert_eq!(bob["cognito:groups"], Value::Null);
        assert_eq!(bob["exp"].as_u64().unwrap() - bob["iat"].as_u64().unwrap(), 5);
    }

    #[test]
    fn cognito_publishes_two_keys_and_signs_with_the_new_one() {
        let (site, ca) = tls();
        let cognito = Cognito::start(Some(&site.root));
        let before = discovered(&cognito.issuer, Some(&ca));
        let old = cognito.access_token();
        let now = cognito.rotate();
        let after = discovered(&cognito.issuer, Some(&ca));
        assert_eq!(kids(&after), now);
        assert_eq!(kids(&before).len(), 2);
        assert_eq!(kids(&before)[1], kids(&after)[0]);
        verified(&old, &after);
        assert_eq!(verified(&cognito.access_token(), &after).0["kid"], kids(&after)[1]);
        cognito.rotate();
        let kid = verified(&old, &before).0["kid"].clone();
        assert!(!kids(&discovered(&cognito.issuer, Some(&ca))).contains(&kid.as_str().unwrap()));
    }

    #[test]
    fn oidc_provider_signs_with_every_algorithm() {
        let oidc = Oidc::start(None);
        let key_set = discovered(&oidc.issuer, None);
        assert_eq!(key_set, Request::url("GET", &oidc.keys_url(), None).send().json());
        for algorithm in Oidc::ALGORITHMS {
            let resource = Oidc::resource(algorithm);
            let (header, claims) = verified(&oidc.token(&resource), &key_set);
            assert_eq!((&header["alg"], &header["typ"]), (&json!(algorithm), &json!("at+jwt")));
            assert_eq!((&claims["iss"], &claims["aud"]), (&json!(oidc.issuer), &json!(resource)));
            assert_eq!((&claims["sub"], &claims["scope"]), (&json!("svc"), &json!("read write")));
            assert_eq!(claims["roles"], json!(["ops"]));
        }
        assert!(!oidc.token(&Oidc::resource("opaque")).contains('.'));
        let (_, claims) = verified(&oidc.token_of("reader", "read", &Oidc::resource("ES256")), &key_set);
        assert_eq!((&claims["client_id"], &claims["scope"]), (&json!("reader"), &json!("read")));
        assert_eq!(oidc.grant("reader", "write", &Oidc::resource("ES256")).status, 400);
        let oauth = Request::url("GET", &format!("{}/.well-known/oauth-authorization-server", oidc.issuer), None);
        assert_eq!(oauth.send().json()["issuer"], oidc.issuer);
    }

    #[test]
    fn oidc_provider_keeps_the_keys_before_the_new_ones() {
        let (site, ca) = tls();
        let oidc = Oidc::start(Some(&site.root));
        let token = || oidc.token(&Oidc::resource("EdDSA"));
        let old = token();
        let new = oidc.rotate();
        let key_set = discovered(&oidc.issuer, Some(&ca));
        assert_eq!(kids(&key_set)[..new.len()], new);
        verified(&old, &key_set);
        let (header, _) = verified(&token(), &key_set);
        assert!(new.contains(&header["kid"].as_str().unwrap().to_owned()));
        oidc.rotate();
        let key_set = discovered(&oidc.issuer, Some(&ca));
        assert!(kids(&key_set).contains(&new[0].as_str()));
        assert_eq!(kids(&key_set).len(), 2 * new.len());
    }

    #[test]
    fn joserfc_signs_what_it_is_told() {
        let algorithms = ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
        let joserfc = Joserfc::start(&[&algorithms[..], &["ES256K", "Ed448", "HS256"]].concat());
        for algorithm in algorithms {
            let (header, claims) = verified(&joserfc.token(algorithm), &joserfc.keys);
            assert_eq!(header, json!({"alg": algorithm, "kid": algorithm}));
            assert_eq!(claims["sub"], "alice");
        }
        let claims = json!({"z": 1, "a": {"b": [null, "ü"]}});
        let token = joserfc.sign("ES256", &json!({"typ": "at+jwt", "cty": "x"}), &claims);
        let (header, signed) = verified(&token, &joserfc.keys);
        assert_eq!(header, json!({"alg": "ES256", "kid": "ES256", "typ": "at+jwt", "cty": "x"}));
        assert_eq!(signed, claims);
        let secret = joserfc.keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == "HS256").unwrap();
        assert!(secret["k"].is_string());
        assert!(joserfc.keys["keys"].as_array().unwrap().iter().all(|key| key["d"].is_null()));
    }
}
