//! Namespaces, devices, addresses and routes: the kernel side of the lab.

pub(crate) mod ip;
pub(crate) mod namespace;
pub(crate) mod nft;
pub(crate) mod topology;
pub(crate) mod xdp;
