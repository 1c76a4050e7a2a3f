//! Limpet's network lab: a small data centre made of network namespaces.
//!
//! Clients, a router, three nodes that each run the real agent, and Pods with real servers, all of
//! them joined by veth pairs that are made inside one outer namespace, so that no packet can leave
//! the machine. [`Lab::start`] builds it, methods of [`Lab`] change it, and dropping it (or losing
//! its process in any way) takes it down again by what was recorded.
//!
//! ```text
//!   c1 ──┐                 ┌── eth0 n1 ── p1-1, p1-2
//!        ├── router (br0) ─┼── eth0 n2 ── p2-1, p2-2
//!   c2 ──┘                 └── eth0 n3 ── p3-1, p3-2
//! ```
//!
//! The lab never depends on the code that it tests: it starts `limpet` as a process and reads the
//! JSON that it prints. Everything it relies on there is in [`agent`].

pub mod address;
pub mod agent;
pub mod api_server;
pub mod capture;
pub mod client;
pub mod demo;
pub mod flood;
pub mod janitor;
pub mod kube_proxy;
pub mod launch;
pub mod manifest;
pub mod programs;
pub mod scenarios;
pub mod server;
pub mod sessions;
pub mod soak;
pub mod wait;
pub mod world;

mod binaries;
mod lab;
mod net;
mod patch;
mod process;
mod record;
mod table;
mod wire;

pub use lab::{Lab, Layout, Options, Source};
pub use net::namespace::Namespace;
pub use record::tear_down_abandoned;
