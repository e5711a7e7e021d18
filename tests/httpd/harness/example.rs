//! The setups of `apache-conf/examples`, installed as their own documents say: the commands, the virtual host, the
//! units and the application are those that administrators copy. Other than there are paths, which lie below the
//! ServerRoot, ports, and what a test says that it replaces.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::certificates::Authority;
use super::client::Request;
use super::config::Gate;
use super::uvicorn::Uvicorn;
use super::{Server, Site, await_some};

/// Where the documents install something, and where it is in a site: below this folder of it.
const PLACES: [(&str, &str); 7] = [
    ("/etc/apache2", "."),
    ("/etc/api", "api"),
    ("/etc/session-app", "session-app"),
    ("/etc/systemd/system", "units"),
    ("/opt", "opt"),
    ("/var/lib/ip-ranges", "ip-ranges"),
    ("/var/www", "www"),
];

/// The names that the virtual hosts of the examples have.
const HOSTS: [&str; 2] = ["api.example.com", "app.example.com"];

/// Programs that the documents call and that a test has no use for, or other ones.
const TOOLS: [(&str, &str); 7] = [
    ("sudo", r#"exec "$@""#),
    ("a2enmod", r#"printf '%s\n' "$@" >> "$SITE/modules""#),
    ("a2ensite", ""),
    ("a2dissite", ""),
    ("apachectl", ""),
    ("systemctl", r#"printf '%s\n' "$*" >> "$SITE/systemctl""#),
    ("useradd", ""),
];

/// A setup that is installed and not yet started.
#[derive(Debug)]
pub(crate) struct Example {
    folder: PathBuf,
    replaced: Vec<(String, String)>,
    site: Site,
}

/// A setup that runs: httpd, and the application that its unit starts.
#[derive(Debug)]
pub(crate) struct Running {
    folder: PathBuf,
    pub(crate) server: Server,
    pub(crate) application: Uvicorn,
    ca: String,
}

/// A command of a console block: whom its prompt names, and what is shown below it.
#[derive(Debug)]
struct Step {
    who: String,
    command: String,
    shown: Vec<String>,
}

impl Example {
    /// Makes a site with a certificate for the host names of the examples, and writes `files` below it; then runs the
    /// commands in the README of this example.
    ///
    /// # Panics
    /// When one of them fails.
    pub(crate) fn install(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = repository().join("apache-conf/examples").join(name);
        let site = Site::new().load(&["ssl"]);
        fs::create_dir(site.root.join("tls")).unwrap();
        let authority = Authority::new();
        site.write("tls/ca.pem", authority.pem());
        for host in HOSTS {
            let certified = authority.certify_for(&[host]);
            site.write(&format!("tls/{host}.pem"), certified.certificate);
            site.write(&format!("tls/{host}.key"), certified.key);
        }
        for (path, content) in files {
            site.write(path, content);
        }
        for place in ["units", "sites-available", "ip-ranges"] {
            fs::create_dir_all(site.root.join(place)).unwrap();
        }
        let example = Self { folder, replaced: Vec::new(), site };
        example.write_tools();
        let readme = fs::read_to_string(example.folder.join("README.md")).unwrap();
        shell(&example.site, &example.folder, &blocks(&readme, "sh").concat()).unwrap();
        example
    }

    /// Has the configuration say `with` where it says `what`.
    pub(crate) fn replace(mut self, what: &str, with: &str) -> Self {
        assert!(self.vhost().contains(what), "{what} is not in the virtual host");
        self.replaced.push((what.to_owned(), with.to_owned()));
        self
    }

    /// Lets commands of the console see this variable, too.
    pub(crate) fn variable(self, name: &str, value: &str) -> Self {
        let mut variables = fs::read_to_string(self.root().join("tools/variables")).unwrap();
        writeln!(variables, "{name}='{value}'").unwrap();
        fs::write(self.root().join("tools/variables"), variables).unwrap();
        self
    }

    pub(crate) fn root(&self) -> &Path {
        &self.site.root
    }

    /// What a command of the README has put into this variable.
    pub(crate) fn shell_variable(&self, name: &str) -> String {
        shell(&self.site, &self.folder, &format!("printf %s \"${name}\"")).unwrap()
    }

    /// Runs `httpd -t` with the lines for a certificate of mod_md, which are commented out, in place of the files.
    ///
    /// # Panics
    /// When it has anything to say.
    pub(crate) fn managed_certificate(mut self) {
        let vhost = self.vhost().replace("#MD", "MD").replace("    SSLCertificate", "    #SSLCertificate");
        assert!(vhost.contains("\nMDomain "));
        self.site = self.site.load(&["md"]);
        let check = self.site.configtest(&self.localised(&vhost, "http://127.0.0.1:9000"));
        assert_eq!(check.output, "Syntax OK\n");
    }

    /// The virtual host, as it was installed.
    pub(crate) fn vhost(&self) -> String {
        let mut sites = fs::read_dir(self.root().join("sites-available")).unwrap();
        let text = fs::read_to_string(sites.next().expect("a virtual host").unwrap().path()).unwrap();
        assert!(sites.next().is_none());
        text
    }

    fn configuration(&self, application: &str) -> String {
        self.localised(&self.vhost(), application)
    }

    /// A virtual host for this site.
    fn localised(&self, vhost: &str, application: &str) -> String {
        let mut text = vhost.to_owned();
        for (what, with) in &self.replaced {
            text = text.replace(what, with);
        }
        text = place(&text, self.root()).replace("http://127.0.0.1:9000", application);
        text = text.replace("*:443>", "*:${PORT}>").replace("*:80>", "*:${PORT2}>");
        // Debian's envvars name the folder of logs; its mod_ssl has a cache for sessions, of which a bare one warns.
        format!("Define APACHE_LOG_DIR {}/logs\nLogLevel ssl:error\n{text}", self.root().display())
    }

    /// What `httpd -t` says of the virtual host.
    pub(crate) fn complaint(&self) -> String {
        self.site.configtest(&self.configuration("http://127.0.0.1:9000")).output
    }

    /// Starts the application as its unit says, and httpd in front of it.
    ///
    /// # Panics
    /// When `httpd -t` has anything to say against the configuration, or they do not come up.
    pub(crate) fn start(self, unit: &str) -> Running {
        assert_eq!(self.complaint(), "Syntax OK\n");
        let commands = self.commands(unit);
        let [command] = commands.as_slice() else { panic!("{unit}: {commands:?}") };
        let application = Uvicorn::of_command(command, &self.credentials(unit));
        let ca = fs::read_to_string(self.root().join("tls/ca.pem")).unwrap();
        let configuration = self.configuration(&application.url());
        Running { folder: self.folder, server: self.site.start(&configuration), application, ca }
    }

    /// The commands of a unit that was installed, with paths of this site.
    pub(crate) fn commands(&self, unit: &str) -> Vec<Vec<String>> {
        commands(self.root(), unit)
    }

    /// The folder with the credentials that systemd would give a unit.
    fn credentials(&self, unit: &str) -> PathBuf {
        let folder = self.root().join("credentials");
        fs::create_dir_all(&folder).unwrap();
        for line in values(&unit_text(self.root(), unit), "LoadCredential") {
            let (name, file) = line.split_once(':').unwrap();
            fs::copy(place(file, self.root()), folder.join(name)).unwrap();
        }
        folder
    }

    fn write_tools(&self) {
        let module = Gate::UnderTest.file().expect("a gate");
        let command = module.with_file_name("jwt-gate");
        assert!(command.exists(), "no {}: run `cargo build -p jwt-gate` first", command.display());
        let venv = repository().join("target/venv/bin");
        // What a venv holds was installed by make; commands of the documents get one with no more than they call.
        let python = format!(
            r#"if [ "$1 $2" = "-m venv" ]; then
                mkdir -p "$3/bin" && ln -s '{0}/uvicorn' "$3/bin/uvicorn" && ln -s /bin/true "$3/bin/pip"
            else
                exec '{0}/python3' "$@"
            fi"#,
            venv.display()
        );
        let command = format!("exec '{}' \"$@\"", command.display());
        let own = [("python3", python.as_str()), ("jwt-gate", command.as_str())];
        for (name, script) in TOOLS.into_iter().chain(own) {
            self.site.write(&format!("tools/{name}"), format!("#!/bin/sh\n{script}\n"));
            self.site.chmod(&format!("tools/{name}"), 0o755);
        }
        self.site.write("tools/variables", "");
    }
}

impl Running {
    /// Runs the commands of the console blocks below a heading of the project's README, and compares what they print
    /// with what is shown. `who` has for each prompt the address from which it calls.
    ///
    /// # Panics
    /// When a line that is shown was not printed, or not behind the one before it.
    pub(crate) fn follow_readme(&self, heading: &str, who: &[(&str, &str)]) {
        let readme = fs::read_to_string(repository().join("README.md")).unwrap();
        let (_, rest) = readme.split_once(&format!("\n### {heading}\n")).expect("the heading");
        let section = rest.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
        let steps: Vec<Step> = blocks(section, "console").iter().flat_map(|block| steps(block)).collect();
        assert!(!steps.is_empty(), "no commands below {heading}");
        let mut script = String::new();
        for step in &steps {
            let (_, address) =
                who.iter().find(|(name, _)| *name == step.who).unwrap_or_else(|| panic!("who is {:?}?", step.who));
            let curlrc = format!(
                "connect-to = \":443:127.0.0.1:{}\"\nconnect-to = \":80:127.0.0.1:{}\"\ninterface = \"{address}\"\n\
                 cacert = \"{}/tls/ca.pem\"\n",
                self.server.port.number,
                self.server.second_port.number,
                self.server.root.display()
            );
            self.server.write(&format!("tools/{}/.curlrc", step.who), curlrc);
            let home = self.server.root.join("tools").join(&step.who);
            writeln!(script, "export CURL_HOME='{}'\n{}\nprintf '\\n\\1'", home.display(), step.command).unwrap();
        }
        let printed = shell(&self.server, &repository(), &script).unwrap();
        for (step, printed) in steps.iter().zip(printed.split('\u{1}')) {
            let mut rest = printed.lines();
            for shown in &step.shown {
                assert!(
                    rest.any(|line| line == shown),
                    "not there: {shown}\nafter {}\nwhich printed\n{printed}",
                    step.command
                );
            }
        }
    }

    /// A request over TLS to a virtual host of this name.
    pub(crate) fn request(&self, method: &str, host: &str, target: &str) -> Request {
        Request::over_tls(self.server.address(), method, host, target, &self.ca)
    }

    /// The folder of the repository that it was installed from.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The access log of this name, as soon as a line of it has this text in it: a line is written after its answer.
    ///
    /// # Panics
    /// When there is none for long.
    pub(crate) fn access_log(&self, name: &str, text: &str) -> String {
        await_some(&format!("a line with {text:?} in {name}"), || {
            let log = fs::read_to_string(self.server.root.join("logs").join(name)).unwrap();
            log.contains(text).then_some(log)
        })
    }

    /// Runs the commands of a unit in the folder of its state, with `with` in place of `what`.
    pub(crate) fn run_unit(&self, unit: &str, folder: &str, what: &str, with: &str) {
        for command in commands(&self.server.root, unit) {
            let words: Vec<String> = command.iter().map(|word| word.replace(what, with)).collect();
            let mut process = Command::new(&words[0]);
            let status = process.args(&words[1..]).current_dir(self.server.root.join(folder)).status().unwrap();
            assert!(status.success(), "{words:?}");
        }
    }
}

/// The folder of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The text with the paths of a site in place of those that the documents name.
fn place(text: &str, root: &Path) -> String {
    PLACES.iter().fold(text.to_owned(), |text, (path, folder)| {
        let folder = root.join(folder).display().to_string();
        text.replace(path, folder.trim_end_matches("/."))
    })
}

fn unit_text(root: &Path, unit: &str) -> String {
    fs::read_to_string(root.join("units").join(unit)).unwrap()
}

fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

fn commands(root: &Path, unit: &str) -> Vec<Vec<String>> {
    let text = place(&unit_text(root, unit), root);
    values(&text, "ExecStart").iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// The code blocks of this language in a document.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let after = text.split(&fence).skip(1);
    after.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut continues = false;
    for line in block.lines() {
        let prompt = line.split_once("$ ").filter(|(who, _)| who.chars().all(|c| c.is_ascii_lowercase()));
        match (prompt, steps.last_mut()) {
            (_, Some(step)) if continues => step.command += &format!("\n{line}"),
            (Some((who, command)), _) => {
                steps.push(Step { who: who.to_owned(), command: command.to_owned(), shown: Vec::new() });
            }
            (None, Some(step)) => step.shown.push(line.to_owned()),
            (None, None) => panic!("no command before {line}"),
        }
        continues = line.ends_with('\\');
    }
    steps
}

/// Runs a script of bash with the tools of a site before all others. Variables with names like KEY and OLD_KEY are there
/// for scripts after it. Gives what it printed, or all that it said.
fn shell(site: &Site, folder: &Path, script: &str) -> Result<String, String> {
    let tools = site.root.join("tools");
    let mut script = place(script, &site.root);
    if !rustix::process::geteuid().is_root() {
        // Who is not root has the server's children run as himself, and cannot give files away.
        script = script.replace(" -g www-data", "");
    }
    let variables = tools.join("variables").display().to_string();
    let script = format!(
        "set -eu -o pipefail\n. '{variables}'\n{script}\n\
         for name in $(compgen -v | grep -E '^([A-Z]+_)?(KEY|TOKEN)$'); do declare -p $name >> '{variables}'; done"
    );
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.arg("-c").arg(&script).current_dir(folder).env("PATH", path).env("SITE", &site.root);
    let output = command.stdin(Stdio::null()).output().expect("bash can be started");
    let stdout = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(stdout) } else { Err(format!("{script}\n{stdout}\n{stderr}")) }
}

/// Whether others than the owner have any right to a file of a site.
pub(crate) fn is_private(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}
