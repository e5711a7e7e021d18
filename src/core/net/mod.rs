//! Addresses and networks: who may knock at all, and how addresses are grouped for limits.
//!
//! Everything here compares an IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2)
//! as the IPv4 address in it, because a dual-stack socket shows one client in either form.
//!
//! A file of networks is compiled once for the whole server ([`list::compile`]) into one flat array of bytes, which
//! every process can map read-only and ask without parsing or copying ([`list::NetworkList`]).

pub mod address;
mod array;
pub mod aws_file;
pub mod cidr_file;
pub mod list;
pub mod network;
pub mod rules;
