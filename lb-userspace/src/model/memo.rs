//! What is remembered from one round to the next, so that Services for which nothing has changed cost nearly nothing.
//!
//! It holds the objects that it knows by their identity, so no other object can come to lie at their place.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::nodes::Nodes;
use super::service::Asked;
use super::types::{NodeAddresses, Options};
use crate::source::Sourced;

/// What Services asked for in the last round. An empty one makes everything be worked out anew.
#[derive(Debug, Default)]
pub struct Memo {
    surroundings: Option<Surroundings>,
    known: Known,
}

/// All that a Service's wishes depend on besides its own objects. If any of it changes, nothing is used again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Surroundings {
    options: Options,
    zone: Option<String>,
    own_addresses: Vec<IpAddr>,
    node_port_addresses: Vec<IpAddr>,
    nodes: BTreeMap<String, NodeAddresses>,
}

/// What Services asked for, by the place of the object.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<usize, Box<Asked>>);

impl Memo {
    /// What is still good in these surroundings. Whatever is to be remembered is to be given back.
    pub(super) fn take(&mut self, nodes: &Nodes<'_>, options: &Options) -> Known {
        let surroundings = Surroundings {
            options: options.clone(),
            zone: nodes.own_zone.map(str::to_owned),
            own_addresses: nodes.own_addresses.clone(),
            node_port_addresses: nodes.node_port_addresses.clone(),
            nodes: nodes.addresses.clone(),
        };
        let known = mem::take(&mut self.known);
        if self.surroundings.as_ref() == Some(&surroundings) {
            return known;
        }
        self.surroundings = Some(surroundings);
        Known::default()
    }

    /// Remembers this for the next round, and nothing else.
    #[expect(clippy::vec_box, reason = "they move from one round's memory to the next's: boxed, by a word each")]
    pub(super) fn keep(&mut self, asked: Vec<Box<Asked>>) {
        self.known = Known(asked.into_iter().map(|asked| (place(&asked.service), asked)).collect());
    }
}

impl Known {
    /// What the Service asked for, if its objects are the very same.
    pub(super) fn take(
        &mut self,
        sourced: &Sourced<Service>,
        slices: &[&Sourced<EndpointSlice>],
    ) -> Option<Box<Asked>> {
        self.0.remove(&place(sourced)).filter(|asked| asked.is_of(sourced, slices))
    }
}

fn place(sourced: &Sourced<Service>) -> usize {
    Arc::as_ptr(&sourced.object).addr()
}
