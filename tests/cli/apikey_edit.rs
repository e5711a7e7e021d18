//! What must not happen to the file while it is edited.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use jwt_gate_core::apikey::compile;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use rustix::process::geteuid;

use crate::folder::{Folder, PROGRAM, file, run};

/// A user and a group without rights.
const NOBODY: u32 = 65534;

#[test]
fn edits_at_the_same_time_are_all_done() {
    let folder = Folder::with(file(&[("old", "")]));
    let ids: Vec<_> = (0..16).map(|n| format!("k{n}")).collect();
    let running: Vec<_> = ids
        .iter()
        .map(|id| {
            let mut command = folder.apikey("new", &["--id", id]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut revoke = folder.apikey("revoke", &["--id", "old"]).stderr(Stdio::null()).spawn().unwrap();
    let keys: Vec<_> = running.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(revoke.wait().unwrap().success());
    let list = folder.list();
    assert_eq!(list.len(), ids.len());
    for (output, id) in keys.iter().zip(&ids) {
        assert!(output.status.success());
        assert_eq!(list.find(output.stdout.trim_ascii_end()).unwrap().id(), id);
    }
    assert_eq!(folder.names(), [".keys.json.lock", "keys.json"]);
}

#[test]
fn an_edit_waits_for_the_one_before() {
    let folder = Folder::new();
    folder.make("a", &[]);
    let before = folder.text();
    let lock = File::open(folder.path().join(".keys.json.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut command = folder.apikey("new", &["--id", "b"]);
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("waiting until nobody else edits"), "{line}");
    assert_eq!(folder.text(), before);
    // The other one finishes its edit, which is found and kept.
    fs::write(folder.file(), file(&[("other", "")])).unwrap();
    drop(lock);
    assert!(running.wait().unwrap().success());
    said.read_to_string(&mut line).unwrap();
    assert!(line.contains("`b` was added"), "{line}");
    let text = folder.text();
    assert!(text.contains("\"other\"") && text.contains("\"b\"") && !text.contains("\"a\""), "{text}");
}

/// Readers do not lock: they see the file before or after an edit, never in between.
#[test]
fn whoever_reads_finds_a_whole_file() {
    let folder = Folder::new();
    folder.make("first", &[]);
    let mut running = (0..8)
        .map(|n| {
            let id = format!("k{n}");
            folder.apikey("new", &["--id", &id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect::<Vec<_>>();
    while running.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        let read = compile(&fs::read(folder.file()).unwrap()).unwrap();
        assert!((1..=9).contains(&read.entries));
    }
    assert_eq!(folder.list().len(), 9);
}

#[test]
fn a_file_with_a_mistake_is_not_touched() {
    let good = &file(&[("a", "")]);
    for (text, why) in [
        (String::new(), "line 1: not JSON"),
        ("{}".to_owned(), "line 1: \"keys\" is missing"),
        (good.replace("]}", ",\n]}"), "line 2: not JSON"),
        (good.replace("[{", "[\n{\"id\":\"b\"},{"), "line 2: this entry has no \"sha256\""),
        (good.replace("]}", "],\n\"version\":1}"), "line 2: \"version\" is not known here"),
        (file(&[("a", ""), ("a", "")]), "earlier entry"),
        (format!("\u{feff}{good}"), "byte order mark"),
        (good[..good.len() - 1].to_owned(), "not JSON"),
    ] {
        let folder = Folder::with(&text);
        for command in ["new", "revoke"] {
            folder.run(command, &["--id", "z"]).refused(2, why);
            folder.run(command, &["--id", "a"]).refused(2, why);
            assert_eq!(folder.text(), text);
        }
        folder.run("list", &[]).refused(2, why);
    }
}

#[test]
fn a_link_stays_a_link() {
    let folder = Folder::new();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("secret.json"), file(&[("a", "")])).unwrap();
    symlink("real/secret.json", folder.path().join("inner")).unwrap();
    symlink("inner", folder.file()).unwrap();
    folder.make("b", &[]);
    assert_eq!(folder.run("revoke", &["--id", "a"]).code, Some(0));
    for link in ["keys.json", "inner"] {
        assert!(fs::symlink_metadata(folder.path().join(link)).unwrap().is_symlink());
    }
    assert!(!fs::symlink_metadata(real.join("secret.json")).unwrap().is_symlink());
    assert_eq!(folder.list().len(), 1);
    // The lock is where whoever names the file itself looks for it.
    assert!(real.join(".secret.json.lock").exists() && !folder.path().join(".keys.json.lock").exists());
}

#[test]
fn what_is_no_file_is_left_alone() {
    let folder = Folder::new();
    symlink("nowhere", folder.file()).unwrap();
    folder.run("new", &["--id", "a"]).refused(2, "cannot be edited: No such file");
    assert!(fs::symlink_metadata(folder.file()).unwrap().is_symlink());

    let folder = Folder::new();
    fs::create_dir(folder.file()).unwrap();
    folder.run("new", &["--id", "a"]).refused(2, "no regular file");

    // Nobody writes into this pipe: opening it would wait for ever.
    let folder = Folder::new();
    mknodat(CWD, folder.file(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for (command, words) in [("new", &["--id", "a"][..]), ("revoke", &["--id", "a"]), ("list", &[])] {
        folder.run(command, words).refused(2, "no regular file");
    }

    let nowhere = Folder::new().path().join("keys.json");
    let new = run(Command::new(PROGRAM).args(["apikey", "new", "--id", "a", "--file"]).arg(&nowhere));
    new.refused(2, &format!("cannot be edited: its folder {}: No such file", nowhere.parent().unwrap().display()));
    run(Command::new(PROGRAM).args(["apikey", "new", "--id", "a", "--file", "/"])).refused(2, "");
}

/// A lock stays behind, and would beside what a slip of the finger named.
#[test]
fn a_mistake_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.run("revoke", &["--id", "a"]).refused(2, "does not exist");
    symlink("nowhere", folder.file()).unwrap();
    folder.run("revoke", &["--id", "a"]).refused(2, "does not exist");
    assert_eq!(folder.names(), ["keys.json"]);

    let folder = Folder::with("127.0.0.1 localhost\n");
    fs::create_dir(folder.path().join("folder")).unwrap();
    mknodat(CWD, folder.path().join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let named = ["folder", "keys.json", "pipe"];
    for command in ["new", "revoke"] {
        for (name, why) in named.into_iter().zip(["no regular file", "line 1: ", "no regular file"]) {
            let path = folder.path().join(name);
            run(Command::new(PROGRAM).args(["apikey", command, "--id", "a", "--file"]).arg(path)).refused(2, why);
        }
    }
    assert_eq!(folder.names(), named);
}

/// A link in the place of the lock could lead to any file of the one who runs this.
#[test]
fn a_lock_is_no_link() {
    let folder = Folder::with(file(&[("a", "")]));
    let (lock, victim) = (folder.path().join(".keys.json.lock"), folder.path().join("victim"));
    symlink("victim", &lock).unwrap();
    folder.run("new", &["--id", "b"]).refused(2, ".keys.json.lock cannot be locked");
    assert!(!victim.exists() && folder.list().len() == 1);
    fs::remove_file(&lock).unwrap();
    fs::write(&victim, "").unwrap();
    fs::hard_link(&victim, &lock).unwrap();
    folder
        .run("new", &["--id", "b"])
        .refused(2, ".keys.json.lock cannot be locked: it is no file of its own: remove it");
    assert_eq!(folder.list().len(), 1);
}

#[test]
fn a_draft_that_was_left_is_replaced_and_not_followed() {
    let folder = Folder::with(file(&[("a", "")]));
    let draft = folder.path().join(".keys.json.draft");
    fs::write(&draft, "half a fi").unwrap();
    folder.make("b", &[]);
    fs::write(folder.path().join("victim"), "as it was").unwrap();
    symlink("victim", &draft).unwrap();
    folder.make("c", &[]);
    assert_eq!(fs::read_to_string(folder.path().join("victim")).unwrap(), "as it was");
    assert!(!draft.exists() && folder.list().len() == 3);
}

/// A limit on the length of files stands for the end of the disk: a write fails in the same way.
#[test]
fn a_full_disk_leaves_the_old_file() {
    let ids: Vec<_> = (0..40).map(|n| format!("k{n}")).collect();
    let entries: Vec<_> = ids.iter().map(|id| (id.as_str(), "")).collect();
    let folder = Folder::with(file(&entries));
    let before = folder.text();
    let limited = |words: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap "" XFSZ; ulimit -f 1; exec "$@""#, "sh", PROGRAM, "apikey"]).args(words);
        run(shell.arg("--file").arg(folder.file()))
    };
    limited(&["new", "--id", "z"]).refused(2, "stays as it was");
    limited(&["revoke", "--id", "k0"]).refused(2, "stays as it was");
    assert_eq!((folder.text(), folder.names()), (before, vec![".keys.json.lock".to_owned(), "keys.json".to_owned()]));
}

/// Root may write everywhere, so that somebody else has to try.
#[test]
fn a_folder_that_may_not_be_written_leaves_the_old_file() {
    let folder = Folder::with(file(&[("a", "")]));
    let program = folder.path().join("program");
    fs::copy(PROGRAM, &program).unwrap();
    let new = || {
        let mut command = Command::new(&program);
        command.args(["apikey", "new", "--id", "b", "--file"]).arg(folder.file());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        run(&mut command)
    };
    let before = folder.text();
    let mode = |mode| fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    new().refused(2, "run this as the user who owns");
    assert_eq!((folder.text(), folder.names()), (before.clone(), vec!["keys.json".to_owned(), "program".to_owned()]));
    mode(0o755);

    // In a folder of everybody, a file of somebody else would change its owner.
    if geteuid().is_root() {
        mode(0o777);
        new().refused(2, "cannot be given to user 0 and group 0");
        assert_eq!(folder.text(), before);
    }
}

/// It stays with whom it belongs to, who can edit it thereafter; only root can see to that, and only root has to.
#[test]
fn an_owner_stays_the_owner() {
    let folder = Folder::with(file(&[("a", "")]));
    let (user, group) = if geteuid().is_root() {
        (NOBODY, NOBODY)
    } else {
        let own = fs::metadata(folder.file()).unwrap();
        (own.uid(), own.gid())
    };
    chown(folder.file(), Some(user), Some(group)).unwrap();
    fs::set_permissions(folder.file(), Permissions::from_mode(0o604)).unwrap();
    folder.make("b", &[]);
    for (name, mode) in [("keys.json", 0o604), (".keys.json.lock", 0o600)] {
        let found = fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (user, group, mode), "{name}");
    }
}
