//! `jwt-gate apikey revoke`

use crate::folder::{Folder, file};

#[test]
fn a_revoked_key_is_found_no_more_and_the_others_are() {
    let folder = Folder::new();
    let keys = ["a", "b", "c"].map(|id| folder.make(id, &["--plan", "gold"]));
    let revoked = folder.run("revoke", &["--id", "b"]);
    assert_eq!((revoked.code, revoked.out.as_str()), (Some(0), ""), "{revoked:?}");
    assert!(revoked.err.contains("`b` was removed"), "{revoked:?}");
    assert!(revoked.err.contains("if its user can read the file, else at `apachectl graceful`"), "{revoked:?}");
    let found = keys.map(|key| folder.list().find(key.as_bytes()).map(|key| key.id().to_owned()));
    assert_eq!(found, [Some("a".to_owned()), None, Some("c".to_owned())]);
    assert_eq!(folder.names(), [".keys.json.lock", "keys.json"]);

    folder.run("revoke", &["--id", "b"]).refused(1, "has no key \"b\"");
    for id in ["a", "c"] {
        assert_eq!(folder.run("revoke", &["--id", id]).code, Some(0));
    }
    assert_eq!(folder.text(), "{\"keys\":[\n]}\n");
    folder.make("b", &[]);
}

#[test]
fn an_id_is_meant_as_it_stands() {
    let folder = Folder::with(file(&[("a", ""), ("ab", "")]).replace("\"ab\"", "\"\\u0061b\""));
    let before = folder.text();
    for id in ["", "A", "a ", "*", "b", "\\u0061b", "a\n"] {
        folder.run("revoke", &["--id", id]).refused(1, "has no key");
        assert_eq!(folder.text(), before);
    }
    assert_eq!(folder.run("revoke", &["--id", "ab"]).code, Some(0));
    assert!(folder.text().contains("\"a\"") && !folder.text().contains("\\u0061"));
}

#[test]
fn there_has_to_be_a_file() {
    let folder = Folder::new();
    folder.run("revoke", &["--id", "a"]).refused(2, "does not exist");
    assert!(!folder.file().exists());
}
