//! Elements of the maps in words: by the names of Services, Pods and nodes, never by ids. Pure.

use std::net::SocketAddr;

use lb_common::layout::{Backend, Frontend, THIS_NODE, backend_state, frontend_flags, frontend_kind, name_kind};

use crate::{
    api::Difference,
    dataplane::{Change, Endpoint, NextHop, ip_of},
    model::Family,
    plan::{Applied, AppliedTable},
};

/// Stands for what there is nothing of.
const NOTHING: &str = "nothing";
/// Stands for who has an id that nobody has.
const NOBODY: &str = "nobody";
/// So many backends are named where a table is wrong.
const MAX_NAMED: usize = 3;

/// Knows whose ids are whose.
#[derive(Clone, Copy)]
pub(super) struct Words<'a>(pub(super) &'a Applied);

impl Words<'_> {
    /// What is different, a line for each field.
    pub(super) fn differences(self, change: &Change) -> Vec<Difference> {
        match change {
            Change::Config { programmed, wanted } => {
                let fields = [
                    ("largest segment over IPv4", programmed.mss4.to_string(), wanted.mss4.to_string()),
                    ("largest segment over IPv6", programmed.mss6.to_string(), wanted.mss6.to_string()),
                    ("port of the tunnel", programmed.tunnel_port.to_string(), wanted.tunnel_port.to_string()),
                    ("padding", programmed.pad.to_string(), wanted.pad.to_string()),
                ];
                unequal("This node", fields)
            }
            Change::Name { key, programmed, wanted } => {
                let text = |name: &Option<String>| name.clone().unwrap_or_else(|| NOTHING.to_owned());
                vec![difference(&self.named(*key), "name", text(programmed), text(wanted))]
            }
            Change::Peer { address, programmed, wanted } => {
                let holder = |id: &Option<u32>| id.map_or_else(|| NOTHING.to_owned(), |id| self.node(id));
                let object = wanted.or(*programmed).map_or_else(|| NOBODY.to_owned(), |id| self.node(id));
                let what = format!("end of the tunnel {address}");
                vec![difference(&object, &what, holder(programmed), holder(wanted))]
            }
            Change::NextHop { key: (node, family), programmed, wanted } => {
                let what = format!("way over {family}");
                vec![difference(&self.node(*node), &what, way(programmed.as_ref()), way(wanted.as_ref()))]
            }
            Change::Backend { id, programmed, wanted } => self.backend_differences(*id, *programmed, *wanted),
            Change::Local { at, programmed, wanted } => {
                let object = self.backend(wanted.or(*programmed).unwrap_or_default());
                let holder = |id: &Option<u32>| id.map_or_else(|| NOTHING.to_owned(), |id| self.backend(id));
                vec![difference(&object, &format!("found at {at}"), holder(programmed), holder(wanted))]
            }
            Change::Sibling { key: (service, backend), programmed, wanted } => {
                let what = format!("the same Pod's for {}", self.service(*service));
                let holder = |id: &Option<u32>| id.map_or_else(|| NOTHING.to_owned(), |id| self.backend(id));
                vec![difference(&self.backend(*backend), &what, holder(programmed), holder(wanted))]
            }
            Change::SourceRange { service, range, is_wanted } => {
                let object = if *service == lb_common::layout::INSIDE {
                    "Inside the cluster".to_owned()
                } else {
                    self.service(*service)
                };
                let text = |is_there: bool| if is_there { "in it".to_owned() } else { NOTHING.to_owned() };
                vec![difference(&object, &format!("source range {range}"), text(!is_wanted), text(*is_wanted))]
            }
            Change::Frontend { at, programmed, wanted } => self.frontend_differences(*at, *programmed, *wanted),
        }
    }

    /// How a lookup table is other than its members give.
    pub(super) fn table(self, table: &AppliedTable, programmed: &[u32], wanted: Option<&[u32]>) -> Difference {
        let what = format!("lookup table for {}", table.family);
        let object = self.service(table.service);
        let Some(wanted) = wanted else {
            return difference(&object, &what, "backends that are gone".to_owned(), "those that are there".to_owned());
        };
        let wrong = || programmed.iter().zip(wanted).filter(|(programmed, wanted)| programmed != wanted);
        let slots = format!("{} of {} slots: ", wrong().count(), wanted.len());
        let programmed = self.backends(wrong().map(|(programmed, _)| *programmed));
        difference(&object, &what, slots + &programmed, self.backends(wrong().map(|(_, wanted)| *wanted)))
    }

    fn backends(self, ids: impl Iterator<Item = u32>) -> String {
        let ids: std::collections::BTreeSet<u32> = ids.collect();
        let named: Vec<String> = ids.iter().take(MAX_NAMED).map(|id| self.identity(*id)).collect();
        let more = if ids.len() > MAX_NAMED { format!(" and {} more", ids.len() - MAX_NAMED) } else { String::new() };
        named.join(", ") + &more
    }

    fn backend_differences(self, id: u32, programmed: Option<Backend>, wanted: Option<Backend>) -> Vec<Difference> {
        let object = self.backend(id);
        let (Some(programmed), Some(wanted)) = (programmed, wanted) else {
            let record = |backend: Option<Backend>| backend.map_or_else(|| NOTHING.to_owned(), |it| self.record(it));
            return vec![difference(&object, "record", record(programmed), record(wanted))];
        };
        let at = |backend: Backend| {
            let address = SocketAddr::new(ip_of(backend.address), backend.port);
            Endpoint { address: address.ip(), port: address.port(), protocol: backend.protocol }.to_string()
        };
        let fields = [
            ("address", at(programmed), at(wanted)),
            ("state", state(programmed).to_owned(), state(wanted).to_owned()),
            ("node", self.node(programmed.node), self.node(wanted.node)),
            ("generation", programmed.generation.to_string(), wanted.generation.to_string()),
            ("Service port", self.service(programmed.service), self.service(wanted.service)),
        ];
        unequal(&object, fields)
    }

    fn record(self, backend: Backend) -> String {
        let address = SocketAddr::new(ip_of(backend.address), backend.port);
        format!("{} at {address} on {}", state(backend), self.node(backend.node))
    }

    fn frontend_differences(
        self,
        at: Endpoint,
        programmed: Option<Frontend>,
        wanted: Option<Frontend>,
    ) -> Vec<Difference> {
        let object = format!("Frontend {at}");
        let owner = |frontend: Frontend| match frontend.kind {
            frontend_kind::TUNNEL => "the tunnel".to_owned(),
            _ => self.service(frontend.service),
        };
        let (Some(programmed), Some(wanted)) = (programmed, wanted) else {
            let text = |frontend: Option<Frontend>| frontend.map_or_else(|| NOTHING.to_owned(), owner);
            return vec![difference(&object, "leads to", text(programmed), text(wanted))];
        };
        let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
        let has = |frontend: Frontend, flag: u8| frontend.flags & flag != 0;
        let fields = [
            ("leads to", owner(programmed), owner(wanted)),
            ("kind", kind(programmed).to_owned(), kind(wanted).to_owned()),
            ("lookup table", self.table_of(at, programmed), self.table_of(at, wanted)),
            ("affinity", affinity(programmed), affinity(wanted)),
            (
                "asks for source ranges",
                yes(has(programmed, frontend_flags::SOURCE_RANGES)),
                yes(has(wanted, frontend_flags::SOURCE_RANGES)),
            ),
            (
                "silent without backends",
                yes(has(programmed, frontend_flags::DROP_IF_EMPTY)),
                yes(has(wanted, frontend_flags::DROP_IF_EMPTY)),
            ),
        ];
        let differences = unequal(&object, fields);
        if differences.is_empty() {
            // Hashes of names, and the check that says whose element it is.
            return vec![difference(&object, "hashes", "wrong".to_owned(), "those of its names".to_owned())];
        }
        differences
    }

    fn table_of(self, at: Endpoint, frontend: Frontend) -> String {
        if frontend.table_length == 0 {
            return "none".to_owned();
        }
        match self.0.tables.get(&frontend.table_offset) {
            Some(table) if table.extent.length != frontend.table_length => {
                format!(
                    "{} of the {} slots of {}",
                    frontend.table_length,
                    table.extent.length,
                    self.service(table.service)
                )
            }
            Some(table) if table.service == frontend.service && table.family == Family::of(at.address) => {
                format!("the current one ({} slots)", table.extent.length)
            }
            Some(table) => format!("that of {}", self.service(table.service)),
            None => format!("{} slots that are nobody's (any more)", frontend.table_length),
        }
    }

    fn named(self, (kind, id): (u32, u32)) -> String {
        match kind {
            name_kind::SERVICE => self.service(id),
            name_kind::BACKEND => self.backend(id),
            name_kind::NODE => self.node(id),
            _ => "What has no kind".to_owned(),
        }
    }

    fn service(self, id: u32) -> String {
        self.0.services.get(&id).map_or_else(|| NOBODY.to_owned(), |name| format!("Service {name}"))
    }

    fn identity(self, id: u32) -> String {
        self.0.backend_names.get(&id).cloned().unwrap_or_else(|| NOBODY.to_owned())
    }

    fn backend(self, id: u32) -> String {
        let service = self.0.backends.get(&id).and_then(|backend| self.0.services.get(&backend.record.service));
        match (self.0.backend_names.get(&id), service) {
            (Some(identity), Some(service)) => format!("Backend {identity} of {service}"),
            (Some(identity), None) => format!("Backend {identity}"),
            (None, _) => NOBODY.to_owned(),
        }
    }

    fn node(self, id: u32) -> String {
        match self.0.nodes.get(&id) {
            Some(node) if id == THIS_NODE => format!("Node {} (this one)", node.name),
            Some(node) => format!("Node {}", node.name),
            None => NOBODY.to_owned(),
        }
    }
}

/// One difference.
pub(super) fn difference(object: &str, what: &str, programmed: String, desired: String) -> Difference {
    Difference { object: object.to_owned(), what: what.to_owned(), programmed, desired }
}

fn unequal<const N: usize>(object: &str, fields: [(&str, String, String); N]) -> Vec<Difference> {
    let fields = fields.into_iter().filter(|(_, programmed, wanted)| programmed != wanted);
    fields.map(|(what, programmed, wanted)| difference(object, what, programmed, wanted)).collect()
}

fn way(hop: Option<&NextHop>) -> String {
    let Some(NextHop { source, destination, way }) = hop else {
        return NOTHING.to_owned();
    };
    if !way.is_known() {
        return format!("to {destination}: not known");
    }
    let octets: [[u8; 4]; 3] = way.ethernet.map(u32::to_ne_bytes);
    let octets: Vec<String> = octets.as_flattened().iter().map(|octet| format!("{octet:02x}")).collect();
    let (to, from) = octets.split_at(octets.len() / 2);
    let device = crate::netlink::device_name(way.device);
    let mut text = format!(
        "from {source} to {destination}: {device} {} > {} mtu {} port {}",
        from.join(":"),
        to.join(":"),
        way.mtu,
        way.tunnel_port
    );
    if way.tag_count > 0 {
        text += &format!(" tags {:08x} {:08x}", u32::from_be(way.tags[0]), u32::from_be(way.tags[1]));
    }
    text
}

fn state(backend: Backend) -> &'static str {
    match backend.state {
        backend_state::ACTIVE => "active",
        backend_state::DRAINING => "draining",
        backend_state::NOT_READY => "not-ready",
        backend_state::EXCLUDED => "excluded",
        backend_state::GONE => "gone",
        _ => "no state",
    }
}

fn kind(frontend: Frontend) -> &'static str {
    match frontend.kind {
        frontend_kind::LOAD_BALANCER_IP => "load-balancer IP",
        frontend_kind::EXTERNAL_IP => "external IP",
        frontend_kind::NODE_PORT => "node port",
        frontend_kind::CLUSTER_IP => "cluster IP",
        frontend_kind::TUNNEL => "tunnel",
        _ => "no kind",
    }
}

fn affinity(frontend: Frontend) -> String {
    match crate::dataplane::frontend_affinity(&frontend) {
        None if frontend.affinity_timeout_seconds == 0 && frontend.client_prefix == 0 => "none".to_owned(),
        None => "none, with a timeout".to_owned(),
        Some(affinity) => format!(
            "{} s, by {:?}, /{}, {:?}",
            affinity.timeout_seconds, affinity.key, affinity.client_prefix, affinity.expiry
        )
        .to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        model::{Protocol, ServicePortName},
        plan::Extent,
    };

    fn applied() -> Applied {
        let [namespace, name, port] = ["default", "web", "http"].map(str::to_owned);
        let name = ServicePortName { namespace, name, port, protocol: Protocol::Tcp };
        Applied {
            services: BTreeMap::from([(1, name)]),
            backend_names: (1..=5).map(|id| (id, format!("default/p{id}"))).collect(),
            ..Applied::default()
        }
    }

    #[test]
    fn a_wrong_table_names_a_few_backends() {
        let applied = applied();
        let extent = Extent { offset: 1000, length: 6 };
        let table = AppliedTable::new(1, Family::V6, extent, vec![1, 2, 3, 4, 5]);
        let wanted = [1, 2, 3, 4, 5, 1];
        type Slots<'a> = &'a [u32];
        let cases: [(Slots<'_>, Option<Slots<'_>>, &str, &str); 3] = [
            (&[1, 2, 3, 4, 5, 2], Some(&wanted), "1 of 6 slots: default/p2", "default/p1"),
            (&[9; 6], Some(&wanted), "6 of 6 slots: nobody", "default/p1, default/p2, default/p3 and 2 more"),
            (&[1; 6], None, "backends that are gone", "those that are there"),
        ];
        for (programmed, wanted, said, desired) in cases {
            let told = Words(&applied).table(&table, programmed, wanted);
            let expected = difference(
                "Service default/web:http/TCP",
                "lookup table for IPv6",
                said.to_owned(),
                desired.to_owned(),
            );
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_frontend_with_wrong_hashes_alone_is_told_too() {
        let applied = applied();
        let at = Endpoint { address: std::net::IpAddr::from([203, 0, 113, 1]), port: 80, protocol: 6 };
        let right = Frontend { kind: frontend_kind::EXTERNAL_IP, service: 1, ..Frontend::default() };
        let wrong = Frontend { service_hash: 7, ..right };
        let change = Change::Frontend { at, programmed: Some(wrong), wanted: Some(right) };
        let expected =
            difference("Frontend 203.0.113.1:80/TCP", "hashes", "wrong".to_owned(), "those of its names".to_owned());
        assert_eq!(Words(&applied).differences(&change), [expected]);
    }
}
