//! What the API server would refuse, and what would do harm if it were programmed.
//!
//! An object from a file has not passed the API server, and one that comes from it may have met a
//! bug. Each check reports what is wrong and takes the wrong part out, so that the model only sees
//! values that can be. One thing is left in: a wrong entry of `loadBalancerSourceRanges`, for
//! without its entries the list would let everybody in.

mod address;
mod node;
mod service;
mod slice;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::document::Object;
use super::problem::{MAX_PROBLEMS_PER_OBJECT, Problem, Severity, quoted};

/// Longest DNS label: names of namespaces, Services and ports.
const MAX_LABEL: usize = 63;
/// Longest DNS subdomain: names of EndpointSlices, Nodes and Pods.
const MAX_SUBDOMAIN: usize = 253;

/// What is left of an object after the checks.
pub(super) struct Checked {
    /// The object without its wrong parts; none if nothing of it can be used.
    pub(super) object: Option<Object>,
    /// Whether the API server would have refused the object.
    pub(super) refused: bool,
    /// What was wrong, with the object's name but without the file's.
    pub(super) problems: Vec<Problem>,
}

/// Checks one object.
pub(super) fn check(object: Object) -> Checked {
    let name = object.key().to_string();
    let mut findings = Findings::default();
    let usable = match &object {
        Object::Service(service) => names(&service.metadata, MAX_LABEL, &mut findings),
        Object::Slice(slice) => {
            names(&slice.metadata, MAX_SUBDOMAIN, &mut findings) && slice::address_type(slice, &mut findings)
        }
        Object::Node(node) => names(&node.metadata, MAX_SUBDOMAIN, &mut findings),
    };
    let object = usable.then(|| match object {
        Object::Service(mut service) => {
            service::check(Arc::make_mut(&mut service), &mut findings);
            Object::Service(service)
        }
        Object::Slice(mut slice) => {
            slice::check(Arc::make_mut(&mut slice), &mut findings);
            Object::Slice(slice)
        }
        Object::Node(mut node) => {
            node::check(Arc::make_mut(&mut node), &mut findings);
            Object::Node(node)
        }
    });
    Checked {
        object,
        refused: findings.refused,
        problems: findings.told().into_iter().map(|problem| problem.about(name.as_str())).collect(),
    }
}

/// What was found wrong with one object.
#[derive(Default)]
struct Findings {
    refused: bool,
    problems: Vec<Problem>,
    left_out: usize,
}

impl Findings {
    /// Something that the API server would not take.
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.refused = true;
        self.note(Severity::Error, field, message);
    }

    /// Something that it takes, and that cannot be done here. The first few are told.
    fn note(&mut self, severity: Severity, field: impl Into<String>, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS_PER_OBJECT {
            self.problems.push(Problem::new(severity, message).at(field));
        } else {
            self.left_out += 1;
        }
    }

    /// The problems, and how many there are besides.
    fn told(self) -> Vec<Problem> {
        let more = (self.left_out > 0).then(|| Problem::error(format!("and {} more like these", self.left_out)));
        self.problems.into_iter().chain(more).collect()
    }
}

fn names(meta: &ObjectMeta, longest: usize, findings: &mut Findings) -> bool {
    let mut good = true;
    let mut check = |field: &str, name: Option<&str>, longest: usize| {
        if let Err(message) = dns_name(name.unwrap_or_default(), longest) {
            good = false;
            findings.refuse(field, format!("the name {message}; the object is ignored"));
        }
    };
    check("metadata.name", meta.name.as_deref(), longest);
    if let Some(namespace) = &meta.namespace {
        check("metadata.namespace", Some(namespace), MAX_LABEL);
    }
    good
}

/// Whether an object can have this name, or what is wrong with it.
fn dns_name(name: &str, longest: usize) -> Result<(), String> {
    if name.is_empty() {
        return Err("is missing".to_owned());
    }
    if name.len() > longest {
        return Err(format!("is longer than {longest} characters"));
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)) {
        return Err(format!("{} is not a DNS name (lower case letters, digits, '-')", quoted(name)));
    }
    Ok(())
}

fn is_port(number: i32) -> bool {
    (1..=65_535).contains(&number)
}

/// `retain` with the index that the item had in the manifest.
fn keep<T>(items: Option<&mut Vec<T>>, mut keep: impl FnMut(usize, &mut T) -> bool) {
    let mut index = 0;
    if let Some(items) = items {
        items.retain_mut(|item| {
            index += 1;
            keep(index - 1, item)
        });
    }
}
