//! Aligned columns of text.

/// A row, each cell of it as wide as the widest of its column.
pub(crate) fn line(row: &[String], header: &[String], rows: &[impl AsRef<[String]>]) -> String {
    let cells: Vec<String> = row
        .iter()
        .enumerate()
        .map(|(column, cell)| {
            let length = |row: &[String]| row.get(column).map_or(0, |cell| cell.chars().count());
            let width = rows.iter().map(|row| length(row.as_ref())).max().unwrap_or(0).max(length(header));
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
