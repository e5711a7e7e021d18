//! httpd as systems run it: in the background, by its own commands.

use std::net::TcpStream;
use std::path::Path;

use crate::harness::log::Log;
use crate::harness::{MAIN, Request, Site, await_true, httpd};

/// Stops the daemon in `root` at the end of the test.
struct Daemon<'a>(&'a Site);

impl Daemon<'_> {
    fn command(&self, command: &str) {
        let output = httpd(&self.0.root).args(["-k", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }

    fn pid_file(&self) -> std::path::PathBuf {
        self.0.root.join("run/httpd.pid")
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.pid_file()).unwrap_or_default();
        if !std::thread::panicking() {
            await_true("the connections' end", || self.0.port.is_quiet());
        }
        drop(httpd(&self.0.root).args(["-k", "stop"]).output());
        await_true("the daemon's end", || !Path::new("/proc").join(pid.trim()).join("stat").exists());
    }
}

#[test]
fn start_graceful_restart_and_stop() {
    let site = Site::new();
    site.configure(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateLimit all key=global rate=1/d burst=5
        </Location>"#
    ));
    let log = Log::new(&site.root.join("logs/error.log"));
    let address = ([127, 0, 0, 1], site.port.number).into();
    let serving = |count| {
        await_true("httpd to serve", || {
            log.count("resuming normal operations") == count && TcpStream::connect(address).is_ok()
        });
    };
    let daemon = Daemon(&site);
    daemon.command("start");
    serving(1);
    let get = || Request::new(address, "GET", "/").bearer(site.token().sign()).status();
    assert_eq!((get(), get()), (200, 200));
    daemon.command("graceful");
    serving(2);
    assert_eq!((get(), get()), (200, 200));
    await_true("the connections' end", || site.port.is_quiet());
    daemon.command("restart");
    serving(3);
    assert_eq!((get(), get()), (200, 429));
    drop(daemon);
    assert_eq!(log.audit(&[]), Ok(()));
}
