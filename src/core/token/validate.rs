//! Claims against the issuer's policy.

use super::{
    claims::{Claims, Times},
    issuer::{Audiences, Issuer, Types},
    json::Json,
};
use crate::{time::UnixMicros, verdict::Reason};

/// `exp`, `nbf` and, with a greatest age, `iat` (RFC 7519 sections 4.1.4 to 4.1.6). A time that is sent is
/// checked, whether the policy asks for it or not.
pub(super) fn times(times: &Times, issuer: &Issuer, now: UnixMicros) -> Result<(), Reason> {
    let leeway = issuer.leeway;
    match times.expires {
        Some(expires) if now >= expires.saturating_add(leeway) => return Err(Reason::TokenExpired),
        None if issuer.require_exp => return Err(Reason::ClaimMismatch),
        _ => {}
    }
    if times.not_before.is_some_and(|not_before| now < not_before.saturating_sub(leeway)) {
        return Err(Reason::TokenNotYetValid);
    }
    if let Some(max_age) = issuer.max_age {
        let issued_at = times.issued_at.ok_or(Reason::ClaimMismatch)?;
        if now < issued_at.saturating_sub(leeway) {
            return Err(Reason::TokenNotYetValid);
        }
        if now > issued_at.saturating_add(max_age).saturating_add(leeway) {
            return Err(Reason::TokenExpired);
        }
    }
    Ok(())
}

/// The first audience claim that is present names one of the accepted audiences (RFC 7519 section 4.1.3).
pub(super) fn audience(claims: &Claims, issuer: &Issuer) -> Result<(), Reason> {
    let Audiences::OneOf(accepted) = &issuer.audiences else { return Ok(()) };
    let named = claims.first_of(&issuer.audience_claims).ok_or(Reason::ClaimMismatch)?;
    if named.strings().any(|audience| accepted.iter().any(|a| a == audience)) {
        Ok(())
    } else {
        Err(Reason::AudienceMismatch)
    }
}

/// The header's `typ` (RFC 7515 section 4.1.9; RFC 8725 section 3.11).
pub(super) fn typ(typ: Option<&str>, accepted: &Types) -> Result<(), Reason> {
    let fits = |accepted: &str, typ| subtype(accepted).eq_ignore_ascii_case(subtype(typ));
    let good = match (accepted, typ) {
        (Types::Usual, None) => true,
        (Types::Usual, Some(typ)) => fits("JWT", typ) || fits("at+jwt", typ),
        (Types::OneOf(_), None) => false,
        (Types::OneOf(accepted), Some(typ)) => accepted.iter().any(|a| fits(a, typ)),
    };
    if good { Ok(()) } else { Err(Reason::TypeMismatch) }
}

/// A media type without the `application/` that may be left out where no other slash follows.
fn subtype(media_type: &str) -> &str {
    const PREFIX: &str = "application/";
    match media_type.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        _ => media_type,
    }
}

/// The claims that must have one certain value.
pub(super) fn fixed_claims(claims: &Claims, issuer: &Issuer) -> Result<(), Reason> {
    let good = |(name, value): &(String, String)| {
        claims.get(name).and_then(Json::scalar_text).is_some_and(|text| text == value.as_str())
    };
    if issuer.fixed_claims.iter().all(good) { Ok(()) } else { Err(Reason::ClaimMismatch) }
}
