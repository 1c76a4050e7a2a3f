//! The addresses of this node's devices, where node ports are to be found by them.

use std::net::IpAddr;

use tracing::error;

use crate::{model::NodePortAddresses, netlink::Netlink};

/// Keeps the addresses; asks for none where nobody needs them.
pub(super) struct Addresses {
    netlink: Option<Netlink>,
    known: Vec<IpAddr>,
    /// Why the last question came to nothing, so that it is said once.
    failure: Option<String>,
}

impl Addresses {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub(super) fn new(wanted: &NodePortAddresses) -> Result<Self, crate::netlink::Error> {
        let netlink = match wanted {
            NodePortAddresses::Primary => None,
            NodePortAddresses::Within(_) => Some(Netlink::open()?),
        };
        Ok(Self { netlink, known: Vec::new(), failure: None })
    }

    /// Asks again; returns them where they are others than before. Those that were known stay while the kernel does not
    /// answer.
    pub(super) async fn changed(&mut self) -> Option<Vec<IpAddr>> {
        match self.netlink.as_ref()?.local_addresses().await {
            Ok(addresses) => {
                self.failure = None;
                (addresses != self.known).then(|| self.known.clone_from(&addresses)).map(|()| addresses)
            }
            Err(failure) => {
                let failure = format!("{:#}", anyhow::Error::from(failure));
                if self.failure.as_ref() != Some(&failure) {
                    error!("cannot read this node's addresses, so that node ports stay where they are: {failure}");
                    self.failure = Some(failure);
                }
                None
            }
        }
    }
}
