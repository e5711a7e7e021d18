//! One server of the configuration, and the questions that the audit asks of it.

use super::statement::{Fact, Region, Section, Statement, Switch, covers, location};
use super::{Finding, Severity};

/// One server: the main one (`own` empty), or a virtual host, which inherits from it.
#[derive(Clone, Copy)]
pub(super) struct Server<'a> {
    pub(super) main: &'a [Statement<'a>],
    pub(super) own: &'a [Statement<'a>],
}

impl<'a> Server<'a> {
    /// All findings of this server.
    pub(super) fn findings(self) -> Vec<Finding> {
        if self.gates().next().is_none() {
            return Vec::new();
        }
        let mut findings = self.satisfy_any();
        findings.extend(self.gate_in_directory());
        findings.extend(self.gate_on_part());
        findings.extend(self.cache_before_gate());
        findings.extend(self.client_from_header());
        findings.extend(self.trailers_as_headers());
        findings.extend(self.claims_before_token());
        findings
    }

    /// `Satisfy Any` makes httpd let a request in that the gate refused.
    fn satisfy_any(self) -> Vec<Finding> {
        let any: Vec<_> =
            self.statements().filter(|s| matches!(s.fact, Fact::Switch(Switch::SatisfyAny, true))).collect();
        any.iter()
            .filter_map(|statement| {
                let mut points = self.gates().chain(any.iter().copied()).filter(|s| covers(&statement.place, &s.place));
                let gate = points.find_map(|s| {
                    let in_force = self.turned_on(&s.place, Switch::SatisfyAny)?;
                    std::ptr::eq(in_force, *statement).then(|| self.turned_on(&s.place, Switch::Gate))?
                })?;
                let text = format!(
                    "Satisfy Any would let in what JwtGate ({}) refuses: remove it, or write JwtGate off beside it",
                    gate.position()
                );
                Some(statement.finding(Severity::Error, "JG2101", text))
            })
            .collect()
    }

    /// mod_proxy takes a request before httpd looks at directories.
    fn gate_in_directory(self) -> Vec<Finding> {
        let mut gates = self.gates().filter(|s| s.is_in(Region::is_directory)).peekable();
        if gates.peek().is_none() || self.gates().any(|s| s.is_in(Region::is_proxy)) {
            return Vec::new();
        }
        let ungated = self.forwarding().find(|s| {
            let gate = match &s.fact {
                _ if !s.place.is_empty() => self.in_force(&s.place, Switch::Gate),
                Fact::ProxyPass { path: Some(path), .. } => self.in_force(&location(path), Switch::Gate),
                _ => self.in_force(&location("/"), Switch::Gate),
            };
            gate.is_none()
        });
        let Some(forwarding) = ungated else { return Vec::new() };
        gates
            .map(|gate| {
                let text = format!(
                    "JwtGate in <Directory> never covers what {} ({}) forwards: write it into <Location>",
                    forwarding.node.name,
                    forwarding.position()
                );
                gate.finding(Severity::Warning, "JG2102", text)
            })
            .collect()
    }

    /// A gate sees the path as httpd understands it, the application as the client wrote it.
    fn gate_on_part(self) -> Option<Finding> {
        self.forwarding().next()?;
        let as_written = self
            .forwarding()
            .find(|s| matches!(s.fact, Fact::ProxyPass { as_written: true, .. }))
            .or_else(|| self.turned_on(&[], Switch::EncodedSlashesKept))
            .or_else(|| self.turned_on(&[], Switch::RepeatedSlashesKept))?;
        if self.turned_on(&location("/"), Switch::Gate).is_some() || self.gates().any(|s| s.is_in(Region::is_proxy)) {
            return None;
        }
        let gate = self.gates().find(|s| s.is_in(Region::is_location))?;
        let text = format!(
            "JwtGate covers a part of the site, and with {} {} ({}) an odd spelling of a path reaches the application \
             unchecked: write JwtGate on into <Location \"/\"> and JwtGate off into the exceptions",
            as_written.node.name,
            as_written.node.args,
            as_written.position()
        );
        Some(gate.finding(Severity::Warning, "JG2103", text))
    }

    /// mod_cache's quick handler answers before any check.
    fn cache_before_gate(self) -> Vec<Finding> {
        if self.turned_on(&[], Switch::QuickHandlerOff).is_some() {
            return Vec::new();
        }
        self.statements()
            .filter_map(|statement| {
                let Fact::CacheEnabled { path } = &statement.fact else { return None };
                let gate = self.gate_behind_cache(path)?;
                let text = format!(
                    "CacheEnable answers before JwtGate ({}) is asked: write CacheQuickHandler off",
                    gate.position()
                );
                Some(statement.finding(Severity::Error, "JG2104", text))
            })
            .collect()
    }

    /// A gate on something that is cached from `cached` on.
    fn gate_behind_cache(self, cached: &str) -> Option<&'a Statement<'a>> {
        let uncached = |path: &str| {
            self.statements().any(|s| matches!(&s.fact, Fact::CacheDisabled { path: p } if path.starts_with(p)))
        };
        if uncached(cached) {
            return None;
        }
        match self.in_force(&location(cached), Switch::Gate) {
            Some((gate, true)) => Some(gate),
            here => self.gates().find(|gate| match gate.path() {
                // mod_cache compares characters, not segments
                Some(path) => {
                    path.starts_with(cached) && !uncached(path) && self.turned_on(&gate.place, Switch::Gate).is_some()
                }
                None if gate.is_in(Region::is_location) => here.is_none(),
                None => cached == "/" && !gate.place.is_empty(),
            }),
        }
    }

    /// Without trusted proxies mod_remoteip believes whoever connects.
    fn client_from_header(self) -> Option<Finding> {
        if self.statements().any(|s| matches!(s.fact, Fact::TrustedProxy)) {
            return None;
        }
        let header = self.statements().filter(|s| matches!(s.fact, Fact::ClientFromHeader)).last()?;
        let text = "RemoteIPHeader without RemoteIPTrustedProxy or RemoteIPInternalProxy lets every client choose the \
                    address that JwtGate sees: name a trusted proxy (one in a ...ProxyList file is not seen here)";
        Some(header.finding(Severity::Warning, "JG2105", text.to_owned()))
    }

    /// Trailers arrive behind the body, when the gate has long removed forged identity headers.
    fn trailers_as_headers(self) -> Option<Finding> {
        let merged = self.turned_on(&[], Switch::TrailersMerged)?;
        let text = "MergeTrailers on lets clients write identity headers behind the body of a request, where JwtGate \
                    cannot remove them: remove it";
        Some(merged.finding(Severity::Error, "JG2106", text.to_owned()))
    }

    /// httpd finds sections and rewrites whole servers before it asks who may come in.
    fn claims_before_token(self) -> Vec<Finding> {
        let early = self.statements().filter(|s| matches!(s.fact, Fact::EarlyClaim));
        early
            .map(|statement| {
                let text = format!(
                    "jwt() is always empty in {}, which httpd evaluates before the token is looked at: write `Require \
                     expr`, or RewriteCond or Header in a section",
                    statement.node.name.trim_start_matches('<')
                );
                statement.finding(Severity::Warning, "JG2107", text)
            })
            .collect()
    }

    /// In httpd's order: what is inherited comes first.
    fn statements(self) -> impl Iterator<Item = &'a Statement<'a>> {
        self.main.iter().chain(self.own)
    }

    /// Every `JwtGate on` and `JwtGate dry-run`.
    fn gates(self) -> impl Iterator<Item = &'a Statement<'a>> {
        self.statements().filter(|s| matches!(s.fact, Fact::Switch(Switch::Gate, true)))
    }

    /// What sends requests to another server before directories are looked at. A virtual host inherits
    /// rewrite rules only if it is told so.
    fn forwarding(self) -> impl Iterator<Item = &'a Statement<'a>> {
        let rewrites = self.own.is_empty() || self.statements().any(|s| matches!(s.fact, Fact::RewriteInherited));
        let inherited = self.main.iter().filter(move |s| rewrites || !matches!(s.fact, Fact::RewriteToProxy));
        inherited.chain(self.own).filter(|s| matches!(s.fact, Fact::ProxyPass { .. } | Fact::RewriteToProxy))
    }

    /// The statement in force at `point`, if it turns the switch on.
    fn turned_on(self, point: &[Section], switch: Switch) -> Option<&'a Statement<'a>> {
        self.in_force(point, switch).filter(|(_, on)| *on).map(|(statement, _)| statement)
    }

    /// Of the statements about the switch that apply to all of `point`, the one that httpd merges last.
    fn in_force(self, point: &[Section], switch: Switch) -> Option<(&'a Statement<'a>, bool)> {
        self.statements()
            .filter_map(|s| match s.fact {
                Fact::Switch(which, on) if which == switch && covers(&s.place, point) => Some((s, on)),
                _ => None,
            })
            .max_by_key(|(s, _)| s.precedence())
    }
}
