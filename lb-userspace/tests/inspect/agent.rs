//! `limpet breaks` with a real agent, which is killed and started again.

use std::{fs, net::Ipv4Addr};

use aya::programs::{TestRun, TestRunOptions};
use lb_common::{
    host::FrameSpec,
    layout::{Affinity, AffinityKey4, Backend, Keyed, backend_state},
};
use lb_userspace::{
    clock,
    dataplane::{Loaded, Pod, Sizes, Switches, held_for, load},
    model::{AffinityKey, Protocol, ServicePortName},
};
use serde_json::{Value, json};

use crate::{
    command_at,
    place::{Place, UPLINK},
};

const FRONTEND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
";

/// A Service that holds its clients, and its two Pods on this node.
fn manifests(is_first_ready: bool) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{type: LoadBalancer, sessionAffinity: ClientIP, ports: [{{port: 80}}]}}
status: {{loadBalancer: {{ingress: [{{ip: {FRONTEND}}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: '', port: 8080}}]
endpoints:
- {{addresses: [10.1.0.1], nodeName: n1, targetRef: {{kind: Pod, name: a}}, conditions: {{ready: {is_first_ready}}}}}
- {{addresses: [10.1.0.2], nodeName: n1, targetRef: {{kind: Pod, name: b}}}}
"
    )
}

/// The programs once more, on the agent's maps: made for as much as the agent's are.
fn programs(place: &Place) -> Loaded {
    let sizes =
        Sizes { flows: 1024, slots: 65_536, backends: 64, services: 16, frontends: 16, nodes: 8, ..Sizes::default() };
    load(&sizes, Some(place.pins()), Switches::default()).unwrap()
}

/// A client that is held by the Pod that is not ready begins a connection.
fn break_away(programs: &mut Loaded, client: Ipv4Addr) {
    let backends = || (1..programs.maps.backends.len()).map(|id| (id, programs.maps.backends.get(&id, 0).unwrap().0));
    let unready = |(_, backend): &(u32, Backend)| backend.generation > 0 && backend.state == backend_state::NOT_READY;
    let (id, backend) = backends().find(unready).unwrap();
    let now_seconds = u32::try_from(clock::monotonic().unwrap().as_secs()).unwrap();
    let affinity = Affinity {
        backend: id,
        generation: backend.generation,
        since_seconds: now_seconds,
        last_used_seconds: now_seconds,
        ..Affinity::default()
    };
    let [namespace, name, port] = ["default", "web", ""].map(str::to_owned);
    let name = ServicePortName { namespace, name, port, protocol: Protocol::Tcp };
    let key = AffinityKey4 { client: client.into(), service: held_for(&name, AffinityKey::Port) };
    programs.maps.v4.affinity.insert(Pod(key), Pod(affinity.of(&key)), 0).unwrap();

    let frame = FrameSpec::syn((client.into(), 4000), (FRONTEND.into(), 80)).build();
    let mut out = vec![0; frame.len() + 256];
    let options =
        TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), repeat: 1, ..TestRunOptions::default() };
    programs.ingress().unwrap().test_run(options).unwrap();
}

fn breaks(place: &Place) -> Value {
    let output = command_at(&place.path("agent.sock"), place.pins().root(), &["breaks", "web", "-o", "json"]).output();
    crate::json(&output.unwrap())
}

/// The clients of the breaks that are told one by one; none without an agent.
fn told(place: &Place) -> Option<Vec<Value>> {
    breaks(place)["events"].as_array().map(|events| events.iter().map(|event| event["client"].clone()).collect())
}

#[test]
fn an_agent_tells_of_breaks_also_of_those_while_there_was_none() {
    let mut place = Place::new("breaks");
    place.add_device(UPLINK);
    fs::write(place.path("manifests/node.yaml"), NODE).unwrap();
    fs::write(place.path("manifests/all.yaml"), manifests(true)).unwrap();
    place.start_agent(&[UPLINK]);
    assert_eq!(told(&place), Some(Vec::new()));
    fs::write(place.path("manifests/all.yaml"), manifests(false)).unwrap();
    place.until("the Pod not to be used", |place| {
        let output = command_at(&place.path("agent.sock"), place.pins().root(), &["get", "be", "-o", "json"]).output();
        let rows = crate::json(&output.unwrap());
        rows[0]["name"] == "default/a" && rows[0]["state"] == "not-ready"
    });

    let mut programs = programs(&place);
    break_away(&mut programs, Ipv4Addr::new(198, 51, 100, 1));
    place.until("the break to be told", |place| told(place) == Some(vec!["198.51.100.1".into()]));
    let said = breaks(&place);
    let mut event = said["events"][0].clone();
    for time in ["seconds_ago", "held_seconds"] {
        assert!(event[time].take().is_u64(), "{said}");
    }
    let service = json!({"namespace": "default", "name": "web", "port": "", "protocol": "TCP"});
    let expected = json!({
        "seconds_ago": null, "held_seconds": null, "client": "198.51.100.1", "reason": "not-ready", "service": service,
        "from": "default/a", "to": "default/b",
    });
    assert_eq!(event, expected);
    assert_eq!((&said["node"], &said["lost_events"]), (&json!("n1"), &json!(0)));

    place.kill_agent();
    break_away(&mut programs, Ipv4Addr::new(198, 51, 100, 2));
    let said = breaks(&place);
    assert_eq!(said["events"], json!(null));
    assert_eq!(said["totals"][0]["reasons"]["not-ready"], json!(2));
    place.start_agent(&[UPLINK]);
    place.until("what happened meanwhile to be told", |place| told(place) == Some(vec!["198.51.100.2".into()]));
    assert_eq!(breaks(&place)["events"][0]["from"], json!("default/a"));
    assert_eq!(breaks(&place)["totals"][0]["total"], json!(2));
}
