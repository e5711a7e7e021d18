//! A private httpd for each test: its folder, ports, configuration, clients, application and tokens.

mod ajp;
pub(crate) mod app;
pub(crate) mod backend;
pub(crate) mod certificates;
pub(crate) mod chromium;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod each_child;
pub(crate) mod example;
mod fastcgi;
pub(crate) mod http2;
pub(crate) mod idp;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod ports;
pub(crate) mod provider;
mod scgi;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod tokens;
pub(crate) mod uvicorn;
mod uwsgi;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use backend::Backend;
pub(crate) use client::{Answer, Connection, Request};
pub(crate) use config::{Mpm, httpd};
pub(crate) use load::under_load;
pub(crate) use provider::Provider;
pub(crate) use server::Server;
pub(crate) use site::Site;
pub(crate) use tokens::{Signer, Token, now};

/// The issuer `main` of the tokens that [`Site::token`] makes, with the public keys of [`tokens::Keys`].
pub(crate) const MAIN: &str = "JwtGateIssuer main https://issuer.test audience=api jwks=file:keys/all.jwks\n";

/// Everything is proxied, and needs a token. Connections live as long as their test.
pub(crate) const GATED: &str = r#"
    MaxKeepAliveRequests 0
    KeepAliveTimeout 60
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
    </Location>
"#;

/// How long anything that httpd does may take before a test gives up, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Sets a flag when it goes, also by a panic: threads of a scope that wait for the flag would keep it from ending.
#[derive(Debug)]
pub(crate) struct AtEnd<'f>(pub(crate) &'f AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Asks until `condition` gives a value.
///
/// # Panics
/// When it has given none for [`PATIENCE`].
pub(crate) fn await_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "in vain waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks until `condition` holds.
///
/// # Panics
/// As [`await_some`].
pub(crate) fn await_true(what: &str, mut condition: impl FnMut() -> bool) {
    await_some(what, || condition().then_some(()));
}

/// Waits until so many key sets lie in a state folder, a moment after they are in use, and gives their files.
///
/// # Panics
/// As [`await_some`].
pub(crate) fn await_key_files(folder: &Path, count: usize) -> Vec<PathBuf> {
    await_some(&format!("{count} key sets in {}", folder.display()), || {
        let files = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
        let found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|last| last == "keys")).collect();
        (found.len() == count).then_some(found)
    })
}
