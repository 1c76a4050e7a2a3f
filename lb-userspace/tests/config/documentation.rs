//! docs/configuration.md has every setting, as the program knows it.

use std::{env, fs, path::Path};

use lb_userspace::config::{self, Known};

/// The generated part stands between these.
const BEGIN: &str =
    "<!-- The tables are generated: UPDATE_DOCS=1 cargo test -p lb-userspace --test config documentation -->\n";
const END: &str = "<!-- End of the tables. -->\n";

/// The tables of settings, one for each heading of the help.
fn tables() -> String {
    let mut text = String::new();
    let mut heading = None;
    for known in config::known() {
        let of = known.heading().unwrap_or("Cluster and node").to_owned();
        if heading.as_ref() != Some(&of) {
            text += &format!(
                "\n### {of}\n\n| flag and key | variable | value | default | meaning |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        heading = Some(of);
        text += &row(&known);
    }
    text + "\n"
}

fn row(known: &Known) -> String {
    let range = known.range().map(|range| format!(", {range}")).unwrap_or_default();
    let required = if known.is_required() { "none: required" } else { "" };
    let default = known.default().map_or_else(|| required.to_owned(), |default| format!("`{default}`"));
    let cells = [
        format!("`{}`", known.key),
        format!("`{}`", known.variable),
        format!("`{}`{range}", known.form()),
        default,
        known.meaning(),
    ];
    // A bar would end the cell.
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

#[test]
fn the_documentation_has_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the document has a place for the tables");
    let (found, after) = rest.split_once(END).expect("the tables have an end");
    let expected = tables();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, [before, BEGIN, &expected, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(found, expected, "run UPDATE_DOCS=1 cargo test -p lb-userspace --test config documentation");
}

#[test]
fn every_setting_has_a_flag_a_variable_and_a_meaning() {
    let known = config::known();
    assert!(known.len() > 20);
    for known in known {
        let expected = format!("LIMPET_{}", known.key.to_uppercase().replace('-', "_"));
        assert_eq!(known.variable, expected, "{}", known.key);
        assert!(!known.meaning().is_empty(), "{}", known.key);
        assert!(!known.form().is_empty(), "{}", known.key);
    }
}
