//! `quota=`: exactly as many requests as there may be, whoever counts them, whatever ends, and whatever somebody has
//! done to the file that they are counted in.
//!
//! Rates do not matter, and no test begins when a day, and so perhaps a month, is about to end.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};

use crate::harness::{Answer, MAIN, Mpm, Request, Server, Site, await_some, await_true, now, under_load};

/// What is said at a start of a quota by address.
const BY_ADDRESS: &str = "JG2211";

/// Everything is proxied, and limited by these.
fn limited(limits: &str) -> String {
    format!("ProxyPass / ${{APP}}/\n<Location \"/\">\nJwtGate on\nJwtGateToken none\n{limits}\n</Location>\n")
}

/// One for all, and one for each address.
fn counted(all: u32, each: u32) -> String {
    limited(&format!(
        "JwtGateLimit all key=global rate=1000000/s quota={all}/month\n\
         JwtGateLimit each key=address rate=1000000/s quota={each}/month"
    ))
}

/// With a file that is soon written.
fn small(directives: &str) -> String {
    "JwtGateSharedMemory 64K\n".to_owned() + directives
}

/// How many of `count` equal requests come in.
fn admitted(request: &Request, count: usize) -> usize {
    (0..count).filter(|_| request.status() == 200).count()
}

/// `r` of the quota of a limit.
fn left(answer: &Answer, name: &str) -> u32 {
    let name = format!("\"{name}-quota\";r=");
    let field = answer.header("RateLimit").unwrap_or_else(|| panic!("{answer:?}"));
    let member = field.split(", ").find_map(|member| member.strip_prefix(&name));
    member.and_then(|member| member.split(';').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {field}"))
}

fn table(server: &Site) -> PathBuf {
    server.root.join("state/quotas.table")
}

/// User and group of a file, its mode, and how many names it has.
fn owner(path: &Path) -> (u32, u32, u32, u64) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o7777, found.nlink())
}

fn content(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn exactly_as_many_come_in_whatever_restarts_meanwhile() {
    for mpm in [Mpm::Prefork, Mpm::Event] {
        let mut server = Site::new().mpm(mpm).children(3).start(&counted(400, 90));
        server.expect_log(BY_ADDRESS);
        let (yes, no) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let address = server.address();
        // Of five addresses, three come often enough to use up what each has.
        let client = |number: usize| {
            let request = Request::new(address, "GET", "/").from(&format!("127.0.0.{}", number % 5 + 1));
            match request.status() {
                200 => yes.fetch_add(1, Ordering::Relaxed),
                429 => no.fetch_add(1, Ordering::Relaxed),
                other => panic!("status {other}"),
            };
        };
        under_load(5, client, |load| {
            for _ in 0..4 {
                load.more(60);
                server.graceful();
            }
        });
        for number in 1..=5 {
            let request = server.get("/").from(&format!("127.0.0.{number}"));
            yes.fetch_add(admitted(&request, 91), Ordering::Relaxed);
        }
        assert_eq!(yes.into_inner(), 400, "{mpm:?}");
        assert_eq!(server.app.count(), 400, "{mpm:?}");
        assert!(no.into_inner() > 0 || server.get("/").status() == 429);
        assert!(server.served_by().len() > 3, "{:?}", server.served_by());
    }
}

#[test]
fn no_count_is_lost_with_a_child_that_is_killed() {
    for mpm in [Mpm::Prefork, Mpm::Event] {
        let mut server = Site::new().mpm(mpm).children(3).start(&counted(1_000_000, 1_000_000));
        server.expect_log(BY_ADDRESS);
        let answered = AtomicUsize::new(0);
        let (address, clients) = (server.address(), 4);
        let client = |number: usize| {
            let request = Request::new(address, "GET", "/").from(&format!("127.0.0.{}", number + 1));
            // Who is served by a child that is killed gets no answer.
            if request.try_send().is_ok_and(|answer| answer.status == 200) {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        // httpd speaks of more than two in succession.
        let kills = 2;
        under_load(clients, client, |load| {
            for _ in 0..kills {
                load.more(40);
                let child = server.children()[0];
                server.kill_child(child);
            }
        });
        let answered = u32::try_from(answered.into_inner()).unwrap();
        let served = u32::try_from(server.app.count()).unwrap();
        let answer = server.get("/").from("127.0.0.9").send();
        let charged = 1_000_000 - left(&answer, "all") - 1;
        assert!(answered <= served && served <= charged, "{answered} answered, {served} served, {charged} charged");
        // What each client had under way at each kill may be charged and not served.
        assert!(
            charged <= answered + clients as u32 * kills,
            "{answered} answered, {served} served, {charged} charged"
        );
        let each = |number: usize| {
            1_000_000 - left(&server.get("/").from(&format!("127.0.0.{}", number + 1)).send(), "each") - 1
        };
        assert_eq!((0..clients).map(each).sum::<u32>(), charged, "both limits are charged or none");
    }
}

#[test]
fn counts_outlive_a_stop_and_a_kill_of_every_process() {
    let mut server = Site::new().start(&counted(1000, 1000));
    server.expect_log(BY_ADDRESS);
    // Of a kill, the parent's number is left.
    server.expect_log("AH00098");
    let mut used = 0_u32;
    let mut use_some = |server: &Server| {
        for number in 1..=7 {
            let answer = server.get("/").from(&format!("127.0.0.{number}")).send();
            used += 1;
            assert_eq!(
                (left(&answer, "all"), left(&answer, "each")),
                (1000 - used, 1000 - used.div_ceil(7)),
                "{number}"
            );
        }
    };
    use_some(&server);
    server.stop();
    server.start_again();
    use_some(&server);
    for _ in 0..2 {
        server.kill_all();
        server.start_again();
        use_some(&server);
    }
    server.kill_all_children();
    use_some(&server);
    server.graceful();
    use_some(&server);
    server.kill_all();
    server.start_again();
    server.graceful();
    use_some(&server);
    assert_eq!(content(&server.root.join("state")), ["quotas.table"]);
    assert_eq!(server.log.count("JG2"), server.log.count(BY_ADDRESS), "{}", server.log.text());
}

/// Requests that were answered are counted, and so are those that nobody has an answer to.
#[test]
fn no_count_is_lost_when_every_process_is_killed_under_load() {
    for mpm in [Mpm::Prefork, Mpm::Event] {
        let mut server = Site::new().mpm(mpm).children(3).start(&counted(1_000_000, 1_000_000));
        server.expect_log(BY_ADDRESS);
        server.expect_log("AH00098");
        let (address, clients) = (server.address(), 4);
        let client = |number: usize| {
            let request = Request::new(address, "GET", "/").from(&format!("127.0.0.{}", number + 1));
            // Nobody may be there.
            drop(request.try_send());
        };
        under_load(clients, client, |load| {
            for _ in 0..3 {
                load.more(50);
                server.kill_all();
                server.start_again();
            }
        });
        let served = u32::try_from(server.app.count()).unwrap();
        let charged = 1_000_000 - left(&server.get("/").from("127.0.0.9").send(), "all") - 1;
        assert!(served > 0 && served <= charged && charged <= served + 3 * clients as u32, "{served}, {charged}");
        let each = |number: usize| {
            1_000_000 - left(&server.get("/").from(&format!("127.0.0.{}", number + 1)).send(), "each") - 1
        };
        assert_eq!((0..clients).map(each).sum::<u32>(), charged, "both limits are charged or none");
        assert_eq!(server.log.count("JG2"), server.log.count(BY_ADDRESS), "{}", server.log.text());
    }
}

#[test]
fn limits_that_change_at_a_restart_keep_what_was_counted() {
    let limit = |name: &str, key: &str, quota: u32| {
        format!("JwtGateLimit {name} key={key} rate=1000000/s quota={quota}/month\n")
    };
    let (a, b, c) = (limit("a", "global", 50), limit("b", "address", 50), limit("c", "peer", 50));
    let mut server = Site::new().start(&limited(&[a.clone(), b.clone()].concat()));
    server.expect_log(BY_ADDRESS);
    let lefts = |server: &Server, names: &[&str]| {
        let answer = server.get("/").send();
        names.iter().map(|name| left(&answer, name)).collect::<Vec<_>>()
    };
    assert_eq!(lefts(&server, &["a", "b"]), [49, 49]);
    let with = |server: &mut Server, limits: &[&String]| {
        server.graceful_with(&limited(&limits.iter().map(|limit| limit.as_str()).collect::<String>()));
    };
    with(&mut server, &[&c, &b, &a]);
    assert_eq!(lefts(&server, &["a", "b", "c"]), [48, 48, 49]);
    with(&mut server, &[&limit("b", "address", 60), &limit("a", "global", 40)]);
    assert_eq!(lefts(&server, &["a", "b"]), [37, 57], "other numbers");
    with(&mut server, &[&c]);
    assert_eq!(lefts(&server, &["c"]), [48]);
    for number in 0..4 {
        // Others come and go, and none of them gets what is in use.
        let other = limit(&format!("other-{number}"), "global", 100);
        with(&mut server, &[&other, &c]);
        assert_eq!(lefts(&server, &["c", &format!("other-{number}")]), [47 - number, 99]);
    }
    server.stop_and_start(|site| site.configure(&limited(&[b, a, c].concat())));
    assert_eq!(lefts(&server, &["a", "b", "c"]), [46, 46, 43]);
    // Without any quota in between.
    with(&mut server, &[&"JwtGateLimit c key=peer rate=1000000/s\n".to_owned()]);
    assert_eq!(server.get("/").status(), 200);
    with(&mut server, &[&limit("a", "global", 50)]);
    assert_eq!(lefts(&server, &["a"]), [45]);
    assert_eq!(server.log.count("JG2"), server.log.count(BY_ADDRESS), "{}", server.log.text());
}

/// 64 KiB have places for about 30 limits, and one that was counted is kept to the end of the month.
#[test]
fn limits_that_come_and_go_never_end_the_server() {
    let kept = "JwtGateLimit kept key=global rate=1000000/s quota=1000/month\n";
    let directives = |generation: u32| {
        let limit = |number| format!("JwtGateLimit g{generation}-{number} key=global rate=1000000/s quota=9/month\n");
        "JwtGateSharedMemory 64K\n".to_owned() + &limited(&(kept.to_owned() + &(0..8).map(limit).collect::<String>()))
    };
    let mut server = Site::new().start(&directives(0));
    server.expect_log("JG2004 quotas begin anew: there is no room for so many changed ones");
    for generation in 0..10 {
        server.graceful_with(&directives(generation));
        server.assert_running();
        let names: Vec<String> = (0..8).map(|number| format!("g{generation}-{number}")).collect();
        // A child of the last generation may answer the first requests.
        let is_new = |answer: &Answer| answer.header("RateLimit").unwrap().contains(&names[0]);
        let first = await_some("an answer of this generation", || Some(server.get("/").send()).filter(is_new));
        let second = server.get("/").send();
        for name in names.iter().map(String::as_str).chain(["kept"]) {
            assert_eq!(left(&second, name), left(&first, name) - 1, "{name}");
        }
    }
    let before = left(&server.get("/").send(), "kept");
    server.stop_and_start(|_| ());
    assert_eq!(left(&server.get("/").send(), "kept"), before - 1);
}

#[test]
fn memory_of_another_size_keeps_what_was_counted() {
    let sized = |size: &str| format!("JwtGateSharedMemory {size}\n{}", counted(1000, 1000));
    let mut server = Site::new().start(&sized("1M"));
    server.expect_log(BY_ADDRESS);
    let mut used = 0_u32;
    let mut use_some = |server: &Server, what: &str| {
        for number in 1..=20 {
            let answer = server.get("/").from(&format!("127.0.0.{number}")).send();
            used += 1;
            assert_eq!(
                (left(&answer, "all"), left(&answer, "each")),
                (1000 - used, 1000 - used.div_ceil(20)),
                "{what}"
            );
        }
    };
    use_some(&server, "at first");
    for size in ["2M", "256K", "3M"] {
        server.graceful_with(&sized(size));
        use_some(&server, size);
    }
    server.stop_and_start(|site| site.configure(&sized("1M")));
    use_some(&server, "started with 1M");
    let found = fs::metadata(table(&server)).unwrap();
    assert!((1 << 20) - 4096 < found.len() && found.len() <= 1 << 20, "{found:?}");
    assert_eq!(content(&server.root.join("state")), ["quotas.table"]);
}

/// What somebody does to the file of a server that is not running.
type Tamper = fn(&Path);

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn rename(path: &Path) -> PathBuf {
    let target = path.with_extension("target");
    fs::rename(path, &target).unwrap();
    target
}

#[test]
fn a_file_that_is_no_table_is_kept_aside_and_counts_begin_anew() {
    let cases: [(&str, Tamper); 9] = [
        ("empty", |path| change(path, Vec::clear)),
        ("one byte", |path| change(path, |bytes| bytes.truncate(1))),
        ("a part of its head", |path| change(path, |bytes| bytes.truncate(63))),
        ("its head", |path| change(path, |bytes| bytes.truncate(4096))),
        ("all but its end", |path| change(path, |bytes| bytes.truncate(bytes.len() - 1))),
        ("zeros", |path| change(path, |bytes| bytes.fill(0))),
        ("noise", |path| {
            change(path, |bytes| bytes.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n * 7) as u8));
        }),
        ("another version", |path| change(path, |bytes| bytes[8] += 1)),
        ("text", |path| fs::write(path, "not a table\n").unwrap()),
    ];
    let mut server = Site::new().start(&small(&counted(9, 9)));
    server.expect_log(BY_ADDRESS);
    server.expect_log("JG2005 JwtGateStateDir: quotas.table cannot be used: ");
    for (number, (what, tamper)) in cases.into_iter().enumerate() {
        assert_eq!(admitted(&server.get("/"), 3), 3, "{what}");
        server.stop_and_start(|site| tamper(&table(site)));
        assert_eq!(server.log.count("JG2005"), number + 1, "{what}");
        assert_eq!(left(&server.get("/").send(), "all"), 8, "{what}");
        server.stop_and_start(|_| ());
        assert_eq!(left(&server.get("/").send(), "all"), 7, "{what}: the new file is good");
        assert_eq!(content(&server.root.join("state")), ["quotas.table", "quotas.table.bad"], "{what}");
        server.stop_and_start(|site| fs::remove_file(table(site)).unwrap());
    }
    assert_eq!(fs::read(server.root.join("state/quotas.table.bad")).unwrap(), b"not a table\n");
}

#[test]
fn a_table_with_impossible_contents_is_repaired() {
    let mut server = Site::new().start(&small(&counted(1000, 1000)));
    server.expect_log(BY_ADDRESS);
    assert_eq!(admitted(&server.get("/"), 3), 3);
    server.stop_and_start(|site| {
        // All but its head.
        change(&table(site), |bytes| {
            for (number, byte) in bytes.iter_mut().enumerate().skip(256) {
                *byte = ((number * 7919) >> 3) as u8;
            }
        });
    });
    server.expect_log("JG2005 JwtGateStateDir: ");
    server.expect_log(" places of quotas.table were damaged and begin anew");
    for number in 1..=50 {
        // Who has a part of what is left may be refused too early, and nobody is answered with an error.
        let status = server.get("/").from(&format!("127.0.0.{number}")).status();
        assert!(matches!(status, 200 | 429), "{status}");
    }
    server.graceful();
    assert!(matches!(server.get("/").status(), 200 | 429));
    server.stop_and_start(|_| ());
    assert_eq!(server.log.count("JG2005"), 1, "it is in order now");
}

#[test]
fn what_only_looks_like_the_file_is_not_touched_and_counts_are_in_memory() {
    let mut cases: Vec<(&str, Tamper, &str)> = vec![
        ("link", |path| symlink(rename(path), path).unwrap(), "cannot be written"),
        ("dangling link", |path| symlink(rename(path).with_extension("no"), path).unwrap(), "cannot be written"),
        ("second name", |path| fs::hard_link(path, path.with_extension("second")).unwrap(), "only the server's user"),
        (
            "folder",
            |path| {
                rename(path);
                fs::create_dir(path).unwrap();
            },
            "cannot be written",
        ),
        (
            "pipe",
            |path| {
                rename(path);
                assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
            },
            "only the server's user",
        ),
        (
            "for others to write",
            |path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o602)).unwrap(),
            "only the server's user",
        ),
    ];
    if geteuid().is_root() {
        cases.push((
            "of somebody else",
            |path| chown(path, Some(65_534), Some(65_534)).unwrap(),
            "only the server's user",
        ));
    } else {
        // Who is not root cannot give a file away, but make it one that nobody may write.
        cases.push((
            "not to be written",
            |path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap(),
            "cannot be written",
        ));
    }
    for (what, tamper, why) in cases {
        let mut server = Site::new().start(&small(&counted(9, 9)));
        server.expect_log(BY_ADDRESS);
        let user = owner(&table(&server));
        assert_eq!(admitted(&server.get("/"), 3), 3, "{what}");
        let line = format!("JG2205 JwtGateStateDir: {}", table(&server).display());
        server.expect_log(&line);
        let root = server.root.clone();
        let all = || {
            let names = content(&root.join("state"));
            let read = |name: &String| {
                Some(root.join("state").join(name)).filter(|path| path.is_file()).map(|path| fs::read(path).unwrap())
            };
            names.iter().map(|name| (name.clone(), read(name))).collect::<Vec<_>>()
        };
        server.stop();
        tamper(&table(&server));
        if geteuid().is_root() && owner(&table(&server)).0 == 0 {
            lchown(table(&server), Some(user.0), Some(user.1)).unwrap();
        }
        let before = all();
        server.start_again();
        assert_eq!(server.log.count(&line), 1, "{what}");
        assert!(server.log.text().lines().any(|said| said.contains(&line) && said.contains(why)), "{what}");
        assert_eq!(left(&server.get("/").send(), "all"), 8, "{what}");
        server.graceful();
        assert_eq!(left(&server.get("/").send(), "all"), 7, "{what}: they outlive a graceful restart");
        assert!(before == all(), "{what}: somebody's file was written to");

        // What is put right is used from the next restart on.
        match fs::symlink_metadata(table(&server)).unwrap().is_dir() {
            true => fs::remove_dir(table(&server)).unwrap(),
            false => fs::remove_file(table(&server)).unwrap(),
        }
        server.graceful();
        assert_eq!(left(&server.get("/").send(), "all"), 6, "{what}: what was in memory is in the new file");
        server.stop_and_start(|_| ());
        assert_eq!((left(&server.get("/").send(), "all"), owner(&table(&server))), (5, user), "{what}");
    }
}

#[test]
fn a_file_that_is_deleted_or_replaced_while_counted_in_is_written_again() {
    let mut server = Site::new().start(&counted(1000, 1000));
    server.expect_log(BY_ADDRESS);
    let user = owner(&table(&server));
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    fs::remove_file(table(&server)).unwrap();
    assert_eq!(left(&server.get("/").send(), "all"), 998);
    server.graceful();
    assert_eq!((left(&server.get("/").send(), "all"), owner(&table(&server))), (997, user));
    // With the whole folder.
    fs::remove_dir_all(server.root.join("state")).unwrap();
    server.graceful();
    assert_eq!((left(&server.get("/").send(), "all"), owner(&table(&server))), (996, user));
    server.stop_and_start(|_| ());
    assert_eq!(left(&server.get("/").send(), "all"), 995);
}

/// Who can write the file can make it shorter, which ends the children that count in it. The parent goes on.
#[test]
fn a_file_that_is_cut_off_while_counted_in_does_not_end_the_parent() {
    let mut server = Site::new().start(&counted(1000, 1000));
    server.expect_log(BY_ADDRESS);
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    let file = File::options().write(true).open(table(&server)).unwrap();
    server.expect_log("JG4009 JwtGateStateDir: quotas.table");
    file.set_len(0).unwrap();
    server.await_log("JG4009");
    server.expect_log("JG2005");
    server.graceful();
    server.assert_running();
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    server.graceful();
    assert_eq!(left(&server.get("/").send(), "all"), 998);
}

/// A full table refuses newcomers until the month is over: each refusal is told of, not only what came in before.
#[test]
fn refusals_for_want_of_room_are_told_of() {
    // Room for fewer addresses than come here.
    let mut server = Site::new().load(&["remoteip"]).start(&small(&format!(
        "MaxKeepAliveRequests 0\nRemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n{}",
        limited("JwtGateLimit each key=address rate=1000000/s quota=1/month")
    )));
    server.expect_log(BY_ADDRESS);
    server.expect_log("JG3001");
    let from = |address: &str| server.get("/").header("X-Forwarded-For", address);
    let mut connection = server.connect();
    for first in (0..10_000).step_by(200) {
        let requests = (first..first + 200).flat_map(|n| from(&format!("10.{}.{}.1", n >> 8, n & 255)).bytes());
        connection.send(requests.collect::<Vec<u8>>());
        for _ in 0..200 {
            let status = connection.answer().status;
            assert!(matches!(status, 200 | 429), "{status}");
        }
    }
    server.await_log("JG3001");
    // What was not told yet is told at the first request after a start.
    for told in ["requests were counted or refused in buckets", "1 request was counted or refused in a bucket"] {
        server.stop_and_start(|_| ());
        assert_eq!(server.get("/").header("X-Forwarded-For", "192.0.2.1").status(), 429);
        server.await_log(told);
    }
}

#[test]
fn a_folder_that_is_no_good_any_more_takes_no_count_away() {
    let mut server = Site::new().start(&counted(1000, 1000));
    server.expect_log(BY_ADDRESS);
    let folder = server.root.join("state");
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    server.expect_log("JG2205 JwtGateStateDir");
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    server.graceful();
    assert_eq!(left(&server.get("/").send(), "all"), 998);
    server.graceful();
    assert_eq!(left(&server.get("/").send(), "all"), 997);
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    server.graceful();
    assert_eq!(left(&server.get("/").send(), "all"), 996);
    server.stop_and_start(|_| ());
    assert_eq!(left(&server.get("/").send(), "all"), 995);
}

#[test]
fn a_full_disk_takes_no_count_away() {
    let sized = |size: &str| format!("JwtGateSharedMemory {size}\n{}", counted(1000, 1000));
    let mut server = Site::new().start(&sized("256K"));
    server.expect_log(BY_ADDRESS);
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    // The logs are shorter than this, and the new file would be longer.
    let parent = Pid::from_raw(server.pid());
    let most = |bytes| prlimit(parent, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    most(Some(300_000));
    server
        .expect_log(&format!("JG2205 JwtGateStateDir: {} cannot be written: File too large", table(&server).display()));
    server.graceful_with(&sized("1M"));
    assert_eq!(left(&server.get("/").send(), "all"), 998);
    assert_eq!(content(&server.root.join("state")), ["quotas.table"], "no draft is left");
    server.graceful();
    assert_eq!(left(&server.get("/").send(), "all"), 997);
    most(None);
    server.graceful();
    assert_eq!(left(&server.get("/").send(), "all"), 996);
    server.stop_and_start(|_| ());
    assert_eq!(left(&server.get("/").send(), "all"), 995);
    assert!(fs::metadata(table(&server)).unwrap().len() > 900_000);
}

#[test]
fn without_a_folder_counts_are_in_memory() {
    let site = Site::new();
    site.write("file", "kept");
    let bad = |folder: &str| format!("JwtGateStateDir {folder}\n{}", counted(1000, 1000));
    let mut server = site.start(&bad("file"));
    server.expect_log(BY_ADDRESS);
    server.expect_log("JG2205 JwtGateStateDir: ");
    server.expect_log("quotas are counted in memory only, and begin anew at each start");
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    server.graceful();
    server.kill_all_children();
    assert_eq!(left(&server.get("/").send(), "all"), 998);
    server.stop_and_start(|_| ());
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    // A good one takes them over.
    server.graceful_with(&bad("other"));
    assert_eq!(left(&server.get("/").send(), "all"), 998);
    server.stop_and_start(|_| ());
    assert_eq!(left(&server.get("/").send(), "all"), 997);
    assert_eq!(fs::read(server.root.join("file")).unwrap(), b"kept");
}

#[test]
fn a_server_of_a_user_without_rights_keeps_its_counts() {
    let mut server = Site::new().unprivileged().start(&counted(1000, 1000));
    server.expect_log(BY_ADDRESS);
    let user = fs::metadata(&server.root).unwrap().uid();
    server.expect_log("AH00098");
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    let found = owner(&table(&server));
    assert_eq!((found.0, found.2), (user, 0o600));
    server.graceful();
    assert_eq!(left(&server.get("/").send(), "all"), 998);
    server.stop_and_start(|_| ());
    assert_eq!(left(&server.get("/").send(), "all"), 997);
    server.kill_all();
    server.start_again();
    assert_eq!(left(&server.get("/").send(), "all"), 996);
    // A folder in which it may not look.
    server.expect_log("JG2205 JwtGateStateDir: ");
    server.stop_and_start(|site| site.chmod("state", 0o000));
    assert_eq!(left(&server.get("/").send(), "all"), 999);
    server.stop_and_start(|site| site.chmod("state", 0o700));
    assert_eq!(left(&server.get("/").send(), "all"), 995);
}

#[test]
fn two_servers_on_one_folder_count_together() {
    let mut first = Site::new().start(&counted(100, 100));
    first.expect_log(BY_ADDRESS);
    let second = Site::new();
    let shared = format!("JwtGateStateDir {}\n{}", first.root.join("state").display(), counted(100, 100));
    let mut second = second.start(&shared);
    second.expect_log(BY_ADDRESS);
    let line = "JG2205 JwtGateStateDir: quotas.table is in use by another server";
    second.expect_log(line);
    first.expect_log(line);
    let lefts = |first: &Server, second: &Server| {
        let of = |server: &Server| left(&server.get("/").send(), "all");
        [of(first), of(second), of(first), of(second)]
    };
    assert_eq!(lefts(&first, &second), [99, 98, 97, 96]);
    for _ in 0..3 {
        second.graceful();
    }
    assert_eq!(lefts(&first, &second), [95, 94, 93, 92]);
    second.stop();
    assert_eq!(left(&first.get("/").send(), "all"), 91);
    second.start_again();
    first.graceful();
    assert_eq!(lefts(&first, &second), [90, 89, 88, 87]);
    first.stop();
    assert_eq!(left(&second.get("/").send(), "all"), 86);
    first.start_again();
    assert_eq!(lefts(&first, &second), [85, 84, 83, 82]);
    assert_eq!((first.log.count(line), second.log.count(line)), (1, 2));
    // One that wants another size takes the file as it is.
    second.graceful_with(&format!("JwtGateSharedMemory 1M\n{shared}"));
    assert_eq!(lefts(&first, &second), [81, 80, 79, 78]);
    second.stop_and_start(|_| ());
    assert_eq!(lefts(&first, &second), [77, 76, 75, 74]);
    assert_eq!(content(&first.root.join("state")), ["quotas.table"]);
}

#[test]
fn rate_and_quota_are_charged_both_or_neither() {
    let mut server = Site::new().start(&limited(
        "JwtGateLimit fast key=peer rate=1/d burst=5 quota=3/month
         JwtGateLimit slow key=address rate=1/d burst=2 quota=9/month",
    ));
    server.expect_log(BY_ADDRESS);
    let field = |answer: &Answer| {
        let members = answer.header("RateLimit").unwrap().split(", ");
        members.map(|member| member.rsplit_once(';').unwrap().0.to_owned()).collect::<Vec<_>>().join(" ")
    };
    let first = server.get("/").from("127.0.0.1");
    assert_eq!(field(&first.send()), r#""fast";r=4 "fast-quota";r=2 "slow";r=1 "slow-quota";r=8"#);
    assert_eq!(field(&first.send()), r#""fast";r=3 "fast-quota";r=1 "slow";r=0 "slow-quota";r=7"#);
    // The rate of `slow` refuses, and no quota is charged.
    for _ in 0..3 {
        let answer = server.refused(&first, 429, "rate-limited");
        assert_eq!(field(&answer), r#""fast";r=3 "fast-quota";r=1 "slow";r=0 "slow-quota";r=7"#);
    }

    let mut server = Site::new().start(&limited(
        "JwtGateLimit used-up key=global rate=1/d burst=5 quota=2/month
         JwtGateLimit other key=address rate=1/d burst=9 quota=9/month",
    ));
    server.expect_log(BY_ADDRESS);
    assert_eq!(admitted(&server.get("/"), 2), 2);
    // The quota refuses, and no rate is charged.
    for _ in 0..3 {
        let answer = server.refused(&server.get("/"), 429, "quota-exceeded");
        assert_eq!(field(&answer), r#""used-up";r=3 "used-up-quota";r=0 "other";r=7 "other-quota";r=7"#);
    }
}

#[test]
fn who_is_refused_is_told_when_the_window_ends() {
    const DAY: u64 = 86_400;
    // The first of January 1970 was a Thursday; weeks begin on Mondays.
    let left_of = |period: &str, time: u64| match period {
        "day" => DAY - time % DAY,
        _ => 7 * DAY - (time + 3 * DAY) % (7 * DAY),
    };
    let server = Site::new().start(&format!(
        "{}CustomLog logs/quota.log \"%{{JWT_GATE_REASON}}e %{{JWT_GATE_LIMIT}}e\"\n",
        ["day", "week"]
            .map(|period| {
                limited(&format!("JwtGateLimit by-{period} key=global rate=100/s quota=1/{period}"))
                    .replace("\"/\"", &format!("\"/{period}\""))
                    .replace("ProxyPass / ${APP}/\n", "")
            })
            .concat()
            + "ProxyPass / ${APP}/\n"
    ));
    for period in ["day", "week"] {
        let before = now();
        assert_eq!(server.get(&format!("/{period}")).status(), 200);
        let answer = server.refused(&server.get(&format!("/{period}")), 429, "quota-exceeded");
        let after = now();
        if left_of(period, after) > left_of(period, before) {
            // It has just ended: what there is to see is no more than that.
            continue;
        }
        let told: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!((left_of(period, after)..=left_of(period, before)).contains(&told), "{told}, {period}");
        let window = if period == "day" { DAY } else { 7 * DAY };
        let policy = format!(r#""by-{period}";q=100;w=1, "by-{period}-quota";q=1;w={window}"#);
        assert_eq!(answer.header("RateLimit-Policy"), Some(policy.as_str()));
        let field = answer.header("RateLimit").unwrap();
        assert!(field.contains(&format!(r#""by-{period}-quota";r=0;t={told}"#)), "{field}, {told}");
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        let body = answer.json();
        assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(
            (&body["status"], &body["violated-policies"]),
            (&429.into(), &serde_json::json!([format!("by-{period}-quota")]))
        );
        let log = || fs::read_to_string(server.root.join("logs/quota.log")).unwrap();
        await_true("the log's line", || log().contains(&format!("quota-exceeded by-{period}\n")));
    }
}

#[test]
fn a_quota_of_identities_outlives_its_tokens_and_restarts() {
    let mut server = Site::new().start(&format!(
        "{MAIN}ProxyPass / ${{APP}}/\n<Location \"/\">\nJwtGate on\n\
         JwtGateLimit by-user key=subject rate=1000/s quota=4/month\n\
         JwtGateLimit by-issuer key=issuer rate=1000/s quota=6/month\n</Location>\n"
    ));
    let of = |server: &Server, subject: &str, id: u32| {
        server.get("/").bearer(server.token().claim("sub", subject).claim("jti", id.to_string()).sign())
    };
    assert_eq!((0..3).filter(|id| of(&server, "alice", *id).status() == 200).count(), 3);
    server.stop_and_start(|_| ());
    assert_eq!((3..9).filter(|id| of(&server, "alice", *id).status() == 200).count(), 1);
    server.graceful();
    assert_eq!((3..9).filter(|id| of(&server, "bob", *id).status() == 200).count(), 2);
    server.refused(&of(&server, "carol", 1), 429, "quota-exceeded");
}
