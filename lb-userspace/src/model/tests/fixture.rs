//! Small manifests, and what the model makes of them, one line a Service port.

use std::fs;
use std::sync::Arc;

use crate::model::*;
use crate::source::{Directory, Origin};

pub(super) const NODES: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: 'fd00::1'}, {type: ExternalIP, address: 203.0.113.1}, {type: Hostname, address: n1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 10.0.0.2}, {type: InternalIP, address: 10.0.9.2}]}}
---
";

pub(super) fn options() -> Options {
    Options { node: "n1".to_owned(), tunnel_port: 6081, ..Options::default() }
}

/// A Service `default/web` with one unnamed port 80 and external IP 192.0.2.1.
pub(super) fn service(rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{externalIPs: [192.0.2.1], ports: [{{name: '', port: 80}}], {rest}}}}}\n---\n"
    )
}

/// A slice of `default/web` with port 8080.
pub(super) fn slice(name: &str, endpoints: &str) -> String {
    slice_with(name, "IPv4", "{name: '', port: 8080}", endpoints)
}

pub(super) fn slice_with(name: &str, address_type: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}, addressType: {address_type}, ports: [{ports}], endpoints: [{endpoints}]}}\n---\n"
    )
}

/// An endpoint on a node, with a Pod's name and conditions.
pub(super) fn endpoint(address: &str, node: &str, pod: &str, conditions: &str) -> String {
    format!(
        "{{addresses: ['{address}'], nodeName: {node}, targetRef: {{kind: Pod, name: {pod}}}, conditions: {{{conditions}}}}},"
    )
}

/// What the model makes of manifests, when they are read from a file.
pub(super) fn run_alone(manifests: &str, options: &Options) -> (Desired, Vec<String>) {
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("all.yaml"), manifests).expect("write");
    let (snapshot, problems) = Directory::new(home.path()).read();
    assert_eq!(problems, [], "{manifests}");
    let (desired, problems) = desired(&snapshot, options);
    (desired, problems.iter().map(ToString::to_string).collect())
}

/// The same, as if an API server had sent the objects, which then have no file.
pub(super) fn run_from_api(manifests: &str, options: &Options) -> (Desired, Vec<String>) {
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("all.yaml"), format!("{NODES}{manifests}")).expect("write");
    let (mut snapshot, problems) = Directory::new(home.path()).read();
    assert_eq!(problems, [], "{manifests}");
    snapshot.services.iter_mut().for_each(|service| service.origin = Origin::default());
    snapshot.slices.iter_mut().for_each(|slice| slice.origin = Origin::default());
    let (desired, problems) = desired(&snapshot, options);
    (desired, problems.iter().map(ToString::to_string).collect())
}

pub(super) fn run(manifests: &str) -> (Desired, Vec<String>) {
    run_alone(&format!("{NODES}{manifests}"), &options())
}

/// One line a Service port: its frontends, its pools, and the backends that get no new flows.
pub(super) fn lines(desired: &Desired) -> Vec<String> {
    let line = |(name, port): (&ServicePortName, &Arc<ServicePort>)| {
        let frontends: Vec<String> =
            port.frontends.iter().map(|f| format!("{:?} {}:{}", f.kind, f.address, f.port)).collect();
        let show = |b: &Backend| format!("{}={}", b.identity, b.address);
        let pool = |family| {
            let pool = port.pools.of(family).iter().map(|index| show(&port.backends[*index]));
            pool.collect::<Vec<_>>().join(" ")
        };
        let others = port.backends.iter().filter_map(|backend| match backend.state {
            BackendState::Active => None,
            BackendState::Draining => Some(show(backend)),
            BackendState::NotReady => Some(format!("{}(not ready)", show(backend))),
            BackendState::Excluded => Some(format!("{}(excluded)", show(backend))),
        });
        let others: Vec<String> = others.collect();
        format!(
            "{name} | {} | {} | {} | {}",
            frontends.join(", "),
            pool(Family::V4),
            pool(Family::V6),
            others.join(" ")
        )
    };
    desired.services.iter().map(line).collect()
}

/// Compares the lines, and that each problem has the expected part.
pub(super) fn check(what: &str, manifests: &str, expected: &[&str], problems: &[&str]) {
    check_with(what, &options(), manifests, expected, problems);
}

/// The same with other options.
pub(super) fn check_with(what: &str, options: &Options, manifests: &str, expected: &[&str], problems: &[&str]) {
    let (desired, found) = run_alone(&format!("{NODES}{manifests}"), options);
    assert_eq!(lines(&desired), expected, "{what}: {found:#?}");
    assert_eq!(found.len(), problems.len(), "{what}: {found:#?}");
    for (found, part) in found.iter().zip(problems) {
        assert!(found.contains(part), "{what}: {found} should contain {part}");
    }
    for port in desired.services.values() {
        for backend in &port.backends {
            let node = backend.node.as_deref().unwrap_or_default();
            assert!(desired.nodes.contains_key(node), "{what}: {backend:?}");
        }
    }
}

/// A `default/web` of type LoadBalancer with port 80 and the load-balancer IPs 192.0.2.7 and 2001:db8::7.
pub(super) fn load_balancer(rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{type: LoadBalancer, ports: [{{name: '', port: 80}}], {rest}}}, status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.7}}, {{ip: '2001:db8::7'}}]}}}}}}\n---\n"
    )
}

/// Checks the pools of `default/web` alone.
pub(super) fn check_endpoints(what: &str, slices: &str, pools: &str) {
    let line = format!("default/web:/TCP | ExternalIp 192.0.2.1:80 | {pools}");
    check(what, &format!("{}{slices}", service("")), &[&line], &[]);
}
