//! Every kind of frontend, in both families and protocols, with Pods here and elsewhere.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::world::{FrontendKind, Port, Protocol, ServiceSpec};

use crate::support::{CHANGE_LIMIT, INGRESS, Test, first_pods, frontend, serve, wait_until_answered, who_answers};

/// Where a Service's Pods are, seen from the ingress node.
#[derive(Clone, Copy)]
enum Place {
    Local,
    Remote,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }

    fn pods(self) -> Vec<String> {
        match self {
            Self::Local => first_pods([INGRESS]),
            Self::Remote => first_pods([2, 3]),
        }
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for kind in FrontendKind::ALL {
        for family in Family::BOTH {
            for protocol in Protocol::BOTH {
                for place in [Place::Local, Place::Remote] {
                    let kind_name = kind.name().replace([' ', '-'], "_");
                    let name = format!("{kind_name}_{}_{}_to_a_{}_pod", family.name(), protocol.name(), place.name());
                    tests.push(Test::new(name.to_lowercase(), move |lab| {
                        is_answered(lab, kind, family, protocol, place)
                    }));
                }
            }
        }
    }
    tests.push(Test::new("tcp_and_udp_of_two_services_on_one_port_are_independent", ports_are_independent));
    tests
}

fn is_answered(lab: &mut Lab, kind: FrontendKind, family: Family, protocol: Protocol, place: Place) -> Result<()> {
    let name = format!("matrix-{}", place.name());
    if lab.world().service(&name).is_err() {
        serve(lab, ServiceSpec::new(&name, &place.pods()))?;
    }
    let to = lab.world().service(&name)?.frontend(kind, family, protocol, INGRESS)?;
    wait_until_answered(lab, protocol, to)?;
    for number in [1, 2] {
        let client = lab.client(number);
        for index in [1, 9, 200] {
            // A port of our own choice, so that the server can be asked what it sees of it.
            let from = SocketAddr::new(client.address(family, index), 20_000 + u16::from(index));
            let from = free_port(from, protocol, kind, place);
            // The socket is connected: what comes from another address than `to` is no answer.
            let answer = client.who(protocol, to, Some(from))?;
            ensure!(
                place.pods().contains(&answer.pod),
                "Pod {} answered, which is not one of {:?}",
                answer.pod,
                place.pods()
            );
            ensure!(answer.client == from, "the server sees {} as the client, which is {from}", answer.client);
            let own = lab.world().pod(&answer.pod)?.socket(family);
            ensure!(answer.server == own, "the request reached {}, but the Pod is {own}", answer.server);
        }
    }
    Ok(())
}

/// Each test has source ports of its own: the ones that another closed stay reserved for a while.
fn free_port(from: SocketAddr, protocol: Protocol, kind: FrontendKind, place: Place) -> SocketAddr {
    let offset = |chosen: bool, step: u16| if chosen { step } else { 0 };
    let kind = FrontendKind::ALL.iter().position(|other| *other == kind);
    let kind = u16::try_from(kind.unwrap_or_default()).unwrap_or_default();
    let port = from.port()
        + offset(matches!(protocol, Protocol::Udp), 1_000)
        + offset(matches!(place, Place::Remote), 2_000)
        + 4_000 * kind;
    SocketAddr::new(from.ip(), port)
}

fn ports_are_independent(lab: &mut Lab) -> Result<()> {
    let port = |protocol| Port { protocol, number: 53 };
    let both = Protocol::BOTH.map(port);
    let one = ServiceSpec::new("port-one", &["p1-1".to_owned()]).with_ports(&both);
    let two = ServiceSpec::new("port-two", &["p2-1".to_owned()]).with_ports(&both);
    serve(lab, one.clone())?;
    serve(lab, two)?;
    let expect = |lab: &Lab, service: &str, protocol, pod: &str| {
        let to = frontend(lab, service, Family::V4, protocol)?;
        let pods = who_answers(lab, protocol, to, 10)?;
        ensure!(pods.iter().eq([pod]), "{} of {service} is answered by {pods:?} instead of {pod}", protocol.name());
        Ok(())
    };
    for protocol in Protocol::BOTH {
        expect(lab, "port-one", protocol, "p1-1")?;
        expect(lab, "port-two", protocol, "p2-1")?;
    }

    let udp = frontend(lab, "port-one", Family::V4, Protocol::Udp)?;
    lab.put_service(one.with_ports(&both[..1]))?;
    limpet_lab::wait::until_true("UDP of port-one to be gone", CHANGE_LIMIT, || {
        Ok(lab.client(1).udp_who(udp, None).is_err())
    })?;
    expect(lab, "port-one", Protocol::Tcp, "p1-1")?;
    for protocol in Protocol::BOTH {
        expect(lab, "port-two", protocol, "p2-1")?;
    }
    Ok(())
}
