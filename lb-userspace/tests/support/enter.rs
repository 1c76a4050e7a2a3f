//! Commands that run in a network namespace of a test's own.

use std::{fs::File, io, os::fd::AsFd, os::unix::process::CommandExt, process::Command};

use nix::{
    sched::{CloneFlags, setns},
    sys::{prctl::set_pdeathsig, signal::Signal},
};

/// Has a command run in this network namespace, and end with the thread that starts it.
pub(crate) fn enter<'a>(network: &File, command: &'a mut Command) -> &'a mut Command {
    let network = network.try_clone().unwrap();
    let prepare = move || {
        setns(network.as_fd(), CloneFlags::CLONE_NEWNET)?;
        // An agent must not outlive a test that was killed.
        set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)
    };
    // SAFETY: between fork and exec the closure makes system calls alone, on what it owns; it allocates nothing.
    unsafe { command.pre_exec(prepare) }
}
