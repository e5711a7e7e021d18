//! What a decision may look at. The host implements it over its own request; what costs something to find
//! out is only asked for when it matters.

use std::net::IpAddr;

use crate::time::MonoNanos;

/// The request to be decided. Bytes, never assumed to be UTF-8.
pub trait Facts<'r> {
    /// The client's address, as the host believes it.
    fn client(&self) -> IpAddr;
    /// The address of the connection's peer.
    fn peer(&self) -> IpAddr;
    /// The method.
    fn method(&self) -> &'r [u8];
    /// The query string, without `?`.
    fn query(&self) -> Option<&'r [u8]>;
    /// A header's value; names are compared without case.
    fn header(&self, name: &str) -> Found<'r>;
    /// The scheme under which clients know this server.
    fn own_scheme(&self) -> &'r [u8];
    /// The time by now, where `now` was the time at the beginning: before a limit refuses, since others may have
    /// been charged meanwhile. For a host whose clock stands still it is `now`.
    fn later(&self, now: MonoNanos) -> MonoNanos {
        now
    }
}

/// How often a header is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found<'r> {
    /// Not at all.
    None,
    /// Once.
    One(&'r [u8]),
    /// More than once, and the host did not join the values.
    Many,
}

/// A request made of plain values.
#[derive(Clone, Debug)]
pub struct PlainFacts<'r> {
    /// The client's address.
    pub client: IpAddr,
    /// The peer's address.
    pub peer: IpAddr,
    /// The method.
    pub method: &'r [u8],
    /// The query string.
    pub query: Option<&'r [u8]>,
    /// The headers, in order.
    pub headers: &'r [(&'r str, &'r [u8])],
    /// The scheme.
    pub own_scheme: &'r [u8],
}

impl<'r> Facts<'r> for PlainFacts<'r> {
    fn client(&self) -> IpAddr {
        self.client
    }

    fn peer(&self) -> IpAddr {
        self.peer
    }

    fn method(&self) -> &'r [u8] {
        self.method
    }

    fn query(&self) -> Option<&'r [u8]> {
        self.query
    }

    fn header(&self, name: &str) -> Found<'r> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Found::None,
            (Some((_, value)), None) => Found::One(value),
            _ => Found::Many,
        }
    }

    fn own_scheme(&self) -> &'r [u8] {
        self.own_scheme
    }
}
