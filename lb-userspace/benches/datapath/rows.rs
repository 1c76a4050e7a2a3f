//! What is measured.

use lb_common::Reason;

/// Flows that are known while a row is measured.
const FLOWS: [u32; 3] = [1, 1 << 16, 1 << 20];
/// Frontends where nothing else is said, and where their number is what the row is about.
const FEW: u32 = 10;
const MANY: u32 = 10_000;
/// Backends of each Service.
const BACKENDS: u32 = 10;

/// One way of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Path {
    NotOurs,
    FlowLocal,
    FlowRemote,
    NewFlow,
    SynFlood,
    Decapsulate,
    Reply,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) path: Path,
    pub(crate) is_v6: bool,
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
        Path::SynFlood,
        Path::Decapsulate,
        Path::Reply,
    ];
    paths.into_iter().flat_map(|path| [false, true].into_iter().flat_map(move |is_v6| of_path(path, is_v6)))
}

fn of_path(path: Path, is_v6: bool) -> impl Iterator<Item = Row> {
    let flows = FLOWS.into_iter().filter(move |flows| *flows == 1 || !matches!(path, Path::NotOurs | Path::SynFlood));
    let sizes = flows.map(|flows| (flows, FEW)).chain([(1, MANY)]);
    sizes.map(move |(flows, frontends)| Row { path, is_v6, flows, frontends, backends: BACKENDS })
}

impl Row {
    pub(crate) fn name(&self) -> &'static str {
        match self.path {
            Path::NotOurs => "not-ours",
            Path::FlowLocal => "flow-local",
            Path::FlowRemote => "flow-remote",
            Path::NewFlow => "new-flow",
            Path::SynFlood => "syn-flood",
            Path::Decapsulate => "decap",
            Path::Reply => "reply",
        }
    }

    pub(crate) fn family(&self) -> &'static str {
        if self.is_v6 { "ipv6" } else { "ipv4" }
    }

    /// What every repeat must end with.
    pub(crate) fn reason(&self) -> Reason {
        match self.path {
            Path::NotOurs => Reason::NotAFrontend,
            Path::FlowLocal => Reason::LocalFlow,
            Path::FlowRemote => Reason::RemoteFlow,
            Path::NewFlow | Path::SynFlood => Reason::RemoteNew,
            Path::Decapsulate => Reason::Decapsulated,
            Path::Reply => Reason::ReplyRestored,
        }
    }
}
