//! `jwt-gate man`: the pages of the manual, for those who package or install it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

use crate::Arguments;
use crate::answer::Answer;
use crate::failure::Failure;

/// What stands in the help of a command between how it ends and examples of it.
const EXAMPLES: &str = "\n\nExamples:\n";

/// Write the pages of the manual, one for each command, into a folder
#[derive(Args)]
pub(crate) struct Man {
    /// The folder, which has to exist
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(&self) -> Result<Answer, Failure> {
        let mut program = Arguments::command().disable_help_subcommand(true);
        // Gives subcommands their full names.
        program.build();
        let shown = self.dir.display();
        write(&self.dir, &program)
            .map_err(|why| Failure::unusable(format!("the pages cannot be written into {shown}: {why}")))?;
        Ok(Answer::Yes)
    }
}

fn write(folder: &Path, command: &clap::Command) -> io::Result<()> {
    let page =
        Page::new(command.clone()).source(concat!("jwt-gate ", env!("CARGO_PKG_VERSION"))).manual("mod_jwt_gate");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    if command.get_arguments().next().is_some() {
        page.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (status, examples) = help.split_once(EXAMPLES).unwrap_or((&help, ""));
    let mut end = Roff::new();
    if !status.is_empty() {
        end.control("SH", ["EXIT STATUS"]).text([roman(status)]);
    }
    if !examples.is_empty() {
        // Lines stay as they are.
        end.control("SH", ["EXAMPLES"]).control("nf", []).text([roman(examples)]).control("fi", []);
    }
    end.to_writer(&mut text)?;
    fs::write(folder.join(page.get_filename()), text)?;
    command.get_subcommands().filter(|command| !command.is_hide_set()).try_for_each(|command| write(folder, command))
}
