//! mod_jwt_gate in a real httpd, seen from outside: what clients get, what the application sees, what the log says.
//!
//! Each test has a httpd of its own ([`harness`]); the other modules hold one behaviour each. The module must have
//! been built before (`cargo build`, and for [`panics`] once more with a feature); `make target/venv` must have
//! installed FastAPI, and `make target/idp/node_modules` the identity providers.
#![allow(clippy::unwrap_used)] // a test ends at the first thing that is not as it should be

mod addresses;
mod answers;
mod authorize;
mod authorize_trees;
mod bare;
mod caches;
mod configtest;
mod cors;
mod credentials;
mod daemon;
mod expressions;
mod fastapi;
mod file_changes;
mod first_keys;
mod guard;
mod harness;
mod identity;
mod inner_requests;
mod key_sources;
mod limits;
mod mpm;
mod outage;
mod panics;
mod provider_faults;
mod providers;
mod real_providers;
mod reload;
mod resource;
mod revocations;
mod rotation;
mod state_dir;
mod tokens_http;
mod withheld;
