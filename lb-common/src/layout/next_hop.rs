//! The ways to other nodes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::family::{Address, Address4, Address6};

/// How a packet reaches another node.
pub trait NextHop<A: Address> {
    /// All of it but the addresses of the tunnel's ends.
    fn way(&self) -> &Way;
}

/// The way that tunnel packets leave by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Way {
    /// Index of the device that leads there.
    pub device: u32,
    /// What the way carries in one packet, in bytes of layer 3.
    pub mtu: u16,
    /// UDP port of the tunnel, in host order; 0: the way is not known (yet).
    pub tunnel_port: u16,
    /// Layer-2 destination, then source; octets in wire order, in words so that the program copies words.
    pub ethernet: [u32; 3],
    /// VLAN tags of the way, outermost first: TPID and TCI, octets in wire order.
    pub tags: [u32; 2],
    /// How many of them there are.
    pub tag_count: u32,
}

impl Way {
    /// Whether it is known.
    #[inline(always)]
    pub fn is_known(&self) -> bool {
        self.tunnel_port != 0
    }
}

/// Value of `NEXT_HOPS4`, at the index that is the node's id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NextHop4 {
    /// This node's address, as source of the outer header.
    pub source: Address4,
    /// The other node's address.
    pub destination: Address4,
    /// The way there.
    pub way: Way,
}

/// Value of `NEXT_HOPS6`, at the index that is the node's id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NextHop6 {
    /// This node's address, as source of the outer header.
    pub source: Address6,
    /// The other node's address.
    pub destination: Address6,
    /// The way there.
    pub way: Way,
}

impl NextHop<Address4> for NextHop4 {
    #[inline(always)]
    fn way(&self) -> &Way {
        &self.way
    }
}

impl NextHop<Address6> for NextHop6 {
    #[inline(always)]
    fn way(&self) -> &Way {
        &self.way
    }
}

const _: () = assert!(size_of::<NextHop4>() == 40);
const _: () = assert!(size_of::<NextHop6>() == 64);
