//! Text files that list networks.

use super::address::Cidr;

/// Largest file read, in bytes.
pub const MAX_FILE_BYTES: usize = 32 << 20;

/// Most networks in one file.
pub const MAX_NETWORKS: usize = 1_000_000;

/// Reads a list of networks: one a line, `#` begins a comment, blanks around are ignored, lines end
/// with LF or CRLF. A UTF-8 byte order mark at the beginning is skipped: some editors write one, and it
/// says nothing.
///
/// # Errors
/// The first line that is not a network, with its number and the reason; a file without any network;
/// one above [`MAX_FILE_BYTES`] or [`MAX_NETWORKS`]. The error is a sentence for an administrator.
pub fn read(bytes: &[u8]) -> Result<Vec<Cidr>, String> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(format!(
            "{} bytes are more than the {MAX_FILE_BYTES} that a list of networks may have",
            bytes.len()
        ));
    }
    let mut networks = Vec::new();
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, number) in text.split(|b| *b == b'\n').zip(1..) {
        let Some(network) = parse_line(line).map_err(|reason| format!("line {number}: {reason}"))? else { continue };
        if networks.len() == MAX_NETWORKS {
            return Err(format!("line {number}: more than {MAX_NETWORKS} networks"));
        }
        networks.push(network);
    }
    if networks.is_empty() { Err("the list holds no network".to_owned()) } else { Ok(networks) }
}

/// The network on a line, if there is one.
fn parse_line(line: &[u8]) -> Result<Option<Cidr>, String> {
    let entry = line.split(|b| *b == b'#').next().unwrap_or_default().trim_ascii();
    if entry.is_empty() {
        return Ok(None);
    }
    let entry = str::from_utf8(entry).map_err(|_| "not text in UTF-8".to_owned())?;
    if entry.contains([' ', '\t']) {
        return Err("more than one word: write one network a line, and a comment after #".to_owned());
    }
    entry.parse().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_line_by_line() {
        let list = b"\xef\xbb\xbf# office\r\n10.0.0.0/8\r\n\n\t 192.0.2.1 # caf\xe9, not UTF-8\n2001:db8::/32#x\n::ffff:198.51.100.0/120";
        let networks: Vec<_> = read(list).unwrap().iter().map(Cidr::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "198.51.100.0/24"]);
        assert_eq!(read(b"10.0.0.0/8").unwrap().len(), 1, "a final line break may be missing");
    }

    #[test]
    fn an_error_names_line_and_reason() {
        for (list, line, reason) in [
            (&b"10.0.0.0/8\n10.1.2.3/8\n"[..], "line 2: ", "write 10.0.0.0/8 or 10.1.2.3"),
            (b"\n\n10.0.0.0/33", "line 3: ", "prefix length"),
            (b"10.0.0.0/8\r10.0.0.0/8", "line 1: ", "prefix length"),
            (b"10.0.0.0 /8", "line 1: ", "one network a line"),
            (b"10.0.0.0/8 11.0.0.0/8", "line 1: ", "one network a line"),
            (b"10.0.0.0/8,11.0.0.0/8", "line 1: ", "prefix length"),
            (b"10.0.0.0/8;", "line 1: ", "prefix length"),
            (b"10.0.0.0/8\n\xef\xbb\xbf10.0.0.0/8", "line 2: ", "not an address"),
            (b"\xff\xfe1\x000\x00", "line 1: ", "UTF-8"),
            (b"<html>", "line 1: ", "not an address"),
        ] {
            let error = read(list).expect_err(&String::from_utf8_lossy(list));
            assert!(error.starts_with(line) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_list_without_network_is_an_error() {
        for list in [&b""[..], b"\n", b"\r\n\r\n", b"# nothing\n", b"\xef\xbb\xbf", b" \t"] {
            assert_eq!(read(list), Err("the list holds no network".to_owned()));
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let longer = "::\n".repeat(MAX_NETWORKS + 1);
        assert_eq!(read(longer.as_bytes()), Err("line 1000001: more than 1000000 networks".to_owned()));

        let mut padded = vec![b'\n'; MAX_FILE_BYTES];
        padded[..2].copy_from_slice(b"::");
        assert_eq!(read(&padded).map(|n| n.len()), Ok(1));
        padded.push(b'\n');
        assert!(read(&padded).unwrap_err().contains("bytes"));
    }
}
