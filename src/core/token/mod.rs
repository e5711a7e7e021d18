//! Tokens: from the bytes a client sent to claims that may be believed.
//!
//! [`verify()`] is the whole of it, cheapest test first:
//!
//! 1. `compact`: size, three segments, each strict base64url (RFC 7515 section 7.1)
//! 2. `header`: `alg`, `kid`, `typ`, and nothing else (RFC 7515 section 4.1)
//! 3. [`issuer`]: `iss` selects the policy, and the policy the keys; a token chooses nothing else
//! 4. [`mod@verify`]: at most four checks, each by a key that is made for the token's algorithm
//! 5. [`claims`] and `validate`: types, times, audience, `typ`, fixed claims (RFC 7519 section 4.1)
//!
//! Before the signature is good only `alg`, `kid` and `iss` are looked at, as keys into fixed tables.
//! [`cache`] remembers what was verified.

pub mod cache;
pub mod claims;
pub(crate) mod compact;
mod header;
pub mod issuer;
pub mod json;
pub mod number;
pub(crate) mod remembered;
mod validate;
pub mod verify;

use std::sync::Arc;

pub use self::compact::{MAX_HEADER, MAX_TOKEN};
use self::{
    claims::{Claims, Times},
    compact::Compact,
    header::Header,
    issuer::{Issuer, IssuerSet},
    json::Json,
    remembered::Remembered,
};
use crate::{time::UnixMicros, verdict::Reason};

/// A token whose signature, times, audience, type and fixed claims were good when it was verified.
/// Only [`verify()`] makes one.
#[derive(Debug)]
pub struct Verified {
    issuer: Arc<Issuer>,
    claims: Claims<'static>,
    times: Times,
    payload: Box<str>,
    remembered: Remembered,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// The one word for it.
    pub reason: Reason,
    /// [`Issuer::id`] of the issuer whose keys were asked in vain (`key-unknown`, `keys-unavailable`).
    pub keys_of: Option<u32>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, keys_of: None }
    }
}

/// Checks `token` against the issuers that are accepted at one location.
///
/// # Errors
/// The first test that fails decides; the order is that of the [module](self).
pub fn verify(token: &[u8], issuers: &IssuerSet, now: UnixMicros) -> Result<Verified, Reason> {
    check(token, issuers, now).map_err(|rejection| rejection.reason)
}

/// [`verify()`], telling more of a refusal.
fn check(token: &[u8], issuers: &IssuerSet, now: UnixMicros) -> Result<Verified, Rejection> {
    let compact = Compact::parse(token)?;
    let header = compact.header()?;
    let header = Header::parse(&header)?;
    let payload = compact.payload()?;
    let claims = Claims::parse(&payload)?;
    compact.check_signature_form()?;

    let issuer = issuers.by_iss(claims.iss()?).ok_or(Reason::IssuerUnknown)?;
    if !issuer.algorithms.contains(header.algorithm) {
        return Err(Reason::AlgorithmRefused.into());
    }
    let of_issuer = |reason| Rejection { reason, keys_of: Some(issuer.id) };
    let keys = issuer.keys.as_ref().ok_or(of_issuer(Reason::KeysUnavailable))?;
    let mut candidates = keys.candidates(header.kid.as_deref(), header.algorithm).map_err(|reason| match reason {
        Reason::KeyUnknown => of_issuer(reason),
        _ => reason.into(),
    })?;
    if !candidates.any(|key| key.verify(header.algorithm, compact.signing_input, compact.signature)) {
        return Err(Reason::SignatureInvalid.into());
    }

    let times = claims.times()?;
    claims.check_types(issuer)?;
    let (issuer, claims) = (Arc::clone(issuer), claims.into_owned());
    let (payload, remembered) = (compact.payload.into(), Remembered::nothing());
    let verified = Verified { issuer, claims, times, payload, remembered };
    verified.check_time(now)?;
    validate::audience(&verified.claims, &verified.issuer)?;
    validate::typ(header.typ.as_deref(), &verified.issuer.types)?;
    validate::fixed_claims(&verified.claims, &verified.issuer)?;
    Ok(verified)
}

impl Verified {
    /// The issuer whose policy and key let the token in.
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// The claim that names the subject: `sub`, or what the issuer's policy says. An empty one is none.
    pub fn subject(&self) -> Option<&str> {
        self.text(&self.issuer.subject)
    }

    /// The client that the token was given to: `azp` (OpenID Connect Core section 2), else `client_id`
    /// (RFC 8693 section 4.3). An empty one is none.
    pub fn client(&self) -> Option<&str> {
        self.text("azp").or_else(|| self.text("client_id"))
    }

    /// The scopes: the words of a string, or the strings of an array, in the first of the issuer's
    /// scope claims that is present.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.claims.first_of(&self.issuer.scopes).into_iter().flat_map(Json::words)
    }

    /// The groups: one string, or the strings of an array, in the first of the issuer's group claims
    /// that is present.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.claims.first_of(&self.issuer.groups).into_iter().flat_map(Json::strings)
    }

    /// The claim of this name: the member of exactly that name; if there is none, dots reach into objects.
    pub fn claim(&self, name: &str) -> Option<&Json<'static>> {
        self.claims.get(name)
    }

    /// The payload as it was signed and sent.
    pub fn payload_base64url(&self) -> &str {
        &self.payload
    }

    /// `exp`, without leeway.
    pub fn expires(&self) -> Option<UnixMicros> {
        self.times.expires
    }

    /// `iat`.
    pub fn issued_at(&self) -> Option<UnixMicros> {
        self.times.issued_at
    }

    /// Whether the token may be used at `now`; asked again each time it comes out of the cache.
    ///
    /// # Errors
    /// `token-expired`, `token-not-yet-valid`; `claim-mismatch` where a mandatory time is missing.
    pub fn check_time(&self, now: UnixMicros) -> Result<(), Reason> {
        validate::times(&self.times, &self.issuer, now)
    }

    /// What the list of revocations that was asked last says of the token.
    pub(crate) fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Json::as_str).filter(|text| !text.is_empty())
    }
}
