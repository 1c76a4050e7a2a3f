//! `sessionAffinity` (A.6), and Limpet's annotations.

use super::fixture::*;
use crate::model::*;

/// A.6: affinity and its timeout.
#[test]
fn a6_affinity() {
    for (spec, expected) in [
        ("", Affinity::None),
        ("sessionAffinity: None", Affinity::None),
        ("sessionAffinity: ClientIP", Affinity::ClientIp(ClientAffinity::default())),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 125}}",
            Affinity::ClientIp(ClientAffinity { timeout_seconds: 125, ..ClientAffinity::default() }),
        ),
    ] {
        let (desired, _) = run(&service(spec));
        let found: Vec<Affinity> = desired.services.values().map(|port| port.affinity).collect();
        assert_eq!(found, [expected], "{spec}");
    }
}

/// Limpet's annotations: each is checked, and a wrong one is told and its default used.
#[test]
fn affinity_annotations() {
    let with = |annotations: &str, affinity: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web, annotations: {{{annotations}}}}}, spec: {{sessionAffinity: {affinity}, externalIPs: [192.0.2.1], ports: [{{port: 80}}]}}}}"
        )
    };
    let default = ClientAffinity::default();
    let at = "Service default/web: metadata.annotations[limpet.dev/";
    for (annotations, expected, problem) in [
        ("limpet.dev/affinity-key: port", default, None),
        ("limpet.dev/affinity-key: service", ClientAffinity { key: AffinityKey::Service, ..default }, None),
        (
            "limpet.dev/affinity-key: Pod",
            default,
            Some("affinity-key]: \"Pod\" is neither port nor service; port is used"),
        ),
        ("limpet.dev/client-prefix: '24,64'", ClientAffinity { prefix_v4: 24, prefix_v6: 64, ..default }, None),
        (
            "limpet.dev/client-prefix: '24'",
            default,
            Some(
                "client-prefix]: \"24\" is not two lengths, of IPv4 from 1 to 32 and of IPv6 from 1 to 128, as in \"24,64\"; \"32,128\" is used",
            ),
        ),
        ("limpet.dev/affinity-expiry: real", default, None),
        ("limpet.dev/affinity-expiry: stable", ClientAffinity { expiry: AffinityExpiry::Stable, ..default }, None),
        (
            "limpet.dev/affinity-expiry: never",
            default,
            Some("affinity-expiry]: \"never\" is neither real nor stable; real is used"),
        ),
    ] {
        for (affinity, expected) in [("ClientIP", Affinity::ClientIp(expected)), ("None", Affinity::None)] {
            let (desired, problems) = run(&with(annotations, affinity));
            let found: Vec<Affinity> = desired.services.values().map(|port| port.affinity).collect();
            assert_eq!(found, [expected], "{annotations}");
            assert_eq!(problems.len(), usize::from(problem.is_some()), "{annotations}: {problems:?}");
            for (found, problem) in problems.iter().zip(problem) {
                assert!(found.contains(&format!("{at}{problem}")), "{found}");
            }
        }
    }
}
