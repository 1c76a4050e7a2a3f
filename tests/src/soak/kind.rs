//! The kinds of changes: what they are called, and how many objects each changes.

use std::collections::BTreeMap;

/// How often each kind was done.
pub(super) type Done = BTreeMap<Kind, u64>;

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    NotReady,
    Ready,
    Terminating,
    Removed,
    CameBack,
    Replaced,
    ScaledUp,
    ScaledDown,
    ServiceRemoved,
    ServiceMade,
    TimeoutChanged,
    AffinitySwitched,
    Annotated,
    RangesSet,
    RangesTakenBack,
}

impl Kind {
    /// All kinds.
    pub(super) const ALL: [Self; 15] = [
        Self::NotReady,
        Self::Ready,
        Self::Terminating,
        Self::Removed,
        Self::CameBack,
        Self::Replaced,
        Self::ScaledUp,
        Self::ScaledDown,
        Self::ServiceRemoved,
        Self::ServiceMade,
        Self::TimeoutChanged,
        Self::AffinitySwitched,
        Self::Annotated,
        Self::RangesSet,
        Self::RangesTakenBack,
    ];

    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NotReady => "Pod not ready",
            Self::Ready => "Pod ready again",
            Self::Terminating => "Pod terminating",
            Self::Removed => "Pod removed",
            Self::CameBack => "Pod came back under its name",
            Self::Replaced => "Pod replaced in one change",
            Self::ScaledUp => "scaled up",
            Self::ScaledDown => "scaled down",
            Self::ServiceRemoved => "Service removed",
            Self::ServiceMade => "Service made",
            Self::TimeoutChanged => "affinity time-out changed",
            Self::AffinitySwitched => "affinity switched on or off",
            Self::Annotated => "annotation changed",
            Self::RangesSet => "source ranges set",
            Self::RangesTakenBack => "source ranges taken back",
        }
    }

    /// How many objects it changes: a Service has a slice for each address family.
    pub(super) fn objects(self) -> u64 {
        match self {
            Self::NotReady
            | Self::Ready
            | Self::Terminating
            | Self::Removed
            | Self::CameBack
            | Self::Replaced
            | Self::ScaledUp
            | Self::ScaledDown => 2,
            Self::ServiceRemoved | Self::ServiceMade => 3,
            Self::TimeoutChanged
            | Self::AffinitySwitched
            | Self::Annotated
            | Self::RangesSet
            | Self::RangesTakenBack => 1,
        }
    }
}
