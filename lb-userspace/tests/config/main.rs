//! Settings of the built program: from the command line, the environment and a file; and what is refused, with its place.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod documentation;
mod pages;
mod precedence;
mod refusals;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with a file of settings in it, which the program is run in.
struct Place {
    directory: TempDir,
}

/// The file's name.
const FILE: &str = "limpet.yaml";

impl Place {
    fn new(file: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join(FILE), file).unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs `limpet` with nothing in its environment but these variables.
    fn limpet(&self, variables: &[(&str, &str)], line: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
        command.current_dir(self.path()).env_clear().envs(variables.iter().copied()).args(line.split_whitespace());
        Said::new(command.output().unwrap())
    }
}

/// What the program said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The setting of this name, of `limpet config -o json`.
    fn setting(&self, name: &str) -> Value {
        let settings: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        let settings = settings.as_array().unwrap();
        settings.iter().find(|setting| setting["name"] == name).unwrap().clone()
    }
}
