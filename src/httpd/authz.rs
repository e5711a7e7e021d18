//! Authorization: providers for `Require` (mod_authz_core), and functions for expressions.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use jwt_gate_core::config::requirement::Kind;
use jwt_gate_core::requirement::Requirement;

use super::log::{Level, Log};
use super::pool::Pool;
use super::request::Request;
use super::status::Status;
use super::{ffi, guard, text};
use crate::authorize::{self, Judgement, Line};

/// `AUTHZ_PROVIDER_GROUP` and `AUTHZ_PROVIDER_VERSION` of mod_auth.h, which are no constants for bindgen.
const GROUP: &CStr = c"authz";
const VERSION: &CStr = c"0";

/// A provider of each kind, in the order of [`Kind::ALL`].
static PROVIDERS: [ffi::authz_provider; Kind::ALL.len()] = [
    provider(parse::<0>),
    provider(parse::<1>),
    provider(parse::<2>),
    provider(parse::<3>),
    provider(parse::<4>),
    provider(parse::<5>),
];

type Parse = unsafe extern "C" fn(*mut ffi::cmd_parms, *const c_char, *mut *const c_void) -> *const c_char;

const fn provider(parse: Parse) -> ffi::authz_provider {
    ffi::authz_provider { check_authorization: Some(check), parse_require_line: Some(parse) }
}

/// Registers providers and functions with httpd; at load.
///
/// # Safety
/// Only from the module's `register_hooks`, with the pool it got.
pub(super) unsafe fn register(pool: *mut ffi::apr_pool_t) {
    for (kind, provider) in Kind::ALL.iter().zip(&PROVIDERS) {
        // SAFETY: names and providers live for ever (the library is never unmapped).
        unsafe {
            ffi::ap_register_auth_provider(
                pool,
                GROUP.as_ptr(),
                kind.name().as_ptr(),
                VERSION.as_ptr(),
                ptr::from_ref(provider).cast(),
                ffi::AP_AUTH_INTERNAL_PER_CONF.cast_signed(),
            );
        }
    }
    // SAFETY: httpd calls this when the module is loaded, to do just this.
    unsafe { ffi::ap_hook_expr_lookup(Some(look_up), ptr::null(), ptr::null(), ffi::JWT_GATE_HOOK_MIDDLE) };
}

/// Reads the rest of a `Require` line; what it says lives as long as the configuration.
unsafe extern "C" fn parse<const KIND: usize>(
    parms: *mut ffi::cmd_parms,
    line: *const c_char,
    parsed: *mut *const c_void,
) -> *const c_char {
    // SAFETY: httpd hands in live parameters, a NUL-terminated line and a place for the result.
    let (pool, line, negated) = unsafe {
        (Pool::from_raw((*parms).pool), text::bytes(line).unwrap_or_default(), is_negated((*parms).directive))
    };
    let kind = Kind::ALL[KIND];
    let failed = || Err("an internal fault; please report it".to_owned());
    let result = guard::run(
        failed(),
        |_| (),
        || {
            let line = str::from_utf8(line).map_err(|_| "is not UTF-8: save the configuration as UTF-8".to_owned())?;
            Requirement::parse(kind, line)
        },
    );
    match result {
        Ok(requirement) => {
            // SAFETY: httpd's place for the result.
            unsafe { *parsed = pool.place(Line { requirement, negated }).as_ptr().cast_const().cast() };
            ptr::null()
        }
        Err(why) => pool.c_string(format!("Require {}: {why}", kind.name().to_string_lossy()).as_bytes()),
    }
}

/// Whether httpd turns the answer of a `Require` directive round: by its own `not`, and by each `<RequireNone>` around
/// it.
///
/// # Safety
/// `directive` is null or live, and so is what is around it.
unsafe fn is_negated(directive: *const ffi::ap_directive_t) -> bool {
    let first_word = |args: &'static [u8]| args.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
    let mut negated = false;
    let mut around = directive;
    // SAFETY: the caller's promise.
    while let Some(directive) = unsafe { around.as_ref() } {
        // SAFETY: names and arguments are NUL-terminated or null.
        let (name, args) = unsafe { (text::bytes(directive.directive), text::bytes(directive.args)) };
        let name = name.unwrap_or_default();
        negated ^= name.eq_ignore_ascii_case(b"<RequireNone")
            || name.eq_ignore_ascii_case(b"Require")
                && args.and_then(first_word).is_some_and(|word| word.eq_ignore_ascii_case(b"not"));
        around = directive.parent;
    }
    negated
}

unsafe extern "C" fn check(
    request: *mut ffi::request_rec,
    _: *const c_char,
    parsed: *const c_void,
) -> ffi::authz_status {
    // SAFETY: httpd hands in the request, and what `parse` has put on the pool of the configuration.
    let (request, line) = unsafe { (Request::from_raw(request), parsed.cast::<Line>().as_ref()) };
    let report = |why: &str| request.log(Level::Error, || format!("JG1019 internal: authorization failed: {why}"));
    let judged = guard::run(None, report, || line.map(|line| authorize::judge(request, line)));
    match judged {
        Some(Judgement::Granted) => ffi::AUTHZ_GRANTED,
        Some(Judgement::Denied) => ffi::AUTHZ_DENIED,
        Some(Judgement::NobodyKnown) => ffi::AUTHZ_DENIED_NO_USER,
        None => ffi::AUTHZ_GENERAL_ERROR,
    }
}

/// `jwt(NAME)` and `jwt_list(NAME)`.
unsafe extern "C" fn look_up(parms: *mut ffi::ap_expr_lookup_parms) -> c_int {
    // SAFETY: httpd hands in live parameters with a NUL-terminated name and a place for the function.
    unsafe {
        let name = text::bytes((*parms).name).unwrap_or_default();
        let function: *const c_void = match (*parms).type_.cast_unsigned() {
            ffi::AP_EXPR_FUNC_STRING if name.eq_ignore_ascii_case(b"jwt") => claim_text as *const c_void,
            ffi::AP_EXPR_FUNC_LIST if name.eq_ignore_ascii_case(b"jwt_list") => claim_list as *const c_void,
            _ => return Status::DECLINED.raw(),
        };
        *(*parms).func = function;
        *(*parms).data = ptr::null();
    }
    Status::OK.raw()
}

/// The request of an expression, and the name in its parentheses.
///
/// # Safety
/// What httpd hands to a function of an expression.
unsafe fn asked<'r>(
    context: *mut ffi::ap_expr_eval_ctx_t,
    name: *const c_char,
) -> Option<(Request<'r>, Pool<'r>, &'r str)> {
    // SAFETY: the caller's promise; the request is null where there is none yet.
    unsafe {
        let request = NonNull::new((*context).r)?;
        let name = str::from_utf8(text::bytes(name)?).ok()?;
        Some((Request::from_raw(request.as_ptr()), Pool::from_raw((*context).p), name))
    }
}

unsafe extern "C" fn claim_text(
    context: *mut ffi::ap_expr_eval_ctx_t,
    _: *const c_void,
    name: *const c_char,
) -> *const c_char {
    guard::run(
        c"".as_ptr(),
        |_| (),
        || {
            // SAFETY: httpd's arguments.
            let Some((request, pool, name)) = (unsafe { asked(context, name) }) else { return c"".as_ptr() };
            authorize::claim_text(request, name).map_or(c"".as_ptr(), |text| pool.c_string(text.as_bytes()))
        },
    )
}

unsafe extern "C" fn claim_list(
    context: *mut ffi::ap_expr_eval_ctx_t,
    _: *const c_void,
    name: *const c_char,
) -> *mut ffi::apr_array_header_t {
    // SAFETY: the context's pool is live; an empty list of C strings.
    let list = unsafe { ffi::apr_array_make((*context).p, 4, size_of::<*const c_char>() as c_int) };
    guard::run(
        (),
        |_| (),
        || {
            // SAFETY: httpd's arguments.
            let Some((request, pool, name)) = (unsafe { asked(context, name) }) else { return };
            for text in authorize::claim_list(request, name) {
                // SAFETY: `apr_array_push` gives a place for one more element of the size named above.
                unsafe { *ffi::apr_array_push(list).cast::<*const c_char>() = pool.c_string(text.as_bytes()) };
            }
        },
    );
    list
}
