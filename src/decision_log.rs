//! `JwtGateLog`: opened in the parent, written when a client request is over.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use jwt_gate_core::config::log::LogTarget;
use jwt_gate_core::decision_log::{DecisionLine, Subject, SubjectHash, SubjectHasher};
use jwt_gate_core::identity::Identity;
use jwt_gate_core::log_state::{FileId, LogState};
use jwt_gate_core::target;

use crate::account::Account;
use crate::decision::root;
use crate::httpd::{Level, Log, LogFile, Request, Segment, SegmentName, Server, lasting_secret, now};

/// The logs of all servers.
pub(crate) struct DecisionLogs {
    sinks: Vec<Sink>,
    /// By server.
    logs: Vec<Option<DecisionLog>>,
}

struct DecisionLog {
    /// Which of the sinks it goes to.
    sink: usize,
    hasher: SubjectHasher,
    plain_subject: bool,
}

/// Where lines go. Servers that name the same share it.
struct Sink {
    target: LogTarget,
    file: LogFile,
    /// What all processes know of it.
    state: LogState<'static>,
}

/// Logs for which there is room in shared memory at least: a page of it.
const FEWEST: usize = 63;

impl DecisionLogs {
    /// Opens all logs, each once.
    pub(crate) fn open(main: Server<'_>) -> Result<Self, ()> {
        let hasher = SubjectHasher::new(lasting_secret(main));
        let mut opened: Vec<(LogTarget, LogFile)> = Vec::new();
        let logs = main.iter().map(|server| {
            let Some(def) = server.config().settings.log.as_ref().and_then(Option::as_ref) else { return Ok(None) };
            let target = absolute(server, &def.target);
            let sink = match opened.iter().position(|(known, _)| *known == target) {
                Some(known) => known,
                None => {
                    let file = open(server, &target)?;
                    opened.push((target, file));
                    opened.len() - 1
                }
            };
            Ok(Some(DecisionLog { sink, hasher, plain_subject: def.plain_subject }))
        });
        let logs = logs.collect::<Result<_, ()>>()?;
        let ids: Vec<FileId> = opened.iter().map(|(_, file)| file.id()).collect();
        let states = states(main, &ids)?;
        let sinks = opened.into_iter().zip(states).map(|((target, file), state)| Sink { target, file, state });
        let logs = Self { sinks: sinks.collect(), logs };
        for sink in &logs.sinks {
            if let LogTarget::File(path) = &sink.target
                && sink.state.torn().is_none()
                && ends_within_a_line(path)
            {
                sink.state.tear();
            }
        }
        Ok(logs)
    }

    /// Writes the line of a client request that is over; `false` if it is lost.
    pub(crate) fn write(&self, server: usize, first: Request<'_>, account: &Account, status: u16) -> bool {
        let Some(Some(log)) = self.logs.get(server) else { return true };
        self.sinks.get(log.sink).is_none_or(|sink| sink.write(first, log.line(first, account, status)))
    }
}

/// A child process ends, and perhaps nobody writes to a log for a long time: tells what was lost.
pub(crate) fn on_child_exit(main: Server<'_>) {
    let Some((runtime, _)) = main.runtime() else { return };
    for sink in &runtime.logs.sinks {
        if let Some(lost) = sink.state.left_to_tell() {
            sink.tell(&main, lost, " since the last such message; this process ends");
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
    fn line(&self, first: Request<'_>, account: &Account, status: u16) -> Vec<u8> {
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
        line
    }
}

impl Sink {
    /// `false` if the line cannot be written: then it is lost, and the request is none the worse for it.
    fn write(&self, request: Request<'_>, mut line: Vec<u8>) -> bool {
        let torn = self.state.torn();
        if torn.is_some() {
            // What there is of another line ends before this one.
            line.insert(0, b'\n');
        }
        let written = self.file.write(&line);
        match (&written, torn) {
            (Ok(()), Some(torn)) => self.state.mended(torn),
            (Ok(()), None) => {}
            (Err(error), _) => {
                if error.kind() == ErrorKind::WriteZero {
                    self.state.tear();
                }
                self.state.lose();
            }
        }
        if let Some(lost) = self.state.to_tell(|| now().mono) {
            match &written {
                Ok(()) => self.tell(&request, lost, " since the last such message; it can be written again"),
                Err(error) => self.tell(&request, lost, &format!(": {}", self.remedy(error))),
            }
        }
        written.is_ok()
    }

    fn tell(&self, log: &impl Log, lost: u64, why: &str) {
        log.log(Level::Warning, || {
            let lines = if lost == 1 { "1 line is".to_owned() } else { format!("{lost} lines are") };
            format!("JG3003 JwtGateLog {}: {lines} lost{why} (requests are decided as ever)", shown(&self.target))
        });
    }

    /// Why a line could not be written, and what helps.
    fn remedy(&self, error: &io::Error) -> String {
        let is_program = matches!(self.target, LogTarget::Program { .. });
        match error.kind() {
            ErrorKind::WriteZero => "the disk is full in the middle of a line; make room on it".to_owned(),
            ErrorKind::StorageFull => "the disk is full; make room on it".to_owned(),
            ErrorKind::QuotaExceeded => "the disk quota is used up; make room in it, or raise it".to_owned(),
            ErrorKind::FileTooLarge => "the file is as large as one may be; begin another (logrotate)".to_owned(),
            ErrorKind::WouldBlock if is_program => {
                "the program reads no more; see what it waits for, or restart the server gracefully for another"
                    .to_owned()
            }
            ErrorKind::WouldBlock => "who reads it reads no more; see what that waits for".to_owned(),
            ErrorKind::BrokenPipe if is_program => "the program has ended; httpd starts it again".to_owned(),
            ErrorKind::BrokenPipe => "who has read it is gone; restart the server".to_owned(),
            _ => error.to_string(),
        }
    }
}

fn open(server: Server<'_>, target: &LogTarget) -> Result<LogFile, ()> {
    let opened = match target {
        LogTarget::File(path) => examine_file(Path::new(path))
            .and_then(|()| LogFile::open(server, path).map_err(|error| error.to_string()))
            .map_err(|why| format!("{path}: {why}")),
        LogTarget::Program { command, shell } => {
            LogFile::start(server, command, *shell).map_err(|error| format!("|{command}: {error}"))
        }
    };
    opened.map_err(|why| server.log(Level::Error, || format!("JG2002 JwtGateLog {why}")))
}

/// What all processes know of these logs: in memory that outlives a graceful restart, as old children still write.
fn states(main: Server<'_>, logs: &[FileId]) -> Result<Vec<LogState<'static>>, ()> {
    if logs.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |why: &str| main.log(Level::Error, || format!("JG2003 shared memory for logs: {why}"));
    let old = Segment::existing(main, SegmentName::LOGS);
    if let Some(states) = old.and_then(|old| LogState::assign(old.words(), logs)) {
        return Ok(states);
    }
    // Files that logrotate begins take places of their own.
    let words = LogState::words((3 * logs.len()).max(FEWEST));
    let assigned = Segment::replace(main, SegmentName::LOGS, words, |words, _| LogState::assign(words, logs));
    assigned.map_err(|why| failed(&why))?.ok_or_else(|| failed("it is too small"))
}

/// Whether who wrote a file last died in the middle of a line.
fn ends_within_a_line(path: &str) -> bool {
    let last = || {
        let (mut file, mut last) = (File::open(path)?, [0]);
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        io::Result::Ok(last)
    };
    fs::metadata(path).is_ok_and(|found| found.is_file()) && last().is_ok_and(|last| last != *b"\n")
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
        Ok(found) if found.file_type().is_fifo() && is_of_a_process(path) => {
            Err("is a pipe of another process: for the output of the server name /dev/stdout or /dev/stderr".to_owned())
        }
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

/// Whether it is a file that some process has open (proc_pid_fd(5)). To a check of the configuration, the server is
/// another one.
fn is_of_a_process(path: &Path) -> bool {
    path.starts_with("/proc") && path.parent().is_some_and(|folder| folder.ends_with("fd"))
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
