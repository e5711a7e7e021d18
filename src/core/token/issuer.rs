//! Issuers: whose tokens are accepted, with which keys, and what a token must say.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{algorithm::AlgorithmSet, keys::KeySet};

/// The finished policy of one issuer. It never changes: a new policy or a new key set is a new
/// `Issuer`, and what was verified by the old one is verified again.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Position in the configuration.
    pub id: u32,
    /// The administrator's name for it.
    pub name: String,
    /// What `iss` must be, byte for byte. `None`: for tokens without `iss`.
    pub issuer: Option<String>,
    /// The accepted audiences.
    pub audiences: Audiences,
    /// The first of these claims that is present is compared with the audiences.
    pub audience_claims: Vec<String>,
    /// The algorithms that its keys may be used with.
    pub algorithms: AlgorithmSet,
    /// The accepted `typ` of the header.
    pub types: Types,
    /// Claims, and the one value that each must have.
    pub fixed_claims: Vec<(String, String)>,
    /// Whether `exp` must be there.
    pub require_exp: bool,
    /// How much the clocks of issuer and server may differ.
    pub leeway: Duration,
    /// The greatest age, counted from `iat`, which must then be there.
    pub max_age: Option<Duration>,
    /// The claim that names the subject.
    pub subject: String,
    /// The claims that may hold scopes; the first that is present counts.
    pub scopes: Vec<String>,
    /// The claims that may hold groups; the first that is present counts.
    pub groups: Vec<String>,
    /// Its keys, perhaps shared with other policies for the same issuer. `None`: not to be had at present,
    /// so that no token can be judged.
    pub keys: Option<Arc<KeySet>>,
}

/// Which audiences are accepted.
#[derive(Clone, Debug)]
pub enum Audiences {
    /// Whatever the token says, or nothing.
    Any,
    /// One of these, byte for byte.
    OneOf(Vec<String>),
}

/// Which `typ` is accepted. `application/` may be left out on both sides, and case does not matter.
#[derive(Clone, Debug)]
pub enum Types {
    /// None, `JWT` or `at+jwt` (RFC 9068 section 2.1).
    Usual,
    /// One of these; it must be there.
    OneOf(Vec<String>),
}

/// The issuers whose tokens are accepted at one location.
#[derive(Debug, Default)]
pub struct IssuerSet {
    by_iss: HashMap<String, Arc<Issuer>>,
    without_iss: Option<Arc<Issuer>>,
}

impl IssuerSet {
    /// A set of issuers, each of which answers for another `iss`.
    ///
    /// # Errors
    /// Names the two that do not.
    pub fn new(issuers: Vec<Arc<Issuer>>) -> Result<Self, String> {
        let mut set = Self::default();
        for issuer in issuers {
            let name = issuer.name.clone();
            let other = match issuer.issuer.clone() {
                Some(iss) => set.by_iss.insert(iss, issuer),
                None => set.without_iss.replace(issuer),
            };
            if let Some(other) = other {
                return Err(format!(
                    "issuers {} and {name} have the same ISSUER {}: accept only one of them in the same place",
                    other.name,
                    other.issuer.as_deref().unwrap_or("-"),
                ));
            }
        }
        Ok(set)
    }

    /// The issuer that answers for this `iss`, or for tokens without one.
    pub fn by_iss(&self, iss: Option<&str>) -> Option<&Arc<Issuer>> {
        match iss {
            Some(iss) => self.by_iss.get(iss),
            None => self.without_iss.as_ref(),
        }
    }

    /// Every `iss` that is answered for, in the order of the configuration.
    pub fn identifiers(&self) -> Vec<&str> {
        let mut issuers: Vec<_> = self.by_iss.iter().map(|(iss, issuer)| (issuer.id, iss.as_str())).collect();
        issuers.sort_unstable();
        issuers.into_iter().map(|(_, iss)| iss).collect()
    }

    /// Whether this very issuer is accepted here: not another one of the same ISSUER, nor an earlier
    /// one whose policy or keys have been replaced.
    pub fn accepts(&self, issuer: &Arc<Issuer>) -> bool {
        self.by_iss(issuer.issuer.as_deref()).is_some_and(|accepted| Arc::ptr_eq(accepted, issuer))
    }
}
