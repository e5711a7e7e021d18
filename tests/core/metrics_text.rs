//! Reads OpenMetrics text by the rules of its specification (OpenMetrics 1.0, "ABNF" and "Overall Structure"), and
//! panics where they are broken.

use std::collections::HashSet;

#[derive(Debug)]
pub(crate) struct Exposition {
    /// Name, type, unit and help.
    pub(crate) families: Vec<(String, String, Option<String>, String)>,
    /// Name with labels as written, and value.
    pub(crate) samples: Vec<(String, String)>,
}

impl Exposition {
    pub(crate) fn get(&self, sample: &str) -> Option<&str> {
        self.samples.iter().find(|(known, _)| known == sample).map(|(_, value)| value.as_str())
    }
}

pub(crate) fn parse(text: &str) -> Exposition {
    let body = text.strip_suffix("# EOF\n").expect("ends with EOF");
    let mut exposition = Exposition { families: Vec::new(), samples: Vec::new() };
    let mut seen = HashSet::new();
    let mut last_bucket: Option<(f64, u128)> = None;
    for line in body.split_terminator('\n') {
        if let Some(metadata) = line.strip_prefix("# ") {
            let mut words = metadata.splitn(3, ' ');
            let [keyword, name, rest] = [(); 3].map(|()| words.next().expect(line));
            if keyword == "TYPE" {
                assert!(seen.insert(name.to_owned()), "{line}: a second time");
                exposition.families.push((name.to_owned(), rest.to_owned(), None, String::new()));
                last_bucket = None;
                continue;
            }
            let family = exposition.families.last_mut().expect("TYPE comes first");
            assert_eq!(name, family.0, "{line}");
            match keyword {
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{rest}")), "{line}");
                    assert!(family.2.replace(rest.to_owned()).is_none(), "{line}");
                }
                "HELP" => family.3 = rest.to_owned(),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect(line);
        let (base, kind, ..) = exposition.families.last().expect("TYPE comes first");
        let (name, labels) = sample
            .split_once('{')
            .map_or((sample, Vec::new()), |(name, labels)| (name, parse_labels(labels.strip_suffix('}').expect(line))));
        let suffix = name.strip_prefix(base.as_str()).expect("a sample of the family");
        match (kind.as_str(), suffix) {
            ("counter", "_total") | ("histogram", "_count") => {
                let count: u128 = value.parse().expect(line);
                assert!(last_bucket.is_none_or(|(le, all)| le.is_infinite() && all == count), "{line}");
            }
            ("info", "_info") => assert_eq!(value, "1", "{line}"),
            ("gauge", "") | ("histogram", "_sum") => assert!(value.parse::<f64>().expect(line) >= 0.0),
            ("histogram", "_bucket") => {
                let [(label, le)] = &labels[..] else { panic!("{line}") };
                assert_eq!(label, "le");
                let (le, count): (f64, u128) = (le.parse().expect(line), value.parse().expect(line));
                assert!(last_bucket.is_none_or(|(last, all)| last < le && all <= count), "{line}");
                last_bucket = Some((le, count));
            }
            _ => panic!("{line}: not a sample of a {kind}"),
        }
        assert!(seen.insert(sample.to_owned()), "{line}: a second time");
        exposition.samples.push((sample.to_owned(), value.to_owned()));
    }
    exposition
}

/// `name="escaped",…`
fn parse_labels(mut text: &str) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    loop {
        let (name, rest) = text.split_once("=\"").expect("a label");
        assert!(name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'), "{name}");
        assert!(labels.iter().all(|(known, _)| known != name), "{name} twice");
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().expect("a closing quote") {
                (at, '"') => break at + 1,
                (_, '\\') => match characters.next().expect("something escaped").1 {
                    'n' => value.push('\n'),
                    other @ ('"' | '\\') => value.push(other),
                    other => panic!("\\{other}"),
                },
                (_, other) => value.push(other),
            }
        };
        assert!(!value.is_empty(), "an empty label is none");
        labels.push((name.to_owned(), value));
        match rest[end..].strip_prefix(',') {
            Some(next) => text = next,
            None => {
                assert_eq!(&rest[end..], "");
                return labels;
            }
        }
    }
}
