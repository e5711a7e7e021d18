//! What one section of the configuration said (`<Location>`, `<If>`, or a server outside of its
//! sections). Unset is not the default: sections are merged first, defaults are put in at the end.

use std::sync::Arc;

use super::address::{Addresses, Item};
use super::cors::CorsDef;
use super::credentials::{Source, TokenMode};
use super::forward::ForwardDef;
use super::limit::LimitDef;
use super::resource::ResourceDef;

/// `JwtGate`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Requests are not decided here; identity headers are removed all the same.
    Off,
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
    pub credentials: Option<Vec<Source>>,
    /// `JwtGateAllow`: replaces what is inherited; empty after `none`.
    pub allow: Option<Vec<Item>>,
    /// `JwtGateDeny`.
    pub deny: Inherited<Item>,
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
}

impl Section {
    /// The networks that this section names, each with the directive that does.
    pub fn network_names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        fn named<'i>(
            directive: &'static str,
            items: impl Iterator<Item = &'i Item>,
        ) -> impl Iterator<Item = (&'static str, &'i str)> {
            items.filter_map(move |item| match &item.addresses {
                Addresses::Named(name) => Some((directive, name.as_str())),
                Addresses::Cidr(_) => None,
            })
        }
        let limits = self.limits.items.iter().filter_map(|(_, limit)| limit.exempt.as_deref());
        named("JwtGateAllow", self.allow.iter().flatten())
            .chain(named("JwtGateDeny", self.deny.items.iter()))
            .chain(limits.map(|name| ("JwtGateLimit", name)))
    }
}

/// Whether a section of the path `above` applies to `path`: it is the same, or all that is below.
pub fn begins(above: &str, path: &str) -> bool {
    let is_below = |rest: &str| rest.is_empty() || rest.starts_with('/') || above.ends_with('/');
    path.strip_prefix(above).is_some_and(is_below)
}

/// `JwtGateRealm TEXT`: goes into a quoted string (RFC 9110 section 5.6.4).
///
/// # Errors
/// Text for the administrator.
pub fn realm(words: &[&str]) -> Result<String, String> {
    match words {
        [text] if !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b)) => Ok((*text).to_owned()),
        [text] => Err(format!("`{}` cannot be a realm: use visible ASCII characters", text.escape_debug())),
        _ => Err("takes one text: put double quotes around a realm with spaces".to_owned()),
    }
}
