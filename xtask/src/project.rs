//! Where the workspace is and where its results go, asked of cargo once.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{cargo, tool};

/// The package with the BPF programs.
pub(crate) const BPF_PACKAGE: &str = "lb-ebpf";

/// The variable by which build scripts are told where the object of `limpet-bpf` is.
pub(crate) const OBJECT_VARIABLE: &str = "LIMPET_BPF_OBJECT";
/// All of these variables, by the names of the programs.
const OBJECT_VARIABLES: [(&str, &str); 2] =
    [("limpet-bpf", OBJECT_VARIABLE), ("limpet-bench-bpf", "LIMPET_BENCH_BPF_OBJECT")];

/// The workspace, as cargo describes it.
#[derive(Debug)]
pub(crate) struct Project {
    /// The directory with the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// The names of the programs in the BPF package.
    pub(crate) bpf_programs: Vec<String>,
    /// Every test program in a file of its own: its package's name, and its own.
    pub(crate) tests: Vec<(String, String)>,
}

impl Project {
    /// Asks cargo. Fails when cargo cannot read the workspace.
    pub(crate) fn find() -> anyhow::Result<Self> {
        // Set by `cargo run`; the other is right as long as the clone has not been moved since.
        let xtask =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let mut command = cargo::inherited(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
        command.arg(xtask.join("Cargo.toml"));
        let line = tool::line(&command);
        let output = command.output().with_context(|| format!("cannot start: {line}"))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("cargo cannot read the workspace ({line}):\n{}", message.trim_end());
        }
        serde_json::from_slice(&output.stdout)
            .ok()
            .and_then(|metadata| Self::from_metadata(&metadata))
            .with_context(|| format!("cargo describes the workspace in an unknown form: {line}"))
    }

    /// Where the log files of long commands are.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.target.join("xtask").join(format!("{name}.log"))
    }

    /// Where tools are installed that only this project uses.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where the BPF package is built. Not the target directory itself, so that neither build waits for the other.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// Where the object of a BPF program is put for user space.
    pub(crate) fn bpf_object(&self, program: &str) -> PathBuf {
        self.bpf_target().join(format!("{program}.o"))
    }

    /// The profile's directory for results: `target/debug` or `target/release`.
    pub(crate) fn results(&self, profile: Profile) -> PathBuf {
        self.target.join(profile.directory())
    }

    /// Tells build scripts where the BPF objects are, when they are not where those look by themselves.
    ///
    /// In the usual place nothing is set: a variable that `cargo xtask` sets and plain `cargo` does not would
    /// have user space rebuilt whenever somebody alternates between the two.
    pub(crate) fn hand_over_bpf_objects(&self, command: &mut Command) {
        if self.target == self.root.join("target") {
            return;
        }
        for (program, variable) in OBJECT_VARIABLES {
            command.env(variable, self.bpf_object(program));
        }
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let path = |key: &str| Some(Path::new(metadata.get(key)?.as_str()?).to_owned());
        let packages = metadata.get("packages")?.as_array()?;
        let bpf_package = packages.iter().find(|package| package["name"] == BPF_PACKAGE)?;
        let tests_of = |package: &Value| {
            let programs = targets(package, "test").into_iter();
            programs.filter_map(|program| Some((package["name"].as_str()?.to_owned(), program))).collect::<Vec<_>>()
        };
        Some(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            bpf_programs: targets(bpf_package, "bin"),
            tests: packages.iter().flat_map(tests_of).collect(),
        })
    }
}

/// The names of a package's targets of this kind.
fn targets(package: &Value, kind: &str) -> Vec<String> {
    let all = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_it = |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|it| it == kind));
    all.iter().filter(is_it).filter_map(|target| target["name"].as_str().map(str::to_owned)).collect()
}

/// How user space is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests and the demo.
    Dev,
    /// For use and for measuring.
    Release,
}

impl Profile {
    /// The name of its directory below the target directory.
    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }

    /// What cargo must be told to use it.
    pub(crate) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            Self::Release => &["--release"],
        }
    }
}

impl From<bool> for Profile {
    /// From a `--release` flag.
    fn from(release: bool) -> Self {
        if release { Self::Release } else { Self::Dev }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use serde_json::json;

    use super::Project;

    fn project(target: &str) -> Project {
        Project { root: "/c".into(), target: target.into(), bpf_programs: Vec::new(), tests: Vec::new() }
    }

    #[test]
    fn programs_are_read_from_metadata() {
        let metadata = json!({
            "workspace_root": "/clone", "target_directory": "/elsewhere",
            "packages": [
                {"name": "xtask", "targets": [{"name": "xtask", "kind": ["bin"]}, {"name": "all", "kind": ["test"]}]},
                {"name": "lb-ebpf", "targets": [
                    {"name": "limpet-bpf", "kind": ["bin"]},
                    {"name": "lb_ebpf", "kind": ["lib"]},
                    {"name": "limpet-bench-bpf", "kind": ["bin"]}]}]
        });
        let project = Project::from_metadata(&metadata).unwrap();
        assert_eq!(project.root, Path::new("/clone"));
        assert_eq!(project.target, Path::new("/elsewhere"));
        assert_eq!(project.bpf_programs, ["limpet-bpf", "limpet-bench-bpf"]);
        assert_eq!(project.tests, [("xtask".to_owned(), "all".to_owned())]);
    }

    #[test]
    fn objects_are_handed_over_only_from_an_unusual_place() {
        let variables = |target: &str| {
            let mut command = Command::new("cargo");
            project(target).hand_over_bpf_objects(&mut command);
            command.get_envs().count()
        };
        assert_eq!(variables("/c/target"), 0);
        assert_eq!(variables("/shared"), 2);
    }
}
