//! How the demo looks: titles, aligned tables, colours on a terminal only.

use std::env;
use std::io::{self, IsTerminal};

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
        println!("  {}", self.painted(DIM, &line(&header, &header, rows)));
        for row in rows {
            println!("  {}", line(row, &header, rows));
        }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn line<const N: usize>(row: &[String; N], header: &[String; N], rows: &[[String; N]]) -> String {
    let cells: Vec<String> = row
        .iter()
        .enumerate()
        .map(|(column, cell)| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            let width = lengths.max().unwrap_or(0).max(header[column].chars().count());
            format!("{cell:<width$}")
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let owned = |row: [&str; 2]| row.map(str::to_owned);
        let (header, rows) = (owned(["a", "long"]), [owned(["wide", "b"])]);
        assert_eq!(line(&header, &header, &rows), "a     long");
        assert_eq!(line(&rows[0], &header, &rows), "wide  b");
    }
}
