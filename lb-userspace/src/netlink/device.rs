//! A network device, as the kernel describes it.

use rtnetlink::packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, VlanProtocol,
    XdpAttached,
};

use super::Error;

/// A network device whose frames have an Ethernet header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name; not necessarily the one that was asked for, which may be an alternative one.
    pub name: String,
    /// What it carries in one packet, in bytes of layer 3.
    pub mtu: u32,
    /// Its layer-2 address.
    pub address: [u8; 6],
    /// Whether it is up and can carry packets (has a carrier).
    pub is_up: bool,
    /// How an XDP program is attached to it, if one is.
    pub xdp: Option<XdpMode>,
    /// What it adds to frames, if it is a VLAN device.
    pub vlan: Option<Vlan>,
}

/// What makes a device a VLAN device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vlan {
    /// Index of the device below it, when that is in this network namespace.
    pub below: Option<u32>,
    /// The tag that its frames carry below: TPID and TCI, octets in wire order.
    pub tag: [u8; 4],
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpMode {
    /// In the driver: native.
    Driver,
    /// In the network stack, whatever the driver: generic.
    Generic,
    /// In the device.
    Hardware,
    /// In several of these ways at once, or in one that is newer than Limpet.
    Several,
}

impl Device {
    /// Reads the kernel's description. Fails when the device has no Ethernet header.
    pub(super) fn from_link(link: &LinkMessage) -> Result<Self, Error> {
        let mut name = String::new();
        let mut mtu = 0;
        let mut address = None;
        let mut xdp = None;
        let mut tag = None;
        let mut below = None;
        let mut is_below_elsewhere = false;
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(value) => name.clone_from(value),
                LinkAttribute::Mtu(value) => mtu = *value,
                LinkAttribute::Address(value) => address = <[u8; 6]>::try_from(value.as_slice()).ok(),
                LinkAttribute::Xdp(values) => xdp = values.iter().find_map(xdp_mode),
                LinkAttribute::LinkInfo(values) => tag = values.iter().find_map(vlan_tag),
                LinkAttribute::Link(index) => below = Some(*index),
                LinkAttribute::LinkNetNsId(_) => is_below_elsewhere = true,
                _ => {}
            }
        }
        let Some(address) = address.filter(|_| link.header.link_layer_type == LinkLayerType::Ether) else {
            return Err(Error::NotEthernet { device: name });
        };
        let is_up = link.header.flags.contains(LinkFlags::Up | LinkFlags::Running);
        let vlan = tag.map(|tag| Vlan { below: below.filter(|_| !is_below_elsewhere), tag });
        Ok(Self { index: link.header.index, name, mtu, address, is_up, xdp, vlan })
    }
}

/// The tag that a VLAN device adds. Its priority is 0: what the kernel would take it from, XDP's packets do not have.
fn vlan_tag(info: &LinkInfo) -> Option<[u8; 4]> {
    let LinkInfo::Data(InfoData::Vlan(values)) = info else {
        return None;
    };
    let mut id = None;
    let mut protocol = VlanProtocol::Ieee8021Q;
    for value in values {
        match value {
            InfoVlan::Id(value) => id = Some(*value),
            InfoVlan::Protocol(value) => protocol = *value,
            _ => {}
        }
    }
    let [high, low] = u16::from(protocol).to_be_bytes();
    id.map(u16::to_be_bytes).map(|[id_high, id_low]| [high, low, id_high, id_low])
}

/// What people call a device of the calling thread's network namespace; its index where that has no name any more.
pub fn device_name(index: u32) -> String {
    let name = nix::net::if_::if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    // For an index without a device nix returns an empty name.
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("device {index}"))
}

/// Index and name of any device.
pub(super) fn index_and_name(link: &LinkMessage) -> Option<(u32, String)> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some((link.header.index, name.clone())),
        _ => None,
    })
}

fn xdp_mode(attribute: &LinkXdp) -> Option<XdpMode> {
    match attribute {
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpMode::Driver),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpMode::Hardware),
        LinkXdp::Attached(_) => Some(XdpMode::Several),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::InfoVeth;

    use super::*;

    fn link(kind: LinkLayerType, flags: LinkFlags, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.header.link_layer_type = kind;
        link.header.flags = flags;
        link.attributes = attributes;
        link.attributes.push(LinkAttribute::IfName("eth0".to_owned()));
        link.attributes.push(LinkAttribute::Mtu(1500));
        link
    }

    fn address(bytes: &[u8]) -> LinkAttribute {
        LinkAttribute::Address(bytes.to_vec())
    }

    fn veth() -> InfoVeth {
        InfoVeth::Peer(LinkMessage::default())
    }

    #[test]
    fn devices_are_read() {
        let plain = Device {
            index: 7,
            name: "eth0".to_owned(),
            mtu: 1500,
            address: [2, 0, 0, 0, 0, 1],
            is_up: true,
            xdp: None,
            vlan: None,
        };
        let vlan = |below| Some(Vlan { below, tag: [0x88, 0xa8, 0x01, 0x2c] });
        let info = |data| LinkAttribute::LinkInfo(vec![LinkInfo::Data(data)]);
        let tagged = || info(InfoData::Vlan(vec![InfoVlan::Protocol(VlanProtocol::Ieee8021Ad), InfoVlan::Id(300)]));
        let up = LinkFlags::Up | LinkFlags::Running;
        let attached = |how| LinkAttribute::Xdp(vec![LinkXdp::Attached(how), LinkXdp::ProgId(9)]);
        let cases = [
            ("without a program", up, vec![], plain.clone()),
            ("without a carrier", LinkFlags::Up, vec![], Device { is_up: false, ..plain.clone() }),
            ("with an empty XDP attribute", up, vec![attached(XdpAttached::None)], plain.clone()),
            (
                "native XDP",
                up,
                vec![attached(XdpAttached::Driver)],
                Device { xdp: Some(XdpMode::Driver), ..plain.clone() },
            ),
            (
                "generic XDP",
                up,
                vec![attached(XdpAttached::SocketBuffer)],
                Device { xdp: Some(XdpMode::Generic), ..plain.clone() },
            ),
            (
                "two programs",
                up,
                vec![attached(XdpAttached::Multiple)],
                Device { xdp: Some(XdpMode::Several), ..plain.clone() },
            ),
            ("a VLAN", up, vec![LinkAttribute::Link(3), tagged()], Device { vlan: vlan(Some(3)), ..plain.clone() }),
            (
                "a VLAN over a device of another namespace",
                up,
                vec![LinkAttribute::Link(3), LinkAttribute::LinkNetNsId(0), tagged()],
                Device { vlan: vlan(None), ..plain.clone() },
            ),
            (
                "802.1Q unless it says otherwise",
                up,
                vec![LinkAttribute::Link(3), info(InfoData::Vlan(vec![InfoVlan::Id(5)]))],
                Device { vlan: Some(Vlan { below: Some(3), tag: [0x81, 0, 0, 5] }), ..plain.clone() },
            ),
            ("one of a pair", up, vec![LinkAttribute::Link(3), info(InfoData::Veth(veth()))], plain),
        ];
        for (description, flags, mut attributes, expected) in cases {
            attributes.push(address(&[2, 0, 0, 0, 0, 1]));
            let read = Device::from_link(&link(LinkLayerType::Ether, flags, attributes));
            assert_eq!(read.unwrap(), expected, "{description}");
        }
    }

    #[test]
    fn devices_without_ethernet_header_are_refused_by_name() {
        let cases = [
            ("WireGuard: no address", LinkLayerType::None, vec![]),
            ("loopback", LinkLayerType::Loopback, vec![address(&[0; 6])]),
            ("InfiniBand: longer address", LinkLayerType::Infiniband, vec![address(&[1; 20])]),
        ];
        for (description, kind, attributes) in cases {
            let error = Device::from_link(&link(kind, LinkFlags::Up, attributes)).unwrap_err().to_string();
            assert!(error.starts_with("eth0 is not an Ethernet device; Limpet needs"), "{description}: {error}");
        }
    }
}
