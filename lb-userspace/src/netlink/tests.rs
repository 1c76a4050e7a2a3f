//! Against the kernel, in network namespaces of the test's own; they need root.

use std::{
    fs::File,
    io::{self, Write},
    net::IpAddr,
    os::fd::AsRawFd,
    panic::resume_unwind,
    process::{Command, id},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns, unshare};

use super::{
    neighbour::{Keeper, Whereabouts},
    *,
};

/// No condition that is waited for takes longer, unless something is wrong.
const DEADLINE: Duration = Duration::from_secs(20);
/// Layer-2 addresses of the veth pairs by number: the near end's, and the far one's.
const NEAR: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x10], [2, 0, 0, 0, 0, 0x11]];
const FAR: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x20], [2, 0, 0, 0, 0, 0x21]];

/// Runs a test in a new network namespace, which ends with it.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test makes network namespaces: run it as root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
}

/// Runs `ip` in the thread's namespace.
fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Another network namespace, which ends with this value and what lies in it.
struct Far {
    namespace: File,
}

impl Far {
    fn new() -> Self {
        let open = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Self { namespace: thread::spawn(open).join().unwrap() }
    }

    /// A veth pair by number, from the thread's namespace, where it is up, into this one, where it is down.
    fn wire(&self, number: usize) {
        let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
        let (near, far) = (mac(NEAR[number]), mac(FAR[number]));
        ip(&format!(
            "link add limpet{number} address {near} type veth peer name limpet-far{number} address {far} \
             netns /proc/{}/fd/{}",
            id(),
            self.namespace.as_raw_fd()
        ));
        ip(&format!("link set limpet{number} up"));
    }

    fn ip(&self, arguments: &str) {
        thread::scope(|scope| {
            let run = || {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
                ip(arguments);
            };
            scope.spawn(run).join().unwrap();
        });
    }
}

fn target(source: &str, address: &str) -> Target {
    let ends = match (source.parse().unwrap(), address.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(address)) => Ends::V4 { source, address },
        (IpAddr::V6(source), IpAddr::V6(address)) => Ends::V6 { source, address },
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("{source} to {address}"),
    };
    Target { node: 5, ends }
}

/// A way over no VLAN.
fn hop(device: u32, mtu: u16, ethernet: [u8; 12]) -> Hop {
    Hop { device, route_device: device, mtu, ethernet, tags: [0; 2], tag_count: 0 }
}

fn ethernet(number: usize) -> [u8; 12] {
    [FAR[number], NEAR[number]].concat().try_into().unwrap()
}

async fn index(netlink: &Netlink, number: usize) -> u32 {
    netlink.device(&format!("limpet{number}")).await.unwrap().index
}

async fn resolve(netlink: &Netlink, target: Target) -> Result<Hop, Unresolved> {
    let resolved = netlink.resolve(&[target]).await.unwrap();
    assert_eq!(resolved.len(), 1);
    assert_eq!(resolved[0].0, target);
    resolved[0].1
}

/// Resolves whenever something has changed, as the agent does, until the answer is the expected one.
async fn wait_for(netlink: &Netlink, changes: &mut Changes, target: Target, expected: Result<Hop, Unresolved>) {
    let mut last = None;
    let wait = async {
        while last != Some(expected) {
            if last.is_some() {
                changes.next().await;
            }
            last = Some(resolve(netlink, target).await);
        }
    };
    let result = tokio::time::timeout(DEADLINE, wait).await;
    assert!(result.is_ok(), "{target:?}: {last:?} instead of {expected:?}");
}

async fn neighbour(netlink: &Netlink, device: u32, address: &str) -> Option<Neighbour> {
    let key = NeighbourKey { device, address: address.parse().unwrap() };
    netlink.neighbours().await.unwrap().get(&key).copied()
}

#[test]
fn default_uplinks_are_those_of_both_families() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let error = netlink.default_uplinks().await.unwrap_err().to_string();
        assert!(error.contains("--uplink DEV"), "{error}");

        let far = Far::new();
        for number in 0..2 {
            far.wire(number);
            far.ip(&format!("link set limpet-far{number} up"));
            ip(&format!("addr add 10.9.{number}.1/24 dev limpet{number}"));
            ip(&format!("addr add fd00:9:{number}::1/64 dev limpet{number} nodad"));
        }
        ip("route add default via 10.9.1.2");
        ip("route add default via 10.9.0.2 table 100");
        assert_eq!(netlink.default_uplinks().await.unwrap(), ["limpet1"]);

        ip("route add default nexthop via fd00:9:0::2 nexthop via fd00:9:1::2");
        assert_eq!(netlink.default_uplinks().await.unwrap(), ["limpet1", "limpet0"]);
    });
}

#[test]
fn own_addresses_are_those_that_others_reach_and_no_services() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        for device in ["limpet0", IPVS_DEVICE] {
            ip(&format!("link add {device} type veth"));
        }
        ip("address add 192.0.2.1/24 dev limpet0");
        ip("address add 2001:db8::1/64 dev limpet0 nodad");
        ip("address add 10.96.0.10/32 dev kube-ipvs0");
        ip("address add fd00::10/128 dev kube-ipvs0 nodad");
        let expected: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(netlink.local_addresses().await.unwrap(), expected);
    });
}

#[test]
fn devices_are_described_or_refused() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let far = Far::new();
        far.wire(0);
        ip("link set limpet0 mtu 1400");
        let device = netlink.device("limpet0").await.unwrap();
        let expected = Device {
            index: device.index,
            name: "limpet0".to_owned(),
            mtu: 1400,
            address: NEAR[0],
            is_up: false,
            xdp: None,
            vlan: None,
        };
        assert_eq!(device, expected, "the far end is down");

        far.ip("link set limpet-far0 up");
        assert!(netlink.device("limpet0").await.unwrap().is_up);

        let refusals = [
            ("lo", "lo is not an Ethernet device"),
            ("limpet9", "there is no network device limpet9"),
            ("limpet-with-too-long-a-name", "there is no network device limpet-with-too-long-a-name"),
            ("", "there is no network device"),
        ];
        for (name, message) in refusals {
            let error = netlink.device(name).await.unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    });
}

/// From pending to found, and given back at the end.
async fn neighbour_is_found_and_given_back(near: &str, far_address: &str, prefix: u8) {
    let netlink = Netlink::open().unwrap();
    let mut changes = netlink.changes();
    let far = Far::new();
    far.wire(0);
    let target = target(near, far_address);
    assert_eq!(resolve(&netlink, target).await, Err(Unresolved::NoRoute));

    let nodad = if prefix > 32 { "nodad" } else { "" };
    ip(&format!("addr add {near}/{prefix} dev limpet0 {nodad}"));
    far.ip("link set limpet-far0 up");
    let device = index(&netlink, 0).await;
    wait_for(&netlink, &mut changes, target, Err(Unresolved::NeighbourPending)).await;

    far.ip(&format!("addr add {far_address}/{prefix} dev limpet-far0 {nodad}"));
    let found = hop(device, 1500, ethernet(0));
    wait_for(&netlink, &mut changes, target, Ok(found)).await;
    let kept = Neighbour { whereabouts: Whereabouts::Known(FAR[0]), keeper: Keeper::Limpet };
    assert_eq!(neighbour(&netlink, device, far_address).await, Some(kept));

    netlink.release_unneeded(&[target]).await.unwrap();
    assert_eq!(neighbour(&netlink, device, far_address).await, Some(kept), "it is needed");
    netlink.release_all().await.unwrap();
    let released = Neighbour { keeper: Keeper::Nobody, ..kept };
    assert_eq!(neighbour(&netlink, device, far_address).await, Some(released));
    netlink.release_all().await.unwrap();

    assert_eq!(resolve(&netlink, target).await, Ok(found));
    assert_eq!(neighbour(&netlink, device, far_address).await, Some(kept), "managed once more");
}

#[test]
fn neighbours_are_found_and_given_back_ipv4() {
    in_namespace(|| neighbour_is_found_and_given_back("10.9.0.1", "10.9.0.2", 24));
}

#[test]
fn neighbours_are_found_and_given_back_ipv6() {
    in_namespace(|| neighbour_is_found_and_given_back("fd00:9::1", "fd00:9::2", 64));
}

#[test]
fn a_silent_neighbour_fails_and_is_found_when_it_speaks() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let mut changes = netlink.changes();
        let far = Far::new();
        far.wire(0);
        far.ip("link set limpet-far0 up");
        ip("addr add 10.9.0.1/24 dev limpet0");
        let target = target("10.9.0.1", "10.9.0.2");
        wait_for(&netlink, &mut changes, target, Err(Unresolved::NeighbourFailed)).await;
        far.ip("addr add 10.9.0.2/24 dev limpet-far0");
        let found = hop(index(&netlink, 0).await, 1500, ethernet(0));
        wait_for(&netlink, &mut changes, target, Ok(found)).await;
    });
}

#[test]
fn targets_behind_a_gateway_follow_the_route() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let mut changes = netlink.changes();
        let far = Far::new();
        for number in 0..2 {
            far.wire(number);
            far.ip(&format!("link set limpet-far{number} up"));
            far.ip(&format!("addr add 10.9.{number}.2/24 dev limpet-far{number}"));
            ip(&format!("addr add 10.9.{number}.1/24 dev limpet{number}"));
        }
        let target = target("10.9.0.1", "192.0.2.9");
        ip("route add 192.0.2.0/24 via 10.9.0.2 mtu 1400");
        let first = hop(index(&netlink, 0).await, 1400, ethernet(0));
        wait_for(&netlink, &mut changes, target, Ok(first)).await;

        ip("route replace 192.0.2.0/24 via 10.9.1.2");
        let second = hop(index(&netlink, 1).await, 1500, ethernet(1));
        wait_for(&netlink, &mut changes, target, Ok(second)).await;

        netlink.release_unneeded(&[target]).await.unwrap();
        let keeper = async |device, address| neighbour(&netlink, device, address).await.unwrap().keeper;
        assert_eq!(keeper(first.device, "10.9.0.2").await, Keeper::Nobody);
        assert_eq!(keeper(second.device, "10.9.1.2").await, Keeper::Limpet);

        ip("route del 192.0.2.0/24");
        wait_for(&netlink, &mut changes, target, Err(Unresolved::NoRoute)).await;
    });
}

/// Over a VLAN in a VLAN, where the kernel has VLAN devices; what is made of the kernel's words for them is tested
/// without in `hop` and `device`.
#[test]
fn ways_over_vlan_devices_are_found() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let mut changes = netlink.changes();
        let far = Far::new();
        far.wire(0);
        far.ip("link set limpet-far0 up");
        let outer = "link add link limpet0 name outer type vlan protocol 802.1ad id 100";
        let output = Command::new("ip").args(outer.split_whitespace()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Unknown device type") || said.contains("Operation not supported") {
            // Past the runner, which keeps to itself what a test that passes prints.
            let skipped = "ways_over_vlan_devices_are_found: NOT CHECKED, the kernel lacks CONFIG_VLAN_8021Q";
            writeln!(io::stderr(), "{skipped}").unwrap();
            return;
        }
        assert!(output.status.success(), "ip {outer}: {said}");
        ip("link add link outer name inner mtu 1480 type vlan id 5");
        far.ip("link add link limpet-far0 name outer type vlan protocol 802.1ad id 100");
        far.ip("link add link outer name inner type vlan id 5");
        far.ip("addr add 10.9.0.2/24 dev inner");
        ip("addr add 10.9.0.1/24 dev inner");
        for device in ["outer", "inner"] {
            far.ip(&format!("link set {device} up"));
            ip(&format!("link set {device} up"));
        }
        let (lowest, route_device) = (index(&netlink, 0).await, netlink.device("inner").await.unwrap().index);
        let tags = [[0x88, 0xa8, 0, 100], [0x81, 0, 0, 5]].map(u32::from_ne_bytes);
        let expected = Hop { device: lowest, route_device, mtu: 1480, ethernet: ethernet(0), tags, tag_count: 2 };
        wait_for(&netlink, &mut changes, target("10.9.0.1", "10.9.0.2"), Ok(expected)).await;
    });
}

#[test]
fn routes_by_source_are_followed() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let mut changes = netlink.changes();
        let far = Far::new();
        for number in 0..2 {
            far.wire(number);
            far.ip(&format!("link set limpet-far{number} up"));
            far.ip(&format!("addr add 10.9.{number}.2/24 dev limpet-far{number}"));
            ip(&format!("addr add 10.9.{number}.1/24 dev limpet{number}"));
        }
        ip("route add 192.0.2.0/24 via 10.9.0.2");
        ip("route add 192.0.2.0/24 via 10.9.1.2 table 100");
        ip("rule add from 10.9.1.1 table 100");
        for (number, source) in ["10.9.0.1", "10.9.1.1"].into_iter().enumerate() {
            let found = hop(index(&netlink, number).await, 1500, ethernet(number));
            wait_for(&netlink, &mut changes, target(source, "192.0.2.9"), Ok(found)).await;
        }
    });
}

#[test]
fn addresses_without_a_way_say_why() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let far = Far::new();
        far.wire(0);
        ip("link set lo up");
        ip("addr add 10.9.0.1/24 dev limpet0");
        ip("route add blackhole 192.0.2.0/25");
        ip("route add unreachable 192.0.2.128/25");
        ip("route add 198.51.100.0/24 dev lo");
        ip("addr add fd00:9::1/64 dev limpet0 nodad");
        ip("route add prohibit 2001:db8::/32");
        let cases = [
            ("10.9.0.1", "203.0.113.1", Unresolved::NoRoute),
            ("10.9.0.1", "192.0.2.1", Unresolved::NoRoute),
            ("10.9.0.1", "192.0.2.129", Unresolved::NoRoute),
            ("10.9.0.7", "10.9.0.2", Unresolved::NoRoute),
            ("fd00:9::1", "2001:db8::1", Unresolved::NoRoute),
            ("fd00:9::1", "fd00:8::1", Unresolved::NoRoute),
            ("10.9.0.1", "10.9.0.1", Unresolved::OwnAddress),
            ("10.9.0.1", "198.51.100.1", Unresolved::NotEthernet),
        ];
        for (source, address, expected) in cases {
            assert_eq!(resolve(&netlink, target(source, address)).await, Err(expected), "{source} to {address}");
        }
    });
}

#[test]
fn permanent_neighbours_are_used_and_left_alone() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let far = Far::new();
        far.wire(0);
        far.ip("link set limpet-far0 up");
        ip("addr add 10.9.0.1/24 dev limpet0");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:20 dev limpet0 nud permanent");
        let device = index(&netlink, 0).await;
        let found = hop(device, 1500, ethernet(0));
        let before = neighbour(&netlink, device, "10.9.0.2").await;
        assert_eq!(before.unwrap().keeper, Keeper::Other);
        assert_eq!(resolve(&netlink, target("10.9.0.1", "10.9.0.2")).await, Ok(found));
        netlink.release_all().await.unwrap();
        assert_eq!(neighbour(&netlink, device, "10.9.0.2").await, before);
    });
}

#[test]
fn changes_of_every_kind_are_reported() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let mut changes = netlink.changes();
        let far = Far::new();
        let make = || far.wire(0);
        let set = |arguments: &'static str| move || ip(arguments);
        let steps: [(&str, &dyn Fn()); 7] = [
            ("a device", &make),
            ("a carrier", &|| far.ip("link set limpet-far0 up")),
            ("an IPv4 address", &set("addr add 10.9.0.1/24 dev limpet0")),
            ("an IPv6 address", &set("addr add fd00:9::1/64 dev limpet0 nodad")),
            ("a route", &set("route add 192.0.2.0/24 via 10.9.0.2")),
            ("a neighbour", &set("neigh add 10.9.0.2 lladdr 02:00:00:00:00:20 dev limpet0")),
            ("a rule", &set("rule add from 10.9.0.1 table 100")),
        ];
        for (description, step) in steps {
            quiet(&mut changes).await;
            step();
            let reported = tokio::time::timeout(DEADLINE, changes.next()).await;
            assert!(reported.is_ok(), "{description} was not reported");
        }
    });
}

/// Waits until nothing has been reported for a while: a new device's own housekeeping is over then.
async fn quiet(changes: &mut Changes) {
    const WHILE: Duration = Duration::from_millis(300);
    let wait = async { while tokio::time::timeout(WHILE, changes.next()).await.is_ok() {} };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "changes never end");
}

#[test]
fn changes_are_reported_after_messages_were_lost() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let mut changes = netlink.changes();
        let far = Far::new();
        far.wire(0);
        quiet(&mut changes).await;
        // Far more than the socket holds, while this thread, whose runtime has no other, reads none of them.
        let batch: String =
            (0..4096).map(|n| format!("addr add 10.{}.{}.1/32 dev limpet0\n", 100 + n / 256, n % 256)).collect();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("batch");
        std::fs::write(&file, batch).unwrap();
        ip(&format!("-batch {}", file.display()));
        assert!(lost_messages() > 0, "the socket held them all");
        assert!(tokio::time::timeout(DEADLINE, changes.next()).await.is_ok(), "the loss was not reported");

        quiet(&mut changes).await;
        ip("link set limpet0 down");
        assert!(tokio::time::timeout(DEADLINE, changes.next()).await.is_ok(), "nothing is reported after a loss");
    });
}

/// Messages that the netlink sockets of the thread's namespace have lost: column "Drops".
fn lost_messages() -> u64 {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    sockets.lines().skip(1).map(|line| line.split_whitespace().nth(8).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn changes_never_end() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let mut changes = netlink.changes();
        drop(netlink);
        let next = tokio::time::timeout(Duration::from_millis(200), changes.next()).await;
        assert!(next.is_err(), "there is nothing left that could report");
    });
}

/// The agent asks from tasks of a runtime with many threads: compiles, or not.
#[test]
fn questions_may_be_asked_from_any_thread() {
    fn sent<T: Send>(_: impl Fn(&'static Netlink) -> T) {}
    sent(|netlink| netlink.default_uplinks());
    sent(|netlink| netlink.device("limpet0"));
    sent(|netlink| netlink.resolve(&[]));
    sent(|netlink| netlink.release_all());
    sent(|netlink| async { netlink.changes().next().await });
}
