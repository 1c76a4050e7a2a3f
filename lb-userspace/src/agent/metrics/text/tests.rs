//! The text is what a scraper takes, its names are those of the documentation, and no label holds a client or a Pod.

#[path = "../../../../tests/support/openmetrics.rs"]
mod openmetrics;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use lb_common::layout::{BreakCounts, ServiceCounts};

use self::openmetrics::{Family, parse};
use super::{
    super::{
        sample::{Fill, WalkSample},
        services::{Counters, Labels},
        sync::Rounds,
    },
    *,
};
use crate::{
    agent::report::{Progress, SyncFacts},
    dataplane::{Attached, XdpMode},
    inspect::counters::CounterRow,
    model::{Protocol, ServicePortName, WithoutLocalEndpoints},
    source::SourceState,
};

/// All that is told of metrics to their users.
const DOCUMENTATION: &str = include_str!("../../../../../docs/metrics.md");

/// Names of labels and their values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn labels(service: &str) -> Labels {
    Labels::from(&ServicePortName {
        namespace: "lab".to_owned(),
        name: service.to_owned(),
        port: "http".to_owned(),
        protocol: Protocol::Tcp,
    })
}

/// Something of everything.
fn sample() -> Sample {
    let moment = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let breaks: BreakCounts = [1, 2, 3, 4, 5, 6, 7, 0];
    let taken = ServiceCounts { packets: 10, bytes: 1000, new_flows: 2 };
    let rounds = Rounds::default();
    let facts = SyncFacts { duration: Duration::from_millis(5), triggers: vec![moment(0)], ..SyncFacts::default() };
    rounds.ended(&facts, moment(2));
    Sample {
        packets: vec![CounterRow { program: "ingress", reason: "not-ip", class: "pass", packets: 3, description: "" }],
        services: vec![
            (labels("cart"), Counters { taken, breaks: Some(breaks) }),
            (Labels::other(), Counters { taken, breaks: None }),
        ],
        walk: Some(WalkSample {
            clients: vec![(labels("cart"), 26), (Labels::other(), 3)],
            skew: vec![(labels("cart"), 1.5)],
            age: Duration::from_secs(7),
            took: Duration::from_millis(250),
        }),
        fill: vec![
            Fill { map: "backends".to_owned(), used: Some(3), capacity: 64 },
            Fill { map: "flows4".to_owned(), used: None, capacity: 1024 },
        ],
        break_events_lost: 4,
        agent: AgentSample {
            progress: Progress {
                syncs: 1,
                last_sync: Some(moment(1)),
                last_queued: None,
                service_changes: 9,
                service_changes_pending: 1,
                endpoint_changes: 8,
                endpoint_changes_pending: 2,
                ..Progress::default()
            },
            source: SourceState {
                place: "kube".to_owned(),
                connected: true,
                error: None,
                relists: 2,
                age_seconds: 5,
                disconnected_seconds: None,
            },
            uplinks: vec![Attached { device: "eth0".to_owned(), index: 2, mode: XdpMode::Native }],
            problems: (1, 2),
            without_local_endpoints: WithoutLocalEndpoints { internal: 1, external: 2 },
            answers: [((Probe::Ready, 503), 5)].into(),
        },
        rounds,
    }
}

fn families() -> BTreeMap<String, Family> {
    let text = encode(sample()).unwrap();
    parse(&text).unwrap_or_else(|wrong| panic!("{wrong}:\n{text}"))
}

#[test]
fn values_are_under_their_names_and_labels() {
    let families = families();
    let cart = [("namespace", "lab"), ("service", "cart"), ("port", "http"), ("protocol", "TCP")];
    let other = [("namespace", ""), ("service", "other"), ("port", ""), ("protocol", "")];
    let draining = [("service", "cart"), ("reason", "draining")];
    let cases: [(&str, &str, Pairs<'_>, f64); 33] = [
        ("limpet_service_packets", "_total", &cart, 10.0),
        ("limpet_service_packets", "_total", &other, 10.0),
        ("limpet_service_bytes", "_total", &cart, 1000.0),
        ("limpet_service_new_flows", "_total", &cart, 2.0),
        ("limpet_service_breaks", "_total", &draining, 3.0),
        ("limpet_service_clients", "", &cart, 26.0),
        ("limpet_service_clients", "", &other, 3.0),
        ("limpet_service_skew_ratio", "", &cart, 1.5),
        ("limpet_client_scan_age_seconds", "", &[], 7.0),
        ("limpet_client_scan_duration_seconds", "", &[], 0.25),
        ("limpet_packets", "_total", &[("program", "ingress"), ("class", "pass"), ("reason", "not-ip")], 3.0),
        ("limpet_map_used", "", &[("map", "backends")], 3.0),
        ("limpet_map_capacity", "", &[("map", "flows4")], 1024.0),
        ("limpet_uplink", "_info", &[("device", "eth0"), ("mode", "native")], 1.0),
        ("limpet_break_events_lost", "_total", &[], 4.0),
        ("limpet_sync_duration_seconds", "_count", &[], 1.0),
        ("limpet_sync_duration_seconds", "_bucket", &[("le", "0.008")], 1.0),
        ("limpet_network_programming_duration_seconds", "_sum", &[], 2.0),
        ("limpet_sync_last_timestamp_seconds", "", &[], 1_800_000_001.0),
        ("limpet_sync_last_queued_timestamp_seconds", "", &[], 0.0),
        ("limpet_service_changes_pending", "", &[], 1.0),
        ("limpet_service_changes", "_total", &[], 9.0),
        ("limpet_endpoint_changes_pending", "", &[], 2.0),
        ("limpet_endpoint_changes", "_total", &[], 8.0),
        ("limpet_no_local_endpoints", "", &[("traffic_policy", "internal")], 1.0),
        ("limpet_no_local_endpoints", "", &[("traffic_policy", "external")], 2.0),
        ("limpet_healthz", "_total", &[("code", "503")], 5.0),
        ("limpet_livez", "_total", &[("code", "200")], 0.0),
        ("limpet_problems", "", &[("severity", "warning")], 2.0),
        ("limpet_source_connected", "", &[], 1.0),
        ("limpet_source_relists", "_total", &[], 2.0),
        ("limpet_source_age_seconds", "", &[], 5.0),
        ("limpet_build", "_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ];
    for (family, suffix, labels, expected) in cases {
        let name = format!("{family}{suffix}");
        let of_name = families[family].samples.iter().filter(|sample| sample.name == name);
        let values: Vec<f64> = of_name.filter(|sample| sample.has(labels)).map(|sample| sample.value).collect();
        assert_eq!(values, [expected], "{name} {labels:?}");
    }
    let untold: Vec<&String> = families.keys().filter(|name| !cases.iter().any(|case| case.0 == *name)).collect();
    assert_eq!(untold, Vec::<&String>::new(), "a family without a case here");
}

/// What was never counted is not 0, and what never held a client has no breaks.
#[test]
fn what_is_not_known_is_left_out() {
    let families = families();
    assert!(!families["limpet_map_used"].samples.iter().any(|sample| sample.has(&[("map", "flows4")])));
    assert!(!families["limpet_service_breaks"].samples.iter().any(|sample| sample.has(&[("service", "other")])));
    let fresh = parse(&encode(Sample { walk: None, ..sample() }).unwrap()).unwrap();
    assert!(!fresh.contains_key("limpet_service_clients"), "before the first count");
}

#[test]
fn every_metric_is_documented_with_its_type() {
    for (name, family) in families() {
        let shown = match family.kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name,
        };
        let row = format!("| `{shown}` | {} |", family.kind);
        assert!(DOCUMENTATION.lines().any(|line| line.starts_with(&row)), "docs/metrics.md has no row {row:?}");
    }
}

/// Labels whose values are as many as there are Services at most, or a few.
#[test]
fn no_label_holds_a_client_or_a_pod() {
    let allowed: BTreeSet<&str> = [
        "class",
        "code",
        "device",
        "le",
        "map",
        "mode",
        "namespace",
        "port",
        "program",
        "protocol",
        "reason",
        "service",
        "severity",
        "traffic_policy",
        "version",
    ]
    .into();
    for (name, family) in families() {
        for label in family.samples.iter().flat_map(|sample| sample.labels.keys()) {
            assert!(allowed.contains(label.as_str()), "{name} has {label}");
        }
    }
}

/// Names are whatever a bug may send: they must not end a label, or the scrape.
#[test]
fn names_are_escaped() {
    let wild = "a\"b\\c\nd";
    let services = vec![(labels(wild), Counters::default())];
    let families = parse(&encode(Sample { services, ..sample() }).unwrap()).unwrap();
    assert_eq!(families["limpet_service_packets"].samples[0].labels["service"], wild);
}

#[test]
fn units_are_those_of_the_names() {
    let cases = [
        ("sync_duration_seconds", "sync_duration", Some("seconds")),
        ("service_bytes", "service", Some("bytes")),
        ("service_packets", "service_packets", None),
        ("seconds", "seconds", None),
    ];
    for (name, stem, unit) in cases {
        let (found, found_unit) = in_parts(name);
        assert_eq!((found, found_unit.as_ref().map(Unit::as_str)), (stem, unit), "{name}");
    }
}
