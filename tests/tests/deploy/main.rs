//! What the containers of the DaemonSet do on a node, as the runtime would start them: as first process of their own
//! process namespace, as root with three capabilities, never to gain more, and with nothing to write to but two volumes.
//! Needs root and a BPF file system.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod container;
mod lab;
mod manifest;
mod node;
mod unit;

use std::fs;
use std::path::Path;

use limpet_lab::wait;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::container::{Container, Rights, mask};
use crate::node::{LIMIT, Node, limpet};

/// What the manifests give.
fn rights() -> Rights {
    Rights::These(manifest::capabilities("hardened"))
}

/// Asserts that every thread of the agent has the three capabilities, no other, and no way to others.
fn has_three_capabilities(agent: &Container) {
    let three = mask(&manifest::capabilities("hardened"));
    let keys = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
    let none = mask(&[]);
    let expected = [&none, &three, &three, &three, &none, "1"].map(str::to_owned);
    let threads = agent.threads(keys);
    assert!(threads.len() > 2, "the runtime has two of its own: {threads:?}");
    for thread in threads {
        assert_eq!(thread, expected, "{keys:?}");
    }
}

#[test]
fn with_the_rights_of_the_hardened_manifest_the_agent_attaches_and_detach_takes_everything_off() {
    assert_eq!(manifest::capabilities("hardened"), ["BPF", "NET_ADMIN", "PERFMON"]);
    let (node, rights) = (Node::new("rights"), rights());

    let agent = node.start_agent(&rights);
    let attached = node.links();
    assert_eq!(attached.len(), 2, "XDP and tcx: {attached:?}");
    has_three_capabilities(&agent);
    assert_eq!(agent.writable(), manifest::writable("hardened"), "and nothing else can be written to");

    // A second Pod on the node, as it would be if it did not wait for the first one's end.
    let early = node.run(&rights, &["detach", "--stay"]);
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.said.contains("an agent runs on node n1"), "{early:?}");
    assert_eq!(node.links(), attached);

    let ended = agent.stop(Signal::SIGTERM, LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(node.links(), attached, "nothing is detached by SIGTERM");

    let mut detach = node.start(&rights, &["detach", "--stay"]);
    wait::until_true("everything to be off the node", LIMIT, || Ok(!node.pins().exists())).unwrap();
    wait::until_true("it to say so", LIMIT, || Ok(detach.said().contains("nothing is left in"))).unwrap();
    assert!(detach.is_alive(), "it stays, or it would be started again and again: {}", detach.said());
    let ended = detach.stop(Signal::SIGTERM, LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn an_agent_that_is_given_everything_gives_up_what_it_does_not_need() {
    let node = Node::new("everything");
    has_three_capabilities(&node.start_agent(&Rights::All));
}

#[test]
fn without_one_of_the_three_capabilities_the_agent_says_which_and_leaves_everything_alone() {
    let node = Node::new("missing");
    let three = manifest::capabilities("hardened");
    for missing in &three {
        let others = three.iter().filter(|name| *name != missing).cloned().collect();
        let refused = node.launch_agent(&Rights::These(others)).wait(LIMIT);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let expected =
            format!("limpet: the agent lacks CAP_{missing}; run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)");
        assert!(refused.said.starts_with(&expected), "{refused:?}");
        assert!(refused.said.contains("securityContext.capabilities.add"), "{refused:?}");
        assert_eq!(refused.said.lines().count(), 1, "{refused:?}");
    }
    assert!(!node.pins().exists());
}

#[test]
fn the_configuration_file_of_every_manifest_is_one_that_the_agent_takes() {
    for name in ["default", "hardened", "no-kube-proxy", "detach"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        let text = manifest::config(name);
        fs::write(&file, &text).unwrap();
        let said = limpet(&["config", "-o", "json", "--node", "n1", "--config", file.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        for line in text.lines() {
            let (key, _) = line.split_once(": ").unwrap();
            assert!(said.said.contains(&format!("\"{key}\"")), "{name}: {key} is no setting: {said:?}");
        }
        assert!(said.said.contains(file.to_str().unwrap()), "{name}: nothing comes from the file: {said:?}");
    }
}

#[test]
fn what_the_first_container_mounts_is_seen_by_the_node_and_by_the_agents() {
    // This thread's own view of the file system, which ends with the test. What is mounted below a private mount is seen by
    // nobody else; the root may be none that can be made private, as in a chroot.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    let directory = Path::new("/sys/fs/bpf");
    mount(none, directory, none, MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("own"), directory, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let [sys, first, agents] = ["sys", "first", "agents"].map(|name| directory.join(name));
    for path in [&sys, &first, &agents] {
        fs::create_dir(path).unwrap();
    }
    // The node's: shared, as every node has it. A hostPath binds a directory of it into a container; that of Bidirectional
    // propagation stays shared, that of HostToContainer becomes a slave.
    mount(Some("sys"), &sys, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    mount(none, &sys, none, MsFlags::MS_SHARED, none).unwrap();
    let host = sys.join("bpf");
    fs::create_dir(&host).unwrap();
    mount(Some(&host), &first, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
    mount(Some(&host), &agents, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
    mount(none, &agents, none, MsFlags::MS_SLAVE, none).unwrap();
    let is_bpffs = |path| statfs(path).unwrap().filesystem_type() == BPF_FS_MAGIC;
    assert!(!is_bpffs(&first) && !is_bpffs(&host) && !is_bpffs(&agents));

    let mount_bpffs = ["mount-bpffs", first.to_str().unwrap()];
    let said = limpet(&mount_bpffs);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.said.starts_with("mounted"), "{said:?}");
    assert!(is_bpffs(&first), "not in the container");
    assert!(is_bpffs(&host), "not on the node");
    assert!(is_bpffs(&agents), "not in the agent's container");

    let again = limpet(&mount_bpffs);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.said.contains("already"), "{again:?}");
}

#[test]
fn who_may_not_mount_is_told_so() {
    let refused = Node::new("unprivileged").run(&rights(), &["mount-bpffs", "/run/limpet"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.said.contains("privileged container"), "{refused:?}");
}
