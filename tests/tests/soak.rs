//! The soak for some seconds: everything at once, and every error explained. `cargo xtask soak` does it for minutes.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use limpet_lab::soak;

/// Long enough for one of each kind of change and trouble, and short enough for every run of all tests.
const LENGTH: Duration = Duration::from_secs(12);
/// A machine that is busy with other things does not have as many requests as one that is not.
const LEAST_REQUESTS: u64 = 300;

#[test]
fn everything_happens_at_once_for_seconds_and_every_error_is_explained() {
    let report = soak::soak(LENGTH, 1, &AtomicBool::new(false)).unwrap();
    assert_eq!(report.unexplained(), 0, "{:#?}", report.problems());
    assert!(report.requests() > LEAST_REQUESTS, "{} requests", report.requests());
    assert_eq!(report.never_happened(), Vec::<&str>::new());
}
