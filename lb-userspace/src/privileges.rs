//! What the agent may do: three capabilities, whatever it was started with, and nothing that it could gain later.
//!
//! Capabilities and the rest of this belong to a thread and are handed to the threads that it makes: they are given up
//! before the first one is made.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::{
    errno::Errno,
    sys::prctl::{set_dumpable, set_no_new_privs},
};

/// All that the agent needs: maps and programs; devices, routes and neighbours; what the verifier asks of programs like
/// ours. As a container's `securityContext` and systemd know them.
const NEEDED: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// Why the agent may not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not given what it needs.
    #[error(
        "the agent lacks {}; run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON), with sudo, or grant these three: in a \
         container by securityContext.capabilities.add, in a systemd unit by CapabilityBoundingSet and, for another \
         user than root, AmbientCapabilities",
        names(.0)
    )]
    Missing(Vec<Capability>),
    /// The kernel does not say what this thread may do, or does not take it away.
    #[error("cannot give up capabilities that the agent does not need")]
    Capabilities(#[from] CapsError),
    /// The kernel does not take it away for good.
    #[error("cannot give up {what}")]
    Process {
        /// What is to be given up.
        what: &'static str,
        /// Why not.
        source: Errno,
    },
}

/// Keeps of this thread's rights what the agent needs, and gives up the others for good: also those that a program could
/// get that it runs, as the kubeconfig may name one.
///
/// Debuggers of the same user, and core dumps, are given up as well: in the agent's memory are the token for the API server
/// and the addresses of clients. So the files of its directory in `/proc` belong to root, whoever runs it; it reads none
/// that only their owner may.
///
/// Root without its other capabilities is a user like all others: it opens no files that belong to somebody else alone.
///
/// # Errors
/// When a capability that the agent needs is missing, of which nothing is given up then; or the kernel refuses.
pub fn give_up_all_others() -> Result<(), Error> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let missing: Vec<Capability> = NEEDED.into_iter().filter(|needed| !permitted.contains(needed)).collect();
    if !missing.is_empty() {
        return Err(Error::Missing(missing));
    }
    // While the thread still may.
    narrow_bounding_set()?;
    let needed = CapsHashSet::from(NEEDED);
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &needed)?;
    caps::set(None, CapSet::Permitted, &needed)?;
    let process = |what| move |source| Error::Process { what, source };
    set_no_new_privs().map_err(process("gaining rights by running programs"))?;
    set_dumpable(false).map_err(process("core dumps"))
}

/// What no program that this one runs can have. Only who has CAP_SETPCAP may narrow it; for the others it makes no
/// difference once no program can gain anything.
fn narrow_bounding_set() -> Result<(), Error> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        return Ok(());
    }
    for capability in caps::runtime::thread_all_supported() {
        if !NEEDED.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    Ok(())
}

/// As in "CAP_BPF and CAP_PERFMON".
fn names(capabilities: &[Capability]) -> String {
    capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use std::{fs, panic::resume_unwind, thread};

    use super::*;

    /// The three, as /proc writes them.
    const THREE: &str = "000000c000001000";
    const NONE: &str = "0000000000000000";

    /// Runs it on a thread of its own, which has rights of its own.
    fn apart<T: Send>(test: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(test).join().unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// What the kernel says of the thread that asks.
    fn status(key: &str) -> String {
        let text = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {key}: {text}")).to_owned()
    }

    #[test]
    fn three_are_kept_and_threads_made_later_have_no_others() {
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
        let expected = [NONE, THREE, THREE, THREE, NONE, "1"];
        apart(|| {
            give_up_all_others().unwrap();
            assert_eq!(sets.map(status), expected);
            apart(|| assert_eq!(sets.map(status), expected));
            give_up_all_others().expect("who has no others gives up none");
        });
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_given_up() {
        apart(|| {
            for capability in [Capability::CAP_PERFMON, Capability::CAP_BPF] {
                caps::drop(None, CapSet::Effective, capability).unwrap();
                caps::drop(None, CapSet::Permitted, capability).unwrap();
            }
            let before = status("CapEff");
            let error = give_up_all_others().unwrap_err().to_string();
            assert!(error.starts_with("the agent lacks CAP_BPF and CAP_PERFMON; run as root"), "{error}");
            assert!(error.contains("securityContext.capabilities.add"), "{error}");
            assert!(!error.contains('\n'), "{error}");
            assert_eq!((status("CapEff"), status("NoNewPrivs")), (before, "0".to_owned()));
        });
    }
}
