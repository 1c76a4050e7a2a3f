//! What is remembered and told, and making the maps forget it.

use std::net::IpAddr;

use lb_common::{
    BreakReason, Family, FamilyTables, Stage, V4, V6,
    family::{Address, Address4, Address6},
    layout::{Affinity, Ghost, affinity_flags},
};

use super::{Told, World, told};

impl World {
    /// Where a client is held, or only noted.
    pub(crate) fn known(&self, stage: Stage, client: IpAddr, port: u32) -> Option<Affinity> {
        let prefix = self.settings(port).prefix;
        match client {
            IpAddr::V4(address) => {
                let client = Address4::from(address).masked(prefix.unwrap_or(32).into());
                FamilyTables::<V4>::affinity(&self.memory, stage, &V4::affinity_key(client, self.held_for(port)))
            }
            IpAddr::V6(address) => {
                let client = Address6::from(address).masked(prefix.unwrap_or(128).into());
                FamilyTables::<V6>::affinity(&self.memory, stage, &V6::affinity_key(client, self.held_for(port)))
            }
        }
    }

    pub(crate) fn held(&self, client: IpAddr, port: u32) -> Option<Affinity> {
        self.known(Stage::Established, client, port)
    }

    pub(crate) fn noted(&self, client: IpAddr, port: u32) -> Option<Affinity> {
        self.known(Stage::New, client, port)
    }

    /// Notes a client of one packet, as a CPU does that saw the maps before another one changed them.
    pub(crate) fn note(&mut self, client: IpAddr, port: u32, affinity: &Affinity) {
        let held_for = self.held_for(port);
        match client {
            IpAddr::V4(address) => {
                let key = V4::affinity_key(address.into(), held_for);
                FamilyTables::<V4>::remember_affinity(&self.memory, Stage::New, &key, affinity);
            }
            IpAddr::V6(address) => {
                let key = V6::affinity_key(address.into(), held_for);
                FamilyTables::<V6>::remember_affinity(&self.memory, Stage::New, &key, affinity);
            }
        }
    }

    /// The Pod under an id.
    pub(crate) fn pod(&self, id: u32) -> String {
        self.pods[id as usize].clone()
    }

    /// The id of a Pod's backend for a Service port.
    pub(crate) fn id(&self, port: u32, pod: &str) -> u32 {
        self.ids[&(port, pod.to_owned())]
    }

    /// Whose ghosts there are, in any order.
    pub(crate) fn ghosts(&self) -> Vec<Ghost> {
        self.memory.ghosts.borrow().iter().flatten().filter(|ghost| ghost.fingerprint != 0).copied().collect()
    }

    /// The full map forgets everybody who is held.
    pub(crate) fn evict_all(&mut self) {
        self.memory.v4.affinity[Stage::Established as usize].borrow_mut().clear();
        self.memory.v6.affinity[Stage::Established as usize].borrow_mut().clear();
    }

    /// The full map forgets all that has sent one packet only.
    pub(crate) fn evict_new(&mut self) {
        self.memory.v4.affinity[Stage::New as usize].borrow_mut().clear();
        self.memory.v6.affinity[Stage::New as usize].borrow_mut().clear();
        self.memory.v4.flows[Stage::New as usize].borrow_mut().clear();
        self.memory.v6.flows[Stage::New as usize].borrow_mut().clear();
    }

    /// The full maps forget all flows.
    pub(crate) fn evict_flows(&mut self) {
        for stage in 0..2 {
            self.memory.v4.flows[stage].borrow_mut().clear();
            self.memory.v6.flows[stage].borrow_mut().clear();
        }
    }

    /// What `limpet forget` does to everybody.
    pub(crate) fn forget_all(&mut self) {
        for stage in 0..2 {
            for affinity in self.memory.v4.affinity[stage].borrow_mut().values_mut() {
                affinity.flags |= affinity_flags::FORGOTTEN;
            }
            for affinity in self.memory.v6.affinity[stage].borrow_mut().values_mut() {
                affinity.flags |= affinity_flags::FORGOTTEN;
            }
        }
    }

    /// The breaks that were told since the last time.
    pub(crate) fn breaks(&mut self) -> Vec<Told> {
        let events = std::mem::take(&mut *self.memory.breaks.borrow_mut());
        let told = events.iter().map(|event| {
            let reason = BreakReason::from_index(event.reason).unwrap();
            told(reason, &self.pod(event.from), &self.pod(event.to))
        });
        told.collect()
    }

    /// Everything that a client may leave behind, for comparing.
    pub(crate) fn remembered(&self) -> String {
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let v4 = self
            .memory
            .v4
            .affinity
            .iter()
            .flat_map(|map| map.borrow().iter().map(|e| format!("{e:?}")).collect::<Vec<_>>());
        let v6 = self
            .memory
            .v6
            .affinity
            .iter()
            .flat_map(|map| map.borrow().iter().map(|e| format!("{e:?}")).collect::<Vec<_>>());
        format!("{:?} {:?}", sorted(v4.chain(v6).collect()), self.ghosts())
    }
}
