//! mod_watchdog: a thread of its own in every child process, which calls the module a few times a second.

use std::ffi::{CStr, c_void};
use std::os::raw::c_int;

use super::log::{Level, Log};
use super::server::Server;
use super::{ffi, guard};
use crate::module::HOOKS;

/// Name of this module's watchdog.
const NAME: &CStr = c"mod_jwt_gate";
/// Microseconds between two calls: the shortest that mod_watchdog keeps to (`AP_WD_TM_SLICE`).
const INTERVAL: i64 = 100_000;

/// What mod_watchdog offers; `None` if it is not loaded.
struct Functions {
    get_instance: ffi::apr_OFN_ap_watchdog_get_instance_t,
    register_callback: ffi::apr_OFN_ap_watchdog_register_callback_t,
}

fn functions() -> Option<Functions> {
    // SAFETY: mod_watchdog registers functions of these very types under these names (mod_watchdog.h), or
    // nothing is registered and the result is null, which is `None`.
    unsafe {
        let functions = Functions {
            get_instance: std::mem::transmute::<ffi::apr_opt_fn_t, ffi::apr_OFN_ap_watchdog_get_instance_t>(
                ffi::apr_dynamic_fn_retrieve(c"ap_watchdog_get_instance".as_ptr()),
            ),
            register_callback: std::mem::transmute::<ffi::apr_opt_fn_t, ffi::apr_OFN_ap_watchdog_register_callback_t>(
                ffi::apr_dynamic_fn_retrieve(c"ap_watchdog_register_callback".as_ptr()),
            ),
        };
        (functions.get_instance.is_some() && functions.register_callback.is_some()).then_some(functions)
    }
}

/// Whether mod_watchdog is loaded.
pub(crate) fn has_watchdog() -> bool {
    functions().is_some()
}

/// Has the module's background work done in every child process of this configuration.
///
/// # Errors
/// mod_watchdog is not loaded, or refuses.
pub(crate) fn watch(main: Server<'_>) -> Result<(), String> {
    let Some(Functions { get_instance: Some(get_instance), register_callback: Some(register_callback) }) = functions()
    else {
        return Err("mod_watchdog is not loaded: add `LoadModule watchdog_module modules/mod_watchdog.so`".to_owned());
    };
    let mut watchdog = std::ptr::null_mut();
    // SAFETY: the functions are mod_watchdog's; the pool of the configuration lives as long as what is made on it,
    // and as the server, which the callback gets back. NAME lives for ever.
    let status = unsafe {
        match get_instance(&raw mut watchdog, NAME.as_ptr(), 0, 0, main.config_pool().raw()) {
            0 => register_callback(watchdog, INTERVAL, main.raw().cast_const().cast(), Some(on_watchdog)),
            failed => failed,
        }
    };
    if status == 0 { Ok(()) } else { Err(format!("mod_watchdog refuses (error {status})")) }
}

/// Runs in the watchdog's thread of a child; when the child ends, once more in the thread that ends it, perhaps
/// while another call is under way.
unsafe extern "C" fn on_watchdog(state: c_int, data: *mut c_void, _: *mut ffi::apr_pool_t) -> ffi::apr_status_t {
    // SAFETY: `watch` registered the main server. The watchdog's thread ends with the pool of the child process;
    // the pool of the configuration is destroyed in the parent only, which has no such thread.
    let server = unsafe { Server::from_raw(data.cast()) };
    let report = |why: &str| server.log(Level::Error, || format!("JG4000 internal: the background work failed: {why}"));
    guard::run((), report, || match state.cast_unsigned() {
        ffi::AP_WATCHDOG_STATE_STOPPING => (HOOKS.stop_background)(server),
        _ => (HOOKS.background)(server),
    });
    // Anything else would be the last call.
    0
}
