//! The clock that the datapath dates things by: CLOCK_MONOTONIC, which does not count suspend, and is one for the node.
//!
//! The programs read the machine's clock. In a time namespace (time_namespaces(7)) a process is shown one with an offset,
//! which is taken off again here: what the programs date is compared with nothing else.

use std::{fs, io, sync::OnceLock, time::Duration};

/// Where the kernel says what it adds to the clocks of this process' time namespace. Not there, where it has no such
/// namespaces.
const OFFSETS: &str = "/proc/self/timens_offsets";

/// What the kernel adds to the machine's clock: whole seconds, which may be negative, and nanoseconds.
type Offset = (i64, u32);

/// How long the machine has run.
///
/// # Errors
/// When the kernel does not say.
pub fn monotonic() -> io::Result<Duration> {
    static OFFSET: OnceLock<Offset> = OnceLock::new();
    let shown = shown()?;
    // A process does not change its time namespace.
    let offset = match OFFSET.get() {
        Some(offset) => *offset,
        None => {
            let read = read_offset()?;
            *OFFSET.get_or_init(|| read)
        }
    };
    without(shown, offset).ok_or_else(|| io::Error::other("the monotonic clock is before its beginning"))
}

fn read_offset() -> io::Result<Offset> {
    match fs::read_to_string(OFFSETS) {
        Ok(text) => parse(&text).ok_or_else(|| io::Error::other(format!("{OFFSETS} has another form: {text:?}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot read {OFFSETS}: {error}"))),
    }
}

/// The offset of CLOCK_MONOTONIC, of lines that have a clock, seconds and nanoseconds.
fn parse(text: &str) -> Option<Offset> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("monotonic "))?;
    let mut numbers = line.split_whitespace();
    let offset = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    numbers.next().is_none().then_some(offset)
}

/// The machine's clock, of one that is shown with an offset.
fn without(shown: Duration, (seconds, nanoseconds): Offset) -> Option<Duration> {
    let size = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { shown.checked_add(size) } else { shown.checked_sub(size) };
    moved?.checked_sub(Duration::from_nanos(nanoseconds.into()))
}

/// The clock as this process is shown it.
fn shown() -> io::Result<Duration> {
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
    #[test]
    fn offsets_of_a_time_namespace_are_taken_off() {
        let machine = Duration::new(1_000, 500);
        for (description, text, offset, shown) in [
            ("none", "monotonic           0         0\nboottime            0         0\n", (0, 0), machine),
            ("ahead", "monotonic    86400         7\nboottime  1  2\n", (86_400, 7), Duration::new(87_400, 507)),
            ("behind", "boottime  1  2\nmonotonic    -10         0\n", (-10, 0), Duration::new(990, 500)),
            ("half a second behind", "monotonic -1 500000000\n", (-1, 500_000_000), Duration::new(999, 500_000_500)),
        ] {
            assert_eq!(parse(text), Some(offset), "{description}");
            assert_eq!(without(shown, offset), Some(machine), "{description}");
        }
        for odd in ["", "monotonic 1", "monotonic 1 2 3", "monotonic 1 -2", "boottime 1 2", "monotonic_raw 1 2"] {
            assert_eq!(parse(odd), None, "{odd:?}");
        }
        assert_eq!(without(Duration::ZERO, (1, 0)), None, "before the machine began");
    }
}
