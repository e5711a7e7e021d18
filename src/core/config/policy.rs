//! The finished policy of a request: sections merged, names looked up, defaults put in. Made once for each
//! combination of sections that occurs, then shared.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::address::{Addresses, Item};
use super::cors::CorsDef;
use super::credentials::{Credentials, TokenMode};
use super::forward::ForwardDef;
use super::limit::LimitDef;
use super::lockout::LockoutDef;
use super::plan::PlanDef;
use super::resource::ResourceDef;
use super::section::{AddressLists, ErrorBody, Inherited, Mode, Section};
use super::server::ServerTables;
use crate::identity::Identity;
use crate::limit::{LimitId, Meter, Numbers, Quota, Subject};
use crate::net::address::{AddressPrefix, Cidr};
use crate::net::network::NetworkSet;
use crate::net::rules::{AddressRule, AddressRules};
use crate::token::issuer::IssuerSet;

/// What applies to a request.
#[derive(Debug)]
pub struct Policy {
    /// Whether the gate decides at all.
    pub mode: Mode,
    /// Who may connect.
    pub addresses: AddressRules,
    /// Who might connect, were it not a dry run.
    pub address_trial: AddressRules,
    /// Which addresses are locked out.
    pub lockout: Option<LockoutDef>,
    /// Limits that are tested before the token is looked at.
    pub early_limits: Vec<Limit>,
    /// Whether a token is asked for.
    pub token: TokenMode,
    /// Where it is looked for.
    pub credentials: Credentials,
    /// Whose tokens are accepted.
    pub issuers: IssuerSet,
    /// Limits that need the identity, or the plan.
    pub late_limits: Vec<Limit>,
    /// In the order of the configuration.
    pub plans: Vec<Arc<PlanDef>>,
    /// How addresses are grouped in limits.
    pub prefix: AddressPrefix,
    /// Whether answers carry RateLimit fields.
    pub limit_headers: bool,
    /// What the application is told.
    pub forward: Vec<Arc<ForwardDef>>,
    /// Whether the application receives the credential.
    pub forward_credentials: bool,
    /// Which pages of other origins may use what is here.
    pub cors: Option<Arc<CorsDef>>,
    /// What OAuth clients are told of the application.
    pub resource: Option<Arc<ResourceDef>>,
    /// Realm of the challenge.
    pub realm: String,
    /// The body of a refusal.
    pub error_body: ErrorBody,
    /// Whether each request belongs to a trace.
    pub trace: bool,
}

/// A limit that applies.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What was configured.
    pub def: Arc<LimitDef>,
    /// Which one it is, also among those of other policies.
    pub id: LimitId,
    /// What it would refuse is told and let in.
    pub dry_run: bool,
    /// With its own numbers, or those of its default plan.
    pub own: Arc<Meter>,
    /// With those of each plan, if it follows plans: in the order of the configuration.
    pub plans: Vec<(Arc<PlanDef>, Arc<Meter>)>,
    /// Whose clients are not counted.
    pub exempt: Option<Arc<NetworkSet>>,
}

impl Limit {
    /// Whether a request of this caller is counted.
    pub fn counts(&self, subject: &Subject<'_>) -> bool {
        (subject.identity.is_some() || !self.def.needs_identity()) && !self.is_exempt(subject.client)
    }

    /// Whether requests from this address are never counted.
    pub fn is_exempt(&self, client: IpAddr) -> bool {
        self.exempt.as_ref().is_some_and(|network| network.contains(client))
    }

    /// The meter for who sent the request.
    pub fn meter(&self, identity: Option<&Identity>) -> &Meter {
        let plan = identity.and_then(|identity| self.plan(identity));
        let meter = plan.and_then(|plan| self.plans.iter().find(|(known, _)| Arc::ptr_eq(known, plan)));
        meter.map_or(&self.own, |(_, meter)| meter)
    }

    /// The plan that the limit takes its numbers from: that of the API key, else the one of those in the claim that is
    /// defined last.
    fn plan(&self, identity: &Identity) -> Option<&Arc<PlanDef>> {
        let named = |name: &str| self.plans.iter().map(|(plan, _)| plan).find(|plan| plan.name == name);
        if let Some(plan) = identity.key().and_then(|key| named(key.plan()?)) {
            return Some(plan);
        }
        let claim = identity.claim(self.def.plan_claim.as_ref()?)?;
        let is_claimed = |plan: &PlanDef| claim.elements().iter().any(|element| element.as_str() == Some(&plan.name));
        self.plans.iter().map(|(plan, _)| plan).rfind(|plan| is_claimed(plan))
    }
}

/// Finds the meter of a limit with these numbers, for a dry run or not.
pub type FindMeter<'f> = dyn Fn(&LimitDef, Numbers, Option<Quota>, bool) -> Option<Arc<Meter>> + 'f;

/// Realm of the challenge where nothing else is said.
const DEFAULT_REALM: &str = "api";

impl Policy {
    /// Merges `sections` (outermost first) and resolves names with the server's tables. `meter` tells
    /// where a limit is counted.
    ///
    /// # Errors
    /// Text for the administrator: a name that is not defined, or issuers that cannot be accepted together.
    /// The check of the configuration finds nearly all of these; what it cannot see (sections that meet only
    /// in some requests) is found here, and the request is refused.
    pub fn resolve(sections: &[&Section], tables: &ServerTables, meter: &FindMeter<'_>) -> Result<Self, String> {
        let mode = last(sections, |s| s.mode).unwrap_or(Mode::Off);
        let (mut early_limits, mut late_limits) = (Vec::new(), Vec::new());
        for def in limits(sections) {
            let limit = limit(def, mode == Mode::DryRun, tables, meter)?;
            if limit.def.follows_plans() { late_limits.push(limit) } else { early_limits.push(limit) }
        }
        // What is off accepts nobody and needs no issuers.
        let issuers = match mode {
            Mode::Off => IssuerSet::default(),
            Mode::On | Mode::DryRun => tables.accepted(last(sections, |s| s.issuers.as_deref()))?,
        };
        Ok(Self {
            mode,
            addresses: addresses(sections, tables, |s| &s.addresses)?,
            address_trial: addresses(sections, tables, |s| &s.address_trial)?,
            lockout: last(sections, |s| s.lockout).flatten(),
            early_limits,
            token: last(sections, |s| s.token).unwrap_or(TokenMode::Required),
            credentials: last(sections, |s| s.credentials.clone()).unwrap_or_default(),
            issuers,
            late_limits,
            plans: tables.plans.clone(),
            prefix: tables.prefix,
            limit_headers: last(sections, |s| s.limit_headers).unwrap_or(true),
            forward: forwards(sections),
            forward_credentials: last(sections, |s| s.forward_credentials).unwrap_or(true),
            cors: last(sections, |s| s.cors.clone()).flatten(),
            resource: last(sections, |s| s.resource.clone()).flatten(),
            realm: last(sections, |s| s.realm.clone()).unwrap_or_else(|| DEFAULT_REALM.to_owned()),
            error_body: last(sections, |s| s.error_body).unwrap_or(ErrorBody::Problem),
            trace: last(sections, |s| s.trace).unwrap_or(false),
        })
    }
}

impl Policy {
    /// The plan of a request: that of the API key, else what the first limit that finds one in its claim says, else the
    /// first default plan.
    pub fn plan(&self, identity: &Identity) -> Option<&Arc<PlanDef>> {
        let named = |name: &str| self.plans.iter().find(|plan| plan.name == name);
        let of_key = identity.key().and_then(|key| named(key.plan()?));
        let of_claim = || self.late_limits.iter().find_map(|limit| limit.plan(identity));
        let of_limit = || self.late_limits.iter().find_map(|limit| named(limit.def.default_plan.as_ref()?));
        of_key.or_else(of_claim).or_else(of_limit)
    }

    /// What failures of this client are counted under; those of a dry run apart.
    pub fn lockout_key(&self, client: IpAddr) -> LockoutKey {
        let mut key = LockoutKey::new();
        key.extend_from_slice(&self.prefix.group(client));
        key.push(u8::from(self.mode == Mode::DryRun));
        key
    }
}

/// A client's address, as far as it counts.
pub type LockoutKey = SmallVec<[u8; 24]>;

/// What the innermost section says that says anything.
fn last<'s, T>(sections: &[&'s Section], setting: impl Fn(&'s Section) -> Option<T>) -> Option<T> {
    sections.iter().rev().find_map(|section| setting(section))
}

/// What all sections add, from the last that dropped what it inherited.
fn added<'s, T: 's>(
    sections: &[&'s Section],
    list: impl Fn(&'s Section) -> &'s Inherited<T>,
) -> impl Iterator<Item = &'s T> {
    let first = sections.iter().rposition(|section| list(section).cleared).unwrap_or(0);
    let lists: Vec<_> = sections[first..].iter().map(|section| list(section)).collect();
    lists.into_iter().flat_map(|list| &list.items)
}

/// A limit that several sections name is one limit.
fn limits(sections: &[&Section]) -> Vec<Arc<LimitDef>> {
    let mut limits: Vec<Arc<LimitDef>> = Vec::new();
    for (_, def) in added(sections, |s| &s.limits) {
        if !limits.iter().any(|known| known.name == def.name) {
            limits.push(Arc::clone(def));
        }
    }
    limits
}

fn limit(def: Arc<LimitDef>, dry_run: bool, tables: &ServerTables, meter: &FindMeter<'_>) -> Result<Limit, String> {
    let exempt = def.exempt.as_ref().map(|name| network(tables, name, &[])).transpose()?;
    let dry_run = dry_run || def.dry_run;
    let of_plan = |plan: Option<&PlanDef>| {
        let (numbers, quota) = def.numbers_of(plan);
        meter(&def, numbers, quota, dry_run).ok_or_else(|| format!("the limit `{}` has no place", def.name))
    };
    let followed = if def.follows_plans() { tables.plans.as_slice() } else { &[] };
    let plans = followed.iter().map(|plan| Ok((Arc::clone(plan), of_plan(Some(plan))?)));
    let plans = plans.collect::<Result<_, String>>()?;
    let default = def.default_plan.as_ref().and_then(|name| tables.plans.iter().find(|plan| plan.name == *name));
    let (own, id) = (of_plan(default.map(|plan| &**plan))?, def.id(dry_run));
    Ok(Limit { id, dry_run, own, plans, exempt, def })
}

/// The innermost section decides what a header holds.
fn forwards(sections: &[&Section]) -> Vec<Arc<ForwardDef>> {
    let mut forwards: Vec<Arc<ForwardDef>> = Vec::new();
    for def in added(sections, |s| &s.forward) {
        let same = |known: &Arc<ForwardDef>| {
            crate::forward::same_name(known.header.as_str().as_bytes(), def.header.as_str().as_bytes())
        };
        forwards.retain(|known| !same(known));
        forwards.push(Arc::clone(def));
    }
    forwards
}

/// What a Deny means by a network that could not be read; an Allow or an exemption means nobody.
const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Who may connect by some lists of the sections: an own Allow replaces the inherited one, Deny adds up.
fn addresses(
    sections: &[&Section],
    tables: &ServerTables,
    lists: impl Fn(&Section) -> &AddressLists,
) -> Result<AddressRules, String> {
    let allow = sections.iter().rev().find_map(|section| lists(section).allow.as_deref()).unwrap_or_default();
    let deny = added(sections, |section| &lists(section).deny);
    Ok(AddressRules { allow: rules(tables, allow, &[])?, deny: rules(tables, deny, &EVERYBODY)? })
}

/// One rule for all networks that are written out, and one for each that has a name.
fn rules<'i>(
    tables: &ServerTables,
    items: impl IntoIterator<Item = &'i Item>,
    unread: &[&str],
) -> Result<Vec<AddressRule>, String> {
    let mut rules = Vec::new();
    // Of clients, and of peers.
    let (mut cidrs, mut written): ([Vec<Cidr>; 2], [Vec<String>; 2]) = Default::default();
    for item in items {
        match &item.addresses {
            Addresses::Cidr(cidr) => {
                cidrs[usize::from(item.peer)].push(*cidr);
                written[usize::from(item.peer)].push(item.to_string());
            }
            Addresses::Named(name) => {
                let set = network(tables, name, unread)?;
                rules.push(AddressRule { peer: item.peer, set, items: vec![item.to_string()] });
            }
        }
    }
    for (peer, (cidrs, items)) in [false, true].into_iter().zip(cidrs.into_iter().zip(written)) {
        if !cidrs.is_empty() {
            rules.push(AddressRule { peer, set: Arc::new(cidrs.into_iter().collect()), items });
        }
    }
    Ok(rules)
}

/// A network by name; `unread` stands for one whose file could never be read.
fn network(tables: &ServerTables, name: &str, unread: &[&str]) -> Result<Arc<NetworkSet>, String> {
    let network = tables.networks.get(name).ok_or_else(|| format!("the network `@{name}` is not defined"))?;
    Ok(network
        .clone()
        .unwrap_or_else(|| Arc::new(unread.iter().filter_map(|cidr| cidr.parse::<Cidr>().ok()).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::credentials::Source;
    use crate::config::{address, cors, credentials, forward, limit, resource};
    use crate::limit::{Geometry, SlotTable, TableKind, Tables};
    use crate::sync::AtomicU64;
    use crate::time::Now;

    fn section(build: impl FnOnce(&mut Section)) -> Section {
        let mut section = Section::default();
        build(&mut section);
        section
    }

    fn resolve(sections: &[&Section]) -> Policy {
        Policy::resolve(sections, &ServerTables::default(), &meter).unwrap()
    }

    fn meter(def: &LimitDef, numbers: Numbers, quota: Option<Quota>, dry_run: bool) -> Option<Arc<Meter>> {
        let geometry = Geometry::new(4, 1);
        let words = || (0..geometry.words()).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (rates, quotas) = (words(), words());
        let table = |kind, words| SlotTable::format(kind, words, geometry, [1, 2]).unwrap();
        let tables = Tables { rates: table(TableKind::Rates, &rates), quotas: Some(table(TableKind::Quotas, &quotas)) };
        Meter::reserve(tables, def.id(dry_run), &def.key, (numbers, quota), &[], Now::default()).map(Arc::new)
    }

    fn permits(policy: &Policy, client: &str) -> bool {
        policy.addresses.permits(client.parse().unwrap(), "127.0.0.1".parse().unwrap())
    }

    fn items(words: &[&str]) -> Vec<address::Item> {
        address::parse(words).unwrap().items.unwrap()
    }

    #[test]
    fn defaults() {
        let policy = resolve(&[]);
        assert_eq!(
            (policy.mode, policy.token, policy.error_body),
            (Mode::Off, TokenMode::Required, ErrorBody::Problem)
        );
        assert_eq!((&policy.credentials, policy.realm.as_str()), (&Credentials::default(), "api"));
        assert!(policy.limit_headers && policy.forward_credentials && policy.forward.is_empty());
    }

    #[test]
    fn the_innermost_word_counts_and_unset_is_not_the_default() {
        let outer = section(|s| {
            s.mode = Some(Mode::On);
            s.token = Some(TokenMode::None);
            s.realm = Some("outer".to_owned());
            s.credentials = Some(credentials::parse(&["query:t"]).unwrap());
        });
        let inner = section(|s| s.token = Some(TokenMode::Optional));
        let policy = resolve(&[&outer, &inner]);
        assert_eq!((policy.mode, policy.token, policy.realm.as_str()), (Mode::On, TokenMode::Optional, "outer"));
        assert_eq!(policy.credentials.sources, [Source::Query("t".into())]);
    }

    #[test]
    fn cors_and_resource_are_replaced_as_a_whole_and_dropped_by_off() {
        let cors = |words: &[&str]| Some(cors::parse(words).unwrap().map(Arc::new));
        let resource = |words: &[&str]| Some(resource::parse(words).unwrap().map(Arc::new));
        let outer = section(|s| {
            s.cors = cors(&["https://a.example", "credentials=on"]);
            s.resource = resource(&["https://a.example/a", "scopes=read"]);
        });
        let silent = section(|_| {});
        let inner = section(|s| {
            s.cors = cors(&["https://b.example"]);
            s.resource = resource(&["https://a.example/b"]);
        });
        let off = section(|s| (s.cors, s.resource) = (cors(&["off"]), resource(&["off"])));
        let of = |sections: &[&Section]| {
            let policy = resolve(sections);
            (policy.cors.map(|cors| cors.credentials), policy.resource.map(|r| (r.path.clone(), r.scopes.len())))
        };
        assert_eq!(of(&[]), (None, None));
        assert_eq!(of(&[&outer, &silent]), (Some(true), Some(("/a".to_owned(), 1))));
        assert_eq!(of(&[&outer, &inner]), (Some(false), Some(("/b".to_owned(), 0))));
        assert_eq!(of(&[&outer, &off]), (None, None));
        assert_eq!(of(&[&outer, &off, &inner]), (Some(false), Some(("/b".to_owned(), 0))));
    }

    #[test]
    fn an_own_allow_replaces_and_deny_adds_up() {
        let outer = section(|s| {
            s.addresses.allow = Some(items(&["10.0.0.0/8"]));
            s.addresses.deny.add(Some(items(&["10.6.0.0/16"])));
        });
        let inner = section(|s| {
            s.addresses.allow = Some(items(&["192.168.0.0/16", "10.0.0.0/9"]));
            s.addresses.deny.add(Some(items(&["10.7.0.0/16"])));
        });
        let policy = resolve(&[&outer, &inner]);
        let answers = ["10.1.0.1", "10.200.0.1", "192.168.0.1", "10.6.0.1", "10.7.0.1"].map(|a| permits(&policy, a));
        assert_eq!(answers, [true, false, true, false, false]);
        let open = section(|s| {
            s.addresses.allow = Some(Vec::new());
            s.addresses.deny.add(None);
        });
        assert!(permits(&resolve(&[&outer, &inner, &open]), "10.7.0.1"));
        assert!(permits(&resolve(&[&outer, &open]), "8.8.8.8"));
    }

    #[test]
    fn limits_add_up_until_dropped() {
        let def = |name: &str| Arc::new(limit::parse(&[name, "key=address", "rate=1/s"]).unwrap().unwrap());
        let with =
            |names: &[&str]| section(|s| s.limits.items.extend(names.iter().map(|n| (Default::default(), def(n)))));
        let names = |sections: &[&Section]| {
            resolve(sections).early_limits.iter().map(|l| l.def.name.clone()).collect::<Vec<_>>()
        };
        let (a, b) = (with(&["a"]), with(&["b", "a"]));
        assert_eq!(names(&[&a, &b]), ["a", "b"]);
        let mut fresh = with(&["c"]);
        fresh.limits.cleared = true;
        assert_eq!(names(&[&a, &b, &fresh]), ["c"]);
    }

    #[test]
    fn the_innermost_forward_of_a_header_counts_whatever_its_spelling() {
        let with = |header: &str, value: &str| {
            let def = forward::parse(&[header, value], |_| Err(String::new())).unwrap().unwrap();
            section(|s| s.forward.items.push(Arc::new(def)))
        };
        let (outer, inner) = (with("X-User", "subject"), with("x_user", "client"));
        let policy = resolve(&[&outer, &inner]);
        assert_eq!(policy.forward.len(), 1);
        assert!(matches!(policy.forward[0].value, forward::ForwardValue::Client));
    }

    #[test]
    fn a_network_that_was_never_read_lets_nobody_in() {
        let mut tables = ServerTables::default();
        tables.networks.insert("lost".to_owned(), None);
        let allow = section(|s| s.addresses.allow = Some(items(&["@lost"])));
        let deny = section(|s| s.addresses.deny.add(Some(items(&["@lost"]))));
        for section in [&allow, &deny] {
            let policy = Policy::resolve(&[section], &tables, &meter).unwrap();
            assert!(!permits(&policy, "10.0.0.1") && !permits(&policy, "2001:db8::1"));
        }
    }

    #[test]
    fn what_is_not_defined_is_not_let_in() {
        let unknown = section(|s| s.addresses.allow = Some(items(&["@office"])));
        assert!(Policy::resolve(&[&unknown], &ServerTables::default(), &meter).is_err());
        let issuer = section(|s| {
            s.mode = Some(Mode::On);
            s.issuers = Some(vec!["login".to_owned()]);
        });
        assert!(Policy::resolve(&[&issuer], &ServerTables::default(), &meter).is_err());
    }
}
