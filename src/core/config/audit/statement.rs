//! The configuration tree as a list of facts, each with the sections around it.

use std::rc::Rc;

use super::pattern::{self, Pattern};
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
    /// Sends requests on to the origin `to`, such as `http://127.0.0.1:8000`. `path` is what all of them begin with;
    /// it is missing where the section says it.
    Forward {
        by: Forwarder,
        path: Option<String>,
        to: String,
        /// In the client's spelling.
        as_written: bool,
    },
    /// Credentials are named: tokens, and API keys in their place (`true`), or one of these.
    Credentials {
        are_mixed: bool,
    },
    /// An issuer is defined.
    Issuer,
    /// So many of them are accepted here.
    IssuersChosen(usize),
    /// Another module finds out who calls.
    OtherAuthType,
    /// What only administrators should see is shown, by this handler.
    Insight {
        handler: String,
        /// Where a rule of the server has it answer; else where it is named.
        path: Option<String>,
    },
    /// A plan of this name is defined.
    Plan(String),
    /// A `Require` line: whether it names users, here or in a file of groups; which plans it names; and whom it keeps out.
    Required {
        users: bool,
        plans: Vec<String>,
        closes: Closes,
    },
    /// Paths stay in the client's spelling, in a part of it.
    KeptSpelling,
    RewriteInherited,
    Switch(Switch, bool),
    TrustedProxy,
    /// Callers are told their plan and limits.
    Usage,
}

/// Whom a `Require` line keeps out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Closes {
    /// Nobody, or nobody who only reads.
    Nobody,
    /// Who is not known.
    Strangers,
    /// All but those whom it names.
    All,
}

/// What forwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Forwarder {
    /// `ProxyPass` and `ProxyPassMatch`.
    ProxyPass,
    /// `RewriteRule` outside of sections.
    Rewrite,
    /// `RewriteRule` and `SetHandler` in a section: after directories were looked at.
    Section,
}

/// What is turned on or off, one section overriding another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Switch {
    Gate,
    QuickHandlerOff,
    SatisfyAny,
    TokenRequired,
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
    /// By a regular expression or with wildcards.
    LocationPattern(Pattern),
    /// What is forwarded to one origin; missing where that cannot be told, which may be all of them.
    Proxy(Option<String>),
}

impl Region {
    pub(super) const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::DirectoryPattern)
    }

    pub(super) const fn is_if(&self) -> bool {
        matches!(self, Self::If)
    }

    pub(super) const fn is_location(&self) -> bool {
        matches!(self, Self::Location(_) | Self::LocationPattern(_))
    }

    /// Whether it may select all that is forwarded to this origin.
    pub(super) fn takes_all_to(&self, origin: &str) -> bool {
        matches!(self, Self::Proxy(to) if to.as_deref().is_none_or(|to| to == origin))
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

    /// The path that all begins with that it forwards, if that is known.
    pub(super) fn forwards_from(&self) -> Option<&str> {
        match &self.fact {
            Fact::Forward { path: Some(path), .. } => Some(path),
            Fact::Forward { path: None, .. } if self.place.is_empty() => Some("/"),
            _ => self.path(),
        }
    }

    /// The origin that it forwards to.
    pub(super) fn forwards_to(&self) -> Option<&str> {
        match &self.fact {
            Fact::Forward { to, .. } => Some(to),
            _ => None,
        }
    }

    /// The pattern of the `<LocationMatch>` around it, or of its like.
    pub(super) fn pattern(&self) -> Option<&Pattern> {
        self.place.iter().find_map(|s| match &s.region {
            Region::LocationPattern(pattern) => Some(pattern),
            _ => None,
        })
    }

    /// Whether the same sections are around it as around `other`.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.place.iter().map(|s| s.id).eq(other.place.iter().map(|s| s.id))
    }

    /// httpd merges in this order; of equals, the later one wins.
    pub(super) fn precedence(&self) -> (u8, usize) {
        let ifs = self.place.iter().filter(|s| matches!(s.region, Region::If)).count();
        match self.place.last().map(|s| &s.region) {
            _ if ifs > 0 => (5, ifs),
            Some(Region::Location(_) | Region::LocationPattern(_)) => (4, 0),
            Some(Region::Files) => (3, 0),
            Some(Region::DirectoryPattern | Region::Proxy(_)) => (2, 0),
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
pub(super) fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| above.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

/// Walks the tree and numbers its sections, from 1.
#[derive(Default)]
struct Reader {
    sections: usize,
    /// Within a `<Limit>` that is not about GET.
    is_for_others: bool,
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
                let names_get = || node.args.split(['>', ' ', '\t']).any(|method| method == "GET");
                let is_for_others = match section {
                    "limit" => !names_get(),
                    "limitexcept" => names_get(),
                    _ => self.is_for_others,
                };
                let around = std::mem::replace(&mut self.is_for_others, is_for_others);
                self.read(&node.children, &inner, server, hosts);
                self.is_for_others = around;
            } else if let Some(mut fact) = fact(&name, &node.args, place.is_empty()) {
                if let Fact::Required { closes, .. } = &mut fact
                    && self.is_for_others
                {
                    *closes = Closes::Nobody;
                }
                server.push(Statement { fact, node, place: Rc::clone(place) });
            }
        }
    }
}

/// What a section selects; `None` for one that selects no requests, such as `<Limit>` and `<IfModule>`.
fn region(section: &str, args: &str) -> Option<Region> {
    let args = args.trim_end();
    let mut words = words(args.strip_suffix('>').unwrap_or(args));
    let mut argument = words.next().unwrap_or_default();
    let is_expression = section.ends_with("match") || argument == "~";
    if argument == "~" {
        argument = words.next().unwrap_or_default();
    }
    let plain = !is_expression && argument.starts_with('/') && !argument.contains(['*', '?', '[']);
    Some(match section {
        "location" if plain => Region::Location(argument),
        "location" | "locationmatch" if is_expression => Region::LocationPattern(Pattern::Expression(argument)),
        "location" => Region::LocationPattern(Pattern::Wildcards(argument)),
        "directory" if plain => Region::Directory(argument.trim_end_matches('/').to_owned() + "/"),
        "directory" | "directorymatch" => Region::DirectoryPattern,
        "files" | "filesmatch" => Region::Files,
        "proxy" if !is_expression => Region::Proxy(proxied(&argument)),
        "proxy" | "proxymatch" => Region::Proxy(None),
        "if" | "elseif" | "else" => Region::If,
        _ => return None,
    })
}

/// Handlers that tell what only administrators should know.
const INSIGHTS: [&str; 3] = ["jwt-gate-explain", "jwt-gate-metrics", "jwt-gate-status"];

fn insight(handler: &str, path: Option<String>) -> Option<Fact> {
    let shows = INSIGHTS.iter().any(|known| known.eq_ignore_ascii_case(handler));
    shows.then(|| Fact::Insight { handler: handler.to_owned(), path })
}

/// What a directive says; `None` if it does not matter here. Rewriting in a section happens after
/// directories are looked at, and the quick handler does not see the cache of a section.
fn fact(name: &str, args: &str, server_wide: bool) -> Option<Fact> {
    let words: Vec<String> = words(args).collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let first_is = |expected: &str| word(0).eq_ignore_ascii_case(expected);
    Some(match name {
        "cachequickhandler" => Fact::Switch(Switch::QuickHandlerOff, first_is("off")),
        "jwtgate" => Fact::Switch(Switch::Gate, !first_is("off")),
        "jwtgatecredentials" => {
            let is_key = |word: &String| word.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("api-key:"));
            let keys = words.iter().filter(|word| is_key(word)).count();
            Fact::Credentials { are_mixed: (1..words.len()).contains(&keys) }
        }
        "jwtgateissuer" => Fact::Issuer,
        "jwtgateissuers" => Fact::IssuersChosen(words.len()),
        "authtype" if !first_is("none") => Fact::OtherAuthType,
        "jwtgateplan" => Fact::Plan(word(0).to_owned()),
        "require" => {
            let asked = usize::from(first_is("not"));
            let of_plans = word(asked).eq_ignore_ascii_case("jwt-plan");
            Fact::Required {
                users: names_users(word(asked)),
                plans: words.iter().skip(asked + 1).filter(|_| of_plans).cloned().collect(),
                closes: match word(0).to_ascii_lowercase().as_str() {
                    "all" if word(1).eq_ignore_ascii_case("granted") => Closes::Nobody,
                    "method" => Closes::Nobody,
                    "valid-user" | "jwt-issuer" => Closes::Strangers,
                    _ => Closes::All,
                },
            }
        }
        "jwtgatetoken" => Fact::Switch(Switch::TokenRequired, first_is("required")),
        "allowencodedslashes" if first_is("nodecode") => Fact::KeptSpelling,
        "mergeslashes" if first_is("off") => Fact::KeptSpelling,
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
        "rewriterule" => return rewrite(word(0), word(1), word(2), server_wide),
        "sethandler" if first_is("jwt-gate-usage") => Fact::Usage,
        "sethandler" if word(0).starts_with("proxy:") => {
            let to = origin(&word(0)["proxy:".len()..]);
            Fact::Forward { by: Forwarder::Section, path: None, to, as_written: false }
        }
        "sethandler" | "addhandler" => return insight(word(0), None),
        _ => return None,
    })
}

/// Whether a `Require` line of this kind compares names of users: mod_authz_user, mod_authz_groupfile and its like.
fn names_users(kind: &str) -> bool {
    ["user", "group", "dbm-group", "dbd-group"].iter().any(|known| kind.eq_ignore_ascii_case(known))
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
    let url = words.first()?;
    let path = path.map(|path| if is_pattern { pattern::beginning(path) } else { path.clone() });
    let keeps = |option: &String| ["nocanon", "mapping=encoded"].iter().any(|o| option.eq_ignore_ascii_case(o));
    let as_written = words.iter().any(keeps);
    (url != "!").then(|| Fact::Forward { by: Forwarder::ProxyPass, path, to: origin(url), as_written })
}

/// `RewriteRule PATTERN URL [FLAGS]`, if it forwards.
fn rewrite(pattern: &str, url: &str, flags: &str, server_wide: bool) -> Option<Fact> {
    let flags: Vec<_> = flags.trim_start_matches('[').trim_end_matches(']').split(',').map(str::trim).collect();
    let has =
        |short: &str, long: &str| flags.iter().any(|f| f.eq_ignore_ascii_case(short) || f.eq_ignore_ascii_case(long));
    let (by, path) = match server_wide {
        true if has("nc", "nocase") => (Forwarder::Rewrite, Some("/".to_owned())),
        true => (Forwarder::Rewrite, Some(pattern::beginning(pattern))),
        false => (Forwarder::Section, None),
    };
    let handler = flags.iter().filter_map(|flag| flag.split_once('=')).find_map(|(flag, handler)| {
        let names_it = flag.eq_ignore_ascii_case("h") || flag.eq_ignore_ascii_case("handler");
        let only = pattern::only(pattern).filter(|_| server_wide && !has("nc", "nocase")).map(str::to_owned);
        names_it.then(|| insight(handler, only.or_else(|| path.clone())))?
    });
    if handler.is_some() {
        return handler;
    }
    has("p", "proxy").then(|| Fact::Forward { by, path, to: origin(url), as_written: false })
}

/// A URL without path.
fn origin(url: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    url[..end].to_ascii_lowercase()
}

/// What `<Proxy URL>` selects: an origin, or a part of it, which equals no origin; `None` for more than that.
fn proxied(url: &str) -> Option<String> {
    let to = origin(url);
    let is_whole = matches!(&url[to.len()..], "" | "/" | "/*");
    (!to.contains('*')).then(|| if is_whole { to } else { url.to_owned() })
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
