//! Patterns of paths, as far as they can be understood without running them.

/// What selects paths, besides a plain path.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// A regular expression.
    Expression(String),
    /// `*`, `?` and `[...]`, none of which stands for `/`.
    Wildcards(String),
}

impl Pattern {
    /// Whether it selects certain paths, or all below certain paths, and nothing else: what follows a wildcard has no
    /// say in it. `^/health$`, `^/(docs|static)/` and `^/static/.*$` are such; `\.css$` and `^/[a-z]+/public` are not,
    /// since a client may write `/private;.css`.
    pub(super) fn is_fixed(&self) -> bool {
        match self {
            Self::Wildcards(text) => !text.trim_end_matches('*').contains(['*', '?', '[']) && text.starts_with('/'),
            Self::Expression(text) => text.strip_prefix('^').is_some_and(is_fixed_expression),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Expression(text) | Self::Wildcards(text) => text,
        }
    }
}

/// Of an expression behind its `^`.
fn is_fixed_expression(text: &str) -> bool {
    // What follows may be anything, if nothing comes after it.
    let text = text.strip_suffix('$').unwrap_or(text);
    let text = ["(/.*)?", "(?:/.*)?", "(.*)", ".*", ".+"].iter().find_map(|any| text.strip_suffix(any)).unwrap_or(text);
    let mut chars = text.chars().peekable();
    let mut depth = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            // `\d` and its like stand for many characters, `\.` for one.
            '\\' if chars.next().is_none_or(char::is_alphanumeric) => return false,
            '.' | '*' | '+' | '[' | '{' => return false,
            // `(?i)` and its like change what the rest means.
            '(' if chars.next_if_eq(&'?').is_some() && chars.next() != Some(':') => return false,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            // The other side of it has no `^`.
            '|' if depth == 0 => return false,
            _ => {}
        }
    }
    text.starts_with(['/', '(']) || text.is_empty()
}

/// The only path that a regular expression matches, if there is but one and it is written plainly.
pub(super) fn only(expression: &str) -> Option<&str> {
    let path = expression.strip_prefix('^')?.strip_suffix('$')?;
    (path.starts_with('/') && !path.contains(is_special)).then_some(path)
}

/// A path, ending in `/`, that everything begins with that a regular expression matches.
pub(super) fn beginning(expression: &str) -> String {
    let literal = expression.strip_prefix('^').unwrap_or_default();
    let literal = if literal.contains('|') { "" } else { literal.split(is_special).next().unwrap_or_default() };
    literal.rfind('/').map_or_else(|| "/".to_owned(), |end| literal[..=end].to_owned())
}

fn is_special(character: char) -> bool {
    matches!(character, '.' | '*' | '+' | '?' | '[' | '{' | '(' | '|' | '\\' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_one_path() {
        assert_eq!((only("^/gate/status$"), only("^/$")), (Some("/gate/status"), Some("/")));
        for several in
            ["/m", "^/m", "/m$", "^m$", "^/m.$", "^/(m)$", "^/m|^/n$", "^/m$$", "^/[m]$", r"^/m\.x$", "", "^$"]
        {
            assert_eq!(only(several), None, "{several}");
        }
    }

    #[test]
    fn fixed_patterns() {
        for text in [
            "^/health$",
            "^/health/?$",
            "^/(health|ready)$",
            "^/(?:docs|static)/",
            "^/static/.*",
            "^/static/.*$",
            "^/static/(.*)$",
            "^/static(/.*)?$",
            r"^/favicon\.ico$",
            "^/health",
            "^/$",
            "^",
        ] {
            assert!(Pattern::Expression(text.to_owned()).is_fixed(), "{text}");
        }
        for text in [
            "",
            "/health",
            r"\.css$",
            r"^/.*\.css$",
            "^/[a-z]+/public",
            r"^/\d+$",
            "^/favicon.ico$",
            "^/health|/ready",
            "^(?i)/health$",
            "(?i)^/health$",
            "^/x{2}/y",
            "^health",
            "^/health\\",
        ] {
            assert!(!Pattern::Expression(text.to_owned()).is_fixed(), "{text}");
        }
        for (text, expected) in
            [("/static*", true), ("/static/*", true), ("/*.css", false), ("/?/x", false), ("*", false)]
        {
            assert_eq!(Pattern::Wildcards(text.to_owned()).is_fixed(), expected, "{text}");
        }
    }

    #[test]
    fn beginnings() {
        for (expression, expected) in [
            ("^/app/(.*)$", "/app/"),
            ("^/app/x.*", "/app/"),
            ("^/app", "/"),
            ("^/app(/.*)?$", "/"),
            ("^/(.*)", "/"),
            ("^", "/"),
            ("/app/", "/"),
            ("(?i)^/app/", "/"),
            ("^/app/|^/web/", "/"),
            ("", "/"),
        ] {
            assert_eq!(beginning(expression), expected, "{expression}");
        }
    }
}
