//! What there is: Services that nobody ever touches, Services that churn, and the Pods of both.

use crate::address::NODES;
use crate::world::ServiceSpec;

/// The affinity of Services that are never changed, in seconds: no soak should outlast it between two requests.
pub(super) const LONG_AFFINITY: u32 = 10_800;

/// What the names of Services that churn begin with.
const CHURNED: &str = "churn-";

/// How much there is to churn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Services that churn; every other one has affinity to begin with.
    pub(super) services: usize,
    /// Pods that each of them may have.
    pub(super) pods_each: usize,
}

impl Size {
    /// For minutes.
    pub(super) const LARGE: Self = Self { services: 6, pods_each: 6 };
    /// For seconds: building the lab must not take longer than the soak.
    pub(super) const SMALL: Self = Self { services: 4, pods_each: 4 };
}

/// A Pod to start: its node and its name.
pub(super) type Placed = (u8, String);

/// A Service that churns, as it is in the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Churned {
    pub(super) name: String,
    pub(super) affinity: Option<u32>,
    /// All Pods that it may ever have.
    pub(super) pods: Vec<Placed>,
}

/// Services that are never changed: two Pods on each of two nodes, so that a third node can go away unnoticed; one
/// without affinity and one with it for each pair of nodes. The Pods are those that every lab begins with.
pub(super) fn steady() -> Vec<ServiceSpec> {
    let mut specs = Vec::new();
    for first in 1..=NODES {
        let second = first % NODES + 1;
        let pods: Vec<String> =
            [first, second].into_iter().flat_map(|node| [format!("p{node}-1"), format!("p{node}-2")]).collect();
        specs.push(ServiceSpec::new(&format!("steady-{first}{second}"), &pods));
        specs.push(ServiceSpec::new(&format!("loyal-{first}{second}"), &pods).with_affinity(LONG_AFFINITY));
    }
    specs
}

/// The Services that churn, with Pods on all nodes in turn.
pub(super) fn churned(size: Size) -> Vec<Churned> {
    let service = |number: usize| {
        let name = format!("{CHURNED}{number}");
        let nodes = (1..=NODES).cycle().skip(number % usize::from(NODES));
        let pods = nodes.zip(0..size.pods_each).map(|(node, pod)| (node, format!("{name}-pod-{pod}"))).collect();
        Churned { name, affinity: (number % 2 == 1).then_some(LONG_AFFINITY), pods }
    };
    (0..size.services).map(service).collect()
}

/// Whether the Service of this name churns.
pub(super) fn is_churned(service: &str) -> bool {
    service.starts_with(CHURNED)
}
