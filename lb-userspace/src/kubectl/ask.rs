//! Carries a question to each node, some at a time, and takes what comes back.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::{
    Form,
    pods::Instance,
    process::{self, Output},
};
use crate::{cli::ClusterOptions, inspect::output::one_line};

/// The program of the user that everything goes through.
const PROGRAM: &str = "kubectl";
/// Most characters of a reason.
const MAX_REASON: usize = 500;

/// The user's kubectl, as it is to be called.
#[derive(Clone, Debug)]
pub(super) struct Kubectl {
    flags: Vec<OsString>,
    timeout: Duration,
}

impl Kubectl {
    pub(super) fn new(options: &ClusterOptions) -> Self {
        let mut flags = Vec::new();
        flags.extend(options.context.as_ref().map(|context| OsString::from(format!("--context={context}"))));
        flags.extend(options.kubeconfig.as_ref().map(|path| {
            let mut flag = OsString::from("--kubeconfig=");
            flag.push(path);
            flag
        }));
        Self { flags, timeout: Duration::from_secs(options.timeout) }
    }

    /// What it prints.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    pub(super) fn said(&self, arguments: &[OsString]) -> Result<String> {
        let output = self.run(arguments)?;
        if !output.status.success() {
            bail!(reason(&output));
        }
        Ok(output.stdout)
    }

    fn run(&self, arguments: &[OsString]) -> Result<Output, process::Failure> {
        let arguments: Vec<OsString> = self.flags.iter().chain(arguments).cloned().collect();
        process::run(PROGRAM, &arguments, self.timeout)
    }
}

/// A node that did not answer.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Unreachable {
    /// Its name; `?` where it is not known.
    pub node: String,
    /// Namespace and name of its Pod, if there is one.
    pub pod: Option<String>,
    /// Why.
    pub reason: String,
}

/// What a node said.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The node.
    pub node: String,
    /// What it said: a string, if it was asked for text.
    pub value: Value,
    /// Whether `limpet` ended there as it does when all is well.
    pub is_well: bool,
    /// What it said beside.
    pub notes: Vec<String>,
}

/// What all nodes said.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Of those that answered.
    pub answers: Vec<Answer>,
    /// The others.
    pub unreachable: Vec<Unreachable>,
}

impl Answers {
    /// Brings them into an order that does not depend on who was faster.
    pub(super) fn sort(&mut self) {
        self.answers.sort_by(|one, other| one.node.cmp(&other.node));
        self.unreachable.sort();
    }

    /// What nodes said beside, with the nodes that did.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for answer in &self.answers {
            for note in &answer.notes {
                nodes.entry(note).or_default().push(&answer.node);
            }
        }
        nodes.into_iter().map(|(note, nodes)| format!("{}: {note}", names(&nodes, self.answers.len()))).collect()
    }
}

/// The nodes in one cell, of so many that answered.
pub(super) fn names(nodes: &[&str], of: usize) -> String {
    const SHOWN: usize = 3;
    if nodes.len() == of && of > 1 {
        return format!("all {of}");
    }
    let shown = nodes.iter().take(SHOWN).copied().collect::<Vec<_>>().join(",");
    match nodes.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more"),
    }
}

/// Asks in each of the Pods.
pub(super) fn all(
    kubectl: &Kubectl,
    options: &ClusterOptions,
    pods: &[Instance],
    question: &[OsString],
    form: Form,
) -> Answers {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Answers::default());
    thread::scope(|scope| {
        for _ in 0..usize::from(options.at_once).min(pods.len()) {
            scope.spawn(|| {
                while let Some(pod) = pods.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = one(kubectl, pod, question, form);
                    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer {
                        Ok(answer) => answers.answers.push(answer),
                        Err(reason) => answers.unreachable.push(Unreachable {
                            node: pod.node.clone(),
                            pod: Some(format!("{}/{}", pod.namespace, pod.pod)),
                            reason,
                        }),
                    }
                }
            });
        }
    });
    answers.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Asks in one Pod.
///
/// # Errors
/// Why there is no answer, in a line.
fn one(kubectl: &Kubectl, pod: &Instance, question: &[OsString], form: Form) -> Result<Answer, String> {
    let Instance { node, namespace, pod, container } = pod;
    let exec = ["exec", &format!("--namespace={namespace}"), pod, &format!("--container={container}"), "--", "limpet"];
    let arguments: Vec<OsString> = exec.into_iter().map(OsString::from).chain(question.iter().cloned()).collect();
    let output = kubectl.run(&arguments).map_err(|failure| failure.to_string())?;
    let is_well = output.status.success();
    // `limpet status` ends with 1 where something is wrong: an answer all the same.
    let value = match form {
        Form::Text if is_well => Ok(Value::String(output.stdout.clone())),
        Form::Text => Err(reason(&output)),
        Form::Json | Form::Cells => serde_json::from_str(&output.stdout).map_err(|error| {
            if is_well { format!("answers with something else than JSON: {error}") } else { reason(&output) }
        }),
    };
    Ok(Answer { node: node.clone(), value: value?, is_well, notes: notes(&output.stderr) })
}

/// The lines of a standard error, without what is kubectl's own business.
fn notes(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().map(one_line).filter(|line| !line.is_empty());
    let ours = lines.filter(|line| !line.starts_with("command terminated with exit code") && !is_log(line));
    ours.map(|line| line.strip_prefix("limpet: ").unwrap_or(&line).to_owned()).collect()
}

/// Whether kubectl's libraries wrote the line into their log, as in `E1231 23:59:59.000000 ...`.
fn is_log(line: &str) -> bool {
    let rest = line.strip_prefix(['E', 'F', 'I', 'W']);
    let date = rest.and_then(|rest| rest.split_once(' ')).map(|(date, _)| date);
    date.is_some_and(|date| date.len() == 4 && date.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Why a program failed, in a line.
fn reason(output: &Output) -> String {
    let said = notes(&output.stderr).join(" ");
    let said: String = said.chars().take(MAX_REASON).collect();
    if said.is_empty() { format!("ended with {} and said nothing", output.status) } else { said }
}
