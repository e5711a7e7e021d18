//! The address ranges of Amazon Web Services, `ip-ranges.json`, read as a stream. Its syntax is that of the AWS VPC user
//! guide, "AWS IP address ranges". Members that are not needed here are passed over, since AWS adds some now and then.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::address::Cidr;
use super::cidr_file::{MAX_FILE_BYTES, MAX_NETWORKS};
use crate::json_list::explain;

/// Which of its networks are meant. The names of AWS are compared without regard to case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Those of these services; empty: of all.
    pub services: Vec<String>,
    /// Those in these regions; empty: in all.
    pub regions: Vec<String>,
}

/// In the words of the directive, with a space in front of each.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (option, names) in [("service", &self.services), ("region", &self.regions)] {
            if !names.is_empty() {
                write!(f, " {option}={}", names.join(","))?;
            }
        }
        Ok(())
    }
}

/// Reads the networks that the filter means, in the order of the file; most of them are there more than once.
///
/// # Errors
/// Text for the administrator: the first mistake and its line; a name in the filter that the file does not have; no
/// network at all; more than [`MAX_FILE_BYTES`] or [`MAX_NETWORKS`].
pub fn read(source: &[u8], filter: &Filter) -> Result<Vec<Cidr>, String> {
    if source.len() > MAX_FILE_BYTES {
        return Err(format!(
            "{} bytes are more than the {MAX_FILE_BYTES} that a list of networks may have",
            source.len()
        ));
    }
    let mut found = Found { filter, networks: Vec::new(), services: BTreeSet::new(), regions: BTreeSet::new() };
    let mut reader = serde_json::Deserializer::from_slice(source);
    reader.deserialize_map(Document(&mut found)).and_then(|()| reader.end()).map_err(|e| explain(&e))?;
    found.checked()
}

/// What was found so far.
struct Found<'f> {
    filter: &'f Filter,
    networks: Vec<Cidr>,
    /// All that there are.
    services: BTreeSet<String>,
    regions: BTreeSet<String>,
}

impl Found<'_> {
    fn add(&mut self, Entry { network, service, region }: Entry) -> Result<(), String> {
        let meant = |names: &[String], name: &Option<String>| {
            let name = name.as_deref().unwrap_or_default();
            names.is_empty() || names.iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        if meant(&self.filter.services, &service) && meant(&self.filter.regions, &region) {
            if self.networks.len() == MAX_NETWORKS {
                return Err(format!("more than {MAX_NETWORKS} networks"));
            }
            self.networks.push(network);
        }
        // A name is copied when it is new.
        let new = |name: Option<String>, names: &BTreeSet<String>| name.filter(|name| !names.contains(name));
        self.services.extend(new(service, &self.services));
        self.regions.extend(new(region, &self.regions));
        Ok(())
    }

    /// A name that is misspelt would leave networks out without a word.
    fn checked(self) -> Result<Vec<Cidr>, String> {
        let Filter { services, regions } = self.filter;
        for (option, wanted, known) in [("service", services, &self.services), ("region", regions, &self.regions)] {
            let is_unknown = |name: &&String| !known.iter().any(|known| known.eq_ignore_ascii_case(name));
            if let Some(unknown) = wanted.iter().find(is_unknown) {
                return Err(format!("no network has `{option}={unknown}`: the file has {}", some_of(known)));
            }
        }
        match (self.networks.is_empty(), services.is_empty() || regions.is_empty()) {
            (false, _) => Ok(self.networks),
            (true, true) => Err("the list holds no network".to_owned()),
            (true, false) => Err(format!(
                "no network has both `service={}` and `region={}`: leave one of them out, or name others",
                services.join(","),
                regions.join(",")
            )),
        }
    }
}

/// Names for a log line.
fn some_of(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 8;
    const LENGTH: usize = 24;
    let shown = names.iter().take(SHOWN).map(|name| {
        let mut escaped = name.escape_default();
        let start: String = escaped.by_ref().take(LENGTH).collect();
        format!("`{start}{}`", if escaped.next().is_some() { "…" } else { "" })
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        1..=SHOWN => shown,
        count => format!("{shown} and {} more", count - SHOWN),
    }
}

/// The object around it all.
struct Document<'a, 'f>(&'a mut Found<'f>);

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\"prefixes\":[…],\"ipv6_prefixes\":[…]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        let mut read = [false; Family::ALL.len()];
        while let Some(name) = source.next_key::<String>()? {
            let Some(family) = Family::ALL.into_iter().find(|family| family.list() == name) else {
                source.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut read[family as usize], true) {
                return Err(A::Error::custom(format_args!("\"{name}\" stands there twice")));
            }
            source.next_value_seed(List(self.0, family))?;
        }
        match read {
            [false, false] => Err(A::Error::custom(
                "neither \"prefixes\" nor \"ipv6_prefixes\" is there: this is not the ip-ranges.json of AWS",
            )),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The name of the list.
    const fn list(self) -> &'static str {
        match self {
            Self::V4 => "prefixes",
            Self::V6 => "ipv6_prefixes",
        }
    }

    /// The name of the network in an entry.
    const fn member(self) -> &'static str {
        match self {
            Self::V4 => "ip_prefix",
            Self::V6 => "ipv6_prefix",
        }
    }
}

/// What is under the name of a family.
struct List<'a, 'f>(&'a mut Found<'f>, Family);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of entries: \"{}\":[…]", self.1.list())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        while source.next_element_seed(Item(&mut *self.0, self.1))?.is_some() {}
        Ok(())
    }
}

/// One entry. Whatever is wrong with it is said before its end is passed, so that the line is one of its own.
struct Item<'a, 'f>(&'a mut Found<'f>, Family);

struct Entry {
    network: Cidr,
    service: Option<String>,
    region: Option<String>,
}

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an entry like {{\"{}\":NETWORK,\"service\":NAME,\"region\":NAME}}", self.1.member())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        let names = [self.1.member(), "service", "region"];
        let mut texts = [const { None }; 3];
        while let Some(name) = source.next_key::<String>()? {
            let Some(at) = names.iter().position(|known| *known == name) else {
                source.next_value::<IgnoredAny>()?;
                continue;
            };
            let text = source.next_value_seed(Text(names[at]))?;
            if texts[at].replace(text).is_some() {
                return Err(A::Error::custom(format_args!("\"{name}\" stands twice in this entry")));
            }
        }
        let [network, service, region] = texts;
        let network = network
            .ok_or_else(|| format!("this entry has no \"{}\"", self.1.member()))
            .and_then(|text: String| text.parse::<Cidr>());
        network
            .and_then(|network| {
                if network.network().is_ipv4() != matches!(self.1, Family::V4) {
                    return Err(format!("{network} is of the other family than \"{}\"", self.1.list()));
                }
                self.0.add(Entry { network, service, region })
            })
            .map_err(A::Error::custom)
    }
}

/// The value of a member.
struct Text(&'static str);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" as text in double quotes", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
