//! Taking over maps of another layout or size: what they meant is what ours mean.

use std::{collections::BTreeMap, fs, path::Path};

use aya::maps::PerCpuValues;
use lb_common::{
    Family, V4, V6,
    family::{Address4, Address6},
    hash,
    layout::{Affinity, AffinityKey4, AffinityKey6, BreakCounts, Flow, Keyed, ServiceCounts},
    wire,
};
use lb_userspace::{
    dataplane::{
        self, Error, Loaded, Maps, Pins, Pod, Sizes, Switches,
        raw::{RawMap, Shape, cpu_step, kind},
        schema::{MapSchema, Record, Schema, State},
    },
    plan::{Applied, Limits, plan},
};

use crate::{
    Pinned, SIZES, program, timeless,
    world::{World, desired},
};

/// Everything that a node may remember, and that no plan writes.
#[derive(Debug, PartialEq)]
struct Remembered {
    flows: Vec<(Flow, Flow)>,
    replies: Vec<(u16, u16)>,
    clients: Vec<(Affinity, Affinity)>,
    breaks: Vec<BreakCounts>,
    packets: u64,
    counts: ServiceCounts,
}

const FLOWS: u16 = 40;
const SERVICE: [u32; 2] = [7, 9];
const REASON: u32 = 3;

fn pinned(name: &str) -> Pinned {
    Pinned(Pins::new(format!("/sys/fs/bpf/limpet-test-{}-{name}", std::process::id())))
}

fn take_over(pins: &Pins, sizes: &Sizes) -> Result<Loaded, Error> {
    pins.create_root()?;
    dataplane::take_over(pins, sizes, Switches::default())
}

fn keys_of<F: Family>(number: u16, address: F::Address) -> F::FlowKey {
    F::flow_key(address, address, number, 80, wire::Protocol::TCP)
}

fn v6(number: u16) -> Address6 {
    Address6([1, 2, 3, u32::from(number)])
}

fn client4(number: u16) -> AffinityKey4 {
    AffinityKey4 { client: Address4(u32::from(number)), service: SERVICE }
}

fn client6(number: u16) -> AffinityKey6 {
    AffinityKey6 { client: v6(number), service: SERVICE }
}

/// Flows, replies, clients and counts, as programs would have left them.
fn remember(maps: &mut Maps) {
    for number in 1..=FLOWS {
        let id = u32::from(number);
        let flow = Flow { backend: id, generation: 1, since_seconds: 100 + id, service: 2, ..Flow::default() };
        let (key4, key6) = (keys_of::<V4>(number, Address4(id)), keys_of::<V6>(number, v6(number)));
        maps.v4.flows.insert(Pod(key4), Pod(flow.of(&key4)), 0).unwrap();
        maps.v6.new_flows.insert(Pod(key6), Pod(flow.of(&key6)), 0).unwrap();
        let (reply4, reply6) = (V4::reply(Address4(9), number), V6::reply(v6(9), number));
        maps.v4.replies.insert(Pod(key4), Pod(reply4.of(&key4)), 0).unwrap();
        maps.v6.replies.insert(Pod(key6), Pod(reply6.of(&key6)), 0).unwrap();
        let affinity = Affinity {
            backend: id,
            generation: 4,
            since_seconds: 5,
            last_used_seconds: 60 + id,
            expiries: 7,
            ..Affinity::default()
        };
        maps.v4.affinity.insert(Pod(client4(number)), Pod(affinity.of(&client4(number))), 0).unwrap();
        maps.v6.affinity.insert(Pod(client6(number)), Pod(affinity.of(&client6(number))), 0).unwrap();
    }
    let cpus = aya::util::nr_cpus().unwrap();
    let each = |count: u64| (0..cpus as u64).map(move |cpu| count + cpu);
    let breaks: Vec<_> = each(100).map(|count| Pod([count, 1, 2, 3, 4, 5, 6, 0])).collect();
    maps.breaks.set(2, PerCpuValues::try_from(breaks).unwrap(), 0).unwrap();
    maps.counters.set(REASON, PerCpuValues::try_from(each(1000).collect::<Vec<_>>()).unwrap(), 0).unwrap();
    let counts: Vec<_> = each(10).map(|packets| Pod(ServiceCounts { packets, bytes: 20, new_flows: 30 })).collect();
    maps.service_counts.set(2, PerCpuValues::try_from(counts).unwrap(), 0).unwrap();
}

/// The same, read back; asserts that every value says whose it is.
fn remembered(maps: &Maps) -> Remembered {
    let (mut flows, mut replies, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=FLOWS {
        let (key4, key6) = (keys_of::<V4>(number, Address4(number.into())), keys_of::<V6>(number, v6(number)));
        let flow = (maps.v4.flows.get(&Pod(key4), 0).unwrap().0, maps.v6.new_flows.get(&Pod(key6), 0).unwrap().0);
        assert!(flow.0.fits(&key4) && flow.1.fits(&key6));
        flows.push(flow);
        let reply = (maps.v4.replies.get(&Pod(key4), 0).unwrap().0, maps.v6.replies.get(&Pod(key6), 0).unwrap().0);
        assert!(reply.0.fits(&key4) && reply.1.fits(&key6));
        assert_eq!((reply.0.address, reply.1.address), (Address4(9), v6(9)));
        replies.push((reply.0.port, reply.1.port));
        let client = (
            maps.v4.affinity.get(&Pod(client4(number)), 0).unwrap().0,
            maps.v6.affinity.get(&Pod(client6(number)), 0).unwrap().0,
        );
        assert!(client.0.fits(&client4(number)) && client.1.fits(&client6(number)));
        clients.push(client);
    }
    let breaks = maps.breaks.get(&2, 0).unwrap().iter().map(|counts| counts.0).collect();
    let packets = maps.counters.get(&REASON, 0).unwrap().iter().sum();
    Remembered { flows, replies, clients, breaks, packets, counts: maps.service_counts(2).unwrap() }
}

/// That each client has its ghost, where the programs look for it.
fn check_ghosts(maps: &Maps) {
    let sets = maps.config.get(&0, 0).unwrap().0.ghost_sets;
    assert_eq!(sets, maps.ghosts.len());
    let has = |(set, fingerprint): (u32, u32), backend: u32| {
        let ghosts = maps.ghosts.get(&set, 0).unwrap().0;
        ghosts.iter().any(|ghost| (ghost.fingerprint, ghost.backend, ghost.generation) == (fingerprint, backend, 4))
    };
    let found = (1..=FLOWS).filter(|number| {
        let at = hash::ghost(Address4(u32::from(*number)), SERVICE, sets);
        has(at, (*number).into())
    });
    // A set has four places.
    assert!(found.count() >= usize::from(FLOWS) - 2);
}

/// What `fields` of a record are, in the bytes of one of another layout: written for this test, and the slow way.
fn turned(bytes: &[u8], from: &Record, to: &Record) -> Vec<u8> {
    let by_name: BTreeMap<&str, &[u8]> = from
        .fields
        .iter()
        .map(|field| (field.name.as_str(), &bytes[field.offset as usize..(field.offset + field.width) as usize]))
        .collect();
    let mut made = vec![0; to.bytes as usize];
    for field in &to.fields {
        // What is no field of ours was always 0.
        let Some(value) = by_name.get(field.name.as_str()) else { continue };
        made[field.offset as usize..field.offset as usize + value.len()].copy_from_slice(value);
    }
    made
}

/// Makes maps of another layout that mean the same.
fn write_as(schema: &Schema, from: &Path, ours: &[MapSchema], to: &Path) {
    fs::create_dir_all(to).unwrap();
    for old in &schema.maps {
        let new = ours.iter().find(|map| map.name == old.name).unwrap();
        let value_bytes = if old.kind == kind::RING_BUFFER { 0 } else { old.value.bytes };
        let shape =
            Shape { kind: old.kind, flags: old.flags, key_bytes: old.key.bytes, value_bytes, entries: new.entries };
        let made = RawMap::create(to, &old.name, shape).unwrap();
        if old.kind == kind::RING_BUFFER {
            continue;
        }
        let source = RawMap::open(from, &old.name).unwrap();
        let step = if old.kind == kind::PER_CPU_ARRAY { cpu_step(&source.shape()) } else { new.value.bytes as usize };
        let values = |bytes: &[u8]| {
            let one = |value: &[u8]| {
                let mut made = turned(&value[..new.value.bytes as usize], &new.value, &old.value);
                if old.kind == kind::PER_CPU_ARRAY {
                    made.resize(made.len().next_multiple_of(8), 0);
                }
                made
            };
            bytes.chunks_exact(step).flat_map(one).collect::<Vec<u8>>()
        };
        source
            .for_each(|key, value| {
                made.put(&turned(key, &new.key, &old.key), &values(value), false).unwrap();
                Ok(())
            })
            .unwrap();
    }
}

/// A directory that seems to have a link. It is no one that anybody would know.
fn add_link(directory: &Path) {
    fs::create_dir_all(directory.join("links")).unwrap();
    let shape = Shape { kind: kind::ARRAY, flags: 0, key_bytes: 4, value_bytes: 4, entries: 1 };
    RawMap::create(&directory.join("links"), "kept", shape).unwrap();
}

/// A datapath in the pins, with everything remembered.
fn fill(loaded: &mut Loaded) -> (Applied, Remembered) {
    let mut applied = Applied::default();
    program(&mut loaded.maps, &mut applied, &desired(&World::example()), 0);
    remember(&mut loaded.maps);
    (applied, remembered(&loaded.maps))
}

fn check(maps: &Maps, applied: &Applied, before: &Remembered) {
    assert_eq!(&remembered(maps), before);
    let read = dataplane::read(maps, 0).unwrap();
    assert_eq!(timeless(&read), timeless(applied));
    assert_eq!(plan(&read, &desired(&World::example()), 0, &Limits::from(&SIZES)).writes, [], "nothing is left to do");
}

#[test]
fn layout_3_means_the_same() {
    let pinned = pinned("v3");
    let pins = &pinned.0;
    let mut loaded = take_over(pins, &SIZES).unwrap();
    let (applied, before) = fill(&mut loaded);
    let old = pins.root().join("v3");
    let ours = dataplane::schema::ours(&SIZES);
    write_as(&Schema::layout_3().unwrap(), &pins.maps(), &ours, &old.join("maps"));
    drop(loaded);
    fs::remove_dir_all(pins.version_directory()).unwrap();
    add_link(&old);

    let loaded = take_over(pins, &SIZES).unwrap();
    check(&loaded.maps, &applied, &before);
    assert!(!old.exists(), "nobody needs it any more");
    let taken_over = pins.schema().unwrap().unwrap().taken_over.unwrap();
    assert_eq!(taken_over.from_layout, 3);
    drop(loaded);
    let again = take_over(pins, &SIZES).unwrap();
    check(&again.maps, &applied, &before);
    assert_eq!(pins.schema().unwrap().unwrap().taken_over, Some(taken_over), "nothing was taken over this time");
}

#[test]
fn other_limits_keep_everything_there_and_back() {
    let pinned = pinned("limits");
    let pins = &pinned.0;
    let mut loaded = take_over(pins, &SIZES).unwrap();
    let (applied, before) = fill(&mut loaded);
    let unchanged = RawMap::open(&pins.maps(), "BACKENDS").unwrap().id();
    drop(loaded);

    let larger = Sizes { flows: 512, clients: 1000, services: 100, ..SIZES };
    for sizes in [larger, SIZES, Sizes { slots: 2 * SIZES.slots, backends: 300, frontends: 99, nodes: 9, ..SIZES }] {
        let loaded = take_over(pins, &sizes).unwrap();
        check(&loaded.maps, &applied, &before);
        if sizes.clients != SIZES.clients || unchanged == RawMap::open(&pins.maps(), "BACKENDS").unwrap().id() {
            check_ghosts(&loaded.maps);
        }
        let schema = pins.schema().unwrap().unwrap();
        assert_eq!(schema.maps, dataplane::schema::ours(&sizes));
        let names: Vec<_> = fs::read_dir(pins.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 1, "nothing else is left: {names:?}");
        if sizes == larger {
            let id = RawMap::open(&pins.maps(), "BACKENDS").unwrap().id();
            assert_eq!(id, unchanged, "the very same map");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_stays() {
    let pinned = pinned("fits");
    let pins = &pinned.0;
    let mut loaded = take_over(pins, &SIZES).unwrap();
    let (applied, before) = fill(&mut loaded);
    drop(loaded);
    let cases = [
        (Sizes { nodes: 2, ..SIZES }, "--max-nodes"),
        (Sizes { slots: 1024, ..SIZES }, "--max-slots"),
        (Sizes { backends: 3, ..SIZES }, "--max-backends"),
        (Sizes { services: 1, ..SIZES }, "--max-services"),
    ];
    for (sizes, flag) in cases {
        let Err(error) = take_over(pins, &sizes) else { panic!("{flag}: taken over") };
        let said = error.to_string();
        assert!(said.contains(flag) && said.contains("`limpet detach`"), "{said}");
        check(&dataplane::load(&SIZES, Some(pins), Switches::default()).unwrap().maps, &applied, &before);
        assert!(!pins.root().join("v4-making").exists());
    }
    check(&take_over(pins, &SIZES).unwrap().maps, &applied, &before);
}

#[test]
fn what_nobody_uses_is_cleared_away_and_what_nobody_knows_stays() {
    let pinned = pinned("leftovers");
    let pins = &pinned.0;
    let mut loaded = take_over(pins, &SIZES).unwrap();
    let (applied, before) = fill(&mut loaded);
    let ours = dataplane::schema::ours(&SIZES);
    let (unused, half, unknown) = (pins.root().join("v3"), pins.root().join("v4-making"), pins.root().join("v9"));
    write_as(&Schema::layout_3().unwrap(), &pins.maps(), &ours, &unused.join("maps"));
    for directory in [&half, &unknown] {
        fs::create_dir_all(directory.join("maps")).unwrap();
        RawMap::open(&pins.maps(), "CONFIG").unwrap().pin(&directory.join("maps")).unwrap();
    }
    drop(loaded);
    check(&take_over(pins, &SIZES).unwrap().maps, &applied, &before);
    assert!(!unused.exists() && !half.exists() && unknown.join("maps/CONFIG").exists());

    add_link(&unknown);
    let said = take_over(pins, &SIZES).map(drop).unwrap_err().to_string();
    assert!(said.contains("layout v9") && said.contains("`limpet detach` first"), "{said}");
}

/// An LRU map forgets what came into it first, so those who were there last come last.
#[test]
fn where_there_is_less_room_those_who_were_away_for_longest_are_forgotten() {
    const CLIENTS: u16 = 4_000;
    const KEPT: u16 = 500;
    let pinned = pinned("room");
    let pins = &pinned.0;
    let mut loaded = take_over(pins, &Sizes { clients: CLIENTS.into(), ..SIZES }).unwrap();
    let mut order: Vec<u16> = (1..=CLIENTS).collect();
    // Any order but that of their last use.
    order.sort_by_key(|number| u32::from(*number) * 7_919 % 10_007);
    for number in order {
        let affinity = Affinity { backend: 1, generation: 1, last_used_seconds: number.into(), ..Affinity::default() };
        let key = client4(number);
        loaded.maps.v4.affinity.insert(Pod(key), Pod(affinity.of(&key)), 0).unwrap();
    }
    drop(loaded);
    let loaded = take_over(pins, &Sizes { clients: KEPT.into(), ..SIZES }).unwrap();
    let held: Vec<u32> = loaded.maps.v4.affinity.iter().map(|held| held.unwrap().1.0.last_used_seconds).collect();
    assert!(held.len() >= usize::from(KEPT), "{} are held", held.len());
    let newest = u32::from(CLIENTS - KEPT);
    let kept = held.iter().filter(|last_used| **last_used > newest).count();
    assert!(kept * 100 >= usize::from(KEPT) * 95, "of the newest {KEPT}, {kept} are held");
}

/// An agent made maps and died before packets came in by its programs: what the old ones recorded since counts.
#[test]
fn a_copy_that_nobody_worked_with_is_not_believed() {
    let pinned = pinned("copy");
    let pins = &pinned.0;
    let mut loaded = take_over(pins, &SIZES).unwrap();
    let (applied, before) = fill(&mut loaded);
    drop(loaded);
    let (copy, origin) = (pins.version_directory(), pins.root().join("v4-before-1"));
    fs::rename(&copy, &origin).unwrap();
    let schema = Schema::read(&origin.join("maps"), 4).unwrap();
    let State::Whole(schema) = schema else { panic!("{schema:?}") };
    write_as(&schema, &origin.join("maps"), &schema.maps, &copy.join("maps"));
    for name in ["FLOWS4", "REPLIES4", "AFFINITY4"] {
        let map = RawMap::open(&copy.join("maps"), name).unwrap();
        let mut old = Vec::new();
        map.for_each(|key, value| {
            // Another connection's, and another client's: what is in it is wrong now.
            old.push((key.to_vec(), value.iter().map(|byte| !byte).collect::<Vec<u8>>()));
            Ok(())
        })
        .unwrap();
        assert!(!old.is_empty());
        for (mut key, value) in old {
            map.put(&key, &value, false).unwrap();
            key[0] ^= 0x80;
            map.put(&key, &value, true).unwrap();
        }
    }
    let one = Shape { kind: kind::ARRAY, flags: 0, key_bytes: 4, value_bytes: 4, entries: 1 };
    RawMap::create(&copy.join("maps"), "COPY", one).unwrap();
    Schema { turn: schema.turn + 1, ..schema }.pin(&copy.join("maps")).unwrap();
    add_link(&copy);
    add_link(&origin);

    let loaded = take_over(pins, &SIZES).unwrap();
    check(&loaded.maps, &applied, &before);
    assert_eq!(loaded.maps.v4.replies.keys().count(), usize::from(FLOWS), "nothing of the copy is there");
    let names: Vec<_> = fs::read_dir(pins.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["v4"]);
    assert!(!pins.maps().join("COPY").exists(), "programs work with them from now on");
}
