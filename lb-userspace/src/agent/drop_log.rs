//! Lines about dropped packets, from the programs' log to the agent's.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Forwards the programs' log in a task of its own, as long as the runtime lives.
///
/// # Errors
/// When the programs have no log.
pub(super) fn start(ebpf: &mut Ebpf) -> Result<()> {
    let logger = EbpfLogger::init(ebpf).context("cannot read the programs' log")?;
    // SAFETY: the logger owns its file descriptor, and neither replaces nor closes it while `AsyncFd` owns the logger.
    let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = registered.map_err(|error| anyhow::anyhow!("cannot wait for the programs' log: {error}"))?;
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}
