//! `limpet verify` with a real agent, whose maps somebody spoils by hand. Needs root and a BPF file system.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

#[path = "../support/enter.rs"]
mod enter;
#[path = "../uplinks/place.rs"]
#[expect(dead_code, reason = "the tests of uplinks need more of it")]
mod place;
mod spoil;

use std::fs;

use lb_userspace::dataplane::{Elements, Maps};
use place::{Place, UPLINK};
use serde_json::{Value, json};
use spoil::Spoilt;

/// Two nodes, and a Service with everything that there is a map for: two ports that share their clients, on Pods here and
/// elsewhere, for sources of one network.
const MANIFESTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.1.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {limpet.dev/affinity-key: service}}
spec:
  type: LoadBalancer
  sessionAffinity: ClientIP
  loadBalancerSourceRanges: [198.51.100.0/24]
  ports: [{name: http, port: 80}, {name: alt, port: 81}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: alt, port: 8081}]
endpoints:
- {addresses: [10.1.0.1], nodeName: n1, targetRef: {kind: Pod, name: a}}
- {addresses: [10.1.0.2], nodeName: n1, targetRef: {kind: Pod, name: b}}
- {addresses: [10.1.1.1], nodeName: n2, targetRef: {kind: Pod, name: c}}
";

/// A place with an agent that has programmed all of it, ways included.
fn programmed(test: &str) -> Place {
    let mut place = Place::new(test);
    place.add_device(UPLINK);
    place.ip_batch(&format!(
        "addr add 192.0.2.1/24 dev {UPLINK}\nneigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev {UPLINK} nud permanent\n"
    ));
    fs::write(place.path("manifests/node.yaml"), MANIFESTS).unwrap();
    place.start_agent(&[UPLINK]);
    place
}

/// What `limpet verify` says, and its exit code.
fn verify(place: &Place, arguments: &[&str]) -> (Option<i32>, Value) {
    let said = place.output(&[&["verify", "-o", "json"], arguments].concat());
    let value = serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said.status.code(), value)
}

/// Whether one of the differences is of this object and this field.
fn names(said: &Value, spoilt: &Spoilt) -> bool {
    let differences = said["differences"].as_array().unwrap();
    differences.iter().any(|difference| {
        difference["object"] == spoilt.object
            && difference["what"] == spoilt.what
            && difference["programmed"] == spoilt.programmed
            && difference["desired"] == spoilt.desired
    })
}

#[test]
fn whatever_is_spoilt_is_named_and_mended() {
    let place = programmed("spoilt");
    let nothing = json!({"node": "n1", "differences": [], "repaired": 0, "notes": []});
    assert_eq!(verify(&place, &[]), (Some(0), nothing.clone()));
    assert_eq!(verify(&place, &["--repair"]), (Some(0), nothing.clone()), "there is nothing to do");

    let mut maps = Maps::open(place.pins()).unwrap();
    let before = Elements::read(&maps).unwrap();
    for (name, spoil) in spoil::ALL {
        let spoilt = spoil(&mut maps);
        let (code, said) = verify(&place, &[]);
        assert_eq!(code, Some(3), "{name}: {said:#}");
        assert!(names(&said, &spoilt), "{name}: {spoilt:?} is not in {said:#}");
        assert_eq!(verify(&place, &[]), (code, said.clone()), "{name}: looking changes nothing");

        let (code, mended) = verify(&place, &["--repair"]);
        assert_eq!((code, &mended["differences"]), (Some(0), &json!([])), "{name}: {mended:#}");
        assert_eq!(mended["repaired"], said["differences"].as_array().unwrap().len(), "{name}");
        assert_eq!(verify(&place, &[]), (Some(0), nothing.clone()), "{name}: it lasts");
        // Flows and clients know backends by id and generation: mending must not give them others.
        let after = Elements::read(&maps).unwrap();
        assert_eq!((&after.backends, &after.names), (&before.backends, &before.names), "{name}");
        assert_eq!(after.locals, before.locals, "{name}");
    }
    let log = place.log();
    let told =
        log.lines().filter(|line| line.contains("WARN") && line.contains("what is programmed is not what should be"));
    // Looked at twice, and once more to be mended.
    assert_eq!(told.count(), 3 * spoil::ALL.len(), "{log}");
}

#[test]
fn programs_that_were_taken_off_are_named_and_put_back() {
    let place = programmed("links");
    for link in place.links() {
        let what = if link.starts_with("xdp") { "XDP program" } else { "tcx program" };
        let expected = json!({
            "object": format!("Uplink {UPLINK}"), "what": what, "programmed": "nothing", "desired": "that of this agent"
        });
        // The agent puts it back by itself when the kernel announces a change, which may be at once.
        place.until("the missing program to be told", |place| {
            fs::remove_file(place.pins().links().join(&link)).unwrap();
            let (code, said) = verify(place, &[]);
            // While it puts both back, one after the other, the other one may be missing as well.
            let is_told = said["differences"].as_array().is_some_and(|differences| differences.contains(&expected));
            assert!(code == Some(0) || (code == Some(3) && is_told), "{link}: {said:#}");
            // The kernel lets go of a device some time after the pin is gone, and has no room for another program until then.
            place.until("the program to be put back", |place| verify(place, &["--repair"]).0 == Some(0));
            assert!(place.links().contains(&link));
            code == Some(3)
        });
    }
    assert!(place.has_xdp(UPLINK));
}

#[test]
fn without_an_agent_it_says_what_to_do() {
    let mut place = programmed("dead");
    place.kill_agent();
    for arguments in [&["verify"][..], &["verify", "--repair"], &["verify", "-o", "json"]] {
        let said = place.output(arguments);
        let text = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(1), "{text}");
        assert!(text.contains("agent: not running") && text.contains("start one (`limpet agent`)"), "{text}");
    }
    // What somebody spoils meanwhile, an agent that starts puts right.
    let mut maps = Maps::open(place.pins()).unwrap();
    for (_, spoil) in spoil::SEEN_AT_START {
        spoil(&mut maps);
    }
    place.start_agent(&[UPLINK]);
    let (code, said) = verify(&place, &[]);
    assert_eq!(code, Some(0), "{said:#}");
}

#[test]
fn people_get_a_table() {
    let place = programmed("table");
    let mut maps = Maps::open(place.pins()).unwrap();
    let said = place.output(&["verify"]);
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "");
    assert!(String::from_utf8(said.stderr).unwrap().contains("node n1: what is programmed is what should be"));

    spoil::removed_frontend(&mut maps);
    let said = place.output(&["verify"]);
    let expected = "\
OBJECT                        WHAT      PROGRAMMED  DESIRED
Frontend 203.0.113.10:80/TCP  leads to  nothing     Service default/web:http/TCP
";
    assert_eq!((said.status.code(), String::from_utf8(said.stdout).unwrap().as_str()), (Some(3), expected));
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(text.contains("node n1: different: 1; `limpet verify --repair` puts it right"), "{text}");
    let said = place.output(&["verify", "--repair"]);
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success() && text.contains("node n1: put right: 1"), "{text}");
}
