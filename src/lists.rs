//! Lists that are compiled: revocations, networks, API keys. A file is compiled by one process for the whole server, announced
//! by its digest in shared memory, and left in the state folder, where all child processes map it.

use std::fmt;
use std::sync::Arc;

use jwt_gate_core::apikey::{self, ApiKeyList};
use jwt_gate_core::keys::store::Source as Stored;
use jwt_gate_core::metrics::FileKind;
use jwt_gate_core::net::list::{self, Format, NetworkList};
use jwt_gate_core::net::network::NetworkSet;
use jwt_gate_core::revocation::{self, RevocationList};
use jwt_gate_core::time::UnixMicros;

use crate::files::{self, MAX_LIST};
use crate::state_dir::StateDir;

/// A file that is compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ListFile {
    pub(crate) path: String,
    pub(crate) kind: ListKind,
}

/// What it lists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ListKind {
    Revocations,
    Network { format: Format, may_shrink: bool },
    ApiKeys,
}

impl ListKind {
    /// As metrics call it.
    pub(crate) const fn metric(&self) -> FileKind {
        match self {
            Self::Revocations => FileKind::Revocations,
            Self::Network { .. } => FileKind::Networks,
            Self::ApiKeys => FileKind::ApiKeys,
        }
    }
}

/// A compiled list. It never changes; a clone is another handle on it.
#[derive(Clone)]
pub(crate) enum List {
    Revocations(Arc<RevocationList>),
    Network(Arc<NetworkList>),
    ApiKeys(Arc<ApiKeyList>),
}

/// A list that was just compiled, and whether the state folder has it.
pub(crate) struct Compiled {
    pub(crate) list: List,
    pub(crate) kept: Result<(), String>,
}

/// What a list is known by in the state folder and to later configurations. Whether it may shrink is a question of how
/// it is followed.
impl fmt::Display for ListFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ListKind::Revocations => write!(f, "revocations {}", self.path),
            ListKind::Network { format, .. } => write!(f, "network {} {format}", self.path),
            ListKind::ApiKeys => write!(f, "API keys {}", self.path),
        }
    }
}

impl ListKind {
    /// Whether half of a file cannot be taken for the whole: JSON is not valid before its end.
    pub(crate) fn shows_its_end(&self) -> bool {
        match self {
            Self::Revocations | Self::ApiKeys => true,
            Self::Network { format, .. } => format.shows_its_end(),
        }
    }

    /// What happens where the list is needed and cannot be had.
    pub(crate) fn without(&self) -> &'static str {
        match self {
            Self::Revocations => "tokens that need it are answered with 503",
            Self::Network { .. } => "it allows nobody and denies everybody",
            Self::ApiKeys => "API keys are answered with 503",
        }
    }
}

impl ListFile {
    /// Reads the file.
    ///
    /// # Errors
    /// Text for the administrator that names the file.
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        self.named(files::read(&self.path, MAX_LIST))
    }

    /// Compiles what was read, for the state folder too. `before` is the list that was in force.
    ///
    /// # Errors
    /// Text for the administrator that names the file: there is a mistake in it, or too little is left of it.
    pub(crate) fn compile(
        &self,
        source: &[u8],
        before: Option<&List>,
        keep: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<Compiled, String> {
        let compiled = match &self.kind {
            ListKind::Revocations => revocation::compile(source).map(|compiled| compiled.bytes),
            ListKind::Network { format, .. } => list::compile(source, format),
            ListKind::ApiKeys => apikey::compile(source).map(|compiled| compiled.bytes),
        };
        self.named(compiled.and_then(|bytes| {
            let bytes = Arc::new(bytes);
            let list = self.open(Arc::clone(&bytes) as Arc<_>)?;
            self.check_shrinkage(&list, before)?;
            Ok(Compiled { list, kept: keep(&bytes) })
        }))
    }

    /// Takes what was compiled.
    ///
    /// # Errors
    /// Text for the log.
    pub(crate) fn open(&self, bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<List, String> {
        Ok(match &self.kind {
            ListKind::Revocations => List::Revocations(Arc::new(RevocationList::open(bytes)?)),
            ListKind::Network { .. } => List::Network(Arc::new(NetworkList::open(bytes)?)),
            ListKind::ApiKeys => List::ApiKeys(Arc::new(ApiKeyList::open(bytes)?)),
        })
    }

    /// The list that the state folder has.
    ///
    /// # Errors
    /// Text for the log.
    pub(crate) fn recall(&self, folder: &StateDir, state_file: &str) -> Result<Option<List>, String> {
        folder.read(state_file, MAX_LIST)?.map(|bytes| self.open(Arc::new(bytes))).transpose()
    }

    fn check_shrinkage(&self, list: &List, before: Option<&List>) -> Result<(), String> {
        match (&self.kind, list, before) {
            (ListKind::Network { may_shrink: false, .. }, List::Network(list), Some(List::Network(before))) => {
                list.check_shrinkage(before)
            }
            _ => Ok(()),
        }
    }

    fn named<T>(&self, result: Result<T, String>) -> Result<T, String> {
        result.map_err(|why| format!("{}: {why}", self.path))
    }
}

impl List {
    /// SHA-256 of the file from which it was compiled.
    pub(crate) fn source_digest(&self) -> [u8; 32] {
        match self {
            Self::Revocations(list) => list.source_digest(),
            Self::Network(list) => list.source_digest(),
            Self::ApiKeys(list) => list.source_digest(),
        }
    }

    pub(crate) fn revocations(&self) -> Option<&Arc<RevocationList>> {
        match self {
            Self::Revocations(list) => Some(list),
            Self::Network(_) | Self::ApiKeys(_) => None,
        }
    }

    pub(crate) fn network(&self) -> Option<&Arc<NetworkSet>> {
        match self {
            Self::Network(list) => Some(list.set()),
            Self::Revocations(_) | Self::ApiKeys(_) => None,
        }
    }

    pub(crate) fn api_keys(&self) -> Option<&Arc<ApiKeyList>> {
        match self {
            Self::ApiKeys(list) => Some(list),
            Self::Revocations(_) | Self::Network(_) => None,
        }
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Revocations(list) => list.len(),
            Self::Network(list) => list.len(),
            Self::ApiKeys(list) => list.len(),
        }
    }

    /// Tells all processes that this is the list in force, as its file was read at `read` and written at `modified`.
    /// False if it is already.
    pub(crate) fn announce(&self, stored: Stored<'_>, modified: Option<UnixMicros>, read: UnixMicros) -> bool {
        let announced = Announced { digest: self.source_digest(), modified };
        let is_new = Announced::of(stored).is_none_or(|before| before.digest != announced.digest);
        // So few bytes always fit.
        stored.publish(&announced.encode(), read) == Ok(true) && is_new
    }
}

/// In words, for the log, with the verb.
impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, many] = match self {
            Self::Revocations(_) => ["entry", "entries"],
            Self::Network(_) => ["network", "networks"],
            Self::ApiKeys(_) => ["API key", "API keys"],
        };
        match self.len() {
            1 => write!(f, "1 {one} is"),
            count => write!(f, "{count} {many} are"),
        }
    }
}

/// What all processes are told of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Announced {
    /// SHA-256 of its file.
    pub(crate) digest: [u8; 32],
    /// When that was written, if anybody knows.
    pub(crate) modified: Option<UnixMicros>,
}

impl Announced {
    /// What was announced last.
    pub(crate) fn of(stored: Stored<'_>) -> Option<Self> {
        Self::decode(&stored.read()?.bytes)
    }

    fn encode(self) -> Vec<u8> {
        [&self.digest[..], &self.modified.map_or(0, |time| time.0).to_le_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk()?;
        let modified = rest.first_chunk().map(|time| UnixMicros(u64::from_le_bytes(*time)));
        Some(Self { digest: *digest, modified: modified.filter(|time| time.0 != 0) })
    }
}
