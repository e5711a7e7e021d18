//! `jwt-gate`: what administrators of mod_jwt_gate do by hand.
//!
//! What a command is asked for goes to standard output and nothing else does; notes and errors go to standard error.
//! It ends with 0 if that was done, with 1 if the answer is no (there is no such key, the token is refused), and with
//! 2 if the command or a file cannot be used.

#![forbid(unsafe_code)]

mod advice;
mod answer;
mod apikey;
mod completions;
mod credential;
mod explain;
mod failure;
mod file;
mod key_file;
mod keys;
mod man;
mod moment;
mod screen;
mod table;
mod token;
#[path = "../writers.rs"]
mod writers;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Helps to run mod_jwt_gate
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// API keys: the file of JwtGateApiKeys
    #[command(subcommand)]
    Apikey(apikey::Command),
    /// Tokens: what is wrong with one
    #[command(subcommand)]
    Token(token::Command),
    /// What the server keeps over a restart: the folder of JwtGateStateDir
    #[command(subcommand)]
    Keys(keys::Command),
    Explain(explain::Explain),
    Completions(completions::Completions),
    #[command(hide = true)]
    Man(man::Man),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().noun {
        Noun::Apikey(command) => apikey::run(&command),
        Noun::Token(command) => token::run(&command),
        Noun::Keys(command) => keys::run(&command),
        Noun::Explain(explain) => explain.run(),
        Noun::Completions(completions) => completions.run(),
        Noun::Man(man) => man.run(),
    };
    match done {
        Ok(answer) => ExitCode::from(answer.code()),
        Err(failure) => {
            note(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// Says something that nobody asked for. If even that cannot be said, the exit code has to suffice.
fn note(text: &str) {
    let _ = writeln!(stderr(), "jwt-gate: {text}");
}
