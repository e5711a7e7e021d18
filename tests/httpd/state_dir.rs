//! `JwtGateStateDir`: what lies there, for whom, and that neither a folder that is no good nor anything in it does harm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use serde_json::json;

use crate::harness::provider::{Door, Endpoint, Reply};
use crate::harness::tokens::{base64url, jwks};
use crate::harness::{GATED, Provider, Server, Signer, Site, Token, await_key_files, await_some, await_true, now};

/// A day, in microseconds.
const DAY: u64 = 86_400_000_000;

/// A provider that publishes one key.
fn provider() -> (Provider, Signer) {
    let (provider, signer) = (Provider::http(), Signer::ec("ES256", "one"));
    provider.publish(&[&signer]);
    (provider, signer)
}

/// The issuer `main`, whose keys come from the provider, in front of everything.
fn issuer(provider: &Provider, options: &str) -> String {
    format!("JwtGateIssuer main {} audience=api {options}\n{GATED}", provider.issuer())
}

/// Starts a server that fetches keys over plain http.
fn start(site: Site, directives: &str) -> Server {
    let mut server = site.start(directives);
    server.expect_log("JG2201");
    server
}

fn status(server: &Server, token: &str) -> u16 {
    server.get("/").bearer(token).status()
}

fn await_let_in(server: &Server, token: &str) {
    await_true("keys that a token is let in with", || status(server, token) == 200);
}

/// User and group of the child processes.
fn user_of(server: &Server) -> (u32, u32) {
    await_some("a child's user", || {
        let said = fs::read_to_string(format!("/proc/{}/status", server.children().first()?)).ok()?;
        let effective = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        let user = (effective("Uid:")?, effective("Gid:")?);
        // A child that was just made is still its parent's user.
        (user.0 != 0).then_some(user)
    })
}

/// Mode, user and group.
fn owner(path: &Path) -> (u32, (u32, u32)) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.mode() & 0o7777, (found.uid(), found.gid()))
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What lies in a folder, by name.
fn content(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Where its keys are from, when they were fetched, and the keys.
fn read(file: &[u8]) -> (String, String, String) {
    let text = std::str::from_utf8(file).unwrap();
    let (head, keys) = text.split_once("\n\n").unwrap();
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
    assert_eq!(value("bytes"), keys.len().to_string(), "{head}");
    (value("from").to_owned(), value("fetched").to_owned(), keys.to_owned())
}

/// A file as the module writes it.
fn written(from: &str, fetched: impl std::fmt::Display, keys: &str) -> Vec<u8> {
    let length = keys.len();
    format!("mod_jwt_gate key set 1\nfrom: {from}\nfetched: {fetched}\nbytes: {length}\n\n{keys}").into_bytes()
}

/// A key set with so many bytes of something else in it.
fn padded(signer: &Signer, bytes: usize) -> Reply {
    Reply::json(&json!({"keys": [signer.jwk()], "padding": "0".repeat(bytes)}))
}

#[test]
fn folder_and_files_are_for_the_servers_user_alone() {
    let (provider, signer) = provider();
    let site = Site::new();
    site.write("conf/revoked.json", r#"{"revoked": [{"issuer": "main", "jti": "gone"}]}"#);
    let more = "JwtGateStateDir new/keep\nJwtGateRevocations conf/revoked.json\n";
    let server = start(site, &(more.to_owned() + &issuer(&provider, "")));
    let user = user_of(&server);
    let folder = server.root.join("new/keep");
    let keys = await_key_files(&folder, 1).remove(0);
    assert_eq!(owner(&folder), (0o700, user));
    assert_eq!(owner(folder.parent().unwrap()).0 & 0o022, 0, "others may write to the folder above");
    let names = content(&folder);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in &names {
        assert!(name.ends_with(".keys") || name.ends_with(".list"), "{name}");
        assert_eq!(owner(&folder.join(name)), (0o600, user), "{name}");
    }
    let (from, fetched, set) = read(&fs::read(keys).unwrap());
    assert!(from.contains(&provider.issuer()), "{from}");
    assert!(fetched.parse::<u64>().unwrap().abs_diff(now() * 1_000_000) < 60_000_000, "{fetched}");
    assert_eq!(set, jwks(&[&signer]));
}

#[test]
fn the_check_of_a_configuration_makes_no_folder() {
    let (provider, _) = provider();
    let site = Site::new();
    let check = site.configtest(&("JwtGateStateDir new/keep\n".to_owned() + &issuer(&provider, "")));
    assert!(check.passed, "{check:?}");
    assert!(!site.root.join("new").exists());
    assert_eq!(provider.connections(), 0);
}

#[test]
fn keys_outlive_a_full_restart_without_their_provider() {
    let (provider, signer) = provider();
    let token = provider.token(&signer).sign();
    let mut server = start(Site::new(), &issuer(&provider, ""));
    await_let_in(&server, &token);
    let folder = server.root.join("state");
    let file = await_key_files(&folder, 1).remove(0);
    server.stop();
    provider.door(Door::Closed);

    server.start_again();
    assert_eq!(status(&server, &token), 200);
    assert_eq!(status(&server, &provider.token(&signer).forge()), 401);
    server.stop();

    // It was the file that they came from.
    fs::remove_file(file).unwrap();
    server.expect_log("JG4002");
    server.start_again();
    server.refused(&server.get("/").bearer(token), 503, "keys-unavailable");
    server.await_log("JG4002");
    assert_eq!(content(&folder), [""; 0]);
}

#[test]
fn readers_find_an_old_or_a_new_file_and_never_a_part() {
    const FILES: usize = 16;
    let (provider, signer) = (Provider::http(), Signer::ec("ES256", "one"));
    let short = json!({"keys": [signer.jwk()]});
    let replies = [Reply::json(&short), padded(&signer, 100_000)];
    provider.answer(Endpoint::Elsewhere, replies[0].clone());
    let issuer = |number| {
        let origin = provider.issuer();
        format!("JwtGateIssuer i{number} https://i{number}.test audience=api jwks={origin}/{number} refresh=1s\n")
    };
    let server = start(Site::new(), &((0..FILES).map(issuer).collect::<String>() + GATED));
    let folder = server.root.join("state");
    let files = await_key_files(&folder, FILES);
    let mut early = File::open(&files[0]).unwrap();
    let (mut lengths, mut versions) = (BTreeSet::new(), BTreeSet::new());
    await_true("files that are replaced", || {
        for file in &files {
            // Also a moment at which there is no file would be seen.
            let (from, fetched, keys) = read(&fs::read(file).unwrap());
            assert_eq!(serde_json::from_str::<serde_json::Value>(&keys).unwrap()["keys"], short["keys"]);
            lengths.insert(keys.len());
            if versions.insert((from, fetched)) {
                provider.answer(Endpoint::Elsewhere, replies[versions.len() % 2].clone());
            }
        }
        versions.len() > 4 * FILES
    });
    assert_eq!(lengths.len(), 2, "{lengths:?}");
    let mut bytes = Vec::new();
    early.read_to_end(&mut bytes).unwrap();
    read(&bytes);
    // Drafts come and go; none stays.
    await_true("only key sets", || content(&folder).len() == FILES);
}

#[test]
fn a_folder_that_is_not_the_servers_alone_is_not_used() {
    let (provider, signer) = provider();
    let token = provider.token(&signer).sign();
    let site = Site::new();
    let root = site.root.clone();
    fs::write(root.join("file"), "kept").unwrap();
    let directives = |folder: &Path| format!("JwtGateStateDir {}\n{}", folder.display(), issuer(&provider, ""));
    let mut server = start(site, &directives(&root.join("file")));
    await_let_in(&server, &token);
    // From here on, there is no network: keys live in shared memory alone.
    provider.door(Door::Closed);
    let user = user_of(&server);

    let folder = |name: &str, (uid, gid): (u32, u32), bits: u32| {
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        let draft = path.join("0.keys.0.draft");
        File::create(&draft).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        chown(&path, Some(uid), Some(gid)).unwrap();
        mode(&path, bits);
        path
    };
    let good = folder("good", user, 0o700);
    symlink(&good, root.join("link")).unwrap();
    symlink(root.join("nothing"), root.join("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
    let own = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    // Who is not root owns nothing that is not the server's.
    let foreign = if own.0 == 0 { folder("foreign", own, 0o700) } else { PathBuf::from("/usr") };
    let cases = [
        (root.join("file"), "is not a folder"),
        (root.join("link"), "is not a folder"),
        (root.join("dangling"), "is not a folder"),
        (root.join("pipe"), "is not a folder"),
        (root.join("conf/httpd.conf/below"), "cannot be used"),
        (PathBuf::from("/proc/jwt_gate/state"), "cannot be made"),
        (folder("world", user, 0o707), "can be written by others"),
        (folder("group", user, 0o770), "can be written by others"),
        (foreign.clone(), "belongs to the user with number"),
    ];
    for (path, fault) in cases {
        let line = format!("JG2205 JwtGateStateDir: {} {fault}", path.display());
        server.expect_log(&line);
        let before = server.log.count(&line);
        server.graceful_with(&directives(&path));
        assert_eq!(server.log.count(&line), before + 1, "{line}");
        assert_eq!(status(&server, &token), 200, "{line}");
    }
    for untouched in ["good", "world", "group"].map(|name| root.join(name)).iter().chain([&foreign]) {
        let names = content(untouched);
        assert!(untouched.starts_with("/usr") || names == ["0.keys.0.draft"], "{names:?}");
    }
    assert!(!root.join("nothing").exists());
    assert_eq!(fs::read(root.join("file")).unwrap(), b"kept");
    assert_eq!(provider.count(Endpoint::Keys), 1);
    assert_eq!(server.log.count("JG4004"), 0, "a folder that is not used is not written to");
}

#[test]
fn trouble_with_writing_is_told_once_and_so_is_its_end() {
    let (provider, first) = provider();
    let mut server = start(Site::new(), &issuer(&provider, "refresh=1s"));
    await_let_in(&server, &provider.token(&first).sign());
    let (folder, away) = (server.root.join("state"), server.root.join("away"));
    let file = await_key_files(&folder, 1).remove(0);
    server.expect_log(&format!("JG4004 JwtGateStateDir: {} cannot be written", file.display()));

    let breaks: [&dyn Fn(); 2] = [&|| mode(&folder, 0o500), &|| fs::rename(&folder, &away).unwrap()];
    let mends: [&dyn Fn(); 2] = [&|| mode(&folder, 0o700), &|| fs::rename(&away, &folder).unwrap()];
    for (number, (spoil, mend)) in breaks.iter().zip(mends).enumerate() {
        let times = number + 1;
        spoil();
        await_true("the warning", || server.log.count("JG4004") == times);
        let signer = Signer::ec("ES256", &format!("new-{times}"));
        provider.publish(&[&signer]);
        // This takes another fetch, whose keys cannot be written either.
        await_let_in(&server, &provider.token(&signer).sign());
        assert_eq!((server.log.count("JG4004"), server.log.count("JG4005")), (times, number));
        mend();
        await_true("the end of it", || server.log.count("JG4005") == times);
        await_true("the new keys", || read(&fs::read(&file).unwrap()).2 == jwks(&[&signer]));
        await_true("no draft", || content(&folder).len() == 1);
    }

    // Keys that are in memory alone outlive a graceful restart.
    mode(&folder, 0o500);
    await_true("the warning", || server.log.count("JG4004") == 3);
    let last = Signer::ec("ES256", "last");
    provider.publish(&[&last]);
    let token = provider.token(&last).sign();
    await_let_in(&server, &token);
    provider.door(Door::Closed);
    server.expect_log("JG4002");
    server.graceful();
    assert_eq!(status(&server, &token), 200);
    server.await_log("JG4002");
    assert_eq!(status(&server, &token), 200);
    assert_ne!(read(&fs::read(&file).unwrap()).2, jwks(&[&last]));
    mode(&folder, 0o700);
}

#[test]
fn a_full_disk_leaves_the_last_file_whole() {
    let (provider, first) = provider();
    let mut server = start(Site::new(), &issuer(&provider, "refresh=1s"));
    await_let_in(&server, &provider.token(&first).sign());
    let folder = server.root.join("state");
    let file = await_key_files(&folder, 1).remove(0);
    // Children inherit that no file may be longer than this; the log is shorter.
    let parent = Pid::from_raw(server.pid());
    let limit = prlimit(parent, Resource::Fsize, Rlimit { current: Some(50_000), maximum: None }).unwrap();
    assert_eq!(limit.current, None);
    server.graceful();
    let second = Signer::ec("ES256", "two");
    server.expect_log(&format!("JG4004 JwtGateStateDir: {} cannot be written: File too large", file.display()));
    provider.answer(Endpoint::Keys, padded(&second, 100_000));
    server.await_log("JG4004");
    await_let_in(&server, &provider.token(&second).sign());
    // A draft is there for a moment at each attempt. The children of before may have ended over theirs.
    let pids = server.children();
    let own = |name: &String| pids.iter().any(|pid| name.ends_with(&format!(".{pid}.draft")));
    await_true("no draft", || !content(&folder).iter().any(own));
    assert_eq!(read(&fs::read(&file).unwrap()).2, jwks(&[&first]));
    provider.publish(&[&second]);
    server.await_log("JG4005");
    await_true("the new keys", || read(&fs::read(&file).unwrap()).2 == jwks(&[&second]));
}

#[test]
fn drafts_of_the_dead_are_removed_at_start() {
    let (provider, signer) = provider();
    let mut server = start(Site::new(), &issuer(&provider, ""));
    await_let_in(&server, &provider.token(&signer).sign());
    let folder = server.root.join("state");
    let file = await_key_files(&folder, 1).remove(0);
    server.stop();

    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let (old, fresh) = (SystemTime::now() - Duration::from_secs(120), SystemTime::now());
    let own_fresh = format!("{name}.1.draft");
    let kept = [(own_fresh.as_str(), fresh), ("notes.txt", old), ("0000.keys", old)];
    let removed = [(format!("{name}.2.draft"), old), ("0000.list.3.draft".to_owned(), old)];
    let removed = removed.iter().map(|(name, time)| (name.as_str(), *time));
    for (name, time) in kept.into_iter().chain(removed) {
        let file = File::create(folder.join(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
    server.start_again();
    let mut names = vec![name, own_fresh, "notes.txt".to_owned(), "0000.keys".to_owned()];
    names.sort();
    // A fetch at the start has a draft for a moment.
    await_true("what is kept, and no more", || content(&folder) == names);
}

/// A server that was started without its providers over a folder in which somebody has been.
struct Tampered {
    server: Server,
    provider: Provider,
    /// Its key was published.
    good: Signer,
    /// Its key is in the files.
    evil: Signer,
    /// By the case's name, which is that of its issuer.
    files: BTreeMap<&'static str, PathBuf>,
}

impl Tampered {
    /// Lets a server keep the keys of an issuer for each case, and puts into each file what the case says.
    fn new(cases: &[(&'static str, Tamper)]) -> Self {
        let (provider, good, evil) = (Provider::http(), Signer::ec("ES256", "good"), Signer::ec("ES256", "evil"));
        provider.answer(Endpoint::Elsewhere, Reply::keys(&[&good]));
        let issuer = |(name, _): &(&str, Tamper)| {
            format!("JwtGateIssuer {name} https://{name}.test audience=api jwks={}/{name}\n", provider.issuer())
        };
        let mut server = start(Site::new(), &(cases.iter().map(issuer).collect::<String>() + GATED));
        let folder = server.root.join("state");
        let mut files = BTreeMap::new();
        for file in await_key_files(&folder, cases.len()) {
            let (from, ..) = read(&fs::read(&file).unwrap());
            let (name, _) = cases.iter().find(|(name, _)| from.ends_with(&format!("/{name}"))).unwrap();
            files.insert(*name, file);
        }
        let user = user_of(&server);
        server.stop();
        provider.door(Door::Closed);
        for (name, tamper) in cases {
            tamper.apply(&files[name], &evil, user);
        }
        server.start_again();
        Self { server, provider, good, evil, files }
    }

    fn token(&self, name: &str, signer: &Signer) -> String {
        Token::new(signer).claim("iss", format!("https://{name}.test")).sign()
    }

    /// What is answered to a token that was made with the key in the files.
    fn status_of_evil(&self, name: &str) -> u16 {
        status(&self.server, &self.token(name, &self.evil))
    }

    /// Whether the log says that a file is not used.
    fn speaks_of(&self, name: &str) -> bool {
        let file = self.files[name].file_name().unwrap().to_str().unwrap();
        let log = self.server.log.text();
        log.lines().filter(|line| line.contains(file)).any(|line| line.contains("JG2205"))
    }
}

/// What somebody does to a file.
enum Tamper {
    /// Other bytes in it, made of a valid file with the key of somebody else.
    Bytes(fn(Vec<u8>) -> Vec<u8>),
    /// Those keys, said to be from elsewhere.
    From(&'static str),
    /// Those keys, said to be fetched then.
    Fetched(fn(u64) -> String),
    /// Not those keys but this.
    Keys(fn(&Signer) -> String),
    /// Those keys, with this mode.
    Mode(u32),
    /// Those keys, as the file of this user.
    Owner(u32),
    /// Something else in its place.
    Pipe,
    Link,
    Folder,
}

impl Tamper {
    fn apply(&self, path: &Path, evil: &Signer, user: (u32, u32)) {
        let (from, ..) = read(&fs::read(path).unwrap());
        let time = now() * 1_000_000;
        let keys = jwks(&[evil]);
        let whole = written(&from, time, &keys);
        // Over what was there, so that mode and owner stay.
        let put = |bytes: &[u8]| fs::write(path, bytes).unwrap();
        match self {
            Self::Bytes(change) => put(&change(whole)),
            Self::From(other) => put(&written(other, time, &keys)),
            Self::Fetched(when) => put(&written(&from, when(time), &keys)),
            Self::Keys(make) => put(&written(&from, time, &make(evil))),
            Self::Mode(bits) => {
                put(&whole);
                mode(path, *bits);
            }
            Self::Owner(uid) => {
                put(&whole);
                chown(path, Some(*uid), None).unwrap();
            }
            Self::Pipe => {
                fs::remove_file(path).unwrap();
                assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
            }
            Self::Link => {
                put(&whole);
                let target = path.with_extension("target");
                fs::rename(path, &target).unwrap();
                symlink(&target, path).unwrap();
            }
            Self::Folder => {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }
        }
        std::os::unix::fs::lchown(path, (!matches!(self, Self::Owner(_))).then_some(user.0), Some(user.1)).unwrap();
    }
}

#[test]
fn what_is_wrong_in_the_folder_is_ignored_and_fetched_anew() {
    let mut cases: Vec<(&str, Tamper)> = vec![
        ("empty", Tamper::Bytes(|_| Vec::new())),
        ("noise", Tamper::Bytes(|_| (0..=255).cycle().take(10_000).collect())),
        ("cut", Tamper::Bytes(|bytes| bytes[..bytes.len() - 1].to_vec())),
        ("half", Tamper::Bytes(|bytes| bytes[..bytes.len() / 2].to_vec())),
        ("head", Tamper::Bytes(|bytes| bytes[..30].to_vec())),
        ("longer", Tamper::Bytes(|bytes| [&bytes[..], b"\n"].concat())),
        ("newer", Tamper::Bytes(|bytes| String::from_utf8(bytes).unwrap().replacen("set 1", "set 2", 1).into_bytes())),
        ("huge", Tamper::Bytes(|bytes| [&bytes[..], &vec![b' '; 10_000_000]].concat())),
        ("stranger", Tamper::From("https://elsewhere.test/keys")),
        ("unsaid", Tamper::From("")),
        ("soon", Tamper::Fetched(|_| "soon".to_owned())),
        ("minus", Tamper::Fetched(|_| "-1".to_owned())),
        ("overflow", Tamper::Fetched(|_| "9".repeat(40))),
        ("text", Tamper::Keys(|_| "keys".to_owned())),
        ("none", Tamper::Keys(|_| json!({"keys": []}).to_string())),
        ("unusable", Tamper::Keys(|_| json!({"keys": [{"kty": "oct", "kid": "evil", "k": "AAAA"}]}).to_string())),
        ("deep", Tamper::Keys(|_| "[".repeat(100_000))),
        ("long", Tamper::Keys(|evil| json!({"keys": [evil.jwk()], "padding": "0".repeat(200_000)}).to_string())),
        ("world", Tamper::Mode(0o602)),
        ("group", Tamper::Mode(0o620)),
        ("pipe", Tamper::Pipe),
        ("link", Tamper::Link),
        ("folder", Tamper::Folder),
    ];
    // To give a file to somebody else takes root.
    if geteuid().is_root() {
        cases.push(("foreign", Tamper::Owner(65_534)));
    }
    let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    // A file of the same making in which nothing is wrong is believed.
    cases.push(("believed", Tamper::Mode(0o600)));
    let mut tampered = Tampered::new(&cases);
    tampered.server.expect_log("JG2205");
    tampered.server.expect_log("JG4002");
    let evil = |name: &str| tampered.status_of_evil(name);
    let await_refused = |name: &str| await_true("all processes to have the new keys", || evil(name) == 401);
    assert_eq!(evil("believed"), 200);
    for name in &names {
        assert!(tampered.speaks_of(name), "no line about {name}");
        assert_eq!(evil(name), 503, "{name}");
    }
    tampered.server.await_log("JG4002");
    tampered.provider.door(Door::Open);
    for name in &names {
        await_let_in(&tampered.server, &tampered.token(name, &tampered.good));
        await_refused(name);
    }
    let user = user_of(&tampered.server);
    for name in names.iter().filter(|name| **name != "folder") {
        let file = &tampered.files[name];
        let good = || fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.len() < 1000);
        await_true("a new file", || good() && fs::read(file).is_ok_and(|bytes| bytes.ends_with(b"}")));
        await_true("a new file", || read(&fs::read(file).unwrap()).2 == jwks(&[&tampered.good]));
        assert_eq!(owner(file), (0o600, user), "{name}");
    }
    // What lies in a file's place and is none is not removed: who put it there is told.
    tampered.server.expect_log(&format!("JG4004 JwtGateStateDir: {} cannot be", tampered.files["folder"].display()));
    tampered.server.await_log("JG4004");
    // A link is replaced, and not what it leads to.
    let target = fs::read(tampered.files["link"].with_extension("target")).unwrap();
    assert_eq!(read(&target).2, jwks(&[&tampered.evil]));
}

#[test]
fn keys_of_another_time_are_ignored_and_spoken_of() {
    let cases = [
        ("first", Tamper::Fetched(|_| "0".to_owned())),
        ("yesterday", Tamper::Fetched(|now| (now - DAY - 60_000_000).to_string())),
        ("tomorrow", Tamper::Fetched(|now| (now + DAY).to_string())),
        ("last", Tamper::Fetched(|_| u64::MAX.to_string())),
        // stale= is a day
        ("believed", Tamper::Fetched(|now| (now - DAY + 60_000_000).to_string())),
    ];
    let mut tampered = Tampered::new(&cases);
    tampered.server.expect_log("JG4002");
    let evil = |name: &str| tampered.status_of_evil(name);
    let await_refused = |name: &str| await_true("all processes to have the new keys", || evil(name) == 401);
    assert_eq!(evil("believed"), 200);
    let names = ["first", "yesterday", "tomorrow", "last"];
    for name in names {
        assert_eq!(evil(name), 503, "{name}");
    }
    tampered.server.await_log("JG4002");
    tampered.provider.door(Door::Open);
    for name in names.into_iter().chain(["believed"]) {
        await_let_in(&tampered.server, &tampered.token(name, &tampered.good));
        await_refused(name);
    }
    let silent: Vec<&str> = names.into_iter().filter(|name| !tampered.speaks_of(name)).collect();
    tampered.server.expect_log("JG2205");
    assert_eq!(silent, [""; 0], "no line about these");
}

#[test]
fn servers_do_not_share_what_is_not_theirs() {
    let (provider, signer) = provider();
    let token = provider.token(&signer).sign();
    let first = start(Site::new(), &issuer(&provider, ""));
    await_let_in(&first, &token);
    let folder = first.root.join("state");
    let file = await_key_files(&folder, 1).remove(0);
    let before = (owner(&folder), owner(&file), fs::read(&file).unwrap());

    // Of the same user, with a ServerRoot and a folder of its own.
    let second = start(Site::new(), &issuer(&provider, ""));
    await_let_in(&second, &token);
    let own = await_key_files(&second.root.join("state"), 1).remove(0);
    assert_eq!(own.file_name(), file.file_name());
    assert_eq!(before, (owner(&folder), owner(&file), fs::read(&file).unwrap()));

    // Of another user, with the folder of the first; who is not root starts servers of one user only.
    let site = Site::new();
    let more = format!("JwtGateStateDir {}\n", folder.display());
    if geteuid().is_root() {
        let user = "User nobody\nGroup nogroup\n";
        let mut third = start(site, &(more + user + &issuer(&provider, "")));
        third.expect_log(&format!("JG2205 JwtGateStateDir: {} belongs to the user with number", folder.display()));
        await_let_in(&third, &token);
        assert_ne!(user_of(&third), user_of(&first));
        third.graceful();
        assert_eq!(status(&third, &token), 200);
        assert_eq!(before, (owner(&folder), owner(&file), fs::read(&file).unwrap()));
    } else {
        let third = start(site, &(more + &issuer(&provider, "")));
        assert_eq!(status(&third, &token), 200);
    }
    assert_eq!(content(&folder).len(), 1);
}

#[test]
fn neither_tokens_nor_secrets_are_written_anywhere() {
    let (provider, signer) = (Provider::http(), Signer::ec("ES256", "one"));
    let shared = Signer::hmac("HS256", b"a secret that a provider publishes by mistake").jwk();
    let mut private = Signer::ec("ES256", "private").jwk();
    private["d"] = base64url([7; 32]).into();
    provider.answer(Endpoint::Keys, Reply::key_set(&[signer.jwk(), shared.clone(), private.clone()]));
    let site = Site::new().children(1);
    site.write("conf/revoked.json", r#"{"revoked": [{"issuer": "main", "jti": "gone"}]}"#);
    let mut server = start(
        site,
        &format!(
            r#"LogLevel jwt_gate:trace8
            LimitRequestFieldSize 16384
            JwtGateIssuer own https://own.test audience=api secret=keys/hs256.secret
            JwtGateRevocations conf/revoked.json
            {}
            <Location "/cookie">
                JwtGateCredentials bearer cookie:session header:X-Token
            </Location>"#,
            issuer(&provider, "cooldown=1s")
        ),
    );
    server.expect_log("JG2203");
    let token = || provider.token(&signer);
    let good = token().sign();
    await_let_in(&server, &good);
    let own = Token::new(&server.keys.hs256).claim("iss", "https://own.test");
    assert_eq!(status(&server, &own.sign()), 200);
    let mut sent = vec![good.clone(), own.sign()];
    let stranger = Signer::ec("ES256", "stranger");
    for (token, reason) in [
        (own.forge(), "signature-invalid"),
        (token().forge(), "signature-invalid"),
        (token().claim("exp", now() - 1000).sign(), "token-expired"),
        (token().claim("aud", "other").sign(), "audience-mismatch"),
        (token().claim("iss", "https://other.test").sign(), "issuer-unknown"),
        (token().claim("jti", "gone").sign(), "token-revoked"),
        (token().header("typ", "other").sign(), "type-mismatch"),
        (token().header("crit", json!(["exp"])).sign(), "token-malformed"),
        (token().header("alg", "HS256").sign(), "algorithm-refused"),
        (token().claim("filler", "x".repeat(7000)).sign(), "token-too-large"),
        (provider.token(&stranger).sign(), "key-unknown"),
        (base64url([9; 99]), "token-malformed"),
    ] {
        server.refused(&server.get("/").bearer(&token), 401, reason);
        server.refused(&server.get("/cookie").header("Cookie", format!("session={token}")), 401, reason);
        sent.push(token);
    }
    let twice = server.get("/cookie").header("X-Token", &good).header("Cookie", format!("session={good}"));
    server.refused(&twice, 400, "credentials-ambiguous");
    let file = await_key_files(&server.root.join("state"), 1).remove(0);
    let keys = file.file_name().unwrap().to_str().unwrap().to_owned();
    server.graceful();
    assert_eq!(status(&server, &good), 200);
    server.stop();

    let secret = fs::read_to_string(server.root.join("keys/hs256.secret")).unwrap();
    let mut hidden = vec![secret.clone(), base64url(&secret)];
    for token in &sent {
        // The header's part is the same in many tokens, and says nothing.
        hidden.extend(token.split('.').filter(|part| !part.starts_with("eyJhbGciOi")).map(str::to_owned));
    }
    let published = [&shared["k"], &private["d"]].map(|value| value.as_str().unwrap().to_owned());
    let mut searched = 0;
    for folder in ["state", "logs", "run"] {
        for name in content(&server.root.join(folder)) {
            let path = server.root.join(folder).join(&name);
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            searched += usize::from(!text.is_empty());
            // What a provider tells everybody stays in the file, and its drafts, that only the server can read.
            let also = published.iter().filter(|_| !name.starts_with(&keys));
            for hidden in hidden.iter().chain(also) {
                assert!(!text.contains(hidden.as_str()), "{} has {hidden}", path.display());
            }
        }
    }
    // logs/error.log, logs/access.log, the keys, and the list
    assert!(searched >= 4, "{searched} files");
    assert!(server.log.count("key-unknown") > 0);
}
