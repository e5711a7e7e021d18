//! `httpd -t`: every good value passes, every mistake is named with directive, value and remedy.

use crate::harness::{MAIN, Mpm, Site, Token};

/// Asserts that `httpd -t` finds a mistake and that its message has all of these in it.
fn assert_mistake(site: &Site, directives: &str, named: &[&str]) {
    assert_eq!(mistake(site, directives, named), None);
}

/// What is wrong with the message of `httpd -t` on a mistake.
fn mistake(site: &Site, directives: &str, named: &[&str]) -> Option<String> {
    let check = site.configtest(directives);
    if check.passed {
        return Some(format!("passed: {directives}"));
    }
    let absent = named.iter().find(|text| !check.output.contains(*text))?;
    Some(format!("no {absent:?} in the message on\n{directives}\n{}", check.output))
}

/// Asserts that all of these are mistakes, and shows those that are not found or not named.
fn assert_mistakes(site: &Site, cases: &[(&str, &[&str])], around: impl Fn(&str) -> String) {
    let faults: Vec<String> =
        cases.iter().filter_map(|(directives, named)| mistake(site, &around(directives), named)).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

fn assert_good(site: &Site, directives: &str) {
    let check = site.configtest(directives);
    assert!(check.passed, "refused: {directives}\n{}", check.output);
}

/// Each of these stands in a `<Location>`.
const GOOD: &[&str] = &[
    "JwtGate on",
    "JwtGate off",
    "JwtGate dry-run",
    "JwtGateIssuers main",
    "JwtGateToken required",
    "JwtGateToken optional",
    "JwtGateToken none",
    "JwtGateCredentials bearer",
    "JwtGateCredentials bearer header:X-Token cookie:session query:access_token",
    "JwtGateAllow 10.0.0.0/8 192.0.2.1 2001:db8::/32 ::1 @office",
    "JwtGateAllow peer:10.0.0.0/8 peer:@office",
    "JwtGateAllow none",
    "JwtGateDeny 0.0.0.0/0 ::/0",
    "JwtGateDeny none",
    "JwtGateAllow dry-run 10.0.0.0/8 @office",
    "JwtGateAllow dry-run none",
    "JwtGateDeny dry-run peer:10.0.0.0/8 @office",
    "JwtGateDeny dry-run none",
    "JwtGateDeny 10.0.0.0/8\nJwtGateDeny dry-run 11.0.0.0/8",
    "JwtGateLockout failures=10/5m",
    "JwtGateLockout failures=1/1s block=30d count=backend",
    "JwtGateLockout count=backend block=1s failures=100/30d",
    "JwtGateLockout off",
    "JwtGateLimit a key=global rate=100/s",
    "JwtGateLimit b key=address rate=5/m burst=10",
    "JwtGateLimit c key=subject+address rate=1000/h burst=1",
    "JwtGateLimit d key=claim:team rate=10000/d exempt=@office",
    "JwtGateLimit e key=peer rate=1/s\nJwtGateLimit f key=client rate=1/s\nJwtGateLimit g key=issuer rate=1/s",
    "JwtGateLimit h key=global rate=1/s dry-run",
    "JwtGateLimit i key=subject rate=1/s burst=5 quota=100/day plan-claim=tier default-plan=gold dry-run exempt=@office",
    "JwtGateLimit j key=address rate=1/s quota=100/week\nJwtGateLimit k key=global rate=1/s quota=1/month",
    "JwtGateLimit none",
    "JwtGateCors off",
    "JwtGateCors https://a.test http://localhost:5173 methods=GET headers=X-A expose=* max-age=1h credentials=off",
    "JwtGateResource off",
    "JwtGateResource https://a.test/api scopes=a,b documentation=https://a.test/doc \"name=An API\"",
    "JwtGateLimitHeaders on",
    "JwtGateLimitHeaders off",
    "JwtGateForward X-User subject",
    "JwtGateForward X-A issuer\nJwtGateForward X-B client\nJwtGateForward X-C scope\nJwtGateForward X-D claims",
    "JwtGateForward X-Mail claim:email",
    "JwtGateForward none",
    "JwtGateForwardCredentials on",
    "JwtGateForwardCredentials off",
    "JwtGateRealm \"my API\"",
    "JwtGateErrorBody problem",
    "JwtGateErrorBody httpd",
    "JwtGateTrace on",
    "JwtGateTrace off",
];

/// Each of these stands in a `<Location>`; what its message must name.
const BAD: &[(&str, &[&str])] = &[
    ("JwtGate yes", &["JwtGate", "yes"]),
    ("JwtGate", &["JwtGate"]),
    ("JwtGate on off", &["JwtGate"]),
    ("JwtGate dryrun", &["JwtGate", "dryrun", "dry-run"]),
    ("JwtGateIssuers nobody", &["JwtGateIssuers", "nobody", "JwtGateIssuer "]),
    ("JwtGateIssuers", &["JwtGateIssuers"]),
    ("JwtGateToken maybe", &["JwtGateToken", "maybe", "optional"]),
    ("JwtGateCredentials basic", &["JwtGateCredentials", "basic", "bearer"]),
    ("JwtGateCredentials header:", &["JwtGateCredentials", "header:"]),
    ("JwtGateCredentials \"header:X Token\"", &["JwtGateCredentials", "X Token"]),
    ("JwtGateCredentials \"cookie:a=b\"", &["JwtGateCredentials", "a=b"]),
    ("JwtGateCredentials query:", &["JwtGateCredentials", "query:"]),
    ("JwtGateCredentials bearer bearer", &["JwtGateCredentials", "bearer"]),
    ("JwtGateCredentials header:X-Key api-key:x-key", &["JwtGateCredentials", "api-key:x-key", "twice"]),
    ("JwtGateCredentials api-key:X-Key", &["JwtGateCredentials", "JwtGateApiKeys PATH"]),
    ("JwtGateCredentials bearer+api-key:X-Key", &["JwtGateCredentials", "JwtGateApiKeys PATH"]),
    (
        "JwtGateCredentials api-key:X-Key\nJwtGateForward x_key api-key",
        &["JwtGateCredentials api-key:X-Key", "JwtGateForward writes this header"],
    ),
    (
        "JwtGateCredentials bearer+api-key:X-Key\nJwtGateForward X-KEY api-key",
        &["JwtGateCredentials bearer+api-key:X-Key", "JwtGateForward writes this header"],
    ),
    ("JwtGateAllow", &["JwtGateAllow"]),
    ("JwtGateAllow 10.0.0.0/33", &["JwtGateAllow", "10.0.0.0/33"]),
    ("JwtGateAllow 10.0.0.1/8", &["JwtGateAllow", "10.0.0.1/8", "10.0.0.0/8"]),
    ("JwtGateAllow 2001:db8::1/32", &["JwtGateAllow", "2001:db8::1/32", "2001:db8::/32"]),
    ("JwtGateAllow 10.0.0", &["JwtGateAllow", "10.0.0"]),
    ("JwtGateAllow 010.0.0.1", &["JwtGateAllow", "010.0.0.1"]),
    ("JwtGateAllow localhost", &["JwtGateAllow", "localhost"]),
    ("JwtGateAllow @nobody", &["JwtGateAllow", "nobody", "JwtGateNetwork"]),
    ("JwtGateAllow peer:", &["JwtGateAllow", "peer:"]),
    ("JwtGateAllow fe80::1%eth0", &["JwtGateAllow", "fe80::1%eth0"]),
    ("JwtGateDeny 10.0.0.1/8", &["JwtGateDeny", "10.0.0.1/8"]),
    ("JwtGateDeny none 10.0.0.0/8", &["JwtGateDeny", "none"]),
    ("JwtGateDeny @nobody", &["JwtGateDeny", "nobody"]),
    ("JwtGateAllow dry-run", &["JwtGateAllow", "names no address", "@NETWORK"]),
    ("JwtGateAllow 10.0.0.0/8 dry-run", &["JwtGateAllow", "dry-run", "write it first"]),
    ("JwtGateAllow dry-run 10.0.0.1/8", &["JwtGateAllow", "10.0.0.1/8", "10.0.0.0/8"]),
    ("JwtGateAllow dry-run @nobody", &["JwtGateAllow", "nobody", "JwtGateNetwork"]),
    ("JwtGateDeny dry-run none 10.0.0.0/8", &["JwtGateDeny", "none"]),
    ("JwtGateDeny dry-run dry-run", &["JwtGateDeny", "dry-run", "write it first"]),
    ("JwtGateDeny dry-run @nobody", &["JwtGateDeny", "nobody", "JwtGateNetwork"]),
    ("JwtGateLockout", &["JwtGateLockout", "failures=10/5m", "off"]),
    ("JwtGateLockout on", &["JwtGateLockout", "on", "failures="]),
    ("JwtGateLockout block=5m", &["JwtGateLockout", "failures=10/5m"]),
    ("JwtGateLockout failures=10", &["JwtGateLockout", "failures=10", "failures=10/5m"]),
    ("JwtGateLockout failures=0/5m", &["JwtGateLockout", "failures=0/5m", "1 to 100"]),
    ("JwtGateLockout failures=101/5m", &["JwtGateLockout", "failures=101/5m", "1 to 100"]),
    ("JwtGateLockout failures=10/5", &["JwtGateLockout", "failures", "5", "5m"]),
    ("JwtGateLockout failures=10/999ms", &["JwtGateLockout", "failures", "999ms", "1s"]),
    ("JwtGateLockout failures=10/31d", &["JwtGateLockout", "failures", "31d", "30d"]),
    ("JwtGateLockout failures=10/5m block=0s", &["JwtGateLockout", "block", "0s", "1s"]),
    ("JwtGateLockout failures=10/5m block=31d", &["JwtGateLockout", "block", "31d", "30d"]),
    ("JwtGateLockout failures=10/5m block=long", &["JwtGateLockout", "block", "long"]),
    ("JwtGateLockout failures=10/5m count=all", &["JwtGateLockout", "count=all", "count=backend"]),
    ("JwtGateLockout failures=10/5m failures=9/5m", &["JwtGateLockout", "failures"]),
    ("JwtGateLockout failures=10/5m colour=blue", &["JwtGateLockout", "colour", "block="]),
    ("JwtGateLockout off failures=10/5m", &["JwtGateLockout", "off", "alone"]),
    ("JwtGateLockout failures=10/5m\nJwtGateLockout off", &["JwtGateLockout", "twice"]),
    ("JwtGateLimit x key=global rate=1/s dry-run=on", &["JwtGateLimit", "the word `dry-run`"]),
    ("JwtGateLimit x key=global rate=1/s dryrun", &["JwtGateLimit", "dryrun"]),
    ("JwtGateLimit x key=global rate=1/s dry-run dry-run", &["JwtGateLimit", "dry-run", "twice"]),
    (
        "JwtGateLimit x key=global rate=1/s\nJwtGateLimit x key=global rate=1/s dry-run",
        &["JwtGateLimit", "x", "make them equal"],
    ),
    ("JwtGateLimit x key=global rate=1/s quota=5/year", &["JwtGateLimit", "5/year", "month"]),
    ("JwtGateLimit x key=global rate=1/s quota=0/day", &["JwtGateLimit", "0/day"]),
    ("JwtGateLimit x key=global rate=1/s default-plan=unheard", &["JwtGateLimit", "unheard", "JwtGatePlan"]),
    ("JwtGateLimit x", &["JwtGateLimit", "key="]),
    ("JwtGateLimit x key=global", &["JwtGateLimit", "rate="]),
    ("JwtGateLimit x rate=1/s", &["JwtGateLimit", "key="]),
    ("JwtGateLimit x key=user rate=1/s", &["JwtGateLimit", "user", "subject"]),
    ("JwtGateLimit x key=claim: rate=1/s", &["JwtGateLimit", "claim:"]),
    ("JwtGateLimit x key=subject+ rate=1/s", &["JwtGateLimit", "subject+"]),
    ("JwtGateLimit x key=global rate=1", &["JwtGateLimit", "rate", "/s"]),
    ("JwtGateLimit x key=global rate=0/s", &["JwtGateLimit", "0/s"]),
    ("JwtGateLimit x key=global rate=-1/s", &["JwtGateLimit", "-1/s"]),
    ("JwtGateLimit x key=global rate=1/y", &["JwtGateLimit", "1/y"]),
    ("JwtGateLimit x key=global rate=1.5/s", &["JwtGateLimit", "1.5/s"]),
    ("JwtGateLimit x key=global rate=1/s burst=0", &["JwtGateLimit", "burst"]),
    ("JwtGateLimit x key=global rate=1/s burst=many", &["JwtGateLimit", "many"]),
    ("JwtGateLimit x key=global rate=1/s rate=2/s", &["JwtGateLimit", "rate"]),
    ("JwtGateLimit x key=global rate=1/s bust=3", &["JwtGateLimit", "bust"]),
    ("JwtGateLimit x key=address rate=1/s exempt=@nobody", &["JwtGateLimit", "nobody", "JwtGateNetwork"]),
    ("JwtGateLimit x key=address rate=1/s exempt=10.0.0.0/8", &["JwtGateLimit", "10.0.0.0/8", "@"]),
    ("JwtGateLimit x key=global rate=1/s\nJwtGateLimit x key=global rate=2/s", &["JwtGateLimit", "x"]),
    ("JwtGateLimit \"x y\" key=global rate=1/s", &["JwtGateLimit", "x y"]),
    ("JwtGateLimitHeaders maybe", &["JwtGateLimitHeaders"]),
    ("JwtGateForward X-User", &["JwtGateForward"]),
    ("JwtGateForward X-User user", &["JwtGateForward", "user", "subject"]),
    ("JwtGateForward X-User claim:", &["JwtGateForward", "claim:"]),
    ("JwtGateForward \"X User\" subject", &["JwtGateForward", "X User"]),
    ("JwtGateForward X-User: subject", &["JwtGateForward", "X-User:"]),
    ("JwtGateForward Authorization subject", &["JwtGateForward", "Authorization"]),
    ("JwtGateForward Proxy-Authorization subject", &["JwtGateForward", "Proxy-Authorization"]),
    ("JwtGateForward Cookie subject", &["JwtGateForward", "Cookie"]),
    ("JwtGateForward host subject", &["JwtGateForward", "host"]),
    ("JwtGateForward Connection subject", &["JwtGateForward", "Connection"]),
    ("JwtGateForward Content-Length subject", &["JwtGateForward", "Content-Length"]),
    ("JwtGateForward Transfer-Encoding subject", &["JwtGateForward", "Transfer-Encoding"]),
    ("JwtGateForward transfer_encoding subject", &["JwtGateForward", "transfer_encoding"]),
    ("JwtGateForward Upgrade subject", &["JwtGateForward", "Upgrade"]),
    ("JwtGateForward TE subject", &["JwtGateForward", "TE"]),
    ("JwtGateForwardCredentials maybe", &["JwtGateForwardCredentials"]),
    ("JwtGateErrorBody json", &["JwtGateErrorBody", "json", "problem"]),
    ("JwtGateTrace yes", &["JwtGateTrace", "yes", "`on`"]),
];

/// Each of these stands in the server configuration.
const GOOD_IN_SERVER: &[&str] = &[
    "JwtGateIssuer a https://a.test audience=api,other pem=keys/rs256.pem,keys/es256.pem",
    "JwtGateIssuer a https://a.test audience=* jwks=file:keys/all.jwks",
    "JwtGateIssuer a - audience=api secret=keys/hs256.secret",
    "JwtGateIssuer a https://a.test audience=api secret=keys/hs256.secret algorithms=HS256",
    "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks algorithms=RS256,ES256,EdDSA",
    "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks algorithms=Ed25519",
    "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks audience-claims=aud,client_id typ=at+jwt",
    "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks claim.token_use=access require-exp=off",
    "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks leeway=0s max-age=24h",
    "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks leeway=300s",
    "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks subject=email scopes=scp groups=realm.roles",
    "JwtGateNetwork n 10.0.0.0/8 ::1",
    "JwtGateNetwork n file=conf/networks.txt format=cidr",
    "JwtGateNetwork n file=conf/networks.txt shrink=allow",
    "JwtGateNetwork n file=conf/ip-ranges.json format=aws",
    "JwtGateNetwork n file=conf/ip-ranges.json format=aws service=s3 region=GLOBAL shrink=allow",
    "JwtGateApiKeys conf/keys.json",
    "JwtGateLog logs/gate.json",
    "JwtGateLog logs/gate.json subject=plain",
    "JwtGateLog \"|/bin/cat\" subject=hashed",
    "JwtGateLog off",
    "JwtGatePlan free",
    "JwtGatePlan silver rate=10/s burst=20 quota=1000000/month",
    "JwtGatePlan bronze quota=1000/day",
    "JwtGateAddressPrefix 24 56",
    "JwtGateAddressPrefix 32 128",
    "JwtGateTokenCache 0",
    "JwtGateTokenCache 100000",
    "JwtGateSharedMemory 1M",
    "JwtGateSharedMemory 64M",
];

const BAD_IN_SERVER: &[(&str, &[&str])] = &[
    ("JwtGateIssuer a", &["JwtGateIssuer"]),
    ("JwtGateIssuer a https://a.test", &["JwtGateIssuer"]),
    ("JwtGateIssuer a https://a.test jwks=file:keys/all.jwks", &["JwtGateIssuer", "audience="]),
    ("JwtGateIssuer a https://a.test audience= jwks=file:keys/all.jwks", &["JwtGateIssuer", "audience"]),
    ("JwtGateIssuer a https://a.test audience=api keys=x", &["JwtGateIssuer", "keys"]),
    ("JwtGateIssuer a - audience=api", &["JwtGateIssuer", "-"]),
    ("JwtGateIssuer main https://a.test audience=api jwks=file:keys/all.jwks", &["JwtGateIssuer", "main"]),
    (
        "JwtGateIssuer a https://a.test audience=api jwks=file:keys/all.jwks pem=keys/rs256.pem",
        &["JwtGateIssuer", "jwks", "pem"],
    ),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem algorithms=HS256", &["JwtGateIssuer", "HS256"]),
    (
        "JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem algorithms=RS256,HS256",
        &["JwtGateIssuer", "HS256"],
    ),
    (
        "JwtGateIssuer a https://a.test audience=api secret=keys/hs256.secret algorithms=RS256",
        &["JwtGateIssuer", "RS256"],
    ),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem algorithms=none", &["JwtGateIssuer", "none"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem algorithms=rs256", &["JwtGateIssuer", "rs256"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem leeway=301s", &["JwtGateIssuer", "301s", "300"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem leeway=30", &["JwtGateIssuer", "30"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem max-age=-1s", &["JwtGateIssuer", "-1s"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem require-exp=maybe", &["JwtGateIssuer", "maybe"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem claim.=x", &["JwtGateIssuer", "claim."]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/rs256.pem profile=unheard", &["JwtGateIssuer", "unheard"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/absent.pem", &["JwtGateIssuer", "keys/absent.pem"]),
    ("JwtGateIssuer a https://a.test audience=api jwks=file:keys", &["JwtGateIssuer", "keys"]),
    ("JwtGateIssuer a https://a.test audience=api jwks=file:keys/empty.jwks", &["JwtGateIssuer", "empty.jwks"]),
    ("JwtGateIssuer a https://a.test audience=api jwks=file:keys/broken.jwks", &["JwtGateIssuer", "broken.jwks"]),
    ("JwtGateIssuer a https://a.test audience=api jwks=file:keys/no-keys.jwks", &["JwtGateIssuer", "no-keys.jwks"]),
    ("JwtGateIssuer a https://a.test audience=api jwks=file:keys/rs256.pem", &["JwtGateIssuer", "rs256.pem"]),
    ("JwtGateIssuer a https://a.test audience=api jwks=file:keys/secret.jwks", &["JwtGateIssuer", "secret.jwks"]),
    ("JwtGateIssuer a https://a.test audience=api jwks=file:keys/many.jwks", &["JwtGateIssuer", "many.jwks", "kid"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/all.jwks", &["JwtGateIssuer", "all.jwks"]),
    ("JwtGateIssuer a https://a.test audience=api pem=keys/private.pem", &["JwtGateIssuer", "private.pem"]),
    ("JwtGateIssuer a https://a.test audience=api secret=keys/short.secret", &["JwtGateIssuer", "short.secret", "32"]),
    ("JwtGateIssuer a https://a.test audience=api secret=keys/open.secret", &["JwtGateIssuer", "open.secret", "chmod"]),
    ("JwtGateNetwork n", &["JwtGateNetwork"]),
    ("JwtGateNetwork n 10.0.0.1/8", &["JwtGateNetwork", "10.0.0.1/8", "10.0.0.0/8"]),
    ("JwtGateNetwork office 10.0.0.0/8", &["JwtGateNetwork", "office"]),
    ("JwtGateNetwork n file=conf/absent.txt", &["JwtGateNetwork", "conf/absent.txt"]),
    ("JwtGateNetwork n file=conf/broken.txt", &["JwtGateNetwork", "broken.txt", "2"]),
    ("JwtGateNetwork n file=conf/empty.txt", &["JwtGateNetwork", "empty.txt"]),
    ("JwtGateNetwork n file=conf/networks.txt format=csv", &["JwtGateNetwork", "csv"]),
    ("JwtGateNetwork n file=conf/networks.txt format=aws", &["JwtGateNetwork", "networks.txt", "line 1"]),
    ("JwtGateNetwork n file=conf/ip-ranges.json", &["JwtGateNetwork", "ip-ranges.json", "line 1"]),
    ("JwtGateNetwork n file=conf/networks.txt service=S3", &["JwtGateNetwork", "service=", "format=aws"]),
    ("JwtGateNetwork n file=conf/networks.txt format=cidr region=r", &["JwtGateNetwork", "region=", "format=aws"]),
    ("JwtGateNetwork n file=conf/ip-ranges.json format=aws service=S4", &["JwtGateNetwork", "service=S4", "`S3`"]),
    ("JwtGateNetwork n file=conf/ip-ranges.json format=aws region=r", &["JwtGateNetwork", "region=r", "`GLOBAL`"]),
    ("JwtGateNetwork n file=conf/networks.txt shrink=deny", &["JwtGateNetwork", "deny", "allow"]),
    ("JwtGateApiKeys", &["JwtGateApiKeys"]),
    ("JwtGateLog", &["JwtGateLog", "`off`"]),
    ("JwtGateLog logs/a.json\nJwtGateLog logs/b.json", &["JwtGateLog", "twice"]),
    ("JwtGateLog logs/gate.json subject=none", &["JwtGateLog", "none", "`plain`"]),
    ("JwtGateLog \"|\"", &["JwtGateLog", "|PROGRAM"]),
    ("JwtGateLog syslog:local1", &["JwtGateLog", "logger"]),
    ("JwtGateApiKeys conf/networks.txt", &["JwtGateApiKeys", "networks.txt", "line 1"]),
    ("JwtGatePlan", &["JwtGatePlan", "JwtGatePlan premium"]),
    ("JwtGatePlan gold rate=1/s", &["JwtGatePlan", "gold"]),
    ("JwtGatePlan \"x y\" rate=1/s", &["JwtGatePlan", "x y"]),
    ("JwtGatePlan a burst=5", &["JwtGatePlan", "burst=", "rate="]),
    ("JwtGatePlan a rate=0/s", &["JwtGatePlan", "0/s"]),
    ("JwtGatePlan a quota=1/hour", &["JwtGatePlan", "1/hour"]),
    ("JwtGatePlan a key=subject", &["JwtGatePlan", "key", "quota="]),
    ("JwtGateAddressPrefix 24", &["JwtGateAddressPrefix"]),
    ("JwtGateAddressPrefix 33 64", &["JwtGateAddressPrefix", "33"]),
    ("JwtGateAddressPrefix 24 129", &["JwtGateAddressPrefix", "129"]),
    ("JwtGateAddressPrefix x 64", &["JwtGateAddressPrefix", "x"]),
    ("JwtGateTokenCache -1", &["JwtGateTokenCache", "-1"]),
    ("JwtGateTokenCache many", &["JwtGateTokenCache", "many"]),
    ("JwtGateSharedMemory 16", &["JwtGateSharedMemory", "16"]),
    ("JwtGateSharedMemory lots", &["JwtGateSharedMemory", "lots"]),
    (
        "JwtGateIssuer b https://issuer.test audience=other pem=keys/rs256.pem\n<Location \"/\">\nJwtGate on\n</Location>",
        &["https://issuer.test", "JwtGateIssuers"],
    ),
    (
        "<Location \"/a\">\nJwtGateLimit x key=global rate=1/s\n</Location>\n\
         <Location \"/b\">\nJwtGateLimit x key=global rate=2/s\n</Location>",
        &["JwtGateLimit", "x"],
    ),
];

const COMMON: &str = "JwtGateNetwork office 192.0.2.0/24\nJwtGatePlan gold rate=100/s\n";

fn site() -> Site {
    let site = Site::new().mpm(Mpm::Event);
    site.write("conf/networks.txt", "10.0.0.0/8 # private\n");
    let range = serde_json::json!({"ip_prefix": "192.0.2.0/24", "service": "S3", "region": "GLOBAL"});
    site.write("conf/ip-ranges.json", serde_json::json!({"prefixes": [range]}).to_string());
    site.write("conf/keys.json", r#"{"keys":[]}"#);
    site.write("conf/broken.txt", "10.0.0.0/8\n10.0.0.0/99\n");
    site.write("conf/empty.txt", "# nothing\n");
    site.write("keys/empty.jwks", "");
    site.write("keys/broken.jwks", "{\"keys\":[");
    site.write("keys/no-keys.jwks", "{\"keys\":[]}");
    site.write("keys/secret.jwks", crate::harness::tokens::jwks(&[&site.keys.hs256]));
    let many: Vec<_> = (0..5).map(|_| site.keys.es256.jwk()).map(without_kid).collect();
    site.write("keys/many.jwks", serde_json::json!({ "keys": many }).to_string());
    site.write(
        "keys/private.pem",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
    );
    site.write("keys/short.secret", [b's'; 31]);
    site.chmod("keys/short.secret", 0o600);
    site.write("keys/open.secret", [b's'; 32]);
    site
}

fn without_kid(mut jwk: serde_json::Value) -> serde_json::Value {
    jwk.as_object_mut().unwrap().remove("kid");
    jwk
}

fn in_location(directives: &str) -> String {
    format!("{MAIN}{COMMON}<Location \"/x\">\n{directives}\n</Location>")
}

#[test]
fn good_values_of_every_directive_pass() {
    let site = site();
    for directives in GOOD {
        assert_good(&site, &in_location(directives));
    }
    for directives in GOOD_IN_SERVER {
        assert_good(&site, &format!("{MAIN}{COMMON}{directives}"));
    }
}

#[test]
fn mistakes_in_locations_are_named() {
    assert_mistakes(&site(), BAD, in_location);
}

#[test]
fn mistakes_in_the_server_are_named() {
    assert_mistakes(&site(), BAD_IN_SERVER, |directives| format!("{MAIN}{COMMON}{directives}"));
}

#[test]
fn mistakes_in_what_files_hold_do_not_keep_a_server_from_starting() {
    let mut server = site().start(&format!(
        r#"{MAIN}{COMMON}
        ProxyPass / ${{APP}}/
        JwtGateIssuer a https://a.test audience=api jwks=file:keys/broken.jwks
        JwtGateIssuer b https://b.test audience=api secret=keys/open.secret
        JwtGateIssuer c https://c.test audience=api pem=keys/private.pem
        JwtGateNetwork broken file=conf/broken.txt
        <Location "/">
            JwtGate on
        </Location>
        <Location "/friends">
            JwtGateAllow @broken
        </Location>"#
    ));
    for file in ["broken.jwks", "open.secret", "private.pem", "broken.txt"] {
        server.expect_log(file);
    }
    assert_eq!(server.get("/").bearer(server.token().sign()).status(), 200);
    let secret = crate::harness::Signer::hmac("HS256", &[b's'; 32]);
    let token = Token::new(&secret).claim("iss", "https://b.test").sign();
    server.refused(&server.get("/").bearer(token), 503, "keys-unavailable");
    assert_ne!(server.get("/friends").bearer(server.token().sign()).status(), 200);
}

#[test]
fn two_issuers_of_one_name_may_be_chosen_from() {
    let site = site();
    assert_good(
        &site,
        &format!(
            r#"{MAIN}
            JwtGateIssuer b https://issuer.test audience=other jwks=file:keys/all.jwks
            <Location "/a">
                JwtGate on
                JwtGateIssuers main
            </Location>
            <Location "/b">
                JwtGate on
                JwtGateIssuers b
            </Location>"#
        ),
    );
    assert_mistake(
        &site,
        &format!(
            r#"{MAIN}
            JwtGateIssuer b https://issuer.test audience=other jwks=file:keys/all.jwks
            <Location "/a">
                JwtGate on
                JwtGateIssuers main b
            </Location>"#
        ),
        &["JwtGateIssuers", "https://issuer.test"],
    );
}

#[test]
fn an_issuer_that_is_chosen_for_one_path_is_not_chosen_for_its_neighbour() {
    let site = site();
    let with = |outer: &str, inner: &str| {
        let section =
            |head: &str, directive: &str| format!("<{head}>\n{directive}\n</{}>\n", head.split(' ').next().unwrap());
        let issuer = "JwtGateIssuer b https://issuer.test audience=other jwks=file:keys/all.jwks\n";
        format!("{MAIN}{issuer}{}{}", section(outer, "JwtGateIssuers main"), section(inner, "JwtGate on"))
    };
    for (outer, inner) in [
        ("Location /app", "Location /app"),
        ("Location /app", "Location /app/x"),
        ("Location /app/", "Location /app/x"),
        ("Location /", "Location /app"),
        ("Location /a", "LocationMatch ^/a"),
        ("LocationMatch ^/a", "Location /a"),
    ] {
        assert_good(&site, &with(outer, inner));
    }
    for (outer, inner) in [
        ("Location /app", "Location /application"),
        ("Location /app/x", "Location /app"),
        ("Location /a", "Location /b"),
    ] {
        assert_mistake(&site, &with(outer, inner), &["JwtGateIssuers", "https://issuer.test"]);
    }
}

#[test]
fn sections_with_a_condition_are_read_like_others() {
    let site = site();
    let around = |directives: &str| {
        let section = format!("<If \"%{{REQUEST_METHOD}} == 'GET'\">\n{directives}\n</If>");
        [format!("{MAIN}{COMMON}{section}"), format!("{MAIN}{COMMON}<Location \"/x\">\n{section}\n</Location>")]
    };
    for text in around("JwtGate on\nJwtGateIssuers main\nJwtGateAllow @office") {
        assert_good(&site, &text);
    }
    for (directive, named) in
        [("JwtGateIssuers nobody", "nobody"), ("JwtGateAllow @nobody", "nobody"), ("JwtGateToken maybe", "maybe")]
    {
        for text in around(directive) {
            assert_mistake(&site, &text, &[directive.split(' ').next().unwrap(), named]);
        }
    }
}

#[test]
fn trailers_that_become_headers_are_a_mistake_beside_the_gate() {
    let site = site();
    let gate = "<Location \"/\">\nJwtGate on\n</Location>";
    assert_mistake(&site, &format!("{MAIN}MergeTrailers on\n{gate}"), &["JG2106", "MergeTrailers"]);
    let in_host = format!("<VirtualHost *:1>\nMergeTrailers on\n</VirtualHost>\n{gate}");
    assert_mistake(&site, &format!("{MAIN}{in_host}"), &["JG2106", "MergeTrailers"]);
    assert_good(&site, &format!("{MAIN}MergeTrailers off\n{gate}"));
    assert_good(&site, &format!("{MAIN}MergeTrailers on"));
}

#[test]
fn limits_that_have_no_room_are_a_mistake() {
    let site = site();
    let limits = |count: usize, key: &str| -> String {
        let lines: Vec<_> = (0..count).map(|n| format!("JwtGateLimit l{n} key={key} rate=1/s")).collect();
        format!("<Location \"/\">\nJwtGate on\n{}\n</Location>", lines.join("\n"))
    };
    let issuers: String = (0..300)
        .map(|n| format!("JwtGateIssuer i{n} https://{n}.test audience=api jwks=file:keys/es256.jwks\n"))
        .collect();
    let remedy = &["JwtGateSharedMemory", "write a larger size"];
    assert_mistake(&site, &format!("{MAIN}JwtGateSharedMemory 64K\n{}", limits(300, "address")), remedy);
    assert_mistake(&site, &format!("{MAIN}{issuers}JwtGateSharedMemory 64K\n{}", limits(1, "issuer")), remedy);
    assert_good(&site, &format!("{MAIN}{}", limits(300, "address")));
    assert_good(&site, &format!("{MAIN}{issuers}{}", limits(1, "issuer")));
    assert_good(&site, &format!("{MAIN}{issuers}JwtGateSharedMemory 64K\n{}", limits(3, "address")));
}

#[test]
fn one_name_of_a_limit_has_the_same_numbers_in_all_virtual_hosts() {
    let site = site();
    let host = |port: u16, limit: &str| {
        format!(
            "<VirtualHost *:{port}>\n<Location \"/\">\nJwtGate on\nJwtGateLimit x {limit}\n</Location>\n</VirtualHost>\n"
        )
    };
    let first = format!("{MAIN}{}", host(1, "key=global rate=1/s burst=5"));
    assert_good(&site, &(first.clone() + &host(2, "key=global rate=1/s burst=5")));
    for other in ["key=global rate=2/s burst=5", "key=global rate=1/s burst=6", "key=address rate=1/s burst=5"] {
        assert_mistake(&site, &(first.clone() + &host(2, other)), &["JwtGateLimit x", "make them equal"]);
    }
}

#[test]
fn directives_are_refused_where_they_could_not_hold() {
    let site = site();
    for directive in GOOD.iter().filter(|directive| !directive.contains('\n')) {
        let name = directive.split(' ').next().unwrap();
        for section in ["Files \"x\"", "FilesMatch \"x\"", "Limit GET", "LimitExcept GET"] {
            let end = section.split(' ').next().unwrap();
            // <Limit> is no place by itself; it stands in another section
            let text = format!("{MAIN}{COMMON}<Location \"/\">\n<{section}>\n{directive}\n</{end}>\n</Location>");
            let text = if end.starts_with("Files") {
                format!("{MAIN}{COMMON}<{section}>\n{directive}\n</{end}>")
            } else {
                text
            };
            assert_mistake(&site, &text, &[name]);
        }
    }
    for directive in GOOD_IN_SERVER {
        let name = directive.split(' ').next().unwrap();
        assert_mistake(&site, &in_location(directive), &[name, "not allowed"]);
    }
    let in_host = "<VirtualHost *:1>\nJwtGateSharedMemory 1M\n</VirtualHost>";
    assert_mistake(&site, in_host, &["JwtGateSharedMemory"]);
}

#[test]
fn directives_are_refused_in_htaccess() {
    let mut server = site().start(&format!("{COMMON}<Directory \"${{ROOT}}/html\">\nAllowOverride All\n</Directory>"));
    server.expect_log("not allowed here");
    for directive in GOOD.iter().filter(|directive| !directive.contains('\n')) {
        server.write("html/.htaccess", directive);
        assert_eq!(server.get("/index.html").status(), 500, "{directive}");
    }
    server.write("html/.htaccess", "");
    assert_eq!(server.get("/index.html").status(), 200);
}

#[test]
fn satisfy_any_with_the_gate_is_a_mistake() {
    let site = site().load(&["access_compat"]);
    let with = |satisfy: &str| format!("{MAIN}<Location \"/\">\nJwtGate on\nSatisfy {satisfy}\n</Location>");
    assert_mistake(&site, &with("Any"), &["Satisfy"]);
    assert_good(&site, &with("All"));
}

#[test]
fn a_cache_that_answers_before_the_gate_is_a_mistake() {
    let site = site().load(&["cache", "cache_disk"]);
    let with = |quick: &str, location: &str| {
        format!(
            "{MAIN}CacheRoot ${{ROOT}}/run\nCacheEnable disk /shop\nCacheQuickHandler {quick}\n\
             <Location \"{location}\">\nJwtGate on\n</Location>"
        )
    };
    assert_mistake(&site, &with("on", "/"), &["CacheQuickHandler"]);
    assert_mistake(&site, &with("on", "/shop/cart"), &["CacheQuickHandler"]);
    assert_good(&site, &with("off", "/"));
}

/// Each address keeps a place, for as long as the quota runs.
#[test]
fn quotas_by_address_are_warned_about() {
    let site = site();
    let warned = |limit: &str, before: &str| {
        let check =
            site.configtest(&format!("{before}{}", in_location(&format!("JwtGateLimit some {limit} rate=1/s"))));
        assert!(check.passed, "{limit}\n{}", check.output);
        check.output.matches("JG2211 JwtGateLimit some (").count()
    };
    let plan = "JwtGatePlan large quota=5/day\n";
    for (limit, before) in [
        ("key=address quota=9/week", ""),
        ("key=global+peer quota=9/month dry-run", ""),
        ("key=address plan-claim=tier", plan),
    ] {
        assert_eq!(warned(limit, before), 1, "{limit}");
    }
    for limit in ["key=address", "key=global quota=9/day", "key=subject quota=9/day", "key=address+api-key quota=9/day"]
    {
        assert_eq!(warned(limit, plan), 0, "{limit}");
    }
    let check = site.configtest(&in_location("JwtGateLimit some key=peer rate=1/s quota=9/day"));
    for text in ["`key=peer`", "JwtGateSharedMemory", "`key=subject` or `key=api-key`"] {
        assert!(check.output.contains(text), "{text}\n{}", check.output);
    }
}

/// Nobody can have a plan that is not defined.
#[test]
fn plans_that_are_required_and_not_defined_are_warned_about() {
    let site = site();
    for (plan, is_warned_about) in [("silver", true), ("gold", false)] {
        let check = site.configtest(&in_location(&format!("JwtGate on\nRequire jwt-plan {plan}")));
        assert!(check.passed, "{}", check.output);
        assert_eq!(check.output.contains("JG2212 Require jwt-plan silver"), is_warned_about, "{}", check.output);
    }
}

#[test]
fn dangerous_choices_are_warned_about_at_start() {
    let mut server = site().start(
        r#"ProxyPass / ${APP}/
        JwtGateIssuer a https://a.test audience=* jwks=file:keys/all.jwks
        JwtGateIssuer b https://b.test audience=api jwks=file:keys/all.jwks require-exp=off
        JwtGateIssuer c - audience=api secret=keys/hs256.secret
        <Directory "${ROOT}/html">
            JwtGate on
        </Directory>"#,
    );
    for text in ["audience", "require-exp", "`-`", "Directory"] {
        server.expect_log(text);
    }
}
