//! The rules themselves, as a file for `nft`.
//!
//! | chain, set, map | what for |
//! | --- | --- |
//! | `services` | from prerouting and output: the Service port's chain by destination |
//! | `service-ips`, `service-nodeports` | the maps it asks |
//! | `no-endpoint-services`, `no-endpoint-nodeports` | Service ports that are refused, or dropped for their policy |
//! | `service-…` | one of a Service port's endpoints, at random; for the cluster IP |
//! | `external-…` | the same for what comes from outside: with policy Cluster the node's own address becomes the source |
//! | `endpoint-…` | the Pod becomes the destination |
//! | `mark-for-masquerade`, `masquerading` | the mark, and the other source on the way out |
//!
//! Affinity, source ranges and health checks are left out: nothing here depends on kube-proxy's.

use std::net::IpAddr;

use super::TABLE;
use crate::address::{self, Family, NODES, POD_PORT};
use crate::world::{Pod, Port, Service, World};

/// What the comment of a rule begins with that counts a Service's packets; its name follows.
pub(super) const COUNTS: &str = "packets of ";

/// The name in place of a Service's for what is refused because nobody is there.
pub(super) const REFUSED: &str = "services without endpoints";

/// The family as `nft` calls it.
pub(super) fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Takes the table away, whether it is there or not.
pub(super) fn removal(family: Family) -> String {
    let family = nft_family(family);
    format!("add table {family} {TABLE}\ndelete table {family} {TABLE}\n")
}

/// A node's rules of one family, in place of earlier ones.
pub(super) fn ruleset(world: &World, node: u8, family: Family) -> String {
    let mut maps = Maps::default();
    let mut chains = String::new();
    for service in world.services() {
        for (port, index) in service.spec().ports.iter().zip(0..) {
            ServicePort { world, service, port, index, node, family }.write(&mut maps, &mut chains);
        }
    }
    let (ip, address_type) = match family {
        Family::V4 => ("ip", "ipv4_addr"),
        Family::V6 => ("ip6", "ipv6_addr"),
    };
    let own = address::node(family, node);
    let Maps { services, node_ports, no_endpoint_services, no_endpoint_node_ports } = maps;
    let elements = |elements: Vec<String>| match elements.as_slice() {
        [] => String::new(),
        some => format!("elements = {{ {} }}", some.join(", ")),
    };
    let [services, node_ports, no_endpoint_services, no_endpoint_node_ports] =
        [services, node_ports, no_endpoint_services, no_endpoint_node_ports].map(elements);
    let removal = removal(family);
    format!(
        "{removal}table {ip} {TABLE} {{
            set nodeport-ips {{ type {address_type}; elements = {{ {own} }}; }}
            map service-ips {{ type {address_type} . inet_proto . inet_service : verdict; {services}; }}
            map service-nodeports {{ type inet_proto . inet_service : verdict; {node_ports}; }}
            map no-endpoint-services {{
                type {address_type} . inet_proto . inet_service : verdict; {no_endpoint_services};
            }}
            map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict; {no_endpoint_node_ports}; }}

            chain filter-input {{
                type filter hook input priority -110;
                ct state new jump nodeport-endpoints-check
                ct state new jump service-endpoints-check
            }}
            chain filter-forward {{
                type filter hook forward priority -110;
                ct state new jump service-endpoints-check
            }}
            chain filter-output {{
                type filter hook output priority -110;
                ct state new jump service-endpoints-check
            }}
            chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
            chain nat-output {{ type nat hook output priority -100; jump services; }}
            chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}

            chain nodeport-endpoints-check {{
                {ip} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
            }}
            chain service-endpoints-check {{ {ip} daddr . meta l4proto . th dport vmap @no-endpoint-services; }}
            chain services {{
                {ip} daddr . meta l4proto . th dport vmap @service-ips
                {ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
            }}
            chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}
            chain masquerading {{
                meta mark and 0x4000 == 0 return
                meta mark set meta mark xor 0x4000
                masquerade fully-random
            }}
            chain reject-chain {{ counter comment \"{COUNTS}{REFUSED}\"; reject; }}
            {chains}
        }}
        "
    )
}

/// Elements of the maps.
#[derive(Default)]
struct Maps {
    services: Vec<String>,
    node_ports: Vec<String>,
    no_endpoint_services: Vec<String>,
    no_endpoint_node_ports: Vec<String>,
}

/// One port of one Service, on one node, in one family.
#[derive(Clone, Copy)]
struct ServicePort<'a> {
    world: &'a World,
    service: &'a Service,
    port: &'a Port,
    index: u8,
    node: u8,
    family: Family,
}

impl ServicePort<'_> {
    fn write(self, maps: &mut Maps, chains: &mut String) {
        let spec = self.service.spec();
        let usable = self.world.usable_pods_of(self.service);
        let here: Vec<&Pod> = usable.iter().copied().filter(|pod| pod.node() == self.node).collect();
        let outside = if spec.local_only { &here } else { &usable };
        let (service, external) = (self.chain("service"), self.chain("external"));
        let (protocol, number) = (self.protocol(), self.port.number);
        let key = |address: IpAddr| format!("{address} . {protocol} . {number}");
        let ordinal = self.service.ordinal;
        let cluster_ip = address::cluster_ip(self.family, ordinal);
        let outside_addresses =
            [address::load_balancer_ip(self.family, ordinal), address::external_ip(self.family, ordinal)];
        let node_port = spec.node_ports.then(|| address::node_port(ordinal, self.index));

        if usable.is_empty() {
            maps.no_endpoint_services.push(format!("{} : goto reject-chain", key(cluster_ip)));
        } else {
            maps.services.push(format!("{} : goto {service}", key(cluster_ip)));
        }
        // Refused where there is nobody at all, dropped where the policy keeps it from those elsewhere.
        let verdict = if usable.is_empty() { "goto reject-chain" } else { "drop" };
        for address in outside_addresses {
            if !usable.is_empty() {
                maps.services.push(format!("{} : goto {external}", key(address)));
            }
            if outside.is_empty() {
                maps.no_endpoint_services.push(format!("{} : {verdict}", key(address)));
            }
        }
        if let Some(node_port) = node_port {
            if !usable.is_empty() {
                maps.node_ports.push(format!("{protocol} . {node_port} : goto {external}"));
            }
            if outside.is_empty() {
                maps.no_endpoint_node_ports.push(format!("{protocol} . {node_port} : {verdict}"));
            }
        }
        self.write_chains(&usable, &here, chains);
    }

    fn write_chains(self, usable: &[&Pod], here: &[&Pod], chains: &mut String) {
        let spec = self.service.spec();
        let (service, external) = (self.chain("service"), self.chain("external"));
        let (ip, protocol) = (nft_family(self.family), self.protocol());
        let pods = all_pods(self.family);
        let counter = format!("counter comment \"{COUNTS}{}\"", spec.name);
        let cluster_ip = address::cluster_ip(self.family, self.service.ordinal);
        let mut write = |name: &str, rules: &[String]| {
            chains.push_str(&format!("chain {name} {{ {}; }}\n", rules.join("; ")));
        };
        for pod in usable {
            let destination = match self.family {
                Family::V4 => format!("{}:{POD_PORT}", pod.address(self.family)),
                Family::V6 => format!("[{}]:{POD_PORT}", pod.address(self.family)),
            };
            let hairpin = format!("{ip} saddr {} jump mark-for-masquerade", pod.address(self.family));
            let rules = [hairpin, format!("meta l4proto {protocol} dnat to {destination}")];
            write(&self.endpoint_chain(pod), &rules);
        }
        let from_outside = format!("{ip} daddr {cluster_ip} {ip} saddr != {pods} jump mark-for-masquerade");
        let rules = [Some(from_outside), self.choice(usable)].into_iter().flatten();
        // What came by the external chain is counted there.
        let counted = format!("{ip} daddr {cluster_ip} {counter}");
        write(&service, &[counted].into_iter().chain(rules).collect::<Vec<_>>());
        let rules = if spec.local_only {
            let of_pods = format!("{ip} saddr {pods} goto {service}");
            let of_the_node = ["jump mark-for-masquerade".to_owned(), format!("goto {service}")];
            let of_the_node = of_the_node.map(|rule| format!("fib saddr type local {rule}"));
            [of_pods].into_iter().chain(of_the_node).chain(self.choice(here)).collect()
        } else {
            vec!["jump mark-for-masquerade".to_owned(), format!("goto {service}")]
        };
        write(&external, &[counter].into_iter().chain(rules).collect::<Vec<_>>());
    }

    /// One of these, each as often as the others; nothing where there are none.
    fn choice(self, pods: &[&Pod]) -> Option<String> {
        let numbered = pods.iter().zip(0..);
        let choices: Vec<String> =
            numbered.map(|(pod, number)| format!("{number} : goto {}", self.endpoint_chain(pod))).collect();
        let choices = (!choices.is_empty()).then(|| choices.join(", "))?;
        Some(format!("numgen random mod {} vmap {{ {choices} }}", pods.len()))
    }

    fn chain(self, kind: &str) -> String {
        let (name, protocol, port) = (&self.service.spec().name, self.protocol(), self.port.name());
        format!("{kind}-lab/{name}/{protocol}/{port}")
    }

    fn endpoint_chain(self, pod: &Pod) -> String {
        format!("{}__{}", self.chain("endpoint"), pod.name())
    }

    fn protocol(self) -> String {
        self.port.protocol.name().to_lowercase()
    }
}

/// The ranges of all Pods, as a set.
fn all_pods(family: Family) -> String {
    let ranges: Vec<String> = (1..=NODES).map(|node| address::pod_range(family, node)).collect();
    format!("{{ {} }}", ranges.join(", "))
}
