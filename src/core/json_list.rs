//! Files of administrators that are one list in JSON, `{"NAME":[entry,…]}`, read as a stream: an entry is gone
//! when the next one begins, and nothing is left of it but what its reader keeps.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

/// A kind of file.
pub(crate) struct Form {
    /// The only member of the object around it all.
    pub(crate) member: &'static str,
    /// What the file is, for errors.
    pub(crate) what: &'static str,
    /// Largest file read, in bytes.
    pub(crate) max_bytes: usize,
}

/// Reads all of a file. Each entry is deserialized with `&mut entries`, which should say whatever is wrong with it
/// before its end is passed, so that the line is one of its own.
///
/// # Errors
/// The first mistake and its line.
pub(crate) fn read<'de, E>(source: &'de [u8], form: &Form, entries: &mut E) -> Result<(), String>
where
    for<'e> &'e mut E: DeserializeSeed<'de, Value = ()>,
{
    let Form { what, max_bytes, .. } = form;
    if source.len() > *max_bytes {
        return Err(format!(
            "{} bytes are more than the {max_bytes} that {what} may have: take out what has expired",
            source.len()
        ));
    }
    if source.starts_with(b"\xef\xbb\xbf") {
        return Err("line 1: the file begins with a byte order mark: save it as UTF-8 without one".to_owned());
    }
    let mut reader = serde_json::Deserializer::from_slice(source);
    reader.deserialize_map(Document(form, entries)).and_then(|()| reader.end()).map_err(|e| explain(&e))
}

/// A mistake in a file, for the administrator: the line first, as with files that are not JSON.
pub(crate) fn explain(error: &serde_json::Error) -> String {
    let (line, column, text) = (error.line(), error.column(), error.to_string());
    let place = format!(" at line {line} column {column}");
    let text = text.strip_suffix(&place).unwrap_or(&text);
    match error.classify() {
        Category::Data => format!("line {line}: {}", shortened(text)),
        _ => format!("line {line}: not JSON at column {column}: {}", shortened(text)),
    }
}

/// A text without its middle, if it quotes too much for a log line.
fn shortened(text: &str) -> String {
    const HEAD: usize = 100;
    const TAIL: usize = 200;
    let starts = || text.char_indices().map(|(at, _)| at);
    let head = starts().take_while(|at| *at <= HEAD).last().unwrap_or(0);
    let tail = starts().find(|at| at + TAIL >= text.len()).unwrap_or(text.len());
    if head < tail { format!("{}…{}", &text[..head], &text[tail..]) } else { text.to_owned() }
}

/// The object around it all.
struct Document<'e, E>(&'e Form, &'e mut E);

impl<'de, E> Visitor<'de> for Document<'_, E>
where
    for<'e> &'e mut E: DeserializeSeed<'de, Value = ()>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"{}\":[…]}}", self.0.member)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        let member = self.0.member;
        let mut found = false;
        while let Some(name) = source.next_key::<String>()? {
            if name != member {
                return Err(A::Error::custom(format_args!(
                    "{name:?} is not known here: the file is {{\"{member}\":[…]}}"
                )));
            }
            if found {
                return Err(A::Error::custom(format_args!(
                    "\"{member}\" stands there twice: put all entries into one"
                )));
            }
            source.next_value_seed(List(self.0, &mut *self.1))?;
            found = true;
        }
        if found {
            Ok(())
        } else {
            Err(A::Error::custom(format_args!("\"{member}\" is missing: the file is {{\"{member}\":[…]}}")))
        }
    }
}

/// What its member is.
struct List<'e, E>(&'e Form, &'e mut E);

impl<'de, E> DeserializeSeed<'de> for List<'_, E>
where
    for<'e> &'e mut E: DeserializeSeed<'de, Value = ()>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, E> Visitor<'de> for List<'_, E>
where
    for<'e> &'e mut E: DeserializeSeed<'de, Value = ()>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of entries: \"{}\":[…]", self.0.member)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        while source.next_element_seed(&mut *self.1)?.is_some() {}
        Ok(())
    }
}
