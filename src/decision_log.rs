//! `JwtGateLog`: opened in the parent, written when a client request is over.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jwt_gate_core::config::log::LogTarget;
use jwt_gate_core::decision_log::{DecisionLine, Subject, SubjectHash, SubjectHasher};
use jwt_gate_core::identity::Identity;
use jwt_gate_core::target;
use jwt_gate_core::time::MonoNanos;

use crate::account::Account;
use crate::decision::root;
use crate::httpd::{Level, Log, LogFile, Request, Server, lasting_secret, now};

/// The logs of all servers, by server.
pub(crate) struct DecisionLogs(Vec<Option<DecisionLog>>);

struct DecisionLog {
    sink: Arc<Sink>,
    hasher: SubjectHasher,
    plain_subject: bool,
}

/// Where lines go. Servers that name the same share it.
struct Sink {
    target: LogTarget,
    file: LogFile,
    /// A line was written in part.
    is_torn: AtomicBool,
    /// Lines of this process that were lost and are not told yet.
    lost: AtomicU64,
    /// Before this, nothing is said of lost lines: nanoseconds of [`MonoNanos`].
    silent_until: AtomicU64,
}

/// How often a process speaks of lost lines.
const REPORTS: Duration = Duration::from_secs(60);

impl DecisionLogs {
    /// Opens all logs, each once.
    pub(crate) fn open(main: Server<'_>) -> Result<Self, ()> {
        let hasher = SubjectHasher::new(lasting_secret(main));
        let mut sinks: Vec<Arc<Sink>> = Vec::new();
        let logs = main.iter().map(|server| {
            let Some(def) = server.config().settings.log.as_ref().and_then(Option::as_ref) else { return Ok(None) };
            let target = absolute(server, &def.target);
            let sink = match sinks.iter().find(|sink| sink.target == target) {
                Some(known) => Arc::clone(known),
                None => {
                    let new = Arc::new(Sink::open(server, target)?);
                    sinks.push(Arc::clone(&new));
                    new
                }
            };
            Ok(Some(DecisionLog { sink, hasher, plain_subject: def.plain_subject }))
        });
        logs.collect::<Result<_, ()>>().map(Self)
    }

    /// Writes the line of a client request that is over.
    pub(crate) fn write(&self, server: usize, first: Request<'_>, account: &Account, status: u16) {
        if let Some(Some(log)) = self.0.get(server) {
            log.write(first, account, status);
        }
    }
}

/// The name that stands for who sent a request.
pub(crate) fn pseudonym(hasher: SubjectHasher, identity: &Identity) -> Option<SubjectHash> {
    // An API key has no issuer, and neither have tokens of an issuer that is called `-`.
    let issuer = identity.token().and_then(|token| token.issuer().issuer.as_deref());
    Some(hasher.hash(issuer.unwrap_or_default(), identity.subject()?))
}

impl DecisionLog {
    fn write(&self, first: Request<'_>, account: &Account, status: u16) {
        let ledger = root(first).state().map(|state| state.ledger.borrow());
        let standings = ledger.as_deref().map_or(&[][..], |ledger| &ledger.standings);
        let refused_by = account.limit_name().map(|name| (name, 0));
        let (limit, remaining) = refused_by
            .or_else(|| {
                let nearest = standings.iter().min_by_key(|known| known.standing.remaining)?;
                Some((format!("{}{}", nearest.def.name, nearest.measure.suffix()), nearest.standing.remaining))
            })
            .unzip();
        let identity = account.identity.as_ref();
        let subject = identity.and_then(|identity| {
            if self.plain_subject {
                identity.subject().map(Subject::Plain)
            } else {
                pseudonym(self.hasher, identity).map(Subject::Hashed)
            }
        });
        let mut line = Vec::with_capacity(512);
        DecisionLine {
            time: account.time,
            request_id: first.log_id(),
            ruling: account.ruling,
            server: first.server().host_name(),
            method: first.method(),
            path: target::path(first.method(), first.target()),
            status,
            issuer: identity.and_then(|identity| identity.issuer()),
            subject,
            client: identity.and_then(|identity| identity.client()),
            plan: identity.and_then(|identity| identity.plan()),
            limit: limit.as_deref(),
            remaining,
            address: first.client_address(),
            micros: u64::try_from(account.took.as_micros()).unwrap_or(u64::MAX),
            traceparent: ledger.as_deref().and_then(|ledger| ledger.trace).map(jwt_gate_core::trace::Trace::parent),
        }
        .write_line(&mut line);
        self.sink.write(first, line);
    }
}

impl Sink {
    fn open(server: Server<'_>, target: LogTarget) -> Result<Self, ()> {
        let opened = match &target {
            LogTarget::File(path) => examine_file(Path::new(path))
                .and_then(|()| LogFile::open(server, path).map_err(|error| error.to_string()))
                .map_err(|why| format!("{path}: {why}")),
            LogTarget::Program { command, shell } => {
                LogFile::start(server, command, *shell).map_err(|error| format!("|{command}: {error}"))
            }
        };
        let file = opened.map_err(|why| server.log(Level::Error, || format!("JG2002 JwtGateLog {why}")))?;
        let (lost, silent_until) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { target, file, is_torn: AtomicBool::new(false), lost, silent_until })
    }

    /// A line that cannot be written is lost, and the request is none the worse for it.
    fn write(&self, request: Request<'_>, mut line: Vec<u8>) {
        if self.is_torn.swap(false, Ordering::Relaxed) {
            // What there is of another line ends before this one.
            line.insert(0, b'\n');
        }
        let Err(error) = self.file.write(&line) else { return };
        if error.kind() == ErrorKind::WriteZero || line.first() == Some(&b'\n') {
            self.is_torn.store(true, Ordering::Relaxed);
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        let (now, until) = (now().mono, MonoNanos(self.silent_until.load(Ordering::Relaxed)));
        let next = now.saturating_add(REPORTS);
        let exchange = || self.silent_until.compare_exchange(until.0, next.0, Ordering::Relaxed, Ordering::Relaxed);
        if now >= until && exchange().is_ok() {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            request.log(Level::Warning, || {
                format!(
                    "JG3003 JwtGateLog {}: {error}: {lost} lines of this process are lost; requests are decided as ever",
                    shown(&self.target)
                )
            });
        }
    }
}

/// Logs that could not be opened at a start, for the administrator.
pub(crate) fn mistakes(main: Server<'_>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for server in main.iter() {
        let Some(def) = server.config().settings.log.as_ref().and_then(Option::as_ref) else { continue };
        let target = absolute(server, &def.target);
        let wrong = match &target {
            LogTarget::File(path) => examine_file(Path::new(path)).err(),
            LogTarget::Program { command, shell: false } => {
                let program = command.split_ascii_whitespace().next().unwrap_or_default();
                // httpd itself reads quotes; what is in them is seen at the start.
                if program.contains(['"', '\'', '\\']) {
                    None
                } else {
                    examine_program(&server.file_path(program)).err()
                }
            }
            LogTarget::Program { shell: true, .. } => None,
        };
        let mistake = wrong.map(|why| format!("JwtGateLog {}: {why}", shown(&target)));
        mistakes.extend(mistake.filter(|mistake| !mistakes.contains(mistake)).into_iter().collect::<Vec<_>>());
    }
    mistakes
}

fn examine_file(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err("is a folder: name a file in it".to_owned()),
        // A terminal, or /dev/null: it may do something when it is opened.
        Ok(found) if found.file_type().is_char_device() || is_standard_output(&found) => Ok(()),
        Ok(found) if !found.is_file() => {
            let kind = if found.file_type().is_fifo() { "a pipe, which perhaps nobody reads" } else { "no file" };
            Err(format!("is {kind}: name a file, or a program that reads the lines (`\"|PROGRAM\"`)"))
        }
        Ok(_) => {
            File::options().append(true).open(path).map(drop).map_err(|error| format!("cannot be written: {error}"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match path.parent().map(fs::metadata) {
            Some(Ok(folder)) if folder.is_dir() => Ok(()),
            _ => Err("there is no such folder: make it, or name another".to_owned()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Whether it is the pipe that the server's own output goes to, as in a container: /dev/stdout, /dev/stderr.
fn is_standard_output(found: &fs::Metadata) -> bool {
    let [output, errors] = [io::stdout().as_fd().try_clone_to_owned(), io::stderr().as_fd().try_clone_to_owned()];
    let is_same = |stream: io::Result<OwnedFd>| {
        stream
            .and_then(|stream| File::from(stream).metadata())
            .is_ok_and(|stream| (stream.dev(), stream.ino()) == (found.dev(), found.ino()))
    };
    found.file_type().is_fifo() && (is_same(output) || is_same(errors))
}

fn examine_program(path: &str) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(format!("{path} is not a program")),
        Err(error) => Err(format!("{path}: {error}; write the whole path of the program")),
    }
}

fn absolute(server: Server<'_>, target: &LogTarget) -> LogTarget {
    match target {
        LogTarget::File(path) => LogTarget::File(server.file_path(path)),
        LogTarget::Program { .. } => target.clone(),
    }
}

/// As in the configuration.
fn shown(target: &LogTarget) -> String {
    match target {
        LogTarget::File(path) => path.clone(),
        LogTarget::Program { command, .. } => format!("|{command}"),
    }
}
