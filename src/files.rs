//! Key files and network files: read in the parent, as the user that started the server, at each start and
//! graceful restart.
//!
//! A file that has gone bad never stops the server: what was last read well from it stays in use, or, if it
//! never was, what it holds is closed.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use jwt_gate_core::config::issuer::{IssuerDef, KeySource};
use jwt_gate_core::config::network::{NetworkDef, NetworkSource};
use jwt_gate_core::config::server::ServerTables;
use jwt_gate_core::keys::set::{self, KeySet, Loaded};
use jwt_gate_core::net::network::{self, NetworkSet};
use jwt_gate_core::token::issuer::{Audiences, Issuer, Types};

use crate::httpd::{Level, Log, Server};

/// What was last read well, by path. Kept over graceful restarts.
#[derive(Default)]
pub(crate) struct Files {
    last_good: HashMap<String, Remembered>,
}

struct Remembered {
    bytes: Vec<u8>,
    /// Used by the configuration that is being loaded.
    used: bool,
}

impl Files {
    /// Forgets files that the configuration does not name any more.
    pub(crate) fn end_generation(&mut self) {
        self.last_good.retain(|_, file| std::mem::take(&mut file.used));
    }

    /// Reads a file and what is in it. On failure takes what was last good; tells of it all the same.
    fn load<T>(
        &mut self,
        path: &str,
        read: impl FnOnce(&str) -> Result<Vec<u8>, String>,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> (Option<T>, Option<String>) {
        let fresh = read(path).and_then(|bytes| parse(&bytes).map(|value| (bytes, value)));
        match fresh {
            Ok((bytes, value)) => {
                self.last_good.insert(path.to_owned(), Remembered { bytes, used: true });
                (Some(value), None)
            }
            Err(why) => {
                let old = self.last_good.get_mut(path).and_then(|file| {
                    file.used = true;
                    parse(&file.bytes).ok()
                });
                let state = if old.is_some() { "; its last good version stays in use" } else { "" };
                (old, Some(format!("{path}: {why}{state}")))
            }
        }
    }
}

/// What one pass over all servers has loaded already: virtual hosts share what they inherit.
#[derive(Default)]
pub(crate) struct Inherited {
    issuers: Vec<(Arc<IssuerDef>, Arc<Issuer>)>,
    networks: Vec<(Arc<NetworkDef>, Option<Arc<NetworkSet>>)>,
}

/// Issuers and networks of a server with what their files hold, and what is wrong with those that no server
/// before had.
pub(crate) fn load_tables(
    server: Server<'_>,
    files: &mut Files,
    inherited: &mut Inherited,
) -> (ServerTables, Vec<String>) {
    let mut failures = Vec::new();
    let settings = &server.config().settings;
    let mut tables = ServerTables { prefix: settings.prefix.unwrap_or_default(), ..ServerTables::default() };
    for (origin, def) in &settings.issuers {
        if let Some((_, issuer)) = inherited.issuers.iter().find(|(known, _)| Arc::ptr_eq(known, def)) {
            tables.issuers.push(Arc::clone(issuer));
            continue;
        }
        let (keys, wrong) = load_keys(server, def, files);
        let closed = if keys.is_none() { ": its tokens are answered with 503" } else { "" };
        failures.extend(wrong.into_iter().map(|why| format!("JwtGateIssuer {} ({origin}): {why}{closed}", def.name)));
        let issuer = Arc::new(issuer(inherited.issuers.len(), def, keys));
        inherited.issuers.push((Arc::clone(def), Arc::clone(&issuer)));
        tables.issuers.push(issuer);
    }
    for (origin, def) in &settings.networks {
        if let Some((_, set)) = inherited.networks.iter().find(|(known, _)| Arc::ptr_eq(known, def)) {
            tables.networks.insert(def.name.clone(), set.clone());
            continue;
        }
        let set = match &def.source {
            NetworkSource::Inline(cidrs) => Some(cidrs.iter().copied().collect::<NetworkSet>()),
            NetworkSource::File(path) => {
                let parse = |bytes: &[u8]| network::parse_file(bytes).map(|cidrs| cidrs.into_iter().collect());
                let (set, wrong) = files.load(&server.file_path(path), |path| read(path, MAX_LIST), parse);
                let closed =
                    if set.is_none() { ": until it can be, it allows nobody and denies everybody" } else { "" };
                failures.extend(wrong.map(|why| format!("JwtGateNetwork {} ({origin}): {why}{closed}", def.name)));
                set
            }
        };
        let set = set.map(Arc::new);
        inherited.networks.push((Arc::clone(def), set.clone()));
        tables.networks.insert(def.name.clone(), set);
    }
    (tables, failures)
}

/// The same without looking into files: for checking names.
pub(crate) fn name_tables(server: Server<'_>) -> ServerTables {
    let settings = &server.config().settings;
    ServerTables {
        issuers: settings.issuers.iter().enumerate().map(|(id, (_, def))| Arc::new(issuer(id, def, None))).collect(),
        networks: settings.networks.iter().map(|(_, def)| (def.name.clone(), None)).collect(),
        prefix: settings.prefix.unwrap_or_default(),
    }
}

fn issuer(id: usize, def: &IssuerDef, keys: Option<KeySet>) -> Issuer {
    Issuer {
        id: u32::try_from(id).unwrap_or(u32::MAX),
        name: def.name.clone(),
        issuer: def.issuer.clone(),
        audiences: def.audiences.clone().map_or(Audiences::Any, Audiences::OneOf),
        audience_claims: def.audience_claims.clone(),
        algorithms: def.algorithms,
        types: def.types.clone().map_or(Types::Usual, Types::OneOf),
        fixed_claims: def.fixed_claims.clone(),
        require_exp: def.require_exp,
        leeway: def.leeway,
        max_age: def.max_age,
        subject: def.subject.clone(),
        scopes: def.scopes.clone(),
        groups: def.groups.clone(),
        keys: keys.map(Arc::new),
    }
}

/// The keys of an issuer out of all of its files that have any.
fn load_keys(server: Server<'_>, def: &IssuerDef, files: &mut Files) -> (Option<KeySet>, Vec<String>) {
    let (mut sets, mut failures) = (Vec::new(), Vec::new());
    for path in def.source.paths() {
        let path = server.file_path(path);
        let (loaded, wrong) = files.load(
            &path,
            |path| if matches!(def.source, KeySource::Secret(_)) { read_secret(path) } else { read(path, MAX_KEYS) },
            |bytes| match def.source {
                KeySource::Jwks(_) => set::from_jwks(bytes, def.algorithms),
                KeySource::Pem(_) => set::from_pem(bytes, def.algorithms),
                KeySource::Secret(_) => set::from_secret(bytes, def.algorithms),
            },
        );
        failures.extend(wrong);
        if let Some(Loaded { keys, skipped }) = loaded {
            for why in skipped {
                server.log(Level::Warning, || format!("JG2203 JwtGateIssuer {}: {path}: {why}", def.name));
            }
            sets.push(keys);
        }
    }
    if sets.is_empty() {
        return (None, failures);
    }
    match KeySet::merge(sets) {
        Ok(keys) => (Some(keys), failures),
        Err(why) => {
            failures.push(why);
            (None, failures)
        }
    }
}

/// Larger key files are refused without being read to their end; the core has the exact limit.
const MAX_KEYS: u64 = 1 << 20;
/// Larger lists of networks are refused.
const MAX_LIST: u64 = 256 << 20;

fn read(path: &str, most: u64) -> Result<Vec<u8>, String> {
    let wrong = |error: std::io::Error| format!("cannot be read: {error}");
    // Opening a pipe or a device could wait for ever.
    if !fs::metadata(path).map_err(wrong)?.is_file() {
        return Err("is not a regular file: name a file".to_owned());
    }
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(wrong)?.take(most + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > most {
        return Err(format!("is larger than {most} bytes"));
    }
    Ok(bytes)
}

/// A secret that others can read is none.
fn read_secret(path: &str) -> Result<Vec<u8>, String> {
    let bytes = read(path, MAX_KEYS)?;
    let mode = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!("can be read or written by everybody (mode {:o}): run `chmod 640 {path}`", mode & 0o777));
    }
    Ok(bytes)
}
