//! `JwtGateIssuer NAME ISSUER option…`: who signs tokens, and what a token must say.

use std::time::Duration;

use super::fetch::{self, FetchOptions};
use super::parse;
use crate::algorithm::{Algorithm, AlgorithmSet, Family};
use crate::fetch::RemoteKeys;
use crate::fetch::url::Url;
use crate::token::issuer::{Audiences, Issuer, Types};

/// What a directive said; [`IssuerDef::source`] still names files and addresses.
#[derive(Clone, Debug)]
pub struct IssuerDef {
    /// The administrator's name for it.
    pub name: String,
    /// Compared with `iss` byte for byte; `None` for tokens without `iss` (written `-`).
    pub issuer: Option<String>,
    /// Where its keys are.
    pub source: KeySource,
    /// Accepted audiences; `None` turns the check off (written `*`).
    pub audiences: Option<Vec<String>>,
    /// The first of these claims that is present is compared with the audiences.
    pub audience_claims: Vec<String>,
    /// Accepted algorithms; never HMAC together with another family.
    pub algorithms: AlgorithmSet,
    /// Accepted values of the header `typ`; `None` for the default.
    pub types: Option<Vec<String>>,
    /// Claims that must have a value.
    pub fixed_claims: Vec<(String, String)>,
    /// Whether `exp` must be there.
    pub require_exp: bool,
    /// Leeway for `exp` and `nbf`.
    pub leeway: Duration,
    /// Greatest age counted from `iat`.
    pub max_age: Option<Duration>,
    /// Claim with the subject.
    pub subject: String,
    /// Claims with scopes; the first that is present counts.
    pub scopes: Vec<String>,
    /// Claims with groups; the first that is present counts.
    pub groups: Vec<String>,
}

impl IssuerDef {
    /// The finished policy, without keys, for the position that it has in the configuration.
    pub fn policy(&self, position: usize) -> Issuer {
        Issuer {
            id: u32::try_from(position).unwrap_or(u32::MAX),
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone().map_or(Audiences::Any, Audiences::OneOf),
            audience_claims: self.audience_claims.clone(),
            algorithms: self.algorithms,
            types: self.types.clone().map_or(Types::Usual, Types::OneOf),
            fixed_claims: self.fixed_claims.clone(),
            require_exp: self.require_exp,
            leeway: self.leeway,
            max_age: self.max_age,
            subject: self.subject.clone(),
            scopes: self.scopes.clone(),
            groups: self.groups.clone(),
            keys: None,
        }
    }
}

/// Where the keys of an issuer are: one address, or one kind of file, one or several of these.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Fetched from the identity provider.
    Remote(RemoteKeys, FetchOptions),
    /// A JWK Set (RFC 7517 section 5).
    Jwks(String),
    /// SPKI public keys or X.509 certificates in PEM form.
    Pem(Vec<String>),
    /// Shared secrets.
    Secret(Vec<String>),
}

impl KeySource {
    /// The files, in the order written.
    pub fn paths(&self) -> &[String] {
        match self {
            Self::Remote(..) => &[],
            Self::Jwks(path) => std::slice::from_ref(path),
            Self::Pem(paths) | Self::Secret(paths) => paths,
        }
    }
}

const DEFAULT_ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// Options as they are found; defaults are put in at the end.
#[derive(Default)]
struct Options {
    source: Option<WrittenSource>,
    fetch: fetch::Written,
    audience: Option<String>,
    audience_claims: Option<Vec<String>>,
    algorithms: Option<AlgorithmSet>,
    types: Option<Vec<String>>,
    fixed_claims: Vec<(String, String)>,
    require_exp: Option<bool>,
    leeway: Option<Duration>,
    max_age: Option<Duration>,
    subject: Option<String>,
    scopes: Option<Vec<String>>,
    groups: Option<Vec<String>>,
    cognito: Option<bool>,
}

/// A key source as it is written.
enum WrittenSource {
    Discovery,
    Url(Url),
    Files(KeySource),
}

/// Parses the arguments.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<IssuerDef, String> {
    let [name, issuer, rest @ ..] = words else {
        return Err("needs a name, the issuer and options: write `JwtGateIssuer login https://id.example.com/ \
                    audience=my-api`"
            .to_owned());
    };
    let name = parse::name("an issuer", name)?;
    let issuer = iss(issuer)?;
    let mut options = Options::default();
    for word in rest {
        options.read(word).map_err(|text| format!("issuer `{name}`: {text}"))?;
    }
    options.finish(name.clone(), issuer).map_err(|text| format!("issuer `{name}`: {text}"))
}

fn iss(text: &str) -> Result<Option<String>, String> {
    match text {
        "-" => Ok(None),
        "" => Err("the issuer is empty: write the value of `iss`, or `-` for tokens without one".to_owned()),
        _ if text.contains('=') && !text.contains(':') => Err(format!(
            "`{text}` stands where the issuer is expected: write the value of `iss` behind the name, then the options"
        )),
        _ => Ok(Some(text.to_owned())),
    }
}

impl Options {
    fn read(&mut self, word: &str) -> Result<(), String> {
        if word == "discovery" {
            return self.source(WrittenSource::Discovery);
        }
        let (key, value) = parse::option(word)?;
        if let Some(claim) = key.strip_prefix("claim.") {
            if claim.is_empty() || self.fixed_claims.iter().any(|(name, _)| name == claim) {
                return Err(format!("`{word}`: each claim is named once, as `claim.NAME=VALUE`"));
            }
            self.fixed_claims.push((claim.to_owned(), value.to_owned()));
            return Ok(());
        }
        if self.fetch.read(key, value)? {
            return Ok(());
        }
        let shown = |text: String| format!("`{key}=`: {text}");
        match key {
            "jwks" => self.source(jwks(value)?),
            "pem" => self.source(WrittenSource::Files(KeySource::Pem(parse::list(value).map_err(shown)?))),
            "secret" => self.source(WrittenSource::Files(KeySource::Secret(parse::list(value).map_err(shown)?))),
            "audience" => parse::set_once(&mut self.audience, key, value.to_owned()),
            "audience-claims" => parse::set_once(&mut self.audience_claims, key, audience_claims(value)?),
            "algorithms" => parse::set_once(&mut self.algorithms, key, algorithms(value)?),
            "typ" => parse::set_once(&mut self.types, key, parse::list(value).map_err(shown)?),
            "require-exp" => parse::set_once(&mut self.require_exp, key, parse::switch(value).map_err(shown)?),
            "leeway" => parse::set_once(&mut self.leeway, key, leeway(value).map_err(shown)?),
            "max-age" => parse::set_once(&mut self.max_age, key, max_age(value).map_err(shown)?),
            "subject" => parse::set_once(&mut self.subject, key, value.to_owned()),
            "scopes" => parse::set_once(&mut self.scopes, key, parse::list(value).map_err(shown)?),
            "groups" => parse::set_once(&mut self.groups, key, parse::list(value).map_err(shown)?),
            "profile" => {
                let cognito = parse::one_of(value, &[("cognito", true)]).map_err(shown)?;
                parse::set_once(&mut self.cognito, key, cognito)
            }
            _ => Err(format!("`{key}=` is not an option of JwtGateIssuer: see reference.conf for those that are")),
        }
    }

    fn source(&mut self, source: WrittenSource) -> Result<(), String> {
        if self.source.replace(source).is_some() {
            return Err("has two key sources: keep one of `discovery`, `jwks=`, `pem=` and `secret=` \
                        (several files are written `pem=a,b`)"
                .to_owned());
        }
        Ok(())
    }

    fn finish(self, name: String, issuer: Option<String>) -> Result<IssuerDef, String> {
        let source = match (self.source.unwrap_or(WrittenSource::Discovery), &issuer) {
            (WrittenSource::Files(files), _) => {
                self.fetch.refuse()?;
                files
            }
            (WrittenSource::Url(url), Some(_)) => KeySource::Remote(RemoteKeys::JwkSet(url), self.fetch.finish()?),
            (WrittenSource::Discovery, Some(issuer)) => {
                let from = RemoteKeys::discovery(issuer).map_err(|why| {
                    format!("its keys cannot be found by discovery: {why}, or name its keys with `jwks=`")
                })?;
                KeySource::Remote(from, self.fetch.finish()?)
            }
            (_, None) => {
                return Err("tokens without `iss` need keys of their own: add `secret=PATH`, `pem=PATH` or \
                            `jwks=file:PATH`"
                    .to_owned());
            }
        };
        let audiences = match self.audience.as_deref() {
            None => {
                return Err("has no audience: add `audience=NAME` with the name of this API in the tokens' `aud` \
                            (`audience=*` turns the check off)"
                    .to_owned());
            }
            Some("*") => None,
            Some(text) => Some(parse::list(text).map_err(|text| format!("`audience=`: {text}"))?),
        };
        if audiences.iter().flatten().any(|a| a == "*") {
            return Err("`audience=*` stands alone: leave the other audiences out, or the `*`".to_owned());
        }
        let mut fixed_claims = self.fixed_claims;
        let cognito = self.cognito.unwrap_or(false);
        if cognito && !fixed_claims.iter().any(|(claim, _)| claim == "token_use") {
            fixed_claims.push(("token_use".to_owned(), "access".to_owned()));
        }
        let algorithms = match (self.algorithms, &source) {
            (Some(algorithms), _) => algorithms,
            (None, KeySource::Secret(_)) => AlgorithmSet::from_iter([Algorithm::HS256]),
            (None, _) if cognito => AlgorithmSet::from_iter([Algorithm::RS256]),
            (None, _) => AlgorithmSet::from_iter(DEFAULT_ALGORITHMS),
        };
        check_families(algorithms, &source)?;
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let audience_claims = if cognito { names(&["aud", "client_id"]) } else { names(&["aud"]) };
        let groups = if cognito { names(&["cognito:groups"]) } else { names(&["groups", "cognito:groups", "roles"]) };
        Ok(IssuerDef {
            name,
            issuer,
            source,
            audiences,
            audience_claims: self.audience_claims.unwrap_or(audience_claims),
            algorithms,
            types: self.types,
            fixed_claims,
            require_exp: self.require_exp.unwrap_or(true),
            leeway: self.leeway.unwrap_or(DEFAULT_LEEWAY),
            max_age: self.max_age,
            subject: self.subject.unwrap_or_else(|| "sub".to_owned()),
            scopes: self.scopes.unwrap_or_else(|| names(&["scope", "scp"])),
            groups: self.groups.unwrap_or(groups),
        })
    }
}

fn jwks(value: &str) -> Result<WrittenSource, String> {
    match value.strip_prefix("file:") {
        Some("") => Err("`jwks=file:` names no file: write `jwks=file:PATH`".to_owned()),
        Some(path) => Ok(WrittenSource::Files(KeySource::Jwks(path.to_owned()))),
        None => Url::parse(value).map(WrittenSource::Url).map_err(|why| format!("`jwks={value}`: {why}")),
    }
}

fn algorithms(value: &str) -> Result<AlgorithmSet, String> {
    let one = |name: &String| {
        Algorithm::from_name(name).ok_or_else(|| {
            let known: Vec<_> = Algorithm::ALL.iter().map(|a| a.name()).collect();
            format!("`algorithms=`: `{name}` is not an algorithm: use {}", known.join(", "))
        })
    };
    parse::list(value).map_err(|text| format!("`algorithms=`: {text}"))?.iter().map(one).collect()
}

/// HMAC needs secrets, everything else public keys; one issuer never has both, or a public key could be
/// taken for a secret (RFC 8725 section 3.1).
fn check_families(algorithms: AlgorithmSet, source: &KeySource) -> Result<(), String> {
    let secrets = matches!(source, KeySource::Secret(_));
    match algorithms.iter().find(|a| (a.family() == Family::Hmac) != secrets) {
        None => Ok(()),
        Some(wrong) if secrets => Err(format!(
            "`algorithms=` names {}, which needs a public key, but the keys are secrets: \
             use HS256, HS384 or HS512, or `pem=` or `jwks=`",
            wrong.name()
        )),
        Some(wrong) => Err(format!(
            "`algorithms=` names {}, which needs a secret, but the keys are public: use `secret=PATH`, \
             or leave {} out",
            wrong.name(),
            wrong.name()
        )),
    }
}

fn audience_claims(value: &str) -> Result<Vec<String>, String> {
    let claims = parse::list(value).map_err(|text| format!("`audience-claims=`: {text}"))?;
    match claims.iter().find(|c| !matches!(c.as_str(), "aud" | "client_id")) {
        Some(wrong) => Err(format!("`audience-claims=`: `{wrong}` is not one of `aud` and `client_id`")),
        None => Ok(claims),
    }
}

fn leeway(value: &str) -> Result<Duration, String> {
    match parse::duration(value)? {
        leeway if leeway > MAX_LEEWAY => Err(format!("`{value}` is more than 300s: correct the clocks instead")),
        leeway => Ok(leeway),
    }
}

fn max_age(value: &str) -> Result<Duration, String> {
    match parse::duration(value)? {
        Duration::ZERO => Err(format!("`{value}` would refuse every token: write a longer time")),
        age => Ok(age),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(line: &str) -> IssuerDef {
        parse(&line.split(' ').collect::<Vec<_>>()).unwrap()
    }

    fn err(line: &str) -> String {
        parse(&line.split(' ').collect::<Vec<_>>()).unwrap_err()
    }

    #[test]
    fn defaults() {
        let issuer = ok("login https://id.example.com/ audience=api jwks=file:keys.json");
        assert_eq!(issuer.issuer.as_deref(), Some("https://id.example.com/"));
        assert_eq!(issuer.algorithms, AlgorithmSet::from_iter(DEFAULT_ALGORITHMS));
        assert_eq!((issuer.leeway, issuer.require_exp), (Duration::from_secs(30), true));
        assert_eq!((issuer.subject.as_str(), issuer.scopes), ("sub", vec!["scope".to_owned(), "scp".to_owned()]));
        let own = ok("own - audience=* secret=a,b");
        assert!(own.issuer.is_none() && own.audiences.is_none());
        assert_eq!(own.algorithms, AlgorithmSet::from_iter([Algorithm::HS256]));
        assert_eq!(own.source.paths(), ["a", "b"]);
    }

    #[test]
    fn keys_are_found_by_discovery_unless_something_else_is_said() {
        let source = |line: &str| ok(line).source;
        let KeySource::Remote(from, options) = source("a https://a audience=x") else { panic!() };
        assert_eq!(from, RemoteKeys::Discovery("https://a".to_owned()));
        assert_eq!((options.refresh, options.stale), (None, Duration::from_secs(86_400)));
        assert_eq!((options.cooldown, options.timeout), (Duration::from_secs(30), Duration::from_millis(1500)));
        assert_eq!(source("a https://a audience=x discovery"), source("a https://a audience=x"));
        let line = "a urn:x audience=x jwks=https://a/keys refresh=5m stale=1h cooldown=10s timeout=2s ca=conf/ca.pem";
        let KeySource::Remote(RemoteKeys::JwkSet(url), options) = source(line) else { panic!() };
        assert_eq!(url.to_string(), "https://a/keys");
        assert_eq!((options.refresh, options.ca.as_deref()), (Some(Duration::from_secs(300)), Some("conf/ca.pem")));
    }

    #[test]
    fn a_short_stale_is_refreshed_in_time() {
        let KeySource::Remote(_, options) = ok("a https://a audience=x stale=10s").source else { panic!() };
        assert_eq!(options.refresh, Some(Duration::from_secs(5)));
    }

    #[test]
    fn cognito() {
        let issuer = ok("c https://c audience=x jwks=file:k profile=cognito");
        assert_eq!(issuer.audience_claims, ["aud", "client_id"]);
        assert_eq!(issuer.fixed_claims, [("token_use".to_owned(), "access".to_owned())]);
        assert_eq!(issuer.algorithms, AlgorithmSet::from_iter([Algorithm::RS256]));
        assert_eq!(issuer.groups, ["cognito:groups"]);
    }

    #[test]
    fn mistakes_name_the_remedy() {
        assert!(err("a https://a jwks=file:k").contains("audience=NAME"));
        assert!(err("a - audience=x").contains("secret=PATH"));
        assert!(err("a urn:a audience=x").contains("jwks="));
        assert!(err("a https://a audience=x pem=k refresh=1m").contains("refresh="));
        assert!(err("a https://a audience=x refresh=1h stale=1h").contains("stale="));
        assert!(err("a https://a audience=x pem=k algorithms=RS256,HS256").contains("HS256"));
        assert!(err("a https://a audience=x secret=k algorithms=RS256").contains("RS256"));
        assert!(err("a https://a audience=x pem=k algorithms=none").contains("none"));
        assert!(err("a https://a audience=x pem=k leeway=301s").contains("300s"));
        for line in [
            "a",
            "a b",
            "a/b https://a audience=x pem=k",
            "a audience=x pem=k",
            "a https://a audience=x pem=k jwks=file:k",
            "a https://a audience=x jwks=http://a/keys",
            "a - audience=x discovery",
            "a - audience=x jwks=https://a/keys",
            "a https://a audience=x discovery discovery",
            "a https://a audience=x timeout=1h",
            "a https://a audience=x timeout=1ms",
            "a https://a audience=x cooldown=1s cooldown=1s",
            "a https://a audience=x ca=",
            "a https://a audience=x jwks=file:",
            "a https://a audience=*,b pem=k",
            "a https://a audience=x audience=y pem=k",
            "a https://a audience=x pem=k leeway=30",
            "a https://a audience=x pem=k max-age=0s",
            "a https://a audience=x pem=k require-exp=maybe",
            "a https://a audience=x pem=k audience-claims=azp",
            "a https://a audience=x pem=k claim.=v",
            "a https://a audience=x pem=k claim.a=v claim.a=w",
            "a https://a audience=x pem=k profile=auth0",
            "a https://a audience=x pem=k colour=blue",
            "a https://a audience=x pem=k word",
        ] {
            assert!(parse(&line.split(' ').collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
