//! `JwtGateLimit NAME key=KEY rate=RATE [burst=N] [quota=N/PERIOD] [plan-claim=C] [default-plan=P]
//! [exempt=@NETWORK] [dry-run]`.

use super::plan::PlanDef;
use super::{address, parse};
use crate::limit::{LimitId, Numbers, Quota, Rate};

/// What a directive said. Two directives with one name must be equal: they are one bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitDef {
    /// Its name; also the name in the RateLimit fields.
    pub name: String,
    /// What is counted: one bucket for each combination of these.
    pub key: Vec<KeyPart>,
    /// How fast, for who has no plan.
    pub numbers: Numbers,
    /// How much in a day, week or month, for who has no plan.
    pub quota: Option<Quota>,
    /// The claim that names the caller's plan.
    pub plan_claim: Option<String>,
    /// The plan of who has no other.
    pub default_plan: Option<String>,
    /// A network whose clients are not counted.
    pub exempt: Option<String>,
    /// What the limit would refuse is told and let in; it is counted in buckets of its own.
    pub dry_run: bool,
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
    /// Whether the limit counts nobody who is anonymous.
    pub fn needs_identity(&self) -> bool {
        self.key.iter().any(KeyPart::needs_identity)
    }

    /// The word of `key=` for which one client can invent as many keys as it has addresses; `None` if the key needs an
    /// identity, too.
    pub fn client_part(&self) -> Option<&'static str> {
        let word = |part: &KeyPart| match part {
            KeyPart::Address => Some("address"),
            KeyPart::Peer => Some("peer"),
            _ => None,
        };
        self.key.iter().find_map(word).filter(|_| !self.needs_identity())
    }

    /// Which limit it is; a dry run is counted apart.
    pub fn id(&self, dry_run: bool) -> LimitId {
        let id = LimitId::new(&self.name);
        if dry_run { id.with_member("dry-run") } else { id }
    }

    /// The numbers for a caller with this plan: what the plan leaves out, the limit says.
    pub fn numbers_of(&self, plan: Option<&PlanDef>) -> (Numbers, Option<Quota>) {
        let numbers = plan.and_then(|plan| plan.numbers).unwrap_or(self.numbers);
        (numbers, plan.and_then(|plan| plan.quota).or(self.quota))
    }

    /// Whether the limit is tested after the credential, and takes its numbers from the caller's plan.
    pub fn follows_plans(&self) -> bool {
        self.needs_identity() || self.plan_claim.is_some() || self.default_plan.is_some()
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
    let (mut quota, mut plan_claim, mut default_plan, mut dry_run) = (None, None, None, false);
    for word in rest {
        (|| {
            if word.eq_ignore_ascii_case(parse::DRY_RUN) {
                let is_new = !std::mem::replace(&mut dry_run, true);
                return if is_new { Ok(()) } else { Err("`dry-run` is there twice: leave one out".to_owned()) };
            }
            let (option, value) = parse::option(word)?;
            match option {
                "key" => parse::set_once(&mut key, option, parse_key(value)?),
                "rate" => parse::set_once(&mut rate, option, value.parse::<Rate>()?),
                "burst" => parse::set_once(&mut burst, option, parse_burst(value)?),
                "quota" => parse::set_once(&mut quota, option, value.parse::<Quota>()?),
                "plan-claim" => parse::set_once(&mut plan_claim, option, value.to_owned()),
                "default-plan" => parse::set_once(&mut default_plan, option, parse::name("a plan", value)?),
                "exempt" => parse::set_once(&mut exempt, option, parse_exempt(value)?),
                _ => Err(format!(
                    "`{option}=` is not an option: use `key=`, `rate=`, `burst=`, `quota=`, `plan-claim=`, \
                     `default-plan=` and `exempt=`, and the word `dry-run`"
                )),
            }
        })()
        .map_err(|text: String| format!("limit `{name}`: {text}"))?;
    }
    let key = key.ok_or_else(|| format!("limit `{name}` has no key: add `key=address`, `key=subject` or another"))?;
    let rate = rate.ok_or_else(|| format!("limit `{name}` has no rate: add one like `rate=100/s`"))?;
    let numbers = Numbers::new(rate, burst).map_err(|text| format!("limit `{name}`: {text}"))?;
    Ok(Some(LimitDef { name, key, numbers, quota, plan_claim, default_plan, exempt, dry_run }))
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

/// `burst=`: the size of a bucket.
///
/// # Errors
/// Text for the administrator.
pub(super) fn parse_burst(text: &str) -> Result<u32, String> {
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
        assert!(limit.follows_plans() && !limit.dry_run && limit.quota.is_none());
        assert!(!parse(&["a", "key=global+address+peer", "rate=1/s"]).unwrap().unwrap().follows_plans());
        let words =
            ["a", "key=address", "rate=1/s", "quota=100/day", "plan-claim=tier", "default-plan=free", "Dry-Run"];
        let limit = parse(&words).unwrap().unwrap();
        assert_eq!(limit.quota, Some("100/day".parse().unwrap()));
        assert_eq!((limit.plan_claim.as_deref(), limit.default_plan.as_deref()), (Some("tier"), Some("free")));
        assert!(limit.dry_run && limit.follows_plans() && !limit.needs_identity());
        assert_eq!(limit.client_part(), Some("address"));
        for (key, part) in [("global", None), ("global+peer", Some("peer")), ("address+subject", None)] {
            assert_eq!(parse(&["a", &format!("key={key}"), "rate=1/s"]).unwrap().unwrap().client_part(), part, "{key}");
        }
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
            "a key=global rate=1/s quota=0/day",
            "a key=global rate=1/s quota=5",
            "a key=global rate=1/s quota=5/year",
            "a key=global rate=1/s quota=4294967296/day",
            "a key=global rate=1/s quota=5/day quota=6/week",
            "a key=global rate=1/s default-plan=a/b",
            "a key=global rate=1/s plan-claim=",
            "a key=global rate=1/s dry-run=on",
            "a key=global rate=1/s dry-run dry-run",
        ] {
            assert!(parse(&line.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
