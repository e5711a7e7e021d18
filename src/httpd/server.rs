//! Servers: the main one and its virtual hosts.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::os::raw::c_int;
use std::ptr::NonNull;

use jwt_gate_core::config::section::Section;

use super::config::{self, ServerConfig};
use super::pool::Pool;
use super::{ffi, text};

/// A server, borrowed for `'s`.
#[derive(Clone, Copy)]
pub(crate) struct Server<'s> {
    raw: NonNull<ffi::server_rec>,
    life: PhantomData<&'s ffi::server_rec>,
}

impl<'s> Server<'s> {
    /// # Safety
    /// `raw` is a live server of the current configuration during `'s`.
    pub(super) unsafe fn from_raw(raw: *mut ffi::server_rec) -> Self {
        Self { raw: NonNull::new(raw).expect("httpd hands out servers, never null"), life: PhantomData }
    }

    pub(super) fn raw(self) -> *mut ffi::server_rec {
        self.raw.as_ptr()
    }

    fn record(self) -> &'s ffi::server_rec {
        // SAFETY: live and not written while modules look at it.
        unsafe { self.raw.as_ref() }
    }

    /// This server and those that follow it: from the main server, all.
    pub(crate) fn iter(self) -> impl Iterator<Item = Server<'s>> {
        std::iter::successors(Some(self), |server| {
            NonNull::new(server.record().next).map(|raw| Server { raw, life: PhantomData })
        })
    }

    /// Whether it is a `<VirtualHost>`.
    pub(crate) fn is_virtual(self) -> bool {
        self.record().is_virtual != 0
    }

    /// Its `ServerName` and port, for people; without port where it answers on any.
    pub(crate) fn name(self) -> String {
        let record = self.record();
        // SAFETY: null or NUL-terminated, as long as the server.
        let host = unsafe { text::lossy(record.server_hostname) };
        // SAFETY: null or live as long as the server; written only while the configuration is read.
        let address = unsafe { record.addrs.as_ref() };
        match if record.port == 0 { address.map_or(0, |address| address.host_port) } else { record.port } {
            0 => host,
            port => format!("{host}:{port}"),
        }
    }

    /// The name of `ServerName`, as `%v` of a log has it.
    pub(crate) fn host_name(self) -> Option<&'s [u8]> {
        // SAFETY: NUL-terminated or null, as long as the server.
        unsafe { text::bytes(self.record().server_hostname) }
    }

    /// The scheme written in `ServerName`, if any.
    pub(crate) fn scheme(self) -> Option<&'s [u8]> {
        // SAFETY: NUL-terminated or null, as long as the server.
        unsafe { text::bytes(self.record().server_scheme) }
    }

    /// What its directives said.
    pub(crate) fn config(self) -> &'s ServerConfig {
        // SAFETY: httpd made the entry with `create_server` before any directive; after the configuration
        // was read nothing writes it but `set_runtime`, before requests exist.
        unsafe { &*(*config::entry(self.record().module_config)).cast() }
    }

    /// The sections of its own that have directives of this module, outside of and inside of `<Location>` and
    /// the like; not those of the main server that it inherits.
    pub(crate) fn own_sections(self) -> Vec<&'s Section> {
        self.config().sections().collect()
    }

    /// Puts the runtime of this configuration on its pool and lets all servers find it.
    pub(crate) fn set_runtime(self, runtime: config::Runtime) {
        let runtime = self.config_pool().place(runtime);
        for (index, server) in self.iter().enumerate() {
            // SAFETY: the parent's one thread does this between reading the configuration and starting
            // children; no reference made by `config` is alive.
            unsafe {
                let config: *mut ServerConfig = (*config::entry(server.record().module_config)).cast();
                (*config).runtime = Some(runtime);
                (*config).index = index;
            }
        }
    }

    /// The runtime of this configuration, and which of its servers this one is.
    pub(crate) fn runtime(self) -> Option<(&'s config::Runtime, usize)> {
        let config = self.config();
        // SAFETY: placed on the configuration's pool, which outlives every request and callback.
        config.runtime.map(|runtime| (unsafe { runtime.as_ref() }, config.index))
    }

    /// A path relative to ServerRoot made absolute.
    pub(crate) fn file_path(self, path: &str) -> String {
        let pool = self.config_pool();
        // SAFETY: both strings are on live pools; the result is null for a path that cannot be.
        let full = unsafe { text::bytes(ffi::ap_server_root_relative(pool.raw(), pool.c_string(path.as_bytes()))) };
        full.map_or_else(|| path.to_owned(), |full| String::from_utf8_lossy(full).into_owned())
    }

    pub(super) fn process_pool(self) -> Pool<'static> {
        // SAFETY: the pool of the process lives as long as the process.
        unsafe { Pool::from_raw((*self.record().process).pool) }
    }

    pub(super) fn config_pool(self) -> Pool<'s> {
        // SAFETY: the pool of the configuration lives as long as its servers.
        unsafe { Pool::from_raw((*self.record().process).pconf) }
    }
}

/// Random words for a secret.
pub(crate) fn random() -> [u64; 2] {
    [(); 2].map(|()| u64::from_ne_bytes(random_bytes()))
}

/// Random bytes.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the buffer has that many bytes.
    let failed = unsafe { ffi::apr_generate_random_bytes(bytes.as_mut_ptr(), N) };
    assert!(failed == 0, "the system gives no random bytes");
    bytes
}

/// A secret that is made at the first start, and stays the same over graceful restarts.
pub(crate) fn lasting_secret(server: Server<'_>) -> [u64; 2] {
    const NAME: &CStr = c"mod_jwt_gate.secret.1";
    let pool = server.process_pool();
    let mut found: *mut c_void = std::ptr::null_mut();
    // SAFETY: the pool lives as long as the process; under this name only what is placed below is stored, by this
    // build of the module or another: two words.
    unsafe {
        ffi::apr_pool_userdata_get(&raw mut found, NAME.as_ptr(), pool.raw());
        if let Some(secret) = NonNull::new(found.cast::<[u64; 2]>()) {
            return secret.read();
        }
        let secret = random();
        let kept = std::ptr::from_ref(pool.copy(&[secret])).cast::<c_void>();
        ffi::apr_pool_userdata_setn(kept, NAME.as_ptr(), None, pool.raw());
        secret
    }
}

/// Threads with which each child process answers requests: 1 under prefork.
pub(crate) fn threads_per_child() -> usize {
    let mut threads: c_int = 0;
    // SAFETY: a query of a number, for which there is a place.
    let failed = unsafe { ffi::ap_mpm_query(ffi::AP_MPMQ_MAX_THREADS.cast_signed(), &raw mut threads) };
    if failed == 0 { usize::try_from(threads).unwrap_or(0).max(1) } else { 1 }
}

/// What httpd is doing.
fn state(query: u32) -> c_int {
    // SAFETY: a query of a number; it has no other effect.
    unsafe { ffi::ap_state_query(query.cast_signed()) }
}

/// Whether this is `httpd -t`, which ends after the check.
pub(crate) fn is_config_test() -> bool {
    state(ffi::AP_SQ_RUN_MODE) == ffi::AP_SQ_RM_CONFIG_TEST.cast_signed()
}

/// Whether this is the dry pass of a start, after which httpd reads the configuration once more.
pub(crate) fn is_dry_pass() -> bool {
    state(ffi::AP_SQ_MAIN_STATE) == ffi::AP_SQ_MS_CREATE_PRE_CONFIG.cast_signed()
}
