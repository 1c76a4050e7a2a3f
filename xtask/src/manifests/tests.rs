//! What the manifests promise: to Kubernetes, to whoever installs them, and about what the agent may do.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::check::{self, MONITORING, values_files};
use super::toolbox::{Toolbox, scratch};
use crate::project::Project;

/// The project, and the tools as set-up leaves them; without them a test fails, and says what to type.
fn here() -> (Project, Toolbox) {
    let project = Project::find().unwrap();
    let toolbox = Toolbox::find(&project).unwrap();
    (project, toolbox)
}

/// Everything that the chart renders with these values, given as YAML.
fn rendered(test: &str, values: &str) -> Vec<Value> {
    let (project, toolbox) = here();
    let values = scratch(&project, &format!("{test}.values.yaml"), values).unwrap();
    let text = toolbox.template(&[values]).unwrap();
    let manifests = scratch(&project, &format!("{test}.yaml"), &text).unwrap();
    toolbox.read_yaml(&manifests)
}

/// The same, with one of the chart's own files of values.
fn rendered_with(test: &str, file: &str) -> Vec<Value> {
    rendered(test, &fs::read_to_string(here().1.chart().join(file)).unwrap())
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["kind"].as_str().unwrap()).collect()
}

fn pod(objects: &[Value]) -> &Value {
    &of_kind(objects, "DaemonSet")["spec"]["template"]["spec"]
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let (project, toolbox) = here();
    check::lint(&project, &toolbox).unwrap();
}

#[test]
fn what_is_checked_in_is_what_the_chart_renders() {
    let (project, toolbox) = here();
    check::compare(&project, &toolbox).unwrap();
}

#[test]
fn kubernetes_accepts_every_manifest_strictly() {
    let (project, toolbox) = here();
    check::validate(&project, &toolbox).unwrap();
}

#[test]
fn strict_validation_refuses_a_misspelt_field() {
    let (project, toolbox) = here();
    let good = toolbox.template(&[]).unwrap();
    let bad = good.replace("readOnlyRootFilesystem:", "readonlyRootFilesystem:");
    assert_ne!(good, bad);
    let bad = scratch(&project, "misspelt.yaml", &bad).unwrap();
    let error = toolbox.validate(&check::KUBERNETES, &[bad]).unwrap_err().to_string();
    assert!(error.contains("readonlyRootFilesystem"), "{error}");
}

#[test]
fn yamllint_has_nothing_to_say() {
    let (project, toolbox) = here();
    check::yamllint(&project, &toolbox).unwrap();
}

#[test]
fn the_schema_is_one_and_all_values_keep_to_it() {
    let (project, toolbox) = here();
    check::schema(&project, &toolbox).unwrap();
}

#[test]
fn alerts_fire_when_they_should() {
    let (project, toolbox) = here();
    check::rules(&project, &toolbox).unwrap();
}

#[test]
fn wrong_values_are_refused_with_the_place() {
    let (project, toolbox) = here();
    let cases = [
        ("a misspelt key", "agnet: {}", "'agnet'"),
        ("a misspelt key further in", "agent: {uplink: [eth0]}", "'/agent'"),
        ("a word for a number", "agent: {tunnelPort: many}", "'/agent/tunnelPort'"),
        ("a port that there is not", "health: {port: 65536}", "'/health/port'"),
        ("an unknown mode", "mode: of-transport", "'/mode'"),
        ("a name for an address", "metrics: {address: localhost}", "'/metrics/address'"),
        ("a setting that has a value of its own", "agent: {config: {node: n1}}", "'node'"),
        ("a mapping as a setting", "agent: {config: {max-flows: {of: 1}}}", "'/agent/config/max-flows'"),
        ("a capability as the kernel writes it", "security: {capabilities: [cap_bpf]}", "'/security/capabilities/0'"),
        ("no CIDR", "agent: {nodePortAddresses: secondary}", "'/agent/nodePortAddresses'"),
        ("metrics that nobody reaches", "podMonitor: {enabled: true}", "cannot reach metrics.address 127.0.0.1"),
        ("metrics that there are not", "{podMonitor: {enabled: true}, metrics: {enabled: false}}", "metrics.enabled"),
    ];
    for (what, values, place) in cases {
        let file = scratch(&project, "wrong.values.yaml", values).unwrap();
        let error = toolbox.template(&[file]).expect_err(what).to_string();
        assert!(error.contains(place), "{what}: {error}");
    }
}

#[test]
fn every_value_is_documented() {
    let (_, toolbox) = here();
    let text = fs::read_to_string(toolbox.chart().join("values.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_key = |line: &str| {
        let key = line.trim_start().split_once(':').map_or("", |(key, _)| key);
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_./".contains(c))
    };
    let mut keys = 0;
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_key(line)) {
        let above = lines[index - 1];
        assert!(above.trim_start().starts_with("# ") && indent(above) == indent(line), "line {}: {line}", index + 1);
        keys += 1;
    }
    assert!(keys > 60, "{keys}");

    let schema = fs::read_to_string(toolbox.chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut described = 0;
    let mut rest = vec![("values".to_owned(), &schema)];
    while let Some((path, place)) = rest.pop() {
        assert!(place["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path} is not described");
        described += 1;
        if let Some(properties) = place["properties"].as_object() {
            assert_eq!(place["additionalProperties"], false, "{path} takes any key");
            rest.extend(properties.iter().map(|(key, value)| (format!("{path}.{key}"), value)));
        }
    }
    assert!(described > keys, "{described} are described, {keys} are there");
}

#[test]
fn the_agent_may_read_three_kinds_create_events_and_nothing_else() {
    let expected = json!([
        {"apiGroups": [""], "resources": ["nodes", "services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]);
    let (_, toolbox) = here();
    let files = values_files(&toolbox).unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert!(names.contains(&"values-hardened.yaml"), "{names:?}");
    for name in names {
        let objects = rendered_with(&format!("rbac-{name}"), name);
        assert_eq!(of_kind(&objects, "ClusterRole")["rules"], expected, "{name}");
        let binding = of_kind(&objects, "ClusterRoleBinding");
        let subjects = json!([{"kind": "ServiceAccount", "name": "limpet", "namespace": "kube-system"}]);
        assert_eq!(binding["subjects"], subjects, "{name}");
        assert_eq!(binding["roleRef"]["name"], "limpet", "{name}");
        let others = kinds(&objects).into_iter().filter(|kind| kind.contains("Role")).count();
        assert_eq!(others, 2, "{name}: no other role, no other binding");
    }
}

#[test]
fn an_installation_without_more_values_is_the_safe_one() {
    let objects = rendered("safe", "{}");
    assert_eq!(kinds(&objects), ["ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "DaemonSet"]);
    let update = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
    assert_eq!(of_kind(&objects, "DaemonSet")["spec"]["updateStrategy"], update);

    let pod = pod(&objects);
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["dnsPolicy"], "Default");
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));

    let agent = &pod["containers"][0];
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    let context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"]},
        "seccompProfile": {"type": "Unconfined"},
        "appArmorProfile": {"type": "Unconfined"},
        "runAsUser": 0,
        "runAsGroup": 0,
        "readOnlyRootFilesystem": true,
    });
    assert_eq!(agent["securityContext"], context);
    assert_eq!(agent["lifecycle"], Value::Null, "nothing is done when it stops: the datapath goes on");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let expected = json!({"host": "127.0.0.1", "port": "health", "path": "/livez"});
        assert_eq!(agent[probe]["httpGet"], expected, "{probe}");
    }
    let node = json!({"name": "LIMPET_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}});
    let config = json!({"name": "LIMPET_CONFIG", "value": "/etc/limpet/config.yaml"});
    assert_eq!(agent["env"], json!([node, config]));
    let mounted = json!({"name": "config", "mountPath": "/etc/limpet", "readOnly": true});
    assert_eq!(agent["volumeMounts"][0], mounted);
    let propagation = |container: &Value| container["volumeMounts"].as_array().unwrap().iter().find_map(propagated);
    assert_eq!(propagation(agent).as_deref(), Some("HostToContainer"));

    let before = &pod["initContainers"];
    assert_eq!(before.as_array().unwrap().len(), 1);
    assert_eq!(before[0]["args"], json!(["mount-bpffs"]));
    assert_eq!(before[0]["securityContext"]["privileged"], true);
    assert_eq!(propagation(&before[0]).as_deref(), Some("Bidirectional"));
}

/// The propagation of a mount of the BPF file system.
fn propagated(mount: &Value) -> Option<String> {
    (mount["mountPath"] == "/sys/fs/bpf").then(|| mount["mountPropagation"].as_str().unwrap().to_owned())
}

#[test]
fn a_hardened_installation_has_no_privileged_container() {
    let objects = rendered_with("hardened", "values-hardened.yaml");
    assert!(!json!(objects).to_string().contains("\"privileged\":true"));
    let pod = pod(&objects);
    assert_eq!(pod["initContainers"], Value::Null);
    assert_eq!(pod["containers"][0]["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}));
}

#[test]
fn privileged_takes_the_place_of_the_capabilities() {
    let objects = rendered("privileged", "security: {privileged: true}");
    let context = &pod(&objects)["containers"][0]["securityContext"];
    assert_eq!(context["privileged"], true);
    for absent in ["capabilities", "allowPrivilegeEscalation", "seccompProfile"] {
        assert_eq!(context[absent], Value::Null, "{absent}");
    }
}

#[test]
fn without_kube_proxy_the_api_server_is_named() {
    let objects = rendered_with("no-kube-proxy", "values-no-kube-proxy.yaml");
    let agent = &pod(&objects)["containers"][0];
    let variable = |name: &str| {
        let all = agent["env"].as_array().unwrap();
        all.iter().find(|variable| variable["name"] == name).map(|variable| variable["value"].clone())
    };
    assert_eq!(variable("KUBERNETES_SERVICE_HOST"), Some(json!("api.cluster.example")));
    assert_eq!(variable("KUBERNETES_SERVICE_PORT"), Some(json!("6443")));
    assert_eq!(agent["livenessProbe"]["httpGet"]["host"], "127.0.0.1", "asked over loopback all the same");
}

#[test]
fn detaching_replaces_the_agent_and_asks_nothing_of_the_api_server() {
    let objects = rendered_with("detach", "values-detach.yaml");
    let before = rendered("attached", "{}");
    let selector = |objects: &[Value]| of_kind(objects, "DaemonSet")["spec"]["selector"].clone();
    assert_eq!(selector(&objects), selector(&before), "the same DaemonSet, or the agents would go on beside it");
    let pod = pod(&objects);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["containers"][0]["args"], json!(["detach", "--stay"]));
    assert_eq!(pod["containers"][0]["livenessProbe"], Value::Null);
}

#[test]
fn prometheus_finds_the_pods_by_either_monitor() {
    let values = "{metrics: {address: '::', port: 7000}, serviceMonitor: {enabled: true, labels: {release: p}}}";
    let objects = rendered("service-monitor", values);
    let (service, monitor) = (of_kind(&objects, "Service"), of_kind(&objects, "ServiceMonitor"));
    let pod_labels = &of_kind(&objects, "DaemonSet")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(monitor["metadata"]["labels"]["release"], "p");
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    assert_covers(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]);
    assert_covers(&service["spec"]["selector"], pod_labels);
    let config = of_kind(&objects, "ConfigMap")["data"]["config.yaml"].as_str().unwrap();
    assert!(config.contains("metrics-address: '[::]:7000'"), "{config}");

    let objects = rendered_with("pod-monitor", MONITORING);
    let labels = &of_kind(&objects, "DaemonSet")["spec"]["template"]["metadata"]["labels"];
    let monitor = of_kind(&objects, "PodMonitor");
    assert_covers(&monitor["spec"]["selector"]["matchLabels"], labels);
    let ports = pod(&objects)["containers"][0]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == monitor["spec"]["podMetricsEndpoints"][0]["port"]));
}

/// Every label that is selected by is there.
fn assert_covers(selector: &Value, labels: &Value) {
    let selector = selector.as_object().unwrap();
    assert!(!selector.is_empty());
    for (key, value) in selector {
        assert_eq!(&labels[key], value, "{key}");
    }
}

#[test]
fn versions_are_those_of_the_workspace() {
    let (_, toolbox) = here();
    let chart = &toolbox.read_yaml(&toolbox.chart().join("Chart.yaml"))[0];
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let image = format!("localhost/limpet:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(pod(&rendered("versions", "{}"))["containers"][0]["image"], image);
}

#[test]
fn what_the_dashboard_asks_is_promql() {
    let (project, toolbox) = here();
    let panels = dashboard()["panels"].as_array().unwrap().clone();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    let rules: Vec<Value> = expressions(&panels)
        .into_iter()
        .map(|expression| {
            let filled =
                ["$node", "$namespace", "$service"].iter().fold(expression, |text, name| text.replace(name, "x"));
            json!({"record": "asked", "expr": filled.replace("$__rate_interval", "5m")})
        })
        .enumerate()
        .map(|(index, mut rule)| {
            rule["labels"] = json!({"number": index.to_string()});
            rule
        })
        .collect();
    assert!(rules.len() > 20, "{}", rules.len());
    // JSON is YAML.
    let text = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    toolbox.promtool("check", &scratch(&project, "dashboard.rules.yaml", &text).unwrap()).unwrap();
}

fn dashboard() -> Value {
    let text = fs::read_to_string(here().1.chart().join("monitoring/dashboard.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn expressions(panels: &[Value]) -> Vec<String> {
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_the_agent_has() {
    let (project, toolbox) = here();
    let monitoring = toolbox.chart().join("monitoring");
    let asked: BTreeSet<String> = ["dashboard.json", "rules.yaml"]
        .iter()
        .flat_map(|file| metric_names(&fs::read_to_string(monitoring.join(file)).unwrap()))
        .collect();
    assert!(asked.len() > 20, "{asked:?}");
    let sources = sources_below(&project.root.join("lb-userspace/src/agent/metrics"));
    for name in asked {
        // The library adds the prefix, and what the kind of metric asks for at the end.
        let bare = ["_total", "_bucket", "_info"]
            .iter()
            .fold(&name["limpet_".len()..], |name, end| name.trim_end_matches(end));
        assert!(sources.contains(&format!("\"{bare}\"")) || sources.contains(&format!("\"{name}\"")), "no {name}");
    }
}

/// Words of a text that are names of metrics.
fn metric_names(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("limpet_")).map(str::to_owned).collect()
}

/// The text of all Rust files below a directory.
fn sources_below(directory: &std::path::Path) -> String {
    let mut text = String::new();
    let mut rest: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    assert!(!text.is_empty(), "nothing in {}", directory.display());
    text
}
