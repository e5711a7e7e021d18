//! What an administrator does about a refusal: the table "Answers" of the README, so that there is one wording of it.

use jwt_gate_core::verdict::Reason;

const README: &str = include_str!("../../README.md");

/// The reason of this word.
pub(crate) fn reason(word: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.word() == word)
}

/// The last column of the reason's row.
pub(crate) fn advice(reason: Reason) -> String {
    let row = format!("| `{}` |", reason.word());
    let row = README.lines().find_map(|line| line.strip_prefix(&row)?.strip_suffix('|'));
    row.and_then(|row| row.split_once('|')).map_or_else(String::new, |(_, text)| without_links(text.trim()))
}

/// `[text](target)` as `text`, with the page that it leads to.
fn without_links(text: &str) -> String {
    let mut parts = text.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("](").and_then(|(name, rest)| Some((name, rest.split_once(')')?))) {
            Some((name, (target, rest))) => {
                let page = target.split('#').next().filter(|page| !page.is_empty()).unwrap_or("the README");
                plain.extend([name, " in ", page, rest]);
            }
            None => plain.extend(["[", part]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one() {
        for known in Reason::ALL {
            let text = advice(known);
            assert!(
                text.ends_with(['.', '?']) && text.len() > 20 && !text.contains("]("),
                "{}: {text:?}",
                known.word()
            );
            assert_eq!(reason(known.word()), Some(known));
        }
        assert_eq!(reason("token"), None);
    }

    #[test]
    fn links_are_named() {
        assert_eq!(without_links("a [b](#c), [d](pages/e.md#f)."), "a b in the README, d in pages/e.md.");
        assert_eq!(without_links("[a] b](c"), "[a] b](c");
    }
}
