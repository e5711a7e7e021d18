//! mod_jwt_gate in a real httpd, seen from outside: what clients get, what the application sees, what the log says.
//!
//! Each test has a httpd of its own ([`harness`]); the other modules hold one behaviour each. The module must have
//! been built before (`cargo build`, and for [`panics`] once more with a feature), and `make target/venv` must have
//! installed FastAPI.
#![allow(clippy::unwrap_used)] // a test ends at the first thing that is not as it should be

mod harness;

mod addresses;
mod answers;
mod bare;
mod caches;
mod configtest;
mod credentials;
mod daemon;
mod fastapi;
mod guard;
mod identity;
mod inner_requests;
mod limits;
mod mpm;
mod panics;
mod reload;
mod tokens_http;
mod withheld;
