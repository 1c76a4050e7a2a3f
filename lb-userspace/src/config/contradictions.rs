//! Settings that are legal one by one, and cannot be meant together.

use std::net::SocketAddr;

use super::{Problem, Setting};
use crate::cli::{AgentOptions, ListenOption, SourceOption};

/// All contradictions, each with both places.
pub(super) fn find(options: &AgentOptions, settings: &[Setting]) -> Vec<Problem> {
    let of = |name: &str| settings.iter().find(|setting| setting.name == name);
    let problem = |one: &str, other: &str, message: &dyn Fn(&str) -> String| {
        let (one, other) = (of(one)?, of(other)?);
        Some(Problem { place: one.place(), message: message(&other.place()) })
    };
    let is_set = |name: &str| of(name).is_some_and(Setting::is_set);
    let mut problems = Vec::new();
    if let SourceOption::Directory(_) = &options.source {
        let source = &options.source;
        if options.kubeconfig.is_some() {
            problems.push(problem("kubeconfig", "source", &|place| {
                format!("names a way to the API server, which source {source} ({place}) does not ask; leave one out")
            }));
        }
        if options.telling.break_events && is_set("break-events") {
            problems.push(problem("break-events", "source", &|place| {
                format!(
                    "Events are made at the API server, which source {source} ({place}) does not ask; leave one out"
                )
            }));
        }
    }
    let (health, metrics) = (options.telling.health_address, options.telling.metrics_address);
    if let (ListenOption(Some(one)), ListenOption(Some(other))) = (metrics, health)
        && overlap(one, other)
    {
        problems.push(problem("metrics-address", "health-address", &|place| {
            format!("{one} cannot be listened on beside {other} ({place}); give one another port, or `none`")
        }));
    }
    if options.places.socket.starts_with(&options.places.pin_dir) {
        problems.push(problem("socket", "pin-dir", &|place| {
            let (socket, pins) = (options.places.socket.display(), options.places.pin_dir.display());
            format!("{socket} is in the directory of pins, {pins} ({place}), where no socket can be; choose another")
        }));
    }
    problems.into_iter().flatten().collect()
}

/// Whether two servers cannot listen on these. Port 0 is any that is free.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    // `[::]` takes IPv4 as well.
    let takes_all = |ip: std::net::IpAddr, of: std::net::IpAddr| ip.is_unspecified() && (ip.is_ipv6() || of.is_ipv4());
    one.port() == other.port()
        && one.port() != 0
        && (first == second || takes_all(first, second) || takes_all(second, first))
}
