//! `jwt-gate keys show`

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use jwt_gate_core::keys::stored::StoredSet;
use jwt_gate_core::limit::{Geometry, SlotTable, TableKind};
use jwt_gate_core::net::list::{self, Format};
use jwt_gate_core::sync::{AtomicU64, Ordering};
use jwt_gate_core::time::UnixMicros;
use jwt_gate_core::{apikey, revocation};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::folder::{Folder, Run, file, words};

const FROM: &str = "discovery of https://login.example.com/";
/// RFC 8037 appendix A.2
const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn show(folder: &Folder, more: &[&str]) -> Run {
    words(&[&["keys", "show", "--state-dir", folder.path().to_str().unwrap()], more].concat())
}

/// With mode 600, whatever the umask is.
fn write(folder: &Folder, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) {
    let path = folder.path().join(name.as_ref());
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn jwks(keys: &Value) -> Vec<u8> {
    let jwks = json!({ "keys": keys }).to_string().into_bytes();
    StoredSet { from: FROM.to_owned(), fetched: UnixMicros::from_secs(1_700_000_000), jwks }.encode()
}

fn good_keys() -> Vec<u8> {
    let modulus = format!("AP{}w", "_".repeat(339)); // 255 octets of ones behind a zero
    jwks(&json!([
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": X, "use": "sig", "alg": "EdDSA" },
        { "kty": "RSA", "kid": "short", "n": modulus, "e": "AQAB" },
        { "kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc" },
        { "kty": "oct", "k": "c2VjcmV0" },
    ]))
}

fn quotas() -> Vec<u8> {
    let geometry = Geometry::for_bytes(64 << 10).unwrap();
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    SlotTable::format(TableKind::Quotas, &words, geometry, [1, 2]).unwrap();
    words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect()
}

fn good() -> Folder {
    let folder = Folder::new();
    write(&folder, "0a.keys", good_keys());
    let revoked = br#"{"revoked":[{"issuer":"login","jti":"a"},{"issuer":"other","sub":"b"}]}"#;
    write(&folder, "1b.list", revocation::compile(revoked).unwrap().bytes);
    let keys = file(&[("partner-a", r#","plan":"premium""#)]);
    write(&folder, "2c.list", apikey::compile(keys.as_bytes()).unwrap().bytes);
    let networks = list::compile(b"192.0.2.0/24 # office\n2001:db8::/32\n192.0.2.128/25\n", &Format::Cidr);
    write(&folder, "3d.list", networks.unwrap());
    write(&folder, "quotas.table", quotas());
    write(&folder, "quotas.table.bad", "");
    folder
}

#[test]
fn everything_that_the_server_keeps() {
    let run = show(&good(), &[]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
    let has = |text: &str| assert!(run.out.contains(text), "{text:?} in {}", run.out);
    has(
        "0a.keys: keys of an issuer\n  from     discovery of https://login.example.com/\n  fetched  2023-11-14T22:13:20Z, ",
    );
    has("  KID    KTY  ALG    USE  SIZE       STATE\n");
    has("  ed-1   OKP  EdDSA  sig  Ed25519    usable\n");
    has("  short  RSA  -      -    2040 bits  RSA modulus of 2040 bits; 2048 to 8192 are accepted\n");
    has("  enc    EC   -      enc  P-256      for use \"enc\", not for signatures\n");
    has("  -      oct  -      -    -          private or symmetric: ");
    has("1b.list: compiled revocations\n  entries   2\n  issuers   login, other\n  compiled  2");
    has("2c.list: compiled API keys\n  entries   1\n  plans     premium\n  networks  none\n");
    has("3d.list: compiled networks\n  entries   3\n  compiled  2");
    assert_eq!(run.out.matches("  of        a file whose SHA-256 is ").count(), 3, "{}", run.out);
    assert_eq!(run.out.matches("; its path is not known here\n").count(), 3, "{}", run.out);
    has("quotas.table: what is used of quotas\n  size      ");
    has("  in use    0 of ");
    has("quotas.table.bad: not looked at\n");
    assert!(!run.out.contains("c2VjcmV0"), "{}", run.out);
}

#[test]
fn json_for_programs() {
    let run = show(&good(), &["--json"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    let files = shown["files"].as_array().unwrap();
    let kinds: Vec<_> = files.iter().map(|file| file["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["keys", "revocations", "api-keys", "networks", "quotas", "other"]);
    assert_eq!((&files[0]["from"], &files[0]["fetched"]), (&json!(FROM), &json!("2023-11-14T22:13:20Z")));
    assert_eq!(
        files[0]["keys"][0],
        json!({ "kid": "ed-1", "kty": "OKP", "alg": "EdDSA", "use": "sig", "curve": "Ed25519", "bits": null,
                "problem": null })
    );
    assert_eq!(files[1]["entries"], 2);
    assert_eq!(files[3]["entries"], 3);
    // SHA-256 of the text above, by `sha256sum`.
    assert_eq!(files[3]["source_sha256"], "0e2c8f7b51ff46dc20be308abbb73f9217a748c263d6654eeb48c6149fd6d10b");
    assert!(files[4]["slots"].as_u64().unwrap() > 1000 && files[4]["used"] == 0, "{shown}");
}

/// What the server passes over is said, and everything else shown all the same.
#[test]
fn hostile_files_do_not_hide_the_others() {
    let folder = good();
    write(&folder, "a.keys", &good_keys()[..400]);
    write(&folder, "b.keys", "");
    write(&folder, "c.keys", jwks(&json!([{ "kid": "\u{1b}[2J\u{202e}", "kty": "\n" }])));
    write(&folder, "d.keys", jwks(&json!(vec![json!({ "kty": "OKP", "crv": "Ed25519", "x": X }); 5])));
    write(&folder, "e.keys", vec![b'x'; 400_000]);
    let hostile_from = String::from_utf8(good_keys()).unwrap().replacen("discovery", "\u{1b}[31m", 1);
    write(&folder, "f.keys", hostile_from);
    symlink("/etc/shadow", folder.path().join("g.keys")).unwrap();
    mknodat(CWD, folder.path().join("h.list"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut list = revocation::compile(br#"{"revoked":[]}"#).unwrap().bytes;
    list[20] ^= 1;
    write(&folder, "i.list", &list);
    write(&folder, "j.list", b"JWTGKEY\0");
    write(&folder, "k.list", "[]");
    write(&folder, "k2.list", b"JWTGNET\0");
    fs::create_dir(folder.path().join("l.list")).unwrap();
    write(&folder, "m.keys", good_keys());
    fs::set_permissions(folder.path().join("m.keys"), fs::Permissions::from_mode(0o622)).unwrap();
    write(&folder, OsStr::from_bytes(b"n\x1b[2J\xff\n.keys"), "");
    write(&folder, "quotas.table", &quotas()[..1000]);

    let run = show(&folder, &[]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.err.ends_with(": 16 of 21 files cannot be used; the server passes over them\n"), "{run:?}");
    let has = |text: &str| assert!(run.out.contains(text), "{text:?} in {}", run.out);
    has("0a.keys: keys of an issuer\n");
    has("2c.list: compiled API keys\n");
    has("a.keys: is cut off\n");
    has("b.keys: is not a key set of this module\n");
    has(r"  \u{1b}[2J\u{202e}  \u{a}  -    -    -     kty ");
    has("d.keys: keys of an issuer\n");
    has("  5 keys without kid; an issuer may have 4");
    has("e.keys: has 400000 bytes");
    has("f.keys: does not say whose keys it holds\n");
    has("g.keys: cannot be read: Too many levels of symbolic links");
    has("h.list: cannot be read: it is no regular file\n");
    has("i.list: the compiled list of revocations is damaged");
    has("j.list: the compiled list of API keys is damaged");
    has("k.list: is no compiled list\n");
    has("k2.list: the compiled list of networks is damaged");
    has("l.list: cannot be read: it is no regular file\n");
    has("m.keys: can be written by others than the server");
    has("quotas.table: is no table of quotas: its size has changed\n");
    assert!(!run.out.contains(|c: char| c.is_control() && c != '\n') && !run.out.contains('\u{202e}'), "{}", run.out);

    let run = show(&folder, &["--json"]);
    assert_eq!(run.code, Some(2));
    assert!(!run.out.contains(|c: char| c.is_control() && c != '\n') && !run.out.contains('\u{202e}'), "{}", run.out);
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(shown["files"].as_array().unwrap().len(), 21);
}

#[test]
fn a_folder_is_needed() {
    let folder = Folder::new();
    let empty = show(&folder, &[]);
    assert!(empty.code == Some(0) && empty.out.ends_with(" is empty\n"), "{empty:?}");
    let absent = folder.path().join("absent");
    words(&["keys", "show", "--state-dir", absent.to_str().unwrap()]).refused(
        2,
        "absent cannot be read: No such file or directory (os error 2); name the folder of JwtGateStateDir with --state-dir",
    );
    write(&folder, "file", "");
    let file = folder.path().join("file");
    words(&["keys", "show", "--state-dir", file.to_str().unwrap()]).refused(2, "file cannot be read: Not a directory");
}
