//! The ring buffer of breaks. It is pinned: what happened while no agent ran is read by the next one.

use std::future::pending;

use aya::maps::{MapData, MapError, RingBuf};
use lb_common::layout::BreakEvent;
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes;

use super::{Error, Loaded, maps::BREAK_EVENTS};

/// Most events that are looked at before others get a turn: some ten milliseconds.
const EVENTS_PER_TURN: usize = 2048;
/// More than the ring buffer holds.
const EVENTS_WAITING: usize = 1 << 15;

/// What the datapath tells of breaks.
pub struct BreakEvents {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl BreakEvents {
    /// Takes the ring buffer.
    ///
    /// # Errors
    /// When it was taken, or cannot be waited for.
    pub fn take(loaded: &mut Loaded) -> Result<Self, Error> {
        let ring = loaded.take_break_events()?;
        // SAFETY: the ring buffer owns its file descriptor, and neither replaces nor closes it while `AsyncFd` owns the
        // ring buffer.
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let ring = registered.map_err(|error| Error::map(BREAK_EVENTS, MapError::IoError(error.into())))?;
        Ok(Self { ring })
    }

    /// Waits for events, and gives the first of them. Nothing is lost when it is not waited for to the end.
    pub async fn next(&mut self) -> Vec<BreakEvent> {
        let Ok(mut guard) = self.ring.readable_mut().await else {
            // The runtime ends.
            return pending().await;
        };
        let (events, are_all) = read(guard.get_inner_mut(), EVENTS_PER_TURN);
        if are_all {
            guard.clear_ready();
        }
        events
    }

    /// The events that are there already.
    pub fn waiting(&mut self) -> Vec<BreakEvent> {
        read(self.ring.get_mut(), EVENTS_WAITING).0
    }
}

/// At most `limit` events, and whether there are no more.
fn read(ring: &mut RingBuf<MapData>, limit: usize) -> (Vec<BreakEvent>, bool) {
    let mut events = Vec::new();
    for _ in 0..limit {
        let Some(item) = ring.next() else {
            return (events, true);
        };
        // The layout is the pins' own: another length cannot be.
        events.extend(BreakEvent::read_from_bytes(&item));
    }
    (events, false)
}
