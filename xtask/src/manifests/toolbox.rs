//! Helm and the validators, as functions: each runs one program to its end and gives what it printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{CHART, NAMESPACE, RELEASE};
use crate::project::Project;
use crate::setup::ManifestTools;
use crate::tool;

/// What calls Helm's library.
const HELM: &str = include_str!("helm.py");
/// What yamllint asks for.
const YAMLLINT: &str = include_str!("yamllint.yaml");

/// The installed tools, and where they work.
pub(crate) struct Toolbox {
    root: PathBuf,
    /// The environment's Python; the validators lie beside it.
    python: PathBuf,
    promtool: PathBuf,
}

impl Toolbox {
    /// Finds what set-up has installed. Fails, with what to type, when something is missing.
    pub(crate) fn find(project: &Project) -> anyhow::Result<Self> {
        let ManifestTools { environment, promtool, .. } = ManifestTools::gather(project);
        let missing = "Helm and the validators for manifests are not installed: type `cargo xtask setup`";
        Ok(Self {
            root: project.root.clone(),
            python: environment.context(missing)?,
            promtool: promtool.context(missing)?,
        })
    }

    /// The chart's directory.
    pub(crate) fn chart(&self) -> PathBuf {
        self.root.join(CHART)
    }

    /// `helm lint --strict` with these files of values.
    pub(crate) fn lint(&self, values: &[PathBuf]) -> anyhow::Result<()> {
        run(self.helm("lint").arg(self.chart()).args(values)).map(drop)
    }

    /// `helm template` with these files of values.
    pub(crate) fn template(&self, values: &[PathBuf]) -> anyhow::Result<String> {
        run(self.helm("template").arg(self.chart()).args([RELEASE, NAMESPACE]).args(values))
    }

    /// `kubernetes-validate --strict` for these versions of Kubernetes; gives what it says of each object.
    pub(crate) fn validate(&self, versions: &[&str], files: &[PathBuf]) -> anyhow::Result<String> {
        let mut command = self.program("kubernetes-validate");
        command.arg("--strict");
        for version in versions {
            command.args(["--kubernetes-version", version]);
        }
        run(command.args(files))
    }

    /// `yamllint --strict`.
    pub(crate) fn yamllint(&self, files: &[PathBuf]) -> anyhow::Result<()> {
        run(self.program("yamllint").args(["--strict", "--config-data", YAMLLINT]).args(files)).map(drop)
    }

    /// `check-jsonschema`: is this a schema?
    pub(crate) fn check_schema(&self, schema: &Path) -> anyhow::Result<()> {
        run(self.program("check-jsonschema").arg("--check-metaschema").arg(schema)).map(drop)
    }

    /// `check-jsonschema`: do these files keep to the schema?
    pub(crate) fn check_against(&self, schema: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
        run(self.program("check-jsonschema").arg("--schemafile").arg(schema).args(files)).map(drop)
    }

    /// `promtool check rules` or `promtool test rules`.
    pub(crate) fn promtool(&self, what: &str, file: &Path) -> anyhow::Result<()> {
        let directory = file.parent().context("rules have a directory")?;
        run(tool::command(&self.promtool).args([what, "rules"]).arg(file).current_dir(directory)).map(drop)
    }

    fn helm(&self, command: &str) -> Command {
        let mut python = tool::command(&self.python);
        python.args(["-c", HELM, command]).current_dir(&self.root);
        python
    }

    fn program(&self, name: &str) -> Command {
        // By the environment's Python: the scripts' first line breaks when a checkout is moved.
        let module = name.replace('-', "_");
        let mut python = tool::command(&self.python);
        python.args(["-m", &module]).current_dir(&self.root);
        python
    }
}

#[cfg(test)]
impl Toolbox {
    /// The documents of a YAML file.
    pub(super) fn read_yaml(&self, file: &Path) -> Vec<serde_json::Value> {
        let printed = run(self.helm("json").arg(file)).unwrap();
        serde_json::from_str(&printed).unwrap()
    }
}

/// Runs a command to its end and gives its standard output; fails with all that it said when it does not exit 0.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if !output.status.success() {
        bail!("{}\n{}", said(&output.stdout), said(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} does not print UTF-8"))
}

/// Writes a file for a tool to read, below the target directory.
pub(super) fn scratch(project: &Project, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let directory = project.target.join("xtask/manifests");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
