//! `jwt-gate completions`

use std::process::Command;

use crate::folder::words;

#[test]
fn every_command_is_completed() {
    for (shell, start) in [("bash", "_jwt__gate()"), ("zsh", "#compdef jwt-gate"), ("fish", "# Print an optspec")] {
        let run = words(&["completions", shell]);
        assert!(run.code == Some(0) && run.err.is_empty() && run.out.starts_with(start), "{shell}: {run:?}");
        for word in ["apikey", "revoke", "token", "inspect", "keys", "show", "explain", "state-dir", "leeway"] {
            assert!(run.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(words(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn bash_reads_it() {
    let script = words(&["completions", "bash"]).out;
    let ask = "COMP_WORDS=(jwt-gate to); COMP_CWORD=1; _jwt__gate jwt-gate to jwt-gate; echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash").args(["-c", &format!("{script}\n{ask}")]).output().unwrap();
    assert_eq!(String::from_utf8(bash.stdout).unwrap(), "token\n", "{}", String::from_utf8_lossy(&bash.stderr));
}
