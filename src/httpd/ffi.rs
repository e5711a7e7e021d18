//! The generated bindings; nothing else.

#![allow(warnings)]
#![allow(clippy::all, clippy::cast_lossless, clippy::semicolon_if_nothing_returned, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
