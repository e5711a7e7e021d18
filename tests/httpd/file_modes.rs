//! Files that everybody on the machine may change: warned about, and used.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Site, await_true};

/// Whoever can write a list can let themselves in. At a check, at a start, and once with each change.
#[test]
fn files_that_everybody_may_change_are_warned_about() {
    let site = Site::new();
    let files = ["keys.json", "revoked.json", "office.txt"].map(|name| format!("conf/{name}"));
    for (file, text) in files.iter().zip([r#"{"keys":[]}"#, r#"{"revoked":[]}"#, "192.0.2.0/24\n"]) {
        site.write(file, text);
    }
    let mode = |site: &Site, file: &str, mode| {
        fs::set_permissions(site.root.join(file), fs::Permissions::from_mode(mode)).unwrap();
    };
    const NAMED: &str = "JwtGateApiKeys conf/keys.json\nJwtGateRevocations conf/revoked.json\n\
                         JwtGateNetwork office file=conf/office.txt\n";
    let check = site.configtest(NAMED);
    assert!(check.passed && !check.output.contains("JG2111"), "{check:?}");
    for (file, directive) in files.iter().zip(["JwtGateApiKeys", "JwtGateRevocations", "JwtGateNetwork office"]) {
        mode(&site, file, 0o666);
        let check = site.configtest(NAMED);
        assert!(check.passed && check.output.matches("JG2111").count() == 1, "{check:?}");
        let path = site.root.join(file).display().to_string();
        let said = format!("{path} can be written by everybody (mode 666): run `chmod o-w {path}`");
        let named = format!("JG2111 {directive}");
        assert!(check.output.contains(&said) && check.output.contains(&named), "{said}\n{check:?}");
        mode(&site, file, 0o664);
    }
    mode(&site, "conf", 0o777);
    let check = site.configtest(NAMED);
    assert_eq!(check.output.matches("can be replaced by everybody, because of the folder ").count(), 3, "{check:?}");
    mode(&site, "conf", 0o755);

    mode(&site, &files[0], 0o666);
    let mut server = site.start(NAMED);
    server.expect_log("JG2111 JwtGateApiKeys: ");
    assert_eq!(server.log.count("JG2111"), 1);
    mode(&server, &files[0], 0o644);
    mode(&server, &files[1], 0o646);
    server.expect_log("JG2111 JwtGateRevocations: ");
    server.await_log("(mode 646)");
    // Of a version that is not used, more is wrong than that.
    fs::write(server.root.join(&files[2]), "nothing\n").unwrap();
    mode(&server, &files[2], 0o666);
    server.expect_log("JG4007 JwtGateNetwork office (");
    server.await_log("JG4007");
    assert_eq!(server.log.count("JG2111"), 2);
    fs::write(server.root.join(&files[2]), "192.0.2.0/25\n").unwrap();
    server.expect_log("JG2111 JwtGateNetwork office (");
    await_true("the warning", || server.log.count("JG2111") == 3);
    mode(&server, &files[2], 0o644);
    fs::write(server.root.join(&files[2]), "192.0.2.0/26\n").unwrap();
    await_true("the change", || server.log.count("JG4006 JwtGateNetwork office (") == 2);
    assert_eq!(server.log.count("JG2111"), 3);
}
