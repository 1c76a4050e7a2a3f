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

/// The places that the agent may write to, in their order: its root file system is not among them.
pub(crate) fn writable(name: &str) -> Vec<String> {
    let text = read(name);
    for sentence in ["allowPrivilegeEscalation: false", "drop: [ALL]", "readOnlyRootFilesystem: true"] {
        assert!(text.contains(sentence), "{name} does not say {sentence:?}");
    }
    assert!(!text.contains("privileged:"), "{name} has a privileged container");
    let lines = text.lines().skip_while(|line| line.trim() != "volumeMounts:").skip(1);
    let lines: String = lines.take_while(|line| line.trim() != "volumes:").map(|line| format!("{line}\n")).collect();
    let mounts = lines.split("- name:").filter(|mount| !mount.contains("readOnly: true"));
    let path = |mount: &str| Some(mount.split_once("mountPath: ")?.1.lines().next()?.to_owned());
    let mut paths: Vec<String> = mounts.filter_map(path).collect();
    assert!(!paths.is_empty(), "{name} has none");
    paths.sort();
    paths
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
