//! Configuration of a private httpd, and the check of it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Process model of httpd.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mpm {
    Prefork,
    Worker,
    Event,
}

impl Mpm {
    pub(crate) const ALL: [Self; 3] = [Self::Prefork, Self::Worker, Self::Event];

    /// mod_http2 does not run under prefork.
    pub(crate) fn has_threads(self) -> bool {
        self != Self::Prefork
    }

    fn name(self) -> &'static str {
        match self {
            Self::Prefork => "prefork",
            Self::Worker => "worker",
            Self::Event => "event",
        }
    }
}

/// What a test chooses about its httpd besides the directives.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) mpm: Mpm,
    pub(crate) children: u32,
    pub(crate) modules: Vec<&'static str>,
    pub(crate) gate: Gate,
    /// Started by its own user instead of root.
    pub(crate) unprivileged: bool,
}

/// Which build of the module a server loads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gate {
    Absent,
    UnderTest,
    PanicProbe,
}

/// Loaded in every server; the rest is loaded where a test asks for it.
const MODULES: &[&str] = &[
    "authn_core",
    "authz_core",
    "authz_host",
    "alias",
    "dir",
    "env",
    "headers",
    "mime",
    "proxy",
    "proxy_http",
    "rewrite",
    "setenvif",
];

const THREADS: u32 = 8;

/// Who serves where root starts the tests; also the name of a group.
pub(crate) const USER: &str = "www-data";

/// The module in the ServerRoot, for a user who may not look into the build's folder.
pub(crate) const COPY: &str = "jwt_gate.so";

impl Default for Setup {
    fn default() -> Self {
        Self { mpm: Mpm::Event, children: 2, modules: Vec::new(), gate: Gate::UnderTest, unprivileged: false }
    }
}

impl Setup {
    /// The whole configuration file, with `directives` as its last part. What the gate keeps lies below `root`, unless
    /// the directives name another folder.
    pub(crate) fn render(
        &self,
        root: &Path,
        listen: &[String],
        defines: &[(&str, String)],
        directives: &str,
    ) -> String {
        let mut text = String::new();
        let mut line = |content: std::fmt::Arguments<'_>| {
            text.write_fmt(content).unwrap();
            text.push('\n');
        };
        for (name, value) in defines {
            line(format_args!("Define {name} {value}"));
        }
        let root = root.display();
        line(format_args!("ServerRoot {root}\nDefaultRuntimeDir {root}/run\nPidFile {root}/run/httpd.pid"));
        line(format_args!("ServerName gate.test\nDocumentRoot {root}/html\nTypesConfig /dev/null"));
        // Longer than a test waits: what comes only when httpd loses patience comes too late.
        line(format_args!("Timeout 60"));
        for address in listen {
            line(format_args!("Listen {address}"));
        }
        let mpm = format!("mpm_{}", self.mpm.name());
        let http2 = self.mpm.has_threads().then_some("http2");
        for name in [mpm.as_str()].into_iter().chain(MODULES.iter().copied()).chain(http2).chain(self.modules.clone()) {
            // A server that has it built in has no file of it.
            let file = modules_dir().join(format!("mod_{name}.so"));
            if file.exists() {
                line(format_args!("LoadModule {name}_module {}", file.display()));
            }
        }
        if let Some(file) = self.gate.file() {
            let file = if self.unprivileged { COPY.into() } else { file };
            line(format_args!("LoadModule jwt_gate_module {}", file.display()));
            if !directives.contains("JwtGateStateDir") {
                line(format_args!("JwtGateStateDir {root}/state"));
            }
        }
        if rustix::process::geteuid().is_root() && !self.unprivileged {
            line(format_args!("User {USER}\nGroup {USER}"));
        }
        let children = self.children;
        if self.mpm.has_threads() {
            let all = children * THREADS;
            line(format_args!("ServerLimit {children}\nStartServers {children}\nThreadsPerChild {THREADS}"));
            line(format_args!("MaxRequestWorkers {all}\nMinSpareThreads 1\nMaxSpareThreads {all}"));
            line(format_args!("Protocols h2c http/1.1"));
        } else {
            line(format_args!("ServerLimit {children}\nStartServers {children}\nMaxRequestWorkers {children}"));
            line(format_args!("MinSpareServers {children}\nMaxSpareServers {children}"));
        }
        line(format_args!("LogLevel info\nErrorLog logs/error.log"));
        line(format_args!("LogFormat \"%P %a \\\"%r\\\" %>s\" pid\nCustomLog logs/access.log pid"));
        line(format_args!("{directives}"));
        text
    }
}

/// The number of the group of the children, if it is another one than that of the tests.
pub(crate) fn children_group() -> Option<u32> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let group = groups.lines().find_map(|line| line.strip_prefix("www-data:")?.split(':').nth(1)?.parse().ok());
    Some(group.expect("the group www-data"))
}

/// What `httpd -t` said.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) passed: bool,
    pub(crate) output: String,
}

/// Runs `httpd -t` on the configuration in `root`.
pub(crate) fn check(root: &Path) -> Check {
    let Output { status, stdout, stderr } = httpd(root).arg("-t").output().expect("httpd can be started");
    let output = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    Check { passed: status.success(), output }
}

/// The command that runs httpd on the configuration in `root`; `JWT_GATE_HTTPD` names another one than this machine's,
/// with words before it if need be.
///
/// # Panics
/// When there is no httpd.
pub(crate) fn httpd(root: &Path) -> Command {
    let words = std::env::var("JWT_GATE_HTTPD").unwrap_or_else(|_| {
        let found = ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/local/apache2/bin/httpd"];
        let found = found.into_iter().find(|path| Path::new(path).exists());
        found.expect("httpd (Debian: apt-get install apache2), or JWT_GATE_HTTPD").to_owned()
    });
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().expect("JWT_GATE_HTTPD names a command"));
    command.args(words).arg("-d").arg(root).arg("-f").arg(root.join("conf/httpd.conf"));
    command
}

/// Where httpd's own modules are; `JWT_GATE_MODULES_DIR` names another folder than this machine's.
pub(crate) fn modules_dir() -> PathBuf {
    let usual = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/local/apache2/modules"];
    let given = std::env::var_os("JWT_GATE_MODULES_DIR").map(PathBuf::from);
    let found = given.or_else(|| usual.into_iter().map(PathBuf::from).find(|path| path.exists()));
    found.expect("the folder of httpd's modules, or JWT_GATE_MODULES_DIR")
}

impl Gate {
    /// `JWT_GATE_MODULE` and `JWT_GATE_PANIC_MODULE` name other files than those that cargo built.
    ///
    /// # Panics
    /// When there is no such file.
    pub(crate) fn file(self) -> Option<PathBuf> {
        let (variable, built_in, command) = match self {
            Self::Absent => return None,
            Self::UnderTest => ("JWT_GATE_MODULE", ["debug", "release"], "cargo build"),
            Self::PanicProbe => (
                "JWT_GATE_PANIC_MODULE",
                ["panic-probe/debug", "panic-probe/release"],
                "cargo build --features panic-probe --target-dir target/panic-probe",
            ),
        };
        Some(built(variable, built_in, "libjwt_gate.so", command))
    }
}

/// The command `jwt-gate`; `JWT_GATE_COMMAND` names another file than that which cargo built.
///
/// # Panics
/// When there is no such file.
pub(crate) fn command() -> PathBuf {
    built("JWT_GATE_COMMAND", ["debug", "release"], "jwt-gate", "cargo build -p jwt-gate")
}

/// The file that a variable names, else the newest of this name in these folders of what cargo built.
fn built(variable: &str, folders: [&str; 2], name: &str, command: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let files = folders.map(|folder| target.join(folder).join(name));
    let newest = files.iter().filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).max();
    let (_, path) =
        newest.unwrap_or_else(|| panic!("no {} (nor {variable}): run `{command}` first", files[0].display()));
    path.canonicalize().unwrap()
}
