//! Prints rows: as a table in the manner of kubectl, or as JSON. Never wraps, cuts or colours.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::{Deserialize, Serialize};

use crate::cli::{Format, OutputOptions};

/// Stands for what there is nothing of.
pub const NOTHING_THERE: &str = "-";
/// Spaces between two columns.
const GAP: u16 = 2;

/// Something that a line of a table shows. As JSON, all of it is shown.
pub trait Row: Serialize {
    /// The names of the columns.
    fn header(wide: bool) -> Vec<&'static str>;
    /// What stands in them.
    fn cells(&self, wide: bool) -> Vec<String>;
}

/// A table, for a program that joins it with others.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cells {
    /// The names of the columns.
    pub header: Vec<String>,
    /// What stands in them.
    pub rows: Vec<Vec<String>>,
}

/// The rows, as `options` say.
///
/// # Errors
/// When they cannot be made JSON.
pub fn rows<R: Row>(rows: &[R], options: &OutputOptions) -> Result<String> {
    let wide = match options.format {
        Format::Json => return json(&rows),
        Format::Table => false,
        Format::Wide => true,
    };
    if options.cells {
        let rows = rows.iter().map(|row| row.cells(wide)).collect();
        return json(&Cells { header: R::header(wide).into_iter().map(str::to_owned).collect(), rows });
    }
    if rows.is_empty() {
        return Ok(String::new());
    }
    let header = if options.no_headers { Vec::new() } else { R::header(wide) };
    Ok(table(&header, rows.iter().map(|row| row.cells(wide))))
}

/// One JSON document.
///
/// # Errors
/// When it cannot be made JSON.
pub fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    Ok(text + "\n")
}

/// An aligned table, a line for each of `rows`; without `header` only those.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| one_line(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.trim_fmt() + "\n"
}

/// The text with each run of white space and control characters as one space: one line, and no tricks on a terminal.
pub fn one_line(text: &str) -> String {
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The texts with commas between them, or what stands for nothing.
pub fn list<T: fmt::Display>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| text.to_string()).collect();
    if texts.is_empty() { NOTHING_THERE.to_owned() } else { texts.join(",") }
}

/// The text, or what stands for nothing.
pub fn or_nothing(text: &str) -> String {
    if text.is_empty() { NOTHING_THERE.to_owned() } else { text.to_owned() }
}

/// A part of one, as per cent.
pub fn percent(fraction: f64) -> String {
    format!("{:.1}%", fraction * 100.0)
}

/// A time in its two largest units, as kubectl has it: `5s`, `3m12s`, `2h5m`, `4d3h`.
pub fn age(seconds: u64) -> String {
    let age = Duration::from_secs(seconds).as_secs();
    let (days, hours, minutes, seconds) = (age / 86_400, age / 3600 % 24, age / 60 % 60, age % 60);
    let units = [(days, 'd'), (hours, 'h'), (minutes, 'm'), (seconds, 's')];
    let largest = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = units.iter().skip(largest).take(2).filter(|(count, _)| *count > 0);
    let text: String = shown.map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fruit {
        name: &'static str,
        weight_grams: u32,
    }

    impl Row for Fruit {
        fn header(wide: bool) -> Vec<&'static str> {
            if wide { vec!["NAME", "WEIGHT"] } else { vec!["NAME"] }
        }

        fn cells(&self, wide: bool) -> Vec<String> {
            let all = [self.name.to_owned(), self.weight_grams.to_string()];
            all.into_iter().take(if wide { 2 } else { 1 }).collect()
        }
    }

    const FRUITS: [Fruit; 2] =
        [Fruit { name: "apple", weight_grams: 150 }, Fruit { name: "water melon", weight_grams: 4000 }];

    #[test]
    fn formats() {
        let cases = [
            (Format::Table, false, "NAME\napple\nwater melon\n"),
            (Format::Wide, false, "NAME         WEIGHT\napple        150\nwater melon  4000\n"),
            (Format::Wide, true, "apple        150\nwater melon  4000\n"),
        ];
        for (format, no_headers, expected) in cases {
            assert_eq!(
                rows(&FRUITS, &OutputOptions { format, no_headers, cells: false }).unwrap(),
                expected,
                "{format:?}"
            );
        }
        let json = rows(&FRUITS, &OutputOptions { format: Format::Json, no_headers: false, cells: false }).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value[1], serde_json::json!({"name": "water melon", "weight_grams": 4000}));
    }

    #[test]
    fn cells_are_the_table_for_programs() {
        let options = OutputOptions { cells: true, ..OutputOptions::default() };
        let cells: Cells = serde_json::from_str(&rows(&FRUITS, &options).unwrap()).unwrap();
        let expected = Cells {
            header: vec!["NAME".to_owned()],
            rows: vec![vec!["apple".to_owned()], vec!["water melon".to_owned()]],
        };
        assert_eq!(cells, expected);
        let none: [Fruit; 0] = [];
        let cells: Cells = serde_json::from_str(&rows(&none, &options).unwrap()).unwrap();
        assert_eq!(cells, Cells { rows: Vec::new(), ..expected });
    }

    #[test]
    fn no_rows_are_no_table_but_a_json_array() {
        let none: [Fruit; 0] = [];
        assert_eq!(rows(&none, &OutputOptions::default()).unwrap(), "");
        let json = OutputOptions { format: Format::Json, no_headers: false, cells: false };
        assert_eq!(rows(&none, &json).unwrap(), "[]\n");
    }

    #[test]
    fn a_cell_is_one_line_however_long() {
        let long = "x".repeat(500);
        let text = table(&["A"], [vec![format!("two\n\tlines\u{1b}[31m {long}")]]);
        assert_eq!(text, format!("A\ntwo lines [31m {long}\n"));
    }

    #[test]
    fn ages_have_two_units() {
        let cases =
            [(0, "0s"), (5, "5s"), (60, "1m"), (192, "3m12s"), (7500, "2h5m"), (356_400, "4d3h"), (86_460, "1d")];
        for (seconds, expected) in cases {
            assert_eq!(age(seconds), expected);
        }
    }
}
