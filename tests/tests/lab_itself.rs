//! The lab without Limpet: it carries packets to Pods, finishes them on its wires, and goes away.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, process, thread};

use limpet_lab::address::{Family, NODES};
use limpet_lab::client::Outcome;
use limpet_lab::world::{FrontendKind, PodState, Protocol, ServiceSpec};
use limpet_lab::{Lab, Options, tear_down_abandoned, wait};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// How long a lab may take to be gone after its owner is.
const GONE_LIMIT: Duration = Duration::from_secs(20);

fn lab() -> Lab {
    Lab::start(Options { agents: false, ..Options::default() }).unwrap()
}

/// How long a client may take to believe an ICMP message. On a wire without latency the first one comes while `connect`
/// still holds the socket, which then does not hear it (net/ipv4/tcp_ipv4.c, `tcp_v4_err`); the next SYN follows after a
/// second.
const REFUSAL_LIMIT: Duration = Duration::from_secs(3);

/// What must be gone when a lab is.
struct Traces {
    directory: PathBuf,
    namespace_prefix: String,
    pids: Vec<i64>,
}

impl Traces {
    fn of(id: &str) -> Self {
        let directory = Path::new("/run/limpet-lab").join(id);
        let record = fs::read_to_string(directory.join("record")).unwrap();
        let pids = record
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|made| made["made"] == "process")
            .map(|made| made["identity"]["pid"].as_i64().unwrap())
            .collect();
        Self { directory, namespace_prefix: format!("limpet-lab-{id}"), pids }
    }

    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.directory.exists() {
            left.push(self.directory.display().to_string());
        }
        left.extend(names_in("/run/netns", &self.namespace_prefix));
        for pid in &self.pids {
            if Path::new(&format!("/proc/{pid}")).exists() {
                left.push(format!("process {pid}"));
            }
        }
        left
    }

    fn wait_until_gone(&self) {
        wait::until_true("the lab to be gone", GONE_LIMIT, || {
            let left = self.left();
            anyhow::ensure!(left.is_empty(), "there is still {left:?}");
            Ok(true)
        })
        .unwrap();
    }
}

/// A process that holds a lab of its own.
fn owner() -> (Child, Traces) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_limpet-lab"))
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut id).unwrap();
    let traces = Traces::of(id.trim());
    assert!(traces.pids.len() >= usize::from(NODES));
    (child, traces)
}

fn end_owner_by(signal: Signal) {
    let (mut child, traces) = owner();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, signal).unwrap();
    child.wait().unwrap();
    traces.wait_until_gone();
}

#[test]
fn lab_carries_packets_to_pods() {
    let lab = lab();
    for pod in lab.world().pods() {
        for family in Family::BOTH {
            let client = lab.client(2);
            let from = SocketAddr::new(client.address(family, 77), 0);
            let server = pod.socket(family);

            let mut connection = client.tcp(server, Some(from)).unwrap();
            let answer = connection.who().unwrap();
            assert_eq!(answer.pod, pod.name());
            assert_eq!(answer.client.ip(), from.ip());
            assert_eq!(answer.server, server);
            connection.upload(1 << 20, 1).unwrap();
            connection.download(1 << 20, 2).unwrap();
            assert_eq!(connection.who().unwrap(), answer);

            let answer = client.udp_who(server, None).unwrap();
            assert_eq!(answer.pod, pod.name());
            assert_eq!(answer.client.ip(), client.address(family, 1));
            assert_eq!(answer.server, server);
        }
    }
    lab.end().unwrap();
}

#[test]
fn pods_come_and_go() {
    let mut lab = lab();
    let client = lab.client(1);
    let name = lab.add_pod(3).unwrap();
    let server = lab.world().pod(&name).unwrap().socket(Family::V6);
    let mut held = client.tcp(server, None).unwrap();
    assert_eq!(held.who().unwrap().pod, name);

    let service = lab.manifests().directory().join("service-web.yaml");
    let written = || fs::read_to_string(&service).unwrap();
    lab.put_service(ServiceSpec::new("web", std::slice::from_ref(&name))).unwrap();
    assert!(written().contains("\"ready\": true"));
    lab.set_pod_state(&name, PodState::Terminating).unwrap();
    assert!(written().contains("\"terminating\": true"));
    lab.withdraw_pod(&name).unwrap();
    assert!(!written().contains(&name));
    assert_eq!(held.who().unwrap().pod, name);

    lab.remove_pod(&name).unwrap();
    assert!(client.tcp(server, None).is_err());
    lab.add_pod_named(1, &name).unwrap();
    let server = lab.world().pod(&name).unwrap().socket(Family::V4);
    assert_eq!(client.tcp_who(server, None).unwrap().pod, name);

    lab.scale("web", 4).unwrap();
    assert_eq!(lab.world().service("web").unwrap().spec().pods.len(), 4);
    lab.scale("web", 1).unwrap();
    assert_eq!(lab.world().service("web").unwrap().spec().pods.len(), 1);
    lab.end().unwrap();
}

/// An XDP program on a node's uplink sees bytes, not the kernel's promises about them.
#[test]
fn checksums_are_complete_on_the_uplinks() {
    let lab = lab();
    let tap = lab.node(1).run(|| {
        let tap = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&tap, ReceiveTimeout, &TimeVal::new(2, 0))?;
        Ok(tap)
    });
    let tap = tap.unwrap();
    let uplink = lab.node(1).run(|| Ok(nix::net::if_::if_nametoindex("eth0")?)).unwrap();

    let pod = lab.world().pod("p1-1").unwrap().clone();
    for family in Family::BOTH {
        lab.client(1).tcp_who(pod.socket(family), None).unwrap();
        lab.client(1).udp_who(pod.socket(family), None).unwrap();
    }

    let mut checked = 0;
    let mut frame = [0; 2048];
    // Eight packets at the least for TCP in both directions and two for UDP, for each family.
    while checked < 20 {
        let (length, from) = recvfrom::<LinkAddr>(tap.as_raw_fd(), &mut frame).unwrap();
        let on_uplink = from.is_some_and(|from| from.ifindex() == uplink as usize);
        if !on_uplink {
            continue;
        }
        if let Some(sum) = transport_sum(&frame[..length]) {
            assert_eq!(sum, 0xffff, "half-made checksum in {:02x?}", &frame[..length]);
            checked += 1;
        }
    }
    lab.end().unwrap();
}

/// The tests of Limpet beside kube-proxy stand on this: the rules alone serve, as kube-proxy's do.
#[test]
fn kube_proxys_rules_serve_without_limpet() {
    let mut lab = lab();
    let nodes = [1, 2, 3];
    let pods = |lab: &Lab| nodes.map(|node| lab.world().pods_on(node)).concat();
    let all = pods(&lab);
    lab.put_service(ServiceSpec::new("all", &all)).unwrap();
    lab.put_service(ServiceSpec::new("local", &all).with_local_pods_only()).unwrap();
    lab.put_service(ServiceSpec::new("elsewhere", &lab.world().pods_on(2)).with_local_pods_only()).unwrap();
    lab.put_service(ServiceSpec::new("nobody", &[])).unwrap();
    lab.write_kube_proxy_rules(&nodes).unwrap();

    let (client, limit) = (lab.client(1), Duration::from_millis(300));
    let to = |service: &str, kind, family, protocol| {
        lab.world().service(service).unwrap().frontend(kind, family, protocol, 1).unwrap()
    };
    for family in Family::BOTH {
        for protocol in Protocol::BOTH {
            for kind in FrontendKind::ALL {
                let mut answered = BTreeSet::new();
                for _ in 0..60 {
                    let answer = client.who(protocol, to("all", kind, family, protocol), None).unwrap();
                    // The node is what the Pod sees, by the address that it has on the way there.
                    assert_ne!(answer.client.ip(), client.address(family, 1));
                    answered.insert(answer.pod);
                }
                assert_eq!(answered.into_iter().collect::<Vec<_>>(), all);
                let answer = client.who(protocol, to("local", kind, family, protocol), None).unwrap();
                assert_eq!(answer.client.ip(), client.address(family, 1), "not masqueraded");
                assert!(lab.world().pods_on(1).contains(&answer.pod));
                let attempt = |service| client.attempt(protocol, to(service, kind, family, protocol), None, limit);
                assert_eq!(attempt("elsewhere").unwrap(), Outcome::Silence);
            }
            let node_port = to("nobody", FrontendKind::NodePort, family, protocol);
            assert_eq!(client.attempt(protocol, node_port, None, REFUSAL_LIMIT).unwrap(), Outcome::Refused);
        }
    }
    let counted = lab.kube_proxy_packets(1).unwrap();
    // 60 for each family, protocol and kind; a datagram from a port that was used before may belong to what began then.
    assert!((700..=720).contains(&counted["all"]), "{counted:?}");
    assert!(counted["local"] >= 12, "{counted:?}");
    lab.remove_kube_proxy_rules(&nodes).unwrap();
    let gone = to("all", FrontendKind::NodePort, Family::V4, Protocol::Tcp);
    assert_eq!(client.attempt(Protocol::Tcp, gone, None, limit).unwrap(), Outcome::Refused);
    lab.end().unwrap();
}

/// The one's complement sum over pseudo-header and segment, which is 0xffff when the checksum is
/// right; nothing for what is neither TCP nor UDP.
fn transport_sum(packet: &[u8]) -> Option<u16> {
    let (protocol, addresses, segment) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            (packet[9], &packet[12..20], &packet[header..total])
        }
        6 => {
            let total = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            (packet[6], &packet[8..40], &packet[40..total])
        }
        _ => return None,
    };
    let transports = [libc::IPPROTO_TCP, libc::IPPROTO_UDP];
    if !transports.contains(&i32::from(protocol)) {
        return None;
    }
    let words = [addresses, segment]
        .into_iter()
        .flat_map(|part| part.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))));
    let mut sum = words.sum::<u32>() + u32::from(protocol) + u32::try_from(segment.len()).unwrap();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).ok()
}

#[test]
fn lab_leaves_nothing_behind() {
    let lab = lab();
    let traces = Traces::of(lab.id());
    assert!(!traces.left().is_empty());
    lab.end().unwrap();
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[test]
fn lab_leaves_nothing_behind_after_a_panic() {
    let (send, receive) = std::sync::mpsc::channel();
    let outcome = thread::spawn(move || {
        let lab = lab();
        send.send(Traces::of(lab.id())).unwrap();
        panic::resume_unwind(Box::new("on purpose"));
    })
    .join();
    assert!(outcome.is_err());
    let traces = receive.recv().unwrap();
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[test]
fn lab_leaves_nothing_behind_after_its_owner_was_killed() {
    end_owner_by(Signal::SIGKILL);
}

#[test]
fn lab_leaves_nothing_behind_when_its_owner_is_killed_while_it_builds() {
    for namespaces in [1, 3, 6, 9, 12] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_limpet-lab"))
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let prefix = format!("{:x}-", child.id());
        let labs = || names_in("/run/limpet-lab", &prefix);
        let made = || names_in("/run/netns", &format!("limpet-lab-{prefix}"));
        wait::until_true("the lab to begin", GONE_LIMIT, || Ok(!labs().is_empty() && made().len() >= namespaces))
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        wait::until_true("the lab to be gone", GONE_LIMIT, || Ok(labs().is_empty())).unwrap();
        assert_eq!(made(), Vec::<String>::new());
    }
}

/// The names in a directory that begin so; none when there is no directory yet.
fn names_in(directory: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn lab_leaves_nothing_behind_after_ctrl_c() {
    end_owner_by(Signal::SIGINT);
}

#[test]
fn a_kept_lab_stays_until_it_is_taken_down_by_its_record() {
    let lab = lab();
    let traces = Traces::of(lab.id());
    let id = lab.id().to_owned();
    let pod = lab.world().pod("p2-1").unwrap().socket(Family::V4);
    let client = lab.client(1);
    lab.keep().unwrap();
    assert_eq!(client.tcp_who(pod, None).unwrap().pod, "p2-1");

    // Its owner, this process, still lives: it is in use and must be left alone.
    assert!(tear_down_abandoned(Some(&id)).unwrap().is_empty());
    assert_eq!(client.tcp_who(pod, None).unwrap().pod, "p2-1");

    give_to_a_dead_owner(&id);
    assert_eq!(tear_down_abandoned(Some(&id)).unwrap(), [id]);
    wait::until_true("the kept lab to be gone", GONE_LIMIT, || {
        Ok(traces.left().iter().all(|left| left.starts_with("process")))
    })
    .unwrap();
}

/// Says in the record that a process owned the lab which has ended since.
fn give_to_a_dead_owner(id: &str) {
    let path = Path::new("/run/limpet-lab").join(id).join("record");
    let own = format!("\"pid\":{}", process::id());
    let record = fs::read_to_string(&path).unwrap();
    assert!(record.contains(&own));
    fs::write(&path, record.replace(&own, "\"pid\":0")).unwrap();
}
