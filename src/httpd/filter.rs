//! Output filters: the body of a refusal, and headers that depend on what the application sent.

use std::ffi::CStr;

use super::request::Request;
use super::{ffi, guard};
use crate::{access, answers};

/// The filters of this module.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Filter {
    /// Puts problem details (RFC 9457) in the place of httpd's own page.
    Problem,
    /// Looks at the headers of an answer before they are sent.
    AnswerHeaders,
    /// Counts an answer of the application that tells of a failed try.
    FailedTry,
    /// Has the last word on CORS.
    Cors,
}

impl Filter {
    pub(super) const fn name(self) -> &'static CStr {
        match self {
            Self::Problem => c"JWT_GATE_PROBLEM",
            Self::AnswerHeaders => c"JWT_GATE_ANSWER_HEADERS",
            Self::FailedTry => c"JWT_GATE_FAILED_TRY",
            Self::Cors => c"JWT_GATE_CORS",
        }
    }
}

/// Registers the filters with httpd; at load.
///
/// # Safety
/// Only from the module's `register_hooks`.
pub(super) unsafe fn register() {
    // SAFETY: names live for ever; httpd keeps filters of the same name once.
    unsafe {
        ffi::ap_register_output_filter(Filter::Problem.name().as_ptr(), Some(problem), None, ffi::AP_FTYPE_CONTENT_SET);
        ffi::ap_register_output_filter(
            Filter::AnswerHeaders.name().as_ptr(),
            Some(answer_headers),
            None,
            ffi::AP_FTYPE_CONTENT_SET,
        );
        ffi::ap_register_output_filter(
            Filter::FailedTry.name().as_ptr(),
            Some(failed_try),
            None,
            ffi::AP_FTYPE_CONTENT_SET,
        );
        // Next to the filter that writes the headers: behind mod_headers, which may set fields of its own, and behind
        // mod_cache, which shows to one origin what was answered to another.
        ffi::ap_register_output_filter(Filter::Cors.name().as_ptr(), Some(cors), None, ffi::AP_FTYPE_PROTOCOL - 1);
    }
}

/// Swallows what httpd writes for the error; at its end passes our body on.
unsafe extern "C" fn problem(
    filter: *mut ffi::ap_filter_t,
    brigade: *mut ffi::apr_bucket_brigade,
) -> ffi::apr_status_t {
    // SAFETY: httpd calls a filter with itself, its request and a live brigade.
    let (request, ended) = unsafe { (Request::from_raw((*filter).r), ffi::jwt_gate_has_eos(brigade) != 0) };
    if ended {
        let body = guard::run(None, |_| (), || answers::problem_body(request));
        if let Some(body) = body {
            request.set_content_type(c"application/problem+json");
            // SAFETY: the brigade is ours to empty; the body is copied to the request's pool first, since it
            // is sent later. The filter takes itself out before it passes on, so it runs once.
            return unsafe {
                ffi::apr_brigade_cleanup(brigade.cast());
                let copy = request.pool().c_string(&body);
                ffi::ap_remove_output_filter(filter);
                ffi::jwt_gate_pass_body(filter, copy, body.len())
            };
        }
        // SAFETY: as above; what httpd wrote last is passed on.
        return unsafe {
            ffi::ap_remove_output_filter(filter);
            ffi::ap_pass_brigade((*filter).next, brigade)
        };
    }
    // SAFETY: the brigade is ours to empty.
    unsafe { ffi::apr_brigade_cleanup(brigade.cast()) }
}

unsafe extern "C" fn answer_headers(
    filter: *mut ffi::ap_filter_t,
    brigade: *mut ffi::apr_bucket_brigade,
) -> ffi::apr_status_t {
    // SAFETY: httpd calls a filter with itself and a live brigade.
    unsafe { once(filter, brigade, answers::complete_answer) }
}

unsafe extern "C" fn failed_try(
    filter: *mut ffi::ap_filter_t,
    brigade: *mut ffi::apr_bucket_brigade,
) -> ffi::apr_status_t {
    // SAFETY: as above.
    unsafe { once(filter, brigade, access::on_answer) }
}

unsafe extern "C" fn cors(filter: *mut ffi::ap_filter_t, brigade: *mut ffi::apr_bucket_brigade) -> ffi::apr_status_t {
    // SAFETY: as above.
    unsafe { once(filter, brigade, answers::speak_of_cors) }
}

/// Runs once per answer, before its headers are written.
///
/// # Safety
/// httpd calls the filter, with a live brigade.
unsafe fn once(
    filter: *mut ffi::ap_filter_t,
    brigade: *mut ffi::apr_bucket_brigade,
    change: impl FnOnce(Request<'_>),
) -> ffi::apr_status_t {
    // SAFETY: a filter has its request.
    let request = unsafe { Request::from_raw((*filter).r) };
    guard::run((), |_| (), || change(request));
    // SAFETY: the filter takes itself out and passes everything on unchanged.
    unsafe {
        ffi::ap_remove_output_filter(filter);
        ffi::ap_pass_brigade((*filter).next, brigade)
    }
}
