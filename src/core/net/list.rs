//! Files of networks, compiled.

use std::fmt;
use std::sync::Arc;

use super::array::{self, Layout};
use super::aws_file::{self, Filter};
use super::cidr_file;
use super::network::NetworkSet;

/// What a file of networks looks like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Format {
    /// One network a line.
    Cidr,
    /// The `ip-ranges.json` of Amazon Web Services, or a part of it.
    Aws(Filter),
}

/// In the words of the directive.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr => f.write_str("format=cidr"),
            Self::Aws(filter) => write!(f, "format=aws{filter}"),
        }
    }
}

impl Format {
    /// Whether half of a file cannot be taken for the whole: JSON is not valid before its end.
    pub fn shows_its_end(&self) -> bool {
        matches!(self, Self::Aws(_))
    }
}

/// Compiles a file into what [`NetworkList::open`] takes.
///
/// # Errors
/// Text for the administrator, with the line of the mistake where it has one. Nothing is passed over: a file with one
/// mistake is no list at all, and neither is one without any network.
pub fn compile(source: &[u8], format: &Format) -> Result<Vec<u8>, String> {
    let networks = match format {
        Format::Cidr => cidr_file::read(source)?,
        Format::Aws(filter) => aws_file::read(source, filter)?,
    };
    Ok(array::write(networks, source))
}

/// A compiled list. It never changes: a new file is a new list.
#[derive(Debug)]
pub struct NetworkList {
    set: Arc<NetworkSet>,
    networks: usize,
    source_digest: [u8; 32],
}

impl NetworkList {
    /// Takes what [`compile`] made. All of it is checked here, once. `bytes` must stay what they are.
    ///
    /// # Errors
    /// A sentence for the log: this is no compiled list, one of another version, or damaged.
    pub fn open(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Self, String> {
        let Layout { start, v4, v6, networks, source_digest } = Layout::check(&bytes)?;
        Ok(Self { set: Arc::new(NetworkSet::new(bytes, start, v4, v6)), networks, source_digest })
    }

    /// Its networks, to be asked.
    pub fn set(&self) -> &Arc<NetworkSet> {
        &self.set
    }

    /// How many networks the file names; what it repeats counts once.
    pub fn len(&self) -> usize {
        self.networks
    }

    /// Whether it names none. No list that was compiled does.
    pub fn is_empty(&self) -> bool {
        self.networks == 0
    }

    /// SHA-256 of the file from which the list was compiled.
    pub fn source_digest(&self) -> [u8; 32] {
        self.source_digest
    }

    /// Whether it names fewer than half as many networks as `before`. The number is that of the file's own networks,
    /// which an administrator can count, and not that of the addresses, of which one large network has more than all
    /// others together.
    ///
    /// # Errors
    /// Text for the administrator.
    pub fn check_shrinkage(&self, before: &Self) -> Result<(), String> {
        if self.networks >= before.networks.div_ceil(2) {
            return Ok(());
        }
        Err(format!(
            "has {} networks, fewer than half of the {} before: if that is right, write `shrink=allow` behind it",
            self.networks, before.networks
        ))
    }
}
