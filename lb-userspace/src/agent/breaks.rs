//! Gives what the datapath tells of breaks the names that its ids stand for, as long as these are known, and keeps it for
//! the socket.
//!
//! The ring buffer is pinned: what happened while no agent ran is read by the next one. Its one reader is the loop that
//! also writes the maps, so that names never change while an event is looked at.

mod history;
mod names;

use lb_common::{breaks::BreakReason, layout::BreakEvent};

pub(super) use self::history::History;
use self::{history::Told, names::Names};
use super::events::Announcer;
use crate::plan::Applied;

/// Gives events the names that their ids stand for, and keeps them.
pub(super) struct Teller {
    names: Names,
    history: History,
    announcer: Option<Announcer>,
}

impl Teller {
    /// For what is programmed now. The announcer hears of every break as well.
    pub(super) fn new(applied: &Applied, history: History, announcer: Option<Announcer>) -> Self {
        Self { names: Names::of(applied), history, announcer }
    }

    /// Something else is programmed now.
    pub(super) fn reprogrammed(&mut self, applied: &Applied) {
        self.names = Names::of(applied);
    }

    /// Keeps these events; `applied` is what is programmed.
    pub(super) fn tell(&self, events: &[BreakEvent], applied: &Applied) {
        if !events.is_empty() {
            self.history.extend(events.iter().map(|event| self.named(event, applied)));
        }
        events.iter().for_each(|event| self.announce(event, applied));
    }

    fn announce(&self, event: &BreakEvent, applied: &Applied) {
        let service = applied.services.get(&event.service);
        if let (Some(announcer), Some(service)) = (&self.announcer, service)
            && let Some(reason) = BreakReason::from_index(event.reason)
        {
            announcer.broken(service, reason);
        }
    }

    fn named(&self, event: &BreakEvent, applied: &Applied) -> Told {
        let reason = BreakReason::from_index(event.reason);
        Told {
            at_seconds: event.at_seconds,
            held_seconds: event.at_seconds.saturating_sub(event.since_seconds),
            service: applied.services.get(&event.service).cloned(),
            client: self.names.client(event),
            reason: reason.map_or("unknown", BreakReason::name),
            from: names::backend(applied, event.from, event.from_generation),
            to: names::backend(applied, event.to, event.to_generation),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::Duration,
    };

    use aya::programs::{TestRun, TestRunOptions};
    use lb_common::{
        Family, V4,
        family::{Address, Address4},
        host::FrameSpec,
        layout::{Affinity, AffinityKey4, Backend, Frontend, Keyed, backend_state, frontend_flags, frontend_kind},
        wire::Protocol,
    };
    use tokio::time::timeout;

    use super::*;
    use crate::{
        clock,
        dataplane::{BreakEvents, Loaded, Pod, Sizes, Switches, load},
        plan::{AppliedBackend, BackendRecord, RecordState},
    };

    const SERVICE: u32 = 1;
    const HELD_FOR: [u32; 2] = [7, 9];
    const FRONTEND: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), 80);
    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A Service port with one backend that drains and one that is used.
    fn loaded() -> Loaded {
        let sizes = Sizes {
            flows: 64,
            clients: 64,
            slots: 1024,
            backends: 8,
            services: 8,
            frontends: 8,
            source_ranges: 8,
            nodes: 8,
        };
        let mut loaded = load(&sizes, None, Switches::default()).expect("this test makes BPF maps: run it as root");
        let maps = &mut loaded.maps;
        for (id, state) in [(1, backend_state::DRAINING), (2, backend_state::ACTIVE)] {
            let address = Address4::from(Ipv4Addr::new(10, 1, 0, id as u8)).to_words();
            let backend = Backend { address, port: 8080, protocol: 6, state, node: 0, generation: 3, service: SERVICE };
            maps.backends.set(id, Pod(backend), 0).unwrap();
        }
        maps.slots.write(0, &[2; 5]).unwrap();
        let frontend = Frontend {
            kind: frontend_kind::LOAD_BALANCER_IP,
            flags: frontend_flags::CLIENT_AFFINITY,
            client_prefix: 32,
            service: SERVICE,
            table_length: 5,
            affinity_timeout_seconds: 600,
            affinity: HELD_FOR,
            ..Frontend::default()
        };
        let key = V4::frontend_key(Ipv4Addr::new(203, 0, 113, 10).into(), FRONTEND.1, Protocol::TCP);
        maps.v4.frontends.insert(Pod(key), Pod(frontend.of(&key)), 0).unwrap();
        loaded
    }

    /// A client that is held by the draining backend begins a connection.
    fn break_away(loaded: &mut Loaded, client: Ipv4Addr) {
        let now_seconds = clock::monotonic().unwrap().as_secs() as u32;
        let affinity = Affinity {
            backend: 1,
            generation: 3,
            since_seconds: now_seconds.saturating_sub(30),
            last_used_seconds: now_seconds,
            ..Affinity::default()
        };
        let key = AffinityKey4 { client: client.into(), service: HELD_FOR };
        loaded.maps.v4.affinity.insert(Pod(key), Pod(affinity.of(&key)), 0).unwrap();
        let frame = FrameSpec::syn((client.into(), 4000), FRONTEND).build();
        let mut out = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), repeat: 1, ..TestRunOptions::default() };
        loaded.ingress().unwrap().test_run(options).unwrap();
    }

    fn applied() -> Applied {
        let backend = |id: u8, state: RecordState| {
            let record = BackendRecord {
                service: SERVICE,
                address: (Ipv4Addr::new(10, 1, 0, id), 8080).into(),
                protocol: crate::model::Protocol::Tcp,
                node: 0,
                state,
                generation: 3,
            };
            (u32::from(id), AppliedBackend { record, retired_at: None })
        };
        Applied {
            backends: [backend(1, RecordState::Draining), backend(2, RecordState::Active)].into(),
            backend_names: [(1, "default/web-1".to_owned()), (2, "default/web-2".to_owned())].into(),
            ..Applied::default()
        }
    }

    #[tokio::test]
    async fn breaks_are_read_also_those_of_before_and_have_names() {
        let mut loaded = loaded();
        let clients = [1, 2, 3].map(|last| Ipv4Addr::new(198, 51, 100, last));
        break_away(&mut loaded, clients[0]);
        break_away(&mut loaded, clients[1]);
        let mut breaks = BreakEvents::take(&mut loaded).unwrap();
        assert!(BreakEvents::take(&mut loaded).is_err(), "a ring buffer has one reader");
        let mut events = breaks.waiting();
        assert_eq!(events.len(), 2);
        // That they were fetched already is no reason to hang.
        while let Ok(more) = timeout(Duration::from_millis(1), breaks.next()).await {
            assert_eq!(more, []);
        }
        break_away(&mut loaded, clients[2]);
        while events.len() < clients.len() {
            events.extend(timeout(PATIENCE, breaks.next()).await.unwrap());
        }

        let now = clock::monotonic().unwrap();
        let history = History::starting("n1", now);
        Teller::new(&applied(), history.clone(), None).tell(&events, &applied());
        let told: Vec<_> = history.answer(0, None, now).events.into_iter().map(|event| event.told).collect();
        assert_eq!(told.len(), clients.len());
        for (told, client) in told.iter().zip(clients) {
            assert_eq!(told.client, client.to_string());
            assert_eq!((told.reason.as_str(), told.service.as_ref()), ("draining", None));
            let (from, to) = (told.from.as_deref(), told.to.as_deref());
            assert_eq!((from, to), (Some("default/web-1"), Some("default/web-2")));
            // The programs' clock is a tick behind, and that may be another second.
            assert!((29..40).contains(&told.held_seconds), "{told:?}");
        }
    }
}
