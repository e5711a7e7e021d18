//! JSON (RFC 8259) as strictly as RFC 7515 section 4 and RFC 7519 section 4 ask for it: one value, no
//! member name twice, bounded depth.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// How many arrays and objects may stand inside one another, the outermost included.
pub const MAX_DEPTH: u8 = 16;

/// Up to this many members, comparing each pair of names is cheaper than a hash set.
const FEW_MEMBERS: usize = 16;

/// A JSON value. Integers from `i64::MIN` to `u64::MAX` are exact, other numbers are `f64`. What is spelt without
/// escapes is borrowed from the text: most tokens that are refused are refused before anything has to be kept.
#[derive(Debug, PartialEq)]
#[allow(missing_docs)] // named as in RFC 8259
pub enum Json<'t> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'t, str>),
    Array(Vec<Json<'t>>),
    Object(Members<'t>),
}

/// The members of an object, in the order of the text; no name twice.
pub type Members<'t> = Vec<(Cow<'t, str>, Json<'t>)>;

impl<'t> Json<'t> {
    /// Reads exactly one value from `text`.
    ///
    /// # Errors
    /// Says what is wrong and where, without quoting the text: not JSON or not UTF-8 (lone surrogates and
    /// a byte order mark included), a number too large for `f64`, more than [`MAX_DEPTH`] levels, a member
    /// name twice (also if spelt with escapes), anything but white space behind the value.
    pub fn parse(text: &'t [u8]) -> Result<Self, String> {
        Self::read(text).map_err(|error| error.to_string())
    }

    /// As [`Json::parse`], for the members of an object, where nobody asks what is wrong.
    pub(super) fn parse_object(text: &'t [u8]) -> Option<Members<'t>> {
        match Self::read(text) {
            Ok(Self::Object(members)) => Some(members),
            _ => None,
        }
    }

    fn read(text: &'t [u8]) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Level(MAX_DEPTH).deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// The same value, without the text.
    pub fn into_owned(self) -> Json<'static> {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Number(number) => Json::Number(number),
            Self::String(text) => Json::String(text.into_owned().into()),
            Self::Array(elements) => Json::Array(elements.into_iter().map(Json::into_owned).collect()),
            Self::Object(members) => Json::Object(own_members(members)),
        }
    }

    /// The member of this name, if this is an object that has one.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A string as it is, a number or boolean as its JSON text (integers in full, other numbers in the
    /// shortest form), nothing for null, arrays and objects.
    pub fn scalar_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }

    /// As [`Json::scalar_text`], but arrays and objects are compact JSON.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Array(_) | Self::Object(_) => Some(Cow::Owned(self.to_string())),
            scalar => scalar.scalar_text(),
        }
    }

    /// The elements of an array; anything else is the one element of itself.
    pub fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) => elements,
            single => std::slice::from_ref(single),
        }
    }

    /// The [text](Json::text) of each element; null has none.
    pub fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.elements().iter().filter_map(Self::text)
    }

    /// A string, or the strings among the elements of an array; nothing else counts.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        self.elements().iter().filter_map(Self::as_str)
    }

    /// As [`Json::strings`], but a string that is no element of an array is cut at its spaces
    /// (RFC 6749 section 3.3).
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let separator = if matches!(self, Self::Array(_)) { None } else { Some(' ') };
        self.strings().flat_map(move |text| text.split(move |c| Some(c) == separator)).filter(|word| !word.is_empty())
    }
}

/// The same members, without the text.
pub(super) fn own_members(members: Members<'_>) -> Members<'static> {
    members.into_iter().map(|(name, value)| (name.into_owned().into(), value.into_owned())).collect()
}

/// Compact JSON, members in their order, numbers as in [`Json::scalar_text`].
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::to_string(text).map_err(|_| fmt::Error);
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => f.write_str(&quoted(text)?),
            Self::Array(elements) => {
                f.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{}:{value}", if index > 0 { "," } else { "" }, quoted(name)?)?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Reads a value inside which this many levels are left.
#[derive(Clone, Copy)]
struct Level(u8);

impl Level {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom(format_args!("more than {MAX_DEPTH} levels deep")))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(value.to_owned().into()))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = source.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut members = Members::new();
        while let Some(name) = source.next_key_seed(Name)? {
            members.push((name, source.next_value_seed(inner)?));
        }
        if has_duplicate(&members) {
            return Err(A::Error::custom("a member name stands twice in one object"));
        }
        Ok(Json::Object(members))
    }
}

/// Reads the name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(value.to_owned().into())
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(value.into())
    }
}

fn has_duplicate(members: &Members<'_>) -> bool {
    if members.len() <= FEW_MEMBERS {
        return members
            .iter()
            .enumerate()
            .any(|(i, (name, _))| members[..i].iter().any(|(earlier, _)| earlier == name));
    }
    let mut seen = HashSet::with_capacity(members.len());
    !members.iter().all(|(name, _)| seen.insert(&**name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(members: usize, last: &str) -> String {
        let members: Vec<String> = (0..members).map(|i| format!("\"m{i}\":0")).collect();
        format!("{{{},{last}:0}}", members.join(","))
    }

    #[test]
    fn one_value_and_nothing_behind_it() {
        assert_eq!(Json::parse(b" null\r\n").unwrap(), Json::Null);
        for text in
            ["", " ", "null null", "{}x", "{},", "[1,]", "\u{feff}{}", "{\"a\":1,}", "'a'", "01", "NaN", "1e400"]
        {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
        }
        for text in [&b"\"\xff\""[..], b"{\"\xc0\x80\":1}", b"\"\\ud800\"", b"\"\\udc00\\ud800\"", b"{\"\\ud800\":1}"] {
            assert!(Json::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sixteen_levels_and_no_more() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |depth| format!("{}0{}", open.repeat(depth), close.repeat(depth));
            assert!(Json::parse(nested(16).as_bytes()).is_ok());
            assert!(Json::parse(nested(17).as_bytes()).is_err());
            assert!(Json::parse(open.repeat(1_000_000).as_bytes()).is_err());
        }
    }

    #[test]
    fn a_name_twice_is_refused_however_it_is_spelt() {
        assert!(Json::parse(br#"{"a":1,"b":{"a":1},"A":[{"a":1},{"a":1}]}"#).is_ok());
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"b":{"x":1,"x":1}}]"#, r#"{"":1,"":2}"#] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
        }
        for members in [FEW_MEMBERS - 1, FEW_MEMBERS, FEW_MEMBERS + 1, 500] {
            assert!(Json::parse(object(members, "\"other\"").as_bytes()).is_ok());
            assert!(Json::parse(object(members, "\"m0\"").as_bytes()).is_err(), "{members}");
        }
    }

    #[test]
    fn integers_are_exact_and_scalars_have_a_text() {
        let text = |json: &str| Json::parse(json.as_bytes()).unwrap().scalar_text().map(Cow::into_owned);
        for exact in ["0", "18446744073709551615", "-9223372036854775808", "9007199254740993", "1.5", "true", "false"] {
            assert_eq!(text(exact).as_deref(), Some(exact));
        }
        assert_eq!(text("\"a b\"").as_deref(), Some("a b"));
        for none in ["null", "[]", "[\"a\"]", "{}"] {
            assert_eq!(text(none), None);
        }
    }

    #[test]
    fn compact_json_reads_as_the_same() {
        for text in [
            r#"{"b":[1,-0.5,[],{}],"a":{"":null,"x":[true,false]},"é\"\\\n\u0000":"\u0001"}"#,
            "[[[18446744073709551615]]]",
            r#""""#,
        ] {
            assert_eq!(Json::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        let json = Json::parse(br#" [ 1 , {"\u0061" : 1e2 } ] "#).unwrap();
        assert_eq!(json.to_string(), r#"[1,{"a":100.0}]"#);
    }

    #[test]
    fn elements_have_texts() {
        let texts = |json: &str| Json::parse(json.as_bytes()).unwrap().texts().map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(
            texts(r#"["a,b",1,true,null,["c", 2],{"d":"e"},""]"#),
            ["a,b", "1", "true", r#"["c",2]"#, r#"{"d":"e"}"#, ""]
        );
        assert_eq!(texts(r#"{"a": [1, null]}"#), [r#"{"a":[1,null]}"#]);
        assert_eq!(texts(r#""a b""#), ["a b"]);
        assert_eq!(texts("null").len() + texts("[]").len() + texts("[null]").len(), 0);
    }

    #[test]
    fn strings_and_words() {
        let words = |json: &str| Json::parse(json.as_bytes()).unwrap().words().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words("\" a  b:c \""), ["a", "b:c"]);
        assert_eq!(words("[\"a b\",\"c\",7,\"\",[\"d\"]]"), ["a b", "c"]);
        assert_eq!(words("\"\"").len() + words("7").len() + words("{\"a\":\"b\"}").len() + words("null").len(), 0);
        let strings = Json::parse(b"\"two words\"").unwrap();
        assert_eq!(strings.strings().collect::<Vec<_>>(), ["two words"]);
    }
}
