//! A running httpd.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{Answer, Connection, Request};
use super::config::USER;
use super::each_child::EachChild;
use super::http2::Http2;
use super::log::Log;
use super::{PATIENCE, Site, await_some, await_true, httpd, now};

/// httpd on a [`Site`]. At its end, also by a panic, it is stopped with all its children; then its log is audited.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) log: Log,
    process: Child,
    killed: Vec<i32>,
    // last: its folder is removed after all else is over
    site: Site,
}

/// How long connections that a test left open may delay the end.
const QUIET: Duration = Duration::from_secs(1);

const SERVING: &str = "resuming normal operations";

impl Server {
    /// Starts httpd and waits until it has written its pid and listens.
    ///
    /// # Panics
    /// When it ends instead.
    pub(crate) fn start(site: Site, directives: &str) -> Self {
        if directives.contains("quota=") {
            stay_within_a_day();
        }
        site.configure(directives);
        let log = Log::new(&super::site::error_log(&site.root));
        let process = spawn(&site);
        let mut server = Self { log, process, killed: Vec::new(), site };
        server.await_service(0);
        server
    }

    /// Ends httpd and waits until parent and children are gone. Its folder stays, for [`Self::start_again`].
    ///
    /// # Panics
    /// When it does not end.
    pub(crate) fn stop(&mut self) {
        self.end();
    }

    /// Starts httpd after [`Self::stop`] with what the configuration file says, and waits until it serves.
    ///
    /// # Panics
    /// When it ends instead.
    pub(crate) fn start_again(&mut self) {
        let before = self.log.count(SERVING);
        self.process = spawn(&self.site);
        self.await_service(before);
    }

    /// [`Self::stop`] and [`Self::start_again`]; meanwhile, when all its processes are gone, `between` is called.
    pub(crate) fn stop_and_start(&mut self, between: impl FnOnce(&Site)) {
        self.stop();
        between(&self.site);
        self.start_again();
    }

    /// Waits until it has said that it serves once more than `before`, and listens.
    fn await_service(&mut self, before: usize) {
        let address = self.address();
        await_true("httpd to serve", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                let said = fs::read_to_string(self.site.root.join("logs/stderr")).unwrap();
                panic!("httpd did not start ({status}):\n{said}");
            }
            self.log.count(SERVING) > before && TcpStream::connect(address).is_ok()
        });
    }

    /// The first port, over IPv4.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.site.port.number)
    }

    /// The second port, over IPv4.
    pub(crate) fn second_address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.site.second_port.number)
    }

    /// A request over a connection of its own.
    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address(), method, target)
    }

    /// `GET target` over a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    /// Sends a request that must be refused, and looks for the reason in the error log.
    ///
    /// # Panics
    /// When the status or the logged reason is another one.
    pub(crate) fn refused(&self, request: &Request, status: u16, reason: &str) -> Answer {
        let before = self.log.count(reason);
        let answer = request.send();
        let said = String::from_utf8_lossy(&request.bytes()[..request.bytes().len().min(400)]).into_owned();
        assert_eq!(answer.status, status, "{said}\n{answer:?}");
        assert_eq!(self.log.count(reason), before + 1, "log lines with {reason} after\n{said}");
        answer
    }

    /// A connection to the first port.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address(), None)
    }

    /// An HTTP/2 connection to the first port.
    pub(crate) fn http2(&self) -> Http2 {
        Http2::open(self.address())
    }

    /// Declares that a line of level warn or above with this text in it must occur.
    pub(crate) fn expect_log(&mut self, text: &str) {
        self.log.expect(text);
    }

    /// Waits until a line of the error log, of whatever level, has this text in it.
    pub(crate) fn await_log(&self, text: &str) {
        await_true(&format!("a log line with {text:?}"), || self.log.count(text) > 0);
    }

    /// Waits until exactly so many lines of the error log, of whatever level, have this text in them. What a process
    /// does is seen before the line about it is written.
    ///
    /// # Panics
    /// When there are more, or not so many within [`PATIENCE`].
    pub(crate) fn await_log_lines(&self, count: usize, text: &str) {
        await_true(&format!("{count} log lines with {text:?}"), || {
            let found = self.log.count(text);
            assert!(found <= count, "{found} log lines with {text:?}, not {count}");
            found == count
        });
    }

    /// Asks httpd to restart gracefully with what the configuration file now says, and waits until the new generation
    /// serves and the children of the old one are gone.
    pub(crate) fn graceful(&mut self) {
        let old = self.restart_gracefully();
        await_true("the end of the old children", || {
            let now = self.children();
            !now.is_empty() && !now.iter().any(|pid| old.contains(pid))
        });
    }

    /// Asks httpd to restart gracefully and waits until the new generation serves; old children, whose process ids it
    /// gives, may still be there.
    pub(crate) fn restart_gracefully(&mut self) -> Vec<i32> {
        let before = self.log.count(SERVING);
        let mut old = self.children();
        self.signal(Signal::USR1);
        await_true("the graceful restart", || {
            self.assert_running();
            // Until it takes notice, httpd may make more of them.
            let children = self.children();
            let serves = self.log.count(SERVING) > before;
            if !serves {
                old.extend(children);
            }
            serves
        });
        old
    }

    /// Writes new directives, then [`Self::graceful`].
    pub(crate) fn graceful_with(&mut self, directives: &str) {
        self.site.configure(directives);
        self.graceful();
    }

    /// Process ids of the children.
    pub(crate) fn children(&self) -> Vec<i32> {
        children_of(self.pid())
    }

    /// Kills a child with SIGKILL and waits until httpd has made another one.
    pub(crate) fn kill_child(&mut self, pid: i32) {
        // Some may not have begun yet, and others not quite ended.
        let count = self.children().len().min(self.site.setup.children as usize);
        self.kill(&[pid]);
        await_true("a new child", || self.children().len() >= count);
    }

    /// Kills all children with SIGKILL, at once, and waits until httpd has made others, perhaps fewer at first.
    pub(crate) fn kill_all_children(&mut self) {
        self.kill(&self.children());
        await_true("new children", || !self.children().is_empty());
    }

    /// Kills children and waits until they are gone.
    fn kill(&mut self, pids: &[i32]) {
        self.killed.extend(pids);
        for pid in pids {
            kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap();
        }
        await_true("the end of children", || !self.children().iter().any(|pid| pids.contains(pid)));
    }

    /// Kills parent and children with SIGKILL, at once, and waits until they are gone. For [`Self::start_again`], which
    /// finds the file with the parent's number (AH00098).
    pub(crate) fn kill_all(&mut self) {
        // So that it makes no other child meanwhile.
        self.signal(Signal::STOP);
        await_true("the parent to stand still", || state_of(self.pid()) == Some('T'));
        let children = self.children();
        self.signal(Signal::KILL);
        for pid in &children {
            // One that ended by itself is gone.
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
        self.process.wait().unwrap();
        await_true("the end of the children", || !children.iter().any(|pid| is_running(*pid)));
    }

    /// A connection to each child of this moment.
    pub(crate) fn each_child(&self) -> EachChild {
        EachChild::of(self)
    }

    /// Process id of the parent.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    /// # Panics
    /// When httpd has ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.process.try_wait().unwrap() {
            panic!("httpd ended: {status}");
        }
    }

    /// How many requests each child has answered so far, by the access log.
    pub(crate) fn served_by(&self) -> std::collections::BTreeMap<i32, usize> {
        let log = fs::read_to_string(self.site.root.join("logs/access.log")).unwrap_or_default();
        let mut served = std::collections::BTreeMap::new();
        for pid in log.lines().filter_map(|line| line.split(' ').next()?.parse().ok()) {
            *served.entry(pid).or_default() += 1;
        }
        served
    }

    /// Waits for a fetch of keys, and gives the child that has fetched last.
    pub(crate) fn fetcher(&self) -> i32 {
        await_some("a fetch", || {
            let log = self.log.text();
            let line = log.lines().rfind(|line| line.contains("JG4001"))?;
            line.split_once("[pid ")?.1.split([':', ']']).next()?.parse().ok()
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Ends httpd and waits until parent and children are gone.
    fn end(&mut self) {
        if self.process.try_wait().unwrap().is_some() {
            return;
        }
        let children = self.children();
        let begin = Instant::now();
        while !(self.site.port.is_quiet() && self.site.second_port.is_quiet()) && begin.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.signal(Signal::TERM);
        let begin = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            if begin.elapsed() > PATIENCE {
                self.signal(Signal::KILL);
                for pid in &children {
                    // It may be gone by now.
                    let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
                }
                self.process.wait().unwrap();
                assert!(std::thread::panicking(), "httpd did not end when asked to");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl std::ops::Deref for Server {
    type Target = Site;
    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            return;
        }
        let stderr = fs::read_to_string(self.site.root.join("logs/stderr")).unwrap_or_default();
        assert_eq!(stderr, "", "httpd wrote to stderr");
        if let Err(faults) = self.log.audit(&self.killed) {
            panic!("the error log:\n{faults}");
        }
    }
}

/// Waits for the next day (UTC) if this one ends within the minute, and with it each window in which quotas are counted.
fn stay_within_a_day() {
    const DAY: u64 = 86_400;
    let left = DAY - now() % DAY;
    if left <= 60 {
        std::thread::sleep(Duration::from_secs(left));
    }
}

/// Starts httpd in the foreground, so that it stays a child of the test. Should the test itself be killed, the kernel
/// asks httpd to end.
fn spawn(site: &Site) -> Child {
    let httpd = httpd(&site.root);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if site.setup.unprivileged {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command.arg(httpd.get_program()).args(httpd.get_args());
    // A process group of its own: to end, httpd signals the whole group.
    command.arg("-DFOREGROUND").process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::options().create(true).append(true).open(site.root.join("logs/stderr")).unwrap());
    // What a panic says does not depend on who runs the tests.
    command.env_remove("RUST_BACKTRACE");
    command.spawn().expect("setpriv (util-linux) and httpd can be started")
}

/// The letter of what a process does, by /proc.
fn state_of(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Whether anything is left of a process but what its parent has not yet asked about: also of a process whose first
/// thread has ended, others may still have its files open.
pub(crate) fn is_running(pid: i32) -> bool {
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state_of(pid).is_some_and(|state| state != 'Z' || threads() > 1)
}

/// Process ids of the children of `parent`, by /proc.
pub(super) fn children_of(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // pid (name) state ppid …; the name may itself hold spaces and brackets
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let running = fields.next().is_some_and(|state| state != "Z");
        running && fields.next().is_some_and(|ppid| ppid == parent.to_string())
    })
    .collect()
}

/// Number of open files and of memory maps of a process.
pub(crate) fn resources_of(pid: i32) -> (usize, usize) {
    await_some("the /proc entry of a process", || {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?.lines().count();
        Some((files, maps))
    })
}
