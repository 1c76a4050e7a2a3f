//! Whose Services: which ones this proxy is for (A.1), and which of those it was told to take.

use k8s_openapi::api::core::v1::Service;

use super::types::Options;

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Whether the Service is for us: it has addresses of its own, its label names this proxy (or there is none and none is
/// asked for), and it is of the class that was asked for, if one was.
///
/// An absent cluster IP is no sign of a headless Service here: the API server always gives one, and
/// a manifest from a file seldom has it.
pub(super) fn is_ours(service: &Service, options: &Options) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    let label = service.metadata.labels.as_ref().and_then(|labels| labels.get(PROXY_NAME));
    if label != options.service_proxy_name.as_ref() {
        return false;
    }
    // The API server gives a class to load balancers alone, and drops it with the type.
    let of_class = |class: &String| {
        spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.as_ref() == Some(class)
    };
    if !options.service_class.as_ref().is_none_or(of_class) {
        return false;
    }
    let headless = spec.cluster_ip.as_deref() == Some("None")
        || spec.cluster_ips.as_ref().is_some_and(|ips| ips.iter().any(|ip| ip == "None"));
    !headless && spec.type_.as_deref() != Some("ExternalName")
}
