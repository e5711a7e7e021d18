//! `jwt-gate completions`: what shells know of the commands.

use clap::{Args, CommandFactory, ValueEnum};

use crate::Arguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::screen::show;

/// Print what a shell has to know to complete commands and options
///
/// The shell reads it at its start: of bash from /etc/bash_completion.d/jwt-gate, of zsh from a file `_jwt-gate` in a
/// folder of $fpath, of fish from ~/.config/fish/completions/jwt-gate.fish.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<Answer, Failure> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "jwt-gate", &mut script);
        show(&String::from_utf8_lossy(&script))?;
        Ok(Answer::Yes)
    }
}
