//! Network files: read in the parent at each start and graceful restart.
//!
//! A file that has gone bad never stops the server: what was last read well from it stays in use, or, if it
//! never was, it allows nobody and denies everybody.

use std::collections::HashMap;
use std::sync::Arc;

use jwt_gate_core::config::network::NetworkSource;
use jwt_gate_core::net::network::{self, NetworkSet};

use crate::files::{self, MAX_LIST};
use crate::httpd::Server;
use crate::sources::Plan;

/// What was last read well, by path. Kept over graceful restarts.
#[derive(Default)]
pub(crate) struct LastGood(HashMap<String, Vec<u8>>);

/// The networks of a plan, in its order, and what is wrong with their files.
pub(crate) fn load(
    main: Server<'_>,
    plan: &Plan,
    last_good: &mut LastGood,
) -> (Vec<Option<Arc<NetworkSet>>>, Vec<String>) {
    let (mut sets, mut failures, mut used) = (Vec::new(), Vec::new(), HashMap::new());
    for (origin, def) in &plan.networks {
        let path = match &def.source {
            NetworkSource::Inline(cidrs) => {
                sets.push(Some(Arc::new(cidrs.iter().copied().collect::<NetworkSet>())));
                continue;
            }
            NetworkSource::File(path) => main.file_path(path),
        };
        let parse = |bytes: &[u8]| network::parse_file(bytes).map(|cidrs| cidrs.into_iter().collect::<NetworkSet>());
        let fresh = files::read(&path, MAX_LIST).and_then(|bytes| parse(&bytes).map(|set| (bytes, set)));
        let (bytes, set) = match fresh {
            Ok((bytes, set)) => (Some(bytes), Some(set)),
            Err(why) => {
                let old = last_good.0.get(&path).and_then(|bytes| Some((bytes.clone(), parse(bytes).ok()?)));
                let then = match old {
                    Some(_) => "its last good version stays in use",
                    None => "until it can be read, it allows nobody and denies everybody",
                };
                failures.push(format!("JwtGateNetwork {} ({origin}): {path}: {why}; {then}", def.name));
                old.unzip()
            }
        };
        used.extend(bytes.map(|bytes| (path, bytes)));
        sets.push(set.map(Arc::new));
    }
    last_good.0 = used;
    (sets, failures)
}
