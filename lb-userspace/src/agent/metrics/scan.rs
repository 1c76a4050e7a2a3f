//! What takes a walk through whole maps: clients, and how full the programs' maps are. Done in the background, when somebody
//! scrapes and the last walk is long enough ago; nobody waits for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use tracing::warn;

use crate::inspect::{
    get,
    held::HeldFor,
    read::Opened,
    skew::{self, Spread},
};

/// Least time from the end of a walk to the beginning of the next.
const PAUSE: Duration = Duration::from_secs(30);
/// And so many times as long as the walk took: a twentieth of one CPU, however much there is to walk through.
const PAUSE_TIMES_DURATION: u32 = 19;

/// The maps that the programs fill.
pub(super) const WALKED: [&str; 12] = [
    "AFFINITY4",
    "AFFINITY6",
    "NEW_AFFINITY4",
    "NEW_AFFINITY6",
    "FLOWS4",
    "FLOWS6",
    "NEW_FLOWS4",
    "NEW_FLOWS6",
    "REPLIES4",
    "REPLIES6",
    "NEW_REPLIES4",
    "NEW_REPLIES6",
];

/// What a walk found.
#[derive(Clone, Debug)]
pub(super) struct Walked {
    /// Clients by what they are held for, and how they are spread.
    pub(super) spreads: BTreeMap<HeldFor, Spread>,
    /// Elements of [`WALKED`], by the map's name.
    pub(super) used: BTreeMap<&'static str, u32>,
    /// When it was over.
    pub(super) at: Instant,
    /// How long it took.
    pub(super) took: Duration,
}

/// The last walk, and whether there is one now. Shared with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Arc<Walked>>,
    is_walking: bool,
    not_before: Option<Instant>,
}

impl State {
    /// Whether to set out now; if so, one has.
    fn set_out(&mut self, now: Instant) -> bool {
        let is_time = !self.is_walking && self.not_before.is_none_or(|at| at <= now);
        self.is_walking |= is_time;
        is_time
    }

    fn come_back(&mut self, walked: Option<Walked>, took: Duration, now: Instant) {
        self.is_walking = false;
        self.not_before = Some(now + PAUSE.max(took * PAUSE_TIMES_DURATION));
        // After one that failed, the last one has its age.
        self.latest = walked.map(Arc::new).or_else(|| self.latest.take());
    }
}

impl Scanner {
    /// What the last walk found, if there was one. Has another one begin where it is time.
    pub(super) fn latest(&self, opened: &Arc<Opened>) -> Option<Arc<Walked>> {
        let mut state = self.state();
        if state.set_out(Instant::now()) {
            let (scanner, opened) = (self.clone(), Arc::clone(opened));
            tokio::task::spawn_blocking(move || scanner.walk(&opened));
        }
        state.latest.clone()
    }

    fn walk(&self, opened: &Opened) {
        let begun = Instant::now();
        let found = walk(opened, begun);
        if let Err(error) = &found {
            warn!("cannot count clients for the metrics: {error:#}");
        }
        self.state().come_back(found.ok(), begun.elapsed(), Instant::now());
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn walk(opened: &Opened, begun: Instant) -> Result<Walked> {
    let state = opened.state()?;
    let spreads = skew::spreads(opened, &state, get::now_seconds()?)?;
    let mut used = BTreeMap::new();
    for name in WALKED {
        used.insert(name, opened.count(name)?);
    }
    let at = Instant::now();
    Ok(Walked { spreads, used, at, took: at.duration_since(begun) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_are_half_a_minute_apart_and_never_two() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut state = State::default();
        assert!(state.set_out(start), "the first scrape");
        assert!(!state.set_out(after(100)), "one is on its way");
        let walked = Walked { spreads: BTreeMap::new(), used: BTreeMap::new(), at: after(100), took: Duration::ZERO };
        state.come_back(Some(walked), Duration::from_secs(1), after(100));
        assert!(!state.set_out(after(129)));
        assert!(state.set_out(after(130)));
        state.come_back(None, Duration::from_secs(10), after(140));
        assert_eq!(state.latest.as_ref().unwrap().at, after(100), "what failed leaves the last one");
        assert!(!state.set_out(after(140 + 189)), "a long walk, a long rest");
        assert!(state.set_out(after(140 + 190)));
    }
}
