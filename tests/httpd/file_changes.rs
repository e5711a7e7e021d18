//! Files with keys that change while the server runs: every process follows, soon and without a restart, and a bad
//! file changes nothing.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::each_child::answers_of_new_children;
use crate::harness::tokens::jwks;
use crate::harness::{AtEnd, GATED, Mpm, Request, Server, Signer, Site, Token, await_true};

/// A server with these issuers of the keys behind them.
fn start(site: Site, issuers: &[(&str, &str)]) -> Server {
    site.start(&directives(issuers))
}

fn directives(issuers: &[(&str, &str)]) -> String {
    let issuers = issuers.iter().map(|(name, keys)| issuer(name, keys)).collect::<String>();
    format!("{issuers}{GATED}")
}

fn issuer(name: &str, keys: &str) -> String {
    format!("JwtGateIssuer {name} https://{name}.test audience=api {keys}\n")
}

/// A request with a new token of this issuer.
fn by(server: &Server, name: &str, signer: &Signer) -> Request {
    server.get("/").bearer(Token::new(signer).claim("iss", format!("https://{name}.test")).sign())
}

fn ec(kid: &str) -> Signer {
    Signer::ec("ES256", kid)
}

/// A key for HMAC and its file.
fn secret(text: &str) -> (Signer, String) {
    let text = text.repeat(480 / text.len());
    (Signer::hmac("HS256", text.as_bytes()), text)
}

/// Waits until a changed file is in use, for this many changes.
fn await_change(server: &Server, path: &str, times: usize) {
    server.await_log_lines(times, &format!("{path} has changed: "));
}

/// Keys are added to files of every kind, then others are taken away.
fn rotation(mpm: Mpm) {
    let (old, new, kept) = (ec("old"), ec("new"), ec("kept"));
    let [(old_secret, old_text), (new_secret, new_text), (kept_secret, kept_text)] = ["old", "new", "kept"].map(secret);
    let site = Site::new().mpm(mpm).children(3);
    site.write("keys/set.jwks", jwks(&[&old, &kept]));
    site.write("keys/two.pem", old.pem() + &kept.pem());
    site.write("keys/first.pem", old.pem());
    site.write("keys/second.pem", kept.pem());
    site.write_secret("keys/current.secret", &old_text);
    site.write_secret("keys/previous.secret", &kept_text);
    let server = start(
        site,
        &[
            ("set", "jwks=file:keys/set.jwks"),
            ("two", "pem=keys/two.pem"),
            ("pems", "pem=keys/first.pem,keys/second.pem"),
            ("secrets", "secret=keys/current.secret,keys/previous.secret"),
        ],
    );
    let public = |signer| ["set", "two", "pems"].map(|name| by(&server, name, signer));
    let (olds, news, kepts) = (public(&old), public(&new), public(&kept));
    let [old_secret, new_secret, kept_secret] =
        [&old_secret, &new_secret, &kept_secret].map(|signer| by(&server, "secrets", signer));
    let mut children = server.each_child();
    for _ in 0..2 {
        for request in olds.iter().chain(&kepts).chain([&old_secret, &kept_secret]) {
            children.assert_status(request, 200);
        }
    }
    for request in news.iter().chain([&new_secret]) {
        children.assert_status(request, 401);
    }

    server.write("keys/set.jwks", jwks(&[&new, &old, &kept]));
    server.write("keys/two.pem", old.pem() + &kept.pem() + &new.pem());
    server.write("keys/second.pem", new.pem());
    server.write_secret("keys/previous.secret", &old_text);
    server.write_secret("keys/current.secret", &new_text);
    for request in news.iter().chain([&new_secret]) {
        children.await_status(request, 200);
    }
    for path in ["set.jwks", "two.pem", "second.pem", "previous.secret", "current.secret"] {
        await_change(&server, path, 1);
    }
    for request in olds.iter().chain([&old_secret]).chain(&kepts[..2]) {
        children.assert_status(request, 200);
    }
    children.await_status(&kept_secret, 401);
    children.await_status(&kepts[2], 401);

    server.write("keys/set.jwks", jwks(&[&new]));
    server.write("keys/two.pem", new.pem());
    server.write("keys/first.pem", kept.pem());
    server.write_secret("keys/previous.secret", &new_text);
    for request in olds.iter().chain([&old_secret]) {
        children.await_status(request, 401);
    }
    for request in news.iter().chain([&new_secret, &kepts[2]]) {
        children.assert_status(request, 200);
    }
    drop(children);
    server.refused(&olds[0], 401, "key-unknown");
    server.refused(&olds[1], 401, "signature-invalid");
    server.refused(&olds[2], 401, "signature-invalid");
    server.refused(&old_secret, 401, "signature-invalid");
    // One process speaks for all.
    server.await_log_lines(9, "JG4006");
}

#[test]
fn every_process_uses_new_keys_and_refuses_old_ones_under_prefork() {
    rotation(Mpm::Prefork);
}

#[test]
fn every_process_uses_new_keys_and_refuses_old_ones_under_worker() {
    rotation(Mpm::Worker);
}

#[test]
fn every_process_uses_new_keys_and_refuses_old_ones_under_event() {
    rotation(Mpm::Event);
}

#[test]
fn a_file_that_is_being_written_is_not_in_use_before_it_is_whole() {
    let (old, new, kept) = (ec("old"), ec("new"), ec("kept"));
    let [(old_secret, old_text), (new_secret, new_text), (kept_secret, kept_text)] = ["old", "new", "kept"].map(secret);
    // What is in the file for a while would do as a secret, too.
    let part_secret = Signer::hmac("HS256", &new_text.as_bytes()[..160]);
    let site = Site::new();
    site.write("keys/set.jwks", jwks(&[&kept, &old]));
    site.write("keys/two.pem", kept.pem() + &old.pem());
    site.write_secret("keys/slow.secret", &old_text);
    site.write_secret("keys/kept.secret", &kept_text);
    let server = start(
        site,
        &[
            ("set", "jwks=file:keys/set.jwks"),
            ("two", "pem=keys/two.pem"),
            ("secrets", "secret=keys/slow.secret,keys/kept.secret"),
        ],
    );
    let all = |public, secret| [by(&server, "set", public), by(&server, "two", public), by(&server, "secrets", secret)];
    let (olds, news, kepts) = (all(&old, &old_secret), all(&new, &new_secret), all(&kept, &kept_secret));
    let part = by(&server, "secrets", &part_secret);
    let mut children = server.each_child();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Longer than it takes to find out that a file changes no more.
        let begin = |path: &'static str, content: String| {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let _end = AtEnd(done);
                server.write_slowly(path, content, 70);
            });
        };
        begin("keys/set.jwks", jwks(&[&new, &kept]));
        // Until it is whole, it looks like a file with one key for most of the time.
        begin("keys/two.pem", new.pem() + &"a comment ".repeat(200) + &kept.pem());
        begin("keys/slow.secret", new_text.clone());
        while !done.load(Ordering::Acquire) {
            for request in &kepts {
                children.assert_status(request, 200);
            }
            children.assert_status(&part, 401);
            for (old, new) in olds.iter().zip(&news) {
                let statuses = [children.statuses(old), children.statuses(new)];
                if !done.load(Ordering::Acquire) {
                    assert_eq!(statuses, [[200; 2], [401; 2]], "{old:?}");
                }
            }
        }
    });
    for (old, new) in olds.iter().zip(&news) {
        children.await_status(new, 200);
        children.assert_status(old, 401);
    }
    for request in &kepts {
        children.assert_status(request, 200);
    }
    children.assert_status(&part, 401);
}

#[test]
fn a_file_that_is_being_written_anew_is_not_in_use_before_it_is_whole() {
    let (new, kept) = (ec("new"), ec("kept"));
    let site = Site::new();
    site.write("keys/two.pem", kept.pem());
    let server = start(site, &[("two", "pem=keys/two.pem")]);
    let (new_key, kept_key) = (by(&server, "two", &new), by(&server, "two", &kept));
    let mut children = server.each_child();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _end = AtEnd(&done);
            // As editors do that keep a backup.
            std::fs::rename(server.root.join("keys/two.pem"), server.root.join("keys/two.pem~")).unwrap();
            server.write_slowly("keys/two.pem", new.pem() + &"a comment ".repeat(200) + &kept.pem(), 50);
        });
        while !done.load(Ordering::Acquire) {
            children.assert_status(&kept_key, 200);
        }
    });
    children.await_status(&new_key, 200);
    children.assert_status(&kept_key, 200);
}

/// What may be wrong with a file, each with its source of keys and what must be said of it.
const BAD: [(&str, &str, &str); 15] = [
    ("cut.jwks", "jwks=file:", "not a JWK set"),
    ("empty.jwks", "jwks=file:", "not a JWK set"),
    ("no-keys.jwks", "jwks=file:", "no usable key in the JWK set"),
    ("unusable.jwks", "jwks=file:", "no usable key in the JWK set"),
    ("absent.jwks", "jwks=file:", "cannot be read: No such file or directory"),
    ("pipe.jwks", "jwks=file:", "is not a regular file: name a file"),
    ("folder.jwks", "jwks=file:", "is not a regular file: name a file"),
    ("huge.jwks", "jwks=file:", "is larger than 1048576 bytes"),
    ("text.pem", "pem=", "no PEM block"),
    ("cut.pem", "pem=", "PEM block PUBLIC KEY has no -----END PUBLIC KEY-----"),
    ("private.pem", "pem=", "a private key"),
    ("short.secret", "secret=", "a secret of 5 bytes"),
    ("public.secret", "secret=", "run `chmod 640 "),
    ("writable.secret", "secret=", "run `chmod 640 "),
    ("absent.secret", "secret=", "cannot be read: No such file or directory"),
];

/// Makes a file bad in its own way.
fn spoil(site: &Site, name: &str) {
    let path = format!("keys/{name}");
    let content = match name {
        "cut.jwks" => "{\"keys\":[".to_owned(),
        "no-keys.jwks" => "{\"keys\":[]}".to_owned(),
        "unusable.jwks" => "{\"keys\":[{\"kty\":\"RSA\"}]}".to_owned(),
        "empty.jwks" => String::new(),
        "text.pem" => "no key at all\n".to_owned(),
        "cut.pem" => ec("cut").pem()[..100].to_owned(),
        "private.pem" => ec("cut").pem().replace("PUBLIC", "PRIVATE"),
        "short.secret" => return site.write_secret(&path, "short"),
        "public.secret" => return site.chmod(&path, 0o644),
        "writable.secret" => return site.chmod(&path, 0o642),
        _ => {
            std::fs::remove_file(site.root.join(&path)).unwrap();
            match name {
                "pipe.jwks" => {
                    assert!(Command::new("mkfifo").arg(site.root.join(path)).status().unwrap().success());
                }
                "folder.jwks" => std::fs::create_dir(site.root.join(path)).unwrap(),
                "huge.jwks" => std::fs::File::create(site.root.join(path)).unwrap().set_len(300 << 20).unwrap(),
                _ => {}
            }
            return;
        }
    };
    site.write(&path, content);
}

/// Writes a good file that holds the key of this text; tells it.
fn make_good(site: &Site, name: &str, text: &str) -> Signer {
    let path = format!("keys/{name}");
    if std::fs::metadata(site.root.join(&path)).is_ok_and(|found| found.is_dir()) {
        std::fs::remove_dir(site.root.join(&path)).unwrap();
    }
    if name.ends_with("secret") {
        let (signer, text) = secret(text);
        site.write_secret(&path, text);
        return signer;
    }
    let signer = ec(text);
    site.write(&path, if name.ends_with("pem") { signer.pem() } else { jwks(&[&signer]) });
    signer
}

/// An issuer for each of [`BAD`].
fn bad_issuers() -> String {
    let name = |file: &str| file.replace('.', "-");
    let sources = BAD.map(|(file, source, _)| (name(file), format!("{source}keys/{file}")));
    directives(&sources.each_ref().map(|(name, source)| (name.as_str(), source.as_str())))
}

fn by_file(server: &Server, file: &str, signer: &Signer) -> Request {
    by(server, &file.replace('.', "-"), signer)
}

#[test]
fn a_bad_file_changes_nothing_until_it_is_good_again() {
    let site = Site::new();
    let signers = BAD.map(|(file, ..)| make_good(&site, file, "one"));
    let mut server = site.start(&bad_issuers());
    let all = |server: &Server, signers: &[Signer], status| {
        for ((file, ..), signer) in BAD.iter().zip(signers) {
            assert_eq!(by_file(server, file, signer).status(), status, "{file}");
        }
    };
    all(&server, &signers, 200);
    for (file, ..) in BAD {
        spoil(&server, file);
    }
    for (file, _, why) in BAD {
        let said = format!("keys/{file}: ");
        server.expect_log(&said);
        await_true(&format!("JG4007 of {file}"), || {
            let text = server.log.text();
            let mut lines = text.lines().filter(|line| line.contains("JG4007") && line.contains(&said));
            let line = lines.next();
            assert!(lines.next().is_none(), "{line:?} is there twice");
            assert!(
                line.is_none_or(|line| line.contains(why) && line.ends_with("its last good version stays in use")),
                "{line:?}"
            );
            line.is_some()
        });
    }
    all(&server, &signers, 200);
    server.graceful();
    for (file, ..) in BAD {
        await_true("JG2002", || {
            server.log.text().lines().any(|line| {
                line.contains("JG2002") && line.contains(file) && line.contains("its last good version stays in use")
            })
        });
    }
    all(&server, &signers, 200);
    let new = BAD.map(|(file, ..)| make_good(&server, file, "two"));
    for (file, ..) in BAD {
        await_change(&server, file, 1);
    }
    let mut children = server.each_child();
    for ((file, ..), (old, new)) in BAD.iter().zip(signers.iter().zip(&new)) {
        children.await_status(&by_file(&server, file, new), 200);
        children.assert_status(&by_file(&server, file, old), 401);
    }
}

#[test]
fn a_bad_file_at_the_first_start_is_used_when_it_is_good() {
    let site = Site::new();
    let signers = BAD.map(|(file, ..)| {
        let signer = make_good(&site, file, "one");
        spoil(&site, file);
        signer
    });
    let check = site.configtest(&bad_issuers());
    assert!(!check.passed);
    for (file, _, why) in BAD {
        let mut lines = check.output.lines();
        assert!(lines.any(|line| line.contains(file) && line.contains(why)), "{file}\n{}", check.output);
    }
    let mut server = site.start(&bad_issuers());
    for ((file, ..), signer) in BAD.iter().zip(&signers) {
        // One line for each, which names the file.
        server.expect_log(&format!("keys/{file}: "));
        server.refused(&by_file(&server, file, signer), 503, "keys-unavailable");
    }
    assert_eq!(server.log.count("JG2002"), BAD.len());
    let signers = BAD.map(|(file, ..)| make_good(&server, file, "one"));
    let mut children = server.each_child();
    for ((file, ..), signer) in BAD.iter().zip(&signers) {
        children.await_status(&by_file(&server, file, signer), 200);
    }
    server.await_log_lines(BAD.len(), "JG4006");
}

#[test]
fn the_end_of_trouble_with_a_file_is_told_whatever_is_in_it() {
    let site = Site::new();
    site.write("keys/set.jwks", jwks(&[&ec("one")]));
    let mut server = start(site, &[("set", "jwks=file:keys/set.jwks")]);
    let good = std::fs::read(server.root.join("keys/set.jwks")).unwrap();
    server.write("keys/set.jwks", "{");
    server.expect_log("JG4007");
    server.await_log("JG4007");
    server.write("keys/set.jwks", good);
    server.await_log("JG4006");
}

#[test]
fn a_file_that_is_touched_and_the_same_is_not_spoken_of() {
    let signer = ec("one");
    let site = Site::new();
    for name in ["touched", "replaced", "moded", "sentinel"] {
        site.write(&format!("keys/{name}.jwks"), jwks(&[&signer]));
    }
    let server = start(
        site,
        &["touched", "replaced", "moded", "sentinel"]
            .map(|name| (name, format!("jwks=file:keys/{name}.jwks")))
            .each_ref()
            .map(|(name, source)| (*name, source.as_str())),
    );
    let all = ["touched", "replaced", "moded"].map(|name| by(&server, name, &signer));
    let mut children = server.each_child();
    for times in 1..3 {
        let content = std::fs::read(server.root.join("keys/touched.jwks")).unwrap();
        std::fs::write(server.root.join("keys/touched.jwks"), &content).unwrap();
        server.write("keys/replaced.jwks", &content);
        server.chmod("keys/moded.jwks", 0o640 + times);
        server.chmod("keys/moded.jwks", 0o644);
        // Files are looked at in their order, so this is the last one.
        server.write("keys/sentinel.jwks", jwks(&[&ec("other")]));
        await_change(&server, "keys/sentinel.jwks", usize::try_from(times).unwrap());
        for request in &all {
            children.assert_status(request, 200);
        }
    }
    assert_eq!(server.log.count("has changed"), 2);
    assert_eq!(server.log.count("JG4"), 2);
}

#[test]
fn a_secret_that_only_root_can_read_is_read_at_restarts() {
    let (old, old_text) = secret("old");
    let (new, new_text) = secret("new");
    let site = Site::new();
    let write = |site: &Site, text: &str| {
        site.write_secret("keys/draft.secret", text);
        site.chmod("keys/draft.secret", 0o600);
        std::fs::rename(site.root.join("keys/draft.secret"), site.root.join("keys/root.secret")).unwrap();
    };
    write(&site, &old_text);
    let mut server = start(site, &[("root", "secret=keys/root.secret")]);
    // Without root all processes are of one user, and this is a file like any other.
    let root = rustix::process::geteuid().is_root();
    assert_eq!(server.log.count("keys/root.secret cannot be read by the server's user"), usize::from(root));
    let (old, new) = (by(&server, "root", &old), by(&server, "root", &new));
    let mut children = server.each_child();
    children.assert_status(&old, 200);
    write(&server, &new_text);
    if root {
        server.expect_log("keys/root.secret: cannot be read: Permission denied");
        server.await_log("JG4007");
        children.assert_status(&old, 200);
        children.assert_status(&new, 401);
        assert_eq!(server.log.count("JG2204"), 1);
    }
    drop(children);
    server.graceful();
    let mut children = server.each_child();
    children.assert_status(&old, 401);
    children.assert_status(&new, 200);
    assert_eq!(server.log.count("JG2204"), 2 * usize::from(root));
}

#[test]
fn a_folder_that_only_root_can_enter_is_no_change() {
    let (hidden, text) = secret("hidden");
    let site = Site::new();
    std::fs::create_dir(site.root.join("private")).unwrap();
    site.write_secret("private/hidden.secret", &text);
    site.chmod("private", 0o700);
    site.write("keys/sentinel.jwks", jwks(&[&ec("one")]));
    let server =
        start(site, &[("hidden", "secret=private/hidden.secret"), ("sentinel", "jwks=file:keys/sentinel.jwks")]);
    let root = rustix::process::geteuid().is_root();
    assert_eq!(server.log.count("JG2204"), usize::from(root));
    for times in 1..3 {
        server.write("keys/sentinel.jwks", jwks(&[&ec("other")]));
        await_change(&server, "keys/sentinel.jwks", times);
    }
    assert_eq!(by(&server, "hidden", &hidden).status(), 200);
    assert_eq!(server.log.count("JG4"), 2);
}

/// Writes a file with so many keys, the last ones of these. Four are tried for a token, of all files together.
fn write_keys(site: &Site, path: &str, signers: &[Signer], count: usize) {
    site.write(path, signers[signers.len() - count..].iter().map(Signer::pem).collect::<String>());
}

const TWO_FILES: [(&str, &str); 1] = [("pems", "pem=keys/one.pem,keys/more.pem")];

#[test]
fn configtest_finds_too_many_keys_in_the_files_of_an_issuer() {
    let signers = ["a", "b", "c", "d", "e"].map(ec);
    let site = Site::new();
    site.write("keys/one.pem", signers[0].pem());
    write_keys(&site, "keys/more.pem", &signers, 3);
    let check = site.configtest(&directives(&TWO_FILES));
    assert!(check.passed, "{}", check.output);
    write_keys(&site, "keys/more.pem", &signers, 4);
    let check = site.configtest(&directives(&TWO_FILES));
    assert!(!check.passed && check.output.contains("JwtGateIssuer pems"), "{}", check.output);
}

#[test]
fn too_many_keys_at_the_first_start_are_told() {
    let signers = ["a", "b", "c", "d", "e"].map(ec);
    let site = Site::new();
    site.write("keys/one.pem", signers[0].pem());
    write_keys(&site, "keys/more.pem", &signers, 4);
    let mut server = start(site, &TWO_FILES);
    server.expect_log("JG2002 JwtGateIssuer pems");
    server.refused(&by(&server, "pems", &signers[0]), 503, "keys-unavailable");
    write_keys(&server, "keys/more.pem", &signers, 3);
    await_true("the new keys", || by(&server, "pems", &signers[0]).status() == 200);
}

#[test]
fn files_that_come_to_have_too_many_keys_change_nothing() {
    let signers = ["a", "b", "c", "d", "e"].map(ec);
    let site = Site::new();
    site.write("keys/one.pem", signers[0].pem());
    write_keys(&site, "keys/more.pem", &signers, 1);
    let mut server = start(site, &TWO_FILES);
    let requests = signers.each_ref().map(|signer| by(&server, "pems", signer));
    let statuses = || requests.each_ref().map(Request::status);
    assert_eq!(statuses(), [200, 401, 401, 401, 200]);
    write_keys(&server, "keys/more.pem", &signers, 4);
    server.expect_log("JG4007");
    await_true("a word about the file", || server.log.count("keys/more.pem") > 0);
    assert_eq!(statuses(), [200, 401, 401, 401, 200]);
    write_keys(&server, "keys/more.pem", &signers, 3);
    await_true("the new keys", || statuses() == [200, 401, 200, 200, 200]);
}

#[test]
fn issuers_and_hosts_that_share_a_file_follow_it_alike() {
    let (old, new) = (ec("old"), ec("new"));
    let site = Site::new();
    site.write("keys/v1.jwks", jwks(&[&old]));
    site.write("keys/v2.jwks", jwks(&[&new]));
    // Replaced as a whole folder is in containers: a link that comes to point somewhere else.
    symlink("v1.jwks", site.root.join("keys/shared.jwks")).unwrap();
    let server = site.start(&format!(
        "{}<VirtualHost *:${{PORT2}}>\n{}</VirtualHost>",
        directives(&[("one", "jwks=file:keys/shared.jwks"), ("two", "jwks=file:keys/shared.jwks")]),
        issuer("three", "jwks=file:keys/shared.jwks")
    ));
    let answers = |signer| {
        let three = by(&server, "three", signer).to(server.second_address());
        [by(&server, "one", signer), by(&server, "two", signer), three].map(|request| request.status())
    };
    assert_eq!((answers(&old), answers(&new)), ([200; 3], [401; 3]));
    symlink("v2.jwks", server.root.join("keys/next.jwks")).unwrap();
    std::fs::rename(server.root.join("keys/next.jwks"), server.root.join("keys/shared.jwks")).unwrap();
    let mut children = server.each_child();
    children.await_status(&by(&server, "one", &new), 200);
    assert_eq!((answers(&old), answers(&new)), ([401; 3], [200; 3]));
    server.await_log_lines(1, "JG4006");
}

#[test]
fn whoever_reads_files_may_die() {
    let keys = ["0", "1", "2"].map(ec);
    let site = Site::new().children(2);
    site.write("keys/set.jwks", jwks(&[&keys[0]]));
    let mut server = start(site, &[("set", "jwks=file:keys/set.jwks")]);
    let requests = keys.each_ref().map(|signer| by(&server, "set", signer));
    for n in 1..keys.len() {
        server.write("keys/set.jwks", jwks(&[&keys[n]]));
        let pid = server.children()[n % 2];
        server.kill_child(pid);
        let mut children = server.each_child();
        children.await_status(&requests[n], 200);
        children.assert_status(&requests[n - 1], 401);
        // Another process than the one that announced it finds the file changed, and the same.
        await_change(&server, "keys/set.jwks", n);
    }
}

#[test]
fn a_new_child_uses_the_newest_keys_from_its_first_request_on() {
    let (old, new) = (ec("old"), ec("new"));
    let site = Site::new().children(1);
    site.write("keys/set.jwks", jwks(&[&old]));
    let mut server = start(site, &[("set", "jwks=file:keys/set.jwks")]);
    server.write("keys/set.jwks", jwks(&[&new]));
    let (old, new) = (by(&server, "set", &old), by(&server, "set", &new));
    server.each_child().await_status(&new, 200);
    assert_eq!(answers_of_new_children(&mut server, &old), [401].into());
    assert_eq!(answers_of_new_children(&mut server, &new), [200].into());
}

#[test]
fn restarts_while_files_change_lose_nothing() {
    let kept = ec("kept");
    let site = Site::new();
    site.write("keys/set.jwks", jwks(&[&kept]));
    site.write_secret("keys/hidden.secret", secret("old").1);
    let mut server = start(site, &[("set", "jwks=file:keys/set.jwks"), ("hidden", "secret=keys/hidden.secret")]);
    let request = by(&server, "set", &kept);
    let (folder, stop, sent) = (server.root.join("keys"), AtomicBool::new(false), AtomicUsize::new(0));
    let load = || {
        let before = sent.load(Ordering::Relaxed);
        await_true("some load", || sent.load(Ordering::Relaxed) > before + 5 || stop.load(Ordering::Relaxed));
    };
    let mut hidden = by(&server, "hidden", &secret("old").0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(request.status(), 200);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(folder.join("draft"), jwks(&[&ec("another"), &kept])).unwrap();
                std::fs::rename(folder.join("draft"), folder.join("set.jwks")).unwrap();
                load();
            }
        });
        let end = AtEnd(&stop);
        for text in ["1", "2", "3", "4", "5"] {
            // A restart does not wait until a file changes no more.
            let (signer, content) = secret(text);
            server.write_secret("keys/hidden.secret", content);
            server.graceful();
            let new = by(&server, "hidden", &signer);
            assert_eq!((hidden.status(), new.status()), (401, 200));
            hidden = new;
            load();
        }
        drop(end);
    });
    let last = ec("last");
    server.write("keys/set.jwks", jwks(&[&last, &kept]));
    let mut children = server.each_child();
    children.await_status(&by(&server, "set", &last), 200);
    children.assert_status(&request, 200);
    children.assert_status(&hidden, 200);
}
