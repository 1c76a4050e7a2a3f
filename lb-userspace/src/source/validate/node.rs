//! Nodes: addresses. The API server takes any text for one.

use k8s_openapi::api::core::v1::Node;

use super::address::{self, Refuses};
use super::{Findings, keep};

pub(super) fn check(node: &mut Node, findings: &mut Findings) {
    keep(node.status.as_mut().and_then(|s| s.addresses.as_mut()), |index, address| match address.type_.as_str() {
        "InternalIP" | "ExternalIP" => {
            let field = format!("status.addresses[{index}].address");
            address::check(&field, &address.address, Refuses::Nothing, findings).is_some()
        }
        _ => true,
    });
}
