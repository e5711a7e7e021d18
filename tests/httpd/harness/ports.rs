//! Free TCP ports that no other test takes meanwhile.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

/// Below the range from which the kernel serves outgoing connections (`ip_local_port_range`).
const RANGE: std::ops::Range<u32> = 18_000..32_000;

/// A TCP port free on 127.0.0.1 and, where there is IPv6, on ::1.
///
/// Tests run as processes of their own, so the reservation must be seen by all of them and end with its owner:
/// it is the UDP port of the same number.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Reserves a port.
    ///
    /// # Panics
    /// When none is free.
    pub(crate) fn reserve() -> Self {
        let size = RANGE.end - RANGE.start;
        let first = std::process::id().wrapping_mul(97);
        (0..size).map(|n| RANGE.start + first.wrapping_add(n) % size).find_map(Self::claim).expect("a free port")
    }

    /// Whether a server on this port has let go of all its connections.
    ///
    /// mpm_event has a race when it is ended while a connection is just closing: the main thread may use the socket of
    /// a worker that has freed it. Servers are therefore ended at a quiet moment, so that a crash is the module's.
    pub(crate) fn is_quiet(&self) -> bool {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        let own = format!(":{:04X}", self.number);
        !tables.iter().flat_map(|table| table.lines().skip(1)).any(|line| {
            // number: local remote state …; 01 is ESTABLISHED, 08 CLOSE_WAIT
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|local| local.ends_with(&own));
            local && fields.nth(1).is_some_and(|state| matches!(state, "01" | "08"))
        })
    }

    fn claim(number: u32) -> Option<Self> {
        let number = u16::try_from(number).ok()?;
        let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        if has_ipv6() {
            TcpListener::bind((Ipv6Addr::LOCALHOST, number)).ok()?;
        }
        Some(Self { number, _reservation: reservation })
    }
}

/// Whether this machine has the IPv6 loopback address.
pub(crate) fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
