//! Where Services, EndpointSlices and Nodes come from, and what is wrong with them.
//!
//! A source yields whole [`Snapshot`]s; what Kubernetes means by them is the model's business.
//! This module never depends on `model`, `plan` or the kernel.

mod directory;
mod document;
mod either;
mod kube;
mod problem;
mod settle;
mod validate;
mod watch;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

#[doc(hidden)]
pub use self::kube::Told;
pub use self::kube::{ConnectError, Kube};
pub use directory::{Directory, MAX_FILE_BYTES, MAX_FILES, MAX_OBJECTS};
pub use either::{Changes, Manifests, Source, SourceState, Standing};
pub use problem::{MAX_PROBLEMS_PER_OBJECT, Problem, Severity, limited, quoted};
pub use watch::{DirectoryWatch, WatchError};

/// Every object that counts, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The Services, each namespace and name once.
    pub services: Vec<Sourced<Service>>,
    /// The EndpointSlices, each namespace and name once.
    pub slices: Vec<Sourced<EndpointSlice>>,
    /// The Nodes, each name once.
    pub nodes: Vec<Sourced<Node>>,
    /// Whether this is all there is. While something could not be read, and was never read
    /// before, nothing may be concluded from an object's absence.
    pub complete: bool,
}

/// An object and where it came from.
#[derive(Debug)]
pub struct Sourced<T> {
    /// The object, shared with the source that keeps it.
    pub object: Arc<T>,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// Whether it is the very same object from the same place: then nothing has changed.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.object, &other.object) && self.origin == other.origin
    }
}

impl<T> Clone for Sourced<T> {
    fn clone(&self) -> Self {
        Self { object: Arc::clone(&self.object), origin: self.origin.clone() }
    }
}

/// Where an object came from, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file's name, or none for an object of the API server.
    pub file: Option<Arc<str>>,
    /// The document's number in the file, from 1.
    pub document: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file} (document {})", self.document),
            None => f.write_str("the API server"),
        }
    }
}
