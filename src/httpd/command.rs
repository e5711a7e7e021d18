//! The command table: httpd's side of the directives.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::os::raw::c_int;
use std::ptr::{self, NonNull};

use jwt_gate_core::config::directive::{Context, DIRECTIVES, Row};
use jwt_gate_core::config::section::{Origin, Section};
use jwt_gate_core::config::server::ServerSettings;

use super::config::{self, DirConfig, ServerConfig};
use super::pool::Pool;
use super::{ffi, guard, text};
use crate::directives;

/// A directive that is being read, borrowed for the call.
pub(crate) struct Command<'c> {
    raw: NonNull<ffi::cmd_parms>,
    life: PhantomData<&'c ffi::cmd_parms>,
}

impl<'c> Command<'c> {
    pub(super) fn raw(&self) -> *const ffi::cmd_parms {
        self.raw.as_ptr()
    }

    pub(super) fn pool(&self) -> Pool<'c> {
        // SAFETY: the command's parameters are live, and so is the configuration's pool.
        unsafe { Pool::from_raw(self.raw.as_ref().pool) }
    }

    /// Where it stands.
    pub(crate) fn origin(&self) -> Origin {
        // SAFETY: the parameters are live; `directive` is null only for `-c` and `-C` arguments.
        unsafe {
            self.raw.as_ref().directive.as_ref().map_or_else(Origin::default, |d| Origin {
                file: text::lossy(d.filename),
                line: u32::try_from(d.line_num).unwrap_or(0),
            })
        }
    }
}

impl Command<'_> {
    /// Whether it stands in a `<Files>` or `<FilesMatch>`. httpd's own check for this refuses `<If>` as well.
    fn is_in_files(&self) -> bool {
        // SAFETY: the parameters are live; a directive's parents live as long as it, up to null, and have
        // NUL-terminated names.
        unsafe {
            let mut parent = self.raw.as_ref().directive.as_ref().map_or(ptr::null_mut(), |d| d.parent);
            while let Some(section) = parent.as_ref() {
                let name = text::bytes(section.directive).unwrap_or_default();
                if name.eq_ignore_ascii_case(b"<Files") || name.eq_ignore_ascii_case(b"<FilesMatch") {
                    return true;
                }
                parent = section.parent;
            }
        }
        false
    }
}

/// What a directive may change.
pub(crate) struct Target<'c> {
    /// The section that it stands in.
    pub(crate) section: &'c mut Section,
    /// The server that it stands in.
    pub(crate) server: &'c mut ServerSettings,
}

/// httpd's table, made of the core's; ended by an empty row.
pub(super) struct Table([ffi::command_rec; DIRECTIVES.len() + 1]);

// SAFETY: the table is constant; its pointers go to constants.
unsafe impl Sync for Table {}

pub(super) static COMMANDS: Table = Table::new();

impl Table {
    const fn new() -> Self {
        let end = ffi::command_rec {
            name: ptr::null(),
            func: ffi::cmd_func { raw_args: None },
            cmd_data: ptr::null_mut(),
            req_override: 0,
            args_how: ffi::RAW_ARGS,
            errmsg: ptr::null(),
        };
        let mut table = [end; DIRECTIVES.len() + 1];
        let mut at = 0;
        while at < DIRECTIVES.len() {
            let row: &'static Row = &DIRECTIVES[at];
            table[at] = ffi::command_rec {
                name: row.name.as_ptr(),
                func: ffi::cmd_func { raw_args: Some(read) },
                cmd_data: ptr::from_ref(row).cast_mut().cast(),
                req_override: match row.context {
                    Context::Global | Context::Server => ffi::JWT_GATE_RSRC_CONF,
                    Context::Directory => ffi::JWT_GATE_RSRC_CONF | ffi::JWT_GATE_ACCESS_CONF,
                },
                args_how: ffi::RAW_ARGS,
                errmsg: row.help.as_ptr(),
            };
            at += 1;
        }
        Self(table)
    }

    pub(super) const fn as_ptr(&self) -> *const ffi::command_rec {
        self.0.as_ptr()
    }
}

/// Reads one directive. All arguments come as one text (RAW_ARGS): httpd's own splitting silently drops
/// what is behind the 64th word.
unsafe extern "C" fn read(parms: *mut ffi::cmd_parms, section: *mut c_void, arguments: *const c_char) -> *const c_char {
    // SAFETY: httpd hands in live parameters, whose `info` is the row's `cmd_data`.
    let (command, row) = unsafe {
        let raw = NonNull::new(parms).expect("httpd hands in parameters, never null");
        (Command { raw, life: PhantomData }, &*(*parms).info.cast::<Row>())
    };
    // An `AllowOverrideList` could let `.htaccess` files, read by request threads, have these directives.
    let mut forbidden = ffi::NOT_IN_LIMIT | ffi::NOT_IN_HTACCESS;
    if row.context == Context::Global {
        forbidden |= ffi::GLOBAL_ONLY;
    }
    // SAFETY: the parameters are live; the answer is null or a message on the configuration's pool.
    let misplaced = unsafe { ffi::ap_check_cmd_context(parms, forbidden) };
    if !misplaced.is_null() {
        return misplaced;
    }
    if command.is_in_files() {
        let text = "cannot occur within <Files>: a decision does not depend on the file that is served; use <Location>";
        return command.pool().c_string(format!("{} {text}", row.name.to_string_lossy()).as_bytes());
    }
    let outcome = guard::run(
        Err("internal error, please report it".to_owned()),
        |_| (),
        || {
            let words = words(&command, arguments)?;
            // SAFETY: while the configuration is read, by one thread, httpd hands the section that is being
            // read (made by `create_dir`) and its server (made by `create_server`) to this callback alone; no
            // other reference to either is alive.
            let target = unsafe {
                let server: &mut ServerConfig = &mut *(*config::entry((*(*parms).server).module_config)).cast();
                let section = (*section.cast::<DirConfig>()).own(command.pool(), server);
                Target { section, server: &mut server.settings }
            };
            directives::read(row.directive, &words.iter().map(String::as_str).collect::<Vec<_>>(), &command, target)
        },
    );
    match outcome {
        Ok(()) => ptr::null(),
        Err(text) => command.pool().c_string(format!("{}: {text}", row.name.to_string_lossy()).as_bytes()),
    }
}

/// The words of a directive, split and unquoted as httpd does.
fn words(command: &Command<'_>, mut arguments: *const c_char) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    // SAFETY: `arguments` is NUL-terminated; ap_getword_conf moves it forward and copies the word to the
    // pool. An empty rest ends the loop; an empty word in quotes is a word.
    unsafe {
        while !arguments.is_null() && *arguments != 0 {
            let word = text::bytes(ffi::ap_getword_conf(command.pool().raw(), &raw mut arguments)).unwrap_or_default();
            let word = std::str::from_utf8(word)
                .map_err(|_| format!("`{}` is not UTF-8: write the file in UTF-8", String::from_utf8_lossy(word)))?;
            words.push(word.to_owned());
        }
    }
    Ok(words)
}

const _: () = assert!(size_of::<c_int>() == 4, "httpd's flags are read as 32 bits");
