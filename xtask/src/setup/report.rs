//! How `doctor` says what is there: a table to read, or JSON.

use serde_json::{Value, json};

use super::{Facts, Fix, State, ordinary_requirements, root};

/// What `doctor` found.
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: &'static str,
    found: bool,
    detail: String,
    to_type: Option<String>,
}

const HEADINGS: [&str; 4] = ["WHAT", "STATE", "FOUND / NEEDED", "WHAT TO TYPE"];

impl Report {
    /// Checks every requirement against the facts.
    pub(crate) fn new(facts: &Facts) -> Self {
        let rows = ordinary_requirements()
            .map(|requirement| row(requirement.what, (requirement.check)(facts), facts.root))
            .collect();
        Self { rows }
    }

    /// Whether nothing is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.rows.iter().all(|row| row.found)
    }

    /// Aligned columns, a line each, with headings.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![HEADINGS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            [
                row.what.to_owned(),
                row.state().to_owned(),
                row.detail.clone(),
                row.to_type.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        }));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let widths = [width(0), width(1), width(2)];
        lines
            .iter()
            .map(|[what, state, detail, to_type]| {
                format!("{what:<0$}  {state:<1$}  {detail:<2$}  {to_type}\n", widths[0], widths[1], widths[2])
            })
            .collect()
    }

    /// One object: `{ok, checks: [{what, state, detail, to_type}]}`; `to_type` is null where nothing is missing.
    pub(crate) fn json(&self) -> Value {
        let checks: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "what": row.what, "state": row.state(),
                    "detail": row.detail, "to_type": row.to_type,
                })
            })
            .collect();
        json!({ "ok": self.is_complete(), "checks": checks })
    }
}

impl Row {
    fn state(&self) -> &'static str {
        if self.found { "found" } else { "missing" }
    }
}

fn row(what: &'static str, state: State, are_root: bool) -> Row {
    match state {
        State::Found(detail) => Row { what, found: true, detail, to_type: None },
        State::Missing { needed, fix } => {
            let to_type = match fix {
                Fix::Setup if are_root => "cargo xtask setup".to_owned(),
                Fix::Setup => root::as_root("setup"),
                Fix::ByHand(what) => what,
            };
            Row { what, found: false, detail: needed, to_type: Some(to_type) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Report, Row};

    fn report() -> Report {
        Report {
            rows: vec![
                Row { what: "kernel", found: true, detail: "6.18.0".to_owned(), to_type: None },
                Row {
                    what: "bpffs",
                    found: false,
                    detail: "mounted".to_owned(),
                    to_type: Some("cargo xtask setup".to_owned()),
                },
            ],
        }
    }

    #[test]
    fn the_table_is_aligned() {
        let expected = "\
WHAT    STATE    FOUND / NEEDED  WHAT TO TYPE
kernel  found    6.18.0          -
bpffs   missing  mounted         cargo xtask setup
";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn json_says_the_same() {
        let expected = json!({"ok": false, "checks": [
            {"what": "kernel", "state": "found", "detail": "6.18.0", "to_type": null},
            {"what": "bpffs", "state": "missing", "detail": "mounted", "to_type": "cargo xtask setup"},
        ]});
        assert_eq!(report().json(), expected);
    }
}
