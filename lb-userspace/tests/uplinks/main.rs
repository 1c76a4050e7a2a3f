//! Agents on devices that go away, come back, change their names or belong to somebody else. Needs root and a BPF file
//! system.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

#[path = "../support/enter.rs"]
mod enter;
mod place;

use std::fs;

use lb_common::{Family, V4, wire};
use place::{Place, UPLINK};

/// The second device of some tests.
const SECOND: &str = "limpet2";

#[test]
fn an_uplink_that_is_made_anew_gets_the_programs_back() {
    let mut place = Place::new("anew");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    let before = place.index(UPLINK);
    assert_eq!(place.links(), links(&[(before, UPLINK)]));

    place.ip(&["link", "del", UPLINK]);
    place.until("the missing uplink to be told", |place| {
        let status = place.status();
        let problem = &status["problems"][0];
        problem["severity"] == "error"
            && problem["object"] == "Device limpet0"
            && problem["message"].as_str().is_some_and(|text| text.contains("no network device limpet0"))
            && status["agent"]["in_step"] == false
            && status["agent"]["uplinks"] == serde_json::json!([])
    });
    assert_eq!(place.links(), links(&[]));

    place.add_device(UPLINK);
    place.until_well();
    assert!(place.has_xdp(UPLINK));
    assert_ne!(place.index(UPLINK), before);
    assert_eq!(place.links(), links(&[(place.index(UPLINK), UPLINK)]));
}

#[test]
fn an_uplink_that_is_made_anew_under_its_number_gets_the_programs_back() {
    let mut place = Place::new("number");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    let index = place.index(UPLINK).to_string();
    // At once, so that nobody sees it missing.
    place.ip_batch(&format!(
        "link del {UPLINK}\nlink add {UPLINK} index {index} type veth peer name peer0\nlink set {UPLINK} up\n"
    ));
    place.until("the programs to be back", |place| place.has_xdp(UPLINK));
    place.until_well();
    assert_eq!(place.links(), links(&[(place.index(UPLINK), UPLINK)]));
}

#[test]
fn the_largest_segment_follows_the_uplinks_mtu() {
    let mut place = Place::new("mtu");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    for mtu in [1500, 1400, 4000, 1500_u16] {
        place.ip(&["link", "set", UPLINK, "mtu", &mtu.to_string()]);
        let headers = u16::try_from(V4::TUNNEL_OVERHEAD + V4::IP_HEADER + wire::TCP_HEADER).unwrap();
        place.until("the programs to know the MTU", |place| place.config().mss4 == mtu - headers);
    }
    // So does that of a device which is made anew.
    place.ip_batch(&format!(
        "link del {UPLINK}\nlink add {UPLINK} mtu 1300 type veth peer name peer0\nlink set {UPLINK} up\n"
    ));
    place.until("the programs to know the new device's MTU", |place| place.config().mss4 < 1300);
}

#[test]
fn another_device_that_takes_the_uplinks_name_gets_the_programs() {
    let mut place = Place::new("name");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    place.ip(&["link", "set", UPLINK, "down"]);
    place.ip(&["link", "set", UPLINK, "name", "lan0"]);
    place.add_device(UPLINK);
    place.until("the programs to be on the new device alone", |place| place.has_xdp(UPLINK) && !place.has_xdp("lan0"));
    place.until_well();
    assert_eq!(place.links(), links(&[(place.index(UPLINK), UPLINK)]));
}

#[test]
fn a_device_with_a_new_name_keeps_its_programs_when_the_agent_is_told() {
    let mut place = Place::new("renamed");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    place.kill_agent();
    place.ip(&["link", "set", UPLINK, "down"]);
    place.ip(&["link", "set", UPLINK, "name", "lan0"]);
    place.start_agent(&["lan0"]);
    assert_eq!(place.links(), links(&[(place.index("lan0"), "lan0")]));
}

#[test]
fn a_device_with_a_dot_in_its_name_can_be_an_uplink() {
    let mut place = Place::new("dot");
    place.add_device("limpet0.5");
    place.start_agent(&["limpet0.5"]);
    assert_eq!(place.status()["datapath"]["uplinks"][0]["device"], "limpet0.5");
    assert!(place.has_xdp("limpet0.5"));
}

#[test]
fn why_a_driver_refuses_xdp_is_told() {
    let mut place = Place::new("driver");
    place.ip_batch(&format!("link add {UPLINK} type bridge\nlink set {UPLINK} up\n"));
    place.start_agent(&[UPLINK]);
    assert_eq!(place.status()["agent"]["uplinks"][0]["mode"], "generic");
    let log = place.log();
    assert!(log.contains("because the driver refuses it") && log.contains("not supported"), "{log}");
}

#[test]
fn a_link_that_cannot_be_updated_is_left_alone() {
    let mut place = Place::new("update");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    place.kill_agent();
    // Neither link is what its name says, so neither can be used; the programs in them still do their work.
    let [tcx, xdp] = &place.links()[..] else { panic!("{:?}", place.links()) };
    let directory = place.pins().links();
    fs::rename(directory.join(tcx), directory.join("aside")).unwrap();
    fs::rename(directory.join(xdp), directory.join(tcx)).unwrap();
    fs::rename(directory.join("aside"), directory.join(xdp)).unwrap();
    let said = place.agent_that_ends(&[UPLINK]);
    assert!(said.contains("cannot keep tcx on limpet0"), "{said}");
    assert_eq!(place.links(), [tcx.clone(), xdp.clone()]);
    assert!(place.has_xdp(UPLINK));
}

#[test]
fn a_former_uplink_loses_its_programs_also_when_it_has_one_only() {
    let mut place = Place::new("former");
    place.add_device(UPLINK);
    place.add_device(SECOND);
    place.start_agent(&[UPLINK]);
    place.kill_agent();
    let xdp = place.links().into_iter().find(|name| name.starts_with("xdp-")).unwrap();
    fs::remove_file(place.pins().links().join(xdp)).unwrap();
    place.start_agent(&[SECOND]);
    assert_eq!(place.links(), links(&[(place.index(SECOND), SECOND)]));
}

#[test]
fn one_uplink_that_is_somebody_elses_does_not_end_the_agent() {
    let mut somebody = Place::new("somebody");
    somebody.add_device(SECOND);
    somebody.start_agent(&[SECOND]);
    let mut place = Place::beside("one-of-two", &somebody);
    place.add_device(UPLINK);
    place.spawn_agent(&[SECOND, UPLINK]);
    place.until("the other uplink to be told", |place| {
        let status = place.status();
        status["problems"][0]["object"] == "Device limpet2"
            && status["problems"][0]["message"].as_str().is_some_and(|text| text.contains("somebody else"))
            && status["agent"]["in_step"] == false
            && status["agent"]["ready"] == true
    });
    assert_eq!(place.links(), links(&[(place.index(UPLINK), UPLINK)]));

    somebody.kill_agent();
    assert_eq!(somebody.limpet(&["detach"]).0, Some(0));
    // Any change of devices is a reason to try again.
    place.ip(&["link", "set", SECOND, "mtu", "1450"]);
    place.until_well();
    let both = [(place.index(UPLINK), UPLINK), (place.index(SECOND), SECOND)];
    assert_eq!(place.links(), links(&both));
}

#[test]
fn detach_with_another_socket_does_not_pull_the_pins_from_under_an_agent() {
    let mut place = Place::new("detach");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    let other = place.path("other.sock");
    let detach = ["detach", "--socket", other.to_str().unwrap()];
    let (code, said) = place.limpet(&detach);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("an agent with another socket") && said.contains("--force"), "{said}");
    place.until_well();
    assert!(place.has_xdp(UPLINK));

    let (code, said) = place.limpet(&[&detach[..], &["--force"]].concat());
    assert_eq!(code, Some(0), "{said}");
    place.touch_source();
    place.until("the agent to see that its pins are gone", |place| {
        let status = place.status();
        status["agent"]["in_step"] == false
            && status["agent"]["uplinks"] == serde_json::json!([])
            && status["problems"][0]["message"].as_str().is_some_and(|text| {
                text.contains("removed under the running agent") && text.contains("restart the agent")
            })
    });
    assert!(!place.pins().root().exists(), "it does not pin again what nobody could find");
    place.kill_agent();
    place.start_agent(&[UPLINK]);
}

#[test]
fn programs_of_another_layout_are_refused_with_what_to_do() {
    let mut place = Place::new("layout");
    place.add_device(UPLINK);
    place.start_agent(&[UPLINK]);
    place.kill_agent();
    let other = place.pins().root().join("v0");
    fs::rename(place.pins().version_directory(), &other).unwrap();
    let said = place.agent_that_ends(&[UPLINK]);
    assert!(said.contains("layout v0") && said.contains("`limpet detach` first"), "{said}");
    assert!(place.has_xdp(UPLINK) && !place.pins().version_directory().exists());
    assert_eq!(place.limpet(&["detach"]).0, Some(0));
    place.start_agent(&[UPLINK]);
}

/// The names of the links on these devices, in order.
fn links(devices: &[(u32, &str)]) -> Vec<String> {
    let of = |(index, device): &(u32, &str)| {
        [format!("tcx-egress-{index}-{device}"), format!("xdp-native-{index}-{device}")]
    };
    let mut names: Vec<String> = devices.iter().flat_map(of).collect();
    names.sort();
    names
}
