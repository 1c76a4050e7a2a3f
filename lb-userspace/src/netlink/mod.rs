//! The node's devices, routes and neighbours: the only place that speaks rtnetlink.
//!
//! The kernel is asked, not copied: every call reads what it needs and decides in pure code (`hop`, `route`,
//! `neighbour`, `device`); [`Changes`] says when to ask again. What this module changes in the kernel is one thing:
//! the neighbours on the way to other nodes are marked as managed, so that the kernel keeps them resolved although
//! XDP sends the packets and the kernel never sees one.
//!
//! It depends on no other module.

mod address;
mod changes;
mod device;
mod error;
mod hop;
mod neighbour;
mod request;
mod route;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use rtnetlink::{Handle, packet_route::AddressFamily};
use tokio::task::JoinSet;

pub use self::{
    changes::Changes,
    device::{Device, Vlan, XdpMode, device_name},
    error::Error,
    hop::{Ends, Hop, Target, Unresolved},
};
use self::{
    neighbour::{Neighbour, NeighbourKey},
    route::Way,
};

/// The device that kube-proxy's IPVS mode gives the addresses of all Services to.
const IPVS_DEVICE: &str = "kube-ipvs0";

/// A connection to the kernel's routing, for one network namespace.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    changes: Changes,
    /// The connections' tasks; they end with this value.
    _tasks: JoinSet<()>,
}

impl Netlink {
    /// Connects to the network namespace of the calling thread. Changes are watched from here on.
    ///
    /// All threads of the runtime must be in that namespace too. Fails when the kernel gives no socket.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let mut tasks = JoinSet::new();
        let changes = changes::watch(&mut tasks)?;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|source| Error::Socket { source })?;
        tasks.spawn(connection);
        Ok(Self { handle, changes, _tasks: tasks })
    }

    /// What reports that devices, addresses, routes or neighbours have changed; first, what has since the opening.
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Names of the devices that the default routes of the main table lead to, IPv4 first, each once.
    ///
    /// Fails when there is no default route.
    pub async fn default_uplinks(&self) -> Result<Vec<String>, Error> {
        let mut routes = request::routes(&self.handle, AddressFamily::Inet).await?;
        routes.extend(request::routes(&self.handle, AddressFamily::Inet6).await?);
        let names: HashMap<u32, String> =
            request::links(&self.handle).await?.iter().filter_map(device::index_and_name).collect();
        let uplinks: Vec<String> =
            route::default_devices(&routes).iter().filter_map(|index| names.get(index).cloned()).collect();
        if uplinks.is_empty() { Err(Error::NoDefaultRoute) } else { Ok(uplinks) }
    }

    /// The device of that name. Fails when there is none, or when its frames have no Ethernet header.
    pub async fn device(&self, name: &str) -> Result<Device, Error> {
        let link = request::link(&self.handle, name).await?;
        let link = link.ok_or_else(|| Error::NoDevice { device: name.to_owned() })?;
        Device::from_link(&link)
    }

    /// The addresses of all devices under which others can reach this node, sorted: without loopback and link-local
    /// ones, and without those that kube-proxy's IPVS mode gives to a device of its own, which are the Services'.
    ///
    /// Fails when the kernel's addresses cannot be read.
    pub async fn local_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let messages = request::addresses(&self.handle).await?;
        let own = messages.iter().filter(|message| device_name(message.header.index) != IPVS_DEVICE);
        let addresses: BTreeSet<IpAddr> = own.filter_map(address::reachable).collect();
        Ok(addresses.into_iter().collect())
    }

    /// How packets reach the targets, in the targets' order, as far as it is known now.
    ///
    /// Neighbours on the way that nobody manages are marked for the kernel to keep resolved. This waits for no
    /// neighbour: a target is [`Unresolved::NeighbourPending`] until a later call, for which [`Changes`] gives the
    /// signal. Fails when the kernel's tables cannot be read at all; what concerns one target is in its result.
    pub async fn resolve(&self, targets: &[Target]) -> Result<Vec<(Target, Result<Hop, Unresolved>)>, Error> {
        let ways = self.ways(targets).await?;
        let devices = self.devices().await?;
        let neighbours = self.neighbours().await?;
        let found: Vec<Way> = ways.iter().filter_map(|way| way.ok()).collect();
        let refused = self.manage(&hop::to_manage(&found, &devices, &neighbours)).await?;
        let hops = ways.into_iter().map(|way| way.and_then(|way| hop::hop(&way, &devices, &neighbours, &refused)));
        Ok(targets.iter().copied().zip(hops).collect())
    }

    /// Gives back to the kernel every neighbour that Limpet manages and that is not on the way to one of `kept`.
    ///
    /// The neighbours stay in the table and age like any other. Those that somebody else manages, or that an
    /// administrator has set, are never touched.
    pub async fn release_unneeded(&self, kept: &[Target]) -> Result<(), Error> {
        let needed: HashSet<NeighbourKey> =
            self.ways(kept).await?.iter().filter_map(|way| way.ok()).map(|way| way.neighbour_key()).collect();
        for key in neighbour::kept_by_limpet(&self.neighbours().await?).filter(|key| !needed.contains(key)) {
            request::update_neighbour(&self.handle, neighbour::released(key)).await?;
        }
        Ok(())
    }

    /// Gives back every neighbour that Limpet manages, also those of an agent that is no more.
    pub async fn release_all(&self) -> Result<(), Error> {
        self.release_unneeded(&[]).await
    }

    async fn ways(&self, targets: &[Target]) -> Result<Vec<Result<Way, Unresolved>>, Error> {
        let mut ways = Vec::with_capacity(targets.len());
        for target in targets {
            let found = request::route(&self.handle, route::look_up(target)).await?;
            ways.push(found.ok_or(Unresolved::NoRoute).and_then(|found| route::way(&found, target.address())));
        }
        Ok(ways)
    }

    /// Those with an Ethernet header, by index.
    async fn devices(&self) -> Result<HashMap<u32, Device>, Error> {
        let links = request::links(&self.handle).await?;
        Ok(links.iter().filter_map(|link| Device::from_link(link).ok()).map(|device| (device.index, device)).collect())
    }

    async fn neighbours(&self) -> Result<HashMap<NeighbourKey, Neighbour>, Error> {
        Ok(request::neighbours(&self.handle).await?.iter().filter_map(neighbour::parse).collect())
    }

    /// Marks neighbours as managed; returns those that the kernel does not take, with its error number.
    async fn manage(&self, keys: &HashSet<NeighbourKey>) -> Result<HashMap<NeighbourKey, i32>, Error> {
        let mut refused = HashMap::new();
        for key in keys {
            let Err(error) = request::create_neighbour(&self.handle, neighbour::managed(*key)).await else {
                continue;
            };
            refused.insert(*key, error.errno().ok_or(error)?);
        }
        Ok(refused)
    }
}
