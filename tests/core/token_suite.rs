//! Tests of tokens and keys, one binary.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

mod hostile_tokens;
mod rfc7515;
mod rfc7520;
mod rfc8037;
mod token_cache;
mod token_keys;
mod token_mint;
mod token_properties;
mod token_rules;
