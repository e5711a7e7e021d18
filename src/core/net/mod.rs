//! Addresses and networks: who may knock at all, and how addresses are grouped for limits.
//!
//! Everything here compares an IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2)
//! as the IPv4 address in it, because a dual-stack socket shows one client in either form.

pub mod address;
pub mod network;
pub mod rules;
