//! Where keys and lists come from: one [`Source`] for each identity provider, key file and list that the
//! configuration names, however many issuers and servers use it.

use std::path::Path;
use std::sync::Arc;

use jwt_gate_core::algorithm::{Algorithm, AlgorithmSet};
use jwt_gate_core::config::fetch::FetchOptions;
use jwt_gate_core::config::issuer::{IssuerDef, KeySource};
use jwt_gate_core::config::network::{NetworkDef, NetworkFile, NetworkSource};
use jwt_gate_core::config::plan::PlanDef;
use jwt_gate_core::config::section::{Origin, Section};
use jwt_gate_core::fetch::{Fetcher, RemoteKeys};
use jwt_gate_core::keys::KeySet;
use jwt_gate_core::keys::set::{self, Loaded};
use jwt_gate_core::keys::store::SourceId;
use jwt_gate_core::net::address::AddressPrefix;
use jwt_gate_core::net::network::NetworkSet;

use crate::files::{self, MAX_KEYS};
use crate::httpd::Server;
use crate::lists::{ListFile, ListKind};
use crate::writers;

/// Something that is kept up to date while the server runs.
#[derive(Debug)]
pub(crate) struct Source {
    /// What it is known by in shared memory.
    pub(crate) id: SourceId,
    pub(crate) what: What,
    /// The directive that names it first, for messages.
    pub(crate) named_by: String,
}

impl Source {
    /// A sentence for the administrator if everybody may change its file, or that with the certificates to trust.
    pub(crate) fn open_to_everybody(&self) -> Option<String> {
        let path = match &self.what {
            What::Remote { options, .. } => options.ca.as_deref(),
            what => what.path(),
        };
        writers::everybody(Path::new(path?))
    }

    /// Name of its file in the state folder.
    pub(crate) fn state_file(&self) -> String {
        match &self.what {
            // The set that was fetched is the same whatever is done with it.
            What::Remote { from, options, .. } => {
                format!("{}.keys", SourceId::new(&format!("{from} {:?}", options.ca)).hex())
            }
            What::KeyFile { .. } | What::List(_) => format!("{}.list", self.id.hex()),
        }
    }
}

/// What it is, and how to read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// A key set that an identity provider serves.
    Remote { from: RemoteKeys, options: FetchOptions, algorithms: AlgorithmSet },
    /// A file with keys.
    KeyFile { path: String, kind: KeyFile, algorithms: AlgorithmSet },
    /// A file that is compiled.
    List(ListFile),
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
            Self::KeyFile { path, .. } | Self::List(ListFile { path, .. }) => Some(path),
        }
    }

    /// Whether half of its content cannot be taken for the whole: JSON is not valid before its end.
    pub(crate) fn shows_its_end(&self) -> bool {
        match self {
            Self::Remote { .. } | Self::KeyFile { kind: KeyFile::Jwks, .. } => true,
            Self::List(list) => list.kind.shows_its_end(),
            Self::KeyFile { kind: KeyFile::Pem | KeyFile::Secret, .. } => false,
        }
    }

    /// What happens where it is needed and cannot be had.
    pub(crate) fn without(&self) -> &'static str {
        match self {
            Self::Remote { .. } | Self::KeyFile { .. } => "tokens that need it are answered with 503",
            Self::List(list) => list.kind.without(),
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
            Self::List(_) => return None,
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
            Self::List(list) => SourceId::new(&list.to_string()),
            Self::KeyFile { .. } => SourceId::new(&format!("{self:?}")),
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
}

/// An issuer and its sources.
#[derive(Debug)]
pub(crate) struct PlannedIssuer {
    pub(crate) def: Arc<IssuerDef>,
    pub(crate) named_by: String,
    /// One that is fetched, or one or several files.
    pub(crate) sources: Vec<usize>,
}

/// A network and its addresses.
#[derive(Debug)]
pub(crate) struct PlannedNetwork {
    pub(crate) def: Arc<NetworkDef>,
    pub(crate) named_by: String,
    pub(crate) addresses: Addresses,
    /// Directives that name it, each once.
    pub(crate) used_by: Vec<&'static str>,
}

/// Where the addresses of a network are.
#[derive(Debug)]
pub(crate) enum Addresses {
    Written(Arc<NetworkSet>),
    /// In the list of this source.
    Listed(usize),
}

/// A server, by positions in the [`Plan`].
#[derive(Debug)]
pub(crate) struct PlannedServer {
    pub(crate) issuers: Vec<usize>,
    pub(crate) networks: Vec<usize>,
    pub(crate) revocations: Option<usize>,
    pub(crate) api_keys: Option<usize>,
    pub(crate) plans: Vec<Arc<PlanDef>>,
    pub(crate) prefix: AddressPrefix,
}

/// Everything that servers name, each once: virtual hosts share what they inherit.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) sources: Vec<Source>,
    pub(crate) issuers: Vec<PlannedIssuer>,
    pub(crate) networks: Vec<PlannedNetwork>,
    pub(crate) servers: Vec<PlannedServer>,
}

impl Plan {
    /// What a configuration says.
    pub(crate) fn of(main: Server<'_>) -> Self {
        let mut plan = Self::default();
        for server in main.iter() {
            let settings = &server.config().settings;
            let issuers = settings.issuers.iter().map(|(origin, def)| plan.issuer(server, origin, def)).collect();
            let networks: Vec<_> =
                settings.networks.iter().map(|(origin, def)| plan.network(server, origin, def)).collect();
            plan.use_networks(main, server, &networks);
            let revocations = settings.revocations.as_ref().map(|path| {
                let what = What::List(ListFile { path: server.file_path(path), kind: ListKind::Revocations });
                plan.source(what, || "JwtGateRevocations".to_owned())
            });
            let api_keys = settings.api_keys.as_ref().map(|path| {
                let what = What::List(ListFile { path: server.file_path(path), kind: ListKind::ApiKeys });
                plan.source(what, || "JwtGateApiKeys".to_owned())
            });
            let prefix = settings.prefix.unwrap_or_default();
            let plans = settings.plans.iter().map(|(_, plan)| Arc::clone(plan)).collect();
            plan.servers.push(PlannedServer { issuers, networks, revocations, api_keys, plans, prefix });
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

    /// Issuers whose keys are fetched, each with its source.
    pub(crate) fn fetched_issuers(&self) -> impl Iterator<Item = (&PlannedIssuer, usize)> {
        let is_remote = |index: &usize| matches!(self.sources[*index].what, What::Remote { .. });
        self.issuers.iter().filter_map(move |issuer| Some((issuer, *issuer.sources.iter().find(|i| is_remote(i))?)))
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

    fn network(&mut self, server: Server<'_>, origin: &Origin, def: &Arc<NetworkDef>) -> usize {
        if let Some(known) = self.networks.iter().position(|known| Arc::ptr_eq(&known.def, def)) {
            return known;
        }
        let named_by = format!("JwtGateNetwork {} ({origin})", def.name);
        let addresses = match &def.source {
            NetworkSource::Inline(cidrs) => Addresses::Written(Arc::new(cidrs.iter().copied().collect())),
            NetworkSource::File(NetworkFile { path, format, may_shrink }) => {
                let kind = ListKind::Network { format: format.clone(), may_shrink: *may_shrink };
                let what = What::List(ListFile { path: server.file_path(path), kind });
                Addresses::Listed(self.source(what, || named_by.clone()))
            }
        };
        self.networks.push(PlannedNetwork { def: Arc::clone(def), named_by, addresses, used_by: Vec::new() });
        self.networks.len() - 1
    }

    /// Notes which directives use the networks of a server; it inherits those of the main server.
    fn use_networks(&mut self, main: Server<'_>, server: Server<'_>, networks: &[usize]) {
        let inherited = if server.is_virtual() { main.own_sections() } else { Vec::new() };
        let sections = inherited.into_iter().chain(server.own_sections());
        for (directive, name) in sections.flat_map(Section::network_names) {
            for &index in networks {
                let network = &mut self.networks[index];
                if network.def.name == name && !network.used_by.contains(&directive) {
                    network.used_by.push(directive);
                }
            }
        }
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
