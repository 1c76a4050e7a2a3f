//! Points at which tests have the agent die, as if it were killed there: no error is returned, nothing is cleaned up.
//!
//! `LIMPET_FAIL_POINT=NAME[:N]` in the environment of a debug build: the process kills itself by SIGKILL when it comes to
//! the point NAME for the Nth time, the first one by default. Release builds have neither the points nor the variable.

/// Names the point; of debug builds alone.
#[cfg(debug_assertions)]
pub const VARIABLE: &str = "LIMPET_FAIL_POINT";

/// All points, in the order in which an agent that starts comes to them.
#[cfg(debug_assertions)]
pub const NAMES: [&str; 9] =
    ["pins", "load", "configure", "take-over", "socket", "write", "ways", "attach-tcx", "attach-xdp"];

/// Where the process dies, and at which time that it comes there.
#[cfg(debug_assertions)]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailPoint {
    name: String,
    time: u32,
}

#[cfg(debug_assertions)]
impl FailPoint {
    /// Reads `NAME[:N]`.
    ///
    /// # Errors
    /// When there is no such point, or the number is none: a test that waits for a death must not wait for ever.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, time) = text.split_once(':').unwrap_or((text, "1"));
        if !NAMES.contains(&name) {
            return Err(format!("{name:?} is no point to fail at; there are {}", NAMES.join(", ")));
        }
        match time.parse() {
            Ok(time) if time > 0 => Ok(Self { name: name.to_owned(), time }),
            Ok(_) | Err(_) => Err(format!("{time:?} is no number of times; the first one is 1")),
        }
    }
}

/// Comes to a point: where the environment says so, this does not return.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };
    static WANTED: OnceLock<Option<FailPoint>> = OnceLock::new();
    static TIMES: AtomicU32 = AtomicU32::new(0);

    debug_assert!(NAMES.contains(&name), "{name:?} is missing in NAMES");
    // Read here and not with the settings: it is none, and all layers come to points.
    let read = || std::env::var(VARIABLE).ok().and_then(|text| FailPoint::parse(&text).ok());
    let Some(wanted) = WANTED.get_or_init(read).as_ref().filter(|wanted| wanted.name == name) else {
        return;
    };
    if TIMES.fetch_add(1, Ordering::Relaxed) + 1 == wanted.time {
        die();
    }
}

/// Release builds have no points.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_name: &str) {}

#[cfg(debug_assertions)]
fn die() -> ! {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    // Nobody survives this signal; what follows is for the compiler.
    let _ = kill(Pid::this(), Signal::SIGKILL);
    std::process::abort()
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn points_are_named_and_counted() {
        let point = |name: &str, time| Ok(FailPoint { name: name.to_owned(), time });
        for (text, expected) in [("write", point("write", 1)), ("write:17", point("write", 17))] {
            assert_eq!(FailPoint::parse(text), expected, "{text}");
        }
        for (text, part) in [
            ("", "no point to fail at; there are pins, load"),
            ("wriet", "\"wriet\" is no point"),
            ("write:0", "the first one is 1"),
            ("write:", "\"\" is no number"),
            ("write:x", "\"x\" is no number"),
        ] {
            let message = FailPoint::parse(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn who_is_asked_for_nothing_lives_on() {
        NAMES.iter().for_each(|name| pass(name));
    }
}
