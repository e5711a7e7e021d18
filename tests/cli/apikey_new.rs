//! `jwt-gate apikey new`

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use jwt_gate_core::apikey::Refusal;
use jwt_gate_core::apikey::format::is_whole;
use jwt_gate_core::time::UnixMicros;

use crate::folder::{Folder, HASH, PROGRAM, file, run};

#[test]
fn the_key_that_is_printed_is_the_one_that_is_found() {
    let folder = Folder::new();
    let new = folder.run(
        "new",
        &[
            "--id",
            "partner-a",
            "--plan",
            "premium",
            "--scope",
            "read",
            "--scope",
            "write",
            "--network",
            "10.0.0.0/8",
            "--network",
            "@office",
            "--not-before",
            "2026-01-01T00:00:00Z",
            "--expires",
            "2999-01-01T00:00:00+01:00",
        ],
    );
    assert_eq!(new.code, Some(0), "{new:?}");
    let key = new.out.strip_suffix('\n').unwrap();
    assert!(is_whole(key) && !new.err.contains(key), "{new:?}");
    assert!(new.err.contains("shown only this once") && new.err.contains("is new"), "{new:?}");
    assert!(!folder.text().contains(&key[3..20]));

    let found = folder.list().find(key.as_bytes()).unwrap();
    assert_eq!((found.id(), found.plan(), found.scope()), ("partner-a", Some("premium"), "read write"));
    assert!(found.networks().eq(["10.0.0.0/8", "@office"]));
    let time = |text| UnixMicros::from_rfc3339(text).unwrap();
    assert_eq!(found.not_before(), time("2026-01-01T00:00:00Z"));
    assert_eq!(found.expires(), Some(time("2998-12-31T23:00:00Z")));
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(found.check(time("2026-06-01T00:00:00Z"), client, |_| false), Err(Refusal::WrongAddress));
}

#[test]
fn a_key_needs_no_more_than_an_id() {
    let folder = Folder::new();
    let key = folder.make("a", &[]);
    let list = folder.list();
    let found = list.find(key.as_bytes()).unwrap();
    assert_eq!((found.plan(), found.scope(), found.networks().count()), (None, "", 0));
    assert_eq!((found.not_before(), found.expires()), (UnixMicros(0), None));
}

#[test]
fn every_key_is_another() {
    let folder = Folder::new();
    let keys: HashSet<_> = (0..10).map(|n| folder.make(&format!("k{n}"), &[])).collect();
    assert_eq!((keys.len(), folder.list().len()), (10, 10));
    assert!(keys.iter().all(|key| folder.list().find(key.as_bytes()).is_some()));
    assert_eq!(folder.names(), [".keys.json.lock", "keys.json"]);
}

#[test]
fn an_id_is_taken_once() {
    let folder = Folder::with(file(&[("a", ""), ("b", "")]));
    let before = folder.text();
    folder.run("new", &["--id", "b"]).refused(1, "has a key `b` already");
    assert_eq!(folder.text(), before);
    folder.make("B", &[]);
}

#[test]
fn what_was_there_stays_as_it_is_written() {
    let spread = format!("{{\n\t\"plan\" : \"gold\",\n\t\"id\":\"\\u0061\", \"sha256\" :\"{HASH}\" }}");
    let folder =
        Folder::with(format!("\n{{ \"\\u006beys\" :[{spread} ,\r\n{}", &file(&[("b", "")])["{\"keys\":[".len()..]));
    folder.make("c", &[]);
    let text = folder.text();
    assert!(text.contains(&spread), "{text}");
    let place = |id: &str| text.find(id).unwrap();
    assert!(place("\"\\u0061\"") < place("\"b\"") && place("\"b\"") < place("\"c\""), "{text}");
    assert_eq!(folder.list().len(), 3);
    folder.run("new", &["--id", "a"]).refused(1, "already");
}

/// The server's group has to read the file, and nobody else.
#[test]
fn a_new_file_is_not_for_everybody() {
    let folder = Folder::new();
    folder.make("a", &[]);
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("keys.json"), mode(".keys.json.lock")), (0o640, 0o600));
    for kept in [0o600, 0o644, 0o440] {
        fs::set_permissions(folder.file(), Permissions::from_mode(kept)).unwrap();
        folder.make(&format!("mode-{kept:o}"), &[]);
        assert_eq!(mode("keys.json"), kept);
    }
}

/// Whoever can write the file, or put another in its place, can make keys.
#[test]
fn a_file_of_everybody_is_warned_about() {
    let folder = Folder::with(file(&[("a", "")]));
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let shown = folder.file().display().to_string();
    let said = |command: &str, id: &str| {
        let words: &[&str] = if command == "list" { &[] } else { &["--id", id] };
        let run = folder.run(command, words);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.err
    };
    mode(&folder.file(), 0o666);
    let by_file = format!("jwt-gate: {shown} can be written by everybody (mode 666): run `chmod o-w {shown}`\n");
    for (command, id) in [("new", "b"), ("list", ""), ("revoke", "b")] {
        assert!(said(command, id).ends_with(&by_file), "{command}");
    }
    mode(&folder.file(), 0o660);
    mode(folder.path(), 0o777);
    let above = folder.path().display();
    let by_folder = format!(
        "jwt-gate: {shown} can be replaced by everybody, because of the folder {above} (mode 777): run `chmod o-w {above}`\n"
    );
    assert!(said("new", "c").ends_with(&by_folder));
    assert_eq!(said("list", ""), by_folder);
    // There, each may replace what is their own.
    mode(folder.path(), 0o1777);
    assert_eq!(said("list", ""), "");
    // A link can be replaced, wherever it leads.
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    mode(&open, 0o777);
    symlink(folder.file(), open.join("link.json")).unwrap();
    let run = run(Command::new(PROGRAM).args(["apikey", "list", "--file"]).arg(open.join("link.json")));
    assert!(run.code == Some(0) && run.err.contains("link.json can be replaced by everybody"), "{run:?}");
}

/// Otherwise there would be a key that nobody knows.
#[test]
fn a_key_that_cannot_be_shown_is_not_added() {
    let folder = Folder::with(file(&[("a", "")]));
    let before = folder.text();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = folder.apikey("new", &["--id", "b"]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot be shown, and was not added"), "{said}");
    assert_eq!((folder.text(), folder.names()), (before, vec![".keys.json.lock".to_owned(), "keys.json".to_owned()]));
}

#[test]
fn a_path_may_be_relative() {
    let folder = Folder::new();
    for (id, path) in [("a", "keys.json"), ("b", "./keys.json"), ("c", "../keys.json")] {
        let mut command = std::process::Command::new(crate::folder::PROGRAM);
        fs::create_dir_all(folder.path().join("below")).unwrap();
        let below = if path.starts_with("..") { folder.path().join("below") } else { folder.path().to_owned() };
        let new = run(command.current_dir(below).args(["apikey", "new", "--file", path, "--id", id]));
        assert_eq!(new.code, Some(0), "{new:?}");
    }
    assert_eq!(folder.list().len(), 3);
}
