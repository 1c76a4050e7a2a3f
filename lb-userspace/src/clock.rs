//! The clock that the datapath dates things by: CLOCK_MONOTONIC, which does not count suspend, and is one for the node.

use std::{io, time::Duration};

/// How long the machine has run.
///
/// # Errors
/// When the kernel does not say.
pub fn monotonic() -> io::Result<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that outlives the call, which writes nothing else.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    let negative = |_| io::Error::other("the monotonic clock is before its beginning");
    let seconds = u64::try_from(now.tv_sec).map_err(negative)?;
    let nanoseconds = u32::try_from(now.tv_nsec).map_err(negative)?;
    Ok(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on() {
        let before = monotonic().unwrap();
        assert!(monotonic().unwrap() >= before);
        assert!(before > Duration::ZERO);
    }
}
