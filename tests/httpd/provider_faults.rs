//! Identity providers that misbehave: the keys that were fetched before stay in use, without any the answer is 503, the
//! log says what was wrong, no other issuer is concerned, and all is well again as soon as the provider is.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::certificates::Certificate;
use crate::harness::provider::{Door, Endpoint, Manner, Reply, unusable_keys};
use crate::harness::{GATED, PATIENCE, Provider, Request, Server, Signer, Site, await_true};

/// What of a provider misbehaves, and so how the directive finds the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// The key set, with `jwks=`.
    Set,
    /// The key set that discovery leads to.
    Found,
    /// Both documents that discovery may begin with.
    Document,
}

impl Part {
    fn endpoints(self) -> &'static [Endpoint] {
        match self {
            Self::Set | Self::Found => &[Endpoint::Keys],
            Self::Document => &[Endpoint::OpenId, Endpoint::OAuth],
        }
    }
}

/// An issuer whose keys are fetched, and two keys for it.
struct Issuer {
    name: String,
    provider: Provider,
    part: Part,
    keys: [Signer; 2],
}

impl Issuer {
    /// Its first key is published.
    fn new(name: &str, provider: Provider, part: Part) -> Self {
        let keys = [Signer::ec("ES256", &format!("{name}-1")), Signer::ec("ES256", &format!("{name}-2"))];
        provider.publish(&[&keys[0]]);
        Self { name: name.to_owned(), provider, part, keys }
    }

    fn is_plain(&self) -> bool {
        self.provider.issuer().starts_with("http:")
    }

    /// Its directive, with these options.
    fn directive(&self, site: &Site, options: &str) -> String {
        let Self { name, provider, part, .. } = self;
        let source = match part {
            Part::Set => format!("jwks={}", provider.keys_url()),
            Part::Found | Part::Document => "discovery".to_owned(),
        };
        let mut line = format!("JwtGateIssuer {name} {} audience=api {source} {options}", provider.issuer());
        if !self.is_plain() {
            site.write(&format!("keys/{name}.ca.pem"), provider.ca_pem());
            line += &format!(" ca=keys/{name}.ca.pem");
        }
        line + "\n"
    }

    /// Lets its part of the provider do this.
    fn begin(&self, what: Begin) {
        self.part.endpoints().iter().for_each(|endpoint| what(self, *endpoint));
    }

    /// Makes the provider a good one, with this key alone.
    fn heal(&self, key: &Signer) {
        for endpoint in [Endpoint::OpenId, Endpoint::OAuth, Endpoint::Keys, Endpoint::Elsewhere] {
            self.provider.behave(endpoint, Manner::Prompt);
        }
        self.provider.publish(&[key]);
        self.provider.describe(&self.provider.issuer(), &self.provider.keys_url());
        self.provider.certify(Certificate::Good);
        self.provider.door(Door::Open);
    }

    /// A request with a token of this key.
    fn request(&self, server: &Server, key: &Signer) -> Request {
        server.get("/").bearer(self.provider.token(key).sign())
    }

    /// Whether a token of this key passes.
    fn admits(&self, server: &Server, key: &Signer) -> bool {
        self.request(server, key).status() == 200
    }

    /// Waits until every child lets a token of this key pass.
    fn await_everywhere(&self, server: &Server, key: &Signer) {
        server.each_child().await_status(&self.request(server, key), 200);
    }

    /// What a line of the log about it begins with.
    fn line(&self, id: &str) -> String {
        format!("{id} JwtGateIssuer {} (", self.name)
    }

    /// The lines of the log about it.
    fn lines(&self, server: &Server, id: &str) -> Vec<String> {
        let begin = self.line(id);
        server.log.text().lines().filter_map(|line| line.find(&begin).map(|at| line[at..].to_owned())).collect()
    }

    /// Waits for a failed fetch whose line has this in it.
    fn await_failure(&self, server: &Server, text: &str) {
        await_true(&format!("a failed fetch with {text:?}"), || {
            self.lines(server, "JG4002").iter().any(|line| line.contains(text))
        });
    }

    /// Declares that fetches fail.
    fn expect_failure(&self, server: &mut Server) {
        server.expect_log(&self.line("JG4002"));
    }
}

/// Starts a server with these issuers and waits until it serves, not for any keys.
fn start(issuers: &[&Issuer], options: &str) -> Server {
    let site = Site::new();
    let directives: String = issuers.iter().map(|issuer| issuer.directive(&site, options)).collect();
    let mut server = site.start(&format!("{GATED}{directives}"));
    for issuer in issuers.iter().filter(|issuer| issuer.is_plain()) {
        server.expect_log(&issuer.line("JG2201"));
    }
    server
}

/// What makes an endpoint misbehave.
type Begin = fn(&Issuer, Endpoint);

/// One way to misbehave.
struct Fault {
    name: &'static str,
    begin: Begin,
    /// What the log says of it.
    said: &'static str,
}

const fn fault(name: &'static str, said: &'static str, begin: Begin) -> Fault {
    Fault { name, begin, said }
}

/// Issuers for each of these faults, in every of these parts and schemes.
fn issuers<'f>(parts: &[Part], schemes: &[&str], faults: &'f [Fault]) -> Vec<(&'f Fault, Issuer)> {
    let mut issuers = Vec::new();
    for fault in faults {
        for &part in parts {
            for &scheme in schemes {
                let provider = if scheme == "http" { Provider::http() } else { Provider::https(Certificate::Good) };
                let name = format!("{}-{part:?}-{scheme}", fault.name).to_lowercase();
                issuers.push((fault, Issuer::new(&name, provider.at("/tenant"), part)));
            }
        }
    }
    issuers
}

/// Lets providers misbehave in every of these ways, all of them in one server: at first before they ever gave keys, then
/// after. Another issuer of that server must not notice.
fn endure(parts: &[Part], schemes: &[&str], timeout: &str, faults: &[Fault]) {
    let good = Issuer::new("good", Provider::https(Certificate::Good), Part::Found);
    let cases = issuers(parts, schemes, faults);
    let begin = || cases.iter().for_each(|(fault, issuer)| issuer.begin(fault.begin));

    begin();
    let all: Vec<_> = [&good].into_iter().chain(cases.iter().map(|(_, issuer)| issuer)).collect();
    let mut server = start(&all, &format!("refresh=1s timeout={timeout}"));
    cases.iter().for_each(|(_, issuer)| issuer.expect_failure(&mut server));
    let first_key = |issuer: &Issuer| issuer.admits(&server, &issuer.keys[0]);
    good.await_everywhere(&server, &good.keys[0]);

    await_failures(&server, &cases, "there are none from before, so its tokens are answered with 503; next fetch in ");
    let refused = server.log.count("keys-unavailable");
    for (_, issuer) in &cases {
        let answer = issuer.request(&server, &issuer.keys[0]).send();
        assert_eq!(answer.status, 503, "{}", issuer.name);
        let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{}: {wait}", issuer.name);
        assert!(first_key(&good));
    }
    assert_eq!(server.log.count("keys-unavailable"), refused + cases.len());
    cases.iter().for_each(|(_, issuer)| issuer.heal(&issuer.keys[0]));
    await_all("to be well", &cases, |issuer| first_key(&good) && first_key(issuer));

    begin();
    await_failures(&server, &cases, " ago stay in use for 23 h 59 min more; next fetch in ");
    for (_, issuer) in &cases {
        assert!(first_key(issuer), "{}", issuer.name);
        assert!(first_key(&good));
    }
    cases.iter().for_each(|(_, issuer)| issuer.heal(&issuer.keys[1]));
    await_all("to be well again", &cases, |issuer| first_key(&good) && issuer.admits(&server, &issuer.keys[1]));
    assert!(good.lines(&server, "JG4002").is_empty());
}

/// Waits until the log tells of a failed fetch of each, with this and the address in the line; there must be what the
/// fault is known by, too. (A fetch that was under way when the fault began may fail at its second address first.)
fn await_failures(server: &Server, cases: &[(&Fault, Issuer)], outcome: &str) {
    let failures = |issuer: &Issuer| -> Vec<String> {
        let address = format!("no keys: {}: ", issuer.provider.url(issuer.part.endpoints()[0]));
        let lines = issuer.lines(server, "JG4002").into_iter();
        lines.filter(|line| line.contains(outcome) && line.contains(&address)).collect()
    };
    await_all("to fail", cases, |issuer| !failures(issuer).is_empty());
    let mut wrong = BTreeMap::new();
    for (fault, issuer) in cases {
        let lines = failures(issuer);
        if !lines.iter().any(|line| line.contains(fault.said)) {
            wrong.insert(&issuer.name, (fault.said, lines));
        }
    }
    assert!(wrong.is_empty(), "not said: {wrong:#?}");
}

/// Waits until it holds for each.
fn await_all(what: &str, cases: &[(&Fault, Issuer)], holds: impl Fn(&Issuer) -> bool) {
    let begin = Instant::now();
    let mut left: Vec<&Issuer> = cases.iter().map(|(_, issuer)| issuer).collect();
    loop {
        left.retain(|issuer| !holds(issuer));
        let names: Vec<_> = left.iter().map(|issuer| &issuer.name).collect();
        if names.is_empty() {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "in vain waited for these {what}: {names:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const PARTS: &[Part] = &[Part::Set, Part::Found, Part::Document];
const SCHEMES: &[&str] = &["http", "https"];
const TIMEOUT: &str = "10s";

#[test]
fn connections_that_nobody_answers() {
    endure(
        &[Part::Set, Part::Document],
        SCHEMES,
        "1s",
        &[
            fault("closed", "the connection was refused", |issuer, _| issuer.provider.door(Door::Closed)),
            fault("mute", "no answer within 1000ms", |issuer, _| issuer.provider.door(Door::Mute)),
        ],
    );
}

#[test]
fn answers_that_do_not_come_or_not_in_time() {
    endure(
        PARTS,
        SCHEMES,
        "1s",
        &[
            fault("hanging", "no answer within 1000ms", |issuer, at| issuer.provider.behave(at, Manner::Never)),
            fault("slow", "no answer within 1000ms", |issuer, at| issuer.provider.behave(at, Manner::After(MINUTE))),
            fault("trickling", "no answer within 1000ms", |issuer, at| {
                // Each byte in time, all of them not.
                issuer.provider.behave(at, Manner::Trickle(Duration::from_millis(100)));
            }),
            fault("cut-off", "the connection was closed before the answer was complete", |issuer, at| {
                issuer.provider.behave(at, Manner::CutOff);
            }),
        ],
    );
}

#[test]
fn certificates_that_are_not_to_be_trusted() {
    endure(
        &[Part::Set, Part::Document],
        &["https"],
        TIMEOUT,
        &[
            fault("expired", "the certificate has expired", |issuer, _| {
                issuer.provider.certify(Certificate::Expired);
            }),
            fault("other-host", "the certificate is for another host name", |issuer, _| {
                issuer.provider.certify(Certificate::OtherHost);
            }),
            fault("other-authority", "(BadSignature)", |issuer, _| {
                issuer.provider.certify(Certificate::OtherAuthority);
            }),
        ],
    );
}

#[test]
fn answers_that_are_none() {
    endure(
        PARTS,
        SCHEMES,
        TIMEOUT,
        &[
            fault("s500", "answered with status 500", |issuer, at| issuer.provider.answer(at, Reply::status(500))),
            fault("s404", "answered with status 404", |issuer, at| issuer.provider.answer(at, Reply::status(404))),
            fault("s204", "answered with status 204", |issuer, at| issuer.provider.answer(at, Reply::status(204))),
            fault("loop", "was redirected more than 3 times", |issuer, at| {
                issuer.provider.answer(at, Reply::redirect(&issuer.provider.url(at)));
            }),
            fault("nowhere", "was redirected, but not to one address", |issuer, at| {
                issuer.provider.answer(at, Reply::status(302));
            }),
            fault(
                "plain",
                "was redirected to `http://www.example.com/keys`; keys come over https only",
                |issuer, at| {
                    issuer.provider.answer(at, Reply::redirect("http://www.example.com/keys"));
                },
            ),
        ],
    );
}

#[test]
fn bodies_that_are_too_long() {
    const SAID: &str = "answered with more than 150000 bytes";
    static KEYS: LazyLock<Reply> = LazyLock::new(|| Reply::many_keys(10_000, &Signer::ed25519("last")));
    endure(
        &[Part::Set, Part::Document],
        SCHEMES,
        TIMEOUT,
        &[
            fault("framed", SAID, |issuer, at| issuer.provider.answer(at, padded(10_000_000))),
            fault("unframed", SAID, |issuer, at| {
                issuer.provider.answer(at, padded(10_000_000));
                issuer.provider.behave(at, Manner::Unframed);
            }),
            fault("chunked", SAID, |issuer, at| {
                issuer.provider.answer(at, padded(10_000_000));
                issuer.provider.behave(at, Manner::Chunked);
            }),
            fault("by-one", SAID, |issuer, at| issuer.provider.answer(at, padded(150_001))),
            fault("keys", SAID, |issuer, at| issuer.provider.answer(at, KEYS.clone())),
        ],
    );
}

#[test]
fn bodies_that_are_no_key_sets() {
    endure(
        &[Part::Set, Part::Found],
        SCHEMES,
        TIMEOUT,
        &[
            fault("broken", "not a JWK set: EOF while parsing a list at line 1 column 9", |issuer, at| {
                issuer.provider.answer(at, Reply::bytes("{\"keys\":["));
            }),
            fault("empty", "not a JWK set: ", |issuer, at| issuer.provider.answer(at, Reply::bytes(""))),
            fault("html", "not a JWK set: ", |issuer, at| issuer.provider.answer(at, page())),
            fault("other", "not a JWK set: it has no array \"keys\"", |issuer, at| {
                issuer.provider.answer(at, Reply::json(&json!({"keys": 1})));
            }),
            fault("gzip", "answered in the encoding `gzip`, which was not asked for", |issuer, at| {
                issuer.provider.answer(at, Reply::keys(&[&issuer.keys[0]]).header("Content-Encoding", "gzip"));
            }),
            fault("none", "no usable key in the JWK set: it is empty", |issuer, _| issuer.provider.publish(&[])),
            fault("unusable", "no usable key in the JWK set: key \"for-encryption\": ", |issuer, at| {
                issuer.provider.answer(at, Reply::key_set(&unusable_keys()));
            }),
            fault("many", "101 keys; at most 100 are accepted", |issuer, at| {
                issuer.provider.answer(at, Reply::many_keys(101, &issuer.keys[0]));
            }),
        ],
    );
}

#[test]
fn documents_that_lead_nowhere() {
    endure(
        &[Part::Document],
        SCHEMES,
        TIMEOUT,
        &[
            fault("broken", "not the metadata of an issuer: EOF while parsing", |issuer, at| {
                issuer.provider.answer(at, Reply::bytes("{\"issuer\":"));
            }),
            fault("html", "not the metadata of an issuer: ", |issuer, at| issuer.provider.answer(at, page())),
            fault("gzip", "answered in the encoding `gzip`, which was not asked for", |issuer, at| {
                issuer.provider.answer(at, good_reply(issuer, at).header("Content-Encoding", "gzip"));
            }),
            fault("nameless", "not the metadata of an issuer: it has no `issuer`", |issuer, at| {
                issuer.provider.answer(at, Reply::json(&json!({"jwks_uri": issuer.provider.keys_url()})));
            }),
            fault(
                "other-issuer",
                "the document says issuer `https://other.test`, the configuration and tokens `",
                |issuer, at| {
                    issuer.provider.answer(at, Reply::document("https://other.test", &issuer.provider.keys_url()));
                },
            ),
            fault("keyless", "not the metadata of an issuer: it has no `jwks_uri`", |issuer, at| {
                issuer.provider.answer(at, Reply::json(&json!({"issuer": issuer.provider.issuer()})));
            }),
            fault("number", "its `jwks_uri` is no text", |issuer, at| {
                let document = json!({"issuer": issuer.provider.issuer(), "jwks_uri": 1});
                issuer.provider.answer(at, Reply::json(&document));
            }),
            fault("plain", "its `jwks_uri` is `http://www.example.com/keys`; ", |issuer, at| {
                let document = Reply::document(&issuer.provider.issuer(), "http://www.example.com/keys");
                issuer.provider.answer(at, document);
            }),
            fault("relative", "its `jwks_uri` is `/keys`; ", |issuer, at| {
                issuer.provider.answer(at, Reply::document(&issuer.provider.issuer(), "/keys"));
            }),
            fault("user", "its `jwks_uri` is `https://a:b@www.example.com/keys`; ", |issuer, at| {
                let document = Reply::document(&issuer.provider.issuer(), "https://a:b@www.example.com/keys");
                issuer.provider.answer(at, document);
            }),
        ],
    );
    // From https, plain http is refused to this machine as well: nobody was warned of it.
    endure(
        &[Part::Document],
        &["https"],
        TIMEOUT,
        &[fault("downgrade", "its `jwks_uri` is `http://127.0.0.1:1/keys`; ", |issuer, at| {
            issuer.provider.answer(at, Reply::document(&issuer.provider.issuer(), "http://127.0.0.1:1/keys"));
        })],
    );
}

const MINUTE: Duration = Duration::from_secs(60);

/// What a login page would be.
fn page() -> Reply {
    Reply::bytes("<html>log in</html>").header("Content-Type", "text/html")
}

/// So many bytes of what could still become anything.
fn padded(bytes: usize) -> Reply {
    Reply::bytes(vec![b' '; bytes])
}

#[test]
fn what_is_unusual_and_no_fault() {
    let odd = &[
        fault("untyped", "", |issuer, at| {
            issuer.provider.answer(at, good_reply(issuer, at).header("Content-Type", ""));
        }),
        fault("html", "", |issuer, at| {
            issuer.provider.answer(at, good_reply(issuer, at).header("Content-Type", "text/html"));
        }),
        fault("unframed", "", |issuer, at| issuer.provider.behave(at, Manner::Unframed)),
        fault("chunked", "", |issuer, at| issuer.provider.behave(at, Manner::Chunked)),
        fault("redirected", "", |issuer, at| {
            issuer.provider.answer(at, Reply::redirect(&issuer.provider.url(Endpoint::Elsewhere)));
            issuer.provider.answer(Endpoint::Elsewhere, good_reply(issuer, at));
        }),
        fault("oauth", "", |issuer, _| issuer.provider.answer(Endpoint::OpenId, Reply::status(404))),
    ];
    let cases = issuers(PARTS, SCHEMES, odd);
    cases.iter().for_each(|(odd, issuer)| issuer.begin(odd.begin));
    let all: Vec<_> = cases.iter().map(|(_, issuer)| issuer).collect();
    let server = start(&all, &format!("timeout={TIMEOUT}"));
    await_all("to be in use", &cases, |issuer| issuer.admits(&server, &issuer.keys[0]));
    for (fault, issuer) in &cases {
        let discovers = issuer.part != Part::Set;
        let by_oauth = usize::from(discovers && fault.name == "oauth");
        assert_eq!(issuer.provider.count(Endpoint::OpenId), usize::from(discovers), "{}", issuer.name);
        assert_eq!(issuer.provider.count(Endpoint::OAuth), by_oauth, "{}", issuer.name);
    }
}

/// What this endpoint answers when all is well.
fn good_reply(issuer: &Issuer, at: Endpoint) -> Reply {
    match at {
        Endpoint::Keys => Reply::keys(&[&issuer.keys[0]]),
        _ => Reply::document(&issuer.provider.issuer(), &issuer.provider.keys_url()),
    }
}

#[test]
fn each_exchange_has_the_whole_timeout() {
    let issuer = Issuer::new("slow", Provider::https(Certificate::Good), Part::Found);
    for endpoint in [Endpoint::OpenId, Endpoint::Keys] {
        issuer.provider.behave(endpoint, Manner::After(Duration::from_millis(1700)));
    }
    let server = start(&[&issuer], "timeout=3s");
    await_true("the keys", || issuer.admits(&server, &issuer.keys[0]));
    assert_eq!(issuer.provider.count(Endpoint::Keys), 1);
}

#[test]
fn three_redirects_are_followed_and_no_fourth() {
    for scheme in SCHEMES {
        let provider = || if *scheme == "http" { Provider::http() } else { Provider::https(Certificate::Good) };
        let issuer = Issuer::new("main", provider(), Part::Set);
        let others = [provider(), provider(), provider(), provider()];
        let mut from = &issuer.provider;
        for to in &others {
            from.answer(Endpoint::Keys, Reply::redirect(&to.keys_url()));
            from = to;
        }
        others[3].publish(&[&issuer.keys[0]]);
        let site = Site::new();
        let line = issuer.directive(&site, &format!("refresh=1s timeout={TIMEOUT}"));
        if *scheme == "https" {
            let chain = [&issuer.provider, &others[0], &others[1], &others[2], &others[3]].map(Provider::ca_pem);
            site.write("keys/main.ca.pem", chain.concat());
        }
        let mut server = site.start(&format!("{GATED}{line}"));
        if *scheme == "http" {
            server.expect_log(&issuer.line("JG2201"));
        }
        issuer.expect_failure(&mut server);
        issuer.await_failure(&server, "was redirected more than 3 times");
        assert_eq!(others[3].count(Endpoint::Keys), 0);
        others[2].publish(&[&issuer.keys[0]]);
        await_true("the keys", || issuer.admits(&server, &issuer.keys[0]));
        assert_eq!(others[3].count(Endpoint::Keys), 0);
    }
}

#[test]
fn https_is_not_redirected_to_http_on_this_machine() {
    let issuer = Issuer::new("main", Provider::https(Certificate::Good), Part::Set);
    let plain = Provider::http();
    plain.publish(&[&issuer.keys[0]]);
    issuer.provider.answer(Endpoint::Keys, Reply::redirect(&plain.keys_url()));
    let mut server = start(&[&issuer], "refresh=1s");
    issuer.expect_failure(&mut server);
    issuer.await_failure(&server, &format!("was redirected to `{}`; keys come over https only", plain.keys_url()));
    assert_eq!(issuer.request(&server, &issuer.keys[0]).status(), 503);
    assert_eq!(plain.connections(), 0);
}

#[test]
fn the_log_tells_which_spelling_of_the_issuer_was_expected() {
    for (configured, says, remedy) in [("", "/", "write it with `/` at its end"), ("/", "", "write it without `/`")] {
        let site = Site::new();
        let issuer = Issuer::new("main", Provider::https(Certificate::Good).at("/tenant"), Part::Found);
        let [base, configured] = [issuer.provider.issuer(), issuer.provider.issuer() + configured];
        issuer.provider.describe(&(base.clone() + says), &issuer.provider.keys_url());
        let line = issuer.directive(&site, "refresh=1s").replace(&format!(" {base} "), &format!(" {configured} "));
        let mut server = site.start(&format!("{GATED}{line}"));
        issuer.expect_failure(&mut server);
        let texts = format!("the document says issuer `{base}{says}`, the configuration and tokens `{configured}`");
        issuer.await_failure(&server, &format!("{texts}: {remedy}"));
        issuer.provider.describe(&configured, &issuer.provider.keys_url());
        let token = |iss: &str| server.get("/").bearer(issuer.provider.token(&issuer.keys[0]).claim("iss", iss).sign());
        await_true("the keys", || token(&configured).status() == 200);
        server.refused(&token(&(base + says)), 401, "issuer-unknown");
    }
}

#[test]
fn a_private_authority_must_be_named() {
    let issuer = Issuer::new("main", Provider::https(Certificate::Good), Part::Found);
    let site = Site::new();
    let named = issuer.directive(&site, "refresh=1s");
    let (unnamed, _) = named.split_once(" ca=").unwrap();
    let mut server = site.start(&format!("{GATED}{unnamed}\n"));
    issuer.expect_failure(&mut server);
    issuer.await_failure(&server, "`ca=PATH`");
    server.refused(&issuer.request(&server, &issuer.keys[0]), 503, "keys-unavailable");
    server.graceful_with(&format!("{GATED}{named}"));
    await_true("the keys", || issuer.admits(&server, &issuer.keys[0]));
}

#[test]
fn keys_of_the_same_name_are_both_tried() {
    let provider = Provider::https(Certificate::Good);
    let same = [Signer::ec("ES256", "same"), Signer::ec("ES256", "same"), Signer::ed25519("same")];
    provider.publish(&same.each_ref());
    let issuer =
        Issuer { name: "main".to_owned(), provider, part: Part::Set, keys: [0, 1].map(|_| Signer::ed25519("x")) };
    let server = start(&[&issuer], "");
    issuer.await_everywhere(&server, &same[0]);
    for key in &same {
        assert!(issuer.admits(&server, key));
    }
    server.refused(&issuer.request(&server, &Signer::ec("ES256", "same")), 401, "signature-invalid");
}

#[test]
fn keys_that_cannot_be_used_are_skipped_and_spoken_of_once() {
    let issuer = Issuer::new("main", Provider::https(Certificate::Good), Part::Set);
    let keys = |key: &Signer| Reply::key_set(&[unusable_keys(), vec![key.jwk()]].concat());
    issuer.provider.answer(Endpoint::Keys, keys(&issuer.keys[0]));
    let mut server = start(&[&issuer], "refresh=1s");
    server.expect_log(&issuer.line("JG2203"));
    await_true("the keys", || issuer.admits(&server, &issuer.keys[0]));
    let url = issuer.provider.keys_url();
    let names = ["for-encryption", "x25519", "ml-dsa", "new", "typeless"];
    server.await_log_lines(names.len(), "JG2203");
    let skipped = issuer.lines(&server, "JG2203");
    for name in names {
        let count = skipped.iter().filter(|line| line.contains(&format!("{url}: key \"{name}\": "))).count();
        assert_eq!(count, 1, "{name}: {skipped:#?}");
    }
    issuer.provider.await_fetch(3);
    issuer.provider.answer(Endpoint::Keys, keys(&issuer.keys[1]));
    await_true("the new key", || issuer.admits(&server, &issuer.keys[1]));
    // Once for each set.
    server.await_log_lines(2 * names.len(), "JG2203");
}

/// While one provider does not answer at all.
mod hanging {
    use super::*;

    #[test]
    fn nobody_waits_where_there_are_no_keys() {
        let issuer = Issuer::new("main", Provider::https(Certificate::Good), Part::Set);
        let good = Issuer::new("good", Provider::https(Certificate::Good), Part::Set);
        issuer.provider.behave(Endpoint::Keys, Manner::Never);
        let mut server = start(&[&issuer, &good], "refresh=1s cooldown=1s timeout=15s");
        await_true("a fetch that hangs", || issuer.provider.open(Endpoint::Keys) == 1);
        await_true("the good keys", || good.admits(&server, &good.keys[0]));
        let request = issuer.request(&server, &issuer.keys[0]);
        for _ in 0..50 {
            assert_eq!(request.status(), 503);
        }
        // The other issuer's keys are fetched on schedule and on demand.
        good.provider.await_fetch(3);
        good.provider.publish(&[&good.keys[1]]);
        await_true("the new key", || good.admits(&server, &good.keys[1]));
        // All that happened within the first fetch.
        assert_eq!((issuer.provider.count(Endpoint::Keys), issuer.provider.open(Endpoint::Keys)), (1, 1));
        server.assert_running();
    }

    #[test]
    fn tokens_of_new_keys_wait_and_nothing_else_does() {
        const WAITING: usize = 4;
        let issuer = Issuer::new("main", Provider::https(Certificate::Good), Part::Set);
        let good = Issuer::new("good", Provider::https(Certificate::Good), Part::Set);
        let mut server = start(&[&issuer, &good], "cooldown=1h timeout=6s");
        issuer.expect_failure(&mut server);
        for issuer in [&issuer, &good] {
            issuer.await_everywhere(&server, &issuer.keys[0]);
        }
        let refused = server.log.count("keys-unavailable");
        issuer.provider.behave(Endpoint::Keys, Manner::Never);
        let mut waiting: Vec<_> = (0..WAITING).map(|_| server.connect()).collect();
        for connection in &mut waiting {
            connection.send(issuer.request(&server, &issuer.keys[1]).bytes());
        }
        await_true("a fetch that hangs", || issuer.provider.open(Endpoint::Keys) == 1);
        for _ in 0..20 {
            assert!(issuer.admits(&server, &issuer.keys[0]));
            assert!(good.admits(&server, &good.keys[0]));
        }
        assert_eq!(issuer.provider.open(Endpoint::Keys), 1, "the provider still says nothing");
        assert_eq!(server.log.count("keys-unavailable"), refused, "nor was anybody refused meanwhile");
        for mut connection in waiting {
            let answer = connection.answer();
            assert_eq!(answer.status, 503);
            let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
        }
        assert_eq!(server.log.count("keys-unavailable"), refused + WAITING);
        assert_eq!(issuer.provider.count(Endpoint::Keys), 2, "one fetch for all of them");
        issuer.await_failure(&server, "no answer within 6000ms");
        assert!(issuer.admits(&server, &issuer.keys[0]));
    }

    #[test]
    fn the_end_of_the_server_does_not_wait() {
        let issuer = Issuer::new("main", Provider::https(Certificate::Good), Part::Set);
        issuer.provider.behave(Endpoint::Keys, Manner::Never);
        let mut server = start(&[&issuer], "timeout=15s");
        await_true("a fetch that hangs", || issuer.provider.open(Endpoint::Keys) == 1);
        server.graceful();
        await_true("the fetch of the old children to end", || issuer.provider.count(Endpoint::Keys) == 2);
        drop(server);
        await_true("no more fetches", || issuer.provider.open(Endpoint::Keys) == 0);
    }
}

/// When the next fetch is, as the log tells after a good one.
mod schedule {
    use super::*;

    /// Seconds, by directive.
    fn next_fetches(cases: &[(&str, &str)]) -> Vec<f64> {
        let issuers: Vec<Issuer> = cases
            .iter()
            .enumerate()
            .map(|(number, (cache_control, _))| {
                let issuer = Issuer::new(&format!("i{number}"), Provider::http(), Part::Set);
                let mut reply = Reply::keys(&[&issuer.keys[0]]);
                if !cache_control.is_empty() {
                    reply = reply.header("Cache-Control", cache_control);
                }
                issuer.provider.answer(Endpoint::Keys, reply);
                issuer
            })
            .collect();
        let site = Site::new();
        let directives = issuers.iter().zip(cases).map(|(issuer, (_, options))| issuer.directive(&site, options));
        let directives: String = directives.collect();
        let mut server = site.start(&format!("{GATED}{directives}"));
        let mut found = Vec::new();
        for issuer in &issuers {
            server.expect_log(&issuer.line("JG2201"));
            await_true("the first keys", || !issuer.lines(&server, "JG4001").is_empty());
            let line = issuer.lines(&server, "JG4001").remove(0);
            found.push(seconds(line.split_once("; next fetch in ").unwrap().1));
        }
        found
    }

    /// Reads a span of time as the log shows it, such as `9 min 31 s`.
    fn seconds(shown: &str) -> f64 {
        let words: Vec<_> = shown.split(' ').collect();
        let unit = |unit| match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            other => panic!("{other} in {shown}"),
        };
        words.chunks(2).map(|part| part[0].parse::<f64>().unwrap() * unit(part[1])).sum()
    }

    #[test]
    fn the_provider_may_choose_it_within_bounds() {
        const MIN: f64 = 60.0;
        const H: f64 = 3600.0;
        let cases = [
            ("", "", 10.0 * MIN),
            ("public", "", 10.0 * MIN),
            ("max-age=300", "", 5.0 * MIN),
            ("public, Max-Age=1800, must-revalidate", "", 30.0 * MIN),
            ("max-age=\"120\"", "", 2.0 * MIN),
            ("max-age=60", "", MIN),
            ("max-age=59", "", 10.0 * MIN),
            ("max-age=0", "", 10.0 * MIN),
            ("max-age=86400", "stale=3d", 24.0 * H),
            ("max-age=86401", "stale=3d", 10.0 * MIN),
            ("max-age=99999999999999999999", "stale=3d", 10.0 * MIN),
            ("max-age=many", "", 10.0 * MIN),
            ("s-maxage=60", "", 10.0 * MIN),
            ("max-age=120", "refresh=1h", H),
            ("max-age=86400", "refresh=5m", 5.0 * MIN),
        ];
        let found = next_fetches(&cases.map(|(cache_control, options, _)| (cache_control, options)));
        let wrong: Vec<_> = cases
            .iter()
            .zip(found)
            // 10 % of jitter, and what the log does not show
            .filter(|((_, _, meant), found)| !(0.9 * meant - 61.0..=1.1 * meant + 1.0).contains(found))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn it_is_never_after_the_keys_have_become_too_old() {
        let cases =
            [("max-age=86400", "stale=20m"), ("max-age=86400", ""), ("", "refresh=99s stale=100s"), ("", "stale=601s")];
        let limits = [1200.0, 86_400.0, 100.0, 601.0];
        let mut wrong = Vec::new();
        for (case, limit) in cases.into_iter().zip(limits) {
            // Several times, since some jitter is in it.
            let found = next_fetches(&[case; 12]);
            wrong.extend(found.into_iter().filter(|found| *found >= limit).map(|found| (case, found)));
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
