//! One server of the configuration, and the questions that the audit asks of it.

use super::statement::{Closes, Fact, Forwarder, Region, Section, Statement, Switch, covers, is_below, location};
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
        let mut findings = self.open_insights();
        findings.extend(self.usage_of_nobody());
        if self.gates().next().is_none() {
            return findings;
        }
        findings.extend(self.satisfy_any());
        findings.extend(self.gate_in_directory());
        findings.extend(self.gate_on_part());
        findings.extend(self.exceptions_by_pattern());
        findings.extend(self.cache_before_gate());
        findings.extend(self.client_from_header());
        findings.extend(self.trailers_as_headers());
        findings.extend(self.claims_before_token());
        findings.extend(self.users_of_several_issuers());
        findings.extend(self.plans_of_nobody());
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
        if gates.peek().is_none() {
            return Vec::new();
        }
        let before = |s: &&Statement<'_>| !matches!(s.fact, Fact::Forward { by: Forwarder::Section, .. });
        let is_ungated = |s: &&Statement<'a>| !self.is_gated_as_proxied(s) && self.said_for(s, Switch::Gate).is_none();
        let ungated = self.forwarding().filter(before).find(is_ungated);
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

    /// A gate sees the path as httpd understands it; many applications find the same in other spellings.
    fn gate_on_part(self) -> Option<Finding> {
        let past = |gate: &Statement<'a>, demand: Switch| {
            let is_met = |s: &Statement<'a>, demand| self.said_for(s, demand).map(|(_, on)| on);
            let is_gated = |s: &Statement<'a>| {
                is_met(s, Switch::Gate) == Some(true) && (demand == Switch::Gate || is_met(s, demand) != Some(false))
            };
            self.forwarding().find(|s| !self.is_gated_as_proxied(s) && !is_gated(s) && self.leads_past(s, gate))
        };
        let (gate, forwarding) = self.statements().find_map(|gate| match gate.fact {
            Fact::Switch(demand @ (Switch::Gate | Switch::TokenRequired), true)
                if gate.is_in(Region::is_location) && !gate.is_in(Region::is_if) =>
            {
                let is_on = demand == Switch::Gate || self.turned_on(&gate.place, Switch::Gate).is_some();
                Some((gate, past(gate, demand).filter(|_| is_on)?))
            }
            _ => None,
        })?;
        let text = format!(
            "{} covers a part of what {} ({}) forwards, and an application may find that part under other names, \
             such as /ADMIN or /admin;x for /admin, which are not covered: write JwtGate on into <Location \"/\"> and \
             JwtGate off into the exceptions",
            gate.node.name,
            forwarding.node.name,
            forwarding.position()
        );
        let is_odd = |s: &Statement<'a>| matches!(s.fact, Fact::KeptSpelling | Fact::Forward { as_written: true, .. });
        // What only a lenient application reads in two ways is told; what httpd itself hands on unread is warned about.
        let severity = if self.statements().any(is_odd) { Severity::Warning } else { Severity::Notice };
        Some(gate.finding(severity, "JG2103", text))
    }

    /// Whether a request for what `gate` covers, in another spelling, may reach the same application by `forwarding`.
    fn leads_past(self, forwarding: &Statement<'a>, gate: &Statement<'a>) -> bool {
        let (Some(gated), Some(from)) = (gate.path(), forwarding.forwards_from()) else { return true };
        let around = |s: &Statement<'a>| {
            let path = s.forwards_from().filter(|path| is_below(gated, path));
            path.map(|path| path.trim_end_matches('/').len())
        };
        let nearest = self.forwarding().filter_map(|s| Some((around(s)?, s))).max_by_key(|(length, _)| *length);
        is_below(gated, from) && nearest.is_none_or(|(_, s)| s.forwards_to() == forwarding.forwards_to())
    }

    /// What a pattern asks for behind a wildcard can be added to any path, and an application may cut it off.
    fn exceptions_by_pattern(self) -> Vec<Finding> {
        if self.forwarding().next().is_none() {
            return Vec::new();
        }
        let exceptions = self.statements().filter(|s| match s.fact {
            Fact::Switch(Switch::Gate | Switch::TokenRequired, on) => !on,
            _ => false,
        });
        exceptions
            .filter_map(|exception| {
                let pattern = exception.pattern().filter(|pattern| !pattern.is_fixed())?;
                let gate = self.gates().find(|gate| !gate.is_beside(exception))?;
                let text = format!(
                    "{} {} for `{}` opens more than it says: a client may add what matches to another path, as in \
                     /private;.css, and an application may cut it off, so that JwtGate ({}) does not protect that \
                     path: write <Location>, or <LocationMatch> with ^, whole names and no wildcard but at the end",
                    exception.node.name,
                    exception.node.args,
                    pattern.text(),
                    gate.position()
                );
                Some(exception.finding(Severity::Warning, "JG2108", text))
            })
            .collect()
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

    /// What only administrators should see, with no `Require` line that keeps others out in the innermost place that has
    /// any. A token is no such thing: all callers have one.
    fn open_insights(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for statement in self.statements() {
            let Fact::Insight { handler, path } = &statement.fact else { continue };
            let rule = path.as_deref().map(location);
            let place = rule.as_ref().map_or(&statement.place[..], |place| &place[..]);
            let covering = || self.statements().filter(|s| covers(&s.place, place));
            let is_gated = self.turned_on(place, Switch::Gate).is_some()
                && self.in_force(place, Switch::TokenRequired).is_none_or(|(_, on)| on);
            // Who has a token is known to the gate, unless another module finds out who calls.
            let knows_callers = is_gated && !covering().any(|s| matches!(s.fact, Fact::OtherAuthType));
            let closes = |s: &Statement<'_>| match s.fact {
                Fact::Required { closes: Closes::All, .. } => true,
                Fact::Required { closes: Closes::Strangers, .. } => !knows_callers,
                _ => false,
            };
            let required = covering().filter(|s| matches!(s.fact, Fact::Required { .. }));
            let innermost = required.max_by_key(|s| s.precedence());
            if innermost.is_some_and(|last| covering().any(|s| s.is_beside(last) && closes(s))) {
                continue;
            }
            let everybody = if is_gated { "everybody with a token" } else { "everybody" };
            let text = format!(
                "the handler {handler} tells {everybody} what only administrators should know: write `Require local` beside \
                 it, or `Require ip` with the address of your monitoring"
            );
            findings.push(statement.finding(Severity::Warning, "JG2110", text));
        }
        findings
    }

    /// Who calls is known where the gate is on, and nowhere else. What patterns and expressions select cannot be seen
    /// here.
    fn usage_of_nobody(self) -> Vec<Finding> {
        let is_plain = |s: &Statement<'_>| !s.is_in(|region| !matches!(region, Region::Location(_)));
        let told = self.statements().filter(|s| matches!(s.fact, Fact::Usage) && s.path().is_some() && is_plain(s));
        told.filter(|s| self.turned_on(&s.place, Switch::Gate).is_none() && self.gates().all(is_plain))
            .map(|statement| {
                let text =
                    "SetHandler jwt-gate-usage answers with 404 here, because the gate is off: write `JwtGate on` \
                            beside it"
                        .to_owned();
                statement.finding(Severity::Warning, "JG2112", text)
            })
            .collect()
    }

    /// A name is one user of each issuer, and of the API keys.
    fn users_of_several_issuers(self) -> Vec<Finding> {
        let all = self.statements().filter(|s| matches!(s.fact, Fact::Issuer)).count();
        let named = self.statements().filter(|s| matches!(s.fact, Fact::Required { users: true, .. }));
        named
            .filter_map(|statement| {
                let covering = || self.statements().filter(|s| covers(&s.place, &statement.place));
                let chosen = covering().filter_map(|s| match s.fact {
                    Fact::IssuersChosen(count) => Some((s.precedence(), count)),
                    _ => None,
                });
                let accepted = chosen.max_by_key(|(precedence, _)| *precedence).map_or(all, |(_, count)| count);
                let credentials = covering().filter_map(|s| match s.fact {
                    Fact::Credentials { are_mixed } => Some((s.precedence(), are_mixed)),
                    _ => None,
                });
                let are_mixed = credentials.max_by_key(|(precedence, _)| *precedence).is_some_and(|(_, mixed)| mixed);
                self.turned_on(&statement.place, Switch::Gate)?;
                if covering().any(|s| matches!(s.fact, Fact::OtherAuthType)) {
                    return None;
                }
                let why = if accepted > 1 {
                    "takes the subjects of all issuers that are accepted here, and two issuers may mean different people \
                     by one name: choose one with JwtGateIssuers, or add Require jwt-issuer"
                } else if are_mixed {
                    "takes subjects of tokens and ids of API keys alike, and somebody may be called like a key: add Require \
                     jwt-issuer for people, or ask for scopes"
                } else {
                    return None;
                };
                let text = format!("Require {} {why}", statement.node.args);
                Some(statement.finding(Severity::Warning, "JG2109", text))
            })
            .collect()
    }

    /// A caller's plan is always one that is defined. What a variable stands for cannot be seen here.
    fn plans_of_nobody(self) -> Vec<Finding> {
        let is_seen = |name: &str| !name.contains("${");
        let plans: Vec<_> = self
            .statements()
            .filter_map(|s| match &s.fact {
                Fact::Plan(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if !plans.iter().copied().all(is_seen) {
            return Vec::new();
        }
        self.statements()
            .filter_map(|statement| {
                let Fact::Required { plans: names, .. } = &statement.fact else { return None };
                let unknown = |name: &&str| is_seen(name) && !plans.contains(name);
                let unknown: Vec<_> = names.iter().map(String::as_str).filter(unknown).collect();
                if unknown.is_empty() {
                    return None;
                }
                let text = format!(
                    "Require {}: no JwtGatePlan defines {}, so nobody has such a plan here: define it, or write the name \
                     of one that is defined",
                    statement.node.args,
                    unknown.join(", ")
                );
                Some(statement.finding(Severity::Warning, "JG2212", text))
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

    /// What sends requests to another server. A virtual host inherits rewrite rules only if it is told so.
    fn forwarding(self) -> impl Iterator<Item = &'a Statement<'a>> {
        let rewrites = self.own.is_empty() || self.statements().any(|s| matches!(s.fact, Fact::RewriteInherited));
        let is_rewrite = |s: &Statement<'_>| matches!(s.fact, Fact::Forward { by: Forwarder::Rewrite, .. });
        let inherited = self.main.iter().filter(move |s| rewrites || !is_rewrite(s));
        inherited.chain(self.own).filter(|s| matches!(s.fact, Fact::Forward { .. }))
    }

    /// What is said for all that `forwarding` forwards, whatever expressions may add.
    fn said_for(self, forwarding: &Statement<'a>, switch: Switch) -> Option<(&'a Statement<'a>, bool)> {
        let whole = forwarding.forwards_from().map(location);
        let point = whole.as_ref().map_or(&*forwarding.place, |place| &place[..]);
        last_of(self.statements().filter(|s| !s.is_in(Region::is_if)), point, switch)
    }

    /// Whether a gate in `<Proxy>` may be on all that `forwarding` forwards.
    fn is_gated_as_proxied(self, forwarding: &Statement<'a>) -> bool {
        let to = forwarding.forwards_to().unwrap_or_default();
        self.gates().any(|gate| gate.is_in(|region| region.takes_all_to(to)))
    }

    /// The statement in force at `point`, if it turns the switch on.
    fn turned_on(self, point: &[Section], switch: Switch) -> Option<&'a Statement<'a>> {
        self.in_force(point, switch).filter(|(_, on)| *on).map(|(statement, _)| statement)
    }

    /// The statement in force at `point`, and whether it turns the switch on.
    fn in_force(self, point: &[Section], switch: Switch) -> Option<(&'a Statement<'a>, bool)> {
        last_of(self.statements(), point, switch)
    }
}

/// Of the statements about the switch that apply to all of `point`, the one that httpd merges last.
fn last_of<'a>(
    statements: impl Iterator<Item = &'a Statement<'a>>,
    point: &[Section],
    switch: Switch,
) -> Option<(&'a Statement<'a>, bool)> {
    statements
        .filter_map(|s| match s.fact {
            Fact::Switch(which, on) if which == switch && covers(&s.place, point) => Some((s, on)),
            _ => None,
        })
        .max_by_key(|(s, _)| s.precedence())
}
