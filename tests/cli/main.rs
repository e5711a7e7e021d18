//! `jwt-gate` as administrators run it: the program itself, with real files.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

mod apikey_edit;
mod apikey_list;
mod apikey_new;
mod apikey_revoke;
mod completions;
mod explain;
mod folder;
mod keys_show;
mod man;
mod server;
mod token_inspect;
mod usage;
