//! Clients that are held, as plain values: for what, where, and whether still.
//!
//! Pure; [`super::read`] fills these from the maps. What becomes of a client is decided by `lb_common::affinity`, as in the
//! programs.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
};

use lb_common::{
    BreakReason, Stage, affinity,
    family::{Address, Address4, Address6},
    layout::{Affinity, Backend, Frontend, SiblingKey, frontend_flags},
};
use serde::Serialize;

use super::state::{self, ServicePort, State};
use crate::{
    cli::{Scope, ServiceReference},
    model::Family,
};

/// A client in one of the maps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// Its address, as far as the Service says that it matters.
    pub address: IpAddr,
    /// A hash of what it is held for.
    pub held_for: [u32; 2],
    /// Whether there has been more than one packet.
    pub stage: Stage,
    /// Where it is held.
    pub affinity: Affinity,
}

/// What the programs know of Service ports and backends, as far as clients are concerned.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    ports: BTreeMap<(u32, Family), Frontend>,
    holders: HashMap<([u32; 2], Family), u32>,
    /// Backends by id.
    pub backends: BTreeMap<u32, Backend>,
    /// The backends of a Service port that are on the same Pods as another port's.
    pub siblings: HashMap<SiblingKey, u32>,
}

/// What clients are held for: a Service port, or a Service of which all ports share their clients.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct HeldFor {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name, empty for the only port of a Service; none when it is all ports.
    pub port: Option<String>,
    /// `TCP` or `UDP`; none when it is all ports.
    pub protocol: Option<String>,
}

/// How it is with a client that a map knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientState {
    /// Its next connection goes to the same Pod.
    Held,
    /// The same, after one packet.
    New,
    /// Its time is over.
    Expired,
    /// Its Pod takes no new connections.
    Broken,
    /// Somebody wants it to choose again.
    Forgotten,
    /// No Service that holds its clients has it.
    Unused,
}

impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::New => "new",
            Self::Expired => "expired",
            Self::Broken => "broken",
            Self::Forgotten => "forgotten",
            Self::Unused => "unused",
        })
    }
}

impl HeldFor {
    /// What clients of this Service port are held for.
    pub fn new(service: ServicePort, frontend: &Frontend) -> Self {
        let ServicePort { namespace, name, port, protocol } = service;
        let is_shared = frontend.flags & frontend_flags::SERVICE_KEY != 0;
        let of_port = |text| (!is_shared).then_some(text);
        Self { namespace, name, port: of_port(port), protocol: of_port(protocol) }
    }

    /// Whether it belongs to a Service that is meant.
    pub fn is_of(&self, scope: &Scope, service: Option<&ServiceReference>) -> bool {
        scope.covers(&self.namespace) && service.is_none_or(|wanted| wanted.name == self.name)
    }
}

impl fmt::Display for HeldFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, port, protocol } = self;
        match port.as_ref().zip(protocol.as_ref()) {
            Some((port, protocol)) => write!(f, "{namespace}/{name}:{port}/{protocol}"),
            None => write!(f, "{namespace}/{name}:*"),
        }
    }
}

impl Rules {
    /// From one frontend of each Service port and family: all of them say the same of clients.
    pub fn new(
        ports: BTreeMap<(u32, Family), Frontend>,
        backends: BTreeMap<u32, Backend>,
        siblings: HashMap<SiblingKey, u32>,
    ) -> Self {
        let mut holders = HashMap::new();
        for ((service, family), frontend) in ports.iter().filter(|(_, frontend)| affinity::is_on(frontend)) {
            holders.entry((frontend.affinity, *family)).or_insert(*service);
        }
        Self { ports, holders, backends, siblings }
    }

    /// What the programs know of a Service port that is reached by this family.
    pub fn port(&self, service: u32, family: Family) -> Option<&Frontend> {
        self.ports.get(&(service, family))
    }

    /// The Service ports that hold clients, by id and family.
    pub fn holding(&self) -> impl Iterator<Item = (u32, Family, &Frontend)> {
        let holding = self.ports.iter().filter(|(_, frontend)| affinity::is_on(frontend));
        holding.map(|((service, family), frontend)| (*service, *family, frontend))
    }

    /// The Service port that a client is held for, the first of several that share it; none where there is none.
    pub fn holder(&self, client: &Client) -> Option<(u32, &Frontend)> {
        let family = Family::of(client.address);
        let service = *self.holders.get(&(client.held_for, family))?;
        Some((service, self.port(service, family)?))
    }

    /// What a client is held for, by name.
    pub fn held_for(&self, state: &State, client: &Client) -> Option<HeldFor> {
        self.holder(client).map(|(service, frontend)| HeldFor::new(state.service(service), frontend))
    }

    /// Whether the client's next connection goes where it is held, or why not; none where no Service holds it.
    pub fn judge(&self, client: &Client, now_seconds: u32) -> Option<Result<(), BreakReason>> {
        let (_, frontend) = self.holder(client)?;
        let backend = self.backends.get(&client.affinity.backend).copied().unwrap_or_default();
        Some(affinity::judge(&client.affinity, backend, frontend, now_seconds).map(|_| ()))
    }

    /// How it is with a client.
    pub fn state(&self, client: &Client, now_seconds: u32) -> ClientState {
        match (self.judge(client, now_seconds), client.stage) {
            (None, _) => ClientState::Unused,
            (Some(Ok(())), Stage::Established) => ClientState::Held,
            (Some(Ok(())), Stage::New) => ClientState::New,
            (Some(Err(BreakReason::Forgotten)), _) => ClientState::Forgotten,
            (Some(Err(BreakReason::Expired)), _) => ClientState::Expired,
            (Some(Err(_)), _) => ClientState::Broken,
        }
    }
}

impl Client {
    /// The backend that it is held at, while its id is still that backend's.
    pub fn backend<'a>(&self, state: &'a State) -> Option<&'a state::Backend> {
        state.backends.get(&self.affinity.backend).filter(|backend| backend.generation == self.affinity.generation)
    }
}

/// How long a client is still held, in seconds; 0 when its time is over.
pub fn expires_in_seconds(affinity: &Affinity, frontend: &Frontend, now_seconds: u32) -> u32 {
    let unused = now_seconds.saturating_sub(affinity.last_used_seconds);
    match frontend.affinity_timeout_seconds.checked_sub(unused) {
        // Its last second is not over yet.
        Some(left) => left.max(1),
        None => 0,
    }
}

/// The address with all but its first `prefix` bits 0.
pub fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Address4::from(address).masked(prefix.into()).into()),
        IpAddr::V6(address) => IpAddr::V6(Address6::from(address).masked(prefix.into()).into()),
    }
}

/// A client as it is shown: an address, or a prefix where the Service takes one for a client.
pub fn shown(address: IpAddr, prefix: u8) -> String {
    let whole = if address.is_ipv4() { 32 } else { 128 };
    if prefix >= whole { address.to_string() } else { format!("{address}/{prefix}") }
}

#[cfg(test)]
pub(crate) mod sample {
    //! Clients for the hand-made state: `default/web` holds its clients for 600 s; IPv4 clients are its alone.

    use lb_common::layout::{backend_state, frontend_kind};

    use super::*;

    /// When it is, in all that is made here.
    pub(crate) const NOW: u32 = 1000;
    /// A hash of what clients of `default/web` are held for.
    pub(crate) const WEB: [u32; 2] = [7, 7];

    pub(crate) fn frontend() -> Frontend {
        Frontend {
            kind: frontend_kind::LOAD_BALANCER_IP,
            flags: frontend_flags::CLIENT_AFFINITY,
            client_prefix: 32,
            service: 1,
            service_hash: lb_common::hash::service("default", "web"),
            table_length: 8191,
            affinity_timeout_seconds: 600,
            affinity: WEB,
            ..Frontend::default()
        }
    }

    pub(crate) fn rules_with(frontend: Frontend) -> Rules {
        let backend = |state: u8| Backend { state, generation: 1, service: 1, port: 8080, ..Backend::default() };
        let states =
            [backend_state::ACTIVE, backend_state::ACTIVE, backend_state::DRAINING, backend_state::GONE].map(backend);
        let family = Family::V4;
        let backends = (1..).zip(states).collect();
        Rules::new([((1, family), frontend)].into(), backends, HashMap::new())
    }

    pub(crate) fn rules() -> Rules {
        rules_with(frontend())
    }

    pub(crate) fn client(address: &str, backend: u32, last_used_seconds: u32) -> Client {
        let affinity =
            Affinity { backend, generation: 1, since_seconds: 100, last_used_seconds, ..Affinity::default() };
        Client { address: address.parse().unwrap(), held_for: WEB, stage: Stage::Established, affinity }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::layout::affinity_flags;

    use super::{sample::*, *};

    #[test]
    fn states_are_those_that_the_programs_see() {
        let held = client("198.51.100.7", 1, 990);
        let with = |change: &dyn Fn(&mut Client)| {
            let mut client = held;
            change(&mut client);
            client
        };
        let cases = [
            ("held", held, ClientState::Held),
            ("in its last second", client("198.51.100.7", 1, 400), ClientState::Held),
            ("after it", client("198.51.100.7", 1, 399), ClientState::Expired),
            ("one packet", with(&|it| it.stage = Stage::New), ClientState::New),
            ("its Pod terminates", client("198.51.100.7", 3, 990), ClientState::Broken),
            ("its Pod is gone", client("198.51.100.7", 4, 990), ClientState::Broken),
            ("its Pod's id is another's", with(&|it| it.affinity.generation = 9), ClientState::Broken),
            ("forgotten", with(&|it| it.affinity.flags = affinity_flags::FORGOTTEN), ClientState::Forgotten),
            ("of no Service", with(&|it| it.held_for = [1, 2]), ClientState::Unused),
            ("of a family that it has not", client("2001:db8::7", 1, 990), ClientState::Unused),
        ];
        for (description, client, expected) in cases {
            assert_eq!(rules().state(&client, NOW), expected, "{description}");
        }
        let without = rules_with(Frontend { flags: 0, ..frontend() });
        assert_eq!(without.state(&held, NOW), ClientState::Unused, "no affinity any more");
    }

    #[test]
    fn nothing_left_is_expired_and_nothing_else() {
        for (last_used, expected) in [(1000, 600), (401, 1), (400, 1), (399, 0), (0, 0)] {
            let client = client("198.51.100.7", 1, last_used);
            assert_eq!(expires_in_seconds(&client.affinity, &frontend(), NOW), expected, "{last_used}");
        }
    }

    #[test]
    fn prefixes_are_shown_where_they_matter() {
        let cases = [
            ("198.51.100.7", 32, "198.51.100.7"),
            ("198.51.100.7", 24, "198.51.100.0/24"),
            ("2001:db8::7", 128, "2001:db8::7"),
            ("2001:db8::7:0:0:7", 64, "2001:db8::/64"),
        ];
        for (address, prefix, expected) in cases {
            assert_eq!(shown(masked(address.parse().unwrap(), prefix), prefix), expected);
        }
    }

    #[test]
    fn ports_that_share_their_clients_are_a_star() {
        let service = |port: &str| state::sample::service("default", "web", port, "TCP");
        assert_eq!(HeldFor::new(service("http"), &frontend()).to_string(), "default/web:http/TCP");
        let flags = frontend_flags::CLIENT_AFFINITY | frontend_flags::SERVICE_KEY;
        let shared = HeldFor::new(service("http"), &Frontend { flags, ..frontend() });
        assert_eq!(shared.to_string(), "default/web:*");
        assert_eq!(shared, HeldFor::new(service("https"), &Frontend { flags, ..frontend() }));
    }
}
