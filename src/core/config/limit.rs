//! `JwtGateLimit NAME key=KEY rate=RATE [burst=N] [exempt=@NETWORK]`.

use super::{address, parse};
use crate::limit::{Numbers, Rate};

/// What a directive said. Two directives with one name must be equal: they are one bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitDef {
    /// Its name; also the name in the RateLimit fields.
    pub name: String,
    /// What is counted: one bucket for each combination of these.
    pub key: Vec<KeyPart>,
    /// How much.
    pub numbers: Numbers,
    /// A network whose clients are not counted.
    pub exempt: Option<String>,
}

/// A part of what is counted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyPart {
    /// Everybody together.
    Global,
    /// The client address, grouped by `JwtGateAddressPrefix`.
    Address,
    /// The connection's peer, likewise.
    Peer,
    /// The token's subject, with its issuer.
    Subject,
    /// The token's `azp`, else `client_id`.
    Client,
    /// The token's issuer.
    Issuer,
    /// The API key.
    ApiKey,
    /// A claim of the token.
    Claim(String),
}

impl KeyPart {
    /// Whether it is known only when the credential has been verified.
    pub const fn needs_identity(&self) -> bool {
        !matches!(self, Self::Global | Self::Address | Self::Peer)
    }
}

impl LimitDef {
    /// Whether the limit is tested after the token, and not at all for anonymous requests.
    pub fn needs_identity(&self) -> bool {
        self.key.iter().any(KeyPart::needs_identity)
    }
}

/// Parses the arguments; `None` for the single word `none`.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Option<LimitDef>, String> {
    let Some((name, rest)) = words.split_first() else {
        return Err("needs a name, a key and a rate: write `JwtGateLimit per-client key=address rate=100/s`".to_owned());
    };
    if name.eq_ignore_ascii_case("none") {
        return if rest.is_empty() {
            Ok(None)
        } else {
            Err("`none` stands alone and drops inherited limits; it cannot be the name of a limit".to_owned())
        };
    }
    let name = parse::name("a limit", name)?;
    let (mut key, mut rate, mut burst, mut exempt) = (None, None, None, None);
    for word in rest {
        (|| {
            let (option, value) = parse::option(word)?;
            match option {
                "key" => parse::set_once(&mut key, option, parse_key(value)?),
                "rate" => parse::set_once(&mut rate, option, value.parse::<Rate>()?),
                "burst" => parse::set_once(&mut burst, option, parse_burst(value)?),
                "exempt" => parse::set_once(&mut exempt, option, parse_exempt(value)?),
                _ => Err(format!("`{option}=` is not an option: use `key=`, `rate=`, `burst=` and `exempt=`")),
            }
        })()
        .map_err(|text: String| format!("limit `{name}`: {text}"))?;
    }
    let key = key.ok_or_else(|| format!("limit `{name}` has no key: add `key=address`, `key=subject` or another"))?;
    let rate = rate.ok_or_else(|| format!("limit `{name}` has no rate: add one like `rate=100/s`"))?;
    let numbers = Numbers::new(rate, burst).map_err(|text| format!("limit `{name}`: {text}"))?;
    Ok(Some(LimitDef { name, key, numbers, exempt }))
}

fn parse_key(text: &str) -> Result<Vec<KeyPart>, String> {
    let mut parts = Vec::new();
    for word in text.split('+') {
        let part = match word {
            "global" => KeyPart::Global,
            "address" => KeyPart::Address,
            "peer" => KeyPart::Peer,
            "subject" => KeyPart::Subject,
            "client" => KeyPart::Client,
            "issuer" => KeyPart::Issuer,
            "api-key" => KeyPart::ApiKey,
            _ => match word.strip_prefix("claim:") {
                Some(claim) if !claim.is_empty() => KeyPart::Claim(claim.to_owned()),
                _ => {
                    return Err(format!(
                        "`key={text}`: `{word}` is not known: use `global`, `address`, `peer`, `subject`, `client`, \
                         `issuer`, `api-key` or `claim:NAME`, joined by `+`"
                    ));
                }
            },
        };
        if parts.contains(&part) {
            return Err(format!("`key={text}` names `{word}` twice: leave one out"));
        }
        parts.push(part);
    }
    Ok(parts)
}

fn parse_burst(text: &str) -> Result<u32, String> {
    parse::number(text)
        .ok()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (1..1 << 31).contains(n))
        .ok_or_else(|| format!("`burst={text}` is not a whole number from 1 to 2147483647"))
}

fn parse_exempt(text: &str) -> Result<String, String> {
    address::network_name(text).unwrap_or_else(|| {
        Err(format!("`exempt={text}` is not a network: define one with JwtGateNetwork and write `exempt=@NAME`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let limit =
            parse(&["per-user", "key=subject+claim:tenant", "rate=5/m", "burst=2", "exempt=@office"]).unwrap().unwrap();
        assert_eq!(limit.key, [KeyPart::Subject, KeyPart::Claim("tenant".to_owned())]);
        assert_eq!(limit.exempt.as_deref(), Some("office"));
        assert!(limit.needs_identity());
        assert!(!parse(&["a", "key=global+address+peer", "rate=1/s"]).unwrap().unwrap().needs_identity());
        assert_eq!(parse(&["none"]), Ok(None));
    }

    #[test]
    fn mistakes() {
        for line in [
            "",
            "none key=global rate=1/s",
            "a",
            "a key=global",
            "a rate=1/s",
            "a key=ip rate=1/s",
            "a key=address+address rate=1/s",
            "a key= rate=1/s",
            "a key=claim: rate=1/s",
            "a key=global rate=0/s",
            "a key=global rate=1",
            "a key=global rate=1/s burst=0",
            "a key=global rate=1/s burst=2147483648",
            "a key=global rate=1/s burst=-1",
            "a key=global rate=1/s exempt=office",
            "a key=global rate=1/s rate=2/s",
            "a key=global rate=1/s colour=blue",
            "a/b key=global rate=1/s",
        ] {
            assert!(parse(&line.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
