//! EndpointSlices: which Service each belongs to, and the ports it offers (A.1, A.2).

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::ObjectName;
use super::types::{Family, Protocol, ServicePortName};
use crate::source::{Problem, Snapshot, Sourced};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The slices of each Service, in the order of their names.
pub(super) type SlicesOf<'a> = HashMap<ObjectName<'a>, Vec<&'a Sourced<EndpointSlice>>>;

/// The slices of every Service, those of headless ones left out (A.1).
pub(super) fn by_service<'a>(snapshot: &'a Snapshot, problems: &mut BTreeSet<Problem>) -> SlicesOf<'a> {
    let mut slices: SlicesOf<'a> = HashMap::with_capacity(snapshot.services.len());
    for slice in &snapshot.slices {
        let meta = &slice.object.metadata;
        let label = |name: &str| meta.labels.as_ref().and_then(|labels| labels.get(name));
        if label(HEADLESS).is_some() {
            continue;
        }
        match label(SERVICE_NAME) {
            Some(service) if !service.is_empty() => {
                let namespace = meta.namespace.as_deref().unwrap_or("default");
                slices.entry((namespace, service)).or_default().push(slice);
            }
            Some(_) | None => warn_in_file(
                slice,
                |slice| {
                    about(slice, format!("no label {SERVICE_NAME}: it belongs to no Service and is ignored"))
                        .at("metadata.labels")
                },
                problems,
            ),
        }
    }
    for slices in slices.values_mut().filter(|slices| slices.len() > 1) {
        slices.sort_by(|a, b| a.object.metadata.name.cmp(&b.object.metadata.name));
    }
    slices
}

/// Says of every slice in a file whose Service is not there.
pub(super) fn warn_of_orphans(
    slices: &SlicesOf<'_>,
    known: &HashSet<ObjectName<'_>>,
    problems: &mut BTreeSet<Problem>,
) {
    for ((namespace, name), slices) in slices.iter().filter(|(service, _)| !known.contains(*service)) {
        let waits = |slice: &_| about(slice, format!("there is no Service {namespace}/{name}; the slice waits for it"));
        for slice in slices {
            warn_in_file(slice, waits, problems);
        }
    }
}

/// Warns of a slice that nobody needs, if it is in a file: an API server's are others' too, whose Services are not
/// even asked for.
fn warn_in_file(
    slice: &Sourced<EndpointSlice>,
    problem: impl FnOnce(&Sourced<EndpointSlice>) -> Problem,
    problems: &mut BTreeSet<Problem>,
) {
    if slice.origin.file.is_some() {
        problems.insert(problem(slice));
    }
}

/// A warning about a slice.
pub(super) fn about(slice: &Sourced<EndpointSlice>, message: String) -> Problem {
    let meta = &slice.object.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    let name = meta.name.as_deref().unwrap_or_default();
    Problem::warning(message).in_file(slice.origin.file.as_deref()).about(format!("EndpointSlice {namespace}/{name}"))
}

/// A port of a slice: where a Service port of its name and protocol is found.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    name: &'a str,
    protocol: Protocol,
    /// The number on the endpoints of this slice.
    pub(super) number: u16,
    /// The family of the slice's addresses.
    pub(super) family: Family,
    /// The slice.
    pub(super) slice: &'a Sourced<EndpointSlice>,
}

/// All that the slices of one Service offer, so that each of its ports finds its own without asking all slices.
pub(super) struct Offers<'a>(Vec<Offer<'a>>);

impl<'a> Offers<'a> {
    /// What these slices offer in these families. A port without name or number is told and offers nothing; slices of
    /// domain names neither.
    pub(super) fn of(
        slices: &[&'a Sourced<EndpointSlice>],
        families: &[Family],
        problems: &mut BTreeSet<Problem>,
    ) -> Self {
        let mut offers = Vec::with_capacity(slices.len());
        for slice in slices {
            let Some(family) = family(&slice.object).filter(|family| families.contains(family)) else {
                continue;
            };
            for (index, port) in slice.object.ports.iter().flatten().enumerate() {
                let Some(name) = port.name.as_deref() else {
                    let message = "a port without a name is ignored; the only port of a Service has the name \"\"";
                    problems.insert(about(slice, message.to_owned()).at(format!("ports[{index}].name")));
                    continue;
                };
                let Some(number) = port.port else {
                    let message = "a port without a number is ignored";
                    problems.insert(about(slice, message.to_owned()).at(format!("ports[{index}].port")));
                    continue;
                };
                let number = u16::try_from(number).ok().filter(|number| *number > 0);
                if let (Some(protocol), Some(number)) = (Protocol::from_kubernetes(port.protocol.as_deref()), number) {
                    offers.push(Offer { name, protocol, number, family, slice });
                }
            }
        }
        // Stable: the order of the slices stays, on which duplicates depend.
        offers.sort_by_key(|offer| (offer.name, offer.protocol));
        Self(offers)
    }

    /// What there is for one Service port, in the order of the slices.
    pub(super) fn for_port(&self, name: &ServicePortName) -> &[Offer<'a>] {
        let wanted = (name.port.as_str(), name.protocol);
        let start = self.0.partition_point(|offer| (offer.name, offer.protocol) < wanted);
        let rest = self.0.get(start..).unwrap_or_default();
        let end = rest.partition_point(|offer| (offer.name, offer.protocol) == wanted);
        rest.get(..end).unwrap_or_default()
    }
}

/// The family of a slice's addresses; none of a slice of domain names.
fn family(slice: &EndpointSlice) -> Option<Family> {
    match slice.address_type.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}
