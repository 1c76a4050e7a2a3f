//! The rules of Kubernetes by their numbers in docs/kubernetes.md, one test each, on small manifests.
//!
//! Where a test cites kube-proxy it is that of Kubernetes 1.36, by file and line under `pkg/proxy/`.

mod addresses;
mod affinity;
mod bad_input;
mod endpoints;
mod fixture;
mod health;
mod memo;
mod node_ports;
mod policies;
mod ranges;
mod sense;
mod services;
mod topology;
mod wild;
