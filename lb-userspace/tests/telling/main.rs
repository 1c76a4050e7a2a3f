//! What an agent tells over HTTP and to Kubernetes, on maps of the kernel's. Needs root and a BPF file system.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may fail as tests do")]

mod node;
#[path = "../support/openmetrics.rs"]
mod openmetrics;

use std::net::{Ipv4Addr, TcpListener};

use aya::programs::{TestRun, TestRunOptions};
use lb_common::host::FrameSpec;
use lb_userspace::dataplane::Loaded;
use limpet_lab::api_server::{ApiServer, Options};
use node::{HEALTH, METRICS, Node, with_node};
use serde_json::{Value, json};

/// Where the Service is reached.
const FRONTEND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// What stands in front of the IP header.
const ETHERNET_BYTES: usize = 14;
/// The TCP flag of a packet within a connection.
const ACK: u8 = 0x10;
/// Where load balancers ask for its endpoints here.
const CHECKED: u16 = 31_000;

/// This node, with these fields in its spec.
fn own_node(spec: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Node
metadata: {{name: n1}}
spec: {{{spec}}}
status: {{addresses: [{{type: InternalIP, address: 192.0.2.1}}]}}
"
    )
}

/// A Service that holds its clients, and its two Pods on this node, of which the first may not be ready.
fn service(policy: &str, is_first_ready: bool) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  type: LoadBalancer
  sessionAffinity: ClientIP
  externalTrafficPolicy: {policy}
  healthCheckNodePort: {CHECKED}
  ports: [{{name: http, port: 80}}]
status: {{loadBalancer: {{ingress: [{{ip: {FRONTEND}}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints:
- {{addresses: [10.1.0.1], nodeName: n1, targetRef: {{kind: Pod, name: a}}, conditions: {{ready: {is_first_ready}}}}}
- {{addresses: [10.1.0.2], nodeName: n1, targetRef: {{kind: Pod, name: b}}}}
"
    )
}

/// A client connects: two packets. After one it could be one of a flood, and nobody would miss it.
fn connect(programs: &mut Loaded, client: u8, port: u16) {
    for frame in frames(client, port) {
        let mut out = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), repeat: 1, ..TestRunOptions::default() };
        programs.ingress().unwrap().test_run(options).unwrap();
    }
}

fn frames(client: u8, port: u16) -> [Vec<u8>; 2] {
    let (source, destination) = ((Ipv4Addr::new(198, 51, 100, client).into(), port), (FRONTEND.into(), 80));
    [FrameSpec::syn(source, destination).build(), FrameSpec::tcp(source, destination, ACK).build()]
}

/// Labels of a series, or some of them.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// The series of the Service port.
const WEB: [(&str, &str); 4] = [("namespace", "shop"), ("service", "web"), ("port", "http"), ("protocol", "TCP")];

#[test]
fn a_scrape_shows_what_the_programs_counted() {
    with_node("scrape", |node| {
        node.apply(&(service("Cluster", true) + &own_node("")));
        node.start_agent();
        node.until("the agent to be ready", |node| node.code(HEALTH, "/healthz") == 200);
        let mut programs = node.programs();
        const CLIENTS: u8 = 40;
        (1..=CLIENTS).for_each(|client| connect(&mut programs, client, 4000));

        let scrape = node.scrape();
        let clients = f64::from(CLIENTS);
        let packets = 2.0 * clients;
        let ip_bytes: usize = frames(1, 1).iter().map(|frame| frame.len() - ETHERNET_BYTES).sum();
        let new = [("program", "ingress"), ("class", "forward"), ("reason", "local-new")];
        let cases: [(&str, Labels<'_>, f64); 10] = [
            ("limpet_service_packets_total", &WEB, packets),
            ("limpet_service_bytes_total", &WEB, clients * ip_bytes as f64),
            ("limpet_service_new_flows_total", &WEB, clients),
            ("limpet_packets_total", &new, clients),
            ("limpet_map_used", &[("map", "backends")], 2.0),
            ("limpet_map_capacity", &[("map", "backends")], 64.0),
            ("limpet_map_used", &[("map", "frontends")], 1.0),
            ("limpet_break_events_lost_total", &[], 0.0),
            ("limpet_problems", &[("severity", "error")], 0.0),
            ("limpet_source_connected", &[], 1.0),
        ];
        for (name, labels, expected) in cases {
            assert_eq!(scrape.value(name, labels), Some(expected), "{name} {labels:?}");
        }
        assert!(scrape.value("limpet_uplink_info", &[("device", "limpet0")]).is_some());
        assert!(scrape.value("limpet_sync_duration_seconds_count", &[]).unwrap() >= 1.0);

        // Begun by the scrape before.
        node.until("the clients to be counted", |node| {
            node.scrape().value("limpet_service_clients", &WEB) == Some(clients)
        });
        let skew = node.scrape().value("limpet_service_skew_ratio", &WEB).unwrap();
        assert!((1.0..=2.0).contains(&skew), "of two Pods: {skew}");

        // Each client of the Pod that is not ready any more is a break when it comes again.
        node.apply(&(service("Cluster", false) + &own_node("")));
        node.until("the Pod not to be used", |node| {
            (1..=CLIENTS).for_each(|client| connect(&mut programs, client, 5000));
            let not_ready = WEB.into_iter().chain([("reason", "not-ready")]).collect::<Vec<_>>();
            node.scrape().value("limpet_service_breaks_total", &not_ready).is_some_and(|breaks| breaks > 0.0)
        });
        // Whoever may read them learns of no client and no Pod, nor where anything is.
        let text = node.ask(METRICS, "/metrics").unwrap().body;
        for private in ["198.51.100.", "203.0.113.", "10.1.0.", "192.0.2.", "\"a\"", "\"b\"", "web-1"] {
            assert!(!text.contains(private), "{private} is told:\n{text}");
        }
        for (port, path) in [(METRICS, "/"), (METRICS, "/healthz"), (HEALTH, "/metrics"), (HEALTH, "/healthz/repeated")]
        {
            let answer = node.ask(port, path).unwrap();
            assert_eq!((answer.code, answer.body.as_str()), (404, ""), "{path}");
            assert!(!answer.head.contains("repeated"), "{}", answer.head);
        }
    });
}

#[test]
fn probes_follow_node_and_services() {
    with_node("probes", |node| {
        node.apply(&(service("Local", true) + &own_node("")));
        node.start_agent();
        node.until("the agent to be ready", |node| node.code(HEALTH, "/healthz") == 200);
        node.until("the health check", |node| node.code(CHECKED, "/any") == 200);
        let checked = node.ask(CHECKED, "/healthz").unwrap();
        assert!(checked.head.contains("x-load-balancing-endpoint-weight: 2"), "{}", checked.head);
        let body: Value = serde_json::from_str(&checked.body).unwrap();
        let expected = json!({
            "service": {"namespace": "shop", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": true,
        });
        assert_eq!(body, expected);

        node.apply(
            &(service("Local", false)
                + &own_node("taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]")),
        );
        node.until("load balancers to be sent away", |node| node.code(HEALTH, "/healthz") == 503);
        assert_eq!(node.code(HEALTH, "/livez"), 200);
        let body: Value = serde_json::from_str(&node.ask(HEALTH, "/healthz").unwrap().body).unwrap();
        assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(false), &json!(true)));
        node.until("one endpoint to be left", |node| {
            node.ask(CHECKED, "/").is_some_and(|it| it.head.contains("endpoint-weight: 1") && it.code == 200)
        });
        assert!(node.scrape().value("limpet_healthz_total", &[("code", "503")]).unwrap() >= 1.0);

        node.apply(&(service("Cluster", true) + &own_node("")));
        node.until("the port to be closed", |node| node.ask(CHECKED, "/").is_none());
    });
}

#[test]
fn addresses_that_somebody_has_are_warnings_and_stop_nothing() {
    with_node("addresses", |node| {
        let others = [METRICS, CHECKED].map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        node.apply(&(service("Local", true) + &own_node("")));
        node.start_agent();
        node.until("the agent to be ready", |node| node.code(HEALTH, "/healthz") == 200);
        let has = |node: &Node, object: &str| {
            let status = node.status();
            let problems = status["problems"].as_array().cloned().unwrap_or_default();
            problems.iter().any(|it| it["object"] == object && it["severity"] == "warning")
        };
        for object in ["--metrics-address", "Service shop/web"] {
            node.until(object, |node| has(node, object));
        }
        drop(others);
        node.until("the metrics", |node| node.code(METRICS, "/metrics") == 200);
        node.until("no warning", |node| !has(node, "--metrics-address"));
        node.until("the health check", |node| node.code(CHECKED, "/") == 200 && !has(node, "Service shop/web"));
    });
}

#[test]
fn a_service_without_room_has_an_event() {
    with_node("event", |node| {
        let server = ApiServer::start(Options::default()).unwrap();
        let kubeconfig = node.path("kubeconfig");
        server.kubeconfig(&kubeconfig).unwrap();
        let address = json!([{"type": "InternalIP", "address": "192.0.2.1"}]);
        server.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": address}})).unwrap();
        server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})).unwrap();
        // More frontends than there is room for.
        let ingress: Vec<Value> = (1..=9).map(|last| json!({"ip": format!("203.0.113.{last}")})).collect();
        let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.10", "ports": [{"port": 80}]});
        let status = json!({"loadBalancer": {"ingress": ingress}});
        let metadata = json!({"name": "wide", "namespace": "shop"});
        server
            .apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status}))
            .unwrap();
        node.start_agent_with(&["--source", "kube", "--kubeconfig", kubeconfig.to_str().unwrap()]);
        node.until("the Event", |_| !server.events().unwrap().is_empty());
        let event = server.events().unwrap()[0].clone();
        assert_eq!((&event["reason"], &event["type"]), (&json!("LimitReached"), &json!("Warning")));
        assert_eq!(
            (&event["involvedObject"]["kind"], &event["involvedObject"]["name"]),
            (&json!("Service"), &json!("wide"))
        );
        let message = event["message"].as_str().unwrap();
        assert!(message.contains("raise --max-frontends (on node n1)"), "{message}");
        assert!(event["involvedObject"]["uid"].is_string(), "{event}");
    });
}
