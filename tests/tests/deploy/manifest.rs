//! What these tests need of the manifests that are checked in: as text, since how they are rendered is known.

use std::fs;
use std::path::Path;

/// The capabilities that the agent gets.
pub(crate) fn capabilities(name: &str) -> Vec<String> {
    let text = read(name);
    let lines = text.lines().skip_while(|line| line.trim() != "add:").skip(1);
    let names: Vec<String> = lines.map_while(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect();
    assert!(!names.is_empty(), "{name} gives none");
    names
}

/// The agent's configuration file.
pub(crate) fn config(name: &str) -> String {
    let text = read(name);
    let lines = text.lines().skip_while(|line| line.trim() != "config.yaml: |").skip(1);
    let config: String = lines.map_while(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
    assert!(!config.is_empty(), "{name} has none");
    config
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests").join(name).with_extension("yaml");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
