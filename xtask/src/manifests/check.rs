//! What must be true of chart and manifests, as far as linters and validators can tell.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};

use super::toolbox::{Toolbox, scratch};
use super::{RENDERED, VARIANTS, read_if_there};
use crate::progress::say;
use crate::project::Project;

/// The oldest Kubernetes that the chart is for, and the newest that the validator knows.
pub(super) const KUBERNETES: [&str; 2] = ["1.30", "1.37"];
/// Values for kinds of the Prometheus Operator, which the validator has no schemas of.
pub(super) const MONITORING: &str = "values-monitoring.yaml";
/// Their group.
const OPERATOR_GROUP: &str = "monitoring.coreos.com/v1";

/// A check: what it shows, and the function that fails when it is not so.
type Check = (&'static str, fn(&Project, &Toolbox) -> anyhow::Result<()>);

/// All of them.
const CHECKS: [Check; 6] = [
    ("helm lint has nothing to say", lint),
    ("the manifests that are checked in are what the chart renders", compare),
    ("Kubernetes accepts them, strictly", validate),
    ("yamllint has nothing to say", yamllint),
    ("the schema is one, and all files of values keep to it", schema),
    ("the alerts are well formed, and fire when they should", rules),
];

/// Runs all checks, says which hold, and fails with those that do not.
pub(crate) fn check(project: &Project, toolbox: &Toolbox) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (what, holds) in CHECKS {
        match holds(project, toolbox) {
            Ok(()) => say(&format!("ok     {what}")),
            Err(error) => failed.push(format!("not so: {what}\n{error:#}")),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// `helm lint` with each file of values.
pub(super) fn lint(_project: &Project, toolbox: &Toolbox) -> anyhow::Result<()> {
    toolbox.lint(&[])?;
    for values in values_files(toolbox)? {
        let name = values.display().to_string();
        toolbox.lint(&[values]).with_context(|| format!("with {name}"))?;
    }
    Ok(())
}

/// What is checked in is what is rendered.
pub(super) fn compare(project: &Project, toolbox: &Toolbox) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for variant in &VARIANTS {
        let path = variant.path(project);
        let wanted = variant.render(toolbox)?;
        let there = read_if_there(&path)?.unwrap_or_default();
        if there != wanted {
            stale.push(format!("{}: {}", path.display(), first_difference(&there, &wanted)));
        }
    }
    ensure!(stale.is_empty(), "type `cargo xtask manifests`, and look at the difference:\n{}", stale.join("\n"));
    Ok(())
}

/// `kubernetes-validate`, also of what is not checked in.
pub(super) fn validate(project: &Project, toolbox: &Toolbox) -> anyhow::Result<()> {
    let mut files: Vec<PathBuf> = VARIANTS.iter().map(|variant| variant.path(project)).collect();
    let monitoring = toolbox.template(&[toolbox.chart().join(MONITORING)])?;
    files.push(scratch(project, "monitoring.yaml", &monitoring)?);
    let said = toolbox.validate(&KUBERNETES, &files)?;
    // What it has no schema for it only warns of.
    let doubtful: Vec<&str> =
        said.lines().filter(|line| !line.starts_with("INFO ") && !line.contains(OPERATOR_GROUP)).collect();
    ensure!(doubtful.is_empty(), "{}", doubtful.join("\n"));
    Ok(())
}

/// `yamllint` of everything that is YAML: templates are not before they are rendered.
pub(super) fn yamllint(project: &Project, toolbox: &Toolbox) -> anyhow::Result<()> {
    let rendered = project.root.join(RENDERED);
    let mut files = Vec::new();
    for directory in [toolbox.chart(), toolbox.chart().join("monitoring"), rendered] {
        files.extend(yaml_files(&directory)?);
    }
    toolbox.yamllint(&files)
}

/// `check-jsonschema` of the schema, and of all values.
pub(super) fn schema(_project: &Project, toolbox: &Toolbox) -> anyhow::Result<()> {
    let schema = toolbox.chart().join("values.schema.json");
    toolbox.check_schema(&schema)?;
    let mut files = values_files(toolbox)?;
    files.push(toolbox.chart().join("values.yaml"));
    toolbox.check_against(&schema, &files)
}

/// `promtool` on the alerts and their tests.
pub(super) fn rules(_project: &Project, toolbox: &Toolbox) -> anyhow::Result<()> {
    let monitoring = toolbox.chart().join("monitoring");
    toolbox.promtool("check", &monitoring.join("rules.yaml"))?;
    toolbox.promtool("test", &monitoring.join("rules.test.yaml"))
}

/// The chart's examples of values.
pub(super) fn values_files(toolbox: &Toolbox) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = yaml_files(&toolbox.chart())?;
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("values-")));
    if files.is_empty() {
        bail!("{} has no values-….yaml", toolbox.chart().display());
    }
    Ok(files)
}

fn yaml_files(directory: &std::path::Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()
        .with_context(|| format!("cannot read {}", directory.display()))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

/// Where two texts part, for people.
fn first_difference(there: &str, wanted: &str) -> String {
    let differ = there.lines().zip(wanted.lines()).position(|(there, wanted)| there != wanted);
    let line = differ.unwrap_or_else(|| there.lines().count().min(wanted.lines().count()));
    let nth = |text: &str| text.lines().nth(line).map_or_else(|| "nothing".to_owned(), |line| format!("{line:?}"));
    format!("line {} is {}, should be {}", line + 1, nth(there), nth(wanted))
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_difference_is_named() {
        let cases = [
            ("a\nb\n", "a\nc\n", "line 2 is \"b\", should be \"c\""),
            ("a\n", "a\nc\n", "line 2 is nothing, should be \"c\""),
            ("a\nb\n", "a\n", "line 2 is \"b\", should be nothing"),
        ];
        for (there, wanted, expected) in cases {
            assert_eq!(first_difference(there, wanted), expected);
        }
    }
}
