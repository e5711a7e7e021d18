//! `Require jwt-claim …` and its like: from the text of a line to a [`Requirement`].

use std::ffi::CStr;

use super::parse;
use crate::requirement::{ClaimValue, Requirement};

/// What a line is about; the word behind `Require`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // each is described at the requirement of its name
pub enum Kind {
    Claim,
    Scope,
    Group,
    Client,
    Issuer,
    Plan,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Claim, Self::Scope, Self::Group, Self::Client, Self::Issuer, Self::Plan];

    /// The name under which httpd knows it.
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::Claim => c"jwt-claim",
            Self::Scope => c"jwt-scope",
            Self::Group => c"jwt-group",
            Self::Client => c"jwt-client",
            Self::Issuer => c"jwt-issuer",
            Self::Plan => c"jwt-plan",
        }
    }
}

impl Requirement {
    /// Reads what stands behind the name of the kind, as it stands in the configuration.
    ///
    /// # Errors
    /// Text for the administrator.
    pub fn parse(kind: Kind, line: &str) -> Result<Self, String> {
        let words = words(line);
        words.iter().try_for_each(|word| plain(word))?;
        match kind {
            Kind::Claim => claim(words),
            Kind::Scope => each(words, scope, "a scope", "Require jwt-scope read write").map(Self::Scope),
            Kind::Group => each(words, text, "a group", "Require jwt-group staff \"night shift\"").map(Self::Group),
            Kind::Client => each(words, text, "a client", "Require jwt-client web-shop").map(Self::Client),
            Kind::Issuer => each(words, name, "an issuer", "Require jwt-issuer main").map(Self::Issuer),
            Kind::Plan => each(words, name, "a plan", "Require jwt-plan premium").map(Self::Plan),
        }
    }
}

fn claim(words: Vec<String>) -> Result<Requirement, String> {
    let mut words = words.into_iter();
    let Some(name) = words.next().filter(|name| !name.is_empty()) else {
        return Err("needs a claim and its values: write `Require jwt-claim role admin editor`".to_owned());
    };
    let values: Vec<_> = words.map(ClaimValue::new).collect();
    if values.is_empty() {
        return Err(format!("`{}` has no values: write behind the claim what it may be", shown(&name)));
    }
    Ok(Requirement::Claim { name, values })
}

/// At least one word, and each of them good.
fn each(
    words: Vec<String>,
    check: impl Fn(&str, &str) -> Result<(), String>,
    what: &str,
    example: &str,
) -> Result<Vec<String>, String> {
    if words.is_empty() {
        return Err(format!("does not name {what}: write `{example}`"));
    }
    words.iter().try_for_each(|word| check(word, what))?;
    Ok(words)
}

/// A scope-token (RFC 6749 section 3.3). What is none could never match, since no token can hold it.
fn scope(word: &str, _: &str) -> Result<(), String> {
    if !word.is_empty() && word.bytes().all(|b| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~')) {
        return Ok(());
    }
    Err(format!(
        "`{}` cannot be a scope: write visible ASCII characters without `\"` and `\\`, and several scopes as words of \
         their own",
        shown(word)
    ))
}

fn text(word: &str, what: &str) -> Result<(), String> {
    if word.is_empty() { Err(format!("`\"\"` cannot be {what}: write a name or leave it out")) } else { Ok(()) }
}

fn name(word: &str, what: &str) -> Result<(), String> {
    parse::name(what, word).map(|_| ()).map_err(|_| {
        format!("`{}` cannot be the name of {what}: use 1 to 64 letters, digits, `.`, `_` or `-`", shown(word))
    })
}

/// Nothing in it that is there by mistake.
fn plain(word: &str) -> Result<(), String> {
    if word.contains(char::is_control) {
        return Err(format!("`{}` holds control characters: take them out", shown(word)));
    }
    if word.contains("%{") {
        // `Require user` and its like do evaluate it.
        return Err(format!(
            "`{}`: `%{{` is not evaluated here: write the value itself or `Require expr`",
            shown(word)
        ));
    }
    Ok(())
}

/// The beginning of a word, fit for a log.
fn shown(word: &str) -> String {
    let end = if word.chars().count() > 20 { "…" } else { "" };
    word.chars().take(20).flat_map(char::escape_debug).chain(end.chars()).collect()
}

/// Cuts a line into words as httpd does (`ap_getword_conf`): at white space, but for what is in double or single
/// quotes. A quote that is never closed ends with the line. A backslash takes away the meaning of a backslash behind
/// it, and inside of quotes that of the quote; before anything else it stands for itself.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let (word, behind) = match first {
            '"' | '\'' => quoted(&rest[1..], first),
            _ => {
                let (word, behind) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
                (word.replace(r"\\", r"\"), behind)
            }
        };
        words.push(word);
        rest = behind.trim_start_matches(is_space);
    }
    words
}

/// What stands before the closing `quote`, and what behind it.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char == quote {
            break;
        }
        let escaped = chars.clone().next().filter(|next| char == '\\' && (*next == quote || *next == '\\'));
        if escaped.is_some() {
            chars.next();
        }
        word.push(escaped.unwrap_or(char));
    }
    (word, chars.as_str())
}

/// `isspace` of C.
fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn each_kind_reads_its_words() {
        assert_eq!(
            Requirement::parse(Kind::Claim, r#" a.b  5 "two words" "" "#),
            Ok(Requirement::Claim {
                name: "a.b".to_owned(),
                values: owned(&["5", "two words", ""]).into_iter().map(ClaimValue::new).collect(),
            })
        );
        assert_eq!(
            Requirement::parse(Kind::Scope, "read urn:x:'w'"),
            Ok(Requirement::Scope(owned(&["read", "urn:x:'w'"])))
        );
        assert_eq!(
            Requirement::parse(Kind::Group, r"'night shift' Größe DOM\\group"),
            Ok(Requirement::Group(owned(&["night shift", "Größe", r"DOM\group"])))
        );
        assert_eq!(Requirement::parse(Kind::Client, "a b"), Ok(Requirement::Client(owned(&["a", "b"]))));
        assert_eq!(Requirement::parse(Kind::Issuer, "main"), Ok(Requirement::Issuer(owned(&["main"]))));
        assert_eq!(Requirement::parse(Kind::Plan, "gold"), Ok(Requirement::Plan(owned(&["gold"]))));
    }

    #[test]
    fn only_scopes_are_needed_scopes() {
        for kind in Kind::ALL {
            let requirement = Requirement::parse(kind, "a b").unwrap();
            assert_eq!(requirement.needed_scopes(), owned(if kind == Kind::Scope { &["a", "b"] } else { &[] }));
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (kind, line, part) in [
            (Kind::Claim, "", "write `Require jwt-claim "),
            (Kind::Claim, "\"\" x", "write `Require jwt-claim "),
            (Kind::Claim, "role", "`role` has no values"),
            (Kind::Claim, "role=admin", "`role=admin` has no values"),
            (Kind::Claim, "role %{HTTP_HOST}", "write the value itself"),
            (Kind::Scope, " ", "write `Require jwt-scope "),
            (Kind::Scope, "read \"a b\"", "`a b` cannot be a scope"),
            (Kind::Scope, r"a\b", "cannot be a scope"),
            (Kind::Scope, "a\"b", "cannot be a scope"),
            (Kind::Scope, "ü", "`ü` cannot be a scope"),
            (Kind::Scope, "\"\"", "cannot be a scope"),
            (Kind::Group, "", "write `Require jwt-group "),
            (Kind::Group, "a \"\"", "cannot be a group"),
            (Kind::Client, "", "write `Require jwt-client "),
            (Kind::Client, "''", "cannot be a client"),
            (Kind::Issuer, "", "write `Require jwt-issuer "),
            (Kind::Issuer, "https://issuer.example", "cannot be the name of an issuer"),
            (Kind::Plan, "", "write `Require jwt-plan "),
            (Kind::Plan, "a/b", "cannot be the name of a plan"),
        ] {
            let error = Requirement::parse(kind, line).expect_err(line);
            assert!(error.contains(part), "{error}");
        }
        for kind in Kind::ALL {
            for control in ["\"a\nb\"", "a\u{1}", "a \u{7f}", "a\u{85} b", "\u{0}"] {
                let error = Requirement::parse(kind, &format!("x {control}")).expect_err(control);
                assert!(error.contains("control characters") && !error.contains(char::is_control), "{error:?}");
            }
        }
        let long = Requirement::parse(Kind::Scope, &"ü".repeat(10_000)).unwrap_err();
        assert!(long.contains("üü…`") && long.len() < 300, "{long}");
    }
}
