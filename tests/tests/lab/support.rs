//! What all tests in the lab use: the shared lab, and waiting until it answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use limpet_lab::address::{Family, NODES};
use limpet_lab::api_server::ApiServer;
use limpet_lab::client::{Client, Connection};
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};
use limpet_lab::{Lab, Options, wait};
use serde_json::Value;

/// The node that load-balancer IPs and external IPs are routed to, unless a test changes it.
pub(crate) const INGRESS: u8 = 1;
/// How long a change may take until clients notice it, where a test is not about that time.
pub(crate) const CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// How long one look for an answer takes at most: too short for a second SYN, which another look sends sooner.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// How long an agent may take to find the API server again: it waits longer after each failure.
pub(crate) const BACK_LIMIT: Duration = Duration::from_secs(20);

type Run = Box<dyn FnOnce(&mut Lab) -> Result<()> + Send>;

/// A named test.
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) run: Run,
}

impl Test {
    pub(crate) fn new(name: impl Into<String>, run: impl FnOnce(&mut Lab) -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// The same test, after which the Services that it added are removed, however it ends: each takes room for its tables.
    pub(crate) fn without_leftovers(self) -> Self {
        let Self { name, run } = self;
        Self::new(name, |lab| without_leftovers(lab, run))
    }
}

/// Runs a program of tests, one after the other in one lab, as its command line says.
pub(crate) fn run_all(options: Options, tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let lab = Arc::new(SharedLab::of(options));
    let trials = tests.into_iter().map(|Test { name, run }| {
        let lab = Arc::clone(&lab);
        Trial::test(name, move || lab.run(run))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Err(error) = lab.end() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// The lab of all tests. It is started by the first one, so that listing tests starts nothing.
struct SharedLab {
    options: Options,
    lab: Mutex<Option<Result<Lab, String>>>,
}

impl SharedLab {
    fn of(options: Options) -> Self {
        Self { options, lab: Mutex::default() }
    }

    fn run(&self, test: Run) -> Result<(), Failed> {
        let mut guard = self.lab.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = guard
            .get_or_insert_with(|| Lab::start(self.options.clone()).map_err(|error| format!("{error:#}")))
            .as_mut()
            .map_err(|error| Failed::from(format!("the lab does not start: {error}")))?;
        // A panic must not poison the lab for the tests that follow.
        let outcome =
            panic::catch_unwind(AssertUnwindSafe(|| test(lab))).unwrap_or_else(|_| Err(anyhow!("the test panicked")));
        outcome.map_err(|error| Failed::from(format!("{error:#}\n\n{}", lab.agent_logs())))
    }

    fn end(&self) -> Result<()> {
        let mut guard = self.lab.lock().unwrap_or_else(PoisonError::into_inner);
        match guard.take() {
            Some(Ok(lab)) => lab.end(),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

fn without_leftovers(lab: &mut Lab, run: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let names = |lab: &Lab| lab.world().services().map(|service| service.spec().name.clone()).collect::<BTreeSet<_>>();
    let before = names(lab);
    let outcome = run(lab);
    names(lab).difference(&before).try_for_each(|name| lab.remove_service(name))?;
    outcome
}

/// The names of the two Pods that every node has from the beginning.
pub(crate) fn first_pods(nodes: impl IntoIterator<Item = u8>) -> Vec<String> {
    nodes.into_iter().flat_map(|node| [format!("p{node}-1"), format!("p{node}-2")]).collect()
}

/// The first Pods of all nodes.
pub(crate) fn all_first_pods() -> Vec<String> {
    first_pods(1..=NODES)
}

/// Puts a Service there and waits until its load-balancer IPs answer at the ingress node.
pub(crate) fn serve(lab: &mut Lab, spec: ServiceSpec) -> Result<()> {
    let name = spec.name.clone();
    let protocols: Vec<Protocol> = spec.ports.iter().map(|port| port.protocol).collect();
    lab.put_service(spec)?;
    for protocol in protocols {
        for family in Family::BOTH {
            wait_until_answered(lab, protocol, frontend(lab, &name, family, protocol)?)?;
        }
    }
    Ok(())
}

/// A Service's load-balancer IP and port.
pub(crate) fn frontend(lab: &Lab, service: &str, family: Family, protocol: Protocol) -> Result<SocketAddr> {
    let service = lab.world().service(service)?;
    service.frontend(FrontendKind::LoadBalancerIp, family, protocol, INGRESS)
}

pub(crate) fn wait_until_answered(lab: &Lab, protocol: Protocol, to: SocketAddr) -> Result<()> {
    let what = format!("an answer from {to} over {}", protocol.name());
    wait::until_true(&what, CHANGE_LIMIT, || {
        let outcome = lab.client(1).attempt(protocol, to, None, LOOK)?;
        ensure!(outcome.pod().is_some(), "it brings {outcome:?}");
        Ok(true)
    })
}

/// Waits until connections are answered by these Pods: all of them, and nobody else.
pub(crate) fn wait_until_reached_are(lab: &Lab, protocol: Protocol, to: SocketAddr, pods: &[String]) -> Result<()> {
    let expected: BTreeSet<String> = pods.iter().cloned().collect();
    let times = pods.len() * pods.len() + 30;
    let what = format!("{to} over {} to be answered by {expected:?}", protocol.name());
    wait::until_true(&what, CHANGE_LIMIT, || {
        let mut reached = BTreeSet::new();
        for _ in 0..times {
            let outcome = lab.client(1).attempt(protocol, to, None, LOOK)?;
            reached.insert(outcome.pod().with_context(|| format!("it brings {outcome:?}"))?.to_owned());
        }
        ensure!(reached == expected, "{reached:?} answer");
        Ok(true)
    })
}

/// The Pods that answer this many new connections or datagrams of one client.
pub(crate) fn who_answers(lab: &Lab, protocol: Protocol, to: SocketAddr, times: usize) -> Result<BTreeSet<String>> {
    let client = lab.client(1);
    (1..=times)
        .map(|time| {
            let answer = client.who(protocol, to, None);
            let answer = answer.with_context(|| format!("request {time} of {times}"))?;
            Ok(answer.pod)
        })
        .collect()
}

/// A connection that stays open, and the Pod that it began with.
pub(crate) struct Held {
    pub(crate) connection: Connection,
    pub(crate) pod: String,
}

impl Held {
    /// Asks again; fails when nobody or another Pod answers.
    pub(crate) fn ask(&mut self) -> Result<()> {
        let answer = self.connection.who().with_context(|| format!("a connection to Pod {} broke", self.pod))?;
        ensure!(answer.pod == self.pod, "a connection to Pod {} is answered by {}", self.pod, answer.pod);
        Ok(())
    }
}

/// Opens connections to hold, from both clients and many of their addresses.
pub(crate) fn hold(lab: &Lab, to: SocketAddr, connections: u8) -> Result<Vec<Held>> {
    let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
    (1..=connections)
        .map(|index| {
            let client = lab.client(1 + index % 2);
            let from = SocketAddr::new(client.address(family, index), 0);
            let mut connection = client.tcp(to, Some(from))?;
            let pod = connection.who()?.pod;
            Ok(Held { connection, pod })
        })
        .collect()
}

pub(crate) fn ask_all(held: &mut [Held], when: &str) -> Result<()> {
    let total = held.len();
    for (index, held) in held.iter_mut().enumerate() {
        held.ask().with_context(|| format!("{when}, connection {index} of {total}"))?;
    }
    Ok(())
}

/// Waits until `limpet status` on a node ends with this code and has one line with all these parts.
pub(crate) fn says(lab: &Lab, node: u8, code: i32, parts: &[&str]) -> Result<()> {
    says_within(lab, node, code, parts, CHANGE_LIMIT)
}

/// The same for what may take longer.
pub(crate) fn says_within(lab: &Lab, node: u8, code: i32, parts: &[&str], limit: Duration) -> Result<()> {
    wait::until_true(&format!("a line of the status of n{node} with {parts:?}"), limit, || {
        let said = lab.limpet(node, &["status"])?;
        let found = said.stdout.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(found, "it says {}", said.stdout);
        ensure!(said.success == (code == 0), "its exit code is not {code}: {}", said.stdout);
        Ok(true)
    })
}

/// Waits until `limpet status` on a node ends with 0 and has nothing to complain of.
pub(crate) fn is_content(lab: &Lab, node: u8) -> Result<()> {
    is_content_within(lab, node, CHANGE_LIMIT)
}

/// The same for what may take longer.
pub(crate) fn is_content_within(lab: &Lab, node: u8, limit: Duration) -> Result<()> {
    wait::until_true(&format!("the status of n{node} to be content"), limit, || {
        let said = lab.limpet(node, &["status"])?;
        ensure!(said.success && !said.stdout.contains("SEVERITY"), "it says {}", said.stdout);
        Ok(true)
    })
}

/// Runs a case while a client connects as fast as it can; all of its connections but `may_break` must be answered, and
/// there must be some.
pub(crate) fn while_clients_connect(
    client: &Client,
    to: SocketAddr,
    may_break: usize,
    case: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let (mut connected, mut broken) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                match client.tcp_who(to, None) {
                    Ok(_) => connected += 1,
                    Err(_) if broken < may_break => broken += 1,
                    Err(error) => return Err(error.context(format!("connection {connected}"))),
                }
            }
            anyhow::Ok(connected)
        });
        let outcome = case();
        done.store(true, Ordering::Relaxed);
        let connected = connecting.join().map_err(|_| anyhow!("a client panicked"))??;
        outcome?;
        ensure!(connected > 20, "there were only {connected} connections");
        Ok(())
    })
}

/// The API server of a lab that has one.
pub(crate) fn api(lab: &Lab) -> Result<&ApiServer> {
    Ok(lab.manifests().api_server().context("the lab has no API server")?)
}

/// Waits until all agents say that they hear of changes, or that they do not.
pub(crate) fn wait_until_connected(lab: &Lab, connected: bool) -> Result<()> {
    for node in 1..=NODES {
        wait::until_true(&format!("the agent on n{node} to be connected: {connected}"), BACK_LIMIT, || {
            Ok(lab.status(node)?.agent.source.connected == connected)
        })?;
    }
    Ok(())
}

/// What is programmed at the ingress node.
pub(crate) fn backends(lab: &Lab) -> Result<Value> {
    lab.limpet(INGRESS, &["get", "backends", "-A", "-o", "json"])?.json()
}
