//! Windows of the wall clock: all nodes agree on them without talking, as far as their clocks agree. Pure.

use std::time::Duration;

use jiff::{Timestamp, fmt::strtime};

/// A piece of time, of a length that divides the time since 1970.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Window {
    length_seconds: i64,
    number: i64,
}

impl Window {
    /// The one of this length that holds a moment.
    pub(super) fn of(moment: Timestamp, length: Duration) -> Self {
        let length_seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
        Self { length_seconds, number: moment.as_second().div_euclid(length_seconds) }
    }

    /// Its number: no other window of this length has it.
    pub(super) fn number(self) -> i64 {
        self.number
    }

    /// When it began.
    pub(super) fn start(self) -> Timestamp {
        at(self.number.saturating_mul(self.length_seconds))
    }

    /// When it is over, which is when the next one begins.
    pub(super) fn end(self) -> Timestamp {
        at(self.number.saturating_add(1).saturating_mul(self.length_seconds))
    }

    /// How long it still lasts.
    pub(super) fn rest(self, now: Timestamp) -> Duration {
        Duration::try_from(self.end().duration_since(now)).unwrap_or_default()
    }
}

/// For people: hours and minutes, of UTC.
pub(super) fn clock(moment: Timestamp) -> String {
    strtime::format("%H:%M", moment).unwrap_or_else(|_| moment.to_string())
}

fn at(second: i64) -> Timestamp {
    // There are no moments after the year 9999, nor before -9999.
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(300);

    #[test]
    fn windows_meet_without_a_gap() {
        let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let cases = [
            ("2026-11-22T12:00:00Z", 0, 300_000),
            ("2026-11-22T12:00:00.25Z", 0, 299_750),
            ("2026-11-22T12:04:59.999Z", 0, 1),
            ("2026-11-22T12:05:00Z", 1, 300_000),
        ];
        for (moment, later, rest) in cases {
            let moment: Timestamp = moment.parse().unwrap();
            let window = Window::of(moment, LENGTH);
            assert_eq!(window.number(), Window::of(noon, LENGTH).number() + later, "{moment}");
            assert_eq!(window.rest(moment), Duration::from_millis(rest), "{moment}");
        }
        let window = Window::of(noon, LENGTH);
        assert_eq!((clock(window.start()), clock(window.end())), ("12:00".to_owned(), "12:05".to_owned()));
    }

    #[test]
    fn clocks_that_are_far_off_are_no_trouble() {
        for moment in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let window = Window::of(moment, LENGTH);
            assert!(window.start() <= moment && window.rest(moment) <= LENGTH, "{moment}");
        }
        assert!(Window::of(Timestamp::UNIX_EPOCH, Duration::ZERO).rest(Timestamp::UNIX_EPOCH) > Duration::ZERO);
    }
}
