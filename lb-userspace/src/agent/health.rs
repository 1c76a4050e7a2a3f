//! `/healthz` and `/livez`: whether the datapath follows the cluster, and whether load balancers should send to this node.
//!
//! The meaning is kube-proxy's: healthy is who has no update that waits for longer than [`OVERDUE`], whenever the last
//! one was. `/healthz` asks for an eligible node as well (KEP-3836): a load balancer that hears 503 sends no new
//! connections, and those that are there go on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::model::NodeEligibility;

/// An update that waits for longer is overdue: twice the time between kube-proxy's synchronisations.
const OVERDUE: Duration = Duration::from_secs(60);
/// Browsers and proxies are not to guess another type.
pub(super) const NO_SNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");

/// Answers the probes. Shared between the servers that do.
#[derive(Clone)]
pub(super) struct Health {
    facts: Arc<dyn Fn() -> Facts + Send + Sync>,
    answers: Arc<Mutex<Answers>>,
}

/// How often each answer was given, by path and code.
pub(super) type Answers = BTreeMap<(Probe, u16), u64>;

/// Which of the two paths is asked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Probe {
    /// `/healthz`.
    Ready,
    /// `/livez`.
    Live,
}

/// What the agent knows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Since when the oldest update waits; none while none does.
    pub(super) queued: Option<Instant>,
    /// When one was done last, if ever.
    pub(super) updated: Option<Timestamp>,
    /// What the Node object says.
    pub(super) eligibility: NodeEligibility,
}

impl Facts {
    fn is_healthy(&self, now: Instant) -> bool {
        self.queued.is_none_or(|since| now.saturating_duration_since(since) <= OVERDUE)
    }
}

/// The body of an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: BTreeMap<&'static str, FamilyBody>,
}

/// What it says of an address family: one round is for both of them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    last_updated: String,
    healthy: bool,
}

impl Health {
    /// From what this says at each question: it must be quick.
    pub(super) fn new(facts: impl Fn() -> Facts + Send + Sync + 'static) -> Self {
        Self { facts: Arc::new(facts), answers: Arc::default() }
    }

    /// Whether no update is overdue.
    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        (self.facts)().is_healthy(now)
    }

    /// How often each answer was given.
    pub(super) fn answers(&self) -> Answers {
        self.kept().clone()
    }

    /// The two paths.
    pub(super) fn router(&self) -> Router {
        let (ready, live) = (self.clone(), self.clone());
        Router::new()
            .route("/healthz", get(async move || ready.respond(Probe::Ready)))
            .route("/livez", get(async move || live.respond(Probe::Live)))
    }

    fn respond(&self, probe: Probe) -> Response {
        let (code, body) = self.answer(probe, Instant::now(), Timestamp::now());
        (code, [NO_SNIFF], Json(body)).into_response()
    }

    fn answer(&self, probe: Probe, now: Instant, wall: Timestamp) -> (StatusCode, Body) {
        let facts = (self.facts)();
        let (code, body) = answer(&facts, probe, now, wall);
        *self.kept().entry((probe, code.as_u16())).or_default() += 1;
        (code, body)
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn kept(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(facts: &Facts, probe: Probe, now: Instant, wall: Timestamp) -> (StatusCode, Body) {
    let healthy = facts.is_healthy(now);
    let node_eligible = match probe {
        Probe::Ready => Some(is_eligible(facts.eligibility)),
        Probe::Live => None,
    };
    let is_fine = healthy && node_eligible != Some(false);
    let code = if is_fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Who has nothing to do is up to date.
    let last_updated = if healthy { Some(wall) } else { facts.updated };
    let last_updated = last_updated.unwrap_or(Timestamp::UNIX_EPOCH).to_string();
    let family = FamilyBody { last_updated: last_updated.clone(), healthy };
    let status = [("IPv4", family.clone()), ("IPv6", family)].into();
    (code, Body { last_updated, current_time: wall.to_string(), node_eligible, healthy, status })
}

fn is_eligible(eligibility: NodeEligibility) -> bool {
    let NodeEligibility { known, deleting, tainted } = eligibility;
    known && !deleting && !tainted
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::{
        super::http::{self, client::ask},
        *,
    };

    const FINE: NodeEligibility = NodeEligibility { known: true, deleting: false, tainted: false };

    fn wall(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn codes(facts: &Facts, now: Instant) -> (u16, u16) {
        let code = |probe| answer(facts, probe, now, wall(0)).0.as_u16();
        (code(Probe::Ready), code(Probe::Live))
    }

    /// C.3: not tied to the time of the last update while none waits.
    #[test]
    fn an_update_that_waits_for_a_minute_is_overdue() {
        let start = Instant::now();
        let cases = [
            ("nothing waits, whatever the time", None, 100_000, (200, 200)),
            ("not for longer than a minute", Some(start), 60, (200, 200)),
            ("overdue", Some(start), 61, (503, 503)),
            ("queued a moment ahead of the clock", Some(start + OVERDUE), 0, (200, 200)),
        ];
        for (description, queued, seconds, expected) in cases {
            let facts = Facts { queued, updated: None, eligibility: FINE };
            assert_eq!(codes(&facts, start + Duration::from_secs(seconds)), expected, "{description}");
        }
    }

    /// C.3 and KEP-3836.
    #[test]
    fn load_balancers_are_sent_away_from_a_node_that_goes() {
        let cases = [
            ("fine", FINE, 200),
            ("not known", NodeEligibility::default(), 503),
            ("being deleted", NodeEligibility { deleting: true, ..FINE }, 503),
            ("tainted", NodeEligibility { tainted: true, ..FINE }, 503),
        ];
        for (description, eligibility, expected) in cases {
            let facts = Facts { eligibility, ..Facts::default() };
            assert_eq!(codes(&facts, Instant::now()), (expected, 200), "{description}");
        }
    }

    #[test]
    fn bodies_are_those_of_kube_proxy() {
        let start = Instant::now();
        let facts = Facts { queued: Some(start), updated: Some(wall(1)), ..Facts::default() };
        let body = |probe, seconds| {
            let (_, body) = answer(&facts, probe, start + Duration::from_secs(seconds), wall(70));
            serde_json::to_value(body).unwrap()
        };
        let (old, now) = ("2027-01-15T08:00:01Z", "2027-01-15T08:01:10Z");
        let of = |time: &str, healthy: bool| json!({"lastUpdated": time, "healthy": healthy});
        assert_eq!(
            body(Probe::Ready, 70),
            json!({
                "lastUpdated": old, "currentTime": now, "nodeEligible": false, "healthy": false,
                "status": {"IPv4": of(old, false), "IPv6": of(old, false)},
            })
        );
        assert_eq!(
            body(Probe::Live, 5),
            json!({
                "lastUpdated": now, "currentTime": now, "healthy": true,
                "status": {"IPv4": of(now, true), "IPv6": of(now, true)},
            })
        );
    }

    #[tokio::test]
    async fn probes_over_http_are_answered_and_counted() {
        let facts = Arc::new(Mutex::new(Facts::default()));
        let asked = Arc::clone(&facts);
        let health = Health::new(move || *asked.lock().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, health.router()));
        let ready = ask(server, "GET", "/healthz").await;
        assert_eq!(ready.code, 503, "the node is not known");
        assert!(ready.head.contains("content-type: application/json"), "{}", ready.head);
        let body: Value = serde_json::from_str(&ready.body).unwrap();
        assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(false), &json!(true)));
        facts.lock().unwrap().eligibility = FINE;
        assert_eq!(ask(server, "GET", "/healthz").await.code, 200);
        let head = ask(server, "HEAD", "/livez").await;
        assert_eq!((head.code, head.body.as_str()), (200, ""));
        assert_eq!(ask(server, "GET", "/").await.code, 404);
        assert_eq!(ask(server, "DELETE", "/healthz").await.code, 405);
        let expected = [((Probe::Ready, 200), 1), ((Probe::Ready, 503), 1), ((Probe::Live, 200), 1)];
        assert_eq!(health.answers(), expected.into());
    }
}
