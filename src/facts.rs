//! What a decision may look at, over httpd's request.

use std::net::IpAddr;

use jwt_gate_core::facts::{Facts, Found};
use jwt_gate_core::time::MonoNanos;

use crate::httpd::{Request, now};

/// What the decision may look at, over httpd's request.
pub(crate) struct RequestFacts<'r>(pub(crate) Request<'r>);

impl<'r> Facts<'r> for RequestFacts<'r> {
    fn later(&self, _: MonoNanos) -> MonoNanos {
        now().mono
    }

    fn client(&self) -> IpAddr {
        self.0.client_address()
    }

    fn peer(&self) -> IpAddr {
        self.0.peer_address()
    }

    fn method(&self) -> &'r [u8] {
        self.0.method()
    }

    fn query(&self) -> Option<&'r [u8]> {
        self.0.query()
    }

    fn header(&self, name: &str) -> Found<'r> {
        self.0.headers_in().header(name)
    }

    fn own_scheme(&self) -> &'r [u8] {
        self.0.server().scheme().unwrap_or_else(|| self.0.scheme())
    }
}
