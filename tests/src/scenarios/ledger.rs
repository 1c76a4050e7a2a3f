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

/// Asks every node, also one without an agent: the counters are pinned.
pub(super) fn read(lab: &Lab, service: &str) -> Result<ByNode> {
    let of_node = |node| {
        let said = lab.limpet(node, &["breaks", "-A", "-o", "json"])?;
        let reasons = said.json().and_then(|value| of_service(value, service));
        Ok((node, reasons.with_context(|| format!("`limpet breaks` on n{node}"))?))
    };
    (1..=NODES).map(of_node).collect()
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

/// The sum over all ports of the Service.
fn of_service(printed: Value, service: &str) -> Result<Reasons> {
    let breaks: Breaks = serde_json::from_value(printed).context("it prints another form than is known")?;
    let mut sum = Reasons::new();
    for Total { service: of, reasons, total } in breaks.totals {
        ensure!(reasons.values().sum::<u64>() == total, "the reasons {reasons:?} do not add up to {total}");
        if of.namespace == NAMESPACE && of.name == service {
            for (reason, count) in reasons {
                *sum.entry(reason).or_default() += count;
            }
        }
    }
    Ok(sum)
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
        assert_eq!(of_service(printed, "web").unwrap(), reasons(&[("backend-gone", 5), ("not-ready", 2)]));
    }

    #[test]
    fn a_total_that_is_not_the_sum_is_refused() {
        assert!(of_service(json!({"totals": [total("web", "a", 3, 5)]}), "web").is_err());
        assert!(of_service(json!([]), "web").is_err());
    }

    #[test]
    fn growth_is_summed_over_nodes_and_never_negative() {
        let before = ByNode::from([(1, reasons(&[("draining", 5)])), (2, Reasons::new())]);
        let after = ByNode::from([(1, reasons(&[("draining", 7)])), (2, reasons(&[("draining", 1), ("expired", 0)]))]);
        assert_eq!(growth(&before, &after).unwrap(), reasons(&[("draining", 3), ("expired", 0)]));
        assert!(growth(&after, &before).is_err());
    }
}
