//! The JOSE header (RFC 7515 section 4.1). Three members are read; keys and addresses of keys that a
//! token brings along (`jwk`, `jku`, `x5u`, `x5c`) never are.

use std::borrow::Cow;

use super::json::Json;
use crate::{algorithm::Algorithm, verdict::Reason};

/// What a header says that matters here.
pub(super) struct Header<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Cow<'t, str>>,
    pub(super) typ: Option<Cow<'t, str>>,
}

impl<'t> Header<'t> {
    /// Reads the header's JSON text.
    ///
    /// # Errors
    /// `token-malformed`: not a JSON object, a member of the wrong type, no `alg`, or an extension that
    /// would have to be understood (`crit`; `b64`, RFC 7797). `algorithm-refused`: an `alg` that does not
    /// exist here, `none` among them.
    pub(super) fn parse(text: &'t [u8]) -> Result<Self, Reason> {
        let members = Json::parse_object(text).ok_or(Reason::TokenMalformed)?;
        let (mut alg, mut kid, mut typ) = (None, None, None);
        for (name, value) in members {
            let slot = match &*name {
                "alg" => &mut alg,
                "kid" => &mut kid,
                "typ" => &mut typ,
                "crit" | "b64" => return Err(Reason::TokenMalformed),
                _ => continue,
            };
            let Json::String(text) = value else { return Err(Reason::TokenMalformed) };
            *slot = Some(text);
        }
        let alg = alg.ok_or(Reason::TokenMalformed)?;
        let algorithm = Algorithm::from_name(&alg).ok_or(Reason::AlgorithmRefused)?;
        Ok(Self { algorithm, kid, typ })
    }
}
