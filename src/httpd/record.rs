//! The module record that httpd looks up by name, and the hooks in C's calling convention. Each enters
//! Rust through the guard; which safe function serves it stands in `module.rs`.

use std::os::raw::{c_char, c_int};
use std::ptr;

use super::log::{Level, Log};
use super::pool::Pool;
use super::request::Request;
use super::server::Server;
use super::status::Status;
use super::{authz, command, config, ffi, filter, guard};
use crate::module::HOOKS;

/// What `LoadModule jwt_gate_module` finds. Its name is the one for `<IfModule>`.
#[unsafe(no_mangle)]
#[allow(unreachable_pub)] // httpd reaches it by its name
pub static mut jwt_gate_module: ffi::module = ffi::module {
    version: ffi::MODULE_MAGIC_NUMBER_MAJOR.cast_signed(),
    minor_version: ffi::MODULE_MAGIC_NUMBER_MINOR.cast_signed(),
    module_index: -1,
    name: c"mod_jwt_gate.c".as_ptr(),
    dynamic_load_handle: ptr::null_mut(),
    next: ptr::null_mut(),
    magic: ffi::MODULE_MAGIC_COOKIE as _,
    rewrite_args: None,
    create_dir_config: Some(config::create_dir),
    merge_dir_config: Some(config::merge_dir),
    create_server_config: Some(config::create_server),
    merge_server_config: Some(config::merge_server),
    cmds: command::COMMANDS.as_ptr(),
    register_hooks: Some(register_hooks),
    flags: 0,
};

/// Modules whose handlers would answer before ours; ends with a null pointer, and lives as long as httpd sorts hooks.
struct Modules([*const c_char; 2]);
// SAFETY: the strings are constants.
unsafe impl Sync for Modules {}
static BEHIND_HANDLER: Modules = Modules([c"mod_cache.c".as_ptr(), ptr::null()]);

unsafe extern "C" fn register_hooks(pool: *mut ffi::apr_pool_t) {
    let none = ptr::null();
    // SAFETY: httpd calls this when the module is loaded, to do just this.
    unsafe {
        ffi::ap_hook_check_config(Some(on_check_config), none, none, ffi::JWT_GATE_HOOK_MIDDLE);
        ffi::ap_hook_post_config(Some(on_post_config), none, none, ffi::JWT_GATE_HOOK_MIDDLE);
        ffi::ap_hook_child_init(Some(on_child_init), none, none, ffi::JWT_GATE_HOOK_FIRST);
        ffi::ap_hook_post_read_request(Some(on_read_request), none, none, ffi::JWT_GATE_HOOK_REALLY_LAST);
        ffi::ap_hook_check_access(
            Some(on_access),
            none,
            none,
            ffi::JWT_GATE_HOOK_FIRST,
            ffi::AP_AUTH_INTERNAL_PER_CONF.cast_signed(),
        );
        ffi::ap_hook_check_access_ex(
            Some(on_authorize),
            none,
            none,
            ffi::JWT_GATE_HOOK_FIRST,
            ffi::AP_AUTH_INTERNAL_PER_CONF.cast_signed(),
        );
        ffi::ap_hook_check_authn(
            Some(on_authenticate),
            none,
            none,
            ffi::JWT_GATE_HOOK_FIRST,
            ffi::AP_AUTH_INTERNAL_PER_CONF.cast_signed(),
        );
        ffi::ap_hook_fixups(Some(on_authorized), none, none, ffi::JWT_GATE_HOOK_REALLY_FIRST);
        ffi::ap_hook_fixups(Some(on_fixups), none, none, ffi::JWT_GATE_HOOK_REALLY_LAST);
        ffi::ap_hook_handler(Some(on_handler), none, BEHIND_HANDLER.0.as_ptr(), ffi::JWT_GATE_HOOK_REALLY_FIRST);
        ffi::ap_hook_log_transaction(Some(on_log), none, none, ffi::JWT_GATE_HOOK_MIDDLE);
        ffi::ap_hook_insert_error_filter(Some(on_error), none, none, ffi::JWT_GATE_HOOK_LAST);
        filter::register();
        authz::register(pool);
    }
}

/// What the hooks of a request answer after a panic.
const CLOSED: u16 = 500;

/// # Safety
/// `raw` is the request that httpd handed to a hook.
unsafe fn request_hook(raw: *mut ffi::request_rec, name: &str, hook: impl FnOnce(Request<'_>) -> Status) -> c_int {
    // SAFETY: the caller's promise.
    let request = unsafe { Request::from_raw(raw) };
    let report = |why: &str| request.log(Level::Error, || format!("JG1019 internal: {name} failed: {why}"));
    guard::run(Status::http(CLOSED), report, || {
        #[cfg(feature = "panic-probe")]
        probe(request, name);
        hook(request)
    })
    .raw()
}

#[cfg(feature = "panic-probe")]
fn probe(request: Request<'_>, hook: &str) {
    let asked = request.headers_in().header("X-Panic-In");
    assert!(asked != jwt_gate_core::facts::Found::One(hook.as_bytes()), "asked for by the request");
}

/// # Safety
/// `raw` is the main server that httpd handed to a hook of the configuration.
unsafe fn config_hook(raw: *mut ffi::server_rec, name: &str, hook: impl FnOnce(Server<'_>) -> Result<(), ()>) -> c_int {
    // SAFETY: the caller's promise.
    let server = unsafe { Server::from_raw(raw) };
    let report = |why: &str| server.log(Level::Error, || format!("JG2000 internal: {name} failed: {why}"));
    match guard::run(Err(()), report, || hook(server)) {
        Ok(()) => Status::OK.raw(),
        Err(()) => c_int::from(CLOSED),
    }
}

unsafe extern "C" fn on_check_config(
    _: *mut ffi::apr_pool_t,
    _: *mut ffi::apr_pool_t,
    _: *mut ffi::apr_pool_t,
    server: *mut ffi::server_rec,
) -> c_int {
    // SAFETY: httpd hands in the main server.
    unsafe { config_hook(server, "check_config", HOOKS.check_config) }
}

unsafe extern "C" fn on_post_config(
    _: *mut ffi::apr_pool_t,
    _: *mut ffi::apr_pool_t,
    _: *mut ffi::apr_pool_t,
    server: *mut ffi::server_rec,
) -> c_int {
    // SAFETY: httpd hands in the main server.
    unsafe { config_hook(server, "post_config", HOOKS.post_config) }
}

unsafe extern "C" fn on_child_init(pool: *mut ffi::apr_pool_t, server: *mut ffi::server_rec) {
    // SAFETY: httpd hands in the pool of the new process, and the main server. That and its runtime outlive the pool:
    // every MPM ends a child by destroying it, and then the process is gone with all others.
    unsafe {
        Pool::from_raw(pool).place(Child(server));
        config_hook(server, "child_init", |server| {
            (HOOKS.child_init)(server);
            Ok(())
        });
    }
}

/// A child process, as long as its pool.
struct Child(*mut ffi::server_rec);

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: see `on_child_init`.
        unsafe {
            config_hook(self.0, "child_exit", |server| {
                (HOOKS.child_exit)(server);
                Ok(())
            });
        }
    }
}

unsafe extern "C" fn on_read_request(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request.
    unsafe { request_hook(request, "post_read_request", HOOKS.read_request) }
}

unsafe extern "C" fn on_access(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request.
    unsafe { request_hook(request, "access_checker", HOOKS.access) }
}

unsafe extern "C" fn on_authorize(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request.
    unsafe { request_hook(request, "access_checker_ex", HOOKS.authorize) }
}

unsafe extern "C" fn on_authenticate(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request.
    unsafe { request_hook(request, "check_authn", HOOKS.authenticate) }
}

unsafe extern "C" fn on_authorized(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request.
    unsafe { request_hook(request, "authorized", HOOKS.authorized) }
}

unsafe extern "C" fn on_fixups(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request.
    unsafe { request_hook(request, "fixups", HOOKS.fixups) }
}

unsafe extern "C" fn on_handler(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request.
    unsafe { request_hook(request, "handler", HOOKS.handler) }
}

unsafe extern "C" fn on_error(request: *mut ffi::request_rec) {
    // SAFETY: httpd hands in the request.
    unsafe {
        request_hook(request, "insert_error_filter", |request| {
            (HOOKS.error)(request);
            Status::OK
        });
    }
}

unsafe extern "C" fn on_log(request: *mut ffi::request_rec) -> c_int {
    // SAFETY: httpd hands in the request, which lives until all modules have logged it.
    unsafe {
        request_hook(request, "log_transaction", |request| {
            (HOOKS.log)(request);
            Status::DECLINED
        });
    }
    // What goes wrong here is no reason for other modules not to log the request.
    Status::DECLINED.raw()
}
