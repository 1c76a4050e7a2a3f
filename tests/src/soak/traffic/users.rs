//! Clients of Services with affinity: each asks one Service again and again, and should find the same Pod.

use std::time::Instant;

use anyhow::Result;

use super::super::history::{Moment, Window};
use super::super::tally::Event;
use super::{Hand, Load, Way};
use crate::world::Protocol;

/// One client of one Service. Services tell clients apart by their addresses, and each user of this thread has a Service
/// and a node of its own, or shares the address with users of other Services.
struct User {
    way: Way,
    /// The Pod that it had, and when it began to ask for it.
    had: Option<(String, Moment)>,
}

/// Asks until the soak is over.
pub(super) fn run(mut hand: Hand<'_>, load: Load) -> Result<()> {
    let mut users: Vec<User> = Vec::new();
    // Few ways are left when all Services have a user of this thread, so not for ever.
    for _ in 0..100 * usize::from(load.users_each) {
        let way = hand.scene.any_way(&mut hand.dice, |service| service.spec().affinity_seconds.is_some());
        let Some(way) = way else { return Ok(()) };
        let is_same =
            |user: &User| user.way.service == way.service && user.way.family == way.family && user.way.node == way.node;
        if users.len() < load.users_each.into() && !users.iter().any(is_same) {
            users.push(User { way, had: None });
        }
    }
    while !hand.scene.is_over() {
        let begun = Instant::now();
        for user in &mut users {
            ask(&mut hand, user);
            if hand.scene.is_over() {
                break;
            }
        }
        hand.pause(begun, load.user_pause);
    }
    Ok(())
}

fn ask(hand: &mut Hand<'_>, user: &mut User) {
    let (Some(pod), window) = hand.request(&user.way, Protocol::Tcp, true) else { return };
    if let Some((had, since)) = &user.had
        && *had != pod
    {
        let window = Window { from: *since, to: window.to };
        let asked = user.way.asked(hand.machine, window);
        hand.tell(Event::Moved { asked, had: had.clone(), now: pod.clone() });
    }
    user.had = Some((pod, window.from));
}
