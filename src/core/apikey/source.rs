//! The administrator's file. What is left of an entry is a record and a text.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::array::Record;
use super::key::is_id;
use crate::compiled::HASH;
use crate::config::address::network_name;
use crate::config::parse;
use crate::config::resource::is_scope;
use crate::json_list::{self, Form};
use crate::net::address::Cidr;
use crate::time::UnixMicros;

/// Largest file read, in bytes.
pub const MAX_FILE_BYTES: usize = 256 << 20;

/// Most keys in a file.
pub const MAX_KEYS: usize = 1_000_000;

/// Bytes of the longest text of an entry.
const MAX_TEXT: usize = 256;
/// Most scopes, and most networks, of a key.
const MAX_ITEMS: usize = 64;

const FORM: Form = Form { member: "keys", what: "a file of API keys", max_bytes: MAX_FILE_BYTES };

/// What a file says.
#[derive(Default)]
pub(super) struct Entries {
    /// In the order of the file.
    pub(super) records: Vec<Record>,
    /// What the records point into.
    pub(super) texts: String,
    pub(super) plans: BTreeSet<String>,
    pub(super) networks: BTreeSet<String>,
    ids: HashSet<Box<str>>,
    hashes: HashSet<[u8; HASH]>,
}

/// Reads all of a file.
///
/// # Errors
/// The first mistake and its line.
pub(super) fn read(source: &[u8]) -> Result<Entries, String> {
    let mut entries = Entries::default();
    json_list::read(source, &FORM, &mut entries)?;
    Ok(entries)
}

/// Takes one entry.
impl<'de> DeserializeSeed<'de> for &mut Entries {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Entries {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry like {\"id\":ID,\"sha256\":HEX}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        let mut entry = Entry::default();
        while let Some(member) = source.next_key::<Member>()? {
            let Entry { id, sha256, plan, scopes, networks, not_before, expires } = &mut entry;
            let twice = match member {
                Member::Id => id.replace(source.next_value_seed(Text(member))?).is_some(),
                Member::Sha256 => sha256.replace(source.next_value_seed(Text(member))?).is_some(),
                Member::Plan => plan.replace(source.next_value_seed(Text(member))?).is_some(),
                Member::Scopes => scopes.replace(source.next_value_seed(Texts(member))?).is_some(),
                Member::Networks => networks.replace(source.next_value_seed(Texts(member))?).is_some(),
                Member::NotBefore => not_before.replace(source.next_value_seed(Text(member))?).is_some(),
                Member::Expires => expires.replace(source.next_value_seed(Text(member))?).is_some(),
            };
            if twice {
                let name = member.name();
                return Err(A::Error::custom(format_args!("\"{name}\" stands twice in this entry: leave one out")));
            }
        }
        self.add(entry).map_err(A::Error::custom)
    }
}

/// The members of an entry.
#[derive(Clone, Copy)]
enum Member {
    Id,
    Sha256,
    Plan,
    Scopes,
    Networks,
    NotBefore,
    Expires,
}

impl Member {
    const ALL: [Self; 7] =
        [Self::Id, Self::Sha256, Self::Plan, Self::Scopes, Self::Networks, Self::NotBefore, Self::Expires];

    const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Sha256 => "sha256",
            Self::Plan => "plan",
            Self::Scopes => "scopes",
            Self::Networks => "networks",
            Self::NotBefore => "not_before",
            Self::Expires => "expires",
        }
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(MemberName)
    }
}

struct MemberName;

impl Visitor<'_> for MemberName {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
        Member::ALL.into_iter().find(|member| member.name() == name).ok_or_else(|| {
            E::custom(format_args!(
                "{name:?} is not known here: an entry has \"id\", \"sha256\", and perhaps \"plan\", \"scopes\", \
                 \"networks\", \"not_before\" and \"expires\""
            ))
        })
    }
}

/// The value of a member that is one text.
struct Text(Member);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" as text in double quotes", self.0.name())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        let name = self.0.name();
        match text.len() {
            0 => Err(E::custom(format_args!("\"{name}\" is empty: write what it is, or leave it out"))),
            1..=MAX_TEXT => Ok(text.to_owned()),
            long => Err(E::custom(format_args!("\"{name}\" has {long} bytes, more than {MAX_TEXT}: make it shorter"))),
        }
    }
}

/// The value of a member that is a list of texts.
struct Texts(Member);

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" as a list of texts: [\"…\",\"…\"]", self.0.name())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Vec<String>, A::Error> {
        let name = self.0.name();
        let mut texts: Vec<String> = Vec::new();
        while let Some(text) = source.next_element_seed(Text(self.0))? {
            if texts.len() == MAX_ITEMS {
                return Err(A::Error::custom(format_args!("\"{name}\" has more than {MAX_ITEMS} texts: use fewer")));
            }
            if texts.contains(&text) {
                return Err(A::Error::custom(format_args!("\"{name}\" has {text:?} twice: leave one out")));
            }
            texts.push(text);
        }
        Ok(texts)
    }
}

/// The values of an entry.
#[derive(Default)]
struct Entry {
    id: Option<String>,
    sha256: Option<String>,
    plan: Option<String>,
    scopes: Option<Vec<String>>,
    networks: Option<Vec<String>>,
    not_before: Option<String>,
    expires: Option<String>,
}

impl Entries {
    /// Takes what an entry has.
    fn add(&mut self, entry: Entry) -> Result<(), String> {
        if self.records.len() == MAX_KEYS {
            return Err(format!("more than {MAX_KEYS} entries: take out what has expired"));
        }
        let id = entry.id.ok_or("this entry has no \"id\": add a name for the key")?;
        if !is_id(&id) {
            return Err(format!(
                "{id:?} cannot be an \"id\": use 1 to 128 visible ASCII characters without quotes and `\\`"
            ));
        }
        let hash = entry.sha256.ok_or("this entry has no \"sha256\": make one with `jwt-gate apikey new`")?;
        // Not quoted: what stands there by mistake may be the key itself.
        let hash = sha256(&hash).ok_or(
            "\"sha256\" is not 64 hexadecimal digits: write the SHA-256 of the key there, and never the key itself",
        )?;
        if let Some(plan) = &entry.plan {
            let name = parse::name("a plan", plan)
                .map_err(|_| format!("{plan:?} cannot be the name of a \"plan\": write the NAME of a JwtGatePlan"))?;
            self.plans.insert(name);
        }
        let scopes = entry.scopes.unwrap_or_default();
        if let Some(wrong) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(format!(
                "{wrong:?} cannot be one of \"scopes\": use visible ASCII characters but `\"` and `\\`, and write \
                 several scopes as texts of their own"
            ));
        }
        let networks = match entry.networks {
            Some(items) if items.is_empty() => {
                return Err("\"networks\" is empty: write from where the key may be used, or leave it out if that is \
                            everywhere"
                    .to_owned());
            }
            items => items.unwrap_or_default(),
        };
        let networks: Vec<_> = networks.iter().map(|item| self.network(item)).collect::<Result<_, _>>()?;
        let (not_before, expires) = (time("not_before", entry.not_before)?, time("expires", entry.expires)?);
        if not_before.zip(expires).is_some_and(|(from, to)| from >= to) {
            return Err("\"expires\" is not later than \"not_before\": the key could never be used".to_owned());
        }
        if !self.ids.insert(id.as_str().into()) {
            return Err(format!("{id:?} is the \"id\" of an earlier entry as well: give each key its own"));
        }
        if !self.hashes.insert(hash) {
            return Err("\"sha256\" is that of an earlier entry as well: give everybody a key of their own".to_owned());
        }
        let start = self.texts.len();
        let lines = [id, entry.plan.unwrap_or_default(), scopes.join(" "), networks.join(" ")];
        self.texts.push_str(&lines.join("\n"));
        let text = (start, self.texts.len());
        self.records.push(Record { hash, not_before: not_before.unwrap_or_default(), expires, text });
        Ok(())
    }

    /// An item of `networks` in its one spelling.
    fn network(&mut self, item: &str) -> Result<String, String> {
        let Some(name) = network_name(item) else {
            return item.parse().map(|block: Cidr| block.to_string()).map_err(|why| format!("\"networks\": {why}"));
        };
        let name = name.map_err(|_| {
            format!("{item:?} cannot be one of \"networks\": write a CIDR, or `@` and the NAME of a JwtGateNetwork")
        })?;
        let item = format!("@{name}");
        self.networks.insert(name);
        Ok(item)
    }
}

/// 64 hexadecimal digits, as `sha256sum` writes them or in capitals.
fn sha256(digits: &str) -> Option<[u8; HASH]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let mut hash = [0; HASH];
    if pairs.len() != HASH {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(pairs) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(hash)
}

fn time(name: &str, text: Option<String>) -> Result<Option<UnixMicros>, String> {
    text.map(|text| UnixMicros::from_rfc3339(&text).map_err(|why| format!("\"{name}\": {why}"))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_until_there_are_too_many() {
        let record = || Record { hash: [0; HASH], not_before: UnixMicros(0), expires: None, text: (0, 0) };
        let records = std::iter::repeat_with(record).take(MAX_KEYS - 1).collect();
        let mut entries = Entries { records, ..Entries::default() };
        let mut add = |id: &str| {
            let source = format!(r#"{{"keys":[{{"id":"{id}","sha256":"{id:0>64}"}}]}}"#);
            json_list::read(source.as_bytes(), &FORM, &mut entries)
        };
        assert_eq!(add("1"), Ok(()));
        assert_eq!(add("2"), Err("line 1: more than 1000000 entries: take out what has expired".to_owned()));
    }
}
