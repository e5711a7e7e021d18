//! Tests of fetching keys, against servers on this machine.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

mod fetch_discovery;
mod fetch_http;
mod fetch_proxy;
mod fetch_redirects;
mod fetch_server;
mod fetch_tls;
