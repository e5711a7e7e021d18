//! What `mod_jwt_gate` decides, without httpd.
//!
//! Everything here links and tests without a web server: no clock is read, no log is written, and no
//! file or socket is opened, except by [`fetch`]. The module around it (the root package) hands in bytes,
//! times and shared memory, and carries out what comes back.
//!
//! What this crate deliberately does not do: it has no `unsafe`, no process-wide mutable state (but the
//! registration of the crypto provider), and no default that lets a request in.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod answer;
pub mod apikey;
pub mod compiled;
pub mod config;
pub mod cors;
pub mod credentials;
pub mod csrf;
pub mod decision_log;
pub mod explain;
pub mod expression;
pub mod facts;
pub mod fetch;
pub mod forward;
pub mod gate;
pub mod identity;
mod json_list;
pub mod keys;
pub mod limit;
pub mod log_state;
pub mod metrics;
pub mod net;
pub mod path;
pub mod refusals;
pub mod requirement;
pub mod resource;
pub mod revocation;
pub mod status;
pub mod sync;
pub mod target;
pub mod time;
pub mod token;
pub mod trace;
pub mod usage;
pub mod verdict;
