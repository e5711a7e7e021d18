//! `JwtGateLog PATH|"|program" [subject=plain]`.

use super::parse;

/// What a directive said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogDef {
    /// Where lines are written.
    pub target: LogTarget,
    /// The subject is written as it is, not as a keyed hash.
    pub plain_subject: bool,
}

/// Where lines are written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogTarget {
    /// To the end of a file; relative to ServerRoot.
    File(String),
    /// To the standard input of a program, which httpd starts: what follows `|`, `||` or, with a shell, `|$` (as in
    /// `CustomLog`).
    Program {
        /// Program and arguments.
        command: String,
        /// A shell reads the command.
        shell: bool,
    },
}

/// The word `off`, or the arguments.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Option<LogDef>, String> {
    let (target, options) = match words {
        [only] if only.eq_ignore_ascii_case("off") => return Ok(None),
        [target, options @ ..] => (target, options),
        [] => return Err("names no file: write a PATH, `\"|PROGRAM\"` or `off`".to_owned()),
    };
    let target = parse_target(target)?;
    let mut subject = None;
    for word in options {
        match parse::option(word) {
            Ok(("subject", value)) => {
                let plain = parse::one_of(value, &[("plain", true), ("hashed", false)]);
                parse::set_once(&mut subject, "subject", plain.map_err(|why| format!("`subject=`: {why}"))?)?;
            }
            _ if matches!(target, LogTarget::Program { .. }) => {
                return Err(format!(
                    "`{word}` is not an option: use `subject=plain`, and put a program and its arguments into one pair \
                     of quotes"
                ));
            }
            _ => return Err(format!("`{word}` is not an option: use `subject=plain`")),
        }
    }
    Ok(Some(LogDef { target, plain_subject: subject.unwrap_or(false) }))
}

fn parse_target(text: &str) -> Result<LogTarget, String> {
    let Some(program) = text.strip_prefix('|') else {
        return match text.get(..6) {
            _ if text.is_empty() => Err("names no file: write a PATH, `\"|PROGRAM\"` or `off`".to_owned()),
            Some(scheme) if scheme.eq_ignore_ascii_case("syslog") && !text.contains('/') => {
                Err(format!("`{text}` is not a file: for the system's log write `\"|/usr/bin/logger -t jwt_gate\"`"))
            }
            _ => Ok(LogTarget::File(text.to_owned())),
        };
    };
    let (command, shell) = match program.strip_prefix('$') {
        Some(command) => (command, true),
        None => (program.strip_prefix('|').unwrap_or(program), false),
    };
    if command.trim().is_empty() {
        return Err(format!("`{text}` names no program: write `\"|PROGRAM ARGUMENT...\"`"));
    }
    Ok(LogTarget::Program { command: command.to_owned(), shell })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let file = |path: &str| LogTarget::File(path.to_owned());
        let program = |command: &str, shell| LogTarget::Program { command: command.to_owned(), shell };
        for (words, target, plain_subject) in [
            (&["logs/gate.json"][..], file("logs/gate.json"), false),
            (&["/dev/stdout", "subject=plain"], file("/dev/stdout"), true),
            (&["off.json", "subject=Hashed"], file("off.json"), false),
            (&["/var/log/syslog-gate"], file("/var/log/syslog-gate"), false),
            (
                &["|bin/rotatelogs logs/gate.%F 86400", "subject=plain"],
                program("bin/rotatelogs logs/gate.%F 86400", false),
                true,
            ),
            (&["||/usr/bin/logger -t a"], program("/usr/bin/logger -t a", false), false),
            (&["|$tee a | logger"], program("tee a | logger", true), false),
        ] {
            assert_eq!(parse(words), Ok(Some(LogDef { target, plain_subject })), "{words:?}");
        }
        assert_eq!(parse(&["Off"]), Ok(None));
    }

    #[test]
    fn mistakes() {
        for (words, remedy) in [
            (&[][..], "`off`"),
            (&[""], "`off`"),
            (&["off", "subject=plain"][..0], "`off`"),
            (&["|"], "|PROGRAM"),
            (&["||"], "|PROGRAM"),
            (&["|$ "], "|PROGRAM"),
            (&["|rotatelogs", "logs/gate", "86400"], "quotes"),
            (&["a", "plain"], "subject=plain"),
            (&["a", "subject="], "subject=plain"),
            (&["a", "subject=on"], "`plain`"),
            (&["a", "subject=plain", "subject=plain"], "twice"),
            (&["a", "format=json"], "subject=plain"),
            (&["syslog:local3"], "logger"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(remedy), "{words:?}: {error}");
        }
    }
}
