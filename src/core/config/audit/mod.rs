//! Start-up audit: combinations of directives, each right by itself, that open a way around the gate.
//!
//! The audit says only what the configuration shows. It looks at one server at a time, a virtual host
//! together with what it inherits, and merges sections in httpd's order: `<Directory>`, `<Files>`,
//! `<Location>`, `<If>`. What cannot be seen here is refused when a request meets it.

mod pattern;
mod server;
mod statement;

use std::collections::HashSet;

use server::Server;

/// A directive or section as httpd keeps it.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Name as written; that of a section with its `<`.
    pub name: String,
    /// Arguments as written; those of a section with or without the final `>`.
    pub args: String,
    /// Configuration file.
    pub file: String,
    /// Line in `file`, from 1.
    pub line: u32,
    /// What a section holds.
    pub children: Vec<Node>,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The server must not start.
    Error,
    /// The server starts, with a line in its error log.
    Warning,
    /// Likewise; right for most applications.
    Notice,
}

/// One way around the gate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Whether the server may start.
    pub severity: Severity,
    /// Number of the error-log line.
    pub id: &'static str,
    /// Configuration file of the directive to change.
    pub file: String,
    /// Line in `file`.
    pub line: u32,
    /// What is wrong, and the remedy.
    pub text: String,
}

/// Looks at the whole configuration. A directive is named at most once for the same reason, however many
/// virtual hosts inherit it.
pub fn audit(tree: &[Node]) -> Vec<Finding> {
    let (main, hosts) = statement::read(tree);
    let hosts = hosts.iter().map(|own| Server { main: &main, own });
    let mut seen = HashSet::new();
    std::iter::once(Server { main: &main, own: &[] })
        .chain(hosts)
        .flat_map(Server::findings)
        .filter(|finding| seen.insert((finding.id, finding.file.clone(), finding.line)))
        .collect()
}
