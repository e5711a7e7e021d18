//! `mod_jwt_gate`: an Apache httpd module that decides, before mod_proxy forwards a request, by client
//! address, token and rate limit.
//!
//! # Code map
//!
//! | where | what |
//! |---|---|
//! | `core/` | the package `jwt-gate-core`: every decision, without httpd and without `unsafe` |
//! | `httpd/` | the fence: the only place that touches httpd's memory; offers it safely to the rest |
//! | [`module`] | which function serves which hook, and why there |
//! | [`directives`] | from a directive's words to settings |
//! | [`check`] | mistakes in a configuration |
//! | [`sources`] | identity providers, key files and lists that a configuration names |
//! | [`files`], [`lists`], [`state_dir`] | what is read from disk, and what is kept there |
//! | [`writers`] | who may write the files that a configuration names |
//! | [`names`] | what is said of lists that do not go together with the configuration |
//! | [`lifecycle`], [`loading`], [`counting`] | who creates what: runtime, shared memory; what the parent reads |
//! | [`runtime`] | what requests use, and how it follows new keys |
//! | [`refresher`] | the background runner: fetches keys, looks after files |
//! | [`access`] | one request: facts, decision, what follows |
//! | [`facts`], [`decision`], [`answers`] | what a decision looks at, what is kept of it, what its answer carries |
//! | [`account`], [`metrics`], [`decision_log`], [`tracing`] | what a client request comes to, and who is told |
//! | [`handlers`], [`resources`] | what the gate answers itself |
//! | [`status`], [`refusals`] | how the gate is doing, for people; whom it has refused |
//! | [`explaining`] | how a request that is only described would be decided |
//! | [`authorize`] | `Require` lines and expressions |
//! | [`identity`] | what the application is told about who calls |
//!
//! Glue (the modules here) uses fence and core; the fence uses plain types of the core, and names of the
//! glue only where it keeps or calls them for it; the core knows neither.

#![deny(unsafe_code)]

mod access;
mod account;
mod answers;
mod authorize;
mod check;
mod counting;
mod decision;
mod decision_log;
mod directives;
mod explaining;
mod facts;
mod files;
mod handlers;
#[allow(unsafe_code)]
mod httpd;
mod identity;
mod lifecycle;
mod lists;
mod loading;
mod metrics;
mod module;
mod names;
mod refresher;
mod refusals;
mod resources;
mod runtime;
mod sources;
mod state_dir;
mod status;
mod tracing;
mod writers;
