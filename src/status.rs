//! `SetHandler jwt-gate-status`: how the gate is doing, as a page for people and (`?format=json`) as JSON for programs.
//!
//! Who was refused, and who is at a limit, is told by the pseudonyms that the decision log has by default, and by the
//! addresses that are counted together.

use std::ffi::CStr;
use std::sync::LazyLock;

use jwt_gate_core::status::{KeysStatus, NetworkStatus, PAGE, Status, content_security_policy};
use jwt_gate_core::time::{Now, UnixMicros};

use crate::httpd::{Request, now};
use crate::runtime::Runtime;

/// The name of the handler.
pub(crate) const HANDLER: &[u8] = b"jwt-gate-status";

/// The document to be sent, and its type.
pub(crate) fn answer(request: Request<'_>) -> Option<(&'static CStr, String)> {
    let (runtime, server) = request.server().runtime()?;
    let wants_json =
        request.query().is_some_and(|query| query.split(|byte| *byte == b'&').any(|one| one == b"format=json"));
    let headers = request.handler_headers();
    headers.set_constant(c"X-Content-Type-Options", c"nosniff");
    headers.set_constant(c"Cross-Origin-Resource-Policy", c"same-origin");
    if wants_json {
        return Some((c"application/json", status(runtime, server, now())));
    }
    static POLICY: LazyLock<String> = LazyLock::new(content_security_policy);
    headers.set_static(c"Content-Security-Policy", POLICY.as_bytes());
    headers.set_constant(c"Referrer-Policy", c"no-referrer");
    Some((c"text/html; charset=utf-8", PAGE.to_owned()))
}

fn status(runtime: &Runtime, server: usize, now: Now) -> String {
    let since = |time: UnixMicros| now.wall.since(time);
    let (api_keys, revocations, plans) = runtime.lists(server);
    let keys = runtime.fetched_issuers().zip(runtime.dues(now));
    let networks = runtime.network_files().map(|file| NetworkStatus {
        name: file.name,
        networks: file.networks,
        age: file.read.map(since),
        written: file.modified.map(since),
    });
    Status {
        time: now.wall,
        totals: runtime.metering.totals(),
        keys: keys.map(|((issuer, fetched), due)| KeysStatus { issuer, age: fetched.map(since), due }).collect(),
        networks: networks.collect(),
        api_keys,
        revocations,
        plans: plans.iter().map(|plan| plan.name.as_str()).collect(),
        tables: runtime.occupancies(now),
        refusals: runtime.refusals.newest(),
        waiting: runtime.refusals.waiting(now),
    }
    .to_json()
}
