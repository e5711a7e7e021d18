//! What one section of the configuration said (`<Location>`, `<If>`, or a server outside of its
//! sections). Unset is not the default: sections are merged first, defaults are put in at the end.

use std::sync::Arc;

use super::address::{Addresses, Item};
use super::cors::CorsDef;
use super::credentials::{Credentials, TokenMode};
use super::forward::ForwardDef;
use super::limit::LimitDef;
use super::lockout::LockoutDef;
use super::resource::ResourceDef;

/// `JwtGate`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Requests are not decided here; identity headers are removed all the same.
    Off,
    /// Requests are decided, and let in all the same: what would have been refused is told.
    DryRun,
    /// Requests are decided.
    On,
}

/// `JwtGateErrorBody`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorBody {
    /// Problem details (RFC 9457), unless an `ErrorDocument` applies.
    Problem,
    /// The page that httpd makes.
    Httpd,
}

/// A list to which inner sections add, unless they drop what they inherit first.
#[derive(Clone, Debug)]
pub struct Inherited<T> {
    /// `none` was said: what outer sections added does not count.
    pub cleared: bool,
    /// What this section adds.
    pub items: Vec<T>,
}

impl<T> Default for Inherited<T> {
    fn default() -> Self {
        Self { cleared: false, items: Vec::new() }
    }
}

impl<T> Inherited<T> {
    /// `None` is the word `none`.
    pub fn add(&mut self, items: Option<Vec<T>>) {
        match items {
            Some(items) => self.items.extend(items),
            None => {
                self.cleared = true;
                self.items.clear();
            }
        }
    }
}

/// Where a directive stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// The configuration file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u32,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of {}", self.line, self.file)
    }
}

/// Who may connect.
#[derive(Debug, Default)]
pub struct AddressLists {
    /// Replaces what is inherited; empty after `none`.
    pub allow: Option<Vec<Item>>,
    /// Added to what is inherited.
    pub deny: Inherited<Item>,
}

impl AddressLists {
    fn items(&self) -> impl Iterator<Item = (&'static str, &Item)> {
        let allow = self.allow.iter().flatten().map(|item| ("JwtGateAllow", item));
        allow.chain(self.deny.items.iter().map(|item| ("JwtGateDeny", item)))
    }
}

/// What one section said.
#[derive(Debug, Default)]
pub struct Section {
    /// The section's own path (`/api` of `<Location "/api">`), if it has one.
    pub path: Option<String>,
    /// Where its first directive of this module stands.
    pub origin: Origin,
    /// `JwtGate`.
    pub mode: Option<Mode>,
    /// `JwtGateToken`.
    pub token: Option<TokenMode>,
    /// `JwtGateIssuers`.
    pub issuers: Option<Vec<String>>,
    /// `JwtGateCredentials`.
    pub credentials: Option<Credentials>,
    /// `JwtGateAllow` and `JwtGateDeny`.
    pub addresses: AddressLists,
    /// The same with `dry-run`.
    pub address_trial: AddressLists,
    /// `JwtGateLockout`; `Some(None)` after `off`.
    pub lockout: Option<Option<LockoutDef>>,
    /// `JwtGateLimit`.
    pub limits: Inherited<(Origin, Arc<LimitDef>)>,
    /// `JwtGateLimitHeaders`.
    pub limit_headers: Option<bool>,
    /// `JwtGateForward`.
    pub forward: Inherited<Arc<ForwardDef>>,
    /// `JwtGateForwardCredentials`.
    pub forward_credentials: Option<bool>,
    /// `JwtGateRealm`.
    pub realm: Option<String>,
    /// `JwtGateCors`; `Some(None)` after `off`.
    pub cors: Option<Option<Arc<CorsDef>>>,
    /// `JwtGateResource`; `Some(None)` after `off`.
    pub resource: Option<Option<Arc<ResourceDef>>>,
    /// `JwtGateErrorBody`.
    pub error_body: Option<ErrorBody>,
    /// `JwtGateTrace`.
    pub trace: Option<bool>,
}

impl Section {
    /// The lists of addresses that refuse, or those of a dry run.
    pub const fn addresses(&mut self, dry_run: bool) -> &mut AddressLists {
        if dry_run { &mut self.address_trial } else { &mut self.addresses }
    }

    /// The networks that this section names, each with the directive that does.
    pub fn network_names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let items = self.addresses.items().chain(self.address_trial.items());
        let named = items.filter_map(|(directive, item)| match &item.addresses {
            Addresses::Named(name) => Some((directive, name.as_str())),
            Addresses::Cidr(_) => None,
        });
        let limits = self.limits.items.iter().filter_map(|(_, limit)| limit.exempt.as_deref());
        named.chain(limits.map(|name| ("JwtGateLimit", name)))
    }
}

/// Whether a section of the path `above` applies to `path`: it is the same, or all that is below.
pub fn begins(above: &str, path: &str) -> bool {
    let is_below = |rest: &str| rest.is_empty() || rest.starts_with('/') || above.ends_with('/');
    path.strip_prefix(above).is_some_and(is_below)
}

/// `JwtGateRealm TEXT`: goes into a quoted string (RFC 9110 section 5.6.4).
///
/// Clients of the Model Context Protocol search the whole challenge for `scope=` and its like, also inside of quotes: a
/// realm with such a text would send them elsewhere, or have them ask for other scopes.
///
/// # Errors
/// Text for the administrator.
pub fn realm(words: &[&str]) -> Result<String, String> {
    const PARAMETERS: [&str; 3] = ["scope=", "resource_metadata=", "error="];
    let text = match words {
        [text] if !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b)) => *text,
        [text] => return Err(format!("`{}` cannot be a realm: use visible ASCII characters", text.escape_debug())),
        _ => return Err("takes one text: put double quotes around a realm with spaces".to_owned()),
    };
    let lower = text.to_ascii_lowercase();
    match PARAMETERS.iter().find(|parameter| lower.contains(**parameter)) {
        Some(parameter) => Err(format!(
            "`{text}` cannot be a realm: clients would take `{parameter}` in it for a part of the challenge; write a \
             text without it (JwtGateResource says where tokens come from, and for which scopes)"
        )),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_one_text_that_no_client_takes_for_more() {
        for good in ["api", "Example API", "a \"b\" \\", "scope", "x=y", "resource_metadata"] {
            assert_eq!(realm(&[good]).as_deref(), Ok(good));
        }
        for wrong in [&[][..], &[""], &["a", "b"], &["a\nb"], &["ä"]] {
            assert!(realm(wrong).is_err(), "{wrong:?}");
        }
        for (wrong, parameter) in [
            ("scope=admin", "`scope=`"),
            ("my microscope=2", "`scope=`"),
            ("a SCOPE=b", "`scope=`"),
            ("see resource_metadata=https://evil.test", "`resource_metadata=`"),
            ("error=none", "`error=`"),
        ] {
            let error = realm(&[wrong]).unwrap_err();
            assert!(error.contains(parameter) && error.contains("JwtGateResource"), "{error}");
        }
    }
}
