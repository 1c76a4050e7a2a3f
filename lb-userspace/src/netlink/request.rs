//! Single requests to the kernel: each with a limit on its time, none with an opinion on the answer.

use std::{future::Future, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage, address::AddressMessage, link::LinkMessage, neighbour::NeighbourMessage,
        route::RouteMessage,
    },
};

use super::Error;

/// How long an answer may take. The kernel answers at once; only one that cannot be parsed never arrives.
const LIMIT: Duration = Duration::from_secs(5);
/// What the kernel says of a name that no device has, or could have.
const NO_DEVICE: [i32; 3] = [libc::ENODEV, libc::ERANGE, libc::EINVAL];
/// What the kernel says when there is no route, or one that forbids; EINVAL: the source is no address of this node,
/// or the route is a blackhole.
const NO_ROUTE: [i32; 5] = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ESRCH, libc::EACCES, libc::EINVAL];

/// All devices.
pub(super) async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, Error> {
    collect("list the network devices", handle.link().get().execute()).await
}

/// The device of that name.
pub(super) async fn link(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, Error> {
    let found = collect("look up a network device", handle.link().get().match_name(name).execute()).await;
    first_unless(found, &NO_DEVICE)
}

/// All addresses of all devices.
pub(super) async fn addresses(handle: &Handle) -> Result<Vec<AddressMessage>, Error> {
    collect("list the addresses", handle.address().get().execute()).await
}

/// All routes of a family, of all tables.
pub(super) async fn routes(handle: &Handle, family: AddressFamily) -> Result<Vec<RouteMessage>, Error> {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    collect("list the routes", handle.route().get(message).execute()).await
}

/// The route that the kernel would take.
pub(super) async fn route(handle: &Handle, look_up: RouteMessage) -> Result<Option<RouteMessage>, Error> {
    let found = collect("look up a route", handle.route().get(look_up).execute()).await;
    first_unless(found, &NO_ROUTE)
}

/// All neighbours, IPv4 and IPv6.
pub(super) async fn neighbours(handle: &Handle) -> Result<Vec<NeighbourMessage>, Error> {
    collect("list the neighbours", handle.neighbours().get().execute()).await
}

/// Makes a neighbour, or changes the one that is there.
pub(super) async fn create_neighbour(handle: &Handle, neighbour: NeighbourMessage) -> Result<(), Error> {
    set_neighbour(handle, neighbour, NLM_F_CREATE | NLM_F_REPLACE).await
}

/// Changes a neighbour; does nothing if it is not there.
pub(super) async fn update_neighbour(handle: &Handle, neighbour: NeighbourMessage) -> Result<(), Error> {
    match set_neighbour(handle, neighbour, NLM_F_REPLACE).await {
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// The library's own request always creates, and so would bring back what has just gone.
async fn set_neighbour(handle: &Handle, neighbour: NeighbourMessage, flags: u16) -> Result<(), Error> {
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(neighbour));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut handle = handle.clone();
    within("manage a neighbour", async move {
        let mut answers = handle.request(message)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload {
                return Err(rtnetlink::Error::NetlinkError(error));
            }
        }
        Ok(())
    })
    .await
}

fn first_unless<T>(found: Result<Vec<T>, Error>, absent: &[i32]) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(found.into_iter().next()),
        Err(error) if error.errno().is_some_and(|errno| absent.contains(&errno)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn collect<T>(
    what: &'static str,
    answers: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, Error> {
    within(what, answers.try_collect()).await
}

async fn within<T>(what: &'static str, request: impl Future<Output = Result<T, rtnetlink::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(answer) => answer.map_err(|source| Error::Request { what, source }),
        Err(_) => Err(Error::NoAnswer { what, limit_seconds: LIMIT.as_secs() }),
    }
}
