//! Aligned columns of text.

/// A row, each cell of it as wide as the widest of its column.
pub(crate) fn line<const N: usize>(row: &[String; N], header: &[String; N], rows: &[[String; N]]) -> String {
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
