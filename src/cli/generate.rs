//! `tik-backup generate`: manual pages and shell completions for packages.

use std::{fs, io, path::PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

use super::{Cli, SUCCESS};
use crate::error::{Error, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for man/ and completions/
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<u8> {
    write(args).map_err(|error| {
        Error::failed(format!("cannot write to {}", args.output.display())).because(&error)
    })?;
    Ok(SUCCESS)
}

fn write(args: &Args) -> io::Result<()> {
    let (man, completions) = (args.output.join("man"), args.output.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Cli::command(), man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "tik-backup", &completions)?;
    }
    Ok(())
}
