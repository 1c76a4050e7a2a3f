//! Reads the maps of clients; and changes them, for `limpet forget` alone.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
};

use aya::maps::MapError;
use lb_common::{
    Stage, V4, V6,
    family::{Address, Address4, Address6},
    hash,
    layout::{Affinity, AffinityKey4, AffinityKey6, Frontend, Keyed, affinity_flags, frontend_kind},
};

use super::{
    super::{
        held::{Client, Rules},
        state::State,
        why::trial::Ghosts,
    },
    Opened, Readable, in_map,
};
use crate::{
    dataplane::{Error, FamilyMaps, Pod, words},
    model::Family,
};

/// An update of what is there; what is not stays away (include/uapi/linux/bpf.h).
const BPF_EXIST: u64 = 2;

/// A family whose clients can be read back.
trait Clients: Readable {
    /// As the model calls it.
    const FAMILY: Family;
    /// The client, and a hash of what it is held for.
    fn client(key: &Self::AffinityKey) -> (IpAddr, [u32; 2]);
}

impl Clients for V4 {
    const FAMILY: Family = Family::V4;

    fn client(key: &AffinityKey4) -> (IpAddr, [u32; 2]) {
        (Self::ip(key.client), key.service)
    }
}

impl Clients for V6 {
    const FAMILY: Family = Family::V6;

    fn client(key: &AffinityKey6) -> (IpAddr, [u32; 2]) {
        (Self::ip(key.client), key.service)
    }
}

impl Opened {
    /// What the programs know of the Service ports and backends of `state`.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn rules(&self, state: &State) -> Result<Rules, Error> {
        let mut ports = BTreeMap::new();
        self.add_ports(&self.maps.v4, &mut ports)?;
        self.add_ports(&self.maps.v6, &mut ports)?;
        let mut backends = BTreeMap::new();
        for id in state.backends.keys() {
            let Pod(backend) = self.maps.backends.get(id, 0).map_err(in_map("BACKENDS"))?;
            backends.insert(*id, backend);
        }
        let siblings = self.elements("SIBLINGS", &self.maps.siblings)?;
        let siblings = siblings.into_iter().map(|(Pod(key), Pod(sibling))| (key, sibling.backend)).collect();
        Ok(Rules::new(ports, backends, siblings))
    }

    /// The first `limit` clients that `wanted` wants, those of more than one packet first, and whether there are more.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn clients(&self, limit: usize, wanted: impl Fn(&Client) -> bool) -> Result<(Vec<Client>, bool), Error> {
        let mut found = HashMap::new();
        let mut cut = false;
        let mut see = |client: Client| {
            let key = (client.address, client.held_for);
            // A client that is moved from the map of new ones may be seen twice.
            if !wanted(&client) || found.contains_key(&key) {
                return true;
            }
            cut = found.len() == limit;
            if !cut {
                found.insert(key, client);
            }
            !cut
        };
        let (v4, v6) = (&self.maps.v4, &self.maps.v6);
        let _all = self.each_client(v4, Stage::Established, &mut see)?
            && self.each_client(v6, Stage::Established, &mut see)?
            && self.each_client(v4, Stage::New, &mut see)?
            && self.each_client(v6, Stage::New, &mut see)?;
        Ok((found.into_values().collect(), cut))
    }

    /// Shows every client once, without a list of them.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn each_client_once(&self, mut see: impl FnMut(Client)) -> Result<(), Error> {
        self.each_of_family(&self.maps.v4, &mut see)?;
        self.each_of_family(&self.maps.v6, &mut see)
    }

    /// What is remembered of one client, whose address is masked.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn client(&self, address: IpAddr, held_for: [u32; 2]) -> Result<Option<Client>, Error> {
        for stage in [Stage::Established, Stage::New] {
            let affinity = match address {
                IpAddr::V4(_) => get(&self.maps.v4, stage, address, held_for)?,
                IpAddr::V6(_) => get(&self.maps.v6, stage, address, held_for)?,
            };
            if let Some(affinity) = affinity {
                return Ok(Some(Client { address, held_for, stage, affinity }));
            }
        }
        Ok(None)
    }

    /// The ghosts among which that of a client would be, whose address is masked.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn ghosts(&self, address: IpAddr, held_for: [u32; 2]) -> Result<Ghosts, Error> {
        let Pod(config) = self.maps.config.get(&0, 0).map_err(in_map("CONFIG"))?;
        if config.ghost_sets == 0 {
            return Ok(Ghosts::default());
        }
        let (set, _) = match address {
            IpAddr::V4(address) => hash::ghost(Address4::from(address), held_for, config.ghost_sets),
            IpAddr::V6(address) => hash::ghost(Address6::from(address), held_for, config.ghost_sets),
        };
        self.maps.ghosts.get(&set, 0).map(|Pod(ghosts)| ghosts).map_err(in_map("GHOSTS"))
    }

    /// The backends' ids in the lookup table of a frontend, slot by slot.
    ///
    /// # Errors
    /// When the table reaches past the end of the slots.
    pub fn table(&self, frontend: &Frontend) -> Result<Vec<u32>, Error> {
        self.maps.slots.read(frontend.table_offset, frontend.table_length).ok_or_else(|| Error::OutOfRange {
            name: "SLOTS",
            what: format!("a table of {} slots at {}", frontend.table_length, frontend.table_offset),
        })
    }

    /// Has a client choose by the table at its next connection. False, and nothing changed, where it is not held there any
    /// more.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn forget(&mut self, client: &Client) -> Result<bool, Error> {
        match client.address {
            IpAddr::V4(_) => forget(&mut self.maps.v4, client),
            IpAddr::V6(_) => forget(&mut self.maps.v6, client),
        }
    }

    fn add_ports<F: Clients>(
        &self,
        maps: &FamilyMaps<F>,
        ports: &mut BTreeMap<(u32, Family), Frontend>,
    ) -> Result<(), Error> {
        for (_, Pod(frontend)) in self.elements(&format!("FRONTENDS{}", F::DIGIT), &maps.frontends)? {
            if frontend.kind != frontend_kind::TUNNEL {
                ports.insert((frontend.service, F::FAMILY), frontend);
            }
        }
        Ok(())
    }

    fn each_client<F: Clients>(
        &self,
        maps: &FamilyMaps<F>,
        stage: Stage,
        go_on: &mut impl FnMut(Client) -> bool,
    ) -> Result<bool, Error> {
        let name = map_name::<F>(stage);
        let map = if stage == Stage::Established { &maps.affinity } else { &maps.new_affinity };
        for element in map.iter().take(self.bound(&name)) {
            let (Pod(key), Pod(affinity)) = element.map_err(in_map(&name))?;
            let (address, held_for) = F::client(&key);
            if !go_on(Client { address, held_for, stage, affinity }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn each_of_family<F: Clients>(&self, maps: &FamilyMaps<F>, see: &mut impl FnMut(Client)) -> Result<(), Error> {
        self.each_client(maps, Stage::Established, &mut |client| {
            see(client);
            true
        })?;
        self.each_client(maps, Stage::New, &mut |client| {
            // One that has moved on stays in the map of new ones until that is full.
            if maps.affinity.get(&key::<F>(client.address, client.held_for), 0).is_err() {
                see(client);
            }
            true
        })?;
        Ok(())
    }
}

fn map_name<F: Clients>(stage: Stage) -> String {
    match stage {
        Stage::Established => format!("AFFINITY{}", F::DIGIT),
        Stage::New => format!("NEW_AFFINITY{}", F::DIGIT),
    }
}

fn key<F: Clients>(address: IpAddr, held_for: [u32; 2]) -> Pod<F::AffinityKey> {
    Pod(F::affinity_key(F::Address::from_words(words(address)), held_for))
}

fn get<F: Clients>(
    maps: &FamilyMaps<F>,
    stage: Stage,
    address: IpAddr,
    held_for: [u32; 2],
) -> Result<Option<Affinity>, Error> {
    let map = if stage == Stage::Established { &maps.affinity } else { &maps.new_affinity };
    match map.get(&key::<F>(address, held_for), 0) {
        Ok(Pod(affinity)) => Ok(Some(affinity)),
        Err(error) if says_missing(&error) => Ok(None),
        Err(source) => Err(Error::map(&map_name::<F>(stage), source)),
    }
}

fn forget<F: Clients>(maps: &mut FamilyMaps<F>, client: &Client) -> Result<bool, Error> {
    let Client { address, held_for, stage, affinity } = *client;
    let is_same = |now: &Affinity| (now.backend, now.generation) == (affinity.backend, affinity.generation);
    if stage == Stage::New && get(maps, Stage::New, address, held_for)?.is_some_and(|now| is_same(&now)) {
        match maps.new_affinity.remove(&key::<F>(address, held_for)) {
            Ok(()) => return Ok(true),
            // Its second packet came: it is in the other map now.
            Err(error) if says_missing(&error) => {}
            Err(source) => return Err(Error::map(&map_name::<F>(Stage::New), source)),
        }
    }
    // As it is at this moment: connections go on beginning.
    let Some(now) = get(maps, Stage::Established, address, held_for)?.filter(is_same) else {
        return Ok(false);
    };
    let forgotten = Affinity { flags: now.flags | affinity_flags::FORGOTTEN, ..now };
    match maps.affinity.insert(
        key::<F>(address, held_for),
        Pod(forgotten.of(&key::<F>(address, held_for).0)),
        BPF_EXIST,
    ) {
        Ok(()) => Ok(true),
        Err(error) if says_missing(&error) => Ok(false),
        Err(source) => Err(Error::map(&map_name::<F>(Stage::Established), source)),
    }
}

fn says_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}
