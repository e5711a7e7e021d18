//! Where limits, quotas and failed tries are counted: tables that all child processes share, made or found again by
//! the parent at each start and graceful restart.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::plan::PlanDef;
use jwt_gate_core::config::section::Mode;
use jwt_gate_core::config::server::DEFAULT_SHARED_MEMORY;
use jwt_gate_core::gate::FailureCount;
use jwt_gate_core::limit::{
    Geometry, LimitId, LockoutRule, Lockouts, MIN_BYTES, Meter, Mismatch, Numbers, Quota, SlotTable, TableKind, Tables,
};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::Now;

use crate::check::{issuer_keys, limits};
use crate::httpd::{Level, Log, Segment, SegmentName, Server, SharedFile, now, random};
use crate::sources::Plan;
use crate::state_dir::StateDir;

/// What requests count in.
pub(crate) struct Counting {
    pub(crate) tables: Tables<'static>,
    meters: Meters,
    lockouts: Lockouts,
    failures: Option<SlotTable<'static>>,
}

/// By limit; those of one limit differ in their numbers.
type Meters = HashMap<LimitId, Vec<(By, Arc<Meter>)>>;
type By = (Numbers, Option<Quota>);

/// A limit with numbers that it can have.
struct Wanted<'c> {
    def: &'c LimitDef,
    id: LimitId,
    by: By,
}

/// Name of the file with quotas in the state folder.
pub(crate) const QUOTAS_FILE: &str = "quotas.table";

impl Counting {
    /// Opens or makes the tables, and reserves a place in them for each limit.
    pub(crate) fn open(main: Server<'_>, plan: &Plan, state_dir: Option<&StateDir>, now: Now) -> Result<Self, ()> {
        let wanted = wanted(main);
        let bytes = main.config().settings.shared_memory.unwrap_or(DEFAULT_SHARED_MEMORY);
        let geometry = Geometry::for_bytes(bytes).map_err(|why| failed(main, &why))?;
        let quotas = if wanted.iter().any(|Wanted { by: (_, quota), .. }| quota.is_some()) {
            Some(quota_table(main, state_dir, geometry, now)?)
        } else {
            None
        };
        let lockouts = Lockouts::new(rules(main));
        let failures = if lockouts.is_empty() {
            None
        } else {
            // Addresses that fail are few beside those that are counted, and each takes several places.
            let geometry = Geometry::for_bytes((bytes / 4).max(MIN_BYTES)).map_err(|why| failed(main, &why))?;
            Some(memory(main, SegmentName::LOCKOUTS, TableKind::Lockouts, geometry, now)?)
        };
        let issuers = issuer_keys(plan.issuers.iter().map(|planned| (&planned.def.issuer, &planned.def.name)));
        let reserve = |tables: Tables<'_>| {
            let mut meters = Meters::new();
            for Wanted { def, id, by } in &wanted {
                let meter = Meter::reserve(tables, *id, &def.key, *by, &issuers, now)?;
                meters.entry(*id).or_default().push((*by, Arc::new(meter)));
            }
            Some(meters)
        };
        let mut tables = Tables { rates: memory(main, SegmentName::LIMITS, TableKind::Rates, geometry, now)?, quotas };
        let has_room = |rates| {
            let mut rates_of =
                wanted.iter().map(|Wanted { def, id, by: (numbers, _) }| (*id, &def.key, (*numbers, None)));
            let tables = Tables { rates, quotas: None };
            rates_of.all(|(id, key, by)| Meter::reserve(tables, id, key, by, &issuers, now).is_some())
        };
        if !has_room(tables.rates) {
            main.log(Level::Notice, || {
                "JG2004 limits start anew: there is no room for so many changed ones".to_owned()
            });
            tables.rates = anew(main, SegmentName::LIMITS, TableKind::Rates, geometry, now)?;
        }
        let meters = match reserve(tables) {
            Some(meters) => meters,
            None => {
                if tables.quotas.is_some() {
                    tables.quotas = Some(quota_table_anew(main, state_dir, geometry)?);
                }
                reserve(tables).ok_or_else(|| {
                    failed(main, &format!("{bytes} bytes are too few for so many limits: write a larger size"));
                })?
            }
        };
        Ok(Self { tables, meters, lockouts, failures })
    }

    /// The meter of a limit with these numbers.
    pub(crate) fn meter(
        &self,
        def: &LimitDef,
        numbers: Numbers,
        quota: Option<Quota>,
        dry_run: bool,
    ) -> Option<Arc<Meter>> {
        let meters = self.meters.get(&def.id(dry_run))?;
        meters.iter().find(|(by, _)| *by == (numbers, quota)).map(|(_, meter)| Arc::clone(meter))
    }

    /// What could not be counted as it should for want of room, and is not told yet.
    pub(crate) fn untold_overflows(&self, now: Now, period: Duration) -> impl Iterator<Item = String> {
        let shared: fn(u64) -> String = |number| match number {
            1 => "1 request was counted or refused in a bucket that several clients share".to_owned(),
            number => format!("{number} requests were counted or refused in buckets that several clients share"),
        };
        let lost: fn(u64) -> String = |number| match number {
            1 => "1 failed try was not counted".to_owned(),
            number => format!("{number} failed tries were not counted"),
        };
        let Tables { rates, quotas } = self.tables;
        let tables = [(shared, Some(rates)), (shared, quotas), (lost, self.failures)];
        tables.into_iter().filter_map(move |(tell, table)| table?.untold_overflows(now, period).map(tell))
    }

    /// Where failed tries are counted.
    pub(crate) fn failures(&self) -> Option<FailureCount<'_>> {
        self.failures.map(|table| FailureCount { rules: &self.lockouts, table })
    }
}

/// Every limit with all numbers that it can have.
fn wanted(main: Server<'_>) -> Vec<Wanted<'_>> {
    let has_trials = main.iter().flat_map(Server::own_sections).any(|section| section.mode == Some(Mode::DryRun));
    let plans = main.iter().flat_map(|server| &server.config().settings.plans);
    let plans: Vec<Option<&PlanDef>> = std::iter::once(None).chain(plans.map(|(_, plan)| Some(&**plan))).collect();
    let mut known: HashMap<LimitId, Vec<By>> = HashMap::new();
    let mut wanted = Vec::new();
    for (_, def) in limits(main) {
        let followed = if def.follows_plans() { &plans[..] } else { &plans[..1] };
        for by in followed.iter().map(|plan| def.numbers_of(*plan)) {
            for dry_run in [false, true] {
                let (id, may_be) = (def.id(dry_run), if dry_run { def.dry_run || has_trials } else { !def.dry_run });
                let known = known.entry(id).or_default();
                if may_be && !known.contains(&by) {
                    known.push(by);
                    wanted.push(Wanted { def, id, by });
                }
            }
        }
    }
    wanted
}

/// How many places all limits take at most.
pub(crate) fn places(main: Server<'_>, issuers: usize) -> usize {
    wanted(main).iter().map(|wanted| Meter::reserved(&wanted.def.key, issuers)).sum()
}

/// Whether anything is counted that must outlive the server.
pub(crate) fn has_quotas(main: Server<'_>) -> bool {
    wanted(main).iter().any(|Wanted { by: (_, quota), .. }| quota.is_some())
}

/// All rules of lock-outs.
pub(crate) fn rules(main: Server<'_>) -> impl Iterator<Item = LockoutRule> {
    let sections = main.iter().flat_map(Server::own_sections);
    sections.filter_map(|section| section.lockout.flatten()).map(|lockout| lockout.rule)
}

fn failed(main: Server<'_>, why: &str) {
    main.log(Level::Error, || format!("JG2003 JwtGateSharedMemory: {why}"));
}

/// A table in anonymous memory: the one of the last generation if it fits, else a new one.
fn memory(
    main: Server<'_>,
    name: SegmentName,
    kind: TableKind,
    geometry: Geometry,
    now: Now,
) -> Result<SlotTable<'static>, ()> {
    if let Some(segment) = Segment::existing(main, name) {
        match SlotTable::open(kind, segment.words(), geometry, now) {
            Ok(table) => {
                table.begin_generation();
                return Ok(table);
            }
            Err(why) => main.log(Level::Notice, || format!("JG2004 limits start anew with other shared memory: {why}")),
        }
    }
    anew(main, name, kind, geometry, now)
}

/// A new table in anonymous memory, with what the last one holds that outlives a change of size.
fn anew(
    main: Server<'_>,
    name: SegmentName,
    kind: TableKind,
    geometry: Geometry,
    now: Now,
) -> Result<SlotTable<'static>, ()> {
    let old = Segment::existing(main, name);
    new_memory(main, name, kind, geometry, |new| {
        if let Some(old) = old {
            carry_over(main, kind, new, old.words(), now);
        }
    })
}

/// A new table in anonymous memory; `fill` puts in what was counted before.
fn new_memory(
    main: Server<'_>,
    name: SegmentName,
    kind: TableKind,
    geometry: Geometry,
    fill: impl FnOnce(&SlotTable<'_>),
) -> Result<SlotTable<'static>, ()> {
    let new = Segment::replace(main, name, geometry.words(), |words, _| {
        let table = SlotTable::format(kind, words, geometry, random());
        if let Ok(table) = &table {
            fill(table);
        }
        table
    });
    let table = match new {
        Ok(table) => table,
        Err(why) => {
            failed(main, &format!("{why}: write a smaller size"));
            // A restart that asks for too much goes on with what the server has.
            let old = Segment::existing(main, name).ok_or(())?.words();
            SlotTable::open_any(kind, old, now())
        }
    };
    table.map_err(|why| failed(main, &why.to_string()))
}

/// Takes over what a table of another size has counted. Rates begin anew: they are full again soon.
fn carry_over(main: Server<'_>, kind: TableKind, new: &SlotTable<'_>, old: &'static [AtomicU64], now: Now) {
    if kind == TableKind::Rates {
        return;
    }
    let Ok(carried) = SlotTable::open_any(kind, old, now).and_then(|old| new.carry_over(old, now)) else { return };
    if carried.lost > 0 {
        main.log(Level::Warning, || {
            format!(
                "JG2004 {} of {} counts have no room in the smaller shared memory, and begin anew",
                carried.lost,
                carried.kept + carried.lost
            )
        });
    }
}

/// The table of quotas: a file in the state folder, or memory where that cannot be had.
fn quota_table(
    main: Server<'_>,
    state_dir: Option<&StateDir>,
    geometry: Geometry,
    now: Now,
) -> Result<SlotTable<'static>, ()> {
    let why = match state_dir.ok_or_else(String::new).and_then(|folder| quota_file(main, folder, geometry, now)) {
        Ok(table) => {
            table.begin_generation();
            return Ok(table);
        }
        Err(why) => why,
    };
    // Whatever has become of the folder: what was used until now is good, and children of the last generation use it.
    if let Some(Ok(table)) = SharedFile::existing(main).map(|mapped| open_any(mapped, now)) {
        warn(main, &why, "quotas are counted in the file that is in use already");
        table.begin_generation();
        return Ok(table);
    }
    warn(main, &why, IN_MEMORY);
    memory(main, SegmentName::QUOTAS, TableKind::Quotas, geometry, now)
}

const IN_MEMORY: &str = "quotas are counted in memory only, and begin anew at each start";

/// Says what becomes of quotas whose file cannot be had; `why` is empty if that was said already.
fn warn(main: Server<'_>, why: &str, then: &str) {
    main.log(Level::Warning, || {
        let separator = if why.is_empty() { "" } else { ": " };
        format!("JG2205 JwtGateStateDir{separator}{why}; {then}")
    });
}

/// A table of quotas in the place of one that is full of limits which the configuration has no more. A limit is kept as
/// long as it is counted, and so they can be many.
fn quota_table_anew(
    main: Server<'_>,
    state_dir: Option<&StateDir>,
    geometry: Geometry,
) -> Result<SlotTable<'static>, ()> {
    main.log(Level::Warning, || "JG2004 quotas begin anew: there is no room for so many changed ones".to_owned());
    match state_dir.ok_or_else(String::new).and_then(|folder| new_quota_file(main, folder, geometry, |_| ())) {
        Ok(table) => Ok(table),
        Err(why) => {
            warn(main, &why, IN_MEMORY);
            new_memory(main, SegmentName::QUOTAS, TableKind::Quotas, geometry, |_| ())
        }
    }
}

fn quota_file(main: Server<'_>, folder: &StateDir, geometry: Geometry, now: Now) -> Result<SlotTable<'static>, String> {
    let existing = SharedFile::existing(main);
    let with = |before: Option<&'static [AtomicU64]>| {
        new_quota_file(main, folder, geometry, |new| {
            if let Some(before) = before {
                carry_over(main, TableKind::Quotas, new, before, now);
            }
        })
    };
    let Some(file) = folder.file_to_write(QUOTAS_FILE)? else {
        // What was counted until now was in a file that is gone, or in memory.
        let in_memory = || Some(Segment::existing(main, SegmentName::QUOTAS)?.words());
        return with(existing.map(SharedFile::words).or_else(in_memory));
    };
    let (mapped, has_others) = match existing {
        // Children of the last generation count in it: nothing is repaired.
        Some(mapped) if mapped.is(&file) => (mapped, None),
        _ => {
            let mapped = match SharedFile::map(main, file) {
                Ok(mapped) => mapped,
                Err(error) => return set_aside(main, folder, geometry, &error.to_string()),
            };
            if let Some(existing) = existing {
                existing.release();
            }
            let has_others = mapped.hold_alone().is_err();
            if !has_others && let Ok(table) = open_any(mapped, now) {
                warn_of_repairs(main, table.repair());
            }
            hold(mapped)?;
            if has_others {
                main.log(Level::Warning, || {
                    format!(
                        "JG2205 JwtGateStateDir: {QUOTAS_FILE} is in use by another server, or by processes that one \
                         has left behind: name a folder of its own for each server"
                    )
                });
            }
            (mapped, Some(has_others))
        }
    };
    match SlotTable::open(TableKind::Quotas, mapped.words(), geometry, now) {
        Ok(table) => Ok(table),
        Err(Mismatch::Geometry) => match open_any(mapped, now) {
            // It stays as large as the other server has made it.
            Ok(table) if has_others.map_or_else(|| hold_again(mapped), Ok)? => Ok(table),
            Ok(_) => with(Some(mapped.words())),
            Err(why) => set_aside(main, folder, geometry, &why.to_string()),
        },
        Err(why) => set_aside(main, folder, geometry, &why.to_string()),
    }
}

/// Says how much of a file was not what it can be.
fn warn_of_repairs(main: Server<'_>, places: usize) {
    let what = match places {
        0 => return,
        1 => format!("1 place of {QUOTAS_FILE} was damaged and begins anew"),
        places => format!("{places} places of {QUOTAS_FILE} were damaged and begin anew"),
    };
    main.log(Level::Warning, || format!("JG2005 JwtGateStateDir: {what}"));
}

/// Whether another server holds a file that this one and its children hold.
fn hold_again(mapped: SharedFile) -> Result<bool, String> {
    let has_others = mapped.hold_alone().is_err();
    hold(mapped)?;
    Ok(has_others)
}

/// The table in a file, of whatever size.
fn open_any(mapped: SharedFile, now: Now) -> Result<SlotTable<'static>, Mismatch> {
    SlotTable::open_any(TableKind::Quotas, mapped.words(), now)
}

/// Holds a file together with others: none of them gets it alone, and repairs what is counted in it meanwhile.
fn hold(mapped: SharedFile) -> Result<(), String> {
    mapped.hold().map_err(|error| format!("{QUOTAS_FILE} cannot be locked: {error}"))
}

/// Keeps a file that cannot be used for the administrator, and begins anew.
fn set_aside(main: Server<'_>, folder: &StateDir, geometry: Geometry, why: &str) -> Result<SlotTable<'static>, String> {
    let kept = folder.set_aside(QUOTAS_FILE)?;
    main.log(Level::Error, || {
        format!(
            "JG2005 JwtGateStateDir: {QUOTAS_FILE} cannot be used: {why}; it is kept as {kept}, and quotas begin anew"
        )
    });
    new_quota_file(main, folder, geometry, |_| ())
}

/// Makes a file with a table in it; `fill` puts in what was counted before.
fn new_quota_file(
    main: Server<'_>,
    folder: &StateDir,
    geometry: Geometry,
    fill: impl FnOnce(&SlotTable<'_>),
) -> Result<SlotTable<'static>, String> {
    let words: Vec<AtomicU64> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    fill(&SlotTable::format(TableKind::Quotas, &words, geometry, random()).map_err(|why| why.to_string())?);
    // All of it is written, so that no disk is found full when something is counted; and before it takes the place of
    // another file, so that a power failure leaves one of them.
    folder.write_with(QUOTAS_FILE, |draft| {
        words.into_iter().try_for_each(|word| draft.write_all(&word.into_inner().to_ne_bytes()))
    })?;
    let file = folder.file_to_write(QUOTAS_FILE)?.ok_or_else(|| format!("{QUOTAS_FILE} is gone again"))?;
    let old = SharedFile::existing(main);
    let mapped = SharedFile::map(main, file).map_err(|error| format!("{QUOTAS_FILE} cannot be mapped: {error}"))?;
    if let Some(old) = old {
        old.release();
    }
    hold(mapped)?;
    SlotTable::open(TableKind::Quotas, mapped.words(), geometry, now()).map_err(|why| why.to_string())
}
