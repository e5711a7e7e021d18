//! Where keys and lists come from: one [`Source`] for each identity provider, key file and list that the
//! configuration names, however many issuers and servers use it.

use std::sync::Arc;

use jwt_gate_core::algorithm::{Algorithm, AlgorithmSet};
use jwt_gate_core::config::fetch::FetchOptions;
use jwt_gate_core::config::issuer::{IssuerDef, KeySource};
use jwt_gate_core::config::network::NetworkDef;
use jwt_gate_core::config::section::Origin;
use jwt_gate_core::fetch::{Fetcher, RemoteKeys};
use jwt_gate_core::keys::KeySet;
use jwt_gate_core::keys::set::{self, Loaded};
use jwt_gate_core::keys::store::SourceId;
use jwt_gate_core::net::address::AddressPrefix;
use jwt_gate_core::revocation::{self, Compiled};
use jwt_gate_core::token::issuer::{Audiences, Issuer, Types};

use crate::files::{self, MAX_KEYS, MAX_LIST};
use crate::httpd::Server;

/// Something that is kept up to date while the server runs.
#[derive(Debug)]
pub(crate) struct Source {
    /// What it is known by in shared memory.
    pub(crate) id: SourceId,
    pub(crate) what: What,
    /// The directive that names it first, for messages.
    pub(crate) named_by: String,
}

/// What it is, and how to read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// A key set that an identity provider serves.
    Remote { from: RemoteKeys, options: FetchOptions, algorithms: AlgorithmSet },
    /// A file with keys.
    KeyFile { path: String, kind: KeyFile, algorithms: AlgorithmSet },
    /// A file with revocations.
    Revocations { path: String },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyFile {
    Jwks,
    Pem,
    Secret,
}

impl What {
    /// The file, if it is one.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::Remote { .. } => None,
            Self::KeyFile { path, .. } | Self::Revocations { path } => Some(path),
        }
    }

    /// Whether half of its content cannot be taken for the whole: JSON is not valid before its end.
    pub(crate) fn shows_its_end(&self) -> bool {
        match self {
            Self::Remote { .. } | Self::Revocations { .. } | Self::KeyFile { kind: KeyFile::Jwks, .. } => true,
            Self::KeyFile { kind: KeyFile::Pem | KeyFile::Secret, .. } => false,
        }
    }

    /// Reads keys out of bytes; `None` if they hold something else.
    pub(crate) fn keys(&self, bytes: &[u8]) -> Option<Result<Loaded, String>> {
        Some(match self {
            Self::Remote { algorithms, .. } | Self::KeyFile { kind: KeyFile::Jwks, algorithms, .. } => {
                set::from_jwks(bytes, *algorithms)
            }
            Self::KeyFile { kind: KeyFile::Pem, algorithms, .. } => set::from_pem(bytes, *algorithms),
            Self::KeyFile { kind: KeyFile::Secret, algorithms, .. } => set::from_secret(bytes, *algorithms),
            Self::Revocations { .. } => return None,
        })
    }

    /// What it is known by.
    fn id(&self) -> SourceId {
        match self {
            // Also who is trusted: keys that another authority vouched for are not taken over.
            Self::Remote { from, options, algorithms } => {
                let algorithms: Vec<_> = algorithms.iter().map(Algorithm::name).collect();
                SourceId::new(&format!("{from} {:?} {}", options.ca, algorithms.join(",")))
            }
            what => SourceId::new(&format!("{what:?}")),
        }
    }

    /// Name of its file in the state folder.
    pub(crate) fn state_file(&self) -> String {
        match self {
            // The set that was fetched is the same whatever is done with it.
            Self::Remote { from, options, .. } => {
                format!("{}.keys", SourceId::new(&format!("{from} {:?}", options.ca)).hex())
            }
            what => format!("{}.list", what.id().hex()),
        }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Text for the administrator that names the file.
    pub(crate) fn read_keys(&self) -> Result<(Vec<u8>, Loaded), String> {
        let Self::KeyFile { path, kind, .. } = self else { return Err("is not a key file".to_owned()) };
        let bytes = match kind {
            KeyFile::Secret => files::read_secret(path),
            KeyFile::Jwks | KeyFile::Pem => files::read(path, MAX_KEYS),
        };
        let read = bytes.and_then(|bytes| match self.keys(&bytes) {
            Some(loaded) => loaded.map(|loaded| (bytes, loaded)),
            None => Err("holds no keys".to_owned()),
        });
        read.map_err(|why| format!("{path}: {why}"))
    }

    /// Reads the certificates to trust instead of the system's, if the directive names any.
    ///
    /// # Errors
    /// Text for the administrator that names the file.
    pub(crate) fn read_authorities(&self) -> Result<Option<Fetcher>, String> {
        let Self::Remote { options: FetchOptions { ca: Some(path), .. }, .. } = self else { return Ok(None) };
        let fetcher = files::read(path, MAX_KEYS).and_then(|pem| Fetcher::new(Some(&pem)));
        fetcher.map(Some).map_err(|why| format!("`ca={path}`: {why}"))
    }

    /// Reads and compiles a file with revocations.
    ///
    /// # Errors
    /// Text for the administrator that names the file.
    pub(crate) fn compile_revocations(&self) -> Result<Compiled, String> {
        let Self::Revocations { path } = self else { return Err("is not a list".to_owned()) };
        files::read(path, MAX_LIST)
            .and_then(|bytes| revocation::compile(&bytes))
            .map_err(|why| format!("{path}: {why}"))
    }
}

/// An issuer and its sources.
#[derive(Debug)]
pub(crate) struct PlannedIssuer {
    pub(crate) def: Arc<IssuerDef>,
    pub(crate) named_by: String,
    /// One that is fetched, or one or several files.
    pub(crate) sources: Vec<usize>,
}

/// A server, by positions in the [`Plan`].
#[derive(Debug)]
pub(crate) struct PlannedServer {
    pub(crate) issuers: Vec<usize>,
    pub(crate) networks: Vec<usize>,
    pub(crate) revocations: Option<usize>,
    pub(crate) prefix: AddressPrefix,
}

/// Everything that servers name, each once: virtual hosts share what they inherit.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) sources: Vec<Source>,
    pub(crate) issuers: Vec<PlannedIssuer>,
    pub(crate) networks: Vec<(Origin, Arc<NetworkDef>)>,
    pub(crate) servers: Vec<PlannedServer>,
}

impl Plan {
    /// What a configuration says.
    pub(crate) fn of(main: Server<'_>) -> Self {
        let mut plan = Self::default();
        for server in main.iter() {
            let settings = &server.config().settings;
            let issuers = settings.issuers.iter().map(|(origin, def)| plan.issuer(server, origin, def)).collect();
            let networks = settings.networks.iter().map(|(origin, def)| plan.network(origin, def)).collect();
            let revocations = settings.revocations.as_ref().map(|path| {
                let path = server.file_path(path);
                plan.source(What::Revocations { path }, || "JwtGateRevocations".to_owned())
            });
            let prefix = settings.prefix.unwrap_or_default();
            plan.servers.push(PlannedServer { issuers, networks, revocations, prefix });
        }
        plan
    }

    /// Issuers whose files cannot be used together, for the administrator; `keys` are those of a source.
    pub(crate) fn merge_mistakes<'k>(&self, keys: impl Fn(usize) -> Option<&'k KeySet>) -> Vec<String> {
        let several = self.issuers.iter().filter(|planned| planned.sources.len() > 1);
        let mistake = |planned: &PlannedIssuer| {
            let sets: Vec<_> = planned.sources.iter().filter_map(|&index| keys(index)).collect();
            let wrong = if sets.is_empty() { None } else { KeySet::merge(sets).err() };
            wrong.map(|why| format!("{}: {why}", planned.named_by))
        };
        several.filter_map(mistake).collect()
    }

    fn issuer(&mut self, server: Server<'_>, origin: &Origin, def: &Arc<IssuerDef>) -> usize {
        if let Some(known) = self.issuers.iter().position(|known| Arc::ptr_eq(&known.def, def)) {
            return known;
        }
        let named_by = format!("JwtGateIssuer {} ({origin})", def.name);
        let algorithms = def.algorithms;
        let file = |path: &String, kind| What::KeyFile { path: server.file_path(path), kind, algorithms };
        let sources: Vec<What> = match &def.source {
            KeySource::Remote(from, options) => {
                let ca = options.ca.as_ref().map(|path| server.file_path(path));
                let options = FetchOptions { ca, ..options.clone() };
                vec![What::Remote { from: from.clone(), options, algorithms }]
            }
            KeySource::Jwks(path) => vec![file(path, KeyFile::Jwks)],
            KeySource::Pem(paths) => paths.iter().map(|path| file(path, KeyFile::Pem)).collect(),
            KeySource::Secret(paths) => paths.iter().map(|path| file(path, KeyFile::Secret)).collect(),
        };
        let sources = sources.into_iter().map(|what| self.source(what, || named_by.clone())).collect();
        self.issuers.push(PlannedIssuer { def: Arc::clone(def), named_by, sources });
        self.issuers.len() - 1
    }

    fn network(&mut self, origin: &Origin, def: &Arc<NetworkDef>) -> usize {
        self.networks.iter().position(|(_, known)| Arc::ptr_eq(known, def)).unwrap_or_else(|| {
            self.networks.push((origin.clone(), Arc::clone(def)));
            self.networks.len() - 1
        })
    }

    fn source(&mut self, what: What, named_by: impl FnOnce() -> String) -> usize {
        self.sources.iter().position(|known| known.what == what).unwrap_or_else(|| {
            // The same keys, fetched in another manner, are another source.
            let mut id = what.id();
            let mut others = 1_u32;
            while self.sources.iter().any(|known| known.id == id) {
                others += 1;
                id = SourceId::new(&format!("{} {others}", what.id().hex()));
            }
            self.sources.push(Source { id, what, named_by: named_by() });
            self.sources.len() - 1
        })
    }
}

/// The finished policy of an issuer, without keys.
pub(crate) fn issuer(id: usize, def: &IssuerDef) -> Issuer {
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
        keys: None,
    }
}
