//! The servers of `healthCheckNodePort` (A.9): one port for each Service with `externalTrafficPolicy: Local`, where a load
//! balancer asks whether this node has endpoints of it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{
    Json, Router,
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use nix::sys::socket::{setsockopt, sockopt::Ipv6V6Only};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};
use tracing::info;

use super::{
    health::{Health, NO_SNIFF},
    http,
};
use crate::{model::HealthCheck, source::Problem};

/// How many endpoints there are; load balancers may give the node that much of the traffic.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");
/// Connections that wait to be taken.
const BACKLOG: u32 = 128;

/// The servers that are open, by port.
pub(super) struct HealthChecks {
    health: Health,
    wanted: Vec<HealthCheck>,
    open: BTreeMap<u16, Server>,
}

/// A server, which ends when this is dropped.
struct Server {
    namespace: String,
    name: String,
    local_endpoints: Arc<AtomicUsize>,
    task: JoinHandle<Infallible>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    fn is_of(&self, check: &HealthCheck) -> bool {
        (&self.namespace, &self.name) == (&check.namespace, &check.name)
    }

    /// Ends it and waits until its port is free.
    async fn close(mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }
}

/// What a server says of its Service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    service: ServiceBody,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ServiceBody {
    namespace: String,
    name: String,
}

impl HealthChecks {
    /// None yet.
    pub(super) fn new(health: Health) -> Self {
        Self { health, wanted: Vec::new(), open: BTreeMap::new() }
    }

    /// Opens, closes and changes servers as these say. Returns what cannot be served.
    pub(super) async fn follow(&mut self, wanted: Vec<HealthCheck>) -> Vec<Problem> {
        self.wanted = wanted;
        let (owners, mut problems) = owners(&self.wanted);
        let stale = |(port, server): &(&u16, &Server)| !owners.get(port).is_some_and(|owner| server.is_of(owner));
        let stale: Vec<u16> = self.open.iter().filter(stale).map(|(port, _)| *port).collect();
        // All of them first: two Services may have changed places.
        for port in stale {
            if let Some(server) = self.open.remove(&port) {
                server.close().await;
            }
        }
        for (port, check) in owners {
            match self.open.entry(port) {
                Entry::Occupied(open) => open.get().local_endpoints.store(check.local_endpoints, Ordering::Relaxed),
                Entry::Vacant(closed) => match listen(port) {
                    Ok(listener) => {
                        info!(service = format!("{}/{}", check.namespace, check.name), port, "health checks served");
                        closed.insert(start(listener, check, &self.health));
                    }
                    Err(error) => problems.push(no_port(check, &error)),
                },
            }
        }
        problems
    }

    /// The same once more, for ports that somebody else had.
    pub(super) async fn retry(&mut self) -> Vec<Problem> {
        let wanted = self.wanted.clone();
        self.follow(wanted).await
    }
}

/// Whose each port is. Of two Services with one port, the first has it; the API server gives none out twice.
fn owners(wanted: &[HealthCheck]) -> (BTreeMap<u16, &HealthCheck>, Vec<Problem>) {
    let mut owners: BTreeMap<u16, &HealthCheck> = BTreeMap::new();
    let mut problems = Vec::new();
    for check in wanted {
        match owners.entry(check.port) {
            Entry::Vacant(free) => {
                free.insert(check);
            }
            Entry::Occupied(taken) => {
                let HealthCheck { namespace, name, port, .. } = taken.get();
                let message = format!("port {port} answers for Service {namespace}/{name}, which has the same one");
                problems.push(about(check, message));
            }
        }
    }
    (owners, problems)
}

fn about(check: &HealthCheck, message: String) -> Problem {
    let object = format!("Service {}/{}", check.namespace, check.name);
    Problem::warning(message).about(object).at("spec.healthCheckNodePort")
}

fn no_port(check: &HealthCheck, error: &io::Error) -> Problem {
    let port = check.port;
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("somebody else on this node answers on port {port}, such as kube-proxy; trying again")
        }
        _ => format!("cannot listen on port {port} ({error}); trying again"),
    };
    about(check, message)
}

/// Listens on all addresses of the node, of both families where there are both.
fn listen(port: u16) -> io::Result<TcpListener> {
    match listen_dual(port) {
        // The kernel has no IPv6, or it is switched off.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
            socket.listen(BACKLOG)
        }
        outcome => outcome,
    }
}

fn listen_dual(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    // Whatever net.ipv6.bindv6only says.
    setsockopt(&socket.as_fd(), Ipv6V6Only, &false)?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    socket.listen(BACKLOG)
}

fn start(listener: TcpListener, check: &HealthCheck, health: &Health) -> Server {
    let local_endpoints = Arc::new(AtomicUsize::new(check.local_endpoints));
    let HealthCheck { namespace, name, .. } = check.clone();
    let service = ServiceBody { namespace: namespace.clone(), name: name.clone() };
    let (health, count) = (health.clone(), Arc::clone(&local_endpoints));
    // Any path and any method: each cloud has its own.
    let router = Router::new().fallback(async move || {
        answer(service.clone(), count.load(Ordering::Relaxed), health.is_healthy(Instant::now()))
    });
    Server { namespace, name, local_endpoints, task: tokio::spawn(http::serve(listener, router)) }
}

fn answer(service: ServiceBody, local_endpoints: usize, service_proxy_healthy: bool) -> Response {
    let is_here = local_endpoints != 0 && service_proxy_healthy;
    let code = if is_here { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let weight = (WEIGHT, local_endpoints.to_string());
    let headers = [(NO_SNIFF.0, NO_SNIFF.1.to_owned()), weight];
    (code, headers, Json(Body { service, local_endpoints, service_proxy_healthy })).into_response()
}

#[cfg(test)]
mod tests {
    use std::{panic::resume_unwind, process::Command, sync::OnceLock, thread, time::Duration};

    use nix::sched::{CloneFlags, unshare};
    use serde_json::json;
    use tokio::net::TcpStream;

    use super::{
        super::{health::Facts, http::client::ask},
        *,
    };

    /// Runs it in a network namespace of its own: the servers listen on all addresses.
    fn apart<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
        let alone = move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: run it as root");
            let loopback = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
            assert!(loopback.success());
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        };
        thread::spawn(alone).join().unwrap_or_else(|panic| resume_unwind(panic));
    }

    fn check(name: &str, port: u16, local_endpoints: usize) -> HealthCheck {
        HealthCheck { namespace: "lab".to_owned(), name: name.to_owned(), port, local_endpoints }
    }

    fn health() -> Health {
        Health::new(Facts::default)
    }

    async fn code(port: u16) -> u16 {
        ask((Ipv4Addr::LOCALHOST, port), "GET", "/healthz").await.code
    }

    async fn is_closed(port: u16) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err()
    }

    fn lines(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a9_any_path_and_method_in_both_families() {
        apart(|| async {
            let mut servers = HealthChecks::new(health());
            assert_eq!(servers.follow(vec![check("cart", 30_001, 2)]).await, []);
            for server in [SocketAddr::from((Ipv4Addr::LOCALHOST, 30_001)), (Ipv6Addr::LOCALHOST, 30_001).into()] {
                for (method, path) in [("GET", "/"), ("GET", "/healthz"), ("POST", "/any/thing"), ("PURGE", "/x?y=z")] {
                    let answer = ask(server, method, path).await;
                    assert_eq!(answer.code, 200, "{method} {path}");
                    let expected = [
                        "content-type: application/json",
                        "x-content-type-options: nosniff",
                        "x-load-balancing-endpoint-weight: 2",
                    ];
                    for header in expected {
                        assert!(answer.head.contains(header), "{header}: {}", answer.head);
                    }
                    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                    let expected = json!({
                        "service": {"namespace": "lab", "name": "cart"}, "localEndpoints": 2, "serviceProxyHealthy": true,
                    });
                    assert_eq!(body, expected, "{method} {path}");
                }
            }
        });
    }

    #[test]
    fn a9_no_endpoint_here_and_an_unhealthy_agent_are_503() {
        apart(|| async {
            let queued = Arc::new(OnceLock::new());
            let asked = Arc::clone(&queued);
            let health = Health::new(move || Facts { queued: asked.get().copied(), ..Facts::default() });
            let mut servers = HealthChecks::new(health);
            servers.follow(vec![check("cart", 30_001, 0)]).await;
            let answer = ask((Ipv4Addr::LOCALHOST, 30_001), "GET", "/").await;
            assert_eq!(answer.code, 503);
            assert!(answer.head.contains("x-load-balancing-endpoint-weight: 0"), "also then: {}", answer.head);
            servers.follow(vec![check("cart", 30_001, 3)]).await;
            assert_eq!(code(30_001).await, 200, "the same server, another count");
            queued.set(Instant::now().checked_sub(Duration::from_secs(61)).unwrap()).unwrap();
            let answer = ask((Ipv4Addr::LOCALHOST, 30_001), "GET", "/").await;
            assert_eq!(answer.code, 503);
            assert!(answer.body.contains("\"serviceProxyHealthy\":false"), "{}", answer.body);
            assert!(answer.head.contains("x-load-balancing-endpoint-weight: 3"), "{}", answer.head);
        });
    }

    #[test]
    fn servers_open_close_and_change_places() {
        apart(|| async {
            let mut servers = HealthChecks::new(health());
            assert!(is_closed(30_001).await);
            assert_eq!(servers.follow(vec![check("cart", 30_001, 1), check("shop", 30_002, 0)]).await, []);
            assert_eq!((code(30_001).await, code(30_002).await), (200, 503));
            assert_eq!(servers.follow(vec![check("cart", 30_002, 1), check("shop", 30_001, 0)]).await, []);
            assert_eq!((code(30_001).await, code(30_002).await), (503, 200), "at once, with no port in use");
            servers.follow(vec![check("cart", 30_002, 1)]).await;
            assert!(is_closed(30_001).await);
            drop(servers);
            let closed = async {
                while !is_closed(30_002).await {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), closed).await.expect("closed with the agent");
        });
    }

    #[test]
    fn a_port_that_somebody_has_is_told_and_tried_again() {
        apart(|| async {
            let kube_proxy = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 30_001)).await.unwrap();
            let mut servers = HealthChecks::new(health());
            let problems = servers.follow(vec![check("cart", 30_001, 1), check("shop", 30_002, 1)]).await;
            let expected = "warning: Service lab/cart: spec.healthCheckNodePort: somebody else on this node answers on \
                            port 30001, such as kube-proxy; trying again";
            assert_eq!(lines(&problems), [expected]);
            assert_eq!(code(30_002).await, 200, "the other one is served");
            drop(kube_proxy);
            assert_eq!(servers.retry().await, []);
            assert_eq!(code(30_001).await, 200);
        });
    }

    #[test]
    fn two_services_with_one_port_are_told() {
        apart(|| async {
            let mut servers = HealthChecks::new(health());
            let problems = servers.follow(vec![check("cart", 30_001, 0), check("shop", 30_001, 1)]).await;
            let expected = "warning: Service lab/shop: spec.healthCheckNodePort: port 30001 answers for Service lab/cart, \
                            which has the same one";
            assert_eq!(lines(&problems), [expected]);
            assert_eq!(code(30_001).await, 503, "the first one's");
            assert_eq!(servers.follow(vec![check("shop", 30_001, 1)]).await, []);
            assert_eq!(code(30_001).await, 200, "the one that is left");
        });
    }
}
