//! The fence: everything that touches httpd's memory. The only folder with `unsafe`, raw pointers and
//! names of the generated bindings; what it offers to the rest of the module is safe.
//!
//! The argument rests on what httpd promises to modules:
//! * a pointer handed to a callback is valid during the call, and what hangs on a pool is valid until
//!   the pool is cleared;
//! * configuration is read and merged by one thread of the parent; requests only read it;
//! * a `request_rec` and its tables are used by one thread at a time;
//! * strings are NUL-terminated, and a null pointer stands for "none".
//!
//! Wrappers borrow (`Request<'r>`, `Server<'s>`, `Pool<'p>`) and are only made inside of a callback, so
//! they cannot outlive it. Every callback enters through [`guard`].

mod authz;
mod clock;
mod command;
mod config;
mod expr;
mod ffi;
mod filter;
mod guard;
mod imagined;
mod log;
mod log_file;
mod mapping;
mod pool;
mod record;
mod request;
mod server;
mod shared_file;
mod shm;
mod status;
mod table;
mod text;
mod tree;
mod user;
mod watchdog;

pub(crate) use clock::now;
pub(crate) use command::{Command, Target};
pub(crate) use expr::Expression;
pub(crate) use filter::Filter;
pub(crate) use log::{Level, Log};
pub(crate) use log_file::LogFile;
pub(crate) use mapping::Mapping;
pub(crate) use request::Request;
pub(crate) use server::{Server, is_config_test, is_dry_pass, lasting_secret, random, random_bytes, threads_per_child};
pub(crate) use shared_file::SharedFile;
pub(crate) use shm::{Segment, SegmentName};
pub(crate) use status::Status;
pub(crate) use tree::configuration_tree;
pub(crate) use user::User;
pub(crate) use watchdog::{has_watchdog, watch};
