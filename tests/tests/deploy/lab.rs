//! The same agent on a node of the lab: it carries real packets with what the manifests give it.

use std::time::Duration;

use limpet_lab::address::Family;
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};
use limpet_lab::{Lab, Options, wait};

use crate::container::Container;
use crate::node::{LIMIT, Node};
use crate::{has_three_capabilities, manifest, rights};

/// The node that clients' packets arrive at.
const INGRESS: u8 = 1;
/// The device of every node of the lab that they arrive on.
const UPLINK: &str = "eth0";
/// How long one look for an answer takes at most.
const LOOK: Duration = Duration::from_millis(500);

#[test]
fn with_the_rights_of_the_hardened_manifest_the_agent_carries_packets_to_pods_here_and_elsewhere() {
    let mut lab = Lab::start(Options::default()).unwrap();
    let pods = ["p1-1", "p2-1"].map(str::to_owned);
    lab.put_service(ServiceSpec::new("web", &pods)).unwrap();
    // Nothing of the lab's own agent is left on the node.
    lab.detach(&[INGRESS]).unwrap();
    let (pins, manifests) = (lab.pin_directory(INGRESS).unwrap().to_owned(), lab.directory().join("manifests"));
    let node = Node::of(Some(&manifests), &format!("n{INGRESS}"), UPLINK, pins);
    let agent: Container = lab.node(INGRESS).run(|| Ok(node.start_agent(&rights()))).unwrap();
    has_three_capabilities(&agent);
    assert_eq!(agent.writable(), manifest::writable("hardened"));

    let service = lab.world().service("web").unwrap();
    for protocol in Protocol::BOTH {
        for family in Family::BOTH {
            let to = service.frontend(FrontendKind::LoadBalancerIp, family, protocol, INGRESS).unwrap();
            for pod in &pods {
                let what = format!("Pod {pod} to answer at {to} over {}", protocol.name());
                let answers = || Ok(lab.client(1).attempt(protocol, to, None, LOOK)?.pod() == Some(pod.as_str()));
                let answered = wait::until_true(&what, LIMIT, answers);
                assert!(answered.is_ok(), "{answered:?}: {}", agent.said());
            }
        }
    }
    drop(agent);
    drop(node);
    lab.end().unwrap();
}
