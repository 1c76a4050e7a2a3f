//! What a server fills in where a client says nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::kind::Kind;

/// Numbers of cluster IPs and node ports that are given away.
#[derive(Debug, Default)]
pub(super) struct Given {
    cluster_ips: u16,
    node_ports: u16,
}

/// Node ports are given away from here downwards, since people choose small ones.
const LAST_NODE_PORT: u16 = 32_767;
const NODE_PORTS: u16 = 2_768;

/// Fills in what is missing of an object that is stored under a version, `old` being what it replaces. An object that has no
/// metadata, or no spec, gets none.
pub(super) fn fill(kind: Kind, object: &mut Value, old: Option<&Value>, version: u64, given: &mut Given) {
    let old_metadata = old.map_or(&Value::Null, |old| &old["metadata"]);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        fill_metadata(metadata, old_metadata, version);
    }
    if kind == Kind::Service
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        fill_service(spec, old.map_or(&Value::Null, |old| &old["spec"]), given);
    }
}

/// A name for an object of which only the beginning of its name is given.
pub(super) fn generate_name(beginning: &str, version: u64) -> String {
    format!("{beginning}{version:05x}")
}

fn fill_metadata(metadata: &mut Map<String, Value>, old: &Value, version: u64) {
    let uid = json!(format!("00000000-0000-4000-8000-{version:012x}"));
    let created = json!(rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    for (field, fresh) in [("uid", uid), ("creationTimestamp", created)] {
        if !metadata.contains_key(field) {
            let value = if old[field].is_null() { fresh } else { old[field].clone() };
            metadata.insert(field.to_owned(), value);
        }
    }
}

fn fill_service(spec: &mut Map<String, Value>, old: &Value, given: &mut Given) {
    if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return;
    }
    if !spec.contains_key("clusterIP") {
        let addresses = if old["clusterIPs"].is_array() { old["clusterIPs"].clone() } else { cluster_ips(spec, given) };
        spec.insert("clusterIP".to_owned(), addresses[0].clone());
        spec.entry("clusterIPs").or_insert(addresses);
    }
    if matches!(spec.get("type").and_then(Value::as_str), Some("LoadBalancer" | "NodePort")) {
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let same = old["ports"].as_array().into_iter().flatten().find(|other| {
                other["name"] == port["name"] && other["port"] == port["port"] && other["protocol"] == port["protocol"]
            });
            let number = same.map(|port| port["nodePort"].clone()).filter(Value::is_number);
            if let Some(port) = port.as_object_mut() {
                port.entry("nodePort").or_insert_with(|| number.unwrap_or_else(|| node_port(given)));
            }
        }
    }
}

fn cluster_ips(spec: &Map<String, Value>, given: &mut Given) -> Value {
    given.cluster_ips = given.cluster_ips.wrapping_add(1);
    let number = given.cluster_ips;
    let [high, low] = number.to_be_bytes();
    let families = spec.get("ipFamilies").and_then(Value::as_array);
    let addresses = families.into_iter().flatten().map(|family| match family.as_str() {
        Some("IPv6") => format!("fd00:97::{number:x}"),
        _ => format!("10.97.{high}.{low}"),
    });
    let addresses: Vec<String> = addresses.collect();
    if addresses.is_empty() { json!([format!("10.97.{high}.{low}")]) } else { json!(addresses) }
}

fn node_port(given: &mut Given) -> Value {
    let port = LAST_NODE_PORT - given.node_ports % NODE_PORTS;
    given.node_ports = given.node_ports.wrapping_add(1);
    json!(port)
}

/// A time after 1970 as Kubernetes writes it.
fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day after 1970, by Howard Hinnant's `civil_from_days`: years begin in March, so that leap days
/// come last.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_kubernetes_writes_them() {
        let check = |seconds, expected: &str| assert_eq!(rfc3339(Duration::from_secs(seconds)), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_709_251_199, "2024-02-29T23:59:59Z");
        check(1_709_251_200, "2024-03-01T00:00:00Z");
        check(4_102_444_799, "2099-12-31T23:59:59Z");
    }

    #[test]
    fn a_service_gets_addresses_and_node_ports_and_keeps_them() {
        let mut given = Given::default();
        let service = json!({"metadata": {"name": "web"}, "spec": {
            "type": "LoadBalancer", "ipFamilies": ["IPv6", "IPv4"], "ports": [{"port": 80}, {"port": 81, "nodePort": 30001}],
        }});
        let mut first = service.clone();
        fill(Kind::Service, &mut first, None, 7, &mut given);
        assert_eq!(first["spec"]["clusterIP"], "fd00:97::1");
        assert_eq!(first["spec"]["clusterIPs"], json!(["fd00:97::1", "10.97.0.1"]));
        assert_eq!(first["spec"]["ports"][0]["nodePort"], 32_767);
        assert_eq!(first["spec"]["ports"][1]["nodePort"], 30_001);
        assert_eq!(first["metadata"]["uid"], "00000000-0000-4000-8000-000000000007");
        let mut second = service;
        fill(Kind::Service, &mut second, Some(&first), 8, &mut given);
        assert_eq!(second, first);
    }

    #[test]
    fn what_is_given_is_left_alone() {
        let mut given = Given::default();
        for object in [
            json!({"metadata": {"uid": "u", "creationTimestamp": "t"}, "spec": {"clusterIP": "None"}}),
            json!({"metadata": {"uid": "u", "creationTimestamp": "t"}, "spec": {"type": "ExternalName"}}),
            json!({"metadata": [], "spec": "x"}),
            json!(null),
        ] {
            let mut filled = object.clone();
            fill(Kind::Service, &mut filled, None, 7, &mut given);
            if object["spec"]["clusterIP"] == "None" {
                filled["spec"].as_object_mut().unwrap().remove("clusterIPs");
            }
            assert_eq!(filled, object);
        }
    }
}
