//! `loadBalancerSourceRanges` (A.8).

use super::fixture::*;

/// The ranges of `default/web`, and what is told; none: everybody.
fn ranges_of(manifest: &str) -> (Option<Vec<String>>, Vec<String>) {
    let (desired, problems) = run(manifest);
    let port = desired.services.values().next().expect("one port");
    let ranges = port.source_ranges.as_ref();
    (ranges.map(|ranges| ranges.iter().map(ToString::to_string).collect()), problems)
}

fn check_ranges(what: &str, ranges: &str, expected: Option<&[&str]>, problems: &[&str]) {
    let (found, told) = ranges_of(&load_balancer(&format!("loadBalancerSourceRanges: {ranges}")));
    assert_eq!(found, expected.map(|ranges| ranges.iter().map(|range| (*range).to_owned()).collect()), "{what}");
    assert_eq!(told.len(), problems.len(), "{what}: {told:?}");
    for (found, part) in told.iter().zip(problems) {
        assert!(found.contains(part), "{what}: {found} should contain {part}");
    }
}

const FIELD: &str = "Service default/web: spec.loadBalancerSourceRanges";

/// A.8 (serviceport.go:207-220): entries are trimmed; both families; host bits do not count.
#[test]
fn a8_source_ranges() {
    check_ranges("none", "[]", None, &[]);
    check_ranges(
        "of both families, sorted and each once",
        "[' 198.51.100.0/24 ', '2001:db8:1::/48', 192.0.2.0/28, 198.51.100.77/24]",
        Some(&["192.0.2.0/28", "198.51.100.0/24", "2001:db8:1::/48"]),
        &[],
    );
}

/// A.8: any range of length 0 lets everybody of its family in.
#[test]
fn a8_ranges_of_everybody() {
    check_ranges("of both", "['0.0.0.0/0', ' ::/0']", None, &[]);
    check_ranges("nobody is kept out by one", "['0.0.0.0/0']", None, &[]);
    check_ranges(
        "beside another",
        "['0.0.0.0/0', 198.51.100.0/24, '::/0']",
        Some(&["0.0.0.0/0", "198.51.100.0/24", "::/0"]),
        &[],
    );
}

/// What cannot be read lets nobody in: neither by itself nor by leaving a list empty, which would mean everybody.
#[test]
fn a8_a_wrong_range_never_opens_the_service() {
    check_ranges(
        "among others",
        "[198.51.100.0/24, 10.0.0.0/33, '2001:db8:1::/48']",
        Some(&["198.51.100.0/24", "2001:db8:1::/48"]),
        &[
            "error: all.yaml: Service default/web: spec.loadBalancerSourceRanges[1]: \"10.0.0.0/33\" is no CIDR; it is ignored and lets nobody in",
        ],
    );
    let v4 = "no range of IPv4 is there: nobody reaches the load-balancer IP 192.0.2.7";
    let v6 = "no range of IPv6 is there: nobody reaches the load-balancer IP 2001:db8::7";
    for wrong in ["everybody", "", "198.51.100.1", "/0", "0.0.0.0/", "0/0", "0.0.0.0/0,::/0"] {
        check_ranges(wrong, &format!("['{wrong}']"), Some(&[]), &["is no CIDR", v4, v6]);
    }
    // Beside one that means everybody it is still not known what else was meant.
    check_ranges("beside everybody", "['0.0.0.0/0', wrong]", Some(&["0.0.0.0/0"]), &["is no CIDR", v6]);
}

/// Ranges of one family alone shut the other out, and say so: kube-proxy would let everybody of it in.
#[test]
fn a8_ranges_of_one_family() {
    check_ranges(
        "IPv4 alone",
        "[198.51.100.0/24]",
        Some(&["198.51.100.0/24"]),
        &[&format!(
            "warning: all.yaml: {FIELD}: no range of IPv6 is there: nobody reaches the load-balancer IP 2001:db8::7"
        )],
    );
    // A Service of one family has nobody to shut out.
    let one_family = load_balancer("loadBalancerSourceRanges: [198.51.100.0/24], ipFamilies: [IPv4]");
    let (found, problems) = ranges_of(&one_family.replace(", {ip: '2001:db8::7'}", ""));
    assert_eq!(found, Some(vec!["198.51.100.0/24".to_owned()]));
    assert_eq!(problems, [""; 0]);
}

/// A.8 (nftables/proxier.go:1562-1591): where a range holds this node, the load-balancer IP is let in as a source, too.
#[test]
fn a8_the_node_itself() {
    check_ranges(
        "this node's address",
        "[10.0.0.0/24, '2001:db8:1::/48']",
        Some(&["10.0.0.0/24", "192.0.2.7/32", "2001:db8:1::/48"]),
        &[],
    );
    check_ranges("in IPv6", "[10.0.9.0/24, 'fd00::/64']", Some(&["10.0.9.0/24", "2001:db8::7/128", "fd00::/64"]), &[]);
    check_ranges(
        "the load-balancer IP is in a range anyway",
        "[10.0.0.0/24, 192.0.2.0/24, 'fd00::/64', '2001:db8::/32']",
        Some(&["10.0.0.0/24", "192.0.2.0/24", "2001:db8::/32", "fd00::/64"]),
        &[],
    );
    check_ranges("another node's", "[10.0.0.2/32, '2001:db8:1::/48']", Some(&["10.0.0.2/32", "2001:db8:1::/48"]), &[]);
}

/// A.8: ranges are about load-balancer IPs; node ports and external IPs stay as they are, and other types have none.
#[test]
fn a8_other_frontends_have_no_ranges() {
    let manifest =
        load_balancer("loadBalancerSourceRanges: [198.51.100.0/24], externalIPs: [192.0.2.1], ipFamilies: [IPv4]")
            .replace("port: 80}", "port: 80, nodePort: 30080}")
            .replace(", {ip: '2001:db8::7'}", "");
    check(
        "all three kinds",
        &manifest,
        &[
            "default/web:/TCP | NodePort 10.0.0.1:30080, ExternalIp 192.0.2.1:80, LoadBalancerIp 192.0.2.7:80, NodePort 203.0.113.1:30080 |  |  | ",
        ],
        &[],
    );
    let (found, problems) = ranges_of(&manifest.replace("LoadBalancer,", "NodePort,"));
    assert_eq!((found, problems), (None, Vec::new()));
}

/// All ports of the Service have them.
#[test]
fn a8_every_port() {
    let manifest = load_balancer("loadBalancerSourceRanges: [198.51.100.0/24, '2001:db8:1::/48']")
        .replace("[{name: '', port: 80}]", "[{name: a, port: 80}, {name: b, port: 80, protocol: UDP}]");
    let (desired, _) = run(&manifest);
    assert_eq!(desired.services.len(), 2);
    assert!(desired.services.values().all(|port| port.source_ranges.as_ref().is_some_and(|ranges| ranges.len() == 2)));
}
