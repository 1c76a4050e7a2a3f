//! One thing that is told of a Service, as a Kubernetes Event. Pure.
//!
//! The Event's name is made of the Service, the subject and the window: every node would give it the same one, so that the
//! API server refuses the second.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::api::ObjectMeta;
use lb_common::{breaks::BreakReason, hash};

use super::window::{Window, clock};

/// What Events come from, as `kubectl describe` shows it.
const COMPONENT: &str = "limpet";
/// Ports that are named in a message; more are counted.
const NAMED_PORTS: usize = 4;
/// Bytes of a message (events.k8s.io allows no more).
const MAX_MESSAGE_BYTES: usize = 1024;

/// A Service, as it is told of.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ServiceName {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
}

/// What is told of a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    /// Clients got another Pod for this reason: so many of each port, by its name.
    Broken(BreakReason, BTreeMap<String, u64>),
    /// There is no room for it in the maps; why, in a sentence.
    LimitReached(String),
}

impl Subject {
    /// A word for it: what tells two Events of one Service and window apart.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Broken(reason, _) => reason.name(),
            Self::LimitReached(_) => "limit-reached",
        }
    }

    /// The Event's reason and type.
    fn reason_and_type(&self) -> (&'static str, &'static str) {
        match self {
            Self::Broken(..) => ("SessionAffinityBroken", "Normal"),
            Self::LimitReached(_) => ("LimitReached", "Warning"),
        }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Broken(_, ports) => ports.values().fold(0, |sum: u64, count| sum.saturating_add(*count)),
            Self::LimitReached(_) => 1,
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Statement {
    /// Of this Service.
    pub(super) service: ServiceName,
    /// This.
    pub(super) subject: Subject,
    /// Seen in this window, or first seen in it.
    pub(super) window: Window,
}

impl Statement {
    /// As an Event on the Service with this uid, seen on this node.
    pub(super) fn event(&self, uid: Option<&str>, node: &str, now: Timestamp) -> Event {
        let ServiceName { namespace, name } = &self.service;
        let (reason, type_) = self.subject.reason_and_type();
        let (first, last) = match self.subject {
            Subject::Broken(..) => (self.window.start(), self.window.end()),
            Subject::LimitReached(_) => (now, now),
        };
        Event {
            metadata: ObjectMeta {
                name: Some(self.event_name(uid)),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Service".to_owned()),
                namespace: Some(namespace.clone()),
                name: Some(name.clone()),
                uid: uid.map(str::to_owned),
                ..ObjectReference::default()
            },
            reason: Some(reason.to_owned()),
            type_: Some(type_.to_owned()),
            message: Some(self.message(node)),
            source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
            first_timestamp: Some(Time(first)),
            last_timestamp: Some(Time(last.min(now))),
            count: Some(i32::try_from(self.subject.count()).unwrap_or(i32::MAX)),
            ..Event::default()
        }
    }

    /// Of a Service that was deleted and made anew there may be another in the same window.
    fn event_name(&self, uid: Option<&str>) -> String {
        let ServiceName { namespace, name } = &self.service;
        let [high, low] = hash::affinity(&format!("{namespace}/{name}"));
        let service = uid.map_or_else(|| format!("{high:08x}{low:08x}"), str::to_owned);
        format!("{COMPONENT}-{service}-{}-{}", self.subject.word(), self.window.number())
    }

    fn message(&self, node: &str) -> String {
        let ServiceName { namespace, name } = &self.service;
        let message = match &self.subject {
            Subject::Broken(reason, ports) => format!(
                "{} got another Pod because {} (as seen on node {node} between {} and {} UTC); `limpet breaks \
                 {namespace}/{name}` has more",
                clients(ports),
                because(*reason),
                clock(self.window.start()),
                clock(self.window.end()),
            ),
            Subject::LimitReached(message) => format!("{message} (on node {node})"),
        };
        message.get(..message.floor_char_boundary(MAX_MESSAGE_BYTES)).unwrap_or_default().to_owned()
    }
}

/// How many, of which ports.
fn clients(ports: &BTreeMap<String, u64>) -> String {
    let clients = |count: u64| if count == 1 { "1 client".to_owned() } else { format!("{count} clients") };
    let all = ports.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let mut named: Vec<_> = ports.iter().filter(|(port, _)| !port.is_empty()).collect();
    match named.as_slice() {
        [] => clients(all),
        [(port, _)] if ports.len() == 1 => format!("{} of {port}", clients(all)),
        _ => {
            named.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
            let shown = named.iter().take(NAMED_PORTS).map(|(port, count)| format!("{port}: {count}"));
            let shown: Vec<String> = shown.collect();
            let more = if named.len() > NAMED_PORTS { ", ..." } else { "" };
            format!("{} ({}{more})", clients(all), shown.join(", "))
        }
    }
}

fn because(reason: BreakReason) -> &'static str {
    match reason {
        BreakReason::BackendGone => "theirs is gone",
        BreakReason::NotReady => "theirs is not ready",
        BreakReason::Draining => "theirs is draining",
        BreakReason::Expired => "they began nothing for longer than the Service's timeout",
        BreakReason::Evicted => "the map of clients was full and forgot them (raise --max-clients)",
        BreakReason::ConfigChanged => "the Service's rules keep theirs out now",
        BreakReason::Forgotten => "somebody asked for it with `limpet forget`",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Names of ports, and their breaks.
    type Ports<'a> = &'a [(&'a str, u64)];

    fn broken(reason: BreakReason, ports: Ports<'_>) -> Statement {
        let noon: Timestamp = "2026-11-22T12:00:01Z".parse().unwrap();
        Statement {
            service: ServiceName { namespace: "lab".to_owned(), name: "cart".to_owned() },
            subject: Subject::Broken(reason, ports.iter().map(|(port, count)| ((*port).to_owned(), *count)).collect()),
            window: Window::of(noon, Duration::from_secs(300)),
        }
    }

    #[test]
    fn messages_are_for_people() {
        let rest = "(as seen on node n1 between 12:00 and 12:05 UTC); `limpet breaks lab/cart` has more";
        let cases: [(Ports<'_>, &str); 4] = [
            (&[("tcp-80", 26)], "26 clients of tcp-80 got another Pod because theirs is draining"),
            (&[("", 1)], "1 client got another Pod because theirs is draining"),
            (
                &[("http", 2), ("https", 24)],
                "26 clients (https: 24, http: 2) got another Pod because theirs is draining",
            ),
            (
                &[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 2)],
                "6 clients (e: 2, a: 1, b: 1, c: 1, ...) got another Pod because theirs is draining",
            ),
        ];
        for (ports, expected) in cases {
            assert_eq!(broken(BreakReason::Draining, ports).message("n1"), format!("{expected} {rest}"));
        }
        let long = broken(BreakReason::Draining, &[(&"ö".repeat(9000), 1)]).message("n1");
        assert!(long.len() <= MAX_MESSAGE_BYTES, "names of any length");
    }

    #[test]
    fn names_are_the_same_on_every_node_and_differ_by_service_subject_and_window() {
        let draining = broken(BreakReason::Draining, &[("tcp-80", 26)]);
        let uid = Some("11111111-2222-3333-4444-555555555555");
        assert_eq!(draining.event_name(uid), "limpet-11111111-2222-3333-4444-555555555555-draining-5984496");
        let of_another = |change: &dyn Fn(&mut Statement)| {
            let mut other = draining.clone();
            change(&mut other);
            other.event_name(None)
        };
        let names = [
            draining.event_name(None),
            broken(BreakReason::Expired, &[("tcp-80", 26)]).event_name(None),
            of_another(&|it| it.service.name = "shop".to_owned()),
            of_another(&|it| it.window = Window::of(it.window.end(), Duration::from_secs(300))),
            of_another(&|it| it.subject = Subject::LimitReached(String::new())),
        ];
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        // An API server takes no other (RFC 1123).
        let is_allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        assert!(names.iter().all(|name| name.chars().all(is_allowed) && name.len() < 253), "{names:?}");
    }

    #[test]
    fn events_are_about_the_service() {
        let now: Timestamp = "2026-11-22T12:05:02Z".parse().unwrap();
        let event = broken(BreakReason::Draining, &[("tcp-80", 26)]).event(Some("u"), "n1", now);
        let value = serde_json::to_value(event).unwrap();
        let expected = serde_json::json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "limpet-u-draining-5984496", "namespace": "lab"},
            "involvedObject": {"apiVersion": "v1", "kind": "Service", "namespace": "lab", "name": "cart", "uid": "u"},
            "reason": "SessionAffinityBroken", "type": "Normal", "count": 26,
            "message": "26 clients of tcp-80 got another Pod because theirs is draining (as seen on node n1 between 12:00 \
                        and 12:05 UTC); `limpet breaks lab/cart` has more",
            "source": {"component": "limpet", "host": "n1"},
            "firstTimestamp": "2026-11-22T12:00:00Z", "lastTimestamp": "2026-11-22T12:05:00Z",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_limit_is_a_warning() {
        let statement = Statement {
            subject: Subject::LimitReached("no room for its frontends (16); raise --max-frontends".to_owned()),
            ..broken(BreakReason::Draining, &[])
        };
        let now: Timestamp = "2026-11-22T12:01:00Z".parse().unwrap();
        let event = statement.event(None, "n1", now);
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("LimitReached")));
        let message = "no room for its frontends (16); raise --max-frontends (on node n1)";
        assert_eq!(event.message.as_deref(), Some(message));
    }

    #[test]
    fn every_reason_of_a_break_makes_a_sentence() {
        for reason in BreakReason::ALL {
            let message = broken(reason, &[("", 2)]).message("n1");
            assert!(message.starts_with("2 clients got another Pod because "), "{}: {message}", reason.name());
        }
    }
}
