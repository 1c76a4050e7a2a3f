//! kube-proxy on a node of the lab: the rules that it keeps in the kernel, which go on when it is gone itself.
//!
//! The rules are laid out as those of kube-proxy's nftables mode and do what that does for what comes from outside and for
//! cluster IPs: [`rules`] has them. There is no process: who changes a Service writes them again.

mod rules;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Lab;
use crate::address::Family;
use crate::net::nft;

/// The table's name, in both families.
pub(crate) const TABLE: &str = "kube-proxy";

impl Lab {
    /// Puts kube-proxy's rules for all Services that the lab has now on these nodes, in place of earlier ones; their counters
    /// begin at 0.
    pub fn write_kube_proxy_rules(&self, nodes: &[u8]) -> Result<()> {
        for node in nodes {
            let rules: String =
                Family::BOTH.iter().map(|family| rules::ruleset(self.world(), *node, *family)).collect();
            nft::load(&self.node(*node), &rules)?;
        }
        Ok(())
    }

    /// Takes kube-proxy's rules off these nodes; does nothing where there are none.
    pub fn remove_kube_proxy_rules(&self, nodes: &[u8]) -> Result<()> {
        let rules: String = Family::BOTH.iter().map(|family| rules::removal(*family)).collect();
        nodes.iter().try_for_each(|node| nft::load(&self.node(*node), &rules))
    }

    /// How many packets kube-proxy's rules on a node have sent on, by Service, and under a name of its own how many they have
    /// refused. Only a connection's first packet comes by them.
    pub fn kube_proxy_packets(&self, node: u8) -> Result<BTreeMap<String, u64>> {
        let mut packets = BTreeMap::new();
        for family in Family::BOTH {
            let table = nft::list(&self.node(node), rules::nft_family(family), TABLE)?;
            let rules = table["nftables"].as_array().context("`nft -j` has another form")?;
            for (service, counted) in rules.iter().filter_map(counted) {
                *packets.entry(service).or_default() += counted;
            }
        }
        Ok(packets)
    }
}

/// The Service and the packets of a rule that counts.
fn counted(entry: &Value) -> Option<(String, u64)> {
    let rule = entry.get("rule")?;
    let service = rule["comment"].as_str()?.strip_prefix(rules::COUNTS)?;
    let counter = rule["expr"].as_array()?.iter().find_map(|expression| expression.get("counter"))?;
    Some((service.to_owned(), counter["packets"].as_u64()?))
}
