//! Why a packet went where it went: every way out of every program has a number, a name and a counter.

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What the program tells the kernel.
    pub action: Action,
    /// Why; counted.
    pub reason: Reason,
}

/// What the program tells the kernel to do with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Hand it on: to the network stack at ingress, to the device at egress.
    Pass,
    /// Throw it away.
    Drop,
    /// Send it out by the device that it came in by.
    Transmit,
    /// Send it out by the device with this index.
    Redirect(u32),
}

impl Verdict {
    /// The packet is not ours, or is rewritten for the network stack to route.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self { action: Action::Pass, reason }
    }

    /// The packet is ours and wrong, or there is nowhere to send it.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self { action: Action::Drop, reason }
    }
}

/// The program that a reason belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// XDP, on what arrives at an uplink.
    Ingress,
    /// tcx, on what leaves by an uplink.
    Egress,
}

/// What a reason says of the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Not ours; untouched.
    Pass,
    /// Ours, and thrown away.
    Drop,
    /// Ours, and sent on its way.
    Forward,
    /// Ours, and answered in place of a Pod.
    Answer,
}

/// Every way out of the programs. The number is the index in `COUNTERS`; numbers are never reused.
///
/// A word wide: where a `Result` lays a narrower one over the first word of something else, the compiler cuts that
/// word into pieces at odd places on the stack, which the verifier refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
#[repr(u32)]
pub enum Reason {
    /// Neither IPv4 nor IPv6.
    NotIp = 0,
    /// More VLAN tags than are looked through.
    TooManyTags = 1,
    /// The frame ends within a header, or a header says what cannot be.
    Truncated = 2,
    /// IPv4 options.
    IpOptions = 3,
    /// An IPv6 extension header.
    ExtensionHeader = 4,
    /// An IP fragment.
    Fragment = 5,
    /// Neither TCP nor UDP.
    OtherProtocol = 6,
    /// The destination is no frontend.
    NotAFrontend = 7,
    /// To a frontend, but the lengths in the headers do not fit the frame.
    BadLength = 8,
    /// The Service port has no usable backend, and the packet is one that is not answered.
    NoBackend = 9,
    /// The lookup table names a backend that does not exist.
    BadTable = 10,
    /// The way to the backend's node is not known (yet).
    NoNextHop = 11,
    /// Too large for the tunnel.
    TooBig = 12,
    /// The driver left no room for the tunnel's headers, or an answer's.
    NoHeadroom = 13,
    /// To the tunnel, but not from a node.
    TunnelStranger = 14,
    /// To the tunnel, from a node, but not with our Geneve option.
    TunnelMalformed = 15,
    /// What is inside the tunnel is no whole TCP or UDP packet, or is to the tunnel itself.
    TunnelInner = 16,
    /// Through the tunnel, for a backend that is not on this node.
    TunnelNotLocal = 17,
    /// First packet of a flow, to a Pod on this node.
    LocalNew = 18,
    /// A known flow, to a Pod on this node.
    LocalFlow = 19,
    /// A flow whose backend is gone, now to a Pod on this node.
    LocalMoved = 20,
    /// A new connection on a known 5-tuple, to a Pod on this node.
    LocalRestarted = 21,
    /// First packet of a flow, to a Pod on another node.
    RemoteNew = 22,
    /// A known flow, to a Pod on another node.
    RemoteFlow = 23,
    /// A flow whose backend is gone, now to a Pod on another node.
    RemoteMoved = 24,
    /// A new connection on a known 5-tuple, to a Pod on another node.
    RemoteRestarted = 25,
    /// Out of the tunnel, to a Pod on this node.
    Decapsulated = 26,
    /// Egress: neither IPv4 nor IPv6.
    EgressNotIp = 27,
    /// Egress: more VLAN tags than are looked through.
    EgressTooManyTags = 28,
    /// Egress: the frame ends within a header, or a header says what cannot be.
    EgressTruncated = 29,
    /// Egress: IPv4 options.
    EgressIpOptions = 30,
    /// Egress: an IPv6 extension header.
    EgressExtensionHeader = 31,
    /// Egress: an IP fragment.
    EgressFragment = 32,
    /// Egress: neither TCP nor UDP.
    EgressOtherProtocol = 33,
    /// Egress: the source is no backend of this node.
    EgressNotABackend = 34,
    /// Egress: from a backend, but of no connection that came through Limpet.
    EgressNoReply = 35,
    /// Egress: the frontend put back as source.
    ReplyRestored = 36,
    /// Egress: the frontend put back as source, and the MSS lowered.
    ReplyClamped = 37,
    /// Egress: a header could not be rewritten; better lost than sent with a wrong source.
    EgressWriteFailed = 38,
    /// A header could not be rewritten.
    WriteFailed = 39,
    /// Would begin something, and its source is in none of the Service's ranges.
    SourceRange = 40,
    /// No usable backend on this node, where the Service's policy asks for one; others have some.
    NoLocalBackend = 41,
    /// No usable backend anywhere: answered with ICMP.
    Rejected = 42,
    /// To a frontend, from a node or a Pod of the cluster: not outside traffic, and left to kube-proxy.
    FromInside = 43,
    /// Would begin something, from an address that is not one host's, or from a frontend: no answer would get back.
    BadSource = 44,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = 45;

    /// All of them, each at the index that is its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NotIp,
        Self::TooManyTags,
        Self::Truncated,
        Self::IpOptions,
        Self::ExtensionHeader,
        Self::Fragment,
        Self::OtherProtocol,
        Self::NotAFrontend,
        Self::BadLength,
        Self::NoBackend,
        Self::BadTable,
        Self::NoNextHop,
        Self::TooBig,
        Self::NoHeadroom,
        Self::TunnelStranger,
        Self::TunnelMalformed,
        Self::TunnelInner,
        Self::TunnelNotLocal,
        Self::LocalNew,
        Self::LocalFlow,
        Self::LocalMoved,
        Self::LocalRestarted,
        Self::RemoteNew,
        Self::RemoteFlow,
        Self::RemoteMoved,
        Self::RemoteRestarted,
        Self::Decapsulated,
        Self::EgressNotIp,
        Self::EgressTooManyTags,
        Self::EgressTruncated,
        Self::EgressIpOptions,
        Self::EgressExtensionHeader,
        Self::EgressFragment,
        Self::EgressOtherProtocol,
        Self::EgressNotABackend,
        Self::EgressNoReply,
        Self::ReplyRestored,
        Self::ReplyClamped,
        Self::EgressWriteFailed,
        Self::WriteFailed,
        Self::SourceRange,
        Self::NoLocalBackend,
        Self::Rejected,
        Self::FromInside,
        Self::BadSource,
    ];

    /// Index in `COUNTERS`.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The name in output and metrics.
    pub const fn name(self) -> &'static str {
        self.about().0
    }

    /// The program that counts it.
    pub const fn program(self) -> Program {
        self.about().1
    }

    /// What it says of the packet.
    pub const fn class(self) -> Class {
        self.about().2
    }

    /// What it means, for people.
    pub const fn description(self) -> &'static str {
        self.about().3
    }

    const fn about(self) -> (&'static str, Program, Class, &'static str) {
        use Class::{Answer, Drop, Forward, Pass};
        use Program::{Egress, Ingress};
        match self {
            Self::NotIp => ("not-ip", Ingress, Pass, "neither IPv4 nor IPv6"),
            Self::TooManyTags => ("too-many-tags", Ingress, Pass, "more than two VLAN tags"),
            Self::Truncated => ("truncated", Ingress, Pass, "ends within a header, or a header lies"),
            Self::IpOptions => ("ip-options", Ingress, Pass, "IPv4 options"),
            Self::ExtensionHeader => ("extension-header", Ingress, Pass, "an IPv6 extension header"),
            Self::Fragment => ("fragment", Ingress, Pass, "an IP fragment"),
            Self::OtherProtocol => ("other-protocol", Ingress, Pass, "neither TCP nor UDP"),
            Self::NotAFrontend => ("not-a-frontend", Ingress, Pass, "to an address and port of no Service"),
            Self::BadLength => ("bad-length", Ingress, Drop, "lengths in the headers do not fit the frame"),
            Self::NoBackend => {
                ("no-backend", Ingress, Drop, "no usable backend; not told, for the frame's addresses or the rate")
            }
            Self::BadTable => ("bad-table", Ingress, Drop, "the lookup table names no existing backend"),
            Self::NoNextHop => ("no-next-hop", Ingress, Drop, "the way to the backend's node is not known"),
            Self::TooBig => ("too-big", Ingress, Drop, "too large for the tunnel"),
            Self::NoHeadroom => ("no-headroom", Ingress, Drop, "the driver leaves no room for headers in front"),
            Self::TunnelStranger => ("tunnel-stranger", Ingress, Drop, "to the tunnel, but from no known node"),
            Self::TunnelMalformed => ("tunnel-malformed", Ingress, Drop, "to the tunnel, without our option"),
            Self::TunnelInner => {
                ("tunnel-inner", Ingress, Drop, "in the tunnel: no whole TCP or UDP packet, or the tunnel again")
            }
            Self::TunnelNotLocal => ("tunnel-not-local", Ingress, Drop, "in the tunnel: for no backend of this node"),
            Self::LocalNew => ("local-new", Ingress, Forward, "new flow to a Pod on this node"),
            Self::LocalFlow => ("local-flow", Ingress, Forward, "known flow to a Pod on this node"),
            Self::LocalMoved => ("local-moved", Ingress, Forward, "backend gone; now to a Pod on this node"),
            Self::LocalRestarted => ("local-restarted", Ingress, Forward, "SYN on a known flow; Pod on this node"),
            Self::RemoteNew => ("remote-new", Ingress, Forward, "new flow to a Pod on another node"),
            Self::RemoteFlow => ("remote-flow", Ingress, Forward, "known flow to a Pod on another node"),
            Self::RemoteMoved => ("remote-moved", Ingress, Forward, "backend gone; now to a Pod on another node"),
            Self::RemoteRestarted => ("remote-restarted", Ingress, Forward, "SYN on a known flow; Pod on another node"),
            Self::Decapsulated => ("decapsulated", Ingress, Forward, "out of the tunnel to a Pod on this node"),
            Self::EgressNotIp => ("egress-not-ip", Egress, Pass, "neither IPv4 nor IPv6"),
            Self::EgressTooManyTags => ("egress-too-many-tags", Egress, Pass, "more than two VLAN tags"),
            Self::EgressTruncated => ("egress-truncated", Egress, Pass, "ends within a header, or a header lies"),
            Self::EgressIpOptions => ("egress-ip-options", Egress, Pass, "IPv4 options"),
            Self::EgressExtensionHeader => ("egress-extension-header", Egress, Pass, "an IPv6 extension header"),
            Self::EgressFragment => ("egress-fragment", Egress, Pass, "an IP fragment"),
            Self::EgressOtherProtocol => ("egress-other-protocol", Egress, Pass, "neither TCP nor UDP"),
            Self::EgressNotABackend => ("egress-not-a-backend", Egress, Pass, "from no backend of this node"),
            Self::EgressNoReply => ("egress-no-reply", Egress, Pass, "from a backend; no connection of ours"),
            Self::ReplyRestored => ("reply-restored", Egress, Forward, "frontend put back as source"),
            Self::ReplyClamped => ("reply-clamped", Egress, Forward, "frontend put back as source, MSS lowered"),
            Self::EgressWriteFailed => ("egress-write-failed", Egress, Drop, "a header could not be rewritten"),
            Self::WriteFailed => ("write-failed", Ingress, Drop, "a header could not be rewritten"),
            Self::SourceRange => ("source-range", Ingress, Drop, "from outside the Service's loadBalancerSourceRanges"),
            Self::NoLocalBackend => ("no-local-backend", Ingress, Drop, "policy Local, no usable backend on this node"),
            Self::Rejected => ("rejected", Ingress, Answer, "no usable backend; told by ICMP port unreachable"),
            Self::FromInside => ("from-inside", Ingress, Pass, "to a frontend, from a node or Pod of the cluster"),
            Self::BadSource => {
                ("bad-source", Ingress, Drop, "from an address that no sender can have, or a frontend's")
            }
        }
    }

    /// The reason with which the egress program leaves a packet that it cannot parse.
    #[inline(always)]
    pub const fn at_egress(self) -> Self {
        match self {
            Self::NotIp => Self::EgressNotIp,
            Self::TooManyTags => Self::EgressTooManyTags,
            Self::Truncated => Self::EgressTruncated,
            Self::IpOptions => Self::EgressIpOptions,
            Self::ExtensionHeader => Self::EgressExtensionHeader,
            Self::Fragment => Self::EgressFragment,
            Self::OtherProtocol => Self::EgressOtherProtocol,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_indexes_and_names_are_unique() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index() as usize, index, "{}", reason.name());
        }
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::COUNT);
    }

    #[test]
    fn parsing_reasons_have_their_counterpart_at_egress() {
        for reason in Reason::ALL.iter().take(7) {
            assert_eq!(reason.at_egress().program(), Program::Egress, "{}", reason.name());
            assert_eq!(reason.at_egress().class(), Class::Pass, "{}", reason.name());
        }
    }
}
