//! What is shown: to people, whose terminals obey control characters, and to programs.

use std::io::{self, ErrorKind, IsTerminal, Write, stdout};

use serde_json::Value;

use crate::failure::Failure;

/// Writes to standard output.
pub(crate) fn show(text: &str) -> Result<(), Failure> {
    match stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|why: io::Error| Failure::unusable(format!("the answer cannot be shown: {why}"))),
    }
}

/// Writes a value for programs. What a terminal would obey is escaped; it can only stand in strings.
pub(crate) fn show_json(value: &Value) -> Result<(), Failure> {
    let mut text = String::new();
    for c in format!("{value:#}").chars() {
        if c != '\n' && is_obeyed(c) {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    show(&format!("{text}\n"))
}

/// What others wrote, on one line and with nothing in it that a terminal obeys.
pub(crate) fn visible(text: &str) -> String {
    let escaped = |c: char| if is_obeyed(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Control characters, line breaks, and what changes the order or hides the presence of others (Unicode TR 36).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// How something went.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Good,
    Bad,
    /// It does not matter.
    Aside,
    /// It is worth a look.
    Odd,
}

/// Whether colours are used: on a terminal, unless `NO_COLOR` (<https://no-color.org>) or `TERM` say otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn for_output() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let unable = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        Self(stdout().is_terminal() && !unwanted && !unable)
    }

    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Aside => "2",
            Tone::Odd => "33",
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn title(self, text: &str) -> String {
        if self.0 { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(visible("José \u{65e5}\u{672c}"), "José \u{65e5}\u{672c}");
        assert_eq!(visible("a\u{1b}[2J\r\n\u{9b}1m\u{7f}"), r"a\u{1b}[2J\u{d}\u{a}\u{9b}1m\u{7f}");
        assert_eq!(visible("\u{202e}nimda\u{200b}"), r"\u{202e}nimda\u{200b}");
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Paint(false).tone(Tone::Bad, "no"), "no");
        assert_eq!(Paint(true).tone(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
    }
}
