//! Says when the kernel's devices, addresses, routes or neighbours have changed, without saying what.

use std::{collections::HashMap, future, time::Duration};

use futures::{FutureExt, StreamExt, channel::mpsc::UnboundedReceiver};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::SocketAddr,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    Error,
    neighbour::{self, Keeper, Neighbour, NeighbourKey, Whereabouts},
};

/// What is listened to.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// How long changes are gathered after one that was reported.
const GATHER: Duration = Duration::from_millis(50);
/// Pause between attempts to get a socket again.
const RETRY: Duration = Duration::from_secs(1);
/// Neighbours that are remembered; with more, all are forgotten, and the next word of each counts as a change.
const MAX_NEIGHBOURS: usize = 65_536;

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Reports changes: the first one at once, at most one every 50 ms, and never none after a change, also when messages were
/// lost.
///
/// At once, because a device that has come is without programs until somebody looks: replies leave it as the Pods sent
/// them, and whoever gets such a packet of a connection resets it.
#[derive(Clone, Debug)]
pub struct Changes {
    reports: watch::Receiver<()>,
}

impl Changes {
    /// Waits for the next change since this was made or last reported one. It never ends otherwise; when the
    /// [`Netlink`](super::Netlink) is gone, there is no next change.
    pub async fn next(&mut self) {
        if self.reports.changed().await.is_err() {
            future::pending::<()>().await;
        }
    }
}

/// Starts to listen, in a task of its own. Fails when the kernel gives no socket.
pub(super) fn watch(tasks: &mut JoinSet<()>) -> Result<Changes, Error> {
    let subscription = Subscription::open()?;
    let (sender, reports) = watch::channel(());
    tasks.spawn(report(subscription, sender));
    Ok(Changes { reports })
}

async fn report(mut subscription: Subscription, reports: watch::Sender<()>) {
    let mut seen = Seen::default();
    loop {
        match subscription.messages.next().await {
            Some((message, _)) if !seen.is_news(&message.payload) => continue,
            Some(_) => {}
            None => subscription = Subscription::reopen(&mut seen).await,
        }
        while let Some(Some((message, _))) = subscription.messages.next().now_or_never() {
            seen.is_news(&message.payload);
        }
        reports.send_replace(());
        sleep(GATHER).await;
    }
}

/// The socket that hears of changes.
struct Subscription {
    messages: Messages,
    /// The connection's task; it ends with this value.
    _connection: JoinSet<()>,
}

impl Subscription {
    fn open() -> Result<Self, Error> {
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(|source| Error::Socket { source })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Self { messages, _connection: tasks })
    }

    /// Opens it again, however long it takes; what was seen before is worth nothing then.
    async fn reopen(seen: &mut Seen) -> Self {
        tracing::warn!("the netlink socket for changes has closed; opening it again");
        seen.neighbours.clear();
        loop {
            match Self::open() {
                Ok(subscription) => return subscription,
                Err(_) => sleep(RETRY).await,
            }
        }
    }
}

/// What was last heard of each neighbour. Neighbours go from reachable to stale and back all the time, which
/// concerns nobody; a busy node would else do little but resolve.
#[derive(Default)]
struct Seen {
    neighbours: HashMap<NeighbourKey, Neighbour>,
}

impl Seen {
    fn is_news(&mut self, payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
        match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
                neighbour::parse(message).is_some_and(|(key, neighbour)| self.replace(key, neighbour))
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => neighbour::parse(message)
                .is_some_and(|(key, _)| {
                    self.neighbours.remove(&key);
                    true
                }),
            NetlinkPayload::InnerMessage(_) => true,
            // Messages were lost (ENOBUFS): anything may have changed.
            NetlinkPayload::Overrun(_) => {
                self.neighbours.clear();
                true
            }
            _ => false,
        }
    }

    fn replace(&mut self, key: NeighbourKey, neighbour: Neighbour) -> bool {
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            self.neighbours.clear();
        }
        // The kernel tells that a neighbour failed, but not when it asks it again. Who looked in between saw that it was
        // being asked, and must hear of the next failure although it is the same. Traffic alone fails at many that
        // concern nobody; those on the ways to other nodes are always kept by somebody.
        let failed_again = neighbour.whereabouts == Whereabouts::Failed && neighbour.keeper != Keeper::Nobody;
        self.neighbours.insert(key, neighbour) != Some(neighbour) || failed_again
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::{
        link::LinkMessage,
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::RouteMessage,
    };

    use super::*;

    fn neighbour(state: NeighbourState, layer2: u8) -> NeighbourMessage {
        let key = NeighbourKey { device: 3, address: "192.0.2.9".parse().unwrap() };
        let mut message = neighbour::managed(key);
        message.header.state = state;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, layer2]));
        message
    }

    #[test]
    fn a_failure_that_nobody_waits_for_is_news_once() {
        let mut seen = Seen::default();
        let failed = || {
            let mut message = neighbour(NeighbourState::Failed, 2);
            message.header.flags = NeighbourFlags::empty();
            message.attributes.retain(|attribute| matches!(attribute, NeighbourAttribute::Destination(_)));
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message))
        };
        assert_eq!([seen.is_news(&failed()), seen.is_news(&failed())], [true, false]);
    }

    #[test]
    fn only_what_concerns_next_hops_is_news() {
        use RouteNetlinkMessage::{DelNeighbour, NewLink, NewNeighbour, NewRoute};
        let told = NetlinkPayload::InnerMessage;
        let steps = [
            ("found", told(NewNeighbour(neighbour(NeighbourState::Reachable, 1))), true),
            ("grew stale", told(NewNeighbour(neighbour(NeighbourState::Stale, 1))), false),
            ("is asked again", told(NewNeighbour(neighbour(NeighbourState::Probe, 1))), false),
            ("moved", told(NewNeighbour(neighbour(NeighbourState::Stale, 2))), true),
            ("fell silent", told(NewNeighbour(neighbour(NeighbourState::Failed, 2))), true),
            ("failed again, asked in between", told(NewNeighbour(neighbour(NeighbourState::Failed, 2))), true),
            ("gone", told(DelNeighbour(neighbour(NeighbourState::Failed, 2))), true),
            ("back", told(NewNeighbour(neighbour(NeighbourState::Reachable, 2))), true),
            ("messages lost", NetlinkPayload::Overrun(vec![]), true),
            ("unknown again", told(NewNeighbour(neighbour(NeighbourState::Reachable, 2))), true),
            ("a bridge's entry", told(NewNeighbour(NeighbourMessage::default())), false),
            ("a route", told(NewRoute(RouteMessage::default())), true),
            ("a device", told(NewLink(LinkMessage::default())), true),
            ("an empty message", NetlinkPayload::Noop, false),
        ];
        let mut seen = Seen::default();
        for (description, payload, expected) in steps {
            assert_eq!(seen.is_news(&payload), expected, "{description}");
        }
    }
}
