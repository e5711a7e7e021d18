//! W3C Trace Context: the field `traceparent`, by which one request is followed through all that takes part in it
//! (<https://www.w3.org/TR/trace-context-1/>; level 2 reads the same).

use std::fmt;

use crate::facts::Found;

/// Where in a trace a request is (section 3.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Traceparent {
    /// Not all zeros.
    trace_id: [u8; 16],
    /// Not all zeros.
    parent_id: [u8; 8],
    flags: u8,
}

/// Length of version 00, and of what later versions begin with.
const LENGTH: usize = 55;

/// The one flag that level 1 knows.
const SAMPLED: u8 = 1;

impl Traceparent {
    /// Reads the value of the field. Of a version that is not known yet, the part is read that begins like version 00,
    /// and of its flags the one that version 00 knows (section 3.2.4). `None` for whatever must be ignored: version ff,
    /// ids of zeros, upper-case digits.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let (known, rest) = field.split_first_chunk::<LENGTH>()?;
        let [version] = hex(&known[..2])?;
        let may_be = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        if !may_be || [known[2], known[35], known[52]] != [b'-'; 3] {
            return None;
        }
        let [flags] = hex(&known[53..])?;
        let flags = if version == 0 { flags } else { flags & SAMPLED };
        let parsed = Self { trace_id: hex(&known[3..35])?, parent_id: hex(&known[36..52])?, flags };
        (parsed.trace_id != [0; 16] && parsed.parent_id != [0; 8]).then_some(parsed)
    }

    /// Begins a trace, out of random bytes.
    ///
    /// It is marked as sampled, that is "may have been recorded" (section 3.2.2.5): the decision log has a line with
    /// it, and an application that records what its caller does, as tracing libraries do unless told otherwise, would
    /// else record nothing. The flag of level 2 for random ids stays 0, since readers of level 1 may refuse it.
    pub fn begin(random: [u8; 24]) -> Self {
        let (mut trace_id, mut parent_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&random[..16]);
        parent_id.copy_from_slice(&random[16..]);
        // Zeros are no ids.
        if trace_id == [0; 16] {
            trace_id[15] = 1;
        }
        if parent_id == [0; 8] {
            parent_id[7] = 1;
        }
        Self { trace_id, parent_id, flags: SAMPLED }
    }
}

/// As version 00 writes it: 55 characters.
impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, parent_id) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.parent_id));
        write!(f, "00-{trace_id:032x}-{parent_id:016x}-{:02x}", self.flags)
    }
}

/// What becomes of a request's trace, where `JwtGateTrace` is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trace {
    /// The client's field is good: it goes on, and so does `tracestate`. One of a later version goes on in the form of
    /// version 00 (section 3.2.4).
    Kept(Traceparent),
    /// The request has none, more than one, or one that must be ignored. It gets this one, and loses its `tracestate`,
    /// which says nothing of a new trace (section 4.3).
    Begun(Traceparent),
}

impl Trace {
    /// Goes on with the trace in `field`, or begins one.
    pub fn of(field: Found<'_>, random: impl FnOnce() -> [u8; 24]) -> Self {
        match field {
            Found::One(field) => Traceparent::parse(field),
            Found::None | Found::Many => None,
        }
        .map_or_else(|| Self::Begun(Traceparent::begin(random())), Self::Kept)
    }

    /// The trace.
    pub const fn parent(self) -> Traceparent {
        match self {
            Self::Kept(parent) | Self::Begun(parent) => parent,
        }
    }
}

/// Lower-case hexadecimal digits, two for each byte, and nothing else.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn parse(field: &str) -> Option<String> {
        Traceparent::parse(field.as_bytes()).map(|parsed| parsed.to_string())
    }

    /// Section 3.2.2 and the vectors of the W3C's own tests (w3c/trace-context, test/test.py).
    #[test]
    fn fields_that_count() {
        for (field, expected) in [
            // Section 3.2.2.5, examples.
            (format!("00-{TRACE}-{PARENT}-01"), format!("00-{TRACE}-{PARENT}-01")),
            (format!("00-{TRACE}-{PARENT}-00"), format!("00-{TRACE}-{PARENT}-00")),
            // Flags that are not known are no mistake.
            (format!("00-{TRACE}-{PARENT}-03"), format!("00-{TRACE}-{PARENT}-03")),
            (format!("00-{TRACE}-{PARENT}-ff"), format!("00-{TRACE}-{PARENT}-ff")),
            // Versions to come: test_traceparent_version_0xcc.
            (
                "cc-12345678901234567890123456789012-1234567890123456-01".into(),
                "00-12345678901234567890123456789012-1234567890123456-01".into(),
            ),
            (
                "cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like".into(),
                "00-12345678901234567890123456789012-1234567890123456-01".into(),
            ),
            (format!("fe-{TRACE}-{PARENT}-01-"), format!("00-{TRACE}-{PARENT}-01")),
            // Their other flags may mean anything.
            (format!("01-{TRACE}-{PARENT}-ff-more"), format!("00-{TRACE}-{PARENT}-01")),
            (format!("01-{TRACE}-{PARENT}-fe"), format!("00-{TRACE}-{PARENT}-00")),
            (
                "01-00000000000000000000000000000001-0000000000000001-00".into(),
                "00-00000000000000000000000000000001-0000000000000001-00".into(),
            ),
        ] {
            assert_eq!(parse(&field), Some(expected), "{field}");
        }
    }

    /// The same sources: what must be ignored.
    #[test]
    fn fields_that_are_ignored() {
        for field in [
            "",
            "00",
            "00-",
            // test_traceparent_header_name and its kind: another separator.
            "00_12345678901234567890123456789012_1234567890123456_01",
            "00-12345678901234567890123456789012_1234567890123456-01",
            "00-12345678901234567890123456789012-1234567890123456_01",
            // test_traceparent_version_0x00: nothing may follow.
            "00-12345678901234567890123456789012-1234567890123456-01.",
            "00-12345678901234567890123456789012-1234567890123456-01-",
            "00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
            // test_traceparent_version_0xcc: what follows begins with a dash.
            "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-not-be-like",
            // test_traceparent_version_0xff
            "ff-12345678901234567890123456789012-1234567890123456-01",
            // test_traceparent_version_illegal_characters
            ".0-12345678901234567890123456789012-1234567890123456-01",
            "0.-12345678901234567890123456789012-1234567890123456-01",
            // test_traceparent_version_too_long, too_short
            "000-12345678901234567890123456789012-1234567890123456-01",
            "0000-12345678901234567890123456789012-1234567890123456-01",
            "0-12345678901234567890123456789012-1234567890123456-01",
            // test_traceparent_trace_id_all_zero, illegal_characters, too_long, too_short
            "00-00000000000000000000000000000000-1234567890123456-01",
            "00-.2345678901234567890123456789012-1234567890123456-01",
            "00-1234567890123456789012345678901.-1234567890123456-01",
            "00-123456789012345678901234567890123-1234567890123456-01",
            "00-1234567890123456789012345678901-1234567890123456-01",
            // test_traceparent_parent_id_all_zero, illegal_characters, too_long, too_short
            "00-12345678901234567890123456789012-0000000000000000-01",
            "00-12345678901234567890123456789012-.234567890123456-01",
            "00-12345678901234567890123456789012-123456789012345.-01",
            "00-12345678901234567890123456789012-12345678901234567-01",
            "00-12345678901234567890123456789012-123456789012345-01",
            // test_traceparent_trace_flags_illegal_characters, too_long, too_short
            "00-12345678901234567890123456789012-1234567890123456-.0",
            "00-12345678901234567890123456789012-1234567890123456-0.",
            "00-12345678901234567890123456789012-1234567890123456-001",
            "00-12345678901234567890123456789012-1234567890123456-1",
            // Section 3.2.2.3 to 5: digits are lower-case.
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
            "CC-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            // httpd has taken blanks away; two fields that somebody joined.
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01,\
             00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(field), None, "{field}");
        }
        assert_eq!(Traceparent::parse(&[0xff; 55]), None);
    }

    #[test]
    fn a_trace_begins_with_random_ids() {
        let random = std::array::from_fn(|index| u8::try_from(index).unwrap() + 0x10);
        assert_eq!(Traceparent::begin(random).to_string(), "00-101112131415161718191a1b1c1d1e1f-2021222324252627-01");
        let zeros = Traceparent::begin([0; 24]);
        assert_eq!(Traceparent::parse(zeros.to_string().as_bytes()), Some(zeros));
    }

    #[test]
    fn one_good_field_is_kept_and_nothing_else() {
        let begun = Traceparent::begin([7; 24]);
        let of = |field| Trace::of(field, || [7; 24]);
        let field = format!("cc-{TRACE}-{PARENT}-01-more");
        let kept = Traceparent::parse(field.as_bytes()).unwrap();
        assert_eq!(of(Found::One(field.as_bytes())), Trace::Kept(kept));
        for field in [Found::None, Found::Many, Found::One(b""), Found::One(b"00-x")] {
            assert_eq!(of(field), Trace::Begun(begun), "{field:?}");
        }
        assert_eq!((Trace::Kept(kept).parent(), Trace::Begun(begun).parent()), (kept, begun));
    }
}
