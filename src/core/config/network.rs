//! `JwtGateNetwork NAME …`: a named set of addresses.

use crate::config::parse;
use crate::net::address::Cidr;
use crate::net::aws_file::Filter;
use crate::net::list::Format;

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
    /// In a file.
    File(NetworkFile),
}

/// A file of networks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkFile {
    /// As it is written.
    pub path: String,
    /// How it is read.
    pub format: Format,
    /// Whether a new version may have fewer than half as many networks as the one before.
    pub may_shrink: bool,
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
    let source = if rest.iter().any(|word| word.contains('=')) {
        NetworkSource::File(file(rest)?)
    } else {
        NetworkSource::Inline(inline(rest)?)
    };
    Ok(NetworkDef { name, source })
}

fn inline(words: &[&str]) -> Result<Vec<Cidr>, String> {
    words.iter().map(|word| word.parse().map_err(|why| format!("`{word}`: {why}"))).collect()
}

fn file(words: &[&str]) -> Result<NetworkFile, String> {
    let (mut path, mut is_aws, mut services, mut regions, mut shrink) = (None, None, None, None, None);
    for word in words {
        let (key, value) = parse::option(word)?;
        match key {
            "file" => parse::set_once(&mut path, key, value.to_owned())?,
            "format" => parse::set_once(&mut is_aws, key, parse::one_of(value, &[("cidr", false), ("aws", true)])?)?,
            "service" => parse::set_once(&mut services, key, parse::list(value)?)?,
            "region" => parse::set_once(&mut regions, key, parse::list(value)?)?,
            "shrink" => parse::set_once(&mut shrink, key, parse::one_of(value, &[("allow", ())])?)?,
            _ => {
                return Err(format!(
                    "`{key}=` is not an option: use `file=PATH`, `format=cidr` or `format=aws`, `service=S,...`, \
                     `region=R,...` and `shrink=allow`"
                ));
            }
        }
    }
    let path = path.ok_or("has options but no `file=PATH`")?;
    let format = match (is_aws.unwrap_or(false), &services, &regions) {
        (true, ..) => {
            Format::Aws(Filter { services: services.unwrap_or_default(), regions: regions.unwrap_or_default() })
        }
        (false, None, None) => Format::Cidr,
        (false, Some(_), _) => return Err(no_such_names("service")),
        (false, None, Some(_)) => return Err(no_such_names("region")),
    };
    Ok(NetworkFile { path, format, may_shrink: shrink.is_some() })
}

fn no_such_names(option: &str) -> String {
    format!(
        "`{option}=` chooses from a file of AWS, and a list of networks has no names: write `format=aws`, or leave it out"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(words: &[&str]) -> NetworkFile {
        match parse(words).unwrap().source {
            NetworkSource::File(file) => file,
            NetworkSource::Inline(_) => panic!("{words:?} is no file"),
        }
    }

    #[test]
    fn forms() {
        assert!(matches!(parse(&["a", "10.0.0.0/8", "::1"]).unwrap().source, NetworkSource::Inline(c) if c.len() == 2));
        let plain = NetworkFile { path: "x".to_owned(), format: Format::Cidr, may_shrink: false };
        assert_eq!(file_of(&["a", "file=x"]), plain);
        assert_eq!(file_of(&["a", "format=cidr", "file=x"]), plain);
        assert!(file_of(&["a", "file=x", "shrink=allow"]).may_shrink);
        let aws = file_of(&["a", "file=x", "format=AWS", "region=eu-central-1", "service=S3,EC2", "shrink=allow"]);
        assert_eq!(aws.format.to_string(), "format=aws service=S3,EC2 region=eu-central-1");
        assert_eq!(file_of(&["a", "file=x", "format=aws"]).format, Format::Aws(Filter::default()));
    }

    #[test]
    fn mistakes() {
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
            &["a", "file=x", "shrink=deny"],
            &["a", "file=x", "format=aws", "service="],
            &["a", "file=x", "format=aws", "service=S3,S3"],
            &["a", "file=x", "format=aws", "service=S3", "service=EC2"],
            &["a", "format=aws", "service=S3"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        for option in ["service=S3", "region=eu-central-1"] {
            for format in [&["a", "file=x", option][..], &["a", "file=x", "format=cidr", option]] {
                let why = parse(format).unwrap_err();
                assert!(why.starts_with(&format!("`{}=`", option.split_once('=').unwrap().0)), "{why}");
                assert!(why.contains("write `format=aws`"), "{why}");
            }
        }
    }
}
