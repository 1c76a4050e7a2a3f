//! The names that links are pinned under. Pure: what a name says, and the name that says it.
//!
//! `xdp-MODE-INDEX-DEVICE` and `tcx-egress-INDEX-DEVICE`. The index says which device it is, also after another one has
//! taken its name; the device's name is for people, as it was when the link was made.

use super::XdpMode;

/// What a pinned link holds on a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hook {
    /// The XDP program.
    Xdp(XdpMode),
    /// The tcx program on the way out.
    TcxEgress,
}

/// What the name of a pinned link says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LinkName {
    pub(super) hook: Hook,
    /// The kernel's number of the device.
    pub(super) index: u32,
    pub(super) device: String,
}

impl Hook {
    const ALL: [Self; 3] = [Self::Xdp(XdpMode::Native), Self::Xdp(XdpMode::Generic), Self::TcxEgress];

    fn prefix(self) -> &'static str {
        match self {
            Self::Xdp(XdpMode::Native) => "xdp-native-",
            Self::Xdp(XdpMode::Generic) => "xdp-generic-",
            Self::TcxEgress => "tcx-egress-",
        }
    }
}

impl LinkName {
    /// The name of the file.
    pub(super) fn file_name(&self) -> String {
        // A BPF file system takes no name with a dot, which devices of VLANs have.
        let device = self.device.replace('%', "%25").replace('.', "%2e");
        format!("{}{}-{device}", self.hook.prefix(), self.index)
    }

    /// What a file name says; none when it is not one of these names.
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        let (hook, rest) =
            Hook::ALL.into_iter().find_map(|hook| Some((hook, file_name.strip_prefix(hook.prefix())?)))?;
        let (index, device) = rest.split_once('-')?;
        let name = Self { hook, index: index.parse().ok()?, device: device.replace("%2e", ".").replace("%25", "%") };
        (!device.is_empty() && name.file_name() == file_name).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_say_which_device_it_is() {
        let cases = [
            ("native", "xdp-native-3-eth0", Hook::Xdp(XdpMode::Native), 3, "eth0"),
            ("generic, with a dash", "xdp-generic-12-en-0", Hook::Xdp(XdpMode::Generic), 12, "en-0"),
            ("a VLAN's device", "tcx-egress-7-eth0%2e100", Hook::TcxEgress, 7, "eth0.100"),
        ];
        for (description, file_name, hook, index, device) in cases {
            let name = LinkName { hook, index, device: device.to_owned() };
            assert_eq!(name.file_name(), file_name, "{description}");
            assert_eq!(LinkName::parse(file_name), Some(name), "{description}");
        }
    }

    #[test]
    fn other_names_say_nothing() {
        for other in ["xdp-native-eth0", "xdp-native-3-", "tcx-egress-+3-eth0", "tcx-ingress-3-eth0", "eth0", ""] {
            assert_eq!(LinkName::parse(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_device_comes_back(index: u32, device in "[!-.0-9;-~]{1,15}") {
            let name = LinkName { hook: Hook::TcxEgress, index, device };
            prop_assert!(!name.file_name().contains('.'));
            prop_assert_eq!(LinkName::parse(&name.file_name()), Some(name));
        }
    }
}
