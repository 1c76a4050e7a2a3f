//! Flooding a node of the lab.

use anyhow::Result;

use super::Lab;
use crate::flood::{self, Flood, Plan};
use crate::net::topology;

impl Lab {
    /// Floods a node from the router's port to it. Answers to the forged sources are thrown away at the router.
    pub fn flood(&self, node: u8, plan: &Plan) -> Result<Flood> {
        topology::discard(&self.names, &flood::source_ranges())?;
        let (router, port) = topology::port_to_node(&self.names, node);
        Flood::start((&router, &port), (&self.node(node), topology::UPLINK), (&router, topology::BRIDGE), plan)
    }
}
