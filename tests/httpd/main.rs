//! mod_jwt_gate in a real httpd, seen from outside: what clients get, what the application sees, what the log says.
//!
//! Each test has a httpd of its own ([`harness`]); the other modules hold one behaviour each. The module must have
//! been built before (`cargo build`, and for [`panics`] once more with a feature), and for [`api_keys`] the command
//! (`cargo build -p jwt-gate`); `make target/venv` must have installed FastAPI, and `make target/idp/node_modules` the
//! identity providers.
#![allow(clippy::unwrap_used)] // a test ends at the first thing that is not as it should be

mod addresses;
mod answers;
mod api_key_files;
mod api_keys;
mod authorize;
mod authorize_trees;
mod bare;
mod browser;
mod caches;
mod configtest;
mod cors;
mod credentials;
mod daemon;
mod decision_log;
mod dry_run;
mod example_checklist;
mod example_cognito;
mod example_gateway;
mod example_platform;
mod example_session;
mod explain;
mod expressions;
mod fastapi;
mod file_changes;
mod file_modes;
mod first_keys;
mod guard;
mod harness;
mod httpd_traps;
mod identity;
mod inner_requests;
mod key_sources;
mod limits;
mod lockout;
mod login;
mod mcp;
mod metrics;
mod mpm;
mod network_files;
mod outage;
mod panics;
mod path_forms;
mod plans;
mod provider_faults;
mod providers;
mod quotas;
mod real_providers;
mod reload;
mod resource;
mod revocations;
mod rotation;
mod state_dir;
mod status;
mod status_refusals;
mod tokens_http;
mod tracing;
mod transports;
mod usage;
mod withheld;
