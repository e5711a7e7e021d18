//! `JwtGateIssuer` with keys that are fetched: which mistakes `httpd -t` finds, who shares what is fetched, and that a
//! start needs no network.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::harness::certificates::{Authority, Certificate};
use crate::harness::provider::{Door, Endpoint, Reply};
use crate::harness::{GATED, Mpm, Provider, Server, Signer, Site, await_key_files, await_true};

/// What follows `JwtGateIssuer` in configurations that are good.
const GOOD: &[&str] = &[
    "a https://a.test audience=api",
    "a https://a.test/ audience=api",
    "a https://a.test:8443/realms/main audience=api discovery",
    "a https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab12Cd34E audience=x profile=cognito",
    "a https://a.test audience=api jwks=https://keys.test/a/b?tenant=1",
    "a https://[2001:db8::1]:8443/a audience=api",
    "a urn:login audience=api jwks=https://keys.test/keys",
    "a login audience=api jwks=https://keys.test/keys",
    "a http://a.test audience=api jwks=https://keys.test/keys",
    "a https://a.test?x=1 audience=api jwks=https://keys.test/keys",
    "a https://a.test audience=api refresh=1s stale=30d cooldown=1s timeout=100ms",
    "a https://a.test audience=api refresh=29d stale=30d cooldown=60m timeout=15s",
    "a https://a.test audience=api stale=1s",
    "a https://a.test audience=api ca=keys/ca.pem",
    "a https://a.test audience=api ca=${ROOT}/keys/two.pem",
    "a https://a.test audience=api algorithms=RS512,ES512",
];

/// The same from this machine, which is warned about.
const PLAIN: &[&str] = &[
    "a http://127.0.0.1 audience=api",
    "a http://localhost:8080/realms/main audience=api",
    "a https://a.test audience=api jwks=http://[::1]:8080/keys",
    "a https://a.test audience=api jwks=http://127.0.0.1:8080/keys",
];

/// What follows `JwtGateIssuer` in configurations that are not, and what the message must name.
const BAD: &[(&str, &[&str])] = &[
    ("a https://a.test audience=api refrsh=5m", &["refrsh", "reference.conf"]),
    ("a https://a.test audience=api discovery=on", &["discovery"]),
    ("a https://a.test audience=api Refresh=5m", &["Refresh"]),
    ("a https://a.test audience=api keys=https://a.test/keys", &["keys="]),
    ("a https://a.test audience=api jwks", &["jwks"]),
    ("a https://a.test audience=api jwks=", &["jwks"]),
    ("a https://a.test", &["audience="]),
    // addresses
    ("a https://a.test audience=api jwks=http://a.test/keys", &["http://a.test/keys", "https://"]),
    ("a https://a.test audience=api jwks=http://127.0.0.1.a.test/keys", &["http://127.0.0.1.a.test/keys", "https://"]),
    ("a https://a.test audience=api jwks=http://localhost.a.test/keys", &["http://localhost.a.test/keys", "https://"]),
    ("a https://a.test audience=api jwks=http://10.0.0.1/keys", &["http://10.0.0.1/keys", "https://"]),
    ("a https://a.test audience=api jwks=http://0.0.0.0/keys", &["http://0.0.0.0/keys", "https://"]),
    ("a https://a.test audience=api jwks=http://127.0.0.1@a.test/keys", &["jwks="]),
    ("a https://a.test audience=api jwks=ftp://a.test/keys", &["ftp://a.test/keys", "https://"]),
    ("a https://a.test audience=api jwks=a.test/keys", &["a.test/keys", "https://"]),
    ("a https://a.test audience=api jwks=keys/all.jwks", &["keys/all.jwks", "https://"]),
    ("a https://a.test audience=api jwks=https://", &["jwks=https://", "HOST"]),
    ("a https://a.test audience=api jwks=https:///keys", &["jwks=https:///keys", "HOST"]),
    ("a https://a.test audience=api jwks=https://a.test:0/keys", &["a.test:0", "port"]),
    ("a https://a.test audience=api jwks=https://a.test:65536/keys", &["a.test:65536", "port"]),
    ("a https://a.test audience=api jwks=https://user:pw@a.test/keys", &["jwks=", "@"]),
    ("a https://a.test audience=api jwks=https://user@a.test/keys", &["jwks=", "@"]),
    ("a https://a.test audience=api jwks=https://a.test/keys#first", &["jwks=https://a.test/keys#first", "`#`"]),
    ("a https://a.test audience=api \"jwks=https://a.test/the keys\"", &["jwks=", "%XX"]),
    ("a https://a.test audience=api jwks=https://ä.test/keys", &["jwks=", "xn--"]),
    // issuers that discovery cannot begin with
    ("a http://a.test audience=api", &["http://a.test", "https://"]),
    ("a login audience=api", &["login", "jwks="]),
    ("a urn:login audience=api", &["urn:login", "jwks="]),
    ("a //a.test audience=api", &["//a.test", "jwks="]),
    ("a https://user:pw@a.test audience=api", &["discovery", "@"]),
    ("a https://a.test?tenant=1 audience=api", &["https://a.test?tenant=1", "jwks="]),
    ("a https://a.test#x audience=api", &["https://a.test#x", "#"]),
    ("a login audience=api discovery", &["login", "jwks="]),
    // tokens without issuer
    ("a - audience=api", &["-", "secret=", "jwks=file:"]),
    ("a - audience=api discovery", &["iss", "secret=", "jwks=file:"]),
    ("a - audience=api jwks=https://a.test/keys", &["iss", "secret=", "jwks=file:"]),
    // two sources
    ("a https://a.test audience=api discovery discovery", &["two key sources", "discovery"]),
    ("a https://a.test audience=api discovery jwks=https://a.test/keys", &["two key sources", "discovery", "jwks="]),
    ("a https://a.test audience=api jwks=https://a.test/1 jwks=https://a.test/2", &["two key sources", "jwks="]),
    ("a https://a.test audience=api jwks=https://a.test/1 jwks=file:keys/all.jwks", &["two key sources", "jwks="]),
    ("a https://a.test audience=api discovery pem=keys/rs256.pem", &["two key sources", "discovery", "pem="]),
    ("a https://a.test audience=api secret=keys/hs256.secret discovery", &["two key sources", "discovery", "secret="]),
    // times
    ("a https://a.test audience=api refresh=1h stale=1h", &["refresh=", "stale="]),
    ("a https://a.test audience=api stale=1h refresh=2h", &["refresh=", "stale="]),
    ("a https://a.test audience=api refresh=24h", &["refresh=", "stale="]),
    ("a https://a.test audience=api refresh=60m stale=1h", &["refresh=", "stale="]),
    ("a https://a.test audience=api refresh=999ms", &["refresh=999ms", "1s", "30d"]),
    ("a https://a.test audience=api refresh=31d stale=30d", &["refresh=31d", "1s", "30d"]),
    ("a https://a.test audience=api stale=999ms", &["stale=999ms", "1s", "30d"]),
    ("a https://a.test audience=api stale=31d", &["stale=31d", "1s", "30d"]),
    ("a https://a.test audience=api cooldown=0s", &["cooldown=0s", "1s", "3600s"]),
    ("a https://a.test audience=api cooldown=3601s", &["cooldown=3601s", "1s", "3600s"]),
    ("a https://a.test audience=api timeout=99ms", &["timeout=99ms", "100ms", "15s"]),
    ("a https://a.test audience=api timeout=16s", &["timeout=16s", "100ms", "15s"]),
    ("a https://a.test audience=api timeout=0s", &["timeout=0s", "100ms", "15s"]),
    ("a https://a.test audience=api refresh=5", &["refresh=", "5", "unit"]),
    ("a https://a.test audience=api refresh=-5m", &["refresh=", "-5m"]),
    ("a https://a.test audience=api refresh=1.5m", &["refresh=", "1.5m"]),
    ("a https://a.test audience=api refresh=99999999999999999999d", &["refresh="]),
    ("a https://a.test audience=api timeout=", &["timeout"]),
    ("a https://a.test audience=api timeout=1s timeout=2s", &["timeout="]),
    // options that are about something else
    ("a https://a.test audience=api pem=keys/rs256.pem refresh=1m", &["refresh=", "files"]),
    ("a https://a.test audience=api jwks=file:keys/all.jwks ca=keys/ca.pem", &["ca=", "files"]),
    ("a https://a.test audience=api secret=keys/hs256.secret timeout=1s", &["timeout=", "files"]),
    ("a https://a.test audience=api algorithms=HS256", &["HS256", "secret="]),
    // authorities
    ("a https://a.test audience=api ca=", &["ca"]),
    ("a https://a.test audience=api ca=keys/ca.pem ca=keys/ca.pem", &["ca="]),
    ("a https://a.test audience=api ca=keys/absent.pem", &["ca=", "keys/absent.pem"]),
    ("a https://a.test audience=api ca=keys", &["ca=", "keys"]),
    ("a https://a.test audience=api ca=keys/empty.pem", &["ca=", "empty.pem", "certificate"]),
    ("a https://a.test audience=api ca=keys/rs256.pem", &["ca=", "rs256.pem", "certificate"]),
    ("a https://a.test audience=api ca=keys/ca.der", &["ca=", "ca.der", "openssl x509"]),
    ("a https://a.test audience=api ca=keys/server.key", &["ca=", "server.key", "private key"]),
    ("a https://a.test audience=api ca=keys/with-key.pem", &["ca=", "with-key.pem", "private key"]),
    ("a https://a.test audience=api ca=keys/broken.pem", &["ca=", "broken.pem"]),
];

/// A site with the files that the tables name.
fn site() -> Site {
    let site = Site::new();
    let (authority, other) = (Authority::new(), Authority::new());
    authority.write(&site.root.join("keys"));
    let key = fs::read_to_string(site.root.join("keys/server.key")).unwrap();
    site.write("keys/two.pem", authority.pem() + &other.pem());
    site.write("keys/with-key.pem", authority.pem() + &key);
    site.write("keys/empty.pem", "");
    site.write("keys/broken.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    site.write("keys/ca.der", b"\x30\x82\x01\x0a\x30\x81\xb1\xa0\x03\x02\x01\x02");
    site
}

#[test]
fn good_sources_pass() {
    let site = site();
    for line in GOOD.iter().chain(PLAIN) {
        let check = site.configtest(&format!("JwtGateIssuer {line}\n"));
        assert!(check.passed, "refused: {line}\n{}", check.output);
        assert_eq!(check.output.contains("JG2201"), PLAIN.contains(line), "{line}\n{}", check.output);
    }
    assert!(!site.root.join("state").exists(), "a check makes nothing");
}

#[test]
fn mistakes_are_named() {
    let site = site();
    let mut faults = Vec::new();
    for (line, named) in BAD {
        let check = site.configtest(&format!("JwtGateIssuer {line}\n"));
        let absent: Vec<_> =
            ["JwtGateIssuer"].iter().chain(*named).filter(|text| !check.output.contains(**text)).collect();
        if check.passed || !absent.is_empty() {
            faults.push(format!("{line}\npassed: {}, absent: {absent:?} in {}", check.passed, check.output));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), BAD.len(), faults.join("\n"));
}

#[test]
fn the_state_folder_is_one_for_the_server() {
    let site = site();
    for (directives, named) in [
        ("<VirtualHost *:1>\nJwtGateStateDir state\n</VirtualHost>", "JwtGateStateDir"),
        ("<Location \"/\">\nJwtGateStateDir state\n</Location>", "JwtGateStateDir not allowed"),
        ("<Directory \"/\">\nJwtGateStateDir state\n</Directory>", "JwtGateStateDir not allowed"),
        ("JwtGateStateDir", "JwtGateStateDir"),
        ("JwtGateStateDir a b", "JwtGateStateDir"),
        ("JwtGateStateDir \"\"", "JwtGateStateDir"),
    ] {
        let check = site.configtest(directives);
        assert!(!check.passed && check.output.contains(named), "{directives}\n{}", check.output);
    }
    for directives in ["JwtGateStateDir state", "JwtGateStateDir ${ROOT}/not/there/yet"] {
        let check = site.configtest(directives);
        assert!(check.passed, "{directives}\n{}", check.output);
    }
}

#[test]
fn a_check_asks_nobody() {
    let provider = Provider::http();
    let site = site();
    let check = site.configtest(&format!("JwtGateIssuer a {} audience=api timeout=15s\n", provider.issuer()));
    assert!(check.passed, "{}", check.output);
    assert!(check.output.contains("JG2201 JwtGateIssuer a ("), "{}", check.output);
    assert_eq!(provider.connections(), 0);
}

#[test]
fn a_bad_authority_file_does_not_keep_a_server_from_starting() {
    let provider = Provider::https(Certificate::Good);
    let key = Signer::ec("ES256", "key");
    provider.publish(&[&key]);
    let site = site();
    let issuers = |ca: [&str; 2]| {
        let [issuer, keys] = [provider.issuer(), provider.keys_url()];
        format!(
            "{GATED}JwtGateIssuer a {issuer} audience=api ca=keys/{}
            JwtGateIssuer b https://b.test audience=api jwks={keys} ca=keys/{}",
            ca[0], ca[1]
        )
    };
    let mut server = site.start(&issuers(["absent.pem", "server.key"]));
    for (name, said) in [("a", "keys/absent.pem`: cannot be read"), ("b", "keys/server.key`: there is a private key")] {
        let begin = format!("JwtGateIssuer {name} (");
        server.expect_log(&begin);
        server.await_log(&begin);
        let log = server.log.text();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&begin)).collect();
        assert!(lines.iter().any(|line| line.contains("`ca=") && line.contains(said)), "{said}: {lines:#?}");
    }
    let requests = [provider.issuer(), "https://b.test".to_owned()]
        .map(|issuer| server.get("/").bearer(provider.token(&key).claim("iss", issuer).sign()));
    for request in &requests {
        server.refused(request, 503, "keys-unavailable");
    }
    assert_eq!(provider.connections(), 0, "nobody is asked who cannot be told from others");
    server.write("keys/ca.pem", provider.ca_pem());
    server.graceful_with(&issuers(["ca.pem", "ca.pem"]));
    for request in &requests {
        await_true("the keys", || request.status() == 200);
    }
}

#[test]
fn authorities_are_read_at_the_start() {
    let provider = Provider::https(Certificate::Good);
    let key = Signer::ec("ES256", "key");
    provider.publish(&[&key]);
    let site = Site::new();
    site.write("keys/ca.pem", provider.ca_pem());
    site.chmod("keys/ca.pem", 0o600);
    let options = "audience=api refresh=1s ca=keys/ca.pem";
    let mut server = site.start(&format!("{GATED}JwtGateIssuer a {} {options}\n", provider.issuer()));
    await_true("the keys", || server.get("/").bearer(provider.token(&key).sign()).status() == 200);
    fs::remove_file(server.root.join("keys/ca.pem")).unwrap();
    // Also a process that begins to fetch later goes on with what the start has read.
    let pid = server.fetcher();
    server.kill_child(pid);
    provider.await_fetch(provider.count(Endpoint::Keys) + 2);
}

#[test]
fn plain_http_is_warned_about_at_start() {
    let (plain, tls) = (Provider::http(), Provider::https(Certificate::Good));
    let site = Site::new();
    site.write("keys/ca.pem", tls.ca_pem());
    let mut server = site.start(&format!(
        "{GATED}JwtGateIssuer discovered {} audience=api
        JwtGateIssuer named https://b.test audience=api jwks={}
        JwtGateIssuer safe {} audience=api ca=keys/ca.pem",
        plain.issuer(),
        plain.keys_url(),
        tls.issuer()
    ));
    for (name, warned) in [("discovered", 1), ("named", 1), ("safe", 0)] {
        assert_eq!(server.log.count(&format!("JG2201 JwtGateIssuer {name} (")), warned, "{name}");
    }
    server.expect_log("JG2201");
    // Nobody published keys here.
    server.expect_log("JG4002");
    for provider in [&plain, &tls] {
        provider.await_fetch(1);
    }
    server.await_log("JG4002");
}

#[test]
fn issuers_of_one_address_are_fetched_once() {
    let provider = Provider::https(Certificate::Good);
    let key = Signer::ec("ES256", "key");
    provider.publish(&[&key]);
    let site = Site::new();
    site.write("keys/ca.pem", provider.ca_pem());
    let issuers = |names: &[&str]| -> String {
        let line = |name: &&str| format!("JwtGateIssuer {name} {} audience={name} ca=keys/ca.pem\n", provider.issuer());
        names.iter().map(line).collect()
    };
    let sections = |names: &[&str]| -> String {
        let section = |name: &&str| format!("<Location \"/{name}\">\nJwtGate on\nJwtGateIssuers {name}\n</Location>\n");
        names.iter().map(section).collect()
    };
    let (first, second) = (["all", "a", "b"], ["all", "c", "d"]);
    let host = |port: &str, own: &[&str], sections: &str| {
        format!(
            "<VirtualHost 127.0.0.1:${{{port}}}>\n{}ProxyPass / ${{APP}}/\n{sections}</VirtualHost>\n",
            issuers(&own[1..])
        )
    };
    let directives =
        [issuers(&["all"]), host("PORT", &first, &sections(&first)), host("PORT2", &second, &sections(&second))];
    let mut server = site.start(&directives.concat());
    let hosts = [(server.address(), first), (server.second_address(), second)];
    let request = |server: &Server, address, path: &str, audience: &str| {
        server.get(&format!("/{path}")).to(address).bearer(provider.token(&key).claim("aud", audience).sign())
    };
    let check = |server: &Server| {
        for (address, names) in hosts {
            for path in names {
                await_true("the keys", || request(server, address, path, path).status() == 200);
            }
        }
        for endpoint in [Endpoint::OpenId, Endpoint::Keys] {
            assert_eq!(provider.count(endpoint), 1, "{endpoint:?}");
        }
        server.await_log_lines(1, "JG4001");
    };
    check(&server);
    for (address, names) in hosts {
        for path in names {
            for audience in names.iter().filter(|audience| **audience != path) {
                server.refused(&request(&server, address, path, audience), 401, "audience-mismatch");
            }
        }
    }
    // Nor does a restart fetch what is still fresh.
    server.graceful();
    check(&server);
    assert_eq!(provider.connections(), 2);
}

#[test]
fn tokens_are_judged_by_the_keys_of_their_own_issuer() {
    let providers = ["", "/one", "/two"].map(|path| Provider::https(Certificate::Good).at(path));
    // The same kid everywhere.
    let keys = [0; 3].map(|_| Signer::ec("ES256", "kid"));
    let site = Site::new();
    let mut directives = GATED.to_owned();
    for (number, (provider, key)) in providers.iter().zip(&keys).enumerate() {
        provider.publish(&[key]);
        site.write(&format!("keys/{number}.pem"), provider.ca_pem());
        directives += &format!("JwtGateIssuer i{number} {} audience=api ca=keys/{number}.pem\n", provider.issuer());
        directives += &format!("<Location \"/{number}\">\nJwtGateIssuers i{number}\n</Location>\n");
    }
    directives += "<Location \"/both\">\nJwtGateIssuers i0 i2\n</Location>\n";
    let server = site.children(1).start(&directives);
    let request =
        |target: &str, issuer: usize, key: usize| server.get(target).bearer(providers[issuer].token(&keys[key]).sign());
    for number in 0..3 {
        await_true("the keys", || request("/", number, number).status() == 200);
        assert_eq!(request(&format!("/{number}"), number, number).status(), 200);
        for other in (0..3).filter(|other| *other != number) {
            server.refused(&request("/", number, other), 401, "signature-invalid");
            server.refused(&request(&format!("/{number}"), other, other), 401, "issuer-unknown");
        }
    }
    assert_eq!([0, 2].map(|number| request("/both", number, number).status()), [200, 200]);
    server.refused(&request("/both", 1, 1), 401, "issuer-unknown");
}

/// Providers that cannot be had, and the directives that name them and more of the kind.
fn out_of_reach(site: &Site) -> (Vec<Provider>, String) {
    let [closed, mute, redirected] = [0; 3].map(|_| Provider::https(Certificate::Good));
    closed.door(Door::Closed);
    mute.door(Door::Mute);
    redirected.answer(Endpoint::OpenId, Reply::redirect("https://name.invalid/"));
    let mut directives = String::new();
    for (name, provider) in [("closed", &closed), ("mute", &mute), ("redirected", &redirected)] {
        site.write(&format!("keys/{name}.pem"), provider.ca_pem());
        let issuer = provider.issuer();
        directives += &format!("JwtGateIssuer {name} {issuer} audience=api timeout=1s ca=keys/{name}.pem\n");
    }
    // A name that nobody has (RFC 6761 section 6.4).
    directives += "JwtGateIssuer nameless https://name.invalid audience=api timeout=1s ca=keys/mute.pem\n";
    (vec![closed, mute, redirected], directives)
}

#[test]
fn a_start_needs_no_network() {
    for mpm in Mpm::ALL {
        let site = Site::new().mpm(mpm);
        let (providers, directives) = out_of_reach(&site);
        let check = site.configtest(&format!("{GATED}{directives}"));
        assert!(check.passed, "{}", check.output);
        let open = "<Location \"/open\">\nJwtGate off\n</Location>\n";
        let mut server = site.start(&format!("{GATED}{directives}{open}"));
        assert_eq!(server.get("/open").status(), 200);
        let token = providers[1].token(&server.keys.es256).sign();
        assert_eq!(server.get("/").bearer(&token).status(), 503);
        for name in ["closed", "mute", "redirected", "nameless"] {
            let line = format!("JG4002 JwtGateIssuer {name} (");
            server.await_log(&line);
            server.expect_log(&line);
        }
        server.graceful();
        assert_eq!(server.get("/open").status(), 200);
        assert_eq!(server.get("/").bearer(&token).status(), 503);
    }
}

#[test]
fn a_start_does_not_wait_for_the_first_fetch() {
    let provider = Provider::https(Certificate::Good);
    provider.door(Door::Mute);
    let site = Site::new();
    site.write("keys/ca.pem", provider.ca_pem());
    let options = "audience=api timeout=15s ca=keys/ca.pem";
    let mut server = site.start(&format!("{GATED}JwtGateIssuer a {} {options}\n", provider.issuer()));
    assert_eq!(server.get("/").bearer(provider.token(&server.keys.es256).sign()).status(), 503);
    await_true("a fetch that hangs", || provider.connections() == 1);
    server.graceful();
    assert_eq!(server.get("/").bearer(provider.token(&server.keys.es256).sign()).status(), 503);
    assert_eq!(server.log.count("JG4002"), 0, "the first fetch is not over");
}

#[test]
fn a_server_without_root_fetches_and_keeps_its_keys() {
    for mpm in Mpm::ALL {
        let provider = Provider::https(Certificate::Good);
        let keys = [Signer::ec("ES256", "one"), Signer::ec("ES256", "two")];
        provider.publish(&[&keys[0]]);
        let site = Site::new().mpm(mpm);
        site.write("keys/ca.pem", provider.ca_pem());
        let options = "audience=api refresh=1s ca=keys/ca.pem";
        let mut server =
            site.unprivileged().start(&format!("{GATED}JwtGateIssuer a {} {options}\n", provider.issuer()));
        let passes = |server: &Server, key| server.get("/").bearer(provider.token(key).sign()).status() == 200;
        await_true("the keys", || passes(&server, &keys[0]));
        let owner = fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid();
        assert_ne!(owner, 0);
        let folder = server.root.join("state");
        for path in await_key_files(&folder, 1).into_iter().chain([folder]) {
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.permissions().mode() & 0o077), (owner, 0), "{}", path.display());
        }
        server.graceful();
        assert!(passes(&server, &keys[0]), "{mpm:?}");
        provider.publish(&[&keys[1]]);
        await_true("the new keys", || passes(&server, &keys[1]));
    }
}
