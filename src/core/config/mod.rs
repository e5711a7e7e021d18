//! Configuration: from a directive's text to the finished policy of a request.
//!
//! [`directive`] lists what exists. [`parse`] and the files named after a directive turn text into
//! values; a mistake is a `String` that says what is wrong and what to write instead (the caller puts
//! the directive's name, file and line before it). [`section`] keeps what one section of the
//! configuration said, unset being different from the default; [`server`] the same for a server.
//! [`policy`] merges sections and resolves them, once per combination of sections.

pub mod address;
pub mod audit;
pub mod cors;
pub mod credentials;
pub mod directive;
pub mod fetch;
pub mod forward;
pub mod issuer;
pub mod limit;
pub mod lockout;
pub mod log;
pub mod network;
pub mod parse;
pub mod plan;
pub mod policy;
pub mod requirement;
pub mod resource;
pub mod section;
pub mod server;
pub mod web_origin;
