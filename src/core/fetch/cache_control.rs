//! How long an answer stays good.

use std::time::Duration;

/// The `max-age` (RFC 9111 section 5.2.2.1) that the fields `Cache-Control` of an answer ask for; nothing if
/// they forbid to store or to reuse it. Of several the first counts, and if that is no number, none (section
/// 4.2.1); one too large for an integer is the largest (section 1.2.2).
pub fn max_age<'f>(fields: impl IntoIterator<Item = &'f [u8]>) -> Option<Duration> {
    let mut first = None;
    for directive in fields.into_iter().flat_map(directives) {
        let (name, value) = match directive.iter().position(|&b| b == b'=') {
            Some(at) => (&directive[..at], Some(&directive[at + 1..])),
            None => (directive, None),
        };
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"no-store" | b"no-cache" => return None,
            b"max-age" => first = first.or(Some(value.and_then(delta_seconds))),
            _ => {}
        }
    }
    first.flatten()
}

/// The directives of one field. A comma in a quoted string (RFC 9110 section 5.6.4) ends none.
fn directives(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    field.split(move |byte| {
        let literal = std::mem::take(&mut escaped);
        match byte {
            _ if literal => {}
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    })
}

/// RFC 9111 section 1.2.2, in quotes or not.
fn delta_seconds(value: &[u8]) -> Option<Duration> {
    let value = value.trim_ascii();
    let digits = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_max_age() {
        let seconds = |fields: &[&str]| max_age(fields.iter().map(|field| field.as_bytes())).map(|age| age.as_secs());
        for (fields, expected) in [
            (&["max-age=600"][..], Some(600)),
            (&["public, max-age=21600, must-revalidate, no-transform"], Some(21600)),
            (&["MAX-AGE=5"], Some(5)),
            (&[" max-age = 5 "], Some(5)),
            (&["max-age=\"7\""], Some(7)),
            (&["max-age=0"], Some(0)),
            (&["max-age=00009"], Some(9)),
            (&["max-age=99999999999999999999999"], Some(u64::MAX)),
            (&["max-age=1, max-age=2"], Some(1)),
            (&["public", "max-age=3"], Some(3)),
            (&["private=\"a, max-age=1\", max-age=2"], Some(2)),
            (&["x=\"\\\", max-age=1\", max-age=2"], Some(2)),
            (&["s-maxage=1,max-age=4"], Some(4)),
            (&["xmax-age=1"], None),
            (&["max-age"], None),
            (&["max-age="], None),
            (&["max-age=\"\""], None),
            (&["max-age=\"7"], None),
            (&["max-age=-1"], None),
            (&["max-age=+1"], None),
            (&["max-age=1.5"], None),
            (&["max-age=1s, max-age=2"], None),
            (&["max-age=600, no-store"], None),
            (&["No-Cache", "max-age=600"], None),
            (&["no-cache=\"set-cookie\", max-age=600"], None),
            (&["max-age=\u{664}"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(seconds(fields), expected, "{fields:?}");
        }
    }
}
