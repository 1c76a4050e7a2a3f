//! Reads the maps of flows.
//!
//! A flow says by an id whose it is. The id is given away again after its Service, and the flow may be there still: so whose it is
//! is asked of the frontend that it came by, too.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use aya::maps::{self, MapData};
use lb_common::{V4, V6, layout::Flow as FlowValue};

use super::{super::state::Flow, Opened, Readable, in_map, protocol_name};
use crate::dataplane::{Error, FamilyMaps, Pod};

/// Flows of each client, by the id of the Service port and the client's address.
pub type FlowCounts = HashMap<(u32, IpAddr), u32>;

/// The Service port that each frontend leads to, by address, port and the protocol's number.
#[derive(Debug, Default)]
struct FlowOwners(HashMap<(SocketAddr, u8), u32>);

impl FlowOwners {
    /// The Service port of a flow to `frontend` that says it is of `service`; none when that is gone.
    fn owner(&self, frontend: SocketAddr, protocol: u8, service: u32) -> Option<u32> {
        self.0.get(&(frontend, protocol)).copied().filter(|owner| *owner == service)
    }
}

impl Opened {
    /// The first `limit` flows that `wanted` wants, and whether there are more.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn flows(&self, limit: usize, wanted: impl Fn(&Flow) -> bool) -> Result<(Vec<Flow>, bool), Error> {
        let owners = self.flow_owners()?;
        let mut flows = HashMap::new();
        let mut cut = false;
        self.each_flow(&owners, |flow| {
            let key = (flow.client, flow.frontend, flow.protocol.clone());
            // A flow that is moved from the map of new ones may be seen twice: established counts, and comes first.
            if !wanted(&flow) || flows.contains_key(&key) {
                return true;
            }
            cut = flows.len() == limit;
            if !cut {
                flows.insert(key, flow);
            }
            !cut
        })?;
        Ok((flows.into_values().collect(), cut))
    }

    /// How many flows the clients have that `wanted` wants, which is given the Service port and the client's address.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn count_flows(&self, wanted: impl Fn(u32, IpAddr) -> bool) -> Result<FlowCounts, Error> {
        let owners = self.flow_owners()?;
        let mut counts = FlowCounts::new();
        self.count_flows_of(&self.maps.v4, &owners, &wanted, &mut counts)?;
        self.count_flows_of(&self.maps.v6, &owners, &wanted, &mut counts)?;
        Ok(counts)
    }

    /// Hands out all flows, established ones first, until `go_on` says no.
    fn each_flow(&self, owners: &FlowOwners, mut go_on: impl FnMut(Flow) -> bool) -> Result<(), Error> {
        let (v4, v6) = (&self.maps.v4, &self.maps.v6);
        let _all = self.each_flow_of::<V4>("FLOWS4", &v4.flows, true, owners, &mut go_on)?
            && self.each_flow_of::<V6>("FLOWS6", &v6.flows, true, owners, &mut go_on)?
            && self.each_flow_of::<V4>("NEW_FLOWS4", &v4.new_flows, false, owners, &mut go_on)?
            && self.each_flow_of::<V6>("NEW_FLOWS6", &v6.new_flows, false, owners, &mut go_on)?;
        Ok(())
    }

    fn each_flow_of<F: Readable>(
        &self,
        name: &str,
        map: &maps::HashMap<MapData, Pod<F::FlowKey>, Pod<FlowValue>>,
        established: bool,
        owners: &FlowOwners,
        go_on: &mut impl FnMut(Flow) -> bool,
    ) -> Result<bool, Error> {
        for element in map.iter().take(self.bound(name)) {
            let (Pod(key), Pod(value)) = element.map_err(in_map(name))?;
            let (client, frontend, protocol) = F::flow(&key);
            let flow = Flow {
                client,
                frontend,
                protocol: protocol_name(protocol),
                backend: value.backend,
                generation: value.generation,
                since_seconds: value.since_seconds,
                service: owners.owner(frontend, protocol, value.service),
                established,
            };
            if !go_on(flow) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What tells whose flows are.
    fn flow_owners(&self) -> Result<FlowOwners, Error> {
        let mut owners = FlowOwners::default();
        self.add_owners(&self.maps.v4, &mut owners)?;
        self.add_owners(&self.maps.v6, &mut owners)?;
        Ok(owners)
    }

    fn add_owners<F: Readable>(&self, maps: &FamilyMaps<F>, owners: &mut FlowOwners) -> Result<(), Error> {
        let frontends = self.elements(&format!("FRONTENDS{}", F::DIGIT), &maps.frontends)?;
        owners.0.extend(frontends.into_iter().map(|(Pod(key), Pod(frontend))| (F::frontend(&key), frontend.service)));
        Ok(())
    }

    fn count_flows_of<F: Readable>(
        &self,
        maps: &FamilyMaps<F>,
        owners: &FlowOwners,
        wanted: &impl Fn(u32, IpAddr) -> bool,
        counts: &mut FlowCounts,
    ) -> Result<(), Error> {
        let mut count = |key: &F::FlowKey, service: u32| {
            let (client, frontend, protocol) = F::flow(key);
            let owner = owners.owner(frontend, protocol, service);
            if owner.is_some_and(|service| wanted(service, client.ip())) {
                *counts.entry((service, client.ip())).or_default() += 1;
            }
        };
        let name = format!("FLOWS{}", F::DIGIT);
        for element in maps.flows.iter().take(self.bound(&name)) {
            let (Pod(key), Pod(flow)) = element.map_err(in_map(&name))?;
            count(&key, flow.service);
        }
        let name = format!("NEW_FLOWS{}", F::DIGIT);
        for element in maps.new_flows.iter().take(self.bound(&name)) {
            let (key, Pod(flow)) = element.map_err(in_map(&name))?;
            // A flow that has moved on stays in the map of new ones until that is full.
            if maps.flows.get(&key, 0).is_err() {
                count(&key.0, flow.service);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_whose_frontend_it_came_by_and_whose_id_it_says() {
        const TCP: u8 = 6;
        const UDP: u8 = 17;
        let [web, dns, gone] = [10, 11, 12].map(|last| SocketAddr::from(([203, 0, 113, last], 53)));
        let owners = FlowOwners([((web, TCP), 1), ((dns, TCP), 2), ((dns, UDP), 3)].into());
        let cases = [
            ("as it says", web, TCP, 1, Some(1)),
            ("the frontend is another Service's now", web, TCP, 2, None),
            ("the id is another Service's now, which has no such frontend", gone, TCP, 1, None),
            ("another protocol's", dns, UDP, 3, Some(3)),
            ("another protocol's id", dns, UDP, 2, None),
        ];
        for (description, frontend, protocol, service, expected) in cases {
            assert_eq!(owners.owner(frontend, protocol, service), expected, "{description}");
        }
    }
}
