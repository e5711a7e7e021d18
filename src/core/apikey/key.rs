//! One key: who it stands for, and where and when it may be used.

use std::fmt;
use std::net::IpAddr;

use crate::config::address::network_name;
use crate::config::parse;
use crate::config::resource::is_scope;
use crate::net::address::Cidr;
use crate::time::UnixMicros;

/// Characters of the longest id.
const MAX_ID: usize = 128;

/// A key that was found. It has a copy of its entry, so that it outlives the list and no later change of the bytes
/// that the list maps changes what it says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// A line each: id, plan, scopes, networks. [`Self::from_parts`] has seen that all are good.
    text: Box<str>,
    not_before: UnixMicros,
    expires: Option<UnixMicros>,
}

/// Why a key that was found may not be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// `not_before` is yet to come.
    NotYetValid,
    /// `expires` has come.
    Expired,
    /// `networks` does not have the client's address.
    WrongAddress,
}

impl ApiKey {
    /// The key of an entry in an array, if the entry is one.
    pub(super) fn from_parts(text: &str, not_before: UnixMicros, expires: Option<UnixMicros>) -> Option<Self> {
        is_entry(text).then(|| Self { text: text.into(), not_before, expires })
    }

    /// The administrator's name of the key: 1 to 128 visible ASCII characters without quotes and `\`. No other key
    /// of the list has it.
    pub fn id(&self) -> &str {
        self.line(0)
    }

    /// The name of its usage plan.
    pub fn plan(&self) -> Option<&str> {
        Some(self.line(1)).filter(|plan| !plan.is_empty())
    }

    /// Its scopes (RFC 6749 section 3.3), perhaps none.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope().split(' ').filter(|scope| !scope.is_empty())
    }

    /// Its scopes as they stand in the claim `scope` of a token (RFC 8693 section 4.2): a blank between any two.
    pub fn scope(&self) -> &str {
        self.line(2)
    }

    /// Where it may be used: CIDR blocks, and `@NAME` of a `JwtGateNetwork`. None means everywhere.
    pub fn networks(&self) -> impl Iterator<Item = &str> {
        self.line(3).split(' ').filter(|network| !network.is_empty())
    }

    /// From when on it may be used; 1970 if the entry does not say.
    pub fn not_before(&self) -> UnixMicros {
        self.not_before
    }

    /// The first moment at which it may be used no more.
    pub fn expires(&self) -> Option<UnixMicros> {
        self.expires
    }

    /// Whether the key may be used now and from this address. `network` says whether the client is in the
    /// `JwtGateNetwork` of a name; one that does not exist has nobody in it. Both times are exact: they come from
    /// the administrator of this server, so that there is no other clock to be lenient with. Does not allocate.
    ///
    /// # Errors
    /// The first thing that speaks against it, times before address.
    pub fn check(&self, now: UnixMicros, client: IpAddr, network: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        if now < self.not_before {
            return Err(Refusal::NotYetValid);
        }
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(Refusal::Expired);
        }
        let has = |item: &str| match item.strip_prefix('@') {
            Some(name) => network(name),
            None => item.parse().is_ok_and(|block: Cidr| block.contains(client)),
        };
        if self.networks().next().is_some() && !self.networks().any(has) {
            return Err(Refusal::WrongAddress);
        }
        Ok(())
    }

    fn line(&self, number: usize) -> &str {
        self.text.split('\n').nth(number).unwrap_or_default()
    }
}

/// For the error log.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYetValid => "the API key is not valid yet",
            Self::Expired => "the API key has expired",
            Self::WrongAddress => "the API key may not be used from this address",
        })
    }
}

/// Whether `text` can be the id of a key. It goes into header fields and logs as it is.
pub(super) fn is_id(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(fits)
}

/// Whether `text` is what an [`ApiKey`] can be made of.
pub(super) fn is_entry(text: &str) -> bool {
    let all = |items: &str, is_good: fn(&str) -> bool| items.is_empty() || items.split(' ').all(is_good);
    let mut lines = text.split('\n');
    let (Some(id), Some(plan), Some(scopes), Some(networks), None) =
        (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return false;
    };
    is_id(id)
        && (plan.is_empty() || parse::name("a plan", plan).is_ok())
        && all(scopes, is_scope)
        && all(networks, |item| network_name(item).map_or_else(|| item.parse::<Cidr>().is_ok(), |name| name.is_ok()))
}
