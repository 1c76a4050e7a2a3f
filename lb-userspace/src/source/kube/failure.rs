//! What went wrong between the agent and the API server, in one line: what, where, and what to do.

use std::{error::Error as StdError, io, time::Duration};

use kube::core::Status;
use tokio_rustls::rustls::{self, CertificateError};

use super::{kind::Kind, newest::PATIENCE};

/// Why a list or a watch ended.
#[derive(Debug)]
pub(super) struct Failure {
    /// For people: one line.
    pub(super) message: String,
    /// Whether versions are worth nothing any more, and all must be listed anew.
    pub(super) is_gone: bool,
    /// How long the API server asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that only time or a person mends.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_gone: false, retry_after: None }
    }

    /// The same, and what was known of versions is worth nothing.
    pub(super) fn gone(message: impl Into<String>) -> Self {
        Self { is_gone: true, ..Self::new(message) }
    }

    /// What the client said when it asked `place` for objects of a kind.
    pub(super) fn of(error: &kube::Error, kind: Kind, place: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::refused(status, kind, place),
            kube::Error::SerdeError(error) => Self::garbled(kind, place, error),
            kube::Error::Auth(error) => Self::new(format!(
                "cannot authenticate at {place}: {}; see to the token or command that the kubeconfig names",
                chain(error)
            )),
            kube::Error::ReadEvents(error) => Self::new(format!(
                "{place} broke off while it told changes of {}: {}; asked again from there",
                kind.plural(),
                chain(error)
            )),
            other => Self::new(unreachable(other, place)),
        }
    }

    /// An answer that is none.
    pub(super) fn garbled(kind: Kind, place: &str, error: impl std::fmt::Display) -> Self {
        Self::gone(format!(
            "{place} answered with something else than {} ({error}); is it an API server, and nothing in between?",
            kind.plural()
        ))
    }

    /// A list that is older than what was seen.
    pub(super) fn older(kind: Kind, place: &str, version: &str, seen: u128) -> Self {
        Self::new(format!(
            "{place} answered with an older state of {} (version {version}) than this node has seen ({seen}), as a server \
             that lags behind the others does, or a cluster that was put back from a backup; believed if it is still so \
             after {} s, or at once by an agent that is started anew",
            kind.plural(),
            PATIENCE.as_secs()
        ))
    }

    /// A change that is older than what was seen.
    pub(super) fn older_event(kind: Kind, place: &str, version: &str, seen: u128) -> Self {
        Self::gone(format!(
            "{place} told a change of {} that is older (version {version}) than what it was asked for ({seen}); all are \
             listed anew",
            kind.plural()
        ))
    }

    /// No answer in time.
    pub(super) fn silent(kind: Kind, place: &str, limit: Duration) -> Self {
        Self::new(format!(
            "{place} did not answer within {} s when asked for {}; is it overloaded, or the way to it broken?",
            limit.as_secs(),
            kind.plural()
        ))
    }

    /// An answer that says no.
    pub(super) fn refused(status: &Status, kind: Kind, place: &str) -> Self {
        let what = kind.plural();
        // Any JSON object passes for a refusal that says nothing.
        if status.code == 0 {
            return Self::garbled(kind, place, "neither an event nor a refusal");
        }
        let said = said(status);
        let message = match status.code {
            401 => format!(
                "{place} does not accept this agent's credentials ({said}); renew the token or certificate that it uses"
            ),
            403 => format!(
                "{place} does not let this agent read {what} ({said}); grant get, list and watch on services, nodes and \
                 endpointslices.discovery.k8s.io"
            ),
            404 => format!("{place} has no {what} ({said}); Kubernetes 1.21 or later is needed"),
            410 => format!("{place} has forgotten what the agent last saw of {what} ({said}); all are listed anew"),
            429 => format!("{place} has too much to do to list {what} ({said}); asked again later"),
            500.. => format!("{place} cannot list {what} at the moment ({said}); asked again later"),
            _ => format!("{place} refuses to list {what} ({said}); asked again later"),
        };
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let retry_after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        Self { message, is_gone: status.code == 410, retry_after }
    }
}

/// What a refusal says, with its number.
fn said(status: &Status) -> String {
    // A proxy in between may send a whole page.
    const LONGEST: usize = 200;
    let text = if status.message.is_empty() { &status.reason } else { &status.message };
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect();
    if text.is_empty() { status.code.to_string() } else { format!("{}: {text}", status.code) }
}

/// Why nobody could be spoken to.
fn unreachable(error: &kube::Error, place: &str) -> String {
    let causes = causes(error);
    let advice = causes.iter().rev().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return Some(tls_advice(error));
        }
        cause.downcast_ref::<io::Error>().and_then(io_advice)
    });
    // The standard library has no kind for a name that cannot be resolved, only this text.
    let is_name = causes.iter().any(|cause| cause.to_string().contains("failed to lookup address"));
    let advice = match advice {
        _ if is_name => "the name in this address cannot be resolved on this node; name an IP address, or mend its DNS",
        Some(advice) => advice,
        None => "is the address right, and does the API server run there?",
    };
    let reason = causes.last().map(ToString::to_string).unwrap_or_default();
    format!("cannot reach {place}: {reason}; {advice}")
}

fn tls_advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not of an authority that the agent trusts; give it the cluster's CA \
                 (certificate-authority of the kubeconfig, ca.crt of the ServiceAccount)"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired; renew it, or set this node's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set this node's clock"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name or address; use one that it is for, or set tls-server-name in the \
                 kubeconfig"
            }
            _ => "its certificate cannot be trusted; see to it",
        },
        rustls::Error::AlertReceived(_) => {
            "it ended the TLS handshake; it may not accept the agent's client certificate"
        }
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS; is the port right?",
        _ => "TLS cannot be agreed on; see to the certificates of both sides",
    }
}

fn io_advice(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Some("nobody listens there; does the API server run, and is the port right?")
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Some("the connection was cut; does the API server restart?")
        }
        io::ErrorKind::TimedOut => Some("nobody answers there; is the address right, and the way to it open?"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some("this node has no way there; see to its routes")
        }
        io::ErrorKind::UnexpectedEof => Some("the connection was closed in the middle; does the API server restart?"),
        _ => None,
    }
}

/// An error and all that it comes from, the first cause last. An I/O error hides the one that it was made of from
/// `source`.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    // Nothing here is nested as deeply; a loop would end.
    const MOST: usize = 32;
    std::iter::successors(Some(error), |error| cause(*error)).take(MOST).collect()
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inside) => Some(inside),
        None => error.source(),
    }
}

/// An error with its causes, each text once.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::pki_types::ServerName;

    use super::*;

    const PLACE: &str = "https://10.0.0.1:6443";

    fn service(error: impl StdError + Send + Sync + 'static) -> kube::Error {
        kube::Error::Service(Box::new(error))
    }

    fn tls(reason: CertificateError) -> kube::Error {
        service(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(reason)))
    }

    fn check(error: &kube::Error, kind: Kind, parts: &[&str]) {
        let message = Failure::of(error, kind, PLACE).message;
        assert!(message.contains(PLACE), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message} should say {part}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    #[test]
    fn each_failure_is_named_with_what_to_do() {
        let kind = Kind::Slices;
        check(&service(io::Error::from(io::ErrorKind::ConnectionRefused)), kind, &["nobody listens there"]);
        check(&service(io::Error::from(io::ErrorKind::TimedOut)), kind, &["nobody answers there"]);
        check(&service(io::Error::from(io::ErrorKind::NetworkUnreachable)), kind, &["routes"]);
        check(
            &service(io::Error::other("failed to lookup address information: x")),
            kind,
            &["cannot be resolved", "DNS"],
        );
        check(&tls(CertificateError::UnknownIssuer), kind, &["UnknownIssuer", "the cluster's CA"]);
        check(&tls(CertificateError::Expired), kind, &["has expired", "clock"]);
        let expected = ServerName::try_from("kubernetes").unwrap();
        let presented = vec!["DnsName(\"other\")".to_owned()];
        check(
            &tls(CertificateError::NotValidForNameContext { expected, presented }),
            kind,
            &["kubernetes", "another name", "tls-server-name"],
        );
    }

    #[test]
    fn each_refusal_is_named_with_what_to_do() {
        let status = |code, message: &str| kube::Error::Api(Status::failure(message, "Reason").with_code(code).boxed());
        check(&status(401, "Unauthorized"), Kind::Nodes, &["401: Unauthorized", "renew the token"]);
        check(&status(403, "nodes is forbidden"), Kind::Nodes, &["read Nodes", "grant get, list and watch"]);
        check(&status(404, ""), Kind::Slices, &["no EndpointSlices (404: Reason)", "1.21"]);
        check(&status(429, "slow\ndown"), Kind::Services, &["429: slow down", "later"]);
        check(&status(503, "etcd"), Kind::Services, &["at the moment (503: etcd)"]);
        let long = "x".repeat(1000);
        assert!(Failure::of(&status(500, &long), Kind::Services, PLACE).message.len() < 400);
        assert!(Failure::of(&status(0, ""), Kind::Services, PLACE).is_gone, "what was in its place is lost");
        let gone = Failure::of(&status(410, "too old"), Kind::Services, PLACE);
        assert!(gone.is_gone && gone.message.contains("listed anew"), "{gone:?}");
    }

    #[test]
    fn the_wish_to_be_left_alone_is_heard() {
        let details = serde_json::from_value(serde_json::json!({"retryAfterSeconds": 7})).unwrap();
        let status = Status::failure("busy", "TooManyRequests").with_code(429).with_details(details);
        assert_eq!(Failure::refused(&status, Kind::Services, PLACE).retry_after, Some(Duration::from_secs(7)));
    }
}
