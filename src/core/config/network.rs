//! `JwtGateNetwork NAME …`: a named set of addresses.

use crate::config::parse;
use crate::net::address::Cidr;

/// What a directive said.
#[derive(Clone, Debug)]
pub struct NetworkDef {
    /// Its name; used as `@NAME`.
    pub name: String,
    /// Where the addresses are.
    pub source: NetworkSource,
}

/// Where the addresses of a network are written.
#[derive(Clone, Debug)]
pub enum NetworkSource {
    /// In the directive.
    Inline(Vec<Cidr>),
    /// In a file, one CIDR a line.
    File(String),
}

/// Parses the arguments.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<NetworkDef, String> {
    let Some((name, rest)) = words.split_first() else {
        return Err("needs a name and addresses: write `JwtGateNetwork office 192.0.2.0/24`".to_owned());
    };
    let name = parse::name("a network", name)?;
    if rest.is_empty() {
        return Err(format!("`{name}` has no addresses: write CIDRs or `file=PATH` behind the name"));
    }
    let source = if rest.iter().any(|word| word.contains('=')) { file(rest)? } else { inline(rest)? };
    Ok(NetworkDef { name, source })
}

fn inline(words: &[&str]) -> Result<NetworkSource, String> {
    let cidrs: Result<Vec<Cidr>, String> =
        words.iter().map(|word| word.parse().map_err(|why| format!("`{word}`: {why}"))).collect();
    Ok(NetworkSource::Inline(cidrs?))
}

fn file(words: &[&str]) -> Result<NetworkSource, String> {
    let (mut path, mut format) = (None, None);
    for word in words {
        let (key, value) = parse::option(word)?;
        match key {
            "file" => parse::set_once(&mut path, key, value.to_owned())?,
            "format" => parse::set_once(&mut format, key, parse::one_of(value, &[("cidr", ())])?)?,
            _ => return Err(format!("`{key}=` is not an option: use `file=PATH` and `format=cidr`")),
        }
    }
    path.map(NetworkSource::File).ok_or_else(|| "has options but no `file=PATH`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert!(matches!(parse(&["a", "10.0.0.0/8", "::1"]).unwrap().source, NetworkSource::Inline(c) if c.len() == 2));
        assert!(matches!(parse(&["a", "file=x"]).unwrap().source, NetworkSource::File(p) if p == "x"));
        assert!(parse(&["a", "file=x", "format=cidr"]).is_ok());
        for wrong in [
            &["a"][..],
            &[],
            &["a b", "::1"],
            &["a", "10.0.0.1/8"],
            &["a", "file="],
            &["a", "file=x", "::1"],
            &["a", "format=cidr"],
            &["a", "file=x", "format=xml"],
            &["a", "file=x", "file=y"],
            &["a", "shrink=x"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
