//! Who sent a request, by all that limits count by and that may be told.

use super::entry::Who;
use crate::config::limit::KeyPart;
use crate::decision_log::SubjectHash;
use crate::net::address::Cidr;

/// A caller.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The client's address, with those that are counted together with it.
    pub address: Cidr,
    /// The address of the connection's peer.
    pub peer: Cidr,
    /// The pseudonym of the subject; where there is no token, of the API key.
    pub subject: Option<SubjectHash>,
    /// The pseudonym of the API key.
    pub api_key: Option<SubjectHash>,
}

impl Caller {
    /// As refusals tell it.
    pub const fn who(self) -> Who {
        Who { address: Some(self.address), subject: self.subject }
    }

    /// Who is counted together with the caller: those with the same of what a limit counts by. What it does not count by
    /// is left out, since others of the same bucket have another. There is room for one address and one subject: the
    /// peer's gives way to the client's, and the API key to the subject.
    pub fn counted_by(self, key: &[KeyPart]) -> Who {
        let counts = |part| key.contains(&part);
        let address = match (counts(KeyPart::Address), counts(KeyPart::Peer)) {
            (true, _) => Some(self.address),
            (false, true) => Some(self.peer),
            (false, false) => None,
        };
        let subject = match (counts(KeyPart::Subject), counts(KeyPart::ApiKey)) {
            (true, _) => self.subject,
            (false, true) => self.api_key,
            (false, false) => None,
        };
        Who { address, subject }
    }

    /// Who is locked out together with the caller.
    pub const fn locked_out(self) -> Who {
        Who { address: Some(self.address), subject: None }
    }
}
