//! Clients who are held by affinity, and come back again and again by new connections.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{is_over, wait_until};
use crate::visitors::{Door, Visitor, all};

/// How often each comes back.
const PERIOD: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    /// How often somebody found their Pod.
    pub(crate) found: usize,
    /// Who found another one, one line each.
    pub(crate) moved: Vec<String>,
    /// Why others were not answered.
    pub(crate) failed: Vec<String>,
}

/// Lets everybody come back, and come back again, until it is over.
pub(super) fn come_back(visitors: &[Visitor], door: Door, over: &AtomicBool) -> Result<Returns> {
    let mut returns = Returns::default();
    while !is_over(over) {
        let begun = Instant::now();
        for (visitor, answered) in visitors.iter().zip(all(visitors, |visitor| Ok(visitor.ask(door)))?) {
            match answered {
                Ok(pod) if pod == visitor.pod => returns.found += 1,
                Ok(pod) => returns.moved.push(format!("{} from {} to {pod}", visitor.address, visitor.pod)),
                Err(error) => returns.failed.push(format!("{error:#}")),
            }
        }
        wait_until(begun + PERIOD);
    }
    Ok(returns)
}
