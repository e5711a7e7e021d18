//! Asking every child process of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::server::children_of;
use super::{AtEnd, Connection, Request, Server, await_some, await_true};

/// For the configuration of a server whose connections stay open as long as a test needs them.
pub(crate) const KEEP_ALIVE: &str = "KeepAliveTimeout 60\nMaxKeepAliveRequests 0\n";

/// A connection to each child process of one moment: what is sent over it is answered by that child. httpd may end it
/// after an answer, or when it has much to do; then there is another one. Children that have ended are left out.
#[derive(Debug)]
pub(crate) struct EachChild {
    parent: i32,
    address: SocketAddr,
    /// How many connections are opened at a time. A child of prefork that has one takes no other; elsewhere the quickest
    /// child would take them all if they came one after another.
    at_once: usize,
    access_log: PathBuf,
    children: Vec<i32>,
    connections: BTreeMap<i32, Connection>,
}

impl EachChild {
    /// Connects to each child of this moment. The server must let connections live (`KeepAliveTimeout`,
    /// `MaxKeepAliveRequests`).
    pub(super) fn of(server: &Server) -> Self {
        let (parent, access_log) = (server.pid(), server.root.join("logs/access.log"));
        let (children, connections) = (children_of(parent), BTreeMap::new());
        let at_once = if server.setup.mpm.has_threads() { 4 } else { 1 };
        let mut each = Self { parent, address: server.address(), at_once, access_log, children, connections };
        each.connect();
        each
    }

    /// Sends a request to each child and gives the statuses of their answers.
    pub(crate) fn statuses(&mut self, request: &Request) -> Vec<u16> {
        let mut statuses = BTreeMap::new();
        loop {
            self.connect();
            let left = |pid: &i32| !statuses.contains_key(pid);
            let left: Vec<i32> = self.connections.keys().copied().filter(left).collect();
            if left.is_empty() {
                return statuses.into_values().collect();
            }
            for pid in &left {
                self.connections.get_mut(pid).unwrap().send(request.bytes());
            }
            for pid in left {
                match self.connections.get_mut(&pid).unwrap().try_answer(false) {
                    Ok(answer) => {
                        statuses.insert(pid, answer.status);
                        if answer.header("Connection") == Some("close") {
                            self.connections.remove(&pid);
                        }
                    }
                    Err(error) if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) => {
                        self.connections.remove(&pid);
                    }
                    Err(error) => panic!("child {pid}: {error}"),
                }
            }
        }
    }

    /// Whether each child answers with this status.
    pub(crate) fn all_answer(&mut self, request: &Request, status: u16) -> bool {
        self.statuses(request).iter().all(|answered| *answered == status)
    }

    /// Sends a request until each child answers it with this status.
    ///
    /// # Panics
    /// When one of them does not within [`super::PATIENCE`].
    pub(crate) fn await_status(&mut self, request: &Request, status: u16) {
        await_true(&format!("{status} from all children"), || self.all_answer(request, status));
    }

    /// Sends a request, which each child must answer with this status.
    ///
    /// # Panics
    /// When one of them does not.
    pub(crate) fn assert_status(&mut self, request: &Request, status: u16) {
        let answers = self.statuses(request);
        let said = String::from_utf8_lossy(&request.bytes()).into_owned();
        assert!(answers.iter().all(|answer| *answer == status), "{answers:?}, not {status}, for\n{said}");
    }

    /// The connections to other children than this one.
    pub(crate) fn but(self, pid: i32) -> Vec<Connection> {
        self.connections.into_iter().filter(|(child, _)| *child != pid).map(|(_, connection)| connection).collect()
    }

    /// Opens connections until there is one to each child that still runs.
    fn connect(&mut self) {
        static OPENED: AtomicUsize = AtomicUsize::new(0);
        await_true("a connection to each child", || {
            let running = children_of(self.parent);
            self.children.retain(|pid| running.contains(pid));
            if self.children.iter().all(|pid| self.connections.contains_key(pid)) {
                return true;
            }
            let open = |_| {
                let target = format!("/?connection={}", OPENED.fetch_add(1, Ordering::Relaxed));
                let mut connection = Connection::open(self.address, None);
                connection.send(Request::new(self.address, "GET", &target).bytes());
                (target, connection)
            };
            let opened: Vec<_> = (0..self.at_once).map(open).collect();
            for (target, mut connection) in opened {
                // A child that ends may take it along.
                if connection.try_answer(false).is_ok() {
                    let pid = await_some("the child that answered", || self.child_that_served(&target));
                    if self.children.contains(&pid) {
                        self.connections.entry(pid).or_insert(connection);
                    }
                }
            }
            false
        });
    }

    /// The child that answered the request with this target, if the access log tells by now.
    fn child_that_served(&self, target: &str) -> Option<i32> {
        let log = fs::read_to_string(&self.access_log).unwrap_or_default();
        let request = format!(" {target} HTTP/");
        log.lines().find(|line| line.contains(&request))?.split(' ').next()?.parse().ok()
    }
}

/// Kills all children, one after another, and sends a request all the time. Gives the status of the answers.
///
/// # Panics
/// When a new child takes no request.
pub(crate) fn answers_of_new_children(server: &mut Server, request: &Request) -> BTreeSet<u16> {
    let mut answers = BTreeSet::new();
    for pid in server.children() {
        let stop = AtomicBool::new(false);
        let ask = || {
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                // Some requests die with the child.
                answers.extend(request.try_send().map(|answer| answer.status));
            }
            answers
        };
        std::thread::scope(|scope| {
            let askers = [scope.spawn(ask), scope.spawn(ask)];
            let end = AtEnd(&stop);
            server.kill_child(pid);
            let children = server.children();
            await_true("requests to each child", || {
                let served = server.served_by();
                children.iter().all(|pid| served.contains_key(pid))
            });
            drop(end);
            answers.extend(askers.into_iter().flat_map(|asker| asker.join().unwrap()));
        });
    }
    answers
}
