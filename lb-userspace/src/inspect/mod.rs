//! The commands that show what is programmed: they read the pinned maps and the agent's socket, and change nothing
//! (`detach`, which takes everything away, `forget`, which marks clients, `verify --repair` and `mount-bpffs` are the
//! exceptions).
//!
//! [`read`] turns maps into the plain values of [`state`]; each of the modules named after a resource turns those into
//! rows, purely; [`output`] prints rows. The agent is never needed, only asked.

pub mod backends;
pub mod breaks;
pub mod client;
pub mod clients;
pub mod counters;
pub mod describe;
pub mod detach;
pub mod fill;
pub mod flows;
pub mod forget;
pub mod get;
pub mod held;
pub mod mount_bpffs;
pub mod nodes;
pub mod output;
pub mod read;
pub mod services;
pub mod skew;
pub mod state;
pub mod status;
pub mod suggest;
pub mod verify;
pub mod why;

use std::{
    io::{self, Write},
    process::ExitCode,
};

/// What a command has to say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// For standard output.
    pub text: String,
    /// For standard error, a line each: what a reader of the text should know, without being part of it.
    pub notes: Vec<String>,
    /// Whether what was found is not well, and the exit code should say so.
    pub unwell: bool,
}

impl Said {
    /// Nothing but text.
    pub fn text(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    /// Prints it. A reader that goes away, such as `head`, is no failure.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn print(&self) -> io::Result<ExitCode> {
        for note in &self.notes {
            // Without a standard error there is nobody to tell.
            let _untold = writeln!(io::stderr(), "limpet: {note}");
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(self.text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(if self.unwell { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
        }
    }
}
