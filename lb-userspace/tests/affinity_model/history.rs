//! One history: steps, and what must hold after each.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    Action, BreakReason, Stage,
    layout::{Affinity, BreakEvent, Flow, Keyed, affinity_flags, backend_state},
};

use crate::{
    cluster::{Cluster, OPTIONAL_PORT, PORTS, Pod, PodState, Settings},
    contract::{Break, Client, ClientKey, Contract, FlowKey, Held, World, frontend},
    node::{Kind, Node, Packet},
    ops::{CLIENTS, Op},
};

/// The first client of a flood.
const FLOOD: u16 = 1_000;

/// A Pod as a client sees it: its name, and which of its lives.
type PodLife = (String, [u32; 4]);

/// The cluster, the node, the books, and a ledger of its own.
pub(crate) struct History {
    cluster: Cluster,
    node: Node,
    contract: Contract,
    /// The backend that each client was held at when it was last seen.
    had: BTreeMap<ClientKey, Held>,
    /// How often that was another one than before.
    moves: u64,
    /// Breaks that were told, by reason.
    told: BTreeMap<BreakReason, u64>,
}

impl History {
    pub(crate) fn new(is_v6: bool) -> Self {
        let mut history = Self {
            cluster: Cluster::new(is_v6),
            node: Node::new(),
            contract: Contract::default(),
            had: BTreeMap::new(),
            moves: 0,
            told: BTreeMap::new(),
        };
        history.reconcile(false);
        history
    }

    pub(crate) fn step(&mut self, op: &Op) {
        // Writes of the last change trickle in between packets.
        self.node.write(2);
        match *op {
            Op::Packet { kind, client, port, vip, source_port } => {
                let kind = match (PORTS[port].1, kind) {
                    ("UDP", _) => Kind::Datagram,
                    (_, 0) => Kind::Syn,
                    (_, 1) => Kind::Ack,
                    _ => Kind::Fin,
                };
                self.packet(&self.of(kind, client, port, vip, source_port));
            }
            Op::Connect { client, port, vip, source_port } => self.connect(client, port, vip, source_port),
            Op::Pass(seconds) => self.node.memory.now_seconds += seconds,
            Op::Add { pod, slowly } => {
                if !self.cluster.pods.contains_key(&pod) {
                    self.cluster.add(pod);
                    self.scale(slowly, None);
                }
            }
            Op::Remove { pod, slowly } => {
                if let Some(removed) = self.cluster.pods.remove(&pod) {
                    self.scale(slowly, Some(removed));
                }
            }
            Op::Replace { pod, slowly } => {
                if self.cluster.pods.contains_key(&pod) {
                    self.cluster.add(pod);
                    self.reconcile(slowly);
                }
            }
            Op::State { pod, state, slowly } => {
                let states = [PodState::Ready, PodState::NotReady, PodState::Terminating, PodState::Stopped];
                if let Some(pod) = self.cluster.pods.get_mut(&pod) {
                    pod.state = states[usize::from(state)];
                    self.reconcile(slowly);
                }
            }
            Op::Port { pod, slowly } => {
                if let Some(pod) = self.cluster.pods.get_mut(&pod) {
                    pod.has_optional_port = !pod.has_optional_port;
                    self.reconcile(slowly);
                }
            }
            Op::Set(which) => self.set(which),
            Op::Evict { map, nth } => self.evict(map, usize::from(nth)),
            Op::Flood { count, port } => self.flood(count, port),
            Op::Forget(client) => self.forget(client),
            Op::Lose => {
                self.node.lose_all();
                (self.contract, self.had) = (Contract::default(), BTreeMap::new());
            }
        }
        self.compare();
    }

    /// The sum of the told breaks is the number of times that a client was held elsewhere than before. Gives them by reason.
    pub(crate) fn finish(self) -> BTreeMap<BreakReason, u64> {
        assert_eq!(self.told.values().sum::<u64>(), self.moves, "the_ledger_is_exact: {:?}", self.told);
        self.told
    }

    fn of(&self, kind: Kind, client: u16, port: usize, vip: u8, source_port: u16) -> Packet {
        Packet {
            kind,
            source: (self.cluster.client(client), 5_000 + source_port),
            destination: (self.cluster.vip(vip + 1), PORTS[port].2),
        }
    }

    fn connect(&mut self, client: u16, port: usize, vip: u8, source_port: u16) {
        let kinds = if PORTS[port].1 == "UDP" { [Kind::Datagram; 2] } else { [Kind::Syn, Kind::Ack] };
        for kind in kinds {
            self.packet(&self.of(kind, client, port, vip, source_port));
        }
    }

    /// Sends a packet, and compares what became of it.
    fn packet(&mut self, packet: &Packet) {
        let node = &mut self.node;
        let flow = FlowKey::of(packet);
        let books = (self.contract.clients.clone(), self.contract.ghosts.clone());
        let [was_new, was_established] = [Stage::New, Stage::Established].map(|stage| {
            let held = self.contract.flows[stage as usize].get(&flow).copied();
            held.is_some_and(|held| packet.kind != Kind::Syn && is_alive(node, held))
        });
        let expected = self.contract.packet(node, packet);

        // established_flows_never_depend_on_the_tables: they do not even have to be there.
        let tables = if was_established { std::mem::take(&mut node.memory.slots) } else { Vec::new() };
        let (verdict, reached) = node.send(packet);
        if was_established {
            node.memory.slots = tables;
            assert_eq!(
                (&self.contract.clients, &self.contract.ghosts),
                (&books.0, &books.1),
                "packets_of_an_established_flow_never_write_affinity"
            );
        }

        match expected {
            // With the policy Local, others may have a Pod.
            None => match verdict.action {
                Action::Drop => assert_eq!(verdict.reason.name(), "no-local-backend", "{packet:?}"),
                action => assert_eq!((action, verdict.reason.name()), (Action::Transmit, "rejected"), "{packet:?}"),
            },
            Some(id) => {
                let backend = node.memory.backends[id as usize];
                let expected = (lb_userspace::dataplane::ip_of(backend.address), backend.port);
                assert_eq!(reached, expected, "{packet:?}: {} ({})", verdict.reason.name(), node.identity(id).unwrap());
            }
        }
        self.check_ledger();
        if let Some(id) = expected.filter(|_| !was_new && !was_established) {
            self.check_usable(packet, id);
        }
        self.note_where_it_is(packet);
    }

    /// a_terminating_pod_gets_no_new_flow_while_others_are_ready, and one that is not ready none at all.
    fn check_usable(&self, packet: &Packet, id: u32) {
        if !self.node.pending.is_empty() || !matches!(packet.kind, Kind::Syn | Kind::Datagram) {
            return;
        }
        let port = PORTS.iter().position(|port| port.2 == packet.destination.1).unwrap();
        let listed = |name: u8| !self.cluster.settings.local || Cluster::is_here(name);
        let pods = || {
            let pods = self.cluster.pods.iter().filter(|(name, _)| listed(**name));
            pods.filter(|(_, pod)| port != OPTIONAL_PORT || pod.has_optional_port)
        };
        let any_ready = pods().any(|(_, pod)| pod.state == PodState::Ready);
        let wanted = if any_ready { PodState::Ready } else { PodState::Terminating };
        let identity = self.node.identity(id).unwrap();
        let found = pods().find(|(name, _)| format!("default/web-{name}") == identity);
        assert_eq!(found.map(|(_, pod)| pod.state), Some(wanted), "{packet:?} went to {identity}");
    }

    /// Compares what was told, and counts it.
    fn check_ledger(&mut self) {
        let events = std::mem::take(&mut *self.node.memory.breaks.borrow_mut());
        let events: Vec<Break> = events.iter().map(break_of).collect();
        assert_eq!(events, self.contract.told, "what was told");
        for event in events {
            *self.told.entry(event.reason).or_default() += 1;
        }
    }

    /// The Pod that a backend is, if it still is that one.
    fn pod_life(&self, held: Held) -> Option<PodLife> {
        let record = self.node.memory.backends[held.id as usize];
        let name = self.node.identity(held.id)?;
        (record.generation == held.generation).then(|| (name.to_owned(), record.address))
    }

    /// A ledger that knows nothing of reasons and of maps that forget: where is this client held, and where was it before?
    fn note_where_it_is(&mut self, packet: &Packet) {
        let world = World { node: &self.node, frontend: frontend(&self.node, packet) };
        if !world.holds_clients() {
            return;
        }
        let key = world.key(packet.source.0);
        let Some(held) = self.node.client(Stage::Established, &key) else {
            return;
        };
        let held = Held { id: held.backend, generation: held.generation };
        if let Some(before) = self.had.insert(key, held)
            && before != held
        {
            // Two ports of one Pod are one place, while both are there.
            let is_one_pod = is_alive(&self.node, before) && self.pod_life(before) == self.pod_life(held);
            self.moves += u64::from(!is_one_pod);
        }
    }

    /// Everything that is remembered is what the books say.
    fn compare(&self) {
        for stage in [Stage::New, Stage::Established] {
            let flows = &self.contract.flows[stage as usize];
            assert_eq!(self.node.flow_count(stage), flows.len(), "{stage:?} flows");
            for (key, held) in flows {
                let flow = self.node.flow(stage, key).map(|Flow { backend, generation, .. }| (backend, generation));
                assert_eq!(flow, Some((held.id, held.generation)), "{stage:?} {key:?}");
            }
            let clients = &self.contract.clients[stage as usize];
            assert_eq!(self.node.client_count(stage), clients.len(), "{stage:?} clients");
            for (key, client) in clients {
                let affinity = self.node.client(stage, key).map(|affinity| affinity.with_check(0));
                assert_eq!(affinity, Some(affinity_of(client)), "{stage:?} {key:?}");
            }
        }
        assert_eq!(self.node.ghost_count(), self.contract.ghosts.len(), "ghosts");
        for (key, (held, last_used)) in &self.contract.ghosts {
            let ghost = self.node.ghost(key).map(|g| (g.backend, g.generation, g.last_used_seconds));
            assert_eq!(ghost, Some((held.id, held.generation, *last_used)), "ghost of {key:?}");
        }
    }

    /// Plans for the cluster as it is now, and writes all of it unless packets are to come between.
    fn reconcile(&mut self, slowly: bool) {
        self.node.plan(&self.cluster.desired());
        // Ports that share their clients find each other by their Pods, which a half-written plan cannot promise.
        if !slowly || self.cluster.settings.shared {
            self.node.write(usize::MAX);
        }
    }

    /// scaling_up_moves_nobody, scaling_down_moves_exactly_those_of_the_removed_pod: what everybody who is held would get.
    fn scale(&mut self, slowly: bool, removed: Option<Pod>) {
        self.node.write(usize::MAX);
        let before = self.would_get();
        self.reconcile(slowly);
        if !self.node.pending.is_empty() {
            return;
        }
        let after = self.would_get();
        let removed = removed.map(|pod| self.cluster.pod_address(pod.life));
        let ready = self.cluster.pods.values().filter(|pod| pod.state == PodState::Ready);
        let ready: Vec<_> = ready.map(|pod| self.cluster.pod_address(pod.life)).collect();
        for (probe, pod) in &before {
            if removed == Some(*pod) {
                assert_ne!(after.get(probe), Some(pod), "scaling_down_moves_those_of_the_removed_pod: {probe:?}");
            } else if ready.contains(pod) {
                // Those that terminate serve as long as nobody is ready.
                assert_eq!(after.get(probe), Some(pod), "scaling_moves_nobody_else: {probe:?}");
            }
        }
    }

    /// Where the next connection of each held client whose time is not over goes, tried on a copy of the node.
    fn would_get(&self) -> BTreeMap<Probe, IpAddr> {
        let mut all = BTreeMap::new();
        let node = self.node.clone();
        for client in 0..CLIENTS {
            for (port, (_, protocol, ..)) in PORTS.iter().enumerate() {
                let kind = if *protocol == "UDP" { Kind::Datagram } else { Kind::Syn };
                let packet = self.of(kind, client, port, 0, 99);
                let world = World { node: &self.node, frontend: frontend(&self.node, &packet) };
                let held = self.contract.clients[Stage::Established as usize].get(&world.key(packet.source.0));
                let Some(held) = held.filter(|_| world.holds_clients()) else {
                    continue;
                };
                let record = self.node.memory.backends[held.at.id as usize];
                let is_held = !held.is_forgotten
                    && self.node.memory.now_seconds - held.last_used <= world.frontend.affinity_timeout_seconds
                    && (record.generation, record.state) == (held.at.generation, backend_state::ACTIVE)
                    // At the port that it is held by; what others find there depends on the Pod's ports.
                    && record.service == world.frontend.service;
                if is_held {
                    let (_, (address, _)) = node.send(&packet);
                    all.insert((client, port), address);
                }
            }
        }
        all
    }

    fn set(&mut self, which: u8) {
        let Settings { affinity, timeout, shared, prefixed, stable, local } = &mut self.cluster.settings;
        match which {
            0 => *affinity = !*affinity,
            1 => *timeout = if *timeout == 100 { 50 } else { 100 },
            2 => *shared = !*shared,
            3 => *prefixed = !*prefixed,
            4 => *stable = !*stable,
            5 => *local = !*local,
            _ => *timeout = 1,
        }
        self.node.write(usize::MAX);
        self.reconcile(false);
    }

    fn evict(&mut self, map: u8, nth: usize) {
        let pick = |count: usize| if count == 0 { None } else { Some(nth % count) };
        let stage = if map.is_multiple_of(2) { Stage::New } else { Stage::Established };
        match map {
            0 | 1 => {
                let flows = &mut self.contract.flows[stage as usize];
                let Some(key) = pick(flows.len()).and_then(|nth| flows.keys().nth(nth).copied()) else {
                    return;
                };
                flows.remove(&key);
                self.node.evict_flow(stage, &key);
            }
            2 | 3 => {
                let clients = &mut self.contract.clients[stage as usize];
                let Some(key) = pick(clients.len()).and_then(|nth| clients.keys().nth(nth).cloned()) else {
                    return;
                };
                clients.remove(&key);
                self.node.evict_client(stage, &key);
            }
            _ => {
                let ghosts = &mut self.contract.ghosts;
                let Some(key) = pick(ghosts.len()).and_then(|nth| ghosts.keys().nth(nth).cloned()) else {
                    return;
                };
                ghosts.remove(&key);
                self.node.evict_ghost(&key);
            }
        }
        // Of whom neither the map nor a ghost knows, nobody can know that it had a Pod.
        let Contract { clients, ghosts, .. } = &self.contract;
        let held = &clients[Stage::Established as usize];
        self.had.retain(|key, _| held.contains_key(key) || ghosts.contains_key(key));
    }

    /// a_flood_of_lone_packets_leaves_nothing_where_clients_are_held, and the maps of one packet lose what they had.
    fn flood(&mut self, count: u16, port: usize) {
        let kind = if PORTS[port].1 == "UDP" { Kind::Datagram } else { Kind::Syn };
        let size = |node: &Node| {
            (node.flow_count(Stage::Established), node.client_count(Stage::Established), node.ghost_count())
        };
        let before = size(&self.node);
        for client in 0..count {
            // One of each prefix, so that no two are one client.
            self.packet(&self.of(kind, FLOOD + 2 * client, port, 0, 1));
        }
        assert_eq!(size(&self.node), before, "a_flood_leaves_nothing_where_clients_are_held");
        self.node.lose_new();
        self.contract.flows[Stage::New as usize].clear();
        self.contract.clients[Stage::New as usize].clear();
    }

    fn forget(&mut self, client: u16) {
        let address = self.cluster.client(client);
        for clients in &mut self.contract.clients {
            for (key, client) in clients.iter_mut().filter(|(key, _)| key.client == address) {
                client.is_forgotten = true;
                self.node.forget(key);
            }
        }
    }
}

/// What is tried: a client, and an index into the Service's ports.
type Probe = (u16, usize);

/// Whether a backend is that one still, and not gone.
fn is_alive(node: &Node, held: Held) -> bool {
    let record = node.memory.backends[held.id as usize];
    record.generation == held.generation && record.state != backend_state::GONE
}

fn affinity_of(client: &Client) -> Affinity {
    Affinity {
        check: 0,
        backend: client.at.id,
        generation: client.at.generation,
        since_seconds: client.since,
        last_used_seconds: client.last_used,
        expiries: client.expiries,
        flags: if client.is_forgotten { affinity_flags::FORGOTTEN } else { 0 },
    }
}

fn break_of(event: &BreakEvent) -> Break {
    Break {
        client: lb_userspace::dataplane::ip_of(event.client),
        service: event.service,
        reason: BreakReason::from_index(event.reason).unwrap(),
        from: Held { id: event.from, generation: event.from_generation },
        to: Held { id: event.to, generation: event.to_generation },
        at: event.at_seconds,
        since: event.since_seconds,
    }
}
