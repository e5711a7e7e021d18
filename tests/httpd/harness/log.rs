//! The error log: waiting for a line, and the audit at the end.

use std::fs;
use std::path::{Path, PathBuf};

/// The error log of one server, with what its test expects to find in it.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    expected: Vec<String>,
}

impl Log {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), expected: Vec::new() }
    }

    /// Declares that a line of level warn or above with this text in it must occur.
    pub(crate) fn expect(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// How many lines have this text in them so far.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.text().lines().filter(|line| line.contains(text)).count()
    }

    /// What is wrong with the log: warnings that nobody declared, declared ones that did not come, and crashes of
    /// other children than those in `killed`.
    pub(crate) fn audit(&self, killed: &[i32]) -> Result<(), String> {
        let faults = faults(&self.text(), &self.expected, killed);
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }
}

fn faults(text: &str, expected: &[String], killed: &[i32]) -> Vec<String> {
    let serious: Vec<&str> = text.lines().filter(|line| is_serious(line)).collect();
    let mut faults: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.contains("exit signal")) {
        if !killed.iter().any(|pid| line.contains(&format!("child pid {pid} exit signal Killed"))) {
            faults.push(format!("crash: {line}"));
        }
    }
    for line in &serious {
        if !expected.iter().any(|text| line.contains(text.as_str())) {
            faults.push(format!("not declared: {line}"));
        }
    }
    for expected in expected {
        if !serious.iter().any(|line| line.contains(expected.as_str())) {
            faults.push(format!("declared, but not there: {expected}"));
        }
    }
    faults
}

/// Whether a line of the error log is of level warn or above, and not about how tests ask.
///
/// Lines begin `[date] [module:level] …`; what does not begin so comes from a library and is serious.
fn is_serious(line: &str) -> bool {
    // All children of prefork have a connection.
    if line.contains("[mpm_prefork:error]") && line.contains("] AH00161: ") {
        return false;
    }
    // At its end, a child of event closes the connections of those of its threads that have not done yet.
    if line.contains("[mpm_event:error]") && line.contains("(9)Bad file descriptor: AH03093: ") {
        return false;
    }
    let mut brackets = line.split('[').skip(2);
    let level = brackets.next().and_then(|part| part.split_once(']')).and_then(|(part, _)| part.split_once(':'));
    match level {
        Some((_, level)) => !matches!(level, "notice" | "info" | "debug") && !level.starts_with("trace"),
        None => !line.trim().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_from_warn_on_are_serious_and_so_is_what_has_no_level() {
        for (line, serious) in [
            ("[Sat Nov 21 11:12:14 2026] [core:warn] [pid 1:tid 1] AH00111: x", true),
            ("[Sat Nov 21 11:12:14 2026] [jwt_gate:error] [pid 1:tid 1] [client 127.0.0.1:1] JG0001: x", true),
            ("[Sat Nov 21 11:12:14 2026] [mpm_event:notice] [pid 1:tid 1] AH00489: x", false),
            ("[Sat Nov 21 11:12:14 2026] [jwt_gate:info] [pid 1:tid 1] JG1001: [core:error]", false),
            ("[Sat Nov 21 11:12:14 2026] [mpm_prefork:error] [pid 1:tid 1] AH00161: x", false),
            ("[Sat Nov 21 11:12:14 2026] [mpm_event:error] [pid 1:tid 1] (9)Bad file descriptor: AH03093: x", false),
            ("[Sat Nov 21 11:12:14 2026] [http2:trace1] [pid 1] x", false),
            ("thread 'main' panicked at src/lib.rs", true),
        ] {
            assert_eq!(is_serious(line), serious, "{line}");
        }
    }

    #[test]
    fn the_audit_finds_undeclared_missing_and_crashed() {
        let text = "[date] [proxy:error] [pid 7:tid 7] AH01114: x\n\
                    [date] [core:notice] [pid 1:tid 1] AH00052: child pid 42 exit signal Killed (9)\n";
        let declared = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert!(faults(text, &declared(&["AH01114"]), &[42]).is_empty());
        assert!(faults(text, &[], &[42])[0].starts_with("not declared"));
        assert!(faults(text, &declared(&["AH01114"]), &[4])[0].starts_with("crash"));
        assert!(faults(text, &declared(&["AH01114", "JG1"]), &[42])[0].starts_with("declared, but not there: JG1"));
    }
}
