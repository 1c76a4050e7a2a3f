//! The ledger of breaks, as `limpet breaks -o json` prints it on each node.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::tally::Reasons;
use crate::Lab;
use crate::address::NODES;
use crate::world::NAMESPACE;

/// What the command prints, as far as the scenarios need it.
#[derive(Debug, Deserialize)]
struct Breaks {
    totals: Vec<Total>,
}

/// The breaks of one Service port since it was programmed.
#[derive(Debug, Deserialize)]
struct Total {
    service: ServicePort,
    reasons: Reasons,
    total: u64,
}

#[derive(Debug, Deserialize)]
struct ServicePort {
    namespace: String,
    name: String,
}

/// The breaks of a Service by node and reason.
pub(super) type ByNode = BTreeMap<u8, Reasons>;
/// The breaks of all Services of the lab by name and reason.
pub(crate) type ByService = BTreeMap<String, Reasons>;

/// Asks every node, also one without an agent: the counters are pinned.
pub(super) fn read(lab: &Lab, service: &str) -> Result<ByNode> {
    (1..=NODES).map(|node| Ok((node, read_node(lab, node)?.remove(service).unwrap_or_default()))).collect()
}

/// The breaks of all Services on a node.
pub(crate) fn read_node(lab: &Lab, node: u8) -> Result<ByService> {
    let said = lab.limpet(node, &["breaks", "-A", "-o", "json"])?;
    said.json().and_then(by_service).with_context(|| format!("`limpet breaks` on n{node}"))
}

/// By how much it grew, over all nodes. Fails when a count has become smaller, which none may.
pub(super) fn growth(before: &ByNode, after: &ByNode) -> Result<Reasons> {
    let mut growth = Reasons::new();
    for (node, reasons) in after {
        for (reason, count) in reasons {
            let earlier = before.get(node).and_then(|reasons| reasons.get(reason)).copied().unwrap_or(0);
            let grown = count.checked_sub(earlier);
            let grown = grown.with_context(|| format!("breaks of reason {reason} on n{node} fell from {earlier}"))?;
            *growth.entry(reason.clone()).or_default() += grown;
        }
    }
    Ok(growth)
}

/// The sums over all ports of each Service.
fn by_service(printed: Value) -> Result<ByService> {
    let breaks: Breaks = serde_json::from_value(printed).context("it prints another form than is known")?;
    let mut sums = ByService::new();
    for Total { service: of, reasons, total } in breaks.totals {
        ensure!(reasons.values().sum::<u64>() == total, "the reasons {reasons:?} do not add up to {total}");
        if of.namespace == NAMESPACE {
            let sum = sums.entry(of.name).or_default();
            for (reason, count) in reasons {
                *sum.entry(reason).or_default() += count;
            }
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reasons(counts: &[(&str, u64)]) -> Reasons {
        counts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }

    fn total(name: &str, port: &str, gone: u64, total: u64) -> Value {
        json!({
            "service": {"namespace": "lab", "name": name, "port": port, "protocol": "TCP"},
            "reasons": {"backend-gone": gone, "not-ready": 1},
            "total": total,
        })
    }

    #[test]
    fn the_ports_of_one_service_are_added_up() {
        let printed = json!({
            "node": "n1",
            "totals": [total("web", "a", 3, 4), total("web", "b", 2, 3), total("cart", "a", 9, 10)],
            "events": null,
            "lost_events": 0,
        });
        let expected = [
            ("cart", reasons(&[("backend-gone", 9), ("not-ready", 1)])),
            ("web", reasons(&[("backend-gone", 5), ("not-ready", 2)])),
        ];
        assert_eq!(by_service(printed).unwrap(), expected.map(|(name, reasons)| (name.to_owned(), reasons)).into());
    }

    #[test]
    fn a_total_that_is_not_the_sum_is_refused() {
        assert!(by_service(json!({"totals": [total("web", "a", 3, 5)]})).is_err());
        assert!(by_service(json!([])).is_err());
    }

    #[test]
    fn growth_is_summed_over_nodes_and_never_negative() {
        let before = ByNode::from([(1, reasons(&[("draining", 5)])), (2, Reasons::new())]);
        let after = ByNode::from([(1, reasons(&[("draining", 7)])), (2, reasons(&[("draining", 1), ("expired", 0)]))]);
        assert_eq!(growth(&before, &after).unwrap(), reasons(&[("draining", 3), ("expired", 0)]));
        assert!(growth(&after, &before).is_err());
    }
}
