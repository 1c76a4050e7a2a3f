//! The lab before the flood: Services, connections and clients, many of them held elsewhere than their slot says.

use std::ops::RangeInclusive;

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{Family, NODES};
use limpet_lab::world::{Protocol, ServiceSpec};
use serde_json::json;

use crate::support::{Held, all_first_pods, frontend, hold, serve};
use crate::visitors::{Door, Visitor, arrive, ask_again};

/// Connections that move data, to each of the four frontends: two Services, two families. 1,000 in all.
const HELD_EACH: u8 = 250;
/// Connections on which nothing is said for seconds, to each of those. 800 in all.
const SILENT_EACH: u8 = 200;
/// Clients who come back, each number four times: two families on two machines. 800 in all.
const RETURNING: RangeInclusive<u8> = 1..=200;
/// No client's time is over while the test lasts.
const AFFINITY_SECONDS: u32 = 10_800;
/// Where all clients of the lab are, and nobody of the flood.
const CLIENT_RANGES: [&str; 2] = ["198.18.0.0/15", "2001:db8:c::/48"];

/// What a flood is to leave alone.
pub(crate) struct Stage {
    /// The Service without affinity, and the one with it.
    plain: String,
    sticky: String,
    /// The Service that takes clients of the lab alone, and the one that has no Pods.
    ranged: String,
    empty: String,
    /// Connections to the first two.
    pub(crate) held: Vec<Held>,
    pub(crate) silent: Vec<Held>,
    /// Clients of the second.
    pub(crate) returning: Vec<Visitor>,
}

impl Stage {
    /// Makes the Services, whose names end in `act`, and lets everybody connect. Then Pods join: from now on who is
    /// forgotten is given another Pod, or the choice would be the same again and nobody would notice.
    pub(crate) fn set(lab: &mut Lab, act: &str) -> Result<Self> {
        let name = |kind: &str| format!("{kind}-{act}");
        let (plain, sticky, ranged, empty) = (name("plain"), name("sticky"), name("ranged"), name("empty"));
        let pods = all_first_pods();
        serve(lab, ServiceSpec::new(&plain, &pods))?;
        serve(lab, ServiceSpec::new(&sticky, &pods).with_affinity(AFFINITY_SECONDS))?;
        serve(
            lab,
            ServiceSpec::new(&ranged, &pods).with(json!({"spec": {"loadBalancerSourceRanges": CLIENT_RANGES}})),
        )?;
        lab.put_service(ServiceSpec::new(&empty, &[]))?;

        let (mut held, mut silent) = (Vec::new(), Vec::new());
        for service in [&plain, &sticky] {
            for family in Family::BOTH {
                let to = frontend(lab, service, family, Protocol::Tcp)?;
                held.extend(hold(lab, to, HELD_EACH)?);
                silent.extend(hold(lab, to, SILENT_EACH)?);
            }
        }
        let door = Door::of(lab, &sticky)?;
        let mut returning = arrive(lab, RETURNING, door)?;

        let joining = lab.add_pods(&[1, 2, 3])?;
        for service in [&plain, &sticky] {
            let mut spec = lab.world().service(service)?.spec().clone();
            spec.pods.extend(joining.iter().cloned());
            lab.put_service(spec)?;
            lab.wait_until_programmed(service, &(1..=NODES).collect::<Vec<_>>())?;
        }
        let moved = ask_again(&mut returning, door)?;
        ensure!(moved == 0, "{moved} clients moved before there was a flood");
        Ok(Self { plain, sticky, ranged, empty, held, silent, returning })
    }

    /// Where clients come back to.
    pub(crate) fn sticky_door(&self, lab: &Lab) -> Result<Door> {
        Door::of(lab, &self.sticky)
    }

    /// Where newcomers come to.
    pub(crate) fn doors(&self, lab: &Lab) -> Result<[Door; 3]> {
        Ok([Door::of(lab, &self.plain)?, Door::of(lab, &self.sticky)?, Door::of(lab, &self.ranged)?])
    }

    /// What is flooded: every Service, over both protocols and families.
    pub(crate) fn targets(&self, lab: &Lab) -> Result<Vec<(Protocol, std::net::SocketAddr)>> {
        let mut targets = Vec::new();
        for service in [&self.plain, &self.sticky, &self.ranged, &self.empty] {
            for protocol in Protocol::BOTH {
                for family in Family::BOTH {
                    targets.push((protocol, frontend(lab, service, family, protocol)?));
                }
            }
        }
        Ok(targets)
    }
}
