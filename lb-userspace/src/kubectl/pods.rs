//! Finds the Pods of Limpet's DaemonSet, one for each node.

use std::{collections::BTreeMap, ffi::OsString};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use serde::{Deserialize, de::DeserializeOwned};

use super::ask::{Kubectl, Unreachable};
use crate::cli::ClusterOptions;

/// What all Pods of Limpet's DaemonSet have, and the DaemonSet itself.
const LABEL: &str = "app.kubernetes.io/name=limpet";
/// The container that runs the agent; where there is none of this name, the first.
const CONTAINER: &str = "agent";

/// A Pod that can be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Instance {
    /// Its node.
    pub node: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The container to ask in.
    pub container: String,
}

/// Whom there is to ask.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// A Pod for each node that has a running one, sorted by node.
    pub pods: Vec<Instance>,
    /// The nodes that should have one, and have none.
    pub unreachable: Vec<Unreachable>,
    /// What is doubtful.
    pub notes: Vec<String>,
}

/// Asks kubectl for the Pods.
///
/// # Errors
/// When it cannot be asked, or there are none.
pub(super) fn find(kubectl: &Kubectl, options: &ClusterOptions) -> Result<Found> {
    let pods: Vec<Pod> = list(kubectl, "pods", options)?;
    let place =
        options.limpet_namespace.as_ref().map_or_else(|| "any namespace".to_owned(), |it| format!("namespace {it}"));
    if pods.is_empty() {
        bail!(
            "no Pod in {place} has the label {LABEL}; is Limpet installed in this cluster, and this the right context?"
        );
    }
    let mut found = chosen(&pods);
    if options.nodes.is_empty() {
        match list::<DaemonSet>(kubectl, "daemonsets", options) {
            Ok(sets) => found.unreachable.extend(without_pods(&sets, &pods)),
            Err(error) => found.notes.push(format!("nodes without a Pod of Limpet are not known: {error:#}")),
        }
    } else {
        found.restrict_to(&options.nodes);
    }
    Ok(found)
}

impl Found {
    fn restrict_to(&mut self, nodes: &[String]) {
        self.pods.retain(|it| nodes.contains(&it.node));
        self.unreachable.retain(|it| nodes.contains(&it.node));
        let is_known = |node: &&String| {
            self.pods.iter().any(|it| it.node == **node) || self.unreachable.iter().any(|it| it.node == **node)
        };
        let unknown: Vec<Unreachable> = nodes
            .iter()
            .filter(|node| !is_known(node))
            .map(|node| Unreachable {
                node: node.clone(),
                pod: None,
                reason: "no Pod of Limpet is on a node of this name".to_owned(),
            })
            .collect();
        self.unreachable.extend(unknown);
    }
}

fn list<T: DeserializeOwned>(kubectl: &Kubectl, kind: &str, options: &ClusterOptions) -> Result<Vec<T>> {
    #[derive(Deserialize)]
    struct List<T> {
        items: Vec<T>,
    }
    let mut arguments: Vec<OsString> = ["get", kind, "--selector", LABEL, "--output=json"].map(OsString::from).into();
    match &options.limpet_namespace {
        Some(namespace) => arguments.push(format!("--namespace={namespace}").into()),
        None => arguments.push("--all-namespaces".into()),
    }
    let text = kubectl.said(&arguments).with_context(|| format!("cannot list {kind} with kubectl"))?;
    let list: List<T> = serde_json::from_str(&text).with_context(|| format!("kubectl does not answer with {kind}"))?;
    Ok(list.items)
}

/// The best Pod of each node; the nodes whose best one does not run.
fn chosen(pods: &[Pod]) -> Found {
    let mut by_node: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
    let mut found = Found::default();
    for pod in pods {
        match node_of(pod) {
            Some(node) => by_node.entry(node).or_default().push(pod),
            None => found.unreachable.push(Unreachable {
                node: "?".to_owned(),
                pod: Some(full_name(pod)),
                reason: "has no node yet".to_owned(),
            }),
        }
    }
    for (node, mut pods) in by_node {
        pods.sort_by_key(|pod| (not_running(pod).is_some(), pod.metadata.deletion_timestamp.is_some(), full_name(pod)));
        let Some(best) = pods.first() else { continue };
        let stays = |pod: &&&Pod| not_running(pod).is_none() && pod.metadata.deletion_timestamp.is_none();
        let others: Vec<String> = pods.iter().skip(1).filter(stays).map(|pod| full_name(pod)).collect();
        if !others.is_empty() {
            let (best, others) = (full_name(best), others.join(" and "));
            found.notes.push(format!(
                "node {node} has more than one Pod of Limpet: {best} is asked, {others} not (--limpet-namespace chooses)"
            ));
        }
        match not_running(best) {
            Some(reason) => found.unreachable.push(Unreachable { node, pod: Some(full_name(best)), reason }),
            None => found.pods.push(Instance {
                node,
                namespace: best.metadata.namespace.clone().unwrap_or_default(),
                pod: best.metadata.name.clone().unwrap_or_default(),
                container: container(best),
            }),
        }
    }
    found
}

fn full_name(pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

/// The node that the Pod is on, or is to come to: a DaemonSet's Pod has it in its affinity before.
fn node_of(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_ref().filter(|node| !node.is_empty()) {
        return Some(node.clone());
    }
    let required =
        spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields.find(|field| field.key == "metadata.name")?.values.as_ref()?.first().cloned()
}

fn container(pod: &Pod) -> String {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let container = containers.iter().find(|it| it.name == CONTAINER).or(containers.first());
    container.map_or_else(|| CONTAINER.to_owned(), |it| it.name.clone())
}

/// Why nobody can be asked in this Pod; none when somebody can.
fn not_running(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_else(|| "not known".to_owned());
    let container = container(pod);
    let containers = status.container_statuses.unwrap_or_default();
    let state = containers.iter().find(|it| it.name == container).and_then(|it| it.state.as_ref());
    if phase == "Running" && state.is_some_and(|state| state.running.is_some()) {
        return None;
    }
    let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.clone());
    let ended = state.and_then(|state| state.terminated.as_ref());
    let ended = ended.map(|ended| ended.reason.clone().unwrap_or_else(|| format!("exit code {}", ended.exit_code)));
    let why = waiting.or(ended).or(status.reason);
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    Some(format!("its Pod does not run: {phase}{why}"))
}

/// The DaemonSets that want more nodes than there are Pods on.
fn without_pods(sets: &[DaemonSet], pods: &[Pod]) -> Vec<Unreachable> {
    let missing = |set: &DaemonSet| {
        let desired = set.status.as_ref()?.desired_number_scheduled;
        let uid = set.metadata.uid.as_ref()?;
        let owners = |pod: &&Pod| pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == *uid);
        let nodes: std::collections::BTreeSet<_> = pods.iter().filter(owners).filter_map(node_of).collect();
        let missing = usize::try_from(desired).ok()?.checked_sub(nodes.len()).filter(|missing| *missing > 0)?;
        let name = set.metadata.name.clone().unwrap_or_default();
        Some(Unreachable {
            node: "?".to_owned(),
            pod: None,
            reason: format!("{missing} of the {desired} nodes that DaemonSet {name} is for have no Pod"),
        })
    };
    sets.iter().filter_map(missing).collect()
}
