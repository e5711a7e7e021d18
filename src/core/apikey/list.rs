//! A compiled list, and which key of it was presented.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::array::{Layout, hash};
use super::format::looks_right;
use super::key::ApiKey;
use crate::compiled::sha256;

/// Bytes of a hash that the search looks at.
const PREFIX: usize = 8;

/// A list that can be asked. It never changes.
pub struct ApiKeyList {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    layout: Layout,
}

impl ApiKeyList {
    /// Takes what [`super::compile`] made. All of it is checked here, once. `bytes` must stay what they are: if
    /// there are fewer of them later, no key is found.
    ///
    /// # Errors
    /// A sentence for the log: this is no compiled list, one of another version, or damaged.
    pub fn open(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Self, String> {
        let layout = Layout::check((*bytes).as_ref())?;
        Ok(Self { bytes, layout })
    }

    /// SHA-256 of the file from which the list was compiled.
    pub fn source_digest(&self) -> [u8; 32] {
        self.layout.source_digest
    }

    /// How many keys there are, those that may not be used now included.
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The plans that the file names, in alphabetical order.
    pub fn plans(&self) -> impl Iterator<Item = &str> {
        self.layout.plans(self.bytes()).into_iter().flatten()
    }

    /// The networks that the file names, without `@`, in alphabetical order.
    pub fn network_names(&self) -> impl Iterator<Item = &str> {
        self.layout.networks(self.bytes()).into_iter().flatten()
    }

    /// The key that was presented, if the file has it; [`ApiKey::check`] says whether it may be used. What cannot
    /// be a key ([`super::format`]) is not hashed. Allocates nothing but the text of the key that it returns.
    ///
    /// How long the search takes may tell how the first bits of a guess's hash compare with those of the hashes
    /// here. They are bits of SHA-256: whoever presents a guess knows its hash anyway, and cannot steer from it
    /// towards a key. The hashes as a whole are compared in constant time.
    pub fn find(&self, presented: &[u8]) -> Option<ApiKey> {
        if !looks_right(presented) {
            return None;
        }
        let wanted = sha256(presented);
        let bytes = self.bytes();
        let records = self.layout.records(bytes)?;
        let first = records.partition_point(|record| hash(record)[..PREFIX] < wanted[..PREFIX]);
        let alike = records.get(first..)?.iter().take_while(|record| hash(record)[..PREFIX] == wanted[..PREFIX]);
        let found = alike.into_iter().find(|record| bool::from(hash(record).ct_eq(&wanted)))?;
        self.layout.key(bytes, found)
    }

    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }
}
