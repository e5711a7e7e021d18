//! `jwt-gate man`

use std::fs;

use crate::folder::{Folder, words};

#[test]
fn a_page_for_each_command() {
    let folder = Folder::new();
    let run = words(&["man", "--dir", folder.path().to_str().unwrap()]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (Some(0), "", ""));
    assert_eq!(
        folder.names(),
        [
            "jwt-gate-apikey-list.1",
            "jwt-gate-apikey-new.1",
            "jwt-gate-apikey-revoke.1",
            "jwt-gate-apikey.1",
            "jwt-gate-completions.1",
            "jwt-gate-explain.1",
            "jwt-gate-keys-show.1",
            "jwt-gate-keys.1",
            "jwt-gate-token-inspect.1",
            "jwt-gate-token.1",
            "jwt-gate.1",
        ]
    );
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("jwt-gate.1").contains(r"jwt\-gate\-explain(1)"));
    assert!(!page("jwt-gate.1").contains(r"jwt\-gate\-man"));
    let inspect = page("jwt-gate-token-inspect.1");
    for text in [
        r"\-\-leeway",
        "The token; `\\-`, or nothing",
        "is refused here",
        "EXIT STATUS",
        "Ends with 0",
        "EXAMPLES",
        "< token",
    ] {
        assert!(inspect.contains(text), "{text}: {inspect}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    let folder = Folder::new();
    let absent = folder.path().join("absent");
    words(&["man", "--dir", absent.to_str().unwrap()]).refused(2, "absent: No such file");
}
