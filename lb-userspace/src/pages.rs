//! What is made of the command line's definition: completions for shells, and manual pages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};

use crate::{
    cli::{Cli, CompletionOptions, ManOptions, Plugin},
    inspect::Said,
};

/// Prints a shell's completions.
///
/// # Errors
/// When what was made is no text.
pub fn completion(options: &CompletionOptions) -> Result<Said> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "limpet", &mut script);
    Ok(Said::text(String::from_utf8(script).context("the completions are no text")?))
}

/// Prints the manual page of `limpet`, or writes those of all commands.
///
/// # Errors
/// When one cannot be made or written.
pub fn man(options: &ManOptions) -> Result<Said> {
    let Some(directory) = &options.directory else {
        let page = page(Cli::command())?;
        return Ok(Said::text(String::from_utf8(page).context("the manual page is no text")?));
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut written = Vec::new();
    for command in [Cli::command(), Plugin::command()] {
        let mut command = command;
        command.build();
        let name = command.get_name().to_owned();
        write_pages(command, &name, directory, &mut written)?;
    }
    let lines: String = written.iter().map(|path| format!("{}\n", path.display())).collect();
    Ok(Said::text(lines))
}

/// Writes the page of a command, and those of the commands below it: `limpet-get-services.1`.
fn write_pages(command: Command, name: &str, directory: &Path, written: &mut Vec<PathBuf>) -> Result<()> {
    for below in command.get_subcommands() {
        write_pages(below.clone(), &format!("{name}-{}", below.get_name()), directory, written)?;
    }
    let path = directory.join(format!("{name}.1"));
    let page = page(command.name(name.to_owned()))?;
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    written.push(path);
    Ok(())
}

fn page(command: Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("cannot make the manual page")?;
    Ok(page)
}
