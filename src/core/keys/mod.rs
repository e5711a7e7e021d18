//! Keys: read once, checked once, and from then on a key fits certain algorithms and no others.
//!
//! Nothing here guesses what a text might be: an administrator names the kind of a source, and each kind
//! has one reader: [`set::from_jwks`], [`set::from_pem`], [`set::from_secret`]. Messages are made for
//! administrators and never contain key material.
//!
//! Keys that change while the server runs are fetched by one process, when [`schedule`] says, and shared through
//! [`store`]; [`stored`] is how they are kept on disk.

mod jwk;
mod pem;
pub mod schedule;
mod secret;
pub mod set;
pub mod store;
pub mod stored;

pub use self::set::{KeySet, Loaded};
use crate::{
    algorithm::{Algorithm, AlgorithmSet},
    token::verify::VerifyingKey,
};

/// One key of one issuer.
#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    algorithms: AlgorithmSet,
    verifying: VerifyingKey,
}

impl Key {
    /// A key for those of `algorithms` that are of its family.
    ///
    /// # Errors
    /// There are none, so that no token could ever use it.
    fn new(kid: Option<String>, algorithms: AlgorithmSet, verifying: VerifyingKey) -> Result<Self, String> {
        let family = verifying.family();
        let fitting: AlgorithmSet = algorithms.iter().filter(|a| a.family() == family).collect();
        if fitting.is_empty() {
            return Err(format!("a key of kind {family:?} fits none of the algorithms {}", names(algorithms)));
        }
        Ok(Self { kid, algorithms: fitting, verifying })
    }

    /// The name that its issuer gave it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The algorithms that it may be used with.
    pub fn algorithms(&self) -> AlgorithmSet {
        self.algorithms
    }

    /// Whether `signature`, in base64url, is `algorithm`'s signature of `signing_input` by this key; never
    /// for an algorithm that this key may not be used with.
    pub fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &str) -> bool {
        self.algorithms.contains(algorithm) && self.verifying.verify(algorithm, signing_input, signature)
    }
}

/// The names of algorithms as an administrator writes them.
fn names(algorithms: AlgorithmSet) -> String {
    algorithms.iter().map(Algorithm::name).collect::<Vec<_>>().join(",")
}
