//! What `limpet` cannot do, it says in one line with what to do about it, ends with the exit code for it, and leaves
//! what was there as it was. Needs root and a BPF file system.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod place;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use place::{Capability, Place, UPLINK, Who, links_below};

/// What all messages about missing rights say.
const RIGHTS: &str = "run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)";

#[test]
fn wrong_usage_ends_with_2_and_says_what_there_is() {
    let place = Place::new("usage");
    let settings = place.path("limpet.yaml");
    fs::write(&settings, "node: n1\nsource: dir:/x\nmax-flow: 1\nkubeconfig: /k\n").unwrap();
    let cases: [(&[&str], &[&str]); 12] = [
        (&["agent"], &["--node <NAME>", "--help"]),
        (&["agent", "--node", "n1", "--source", "file:/x"], &["'file:/x'", "unknown source", "kube", "dir:PATH"]),
        (&["agent", "--node", "n1", "--config", "/nonexistent/x.yaml"], &["/nonexistent/x.yaml", "No such file"]),
        (
            &["agent", "--config", settings.to_str().unwrap()],
            &["limpet.yaml:3: max-flow: there is no such setting; did you mean max-flows?"],
        ),
        (
            &["agent", "--node", "n1", "--source", "dir:/x", "--kubeconfig", "/k"],
            &["--kubeconfig: ", "source dir:/x (--source)"],
        ),
        (
            &["agent", "--node", "n1", "--health-address", "127.0.0.1:6183"],
            &["metrics-address (default): ", "127.0.0.1:6183 (--health-address)"],
        ),
        (&["agent", "--node", "n1", "--health-address", "6182"], &["'6182'", "127.0.0.1:6182", "none"]),
        (&["kubectl", "forget", "198.51.100.7"], &["--yes", "--dry-run"]),
        (&["agent", "--node", "n1", "--source", "dir:/x", "--max-flows", "0"], &["--max-flows", "1..="]),
        (&["get", "pods"], &["unrecognized subcommand 'pods'"]),
        (&["get", "services", "-o", "yaml"], &["table, wide, json"]),
        (&["describe", "service", "a/b/c"], &["NAMESPACE/NAME"]),
    ];
    for (arguments, parts) in cases {
        let said = place.limpet(arguments);
        assert_eq!(said.code, Some(2), "{said:?}");
        said.has(&said.stderr, parts);
        assert_eq!(said.stdout, "", "{said:?}");
    }
    assert!(!place.pins().exists());
}

#[test]
fn an_uplink_that_cannot_be_one_is_named_with_what_to_do() {
    let place = Place::new("uplinks");
    place.agent(&["--uplink", "nosuch0"]).refuses(&["no network device nosuch0", "`ip link`"]);
    place.agent(&["--uplink", UPLINK, "--uplink", "nosuch0"]).refuses(&["no network device nosuch0"]);
    place.agent(&["--uplink", "lo"]).refuses(&["lo is not an Ethernet device", "--uplink DEV"]);
    place.agent(&[]).refuses(&["there is no default route", "--uplink DEV"]);
    assert_eq!(place.xdp_program(UPLINK), None);
    assert!(!place.pins().exists(), "nothing is begun where it cannot be finished");
}

#[test]
fn without_a_bpf_file_system_the_mount_command_is_told() {
    let place = Place::new("bpffs");
    let elsewhere = place.path("pins");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "data").unwrap();
    let elsewhere = elsewhere.to_str().unwrap();
    let parts = [elsewhere, "not on a BPF file system", "`mount -t bpf bpf /sys/fs/bpf`", "--pin-dir"];
    place.agent(&["--uplink", UPLINK, "--pin-dir", elsewhere]).refuses(&parts);
    place.limpet(&["detach", "--pin-dir", elsewhere]).refuses(&parts);
    let said = place.limpet(&["status", "--pin-dir", elsewhere]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(fs::read_to_string(place.path("pins/precious")).unwrap(), "data");
    assert_eq!(place.xdp_program(UPLINK), None);
}

#[test]
fn nobody_is_told_to_be_root() {
    let mut place = Place::new("nobody");
    place.agent_as(Who::Nobody, &["--uplink", UPLINK]).refuses(&["lacks CAP_BPF and CAP_NET_ADMIN", RIGHTS]);
    let own = place.path("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65_534), Some(65_534)).unwrap();
    let socket = own.join("agent.sock");
    let flags = ["--uplink", UPLINK, "--socket", socket.to_str().unwrap()];

    place.start_agent();
    let links = place.links();
    let program = place.xdp_program(UPLINK);
    place.agent_as(Who::Nobody, &flags).refuses(&["run as root"]);
    let status = |parts: &[&str]| {
        let said = place.limpet_as(Who::Nobody, &["status"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""), "{said:?}");
        said.has(&said.stdout, parts);
    };
    status(&["agent: cannot be asked (permission denied on ", "datapath: cannot be read: ", "run as root"]);
    for arguments in [["get", "services"], ["get", "flows"], ["get", "counters"]] {
        place.limpet_as(Who::Nobody, &arguments).refuses(&["run as root"]);
    }
    place.limpet_as(Who::Nobody, &["describe", "service", "a/b"]).refuses(&["run as root"]);
    place.limpet_as(Who::Nobody, &["detach"]).refuses(&["run as root"]);
    place.limpet_as(Who::Nobody, &["detach", "--force"]).refuses(&["run as root"]);

    place.kill_agent();
    place.limpet_as(Who::Nobody, &["detach"]).refuses(&["run as root"]);
    let socket = place.path("none.sock");
    place.limpet_as(Who::Nobody, &["detach", "--socket", socket.to_str().unwrap()]).refuses(&[
        place.pins().to_str().unwrap(),
        "permission denied",
        "run as root",
    ]);
    assert_eq!(place.links(), links);
    assert_eq!(place.xdp_program(UPLINK), program);
}

#[test]
fn a_capability_that_is_missing_is_named_and_the_old_datapath_left_alone() {
    use Capability::{Bpf, NetAdmin, Perfmon, SysAdmin};
    let mut place = Place::new("capabilities");
    // CAP_SYS_ADMIN, which stands for two of them in the kernel, does not stand for them here.
    let cases: [(&[Capability], &str); 4] = [
        (&[Bpf], "CAP_BPF;"),
        (&[Perfmon], "CAP_PERFMON;"),
        (&[NetAdmin], "CAP_NET_ADMIN;"),
        (&[SysAdmin, Bpf, Perfmon], "CAP_BPF and CAP_PERFMON;"),
    ];
    for (missing, named) in cases {
        let said = place.agent_as(Who::RootWithout(missing), &["--uplink", UPLINK]);
        said.refuses(&["the agent lacks ", named, RIGHTS]);
        assert_eq!((place.links(), place.xdp_program(UPLINK)), (Vec::new(), None), "without {missing:?}");
    }

    place.start_agent();
    place.kill_agent();
    let (links, program) = (place.links(), place.xdp_program(UPLINK));
    assert!(program.is_some());
    for (missing, named) in cases {
        let said = place.agent_as(Who::RootWithout(missing), &["--uplink", UPLINK]);
        said.refuses(&["the agent lacks ", named]);
        assert_eq!((place.links(), place.xdp_program(UPLINK)), (links.clone(), program), "without {missing:?}");
    }
    place.start_agent();
}

#[test]
fn a_socket_that_others_could_put_another_in_the_place_of_is_refused() {
    let place = Place::new("socket");
    let directory = place.path("open");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).unwrap();
    let socket = directory.join("agent.sock");
    let flags = ["--uplink", UPLINK, "--socket", socket.to_str().unwrap()];
    place.agent(&flags).refuses(&["others may write to", "mode 1777", "chmod go-w", "--socket"]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing is made there");
    assert!(!place.pins().exists());

    // Root without its other rights is a user like all others.
    std::os::unix::fs::chown(&directory, Some(65_534), None).unwrap();
    place.agent(&flags).refuses(&["belongs to another user (65534)", "--socket"]);
}

#[test]
fn a_kubeconfig_of_another_user_is_not_read_by_root_either() {
    let place = Place::new("kubeconfig");
    let file = place.path("config");
    fs::write(&file, "apiVersion: v1\nkind: Config\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
    let mut arguments = vec!["agent", "--node", "n1", "--uplink", UPLINK];
    arguments.extend(place::LIMITS);
    arguments.extend(["--kubeconfig", file.to_str().unwrap()]);
    place.limpet(&arguments).refuses(&[file.to_str().unwrap(), "Permission denied", "must belong to the agent's user"]);
}

#[test]
fn somebody_elses_xdp_program_stays() {
    let mut place = Place::new("foreign");
    // What is pinned elsewhere is a stranger's to an agent that does not know of it.
    place.start_agent();
    let stranger = place.xdp_program(UPLINK);
    assert!(stranger.is_some());
    let (pins, socket) = (place.pins().join("other"), place.path("other.sock"));
    let flags = ["--uplink", UPLINK, "--pin-dir", pins.to_str().unwrap(), "--socket", socket.to_str().unwrap()];
    place.agent(&flags).refuses(&[
        "cannot attach XDP to limpet0",
        "an XDP program of somebody else",
        "`ip link show`",
        "--uplink",
    ]);
    assert_eq!(place.xdp_program(UPLINK), stranger);
    assert_eq!(links_below(&pins), Vec::<String>::new(), "nothing is left half attached");
    fs::remove_dir_all(&pins).unwrap();
    assert_eq!(place.limpet(&["status"]).code, Some(0));
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    let mut place = Place::new("second");
    place.start_agent();
    let socket = place.path("other.sock");
    let parts = ["another agent runs on this node", "`limpet status`", "Stop it first"];
    place.agent(&["--uplink", UPLINK]).refuses(&parts);
    let same_pins = ["--uplink", UPLINK, "--socket", socket.to_str().unwrap()];
    place.agent(&same_pins).refuses(&parts);
    place.agent_of_another_layout(&same_pins).refuses(&parts);
    place.limpet(&["detach"]).refuses(&["an agent runs on node n1", "stop it first", "--force"]);
    assert_eq!(place.limpet(&["status"]).code, Some(0));
    place.kill_agent();
    // Neither lock outlives whoever held it.
    place.start_agent();
}

#[test]
fn limits_below_what_is_used_are_refused_and_others_are_not() {
    let mut place = Place::new("sizes");
    let node = |number: u8| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: n{number}}}, \
             status: {{addresses: [{{type: InternalIP, address: 192.0.2.{number}}}]}}}}\n"
        )
    };
    let nodes = [1, 2, 3].map(node).join("---\n");
    fs::write(place.path("manifests/node.yaml"), nodes).unwrap();
    place.start_agent();
    place.kill_agent();
    let (links, program) = (place.links(), place.xdp_program(UPLINK));
    let said = place.agent(&["--uplink", UPLINK, "--max-nodes", "1"]);
    said.refuses(&["of the running datapath holds more", "ask for more (--max-nodes)", "`limpet detach`"]);
    assert_eq!((place.links(), place.xdp_program(UPLINK)), (links.clone(), program));
    place.start_agent_with(&["--max-flows", "2048", "--max-nodes", "4"]);
    assert_eq!(place.links(), links);
}
