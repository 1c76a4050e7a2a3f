//! Elements that the kernel hands to another key between look-up and copy: what is found then is taken for nobody's.

use lb_common::{
    Action, Family, Reason, Stage, V4,
    host::{FrameSpec, Memory},
    layout::{Affinity, Flow, Frontend, Keyed, Sibling, SiblingKey},
    packet::{FamilyTables, Tables},
    wire::{Protocol, tcp_flags},
};

use crate::world::{HERE, PORT, client, handle, request, vip, world};

const OTHERS: u32 = 2;

fn frontend_key(service: u32) -> <V4 as Family>::FrontendKey {
    let std::net::IpAddr::V4(vip) = vip(service, false) else { panic!("IPv4") };
    V4::frontend_key(vip.into(), PORT, Protocol::TCP)
}

fn verdict(memory: &Memory, flags: u8) -> (Action, Reason) {
    let spec = FrameSpec { flags, ..request(false, Protocol::TCP) };
    let (verdict, _) = handle(memory, &spec.build());
    (verdict.action, verdict.reason)
}

#[test]
fn another_frontends_value_is_looked_up_again() {
    let memory = world();
    let other = memory.v4.frontends[&frontend_key(OTHERS)];
    assert!(!other.fits(&frontend_key(HERE)));
    memory.v4.recycled.frontends.borrow_mut().push(other);
    // Without the check it would go to the other one's Pod, on another node.
    assert_eq!(verdict(&memory, tcp_flags::SYN), (Action::Pass, Reason::LocalNew));
    assert!(memory.v4.recycled.frontends.borrow().is_empty(), "it was handed out");
}

#[test]
fn twice_in_a_row_is_not_ours() {
    let memory = world();
    let other = memory.v4.frontends[&frontend_key(OTHERS)];
    memory.v4.recycled.frontends.borrow_mut().extend([other; 2]);
    assert_eq!(verdict(&memory, tcp_flags::SYN), (Action::Pass, Reason::NotAFrontend));
}

#[test]
fn two_versions_of_a_frontend_are_never_mixed_up() {
    let key = frontend_key(HERE);
    let before = Frontend { table_offset: 1, table_length: 251, service: 7, ..Frontend::default() }.of(&key);
    let after = Frontend { table_offset: 5_000, table_length: 8_191, ..before }.of(&key);
    let mixtures = [
        Frontend { table_offset: after.table_offset, ..before },
        Frontend { table_length: after.table_length, ..before },
        Frontend { check: after.check, ..before },
        Frontend { table_offset: after.table_offset, table_length: after.table_length, ..before },
    ];
    for mixture in mixtures {
        assert!(!mixture.fits(&key), "{mixture:?}");
    }
    assert!(before.fits(&key) && after.fits(&key));
}

#[test]
fn another_flows_backend_is_not_this_ones() {
    let memory = world();
    assert_eq!(verdict(&memory, tcp_flags::SYN).1, Reason::LocalNew);
    assert_eq!(verdict(&memory, tcp_flags::ACK).1, Reason::LocalFlow);
    let key = *memory.v4.flows[Stage::Established as usize].borrow().keys().next().unwrap();
    let elsewhere = V4::flow_key(key.source, key.destination, key.source_port + 1, PORT, Protocol::TCP);
    let other = Flow { backend: OTHERS, generation: 1, service: OTHERS, ..Flow::default() }.of(&elsewhere);
    memory.v4.recycled.flows.borrow_mut().push(other);
    assert_eq!(verdict(&memory, tcp_flags::ACK), (Action::Pass, Reason::LocalFlow), "looked up again");
    memory.v4.flows[Stage::New as usize].borrow_mut().clear();
    memory.v4.recycled.flows.borrow_mut().extend([other; 2]);
    assert_eq!(verdict(&memory, tcp_flags::ACK), (Action::Pass, Reason::LocalNew), "chosen again, the same way");
}

#[test]
fn another_connections_frontend_is_not_put_into_a_reply() {
    let memory = world();
    assert_eq!(verdict(&memory, tcp_flags::SYN).1, Reason::LocalNew);
    let (key, reply) = memory.v4.replies[0].borrow().iter().map(|(key, reply)| (*key, *reply)).next().unwrap();
    let elsewhere = V4::flow_key(key.source, key.destination, key.source_port + 1, PORT, Protocol::TCP);
    let other = V4::reply(vip4(OTHERS), PORT).of(&elsewhere);
    memory.v4.recycled.replies.borrow_mut().push(other);
    let found = FamilyTables::<V4>::reply(&memory, Stage::New, &key);
    assert_eq!(found, Some(reply), "looked up again");
    memory.v4.recycled.replies.borrow_mut().extend([other; 2]);
    assert_eq!(FamilyTables::<V4>::reply(&memory, Stage::New, &key), None);
}

fn vip4(service: u32) -> <V4 as Family>::Address {
    let std::net::IpAddr::V4(vip) = vip(service, false) else { panic!("IPv4") };
    vip.into()
}

#[test]
fn another_clients_backend_and_another_ports_sibling_are_not_taken() {
    let mut memory = world();
    let std::net::IpAddr::V4(address) = client(9, false) else { panic!("IPv4") };
    let key = V4::affinity_key(address.into(), [1, 2]);
    let held = Affinity { backend: HERE, generation: 1, ..Affinity::default() };
    memory.v4.add_affinity(Stage::Established, key, held);
    let other = held.of(&V4::affinity_key(address.into(), [1, 3]));
    memory.v4.recycled.affinity.borrow_mut().extend([other; 2]);
    assert_eq!(FamilyTables::<V4>::affinity(&memory, Stage::Established, &key), None);
    assert_eq!(FamilyTables::<V4>::affinity(&memory, Stage::Established, &key), Some(held.of(&key)));

    let key = SiblingKey { service: 1, backend: 2 };
    memory.siblings.insert(key, Sibling::new(&SiblingKey { service: 2, backend: 1 }, 5));
    assert_eq!(memory.sibling(&key), None);
    memory.add_sibling(key, 5);
    assert_eq!(memory.sibling(&key), Some(5));
}

/// Each bit of a key counts.
#[test]
fn keys_that_differ_have_different_checks() {
    use lb_common::layout::Key;
    fn check<K: Key>(zero: K) {
        let bytes = zero.as_bytes().to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let key = K::read_from_bytes(&other).unwrap();
            assert_ne!(key.check(), zero.check(), "bit {bit} of {}", std::any::type_name::<K>());
        }
    }
    check(V4::frontend_key(vip4(1), 80, Protocol::TCP));
    check(V4::flow_key(vip4(1), vip4(2), 1, 2, Protocol::TCP));
    check(V4::affinity_key(vip4(1), [1, 2]));
    check(SiblingKey { service: 1, backend: 2 });
    let std::net::IpAddr::V6(vip) = vip(1, true) else { panic!("IPv6") };
    check(lb_common::V6::frontend_key(vip.into(), 80, Protocol::TCP));
    check(lb_common::V6::flow_key(vip.into(), vip.into(), 1, 2, Protocol::TCP));
    check(lb_common::V6::affinity_key(vip.into(), [1, 2]));
}

#[test]
fn without_the_guard_the_first_packet_is_remembered_among_all_others() {
    let guarded = world();
    let unguarded = Memory { is_unguarded: true, ..world() };
    for (memory, stage) in [(&guarded, Stage::New), (&unguarded, Stage::Established)] {
        assert_eq!(verdict(memory, tcp_flags::SYN).1, Reason::LocalNew);
        let count = |stage: Stage| {
            let stage = stage as usize;
            (memory.v4.flows[stage].borrow().len(), memory.v4.replies[stage].borrow().len())
        };
        let other = if stage == Stage::New { Stage::Established } else { Stage::New };
        assert_eq!((count(stage), count(other)), ((1, 1), (0, 0)));
        assert_eq!(verdict(memory, tcp_flags::ACK).1, Reason::LocalFlow);
    }
}
