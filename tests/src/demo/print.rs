//! How the demo looks: titles, aligned tables, colours on a terminal only.

use std::env;
use std::io::{self, IsTerminal};

use crate::table;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

/// Prints to standard output.
pub(super) struct Printer {
    colours: bool,
}

impl Printer {
    /// With colours if somebody looks at them and has not said no (<https://no-color.org>).
    pub(super) fn for_stdout() -> Self {
        Self { colours: io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none() }
    }

    /// What comes next.
    pub(super) fn title(&self, text: &str) {
        println!("\n{}", self.painted(BOLD, text));
    }

    /// Something on the side.
    pub(super) fn note(&self, text: &str) {
        println!("  {}", self.painted(DIM, text));
    }

    /// A result that is as it should be.
    pub(super) fn good(&self, text: &str) {
        println!("  {}", self.painted(GREEN, text));
    }

    /// A result that is not.
    pub(super) fn bad(&self, text: &str) {
        println!("  {}", self.painted(RED, text));
    }

    /// A good or a bad result.
    pub(super) fn result(&self, good: bool, text: &str) {
        if good { self.good(text) } else { self.bad(text) }
    }

    /// Columns, each as wide as its widest cell.
    pub(super) fn table<const N: usize>(&self, header: [&str; N], rows: &[[String; N]]) {
        let header = header.map(str::to_owned);
        println!("  {}", self.painted(DIM, &table::line(&header, &header, rows)));
        for row in rows {
            println!("  {}", table::line(row, &header, rows));
        }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
