//! A folder of its own for each test, and the program run on files in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio, id};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jwt_gate_core::apikey::{ApiKeyList, compile};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_jwt-gate");

/// SHA-256 of nothing that matters.
pub(crate) const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Gone when the test has passed or failed.
pub(crate) struct Folder(PathBuf);

/// What a run of the program had to say.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("jwt-gate-cli.{}.{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("keys.json")
    }

    /// With a file of this text.
    pub(crate) fn with(text: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        fs::write(folder.file(), text).unwrap();
        folder
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// The file as the module reads it.
    pub(crate) fn list(&self) -> ApiKeyList {
        let compiled = compile(&fs::read(self.file()).unwrap()).unwrap();
        ApiKeyList::open(Arc::new(compiled.bytes)).unwrap()
    }

    /// Names of all files, hidden ones included, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `jwt-gate apikey COMMAND --file FILE WORDS…`, not yet run.
    pub(crate) fn apikey(&self, command: &str, words: &[&str]) -> Command {
        let mut program = Command::new(PROGRAM);
        program.args(["apikey", command, "--file"]).arg(self.file()).args(words);
        program
    }

    pub(crate) fn run(&self, command: &str, words: &[&str]) -> Run {
        run(&mut self.apikey(command, words))
    }

    /// Makes a key, and returns it.
    pub(crate) fn make(&self, id: &str, words: &[&str]) -> String {
        let run = self.run("new", &[&["--id", id], words].concat());
        assert_eq!(run.code, Some(0), "{run:?}");
        run.out.trim_end().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(command: &mut Command) -> Run {
    Run::from(command.stdin(Stdio::null()).output().unwrap())
}

/// The program with these words only.
pub(crate) fn words(words: &[impl AsRef<OsStr>]) -> Run {
    run(Command::new(PROGRAM).args(words))
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Run {
    /// Fails unless the program ended with this code, printed nothing, and said this.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, why: &str) {
        assert!(self.code == Some(code) && self.out.is_empty() && self.err.contains(why), "{why}: {self:?}");
        assert!(self.err.starts_with("jwt-gate: ") && self.err.lines().count() == 1, "{self:?}");
    }
}

/// A file of these entries, each of which is given as its id and members behind a comma.
pub(crate) fn file(entries: &[(&str, &str)]) -> String {
    let of = |(number, (id, members)): (usize, &(&str, &str))| {
        format!(r#"{{"id":"{id}","sha256":"{number:04x}{}"{members}}}"#, &HASH[4..])
    };
    format!("{{\"keys\":[{}]}}", entries.iter().enumerate().map(of).collect::<Vec<_>>().join(","))
}

/// The program with these words, and this on its standard input.
pub(crate) fn fed(words: &[impl AsRef<OsStr>], input: &[u8]) -> Run {
    let mut program = Command::new(PROGRAM);
    program.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = program.spawn().unwrap();
    // It may end without having read it.
    let _ = running.stdin.take().unwrap().write_all(input);
    Run::from(running.wait_with_output().unwrap())
}
