//! What is measured.

use lb_common::Reason;

/// Flows that are known while a row is measured.
const FLOWS: [u32; 3] = [1, 1 << 16, 1 << 20];
/// Frontends where nothing else is said, and where their number is what the row is about.
const FEW: u32 = 10;
const MANY: u32 = 10_000;
/// Room for clients.
pub(crate) const CLIENTS: u32 = 1 << 21;
/// Backends of each Service.
const BACKENDS: u32 = 10;

/// One way of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Path {
    NotOurs,
    FlowLocal,
    FlowRemote,
    NewFlow,
    /// A new connection of a client that is held: only there is where affinity is.
    HeldClient,
    SynFlood,
    /// A SYN from outside the Service's source ranges.
    SourceRange,
    Decapsulate,
    Reply,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) path: Path,
    pub(crate) is_v6: bool,
    /// Whether the Services have `sessionAffinity: ClientIP`.
    pub(crate) has_affinity: bool,
    pub(crate) flows: u32,
    pub(crate) frontends: u32,
    pub(crate) backends: u32,
}

/// All rows, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = Row> {
    let paths = [
        Path::NotOurs,
        Path::FlowLocal,
        Path::FlowRemote,
        Path::NewFlow,
        Path::HeldClient,
        Path::SynFlood,
        Path::SourceRange,
        Path::Decapsulate,
        Path::Reply,
    ];
    paths.into_iter().flat_map(|path| [false, true].into_iter().flat_map(move |is_v6| of_path(path, is_v6)))
}

fn of_path(path: Path, is_v6: bool) -> impl Iterator<Item = Row> {
    let knows_none = matches!(path, Path::NotOurs | Path::SynFlood | Path::SourceRange);
    let flows = FLOWS.into_iter().filter(move |flows| *flows == 1 || !knows_none);
    let sizes = flows.map(|flows| (flows, FEW)).chain([(1, MANY)]);
    sizes.flat_map(move |(flows, frontends)| {
        // How many frontends there are was found out before anybody asks for clients.
        let affinity = with_and_without(path).iter().filter(move |affinity| !**affinity || frontends == FEW);
        affinity.map(move |has_affinity| Row {
            path,
            is_v6,
            has_affinity: *has_affinity,
            flows,
            frontends,
            backends: BACKENDS,
        })
    })
}

/// Whether a path is measured without affinity, with it, or both, one beside the other.
fn with_and_without(path: Path) -> &'static [bool] {
    match path {
        Path::FlowLocal | Path::FlowRemote | Path::NewFlow | Path::SynFlood => &[false, true],
        Path::HeldClient => &[true],
        Path::NotOurs | Path::SourceRange | Path::Decapsulate | Path::Reply => &[false],
    }
}

impl Row {
    pub(crate) fn name(&self) -> &'static str {
        match self.path {
            Path::NotOurs => "not-ours",
            Path::FlowLocal => "flow-local",
            Path::FlowRemote => "flow-remote",
            Path::NewFlow => "new-flow",
            Path::HeldClient => "held-client",
            Path::SynFlood => "syn-flood",
            Path::SourceRange => "source-range-drop",
            Path::Decapsulate => "decap",
            Path::Reply => "reply",
        }
    }

    pub(crate) fn family(&self) -> &'static str {
        if self.is_v6 { "ipv6" } else { "ipv4" }
    }

    pub(crate) fn affinity(&self) -> &'static str {
        if self.has_affinity { "clientip" } else { "none" }
    }

    /// What every repeat must end with.
    pub(crate) fn reason(&self) -> Reason {
        match self.path {
            Path::NotOurs => Reason::NotAFrontend,
            Path::FlowLocal => Reason::LocalFlow,
            Path::FlowRemote => Reason::RemoteFlow,
            Path::NewFlow | Path::HeldClient | Path::SynFlood => Reason::RemoteNew,
            Path::SourceRange => Reason::SourceRange,
            Path::Decapsulate => Reason::Decapsulated,
            Path::Reply => Reason::ReplyRestored,
        }
    }
}
