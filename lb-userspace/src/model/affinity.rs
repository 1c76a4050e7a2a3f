//! How a Service's clients stay: `sessionAffinity` with its timeout, and Limpet's annotations.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::service;
use super::types::{Affinity, AffinityExpiry, AffinityKey, ClientAffinity};
use crate::source::{Problem, Sourced};

/// One Pod for a Service port (`port`, the default), or one for all ports of the Service (`service`).
pub const KEY_ANNOTATION: &str = "limpet.dev/affinity-key";
/// Leading bits of an address that make a client, for IPv4 and IPv6: `"24,64"`.
pub const PREFIX_ANNOTATION: &str = "limpet.dev/client-prefix";
/// Whether a client whose time is over may get another Pod (`real`, the default) or not (`stable`).
pub const EXPIRY_ANNOTATION: &str = "limpet.dev/affinity-expiry";

/// What the Service asks for (A.6). A wrong annotation is told, and its default used.
pub(super) fn of(sourced: &Sourced<Service>, spec: &ServiceSpec, problems: &mut BTreeSet<Problem>) -> Affinity {
    let affinity = with_annotations(sourced, problems);
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return Affinity::None;
    }
    let client_ip = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let timeout = client_ip.and_then(|c| c.timeout_seconds);
    let timeout_seconds = timeout
        .and_then(|t| u32::try_from(t).ok())
        .filter(|t| (1..=86_400).contains(t))
        .unwrap_or(affinity.timeout_seconds);
    Affinity::ClientIp(ClientAffinity { timeout_seconds, ..affinity })
}

/// The defaults, and what annotations change of them.
fn with_annotations(sourced: &Sourced<Service>, problems: &mut BTreeSet<Problem>) -> ClientAffinity {
    let mut affinity = ClientAffinity::default();
    let annotations = sourced.object.metadata.annotations.as_ref();
    let value = |name: &str| annotations.and_then(|annotations| annotations.get(name)).map(String::as_str);
    match value(KEY_ANNOTATION) {
        None | Some("port") => {}
        Some("service") => affinity.key = AffinityKey::Service,
        Some(other) => {
            wrong(sourced, KEY_ANNOTATION, format!("{other:?} is neither port nor service; port is used"), problems)
        }
    }
    match value(EXPIRY_ANNOTATION) {
        None | Some("real") => {}
        Some("stable") => affinity.expiry = AffinityExpiry::Stable,
        Some(other) => {
            wrong(sourced, EXPIRY_ANNOTATION, format!("{other:?} is neither real nor stable; real is used"), problems);
        }
    }
    if let Some(text) = value(PREFIX_ANNOTATION) {
        match prefixes(text) {
            Some((v4, v6)) => (affinity.prefix_v4, affinity.prefix_v6) = (v4, v6),
            None => {
                let message = format!(
                    "{text:?} is not two lengths, of IPv4 from 1 to 32 and of IPv6 from 1 to 128, as in \"24,64\"; \"32,128\" is used"
                );
                wrong(sourced, PREFIX_ANNOTATION, message, problems);
            }
        }
    }
    affinity
}

fn prefixes(text: &str) -> Option<(u8, u8)> {
    let (v4, v6) = text.split_once(',')?;
    let length = |text: &str, longest| text.trim().parse().ok().filter(|length: &u8| (1..=longest).contains(length));
    Some((length(v4, 32)?, length(v6, 128)?))
}

fn wrong(sourced: &Sourced<Service>, annotation: &str, message: String, problems: &mut BTreeSet<Problem>) {
    let (namespace, name) = service::name(&sourced.object);
    problems.insert(
        Problem::warning(message)
            .in_file(sourced.origin.file.as_deref())
            .about(format!("Service {namespace}/{name}"))
            .at(format!("metadata.annotations[{annotation}]")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_two_lengths() {
        let cases = [
            ("24,64", Some((24, 64))),
            (" 32 , 128 ", Some((32, 128))),
            ("1,1", Some((1, 1))),
            ("0,64", None),
            ("24,0", None),
            ("33,64", None),
            ("24,129", None),
            ("24", None),
            ("24,64,8", None),
            ("/24,/64", None),
            ("-1,64", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(prefixes(text), expected, "{text:?}");
        }
    }
}
