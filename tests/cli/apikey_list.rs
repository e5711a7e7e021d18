//! `jwt-gate apikey list`

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::folder::{Folder, HASH, file};

const MEMBERS: [(&str, &str); 4] = [
    (
        "partner-a",
        r#","plan":"premium","scopes":["read","write"],"networks":["10.0.0.0/8","@office"],"not_before":"2020-01-01T00:00:00Z""#,
    ),
    ("old", r#","expires":"2020-01-01T00:00:00+02:00""#),
    ("z", r#","scopes":[],"not_before":"2999-01-01T00:00:00Z","expires":"2999-01-02T00:00:00Z""#),
    ("bare", ""),
];

#[test]
fn a_table_for_people() {
    let folder = Folder::with(file(&MEMBERS));
    let list = folder.run("list", &[]);
    assert_eq!((list.code, list.err.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = list.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            &["ID", "STATE", "PLAN", "SCOPES", "NETWORKS", "NOT", "BEFORE", "EXPIRES"][..],
            &["partner-a", "active", "premium", "read,write", "10.0.0.0/8,@office", "2020-01-01T00:00:00Z", "-"],
            &["old", "expired", "-", "-", "-", "-", "2020-01-01T00:00:00+02:00"],
            &["z", "not-yet-valid", "-", "-", "-", "2999-01-01T00:00:00Z", "2999-01-02T00:00:00Z"],
            &["bare", "active", "-", "-", "-", "-", "-"],
        ]
    );
    let columns: Vec<_> = list.out.lines().map(|line| line.find(rows[0][1]).or(line.find("active"))).collect();
    assert_eq!(columns[0], columns[1], "{}", list.out);
    assert!(!list.out.contains(&HASH[4..12]));
    assert_eq!(folder.names(), ["keys.json"], "looking leaves nothing behind");
}

#[test]
fn json_for_programs() {
    let folder = Folder::with(file(&MEMBERS));
    let list = folder.run("list", &["--json"]);
    assert_eq!((list.code, list.err.as_str()), (Some(0), ""));
    let listed: Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(
        listed,
        json!({ "keys": [
            {
                "id": "partner-a", "state": "active", "plan": "premium", "scopes": ["read", "write"],
                "networks": ["10.0.0.0/8", "@office"], "not_before": "2020-01-01T00:00:00Z",
            },
            { "id": "old", "state": "expired", "expires": "2020-01-01T00:00:00+02:00" },
            {
                "id": "z", "state": "not-yet-valid", "scopes": [], "not_before": "2999-01-01T00:00:00Z",
                "expires": "2999-01-02T00:00:00Z",
            },
            { "id": "bare", "state": "active" },
        ]})
    );
}

#[test]
fn an_empty_file_has_no_keys() {
    let folder = Folder::with(r#"{"keys":[]}"#);
    assert_eq!(folder.run("list", &[]).out.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&folder.run("list", &["--json"]).out).unwrap(), json!({ "keys": [] }));
}

#[test]
fn what_cannot_be_read_is_said() {
    Folder::new().run("list", &[]).refused(2, "cannot be read: No such file");
    let folder = Folder::with("{\"keys\":[\n{\"id\":\"a\"}]}");
    folder.run("list", &[]).refused(2, "keys.json: line 2: this entry has no \"sha256\"");
}

/// As `jwt-gate apikey list | head -1` does.
#[test]
fn nobody_has_to_read_it_to_the_end() {
    let ids: Vec<_> = (0..1000).map(|n| format!("{n}-{}", "x".repeat(120))).collect();
    let entries: Vec<_> = ids.iter().map(|id| (id.as_str(), r#","plan":"a""#)).collect();
    let folder = Folder::with(file(&entries));
    let mut list = folder.apikey("list", &["--json"]);
    let mut running = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    running.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
