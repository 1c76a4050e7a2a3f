//! A `kubectl` of our own: a script that tells of Pods, answers for each of them, and writes down what it was asked.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Looks up answers by what it is asked: lists by their kind, Pods by their name.
const SCRIPT: &str = r#"#!/bin/sh
echo "$*" >> "@/calls"
while case "$1" in --context=*|--kubeconfig=*) true;; *) false;; esac; do shift; done
case "$1" in
get) . "@/$2" ;;
exec)
    pod=$3
    echo "begin $pod" >> "@/order"
    while [ "$1" != -- ]; do shift; done
    shift
    . "@/$pod"
    code=$?
    echo "end $pod" >> "@/order"
    exit $code
    ;;
esac
"#;

/// A cluster as the script tells of it.
pub(crate) struct Cluster {
    directory: TempDir,
    pods: Vec<Value>,
}

impl Cluster {
    /// With no Pod, and a plugin beside the script.
    pub(crate) fn new() -> Self {
        let cluster = Self { directory: TempDir::new().unwrap(), pods: Vec::new() };
        let bin = cluster.path("bin");
        fs::create_dir(&bin).unwrap();
        let script = SCRIPT.replace('@', cluster.directory.path().to_str().unwrap());
        fs::write(bin.join("kubectl"), script).unwrap();
        fs::set_permissions(bin.join("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink(env!("CARGO_BIN_EXE_limpet"), bin.join("kubectl-limpet")).unwrap();
        cluster.list("pods", &[]);
        cluster.list("daemonsets", &[]);
        cluster
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What `kubectl get` tells of this kind.
    pub(crate) fn list(&self, kind: &str, items: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.says(kind, &quoted(&list.to_string()));
    }

    /// What the script does when this is asked for, in its own language.
    pub(crate) fn says(&self, name: &str, script: &str) {
        fs::write(self.path(name), script).unwrap();
    }

    /// A Pod `limpet-NODE` that runs on the node, and what `limpet` does there.
    pub(crate) fn pod(&mut self, node: &str, script: &str) {
        self.other_pod(pod(node, "Running", &json!({"running": {}})));
        self.says(&format!("limpet-{node}"), script);
    }

    /// A Pod in any state.
    pub(crate) fn other_pod(&mut self, pod: Value) {
        self.pods.push(pod);
        self.list("pods", &self.pods);
    }

    /// Runs `kubectl-limpet`.
    pub(crate) fn plugin(&self, line: &str) -> Said {
        self.run(&self.path("bin/kubectl-limpet"), &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a program where the script is `kubectl`.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str]) -> Said {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let mut command = Command::new(program);
        Said::new(command.env_clear().env("PATH", path).args(arguments).output().unwrap())
    }

    /// Runs `kubectl-limpet` where there is no `kubectl` at all.
    pub(crate) fn plugin_alone(&self, line: &str) -> Said {
        let mut command = Command::new(self.path("bin/kubectl-limpet"));
        Said::new(command.env_clear().env("PATH", "/nonexistent").args(line.split_whitespace()).output().unwrap())
    }

    /// The command lines that the script was called with; empty when it never was.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.lines("calls")
    }

    /// When which Pod began to answer and ended.
    pub(crate) fn order(&self) -> Vec<String> {
        self.lines("order")
    }

    fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

/// A Pod `limpet-NODE` of the DaemonSet.
pub(crate) fn pod(node: &str, phase: &str, state: &Value) -> Value {
    json!({
        "metadata": {
            "name": format!("limpet-{node}"), "namespace": "kube-system",
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "limpet", "uid": "u1", "controller": true},
            ],
        },
        "spec": {"nodeName": node, "containers": [{"name": "agent", "image": "limpet"}]},
        "status": {
            "phase": phase,
            "containerStatuses": [
                {"name": "agent", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state},
            ],
        },
    })
}

/// A script that prints the text.
pub(crate) fn quoted(text: &str) -> String {
    format!("cat <<'END_OF_TEXT'\n{text}\nEND_OF_TEXT\n")
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
