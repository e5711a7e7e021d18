//! The command line itself.

use crate::folder::{Folder, words};

#[test]
fn what_is_no_command_ends_with_2() {
    for wrong in [
        &[][..],
        &["apikey"],
        &["apikeys", "list"],
        &["apikey", "delete"],
        &["apikey", "list"],
        &["apikey", "revoke", "--file", "x"],
        &["apikey", "new", "--file", "x"],
        &["apikey", "new", "--file", "x", "--id"],
        &["apikey", "new", "--file", "x", "--id", "a", "--id", "b"],
        &["apikey", "new", "--file", "x", "--id", "a", "stray"],
        &["apikey", "new", "--file", "x", "--id", "a", "--key", "b"],
    ] {
        let run = words(wrong);
        assert!(run.code == Some(2) && run.out.is_empty() && !run.err.is_empty(), "{wrong:?}: {run:?}");
    }
}

#[test]
fn help_names_the_commands() {
    for (asked, answer) in [
        (&["--help"][..], "apikey"),
        (&["--version"], "jwt-gate 0."),
        (&["apikey", "--help"], "revoke"),
        (&["apikey", "new", "--help"], "--network"),
        (&["apikey", "list", "--help"], "--json"),
    ] {
        let run = words(asked);
        assert!(run.code == Some(0) && run.out.contains(answer) && run.err.is_empty(), "{asked:?}: {run:?}");
    }
}

#[test]
fn a_wrong_option_changes_nothing() {
    let folder = Folder::new();
    for (wrong, why) in [
        (&["--id", ""][..], "\"id\" is empty"),
        (&["--id", "a b"], "\"id\""),
        (&["--id", "a\n"], "\"id\""),
        (&["--id", "a", "--plan", "a b"], "\"plan\""),
        (&["--id", "a", "--scope", "read write"], "\"scopes\""),
        (&["--id", "a", "--scope", "read", "--scope", "read"], "twice"),
        (&["--id", "a", "--network", "10.0.0.1/8"], "host bits"),
        (&["--id", "a", "--network", "@"], "JwtGateNetwork"),
        (&["--id", "a", "--not-before", "tomorrow"], "\"not_before\""),
        (&["--id", "a", "--expires", "2999-01-01"], "RFC 3339"),
        (&["--id", "a", "--expires", "2020-01-01T00:00:00Z"], "has passed"),
        (&["--id", "a", "--not-before", "2999-01-01T00:00:00Z", "--expires", "2998-01-01T00:00:00Z"], "not later"),
    ] {
        folder.run("new", wrong).refused(2, why);
        assert!(folder.names().is_empty(), "{wrong:?}");
    }
}
