//! The uplinks: our programs on every one of them, whatever happens to the devices meanwhile.
//!
//! An uplink is wanted by its name. The device behind the name may go away and come back, be another one, or carry
//! more or less in one packet; each look puts right what is not as it should be, and tells what cannot be.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use tracing::{info, warn};

use crate::{
    api::Difference,
    cli::AgentOptions,
    dataplane::{self, Attached, Attachment, HeldPins, Loaded, Maps, Pins, PinsPlace, Standing, XdpMode},
    netlink::{self, Device, Netlink},
    source::Problem,
};

/// The devices to work on.
pub(super) struct Uplinks {
    /// One of its own: the other one is with the ways to other nodes.
    netlink: Netlink,
    names: Vec<String>,
    pins: HeldPins,
    /// Where the pins were at the last look.
    place: PinsPlace,
    tunnel_port: u16,
    /// The kernel's numbers of the devices that are there.
    indexes: Vec<u32>,
    /// Which device had a wanted name last.
    named: BTreeMap<String, u32>,
    /// The smallest MTU of the devices that are there, or were last.
    mtu: Option<u32>,
    /// What was said of each device, so that it is said once.
    told: BTreeMap<u32, XdpMode>,
}

/// How it is with the uplinks.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Devices that have our programs.
    pub(super) attached: Vec<Attached>,
    /// Why others have not. Each means that packets are not balanced that should be.
    pub(super) problems: Vec<Problem>,
}

/// The names of the uplinks: those that were given, or those of the default routes.
///
/// # Errors
/// When there is no such device, or it is not an Ethernet device: a slip that is best told at once.
pub(super) async fn wanted(options: &AgentOptions, netlink: &Netlink) -> Result<Vec<String>> {
    let names = if options.uplinks.is_empty() { netlink.default_uplinks().await? } else { options.uplinks.clone() };
    for name in &names {
        netlink.device(name).await?;
    }
    Ok(names)
}

impl Uplinks {
    /// Tells the programs what the uplinks carry; puts nothing on them yet.
    ///
    /// # Errors
    /// When the kernel's devices or the pins cannot be read, or the maps cannot be written.
    pub(super) async fn start(names: Vec<String>, pins: HeldPins, tunnel_port: u16, maps: &mut Maps) -> Result<Self> {
        let mut uplinks = Self {
            netlink: Netlink::open()?,
            names,
            pins,
            place: PinsPlace::InPlace,
            tunnel_port,
            indexes: Vec::new(),
            named: BTreeMap::new(),
            mtu: None,
            told: BTreeMap::new(),
        };
        let (devices, _problems, _are_all) = uplinks.devices().await;
        uplinks.configure(&devices, maps)?;
        Ok(uplinks)
    }

    /// Whether the pins are not where they were at the last look, or should be brought back. Nothing announces that.
    pub(super) fn are_pins_elsewhere(&self) -> bool {
        self.place == PinsPlace::Hidden || self.pins.place().is_ok_and(|place| place != self.place)
    }

    /// Makes sure that every uplink has our programs and no other device has, and that they know the MTU.
    pub(super) async fn check(&mut self, loaded: &mut Loaded) -> Found {
        let (pins, hidden) = match self.usable_pins() {
            Ok(usable) => usable,
            Err(problem) => return Found { attached: Vec::new(), problems: vec![problem] },
        };
        let (devices, mut problems, are_all_known) = self.devices().await;
        problems.extend(hidden);
        // Before the programs run on a device, they know what it carries.
        if let Err(error) = self.configure(&devices, &mut loaded.maps) {
            problems.push(Problem::error(format!("large packets may not pass the tunnel: {}", chain(error))));
        }
        let mut attached = Vec::with_capacity(devices.len());
        for device in &devices {
            match dataplane::attach(loaded, &pins, &device.name, device.index) {
                Ok(done) => {
                    self.tell(device, &done);
                    attached.push(Attached { device: device.name.clone(), index: device.index, mode: done.mode });
                }
                Err(error) => problems.push(not_balanced(&device.name, error)),
            }
        }
        if are_all_known {
            problems.extend(self.detach_others(&pins).err());
        }
        self.told.retain(|index, _| attached.iter().any(|uplink| uplink.index == *index));
        Found { attached, problems }
    }

    /// What of our programs is not on the uplinks as it should be. Changes nothing.
    pub(super) async fn differences(&mut self, loaded: &mut Loaded) -> Vec<Difference> {
        let difference = |device: &str, what: &str, programmed: String, desired: &str| Difference {
            object: format!("Uplink {device}"),
            what: what.to_owned(),
            programmed,
            desired: desired.to_owned(),
        };
        let pins = match self.pins.place() {
            Ok(PinsPlace::InPlace) => self.pins.by_path().clone(),
            Ok(PinsPlace::Hidden) => self.pins.by_descriptor(),
            Ok(PinsPlace::Removed) => {
                return vec![difference("(all)", "pins", "removed".to_owned(), "those of this agent")];
            }
            Err(error) => return vec![difference("(all)", "pins", chain(error), "those of this agent")],
        };
        let (devices, problems, _are_all_known) = self.devices().await;
        let lost = problems.into_iter().map(|problem| difference("(missing)", "device", problem.message, "is there"));
        let mut differences: Vec<Difference> = lost.collect();
        for device in &devices {
            match dataplane::standing(loaded, &pins, device.index) {
                Ok(programs) => differences.extend(programs.into_iter().filter_map(|(what, standing)| {
                    let programmed = match standing {
                        Standing::Current => return None,
                        Standing::Other => "another version",
                        Standing::Detached => "taken off",
                        Standing::Missing => "nothing",
                    };
                    Some(difference(&device.name, what, programmed.to_owned(), "that of this agent"))
                })),
                Err(error) => {
                    differences.push(difference(&device.name, "programs", chain(error), "those of this agent"))
                }
            }
        }
        differences
    }

    /// The kernel's numbers of the devices, and the smallest of their MTUs, in bytes of layer 3; none while there has not
    /// been any.
    pub(super) fn devices_and_mtu(&self) -> Option<(Vec<u32>, u32)> {
        Some((self.indexes.clone(), self.mtu?))
    }

    /// The pins that this agent writes to, and what is wrong with where they are. Without any, nothing may be put on a device:
    /// it would be lost, or disturb another agent.
    fn usable_pins(&mut self) -> Result<(Pins, Option<Problem>), Problem> {
        let before = self.place;
        self.place = self.pins.place().map_err(|error| Problem::error(chain(error)))?;
        match self.place {
            PinsPlace::InPlace => Ok((self.pins.by_path().clone(), None)),
            PinsPlace::Hidden => {
                let moved = self.pins.move_to_path();
                self.place = self.pins.place().map_err(|error| Problem::error(chain(error)))?;
                let Err(error) = moved else {
                    info!(pins = %self.pins.by_path().root().display(), "pinned anew, in another BPF file system");
                    return Ok((self.pins.by_path().clone(), None));
                };
                if before != PinsPlace::Hidden {
                    warn!("the BPF file system with the pins was unmounted or covered; packets do not notice");
                }
                Ok((self.pins.by_descriptor(), Some(self.hidden(error))))
            }
            PinsPlace::Removed => Err(Problem::error(format!(
                "the pins in {} were removed under the running agent (`limpet detach --force`?): it balances nothing; \
                 restart the agent",
                self.pins.by_path().root().display()
            ))),
        }
    }

    fn hidden(&self, error: dataplane::Error) -> Problem {
        Problem::error(format!(
            "the BPF file system under {} was unmounted, or something is mounted over it: connections go on while this agent \
             runs, and end with it, so leave it running; once a BPF file system is there (`mount -t bpf bpf \
             /sys/fs/bpf`), it pins everything again: {}",
            self.pins.by_path().root().display(),
            chain(error)
        ))
    }

    /// The devices that are there, each once, what is wrong with the others, and whether all that are there are known.
    async fn devices(&mut self) -> (Vec<Device>, Vec<Problem>, bool) {
        let mut devices: Vec<Device> = Vec::with_capacity(self.names.len());
        let (mut problems, mut are_all_known) = (Vec::new(), true);
        for name in &self.names {
            let found = match self.netlink.device(name).await {
                Ok(device) => {
                    self.named.insert(name.clone(), device.index);
                    device
                }
                Err(error) => {
                    let is_gone = says_that_there_is_none(&error);
                    let renamed = if is_gone { self.renamed(name).await } else { None };
                    let Some(device) = renamed else {
                        are_all_known &= is_gone;
                        problems.push(not_balanced(name, error));
                        continue;
                    };
                    problems.push(other_name(name, &device.name));
                    device
                }
            };
            // It may be named twice: a device may have several names.
            if devices.iter().all(|known| known.index != found.index) {
                devices.push(found);
            }
        }
        (devices, problems, are_all_known)
    }

    /// The device that had a wanted name which no device has now: it is the same uplink, however it is called.
    async fn renamed(&self, wanted: &str) -> Option<Device> {
        let index = *self.named.get(wanted)?;
        let device = self.netlink.device(&netlink::device_name(index)).await.ok()?;
        (device.index == index).then_some(device)
    }

    /// Tells the programs the smallest MTU of all uplinks. Without any, what they were told stays.
    fn configure(&mut self, devices: &[Device], maps: &mut Maps) -> Result<(), dataplane::Error> {
        self.indexes = devices.iter().map(|device| device.index).collect();
        if let Some(mtu) = devices.iter().map(|device| device.mtu).min().filter(|mtu| self.mtu != Some(*mtu)) {
            dataplane::configure(maps, mtu, self.tunnel_port)?;
            self.mtu = Some(mtu);
        }
        Ok(())
    }

    fn detach_others(&self, pins: &Pins) -> Result<(), Problem> {
        match dataplane::detach_others(pins, &self.indexes) {
            Ok(removed) => {
                for link in removed {
                    info!(link, "its device is no uplink (any more): program taken off");
                }
                Ok(())
            }
            Err(error) => {
                Err(Problem::error(format!("cannot take programs off devices that are no uplinks: {}", chain(error))))
            }
        }
    }

    fn tell(&mut self, device: &Device, done: &Attachment) {
        if self.told.insert(device.index, done.mode) == Some(done.mode) {
            return;
        }
        let name = &device.name;
        match (done.mode, &done.native_refusal) {
            (XdpMode::Native, _) => info!(device = name, "XDP runs in the driver (native)"),
            (XdpMode::Generic, Some(refusal)) => warn!(
                device = name,
                reason = chain_of(refusal),
                "XDP runs in the network stack (generic), because the driver refuses it: correct, but slower"
            ),
            (XdpMode::Generic, None) => warn!(
                device = name,
                "XDP runs in the network stack (generic), as an earlier agent left it: correct, but slower"
            ),
        }
    }
}

impl Found {
    /// These problems as the reason why the agent cannot begin.
    pub(super) fn into_error(self) -> anyhow::Error {
        let reasons: Vec<String> = self.problems.into_iter().map(|problem| problem.message).collect();
        anyhow!("no uplink can be used: {}", reasons.join("; "))
    }
}

/// Whether there certainly is no such uplink; else it may be there, and have our programs.
fn says_that_there_is_none(error: &netlink::Error) -> bool {
    matches!(error, netlink::Error::NoDevice { .. } | netlink::Error::NotEthernet { .. })
}

fn not_balanced(device: &str, error: impl Into<anyhow::Error>) -> Problem {
    let reason = chain(error);
    Problem::error(format!("what arrives there may not be balanced: {reason}; tried again whenever devices change"))
        .about(format!("Device {device}"))
}

/// What a restart of the agent would not find.
fn other_name(wanted: &str, name: &str) -> Problem {
    Problem::warning(format!(
        "it is called {name} now, and goes on being balanced; give it its name back, or name {name} with --uplink before \
         the agent is started anew"
    ))
    .about(format!("Device {wanted}"))
}

/// An error with its causes, in one line.
fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

/// The same for an error that is somebody else's.
fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
