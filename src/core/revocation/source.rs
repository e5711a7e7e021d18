//! The administrator's file. What is left of an entry is a record.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::record::{Before, KINDS, Kind, Record, digest};
use crate::config::parse;
use crate::json_list::{self, Form};
use crate::time::UnixMicros;
use crate::token::MAX_TOKEN;

/// Largest file read, in bytes.
pub const MAX_FILE_BYTES: usize = 256 << 20;

/// Most entries in a file.
pub const MAX_ENTRIES: usize = 1_000_000;

const FORM: Form = Form { member: "revoked", what: "a list of revocations", max_bytes: MAX_FILE_BYTES };

/// What a file says.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) count: usize,
    /// By [`Kind`], in the order of the file.
    pub(super) records: [Vec<Record>; KINDS],
    pub(super) issuers: BTreeSet<String>,
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
        f.write_str("an entry like {\"issuer\":NAME,\"jti\":TEXT}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        let mut texts = [const { None }; Member::ALL.len()];
        while let Some(member) = source.next_key::<Member>()? {
            let text = source.next_value_seed(Text(member))?;
            if texts[member as usize].replace(text).is_some() {
                let name = member.name();
                return Err(A::Error::custom(format_args!("\"{name}\" stands twice in this entry: make two entries")));
            }
        }
        self.add(texts).map_err(A::Error::custom)
    }
}

/// The members of an entry.
#[derive(Clone, Copy)]
enum Member {
    Issuer,
    Jti,
    Sub,
    Client,
    Sid,
    IssuedBefore,
}

impl Member {
    const ALL: [Self; 6] = [Self::Issuer, Self::Jti, Self::Sub, Self::Client, Self::Sid, Self::IssuedBefore];

    const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Jti => "jti",
            Self::Sub => "sub",
            Self::Client => "client",
            Self::Sid => "sid",
            Self::IssuedBefore => "issued_before",
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
                "{name:?} is not known here: an entry has \"issuer\" and one of \"jti\", \"sub\", \"client\", \"sid\" \
                 and \"issued_before\""
            ))
        })
    }
}

/// The value of a member.
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
            0 => Err(E::custom(format_args!("\"{name}\" is empty: write what the tokens have there"))),
            1..=MAX_TOKEN => Ok(text.to_owned()),
            long => Err(E::custom(format_args!("\"{name}\" has {long} bytes, more than any token: correct it"))),
        }
    }
}

impl Entries {
    /// Takes the texts of an entry.
    fn add(&mut self, texts: [Option<String>; Member::ALL.len()]) -> Result<(), String> {
        if self.count == MAX_ENTRIES {
            return Err(format!("more than {MAX_ENTRIES} entries: take out what has expired"));
        }
        let [issuer, jti, sub, client, sid, issued_before] = texts;
        let issuer = issuer.ok_or("this entry has no \"issuer\": add the name that JwtGateIssuer gives it")?;
        let before = match &issued_before {
            Some(time) => {
                Before::time(UnixMicros::from_rfc3339(time).map_err(|text| format!("\"issued_before\": {text}"))?)
            }
            None => Before::EVER,
        };
        let (kind, value) = match (jti, sub, client, sid, issued_before) {
            (Some(jti), None, None, None, None) => (Kind::Jti, jti),
            (None, Some(sub), None, None, _) => (Kind::Subject, sub),
            (None, None, Some(client), None, None) => (Kind::Client, client),
            (None, None, None, Some(sid), None) => (Kind::Session, sid),
            (None, None, None, None, Some(_)) => (Kind::Issuer, String::new()),
            (None, None, None, None, None) => {
                return Err("this entry revokes nothing: add \"jti\", \"sub\", \"client\", \"sid\" or \
                            \"issued_before\""
                    .to_owned());
            }
            _ => {
                return Err("this entry has more than one of \"jti\", \"sub\", \"client\", \"sid\" and \
                            \"issued_before\": make an entry of each (only \"sub\" and \"issued_before\" go together)"
                    .to_owned());
            }
        };
        let record = Record { digest: digest(kind, &issuer, &value), before };
        if !self.issuers.contains(&issuer) {
            let name = parse::name("an issuer", &issuer).map_err(|_| {
                format!(
                    "{issuer:?} is no name of an issuer: write the NAME that JwtGateIssuer gives it, not its ISSUER"
                )
            })?;
            self.issuers.insert(name);
        }
        self.records[kind as usize].push(record);
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_until_there_are_too_many() {
        let mut entries = Entries { count: MAX_ENTRIES - 1, ..Entries::default() };
        let mut add = || json_list::read(br#"{"revoked":[{"issuer":"a","jti":"b"}]}"#, &FORM, &mut entries);
        assert_eq!(add(), Ok(()));
        assert_eq!(add(), Err("line 1: more than 1000000 entries: take out what has expired".to_owned()));
    }
}
