//! The configuration tree as a list of facts, each with the sections around it.

use std::rc::Rc;

use super::{Finding, Node, Severity};

/// What the main server states, and what each virtual host does.
pub(super) fn read(tree: &[Node]) -> (Vec<Statement<'_>>, Vec<Vec<Statement<'_>>>) {
    let (mut main, mut hosts) = (Vec::new(), Vec::new());
    Reader::default().read(tree, &Rc::from([]), &mut main, &mut hosts);
    (main, hosts)
}

/// A fact and where it applies.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    pub(super) fact: Fact,
    pub(super) node: &'a Node,
    /// The sections around it from the outside in; none for the whole server.
    pub(super) place: Rc<[Section]>,
}

/// What a directive says, as far as it matters here.
#[derive(Debug)]
pub(super) enum Fact {
    CacheDisabled {
        path: String,
    },
    CacheEnabled {
        path: String,
    },
    ClientFromHeader,
    /// An expression with a claim in it that is evaluated before the token is looked at.
    EarlyClaim,
    /// `path` is missing where it is a pattern, and where the section says it.
    ProxyPass {
        path: Option<String>,
        as_written: bool,
    },
    RewriteInherited,
    RewriteToProxy,
    Switch(Switch, bool),
    TrustedProxy,
}

/// What is turned on or off, one section overriding another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Switch {
    EncodedSlashesKept,
    Gate,
    QuickHandlerOff,
    RepeatedSlashesKept,
    SatisfyAny,
    TrailersMerged,
}

/// A section that selects requests.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The same for the same section of the configuration, and for no other.
    id: usize,
    region: Region,
}

/// What a section selects.
#[derive(Clone, Debug)]
pub(super) enum Region {
    Directory(String),
    DirectoryPattern,
    Files,
    If,
    Location(String),
    LocationPattern,
    Proxy,
}

impl Region {
    pub(super) const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::DirectoryPattern)
    }

    pub(super) const fn is_location(&self) -> bool {
        matches!(self, Self::Location(_) | Self::LocationPattern)
    }

    pub(super) const fn is_proxy(&self) -> bool {
        matches!(self, Self::Proxy)
    }
}

impl Statement<'_> {
    pub(super) fn finding(&self, severity: Severity, id: &'static str, text: String) -> Finding {
        Finding { severity, id, file: self.node.file.clone(), line: self.node.line, text }
    }

    pub(super) fn position(&self) -> String {
        format!("{}:{}", self.node.file, self.node.line)
    }

    /// Whether one of the sections around it is of this kind.
    pub(super) fn is_in(&self, kind: impl Fn(&Region) -> bool) -> bool {
        self.place.iter().any(|section| kind(&section.region))
    }

    /// The path of the plain `<Location>` around it.
    pub(super) fn path(&self) -> Option<&str> {
        path_of(&self.place)
    }

    /// httpd merges in this order; of equals, the later one wins.
    pub(super) fn precedence(&self) -> (u8, usize) {
        let ifs = self.place.iter().filter(|s| matches!(s.region, Region::If)).count();
        match self.place.last().map(|s| &s.region) {
            _ if ifs > 0 => (5, ifs),
            Some(Region::Location(_) | Region::LocationPattern) => (4, 0),
            Some(Region::Files) => (3, 0),
            Some(Region::DirectoryPattern | Region::Proxy) => (2, 0),
            Some(Region::Directory(path)) => (1, path.len()),
            Some(Region::If) | None => (0, 0),
        }
    }
}

/// Whether every request that `inner` applies to is surely one that `outer` applies to.
pub(super) fn covers(outer: &[Section], inner: &[Section]) -> bool {
    let around = outer.len() <= inner.len() && outer.iter().zip(inner).all(|(a, b)| a.id == b.id);
    around
        || match outer {
            [Section { region: Region::Location(path), .. }] => {
                path == "/" || path_of(inner).is_some_and(|below| is_below(below, path))
            }
            [Section { region: Region::Directory(path), .. }] => {
                inner.iter().any(|s| matches!(&s.region, Region::Directory(below) if is_below(below, path)))
            }
            _ => false,
        }
}

/// A place that stands for all requests to a path.
pub(super) fn location(path: &str) -> [Section; 1] {
    [Section { id: 0, region: Region::Location(path.to_owned()) }]
}

fn path_of(place: &[Section]) -> Option<&str> {
    place.iter().find_map(|s| match &s.region {
        Region::Location(path) => Some(path.as_str()),
        _ => None,
    })
}

/// Whether `path` is `above` or lies below it, by whole segments.
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| above.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

/// Walks the tree and numbers its sections, from 1.
#[derive(Default)]
struct Reader {
    sections: usize,
}

impl Reader {
    /// Appends what `nodes` state to `server`, and each virtual host to `hosts`.
    fn read<'a>(
        &mut self,
        nodes: &'a [Node],
        place: &Rc<[Section]>,
        server: &mut Vec<Statement<'a>>,
        hosts: &mut Vec<Vec<Statement<'a>>>,
    ) {
        for node in nodes {
            let name = node.name.to_ascii_lowercase();
            if name == "<virtualhost" {
                let mut own = Vec::new();
                self.read(&node.children, place, &mut own, hosts);
                hosts.push(own);
            } else if let Some(section) = name.strip_prefix('<') {
                let inner = match region(section, &node.args) {
                    None => Rc::clone(place),
                    Some(region) => {
                        self.sections += 1;
                        if matches!(region, Region::If) && has_claim(&node.args) {
                            server.push(Statement { fact: Fact::EarlyClaim, node, place: Rc::clone(place) });
                        }
                        place.iter().cloned().chain([Section { id: self.sections, region }]).collect()
                    }
                };
                self.read(&node.children, &inner, server, hosts);
            } else if let Some(fact) = fact(&name, &node.args, place.is_empty()) {
                server.push(Statement { fact, node, place: Rc::clone(place) });
            }
        }
    }
}

/// What a section selects; `None` for one that selects no requests, such as `<Limit>` and `<IfModule>`.
fn region(section: &str, args: &str) -> Option<Region> {
    let args = args.trim_end();
    let argument = words(args.strip_suffix('>').unwrap_or(args)).next().unwrap_or_default();
    let plain = argument.starts_with('/') && !argument.contains(['*', '?', '[']);
    Some(match section {
        "location" if plain => Region::Location(argument),
        "location" | "locationmatch" => Region::LocationPattern,
        "directory" if plain => Region::Directory(argument.trim_end_matches('/').to_owned() + "/"),
        "directory" | "directorymatch" => Region::DirectoryPattern,
        "files" | "filesmatch" => Region::Files,
        "proxy" | "proxymatch" => Region::Proxy,
        "if" | "elseif" | "else" => Region::If,
        _ => return None,
    })
}

/// What a directive says; `None` if it does not matter here. Rewriting in a section happens after
/// directories are looked at, and the quick handler does not see the cache of a section.
fn fact(name: &str, args: &str, server_wide: bool) -> Option<Fact> {
    let words: Vec<String> = words(args).collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let first_is = |expected: &str| word(0).eq_ignore_ascii_case(expected);
    Some(match name {
        "allowencodedslashes" => Fact::Switch(Switch::EncodedSlashesKept, first_is("nodecode")),
        "cachequickhandler" => Fact::Switch(Switch::QuickHandlerOff, first_is("off")),
        "jwtgate" => Fact::Switch(Switch::Gate, !first_is("off")),
        "mergeslashes" => Fact::Switch(Switch::RepeatedSlashesKept, first_is("off")),
        "mergetrailers" => Fact::Switch(Switch::TrailersMerged, first_is("on")),
        "satisfy" => Fact::Switch(Switch::SatisfyAny, first_is("any")),
        "cachedisable" if server_wide && word(0).starts_with('/') => Fact::CacheDisabled { path: word(0).to_owned() },
        "cacheenable" if server_wide => Fact::CacheEnabled { path: cached_path(word(1)).to_owned() },
        "proxypass" | "proxypassmatch" => return proxy_pass(&words, name == "proxypassmatch", server_wide),
        "remoteipheader" => Fact::ClientFromHeader,
        "remoteiptrustedproxy" | "remoteiptrustedproxylist" | "remoteipinternalproxy" | "remoteipinternalproxylist" => {
            Fact::TrustedProxy
        }
        "rewritecond" if server_wide && has_claim(args) => Fact::EarlyClaim,
        "setenvifexpr" if has_claim(args) => Fact::EarlyClaim,
        "rewriteoptions" if words.iter().any(|w| w.to_ascii_lowercase().starts_with("inherit")) => {
            Fact::RewriteInherited
        }
        "rewriterule" if server_wide && rewrites_to_proxy(word(2)) => Fact::RewriteToProxy,
        _ => return None,
    })
}

/// Whether `jwt(NAME)`, `%{jwt:NAME}` or `jwt_list(NAME)` stands in an expression.
fn has_claim(expression: &str) -> bool {
    let expression = expression.to_ascii_lowercase();
    ["jwt", "jwt_list"].iter().any(|function| {
        expression.match_indices(function).any(|(at, _)| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let rest = &expression[at + function.len()..];
            !expression[..at].ends_with(is_part) && rest.trim_start().starts_with(['(', ':'])
        })
    })
}

/// `ProxyPass [PATH] URL [option…]`; PATH is missing in a section, and URL `!` forwards nothing.
fn proxy_pass(words: &[String], is_match: bool, server_wide: bool) -> Option<Fact> {
    let (words, is_pattern) = match words {
        [tilde, rest @ ..] if tilde == "~" => (rest, true),
        _ => (words, is_match),
    };
    let (path, words) =
        if server_wide { words.split_first().map(|(path, rest)| (Some(path), rest))? } else { (None, words) };
    let (url, options) = words.split_first()?;
    let as_written = |option: &String| ["nocanon", "mapping=encoded"].iter().any(|o| option.eq_ignore_ascii_case(o));
    (url != "!").then(|| Fact::ProxyPass {
        path: path.filter(|_| !is_pattern).cloned(),
        as_written: options.iter().any(as_written),
    })
}

/// Whether the flags of a `RewriteRule` hold `P`.
fn rewrites_to_proxy(flags: &str) -> bool {
    let mut flags = flags.trim_start_matches('[').trim_end_matches(']').split(',').map(str::trim);
    flags.any(|flag| flag.eq_ignore_ascii_case("p") || flag.eq_ignore_ascii_case("proxy"))
}

/// The path in the URL of `CacheEnable`, which may begin with scheme and host.
fn cached_path(url: &str) -> &str {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => url,
    };
    if path.starts_with('/') { path } else { "/" }
}

/// The words of arguments as httpd splits them: by blanks, or in either kind of quotes, where a
/// backslash takes the meaning off a quote and off itself.
fn words(args: &str) -> impl Iterator<Item = String> {
    let mut rest = args.trim_ascii_start();
    std::iter::from_fn(move || {
        let mut chars = rest.chars();
        let Some(quote) = chars.next().filter(|c| matches!(c, '"' | '\'')) else {
            let (word, behind) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
            rest = behind.trim_ascii_start();
            return (!word.is_empty()).then(|| word.to_owned());
        };
        let mut word = String::new();
        while let Some(c) = chars.next().filter(|c| *c != quote) {
            let escaped = chars.clone().next().filter(|next| c == '\\' && (*next == quote || *next == '\\'));
            word.push(escaped.unwrap_or(c));
            if escaped.is_some() {
                chars.next();
            }
        }
        rest = chars.as_str().trim_ascii_start();
        Some(word)
    })
}
