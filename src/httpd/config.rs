//! The module's own configuration: what httpd creates, merges and hands back for each section and server.
//!
//! A section's directives are read into one [`Section`], which is shared by pointer from then on. What
//! httpd merges, on every request anew, is only the list of those pointers, so a merge neither copies nor
//! parses; the list is also the name under which the finished policy is found.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use jwt_gate_core::config::section::Section;
use jwt_gate_core::config::server::ServerSettings;

use super::pool::Pool;
use super::record::jwt_gate_module;
use super::{ffi, text};
// The types of the module's own that the fence keeps for it.
pub(super) use crate::decision::RequestState;
pub(super) use crate::runtime::Runtime;

/// What httpd holds for a section, or for several merged ones. Lives on a pool; needs no drop.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DirConfig {
    /// Path of the section, for as long as it has no directive of ours.
    path: *const std::ffi::c_char,
    /// Sections with directives of ours, outermost first.
    sections: *const NonNull<Section>,
    count: usize,
}

impl DirConfig {
    pub(super) fn sections<'c>(&self) -> &'c [&'c Section] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: `sections` points to `count` pointers on a pool that lives at least as long as this
        // configuration is in use; NonNull<Section> and &Section have the same layout, and sections are
        // not written any more when they are read through this (requests, and the checks after the whole
        // configuration was read).
        unsafe { std::slice::from_raw_parts(self.sections.cast(), self.count) }
    }

    /// The section itself, for its directives; made at the first one and told to its server.
    ///
    /// # Safety
    /// Only while the configuration is read, for the section that is being read (not for a merged one), on
    /// the pool of the configuration; no other reference to that section is alive.
    pub(super) unsafe fn own<'c>(&mut self, pool: Pool<'c>, server: &mut ServerConfig) -> &'c mut Section {
        if self.count == 0 {
            // SAFETY: httpd gives a NUL-terminated path, or null.
            let path = unsafe { text::bytes(self.path) }.map(|path| String::from_utf8_lossy(path).into_owned());
            let section = pool.place(Section { path, ..Section::default() });
            self.sections = pool.copy(&[section]).as_ptr();
            self.count = 1;
            server.sections.push(section);
        }
        // SAFETY: one pointer is there, made by `place` above; exclusive by the caller's promise.
        unsafe { &mut *(*self.sections).as_ptr() }
    }
}

/// What httpd holds for a server. Dropped with the configuration's pool.
#[derive(Default)]
pub(crate) struct ServerConfig {
    /// What the server's directives said; for a virtual host together with the main server's.
    pub(crate) settings: ServerSettings,
    /// The sections of its own that have directives of ours, in the order of the configuration.
    sections: Vec<NonNull<Section>>,
    /// What came of it; set before the children are started.
    pub(crate) runtime: Option<NonNull<Runtime>>,
    /// Which of the runtime's servers this is.
    pub(crate) index: usize,
}

impl ServerConfig {
    /// The sections of its own; once the configuration is read.
    pub(super) fn sections(&self) -> impl Iterator<Item = &Section> {
        // SAFETY: sections live on the pool of the configuration, as this does, and are written no more.
        self.sections.iter().map(|section| unsafe { section.as_ref() })
    }
}

pub(super) unsafe extern "C" fn create_dir(pool: *mut ffi::apr_pool_t, path: *mut std::ffi::c_char) -> *mut c_void {
    // SAFETY: httpd hands in the configuration's pool.
    let pool = unsafe { Pool::from_raw(pool) };
    // The path that httpd passes may be a temporary one.
    // SAFETY: NUL-terminated or null.
    let path = unsafe { text::bytes(path) }.map_or(ptr::null(), |path| pool.c_string(path));
    let config = DirConfig { path, sections: ptr::null(), count: 0 };
    pool.copy(&[config]).as_ptr().cast_mut().cast()
}

/// Runs for each section that fits a request: one allocation on its pool at most.
pub(super) unsafe extern "C" fn merge_dir(
    pool: *mut ffi::apr_pool_t,
    base: *mut c_void,
    add: *mut c_void,
) -> *mut c_void {
    // SAFETY: both came from `create_dir` or from here.
    let (outer, inner) = unsafe { (*base.cast::<DirConfig>(), *add.cast::<DirConfig>()) };
    if inner.count == 0 {
        return base;
    }
    if outer.count == 0 {
        return add;
    }
    let count = outer.count + inner.count;
    // SAFETY: apr_palloc gives aligned memory of that size or ends the process; the two lists fill it
    // exactly, and the configuration behind it is written before it is read.
    unsafe {
        let sections: *mut NonNull<Section> = ffi::apr_palloc(pool, count * size_of::<NonNull<Section>>()).cast();
        sections.copy_from_nonoverlapping(outer.sections, outer.count);
        sections.add(outer.count).copy_from_nonoverlapping(inner.sections, inner.count);
        let merged: *mut DirConfig = ffi::apr_palloc(pool, size_of::<DirConfig>()).cast();
        merged.write(DirConfig { path: ptr::null(), sections, count });
        merged.cast()
    }
}

pub(super) unsafe extern "C" fn create_server(pool: *mut ffi::apr_pool_t, _: *mut ffi::server_rec) -> *mut c_void {
    // SAFETY: httpd hands in the configuration's pool.
    unsafe { Pool::from_raw(pool) }.place(ServerConfig::default()).as_ptr().cast()
}

pub(super) unsafe extern "C" fn merge_server(
    pool: *mut ffi::apr_pool_t,
    base: *mut c_void,
    add: *mut c_void,
) -> *mut c_void {
    // SAFETY: both came from `create_server` and are only read; the pool is the configuration's.
    let (pool, main, host) =
        unsafe { (Pool::from_raw(pool), &*base.cast::<ServerConfig>(), &*add.cast::<ServerConfig>()) };
    let settings = main.settings.merge(&host.settings);
    let sections = host.sections.clone();
    pool.place(ServerConfig { settings, sections, ..ServerConfig::default() }).as_ptr().cast()
}

/// This module's number among the loaded ones.
pub(super) fn module_index() -> std::os::raw::c_int {
    // SAFETY: httpd writes the number when it loads the module, before anything of it is called.
    unsafe { (&raw const jwt_gate_module.module_index).read() }
}

/// This module's entry of a configuration vector (the macro `ap_get_module_config`).
///
/// # Safety
/// `vector` is a live configuration vector of httpd.
pub(super) unsafe fn entry(vector: *mut ffi::ap_conf_vector_t) -> *mut *mut c_void {
    let index = usize::try_from(module_index()).expect("a loaded module has a number");
    // SAFETY: a vector has a place for every loaded module.
    unsafe { vector.cast::<*mut c_void>().add(index) }
}
