//! Services of one family, and of both in either order.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::address::{self, Family};
use limpet_lab::world::{FrontendKind, ServiceSpec};
use serde_json::json;

use super::fate::{Fate, frontends, wait_for};
use super::slices::{slice, with_slices};
use crate::support::{INGRESS, Test, all_first_pods, serve, wait_until_reached_are};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("each_family_is_served_from_its_own_slices", own_slices),
        Test::new("a_service_of_one_family_leaves_the_other_alone", single_stack),
    ]
}

/// Of a Service whose first family is IPv6.
fn own_slices(lab: &mut Lab) -> Result<()> {
    let service = "dual";
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let mut cluster_ips: Vec<_> = {
        let object = lab.world().service(service)?;
        let ordinal = object.ordinal();
        Family::BOTH.map(|family| address::cluster_ip(family, ordinal)).to_vec()
    };
    cluster_ips.reverse();
    let order = json!({"spec": {
        "clusterIP": cluster_ips[0], "clusterIPs": cluster_ips, "ipFamilies": ["IPv6", "IPv4"],
    }});
    lab.put_service(ServiceSpec::new(service, &[]).with(order))?;
    let of = |family, pod: &'static str| slice(lab, service, "own", family, &[pod]);
    let slices = [of(Family::V4, "p1-1")?, of(Family::V6, "p2-1")?];
    with_slices(lab, service, &slices, |lab| {
        for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
            let pod = if to.is_ipv4() { "p1-1" } else { "p2-1" };
            wait_until_reached_are(lab, protocol, to, &[pod.to_owned()])?;
        }
        Ok(())
    })
}

/// Although it has addresses and slices of the other.
fn single_stack(lab: &mut Lab) -> Result<()> {
    let service = "single";
    let spec = ServiceSpec::new(service, &all_first_pods());
    serve(lab, spec.clone())?;
    let ordinal = lab.world().service(service)?.ordinal();
    for family in Family::BOTH {
        let cluster_ip = address::cluster_ip(family, ordinal);
        let only = json!({"spec": {
            "ipFamilyPolicy": "SingleStack", "ipFamilies": [family.name()],
            "clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
        }});
        lab.put_service(spec.clone().with(only))?;
        for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
            let own = to.is_ipv4() == (family == Family::V4);
            wait_for(lab, protocol, to, if own { Fate::Answered } else { Fate::NoRoute })?;
        }
    }
    Ok(())
}
