//! The systemd unit gives the agent what the manifests give it.

use std::fs;
use std::path::Path;

use crate::manifest;

/// The values of a setting, in their order; a setting may stand more than once.
fn setting(unit: &str, name: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let mut values: Vec<String> = lines.flat_map(str::split_whitespace).map(str::to_owned).collect();
    values.sort();
    values
}

#[test]
fn the_unit_gives_the_rights_of_the_hardened_manifest() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/limpet-agent.service");
    let unit = fs::read_to_string(path).unwrap();
    let capabilities: Vec<String> =
        manifest::capabilities("hardened").iter().map(|name| format!("CAP_{name}")).collect();
    assert_eq!(setting(&unit, "CapabilityBoundingSet"), capabilities);
    assert_eq!(setting(&unit, "AmbientCapabilities"), [""; 0], "root needs none");
    assert_eq!(setting(&unit, "NoNewPrivileges"), ["yes"]);
    // The directory of the socket is the agent's own, and with the pins all that it may write to.
    assert_eq!(setting(&unit, "ProtectSystem"), ["strict"]);
    assert_eq!(setting(&unit, "RuntimeDirectoryMode"), ["0700"]);
    let places =
        [setting(&unit, "ReadWritePaths"), vec![format!("/run/{}", setting(&unit, "RuntimeDirectory").concat())]];
    let mut places = places.concat();
    places.sort();
    assert_eq!(places, manifest::writable("hardened"));
    // The socket; devices and routes; probes, metrics and the API server.
    let families = ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"];
    assert_eq!(setting(&unit, "RestrictAddressFamilies"), families);
}
