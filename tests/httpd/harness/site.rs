//! What a server needs before it starts: folder, ports, keys, application.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::app::App;
use super::config::{self, COPY, Check, Gate, Mpm, Setup, USER};
use super::ports::Port;
use super::tokens::{Keys, Token};
use super::{Server, ports};

/// A private ServerRoot with all that belongs to it. Removed at the end of a test that passed.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) root: PathBuf,
    pub(crate) port: Port,
    pub(crate) second_port: Port,
    pub(crate) app: App,
    pub(crate) keys: Keys,
    pub(crate) setup: Setup,
}

impl Site {
    /// A site under the event MPM with two children and the files of [`Keys`] in its folder `keys`.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // A failed test leaves its folder, and process ids come round again.
        let root = loop {
            let name = format!("jwt-gate-test.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let root = std::env::temp_dir().join(name);
            match fs::create_dir(&root) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.unwrap();
                    break root;
                }
            }
        };
        for folder in ["conf", "logs", "run", "html", "keys"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let keys = Keys::generate();
        keys.write(&root.join("keys"));
        let site = Self {
            root,
            port: Port::reserve(),
            second_port: Port::reserve(),
            app: App::start(),
            keys,
            setup: Setup::default(),
        };
        site.write("html/index.html", "static page");
        site
    }

    /// Runs under this MPM.
    pub(crate) fn mpm(mut self, mpm: Mpm) -> Self {
        self.setup.mpm = mpm;
        self
    }

    /// Runs this many child processes, all from the start to the end.
    pub(crate) fn children(mut self, children: u32) -> Self {
        self.setup.children = children;
        self
    }

    /// Loads more of httpd's modules, named as in `mod_NAME.so`.
    pub(crate) fn load(mut self, modules: &[&'static str]) -> Self {
        self.setup.modules.extend(modules);
        self
    }

    /// Has its own user start it, who has nothing but the ServerRoot. (Where the tests do not run as root, all are
    /// started so.)
    pub(crate) fn unprivileged(mut self) -> Self {
        if rustix::process::geteuid().is_root() {
            let module = self.setup.gate.file().expect("a gate");
            fs::copy(module, self.root.join(COPY)).unwrap();
            let chown = Command::new("chown").arg("-R").arg(format!("{USER}:{USER}")).arg(&self.root).status();
            assert!(chown.unwrap().success());
            self.setup.unprivileged = true;
        }
        self
    }

    /// Leaves the gate out: a bare httpd.
    pub(crate) fn without_gate(mut self) -> Self {
        self.setup.gate = Gate::Absent;
        self
    }

    /// Loads the module that panics when a request asks it to.
    pub(crate) fn panic_probe(mut self) -> Self {
        self.setup.gate = Gate::PanicProbe;
        self
    }

    /// Starts httpd with these directives at the end of its configuration, and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub(crate) fn start(self, directives: &str) -> Server {
        Server::start(self, directives)
    }

    /// Runs `httpd -t` over these directives.
    pub(crate) fn configtest(&self, directives: &str) -> Check {
        self.configure(directives);
        config::check(&self.root)
    }

    /// Writes the configuration with these directives at its end.
    pub(crate) fn configure(&self, directives: &str) {
        let mut listen =
            vec![format!("127.0.0.1:{}", self.port.number), format!("127.0.0.1:{}", self.second_port.number)];
        if ports::has_ipv6() {
            listen.push(format!("[::1]:{}", self.port.number));
        }
        let defines = [
            ("ROOT", self.root.display().to_string()),
            ("PORT", self.port.number.to_string()),
            ("PORT2", self.second_port.number.to_string()),
            ("APP", self.app.url()),
        ];
        self.write("conf/httpd.conf", self.setup.render(&self.root, &listen, &defines, directives));
    }

    /// Writes a file below the ServerRoot, mode 0644, by rename, so that a reader sees the old or the new one whole.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(path);
        let draft = path.with_extension("draft");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&draft, content).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(&draft, &path).unwrap();
        path
    }

    /// Writes over a file below the ServerRoot, in this many pieces, a tenth of a second apart.
    pub(crate) fn write_slowly(&self, path: &str, content: impl AsRef<[u8]>, pieces: usize) {
        let content = content.as_ref();
        let mut file = fs::File::create(self.root.join(path)).unwrap();
        for piece in content.chunks(content.len().div_ceil(pieces)) {
            file.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes a secret below the ServerRoot that the children can read, by rename.
    pub(crate) fn write_secret(&self, path: &str, secret: impl AsRef<[u8]>) {
        let (path, draft) = (self.root.join(path), self.root.join(format!("{path}.draft")));
        fs::write(&draft, secret).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o640)).unwrap();
        if let Some(group) = config::children_group() {
            std::os::unix::fs::chown(&draft, None, Some(group)).unwrap();
        }
        fs::rename(&draft, &path).unwrap();
    }

    /// Changes the mode of a file below the ServerRoot.
    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A valid token of the default key (ES256), to be changed as the test wants it.
    pub(crate) fn token(&self) -> Token<'_> {
        Token::new(&self.keys.es256)
    }

    fn error_log(&self) -> PathBuf {
        error_log(&self.root)
    }
}

/// Where the error log of the server in `root` is.
pub(crate) fn error_log(root: &Path) -> PathBuf {
    root.join("logs/error.log")
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.error_log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("kept: {}\nits error.log ends with:\n{tail}", self.root.display());
        } else {
            // What is left behind in the folder for temporary files harms nobody.
            drop(fs::remove_dir_all(&self.root));
        }
    }
}
