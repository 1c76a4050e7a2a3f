//! What is changed, one step after the other: pure, and the same for the same seed.

use super::dice::Dice;
use super::fleet::Churned;
use super::kind::{Done, Kind};
use crate::world::PodState;

/// Time-outs of affinity that a Service is given in turn, in seconds. The short ones run out between two requests of
/// some clients.
const TIMEOUTS: [u32; 4] = [1, 2, 600, 10_800];
/// So many of a hundred changes are of the kind that was done least often, so that all are done soon.
const RAREST: usize = 10;

/// A Pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Whose server it is: the lab's name, and with it an address.
    pub(super) pod: String,
    /// The name that Kubernetes has for it, which outlives addresses.
    pub(super) identity: String,
    pub(super) state: PodState,
}

/// A Service that churns, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceNow {
    pub(super) name: String,
    pub(super) is_there: bool,
    pub(super) affinity: Option<u32>,
    /// `limpet.dev/affinity-expiry: stable` instead of nothing.
    pub(super) stable_expiry: bool,
    /// Whether its load-balancer IPs are for the first client machine alone.
    pub(super) restricted: bool,
    pub(super) members: Vec<Member>,
    /// Pods that run and are behind nothing.
    spare: Vec<String>,
    /// Names that may come back, the one that left last at the end.
    away: Vec<String>,
    initial: Churned,
}

/// The Services that churn, and what becomes of them next.
#[derive(Debug)]
pub(super) struct Plan {
    dice: Dice,
    /// For Pods that die, at times that have nothing to do with the changes.
    deaths: Dice,
    services: Vec<ServiceNow>,
    done: Done,
}

impl Plan {
    /// Everything as it is in the beginning: all Pods but the last of each Service are behind it, and ready.
    pub(super) fn new(seed: u64, fleet: &[Churned]) -> Self {
        let (dice, services) = (Dice::new(seed), fleet.iter().map(ServiceNow::initial).collect());
        Self { deaths: dice.fork(0), dice, services, done: Done::new() }
    }

    pub(super) fn services(&self) -> &[ServiceNow] {
        &self.services
    }

    /// How often each kind of change was made.
    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// One more change: the position of its Service, which is as it is to be from now on.
    pub(super) fn step(&mut self) -> (usize, Kind) {
        loop {
            let at = self.dice.below(self.services.len());
            let service = &mut self.services[at];
            let choices = service.choices();
            let kind = if self.dice.happens(RAREST) {
                let possible = choices.iter().filter(|(_, weight)| *weight > 0).map(|(kind, _)| *kind);
                possible.min_by_key(|kind| self.done.get(kind).copied().unwrap_or(0))
            } else {
                weighted(&mut self.dice, &choices)
            };
            if let Some(kind) = kind
                && service.change(kind, &mut self.dice)
            {
                *self.done.entry(kind).or_default() += 1;
                return (at, kind);
            }
        }
    }

    /// Takes a Pod out of its Service because its server is about to end, or ended; gives the Service's position and the
    /// Pod. None while the one that was chosen has none to spare.
    pub(super) fn lose_a_pod(&mut self) -> Option<(usize, String)> {
        let at = self.deaths.below(self.services.len());
        let service = &mut self.services[at];
        if !service.is_there || service.members.len() < 3 {
            return None;
        }
        let member = service.members.remove(self.deaths.below(service.members.len()));
        service.away.push(member.identity);
        Some((at, member.pod))
    }

    /// A Pod that was lost runs again, and may be used.
    pub(super) fn regain(&mut self, at: usize, pod: String) {
        if let Some(service) = self.services.get_mut(at) {
            service.spare.push(pod);
        }
    }

    /// Brings everything back to what it was in the beginning. All Pods must run.
    pub(super) fn restore(&mut self) {
        self.services = self.services.iter().map(|service| ServiceNow::initial(&service.initial)).collect();
    }
}

impl ServiceNow {
    fn initial(churned: &Churned) -> Self {
        let names: Vec<String> = churned.pods.iter().map(|(_, name)| name.clone()).collect();
        let (spare, behind) = names.split_last().map_or((Vec::new(), &[][..]), |(last, all)| (vec![last.clone()], all));
        let member = |pod: &String| Member { pod: pod.clone(), identity: pod.clone(), state: PodState::Ready };
        Self {
            name: churned.name.clone(),
            is_there: true,
            affinity: churned.affinity,
            stable_expiry: false,
            restricted: false,
            members: behind.iter().map(member).collect(),
            away: spare.clone(),
            spare,
            initial: churned.clone(),
        }
    }

    /// What may be done to it now, and how often compared with each other.
    fn choices(&self) -> Vec<(Kind, usize)> {
        if !self.is_there {
            // It is not away for long: nothing can be learned from it meanwhile.
            return vec![(Kind::ServiceMade, 1)];
        }
        let count = |state| self.members.iter().filter(|member| member.state == state).count();
        let (ready, waiting, leaving) =
            (count(PodState::Ready), count(PodState::NotReady), count(PodState::Terminating));
        // Nobody is left now and then, but not most of the time.
        let spared = |weight| if ready > 2 { weight } else { usize::from(ready > 0) };
        let has_spare = !self.spare.is_empty() && !self.away.is_empty();
        let mut choices = vec![
            (Kind::NotReady, spared(20)),
            (Kind::Ready, 25 * waiting),
            (Kind::Terminating, spared(12)),
            (Kind::Removed, 20 * leaving + spared(3)),
            (Kind::CameBack, if has_spare { 30 } else { 0 }),
            (Kind::Replaced, if has_spare && ready > 0 { 6 } else { 0 }),
            (Kind::ScaledUp, if self.spare.len() > 1 { 8 } else { 0 }),
            (Kind::ScaledDown, if self.members.len() > 3 { 3 } else { 0 }),
            (Kind::ServiceRemoved, 1),
            (Kind::Annotated, 3),
            (Kind::AffinitySwitched, 1),
            (Kind::RangesSet, usize::from(!self.restricted)),
            (Kind::RangesTakenBack, if self.restricted { 40 } else { 0 }),
        ];
        if self.affinity.is_some() {
            choices.push((Kind::TimeoutChanged, 4));
        }
        choices
    }

    /// Does it; false, and nothing is changed, where there is nobody to do it to.
    fn change(&mut self, kind: Kind, dice: &mut Dice) -> bool {
        match kind {
            Kind::NotReady => self.turn(PodState::Ready, PodState::NotReady, dice),
            Kind::Ready => self.turn(PodState::NotReady, PodState::Ready, dice),
            Kind::Terminating => self.turn(PodState::Ready, PodState::Terminating, dice),
            Kind::Removed => self.leave_one(dice),
            Kind::CameBack => self.come_back(),
            Kind::Replaced => self.replace(dice),
            Kind::ScaledUp => {
                while self.come_back() {}
                true
            }
            Kind::ScaledDown => {
                let (left, right) = (self.leave_one(dice), self.leave_one(dice));
                left || right
            }
            Kind::ServiceRemoved => self.switch(|service| service.is_there = false),
            Kind::ServiceMade => self.switch(|service| service.is_there = true),
            Kind::TimeoutChanged => {
                let before = self.affinity;
                self.affinity = dice.pick(&TIMEOUTS).copied();
                self.affinity != before
            }
            Kind::AffinitySwitched => self.switch(|service| {
                service.affinity = if service.affinity.is_some() { None } else { Some(TIMEOUTS[3]) };
            }),
            Kind::Annotated => self.switch(|service| service.stable_expiry = !service.stable_expiry),
            Kind::RangesSet => self.switch(|service| service.restricted = true),
            Kind::RangesTakenBack => self.switch(|service| service.restricted = false),
        }
    }

    fn switch(&mut self, change: impl FnOnce(&mut Self)) -> bool {
        change(self);
        true
    }

    fn turn(&mut self, from: PodState, to: PodState, dice: &mut Dice) -> bool {
        let mut members: Vec<&mut Member> = self.members.iter_mut().filter(|member| member.state == from).collect();
        let at = dice.below(members.len());
        members.get_mut(at).map(|member| member.state = to).is_some()
    }

    /// One that terminates, as it should be; else any.
    fn leave_one(&mut self, dice: &mut Dice) -> bool {
        let leaving = self.members.iter().position(|member| member.state == PodState::Terminating);
        let at = leaving.unwrap_or_else(|| dice.below(self.members.len()));
        if at >= self.members.len() {
            return false;
        }
        let member = self.members.remove(at);
        self.spare.push(member.pod);
        self.away.push(member.identity);
        true
    }

    /// The name that left last, at the address that is unused for longest: most often another than it had.
    fn come_back(&mut self) -> bool {
        if self.spare.is_empty() {
            return false;
        }
        let Some(identity) = self.away.pop() else { return false };
        let pod = self.spare.remove(0);
        self.members.push(Member { pod, identity, state: PodState::Ready });
        true
    }

    fn replace(&mut self, dice: &mut Dice) -> bool {
        if self.spare.is_empty() || self.members.is_empty() {
            return false;
        }
        let at = dice.below(self.members.len());
        let pod = self.spare.remove(0);
        let member = &mut self.members[at];
        self.spare.push(std::mem::replace(&mut member.pod, pod));
        member.state = PodState::Ready;
        true
    }
}

/// One of the kinds, each as often as its weight says; none where all weigh nothing.
fn weighted(dice: &mut Dice, choices: &[(Kind, usize)]) -> Option<Kind> {
    let mut roll = dice.below(choices.iter().map(|(_, weight)| weight).sum());
    for (kind, weight) in choices {
        if roll < *weight {
            return Some(*kind);
        }
        roll -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fleet::{Size, churned};
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_changes() {
        let history = |seed| {
            let mut plan = Plan::new(seed, &churned(Size::SMALL));
            let steps: Vec<_> = (0..500).map(|_| plan.step()).collect();
            (steps, plan.services)
        };
        assert_eq!(history(3), history(3));
        assert_ne!(history(3), history(4));
    }

    #[test]
    fn every_kind_of_change_comes_soon_and_no_pod_is_lost_or_doubled() {
        let fleet = churned(Size::SMALL);
        for seed in 0..20 {
            let mut plan = Plan::new(seed, &fleet);
            for _ in 0..250 {
                let (at, kind) = plan.step();
                let service = &plan.services()[at];
                let pods = service.members.iter().map(|member| &member.pod).chain(&service.spare);
                let names: BTreeSet<_> = pods.collect();
                assert_eq!(names.len(), fleet[at].pods.len(), "{kind:?}: {service:?}");
                let identities = service.members.iter().map(|member| &member.identity).chain(&service.away);
                assert_eq!(identities.collect::<BTreeSet<_>>().len(), fleet[at].pods.len(), "{kind:?}: {service:?}");
            }
            let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !plan.done().contains_key(kind)).collect();
            assert!(missing.is_empty(), "seed {seed}: {missing:?}");
        }
    }

    #[test]
    fn most_of_the_time_somebody_is_ready() {
        let mut plan = Plan::new(5, &churned(Size::LARGE));
        let mut served = 0;
        for _ in 0..2_000 {
            plan.step();
            let is_served = |service: &ServiceNow| {
                service.is_there && service.members.iter().any(|member| member.state == PodState::Ready)
            };
            served += plan.services().iter().filter(|service| is_served(service)).count();
        }
        let of = 2_000 * Size::LARGE.services;
        assert!(served * 100 > of * 85 && served < of, "{served} of {of}");
    }

    #[test]
    fn a_lost_pod_comes_back_and_restoring_undoes_all() {
        let fleet = churned(Size::SMALL);
        let mut plan = Plan::new(9, &fleet);
        let before = plan.services().to_vec();
        let (at, pod) = (0..100).find_map(|_| plan.lose_a_pod()).unwrap();
        assert!(plan.services()[at].members.iter().all(|member| member.pod != pod));
        plan.regain(at, pod.clone());
        assert!(plan.services()[at].spare.contains(&pod));
        for _ in 0..100 {
            plan.step();
        }
        plan.restore();
        assert_eq!(plan.services(), before);
    }
}
