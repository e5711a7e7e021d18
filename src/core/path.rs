//! Paths that an application may read in another way than httpd.

/// Whether some application could take a segment of `path` for `..`, and so climb out of what a section of the
/// configuration selected. httpd resolves `..` itself (RFC 3986 section 5.2.4), so a path that is about to be forwarded
/// holds none, unless it is hidden: encoded once more (`%252e%252e`) or as `%u002e`, behind an encoded slash or a
/// backslash, with parameters (`..;`), as an overlong sequence of UTF-8, or in what `nocanon` forwards as the client
/// wrote it.
pub fn climbs(path: &[u8]) -> bool {
    // Nearly all paths. Without an early end, so that the compiler takes many bytes at once.
    let is_plain = |byte: &u8| (0x21..0x7f).contains(byte) && *byte != b'%';
    let plain = path.iter().fold(true, |plain, byte| plain & is_plain(byte));
    if plain && !path.iter().zip(path.iter().skip(1)).fold(false, |found, pair| found | (pair == (&b'.', &b'.'))) {
        return false;
    }
    let bare = decoded(path);
    bare.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let end = segment.iter().position(|byte| matches!(byte, 0 | b';' | b'?' | b'#')).unwrap_or(segment.len());
        &segment[..end] == b".."
    })
}

/// Decoded until nothing is left to decode, without blanks and control characters, which some drop (but for NUL, at
/// which some end). In one pass: what a decoded byte completes is decoded on the spot.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path.iter().copied() {
        text.push(byte);
        while let Some((length, byte)) = escape(&text) {
            text.truncate(text.len() - length);
            text.push(byte);
        }
        text.pop_if(|byte| matches!(*byte, 1..=b' ' | 0x7f));
    }
    text
}

/// The escape that `text` ends with: its length, and the byte that it stands for.
fn escape(text: &[u8]) -> Option<(usize, u8)> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match *text {
        // An ASCII character in more than one byte, which RFC 3629 section 3 forbids; up to six by RFC 2279 section 2.
        [.., high @ 0xc0..=0xc1, low @ 0x80..=0xbf] => Some((2, high << 6 | low & 0x3f)),
        [.., 0xe0, high @ 0x80..=0x81, low @ 0x80..=0xbf] => Some((3, high << 6 | low & 0x3f)),
        [.., 0xf0, 0x80, high @ 0x80..=0x81, low @ 0x80..=0xbf] => Some((4, high << 6 | low & 0x3f)),
        [.., 0xf8, 0x80, 0x80, high @ 0x80..=0x81, low @ 0x80..=0xbf] => Some((5, high << 6 | low & 0x3f)),
        [.., 0xfc, 0x80, 0x80, 0x80, high @ 0x80..=0x81, low @ 0x80..=0xbf] => Some((6, high << 6 | low & 0x3f)),
        [.., b'%', high, low] => Some((3, digit(high)? << 4 | digit(low)?)),
        // As JavaScript's `escape` writes it, which is no URL, and which IIS and some versions of Jetty decode.
        [.., b'%', b'u' | b'U', b'0', b'0', high, low] => Some((6, digit(high)? << 4 | digit(low)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_climbs_in_some_reading() {
        for path in [
            "..",
            "/..",
            "/../",
            "/x/..",
            "/x/../y",
            "/x/%2e%2E/y",
            "/x/.%2e/y",
            "/x/%252e%252e/y",
            "/x/%25252525252e./y",
            "/x/%%32e./y",
            "/x/%2%65./y",
            "/x%2f..%2fy",
            "/x%252f../y",
            "/x\\..\\y",
            "/x%5c..%5Cy",
            "/x/..;/y",
            "/x/..;a=b/y",
            "/x/..%3b/y",
            "/x/..%253b/y",
            "/x/..%3f/y",
            "/x/..%23/y",
            "/x/..#",
            "/x/.. /y",
            "/x/..%20/y",
            "/x/.%09./y",
            "/x/..%00/y",
            "/x/..%2500z/y",
            "/x/%0a../y",
            "/x/%c0%ae%c0%ae/y",
            "/x/%e0%80%ae./y",
            "/x%c0%af..%c1%9cy",
            "/x/%25%c0%b2e./y",
            "/x/%f0%80%80%ae./y",
            "/x/%f8%80%80%80%ae./y",
            "/x/%fc%80%80%80%81%9c../y",
            "/x/%u002e%U002E/y",
            "/x/%25u002e./y",
            "/x%u002f..%u005cy",
        ] {
            assert!(climbs(path.as_bytes()), "{path}");
        }
        assert!(climbs(b"/x/\xc0\xae./y"));
    }

    #[test]
    fn what_stays_where_it_is() {
        for path in [
            "",
            "/",
            "/x/./y",
            "/x//y",
            "/x/...",
            "/x/..y",
            "/x..",
            "/v1..v2",
            "/compare/main...branch",
            "/x;../y",
            "/x;a=../y",
            "/x%2e%2ey",
            "/100%25",
            "/%",
            "/%2",
            "/%zz..",
            "/x%20y",
            "/a%2fb",
            "/a%3b..",
            "/\u{e9}..",
            "/%c3%a9",
            "/%e2%82%ac..",
            "/%f0%9f%98%80..",
            "/x/%u012e./y",
            "/x/%u002",
            "/u002e./y",
        ] {
            assert!(!climbs(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_long_path_takes_one_pass() {
        assert!(climbs(format!("/x/%{}2e./y", "25".repeat(100_000)).as_bytes()));
    }
}
