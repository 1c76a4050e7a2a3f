//! A Kubernetes API server for tests: real HTTP/1.1 over TCP and TLS, bearer tokens, lists in pages, watches with
//! bookmarks, and faults on order.
//!
//! It keeps Nodes, Services, EndpointSlices, Events and Namespaces as JSON, in memory, under one counter of versions with a
//! history of bounded length. What it does not do, unlike a real one: validate objects (so that impossible ones can be
//! stored on purpose), authorise, convert between API versions, send tables, take patches other than merge patches, or
//! tell a watch's initial objects by `sendInitialEvents`.
//!
//! [`Fault`]s are made by a layer of their own, which can also stand in front of a real cluster: see [`Upstream`].
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use limpet_lab::api_server::{ApiServer, Fault, Kind, Options};
//! use serde_json::json;
//!
//! let server = ApiServer::start(Options::default())?;
//! let home = tempfile::tempdir()?;
//! server.kubeconfig(&home.path().join("kubeconfig"))?;
//! server.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}))?;
//! server.fault(Fault::CutWatches)?;
//! server.delete(Kind::Node, "", "n1")?;
//! server.heal()?;
//! # Ok(())
//! # }
//! ```

mod body;
mod certificates;
mod defaults;
mod door;
mod fault;
mod faults;
mod front;
mod kind;
mod kubeconfig;
mod list;
mod objects;
mod query;
mod refusal;
mod selector;
mod store;
mod target;
#[cfg(test)]
mod tests;
mod tokens;
mod upstream;
mod watching;

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc as channel;

use self::certificates::Certificates;
use self::door::{Door, Order};
use self::front::Front;
use self::kubeconfig::User;
use self::objects::Objects;
use self::store::{Key, Store};
use self::upstream::Local;

pub use body::{Body, BoxError, whole};
pub use fault::{Fault, Garbage, MAX_SLOW, Times, Which, Wrong, WrongCertificate};
pub use front::Asked;
pub use kind::Kind;
pub use refusal::Refusal;
pub use target::Verb;
pub use upstream::{Answer, Upstream};

/// How a server is to be.
pub struct Options {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The network namespace that it listens in; none: that of the thread that starts it.
    pub network: Option<File>,
    /// The address that it listens on.
    pub address: IpAddr,
    /// The port; 0: one that is free. In a network of its own better one that the kernel gives to no client, such as 6443:
    /// while connections are refused, a client that tries could be given the very port that it tries to reach.
    pub port: u16,
    /// Who answers behind the faults; none: the server has objects of its own.
    pub upstream: Option<Arc<dyn Upstream>>,
    /// Changes that are remembered. A watch or a list at a version before them is told that it is gone.
    pub history: usize,
    /// The version before the first change.
    pub first_version: u64,
    /// Time between two bookmarks of a watch.
    pub bookmarks: Duration,
    /// Largest page of a list, whatever larger one a client asks for.
    pub largest_page: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: true,
            network: None,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            upstream: None,
            history: 10_000,
            first_version: 1_000,
            bookmarks: Duration::from_secs(1),
            largest_page: None,
        }
    }
}

/// A running server, on a thread of its own; it ends when this is dropped. All methods may be called from any thread, and
/// none waits for a client.
pub struct ApiServer {
    address: SocketAddr,
    front: Arc<Front>,
    /// None: an upstream has them.
    objects: Option<Arc<Objects>>,
    certificates: Option<Arc<Certificates>>,
    orders: Option<channel::UnboundedSender<(Order, mpsc::Sender<Result<()>>)>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts one; when this returns, it can be connected to.
    ///
    /// # Errors
    /// When it cannot listen, or certificates cannot be made.
    pub fn start(options: Options) -> Result<Self> {
        let store = Store::new(options.first_version, options.history);
        let objects = options.upstream.is_none().then(|| Arc::new(Objects::new(store)));
        let upstream = match (&objects, options.upstream) {
            (_, Some(upstream)) => upstream,
            (Some(objects), None) => Arc::new(Local { objects: Arc::clone(objects), bookmarks: options.bookmarks }),
            (None, None) => bail!("a server has either objects or an upstream"),
        };
        let front = Arc::new(Front::new(upstream, options.largest_page));
        let certificates = options.tls.then(|| Certificates::make(options.address)).transpose()?.map(Arc::new);
        let listener = door::listen(SocketAddr::new(options.address, options.port), options.network.as_ref())?;
        let address = listener.local_addr().context("cannot tell where a server listens")?;
        let door =
            Door { front: Arc::clone(&front), certificates: certificates.clone(), address, network: options.network };
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        let (orders, received) = channel::unbounded_channel();
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).context("cannot use a socket")?
        };
        let thread = thread::Builder::new()
            .name("api-server".to_owned())
            .spawn(move || runtime.block_on(door.serve(listener, received)))
            .context("cannot start a thread")?;
        Ok(Self { address, front, objects, certificates, orders: Some(orders), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate of its CA, in PEM; none without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.certificates.as_ref().map(|certificates| certificates.ca_pem.as_str())
    }

    /// A new token, good until [`ApiServer::expire_tokens`].
    #[must_use]
    pub fn issue_token(&self) -> String {
        self.front.tokens.issue()
    }

    /// From now on, no token that was issued so far is accepted.
    pub fn expire_tokens(&self) {
        self.front.tokens.expire();
    }

    /// Writes a kubeconfig with a new token; the CA's certificate lies beside it, as `NAME.ca.crt`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn kubeconfig(&self, path: &Path) -> Result<()> {
        kubeconfig::write(path, &self.url(), self.ca_pem(), User::Token(&self.issue_token()))
    }

    /// Writes a kubeconfig that names a file with the token. The file is the caller's to write.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn kubeconfig_with_token_file(&self, path: &Path, token_file: &Path) -> Result<()> {
        kubeconfig::write(path, &self.url(), self.ca_pem(), User::TokenFile(token_file))
    }

    /// Makes an object or puts it in another's place, its status included; what a server fills in is filled in where it is
    /// missing. Returns it as it is stored.
    ///
    /// # Errors
    /// When it is of no [`Kind`] or has no name.
    pub fn apply(&self, object: Value) -> Result<Value> {
        let kind = Kind::of(&object).with_context(|| format!("{object} is of no kind that is kept here"))?;
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().with_context(|| format!("{object} has no name"))?.to_owned();
        let namespace = match (kind.is_namespaced(), metadata["namespace"].as_str()) {
            (false, _) => String::new(),
            (true, Some(namespace)) => namespace.to_owned(),
            (true, None) => bail!("{} {name:?} has no namespace", kind.name()),
        };
        Ok(self.objects_here()?.apply(Key { kind, namespace, name }, object))
    }

    /// Stores an object of any shape under a name, as it is, whatever it says of itself.
    ///
    /// # Errors
    /// When the server has no objects of its own.
    pub fn store_as(&self, kind: Kind, namespace: &str, name: &str, object: Value) -> Result<()> {
        let key = key(kind, namespace, name);
        self.objects_here()?.write(|store| store.put(key, object));
        Ok(())
    }

    /// Removes an object, and with a Namespace all that is in it. The namespace is empty where the kind has none.
    ///
    /// # Errors
    /// When there is no such object.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        let deleted = self.objects_here()?.delete(&key(kind, namespace, name));
        ensure!(deleted.is_ok(), "there is no {} {namespace}/{name} to delete", kind.name());
        Ok(())
    }

    /// All objects of a kind, in the order of namespaces and names, whatever is shown.
    ///
    /// # Errors
    /// When the server has no objects of its own.
    pub fn objects(&self, kind: Kind) -> Result<Vec<Value>> {
        let clone = |store: &Store| store.objects(kind).map(|object| object.as_ref().clone()).collect();
        Ok(self.objects_here()?.read(clone))
    }

    /// All Events, those of `v1` first.
    ///
    /// # Errors
    /// When the server has no objects of its own.
    pub fn events(&self) -> Result<Vec<Value>> {
        let mut events = self.objects(Kind::CoreEvent)?;
        events.extend(self.objects(Kind::Event)?);
        Ok(events)
    }

    /// The version of the last change that is shown.
    ///
    /// # Errors
    /// When the server has no objects of its own.
    pub fn version(&self) -> Result<u64> {
        Ok(self.objects_here()?.read(Store::version))
    }

    /// Forgets the history, as compaction does: watches and pages from before are told that they are gone.
    ///
    /// # Errors
    /// When the server has no objects of its own.
    pub fn compact(&self) -> Result<()> {
        self.objects_here()?.write(Store::forget);
        Ok(())
    }

    /// Cuts all connections and goes on with the same objects under other versions, from this one on, as a server does whose
    /// data were put back.
    ///
    /// # Errors
    /// When the server has no objects of its own.
    pub fn begin_anew(&self, version: u64) -> Result<()> {
        let objects = self.objects_here()?;
        self.order(Order::Cut)?;
        objects.write(|store| store.begin_anew(version));
        // Nobody may go on from the old versions who asked between the two.
        self.order(Order::Cut)
    }

    /// Makes something go wrong; when this returns, it has begun to.
    ///
    /// # Errors
    /// When this server cannot do that, or when there are too many faults already.
    pub fn fault(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::RefuseConnections => self.order(Order::Close),
            Fault::Certificate(wrong) => {
                ensure!(self.certificates.is_some(), "a server without TLS has no certificate to get wrong");
                self.order(Order::Show(wrong))
            }
            Fault::CutWatches => {
                self.front.faults.cut_now();
                Ok(())
            }
            Fault::CutMidLine(which) => {
                self.front.faults.cut_mid_line(which);
                Ok(())
            }
            Fault::Answers(wrong, which, times) => {
                ensure!(self.front.faults.add(wrong, which, times), "there are too many faults at a time");
                Ok(())
            }
            Fault::OldView(version) => {
                let shown = self.objects_here()?.write(|store| store.show_up_to(Some(version)));
                ensure!(shown.is_ok(), "version {version} is forgotten, it cannot be shown again");
                Ok(())
            }
        }
    }

    /// Ends all that lasts.
    ///
    /// # Errors
    /// When it cannot listen again where it did.
    pub fn heal(&self) -> Result<()> {
        self.front.faults.heal();
        if let Some(objects) = &self.objects {
            let _all = objects.write(|store| store.show_up_to(None));
        }
        self.order(Order::Heal)
    }

    /// Whether there are wrong answers that nobody has asked for yet.
    #[must_use]
    pub fn has_faults_left(&self) -> bool {
        self.front.faults.has_answers_left()
    }

    /// What was asked so far, in order; of very many, the last.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.front.asked()
    }

    fn objects_here(&self) -> Result<&Arc<Objects>> {
        self.objects.as_ref().context("the objects are the upstream's: this server has none of its own")
    }

    /// Has the door do something and waits until it is done.
    fn order(&self, order: Order) -> Result<()> {
        let (done, outcome) = mpsc::channel();
        let orders = self.orders.as_ref().context("the server has ended")?;
        orders.send((order, done)).ok().context("the server has ended")?;
        outcome.recv().context("the server has ended")?
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiServer").field(&self.url()).finish()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // Ends the thread.
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            eprintln!("the API server for tests panicked");
        }
    }
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }
}
