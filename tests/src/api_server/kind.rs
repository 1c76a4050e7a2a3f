//! The kinds of objects that the server keeps, and where they live in the API.

use serde_json::Value;

/// A kind of object, of one API version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Namespace. Removing one removes what is in it.
    Namespace,
    /// `v1` Node.
    Node,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Event. Unlike a real server, which keeps both kinds of Events in one place, this one keeps them apart.
    CoreEvent,
    /// `events.k8s.io/v1` Event.
    Event,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Namespace, Self::Node, Self::Service, Self::EndpointSlice, Self::CoreEvent, Self::Event];

    /// As in the field `kind`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::CoreEvent | Self::Event => "Event",
        }
    }

    /// As in the field `apiVersion`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Node | Self::Service | Self::CoreEvent => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::Event => "events.k8s.io/v1",
        }
    }

    /// As in a path.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::CoreEvent | Self::Event => "events",
        }
    }

    /// Whether its objects are in namespaces.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Namespace | Self::Node => false,
            Self::Service | Self::EndpointSlice | Self::CoreEvent | Self::Event => true,
        }
    }

    /// Whether it has a status that is written by a path of its own.
    #[must_use]
    pub fn has_status(self) -> bool {
        match self {
            Self::Namespace | Self::Node | Self::Service => true,
            Self::EndpointSlice | Self::CoreEvent | Self::Event => false,
        }
    }

    /// The kind that an object says it is of; none when it is none of these.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let (version, name) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        Self::ALL.into_iter().find(|kind| kind.api_version() == version && kind.name() == name)
    }

    /// The kind with this plural in this API version.
    pub(super) fn of_path(version: &str, plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.api_version() == version && kind.plural() == plural)
    }

    /// The path of one object, or of all where no name is given.
    #[must_use]
    pub fn path(self, namespace: Option<&str>, name: Option<&str>) -> String {
        let version = self.api_version();
        let group = if version.contains('/') { "apis" } else { "api" };
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        format!("/{group}/{version}{namespace}/{}{name}", self.plural())
    }
}
