//! The configuration as httpd parsed it, for the start-up audit.

use jwt_gate_core::config::audit::Node;

use super::{ffi, text};

/// A copy of the whole configuration tree. Only during configuration, by the parent's one thread.
pub(crate) fn configuration_tree() -> Vec<Node> {
    // SAFETY: httpd keeps the tree until the configuration is read anew; nobody changes it meanwhile.
    unsafe { nodes(ffi::ap_conftree) }
}

/// # Safety
/// `directive` is null or the first of a live list of directives.
unsafe fn nodes(mut directive: *const ffi::ap_directive_t) -> Vec<Node> {
    let mut list = Vec::new();
    // SAFETY: the caller's promise; the tree is as deep as the sections in the administrator's files.
    while let Some(d) = unsafe { directive.as_ref() } {
        // SAFETY: names and arguments are NUL-terminated or null; `first_child` begins a list of its own.
        list.push(unsafe {
            Node {
                name: text::lossy(d.directive),
                args: text::lossy(d.args),
                file: text::lossy(d.filename),
                line: u32::try_from(d.line_num).unwrap_or(0),
                children: nodes(d.first_child),
            }
        });
        directive = d.next;
    }
    list
}
