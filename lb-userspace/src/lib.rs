//! Limpet's agent and command line.
//!
//! The arrows point one way: `source` (a directory of manifests) -> `model` (what Kubernetes means: pure) -> `plan`
//! (what to write, in which order: pure) -> `dataplane` (BPF maps and links; with `netlink`, the only place that
//! touches the kernel). `agent` wires them; `inspect` reads the agent's socket and the pinned maps.

pub mod agent;
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dataplane;
pub mod fail_point;
pub mod inspect;
pub mod kubectl;
pub mod model;
pub mod netlink;
pub mod pages;
pub mod plan;
pub mod privileges;
pub mod source;
