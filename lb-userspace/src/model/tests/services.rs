//! Whose Services, and which slices are theirs (A.1).

use super::fixture::*;
use crate::model::*;

/// A.1 (server.go:573-604, util/utils.go:56-68): another proxy's Services, headless ones and ExternalName are not ours;
/// their slices are no orphans.
#[test]
fn a1_services_that_are_not_ours() {
    let one = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    for rest in ["clusterIP: None", "clusterIPs: [None]", "type: ExternalName"] {
        check(rest, &format!("{}{one}", service(rest)), &[], &[]);
    }
    let labelled = service("").replace(
        "metadata: {name: web}",
        "metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: ''}}",
    );
    check("proxy name, any value", &format!("{labelled}{one}"), &[], &[]);
    check(
        "a cluster IP that a manifest leaves out",
        &service(""),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "],
        &[],
    );
}

/// A.1 (server.go:578-593): slices with the headless label are ignored, whatever its value.
#[test]
fn a1_slices_with_the_headless_label() {
    let headless = slice("s", &endpoint("10.1.0.1", "n1", "a", ""))
        .replace("labels: {", "labels: {service.kubernetes.io/headless: '', ");
    check_endpoints("headless", &headless, " |  | ");
}

/// A.1 (endpointslicecache.go:322-331): slices join by label and namespace; nothing else counts, such as owners.
#[test]
fn a1_slices_join_by_label_and_namespace() {
    let one = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    check(
        "no Service, no label, other namespace",
        &format!(
            "{one}{}{}",
            one.replace("name: s,", "name: t,").replace("labels: {kubernetes.io/service-name: web}", "labels: {}"),
            one.replace("name: s,", "name: s, namespace: other,"),
        ),
        &[],
        &[
            "EndpointSlice default/s: there is no Service default/web",
            "EndpointSlice default/t: metadata.labels: no label kubernetes.io/service-name",
            "EndpointSlice other/s: there is no Service other/web",
        ],
    );
}

/// A.1 (types.go:44-48): ports are independent; one number with two protocols is two Service ports.
#[test]
fn a1_same_port_with_two_protocols() {
    let service = service("")
        .replace("[{name: '', port: 80}]", "[{name: t, port: 53, protocol: TCP}, {name: u, port: 53, protocol: UDP}]");
    let ports = "{name: t, port: 5353}, {name: u, port: 5354, protocol: UDP}";
    check(
        "dns",
        &format!("{service}{}", slice_with("s", "IPv4", ports, &endpoint("10.1.0.1", "n1", "a", ""))),
        &[
            "default/web:t/TCP | ExternalIp 192.0.2.1:53 | default/a=10.1.0.1:5353 |  | ",
            "default/web:u/UDP | ExternalIp 192.0.2.1:53 | default/a=10.1.0.1:5354 |  | ",
        ],
        &[],
    );
}

/// A.1: an API server has slices of Services that are not asked for, and of none at all: nobody is told.
#[test]
fn a1_slices_of_others_in_an_api_server() {
    let one = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    let unlabelled =
        one.replace("name: s,", "name: t,").replace("labels: {kubernetes.io/service-name: web}", "labels: {}");
    let (desired, problems) = run_from_api(&format!("{one}{unlabelled}"), &options());
    assert_eq!(lines(&desired), [""; 0]);
    assert_eq!(problems, [""; 0]);
}

/// A.1 (types.go:44-48): the name makes the port; a number that changes is the same port.
#[test]
fn a1_the_name_makes_the_port() {
    let named = |name: &str, port: u16| {
        let port = format!("[{{name: {name}, port: {port}}}]");
        let service = service("").replace("[{name: '', port: 80}]", &port);
        let (desired, _) = run(&service);
        desired.services.into_keys().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(named("http", 80), ["default/web:http/TCP"]);
    assert_eq!(named("http", 81), ["default/web:http/TCP"]);
    assert_eq!(named("www", 80), ["default/web:www/TCP"]);
}

/// `--service-proxy-name`: instead of the Services without the label, those whose label has this value.
#[test]
fn services_of_another_proxy_name() {
    let labelled = |value: &str| {
        service("").replace(
            "metadata: {name: web}",
            &format!("metadata: {{name: web, labels: {{service.kubernetes.io/service-proxy-name: {value}}}}}"),
        )
    };
    let limpet = Options { service_proxy_name: Some("limpet".to_owned()), ..options() };
    let line = "default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | ";
    for (what, options, manifest, is_ours) in [
        ("no label, none asked for", &options(), service(""), true),
        ("another's label, none asked for", &options(), labelled("other"), false),
        ("our label, none asked for", &options(), labelled("limpet"), false),
        ("no label, one asked for", &limpet, service(""), false),
        ("another's label, one asked for", &limpet, labelled("other"), false),
        ("our label", &limpet, labelled("limpet"), true),
    ] {
        let expected: &[&str] = if is_ours { &[line] } else { &[] };
        check_with(what, options, &manifest, expected, &[]);
    }
}

/// `--service-class`: load balancers of that class, and nothing else of whatever kind; without it the class is not
/// looked at, as kube-proxy does (A.3).
#[test]
fn services_of_a_class() {
    let ours = Options { service_class: Some("limpet.dev/lb".to_owned()), ..options() };
    let all = "default/web:/TCP | NodePort 10.0.0.1:30080, LoadBalancerIp 192.0.2.7:80, NodePort 203.0.113.1:30080, LoadBalancerIp 2001:db8::7:80, NodePort fd00::1:30080 |  |  | ";
    let with = |rest: &str| load_balancer(rest).replace("port: 80}", "port: 80, nodePort: 30080}");
    let cluster_ip = "default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | ";
    for (what, options, manifest, expected) in [
        ("of the class", &ours, with("loadBalancerClass: limpet.dev/lb"), Some(all)),
        ("of another class", &ours, with("loadBalancerClass: other.dev/lb"), None),
        ("of no class", &ours, with(""), None),
        ("of another type", &ours, service("loadBalancerClass: limpet.dev/lb"), None),
        ("a class, none asked for", &options(), with("loadBalancerClass: other.dev/lb"), Some(all)),
        ("another type, none asked for", &options(), service(""), Some(cluster_ip)),
    ] {
        check_with(what, options, &manifest, expected.as_slice(), &[]);
    }
}

/// SCTP is told rather than passed over; the other ports of the Service are served.
#[test]
fn a12_sctp_is_not_handled() {
    let service =
        service("").replace("[{name: '', port: 80}]", "[{name: t, port: 80}, {name: s, port: 80, protocol: SCTP}]");
    let ports = "{name: t, port: 8080}, {name: s, port: 8081, protocol: SCTP}";
    check(
        "sctp",
        &format!("{service}{}", slice_with("s", "IPv4", ports, &endpoint("10.1.0.1", "n1", "a", ""))),
        &["default/web:t/TCP | ExternalIp 192.0.2.1:80 | default/a=10.1.0.1:8080 |  | "],
        &[
            "warning: all.yaml: Service default/web: spec.ports[1].protocol: \"SCTP\" is not handled, only TCP and UDP are; the port is left to others",
        ],
    );
    // Of a Service that is not ours there is nothing to say.
    check("headless", &service.replace("externalIPs: [192.0.2.1]", "clusterIP: None"), &[], &[]);
}
