//! One user: logs in, asks, and notices when its session is gone.

use std::net::{IpAddr, SocketAddr};
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::{self, Connection, Session};

/// A request that finds no open door is made again, so often at the most.
const MAX_ATTEMPTS: u32 = 100;
/// And for so long: a Pod that died is in the tables until Kubernetes says so.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before a request is made again.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether a user takes part in rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It logs in if it has not, and asks.
    Asking,
    /// It keeps its session and says nothing.
    Quiet,
}

/// What a user counts, or many users together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were answered.
    pub answered: u64,
    /// Attempts that failed and were made again, such as refused connections.
    pub retried: u64,
    /// Requests that were given up.
    pub unanswered: u64,
    /// Answers that did not know the session.
    pub lost: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.retried += other.retried;
        self.unanswered += other.unanswered;
        self.lost += other.lost;
    }
}

/// A user of the Service.
#[derive(Debug)]
pub(super) struct User {
    from: SocketAddr,
    to: SocketAddr,
    mode: Mode,
    /// What it stored last. No value is stored twice, so that none is taken for another.
    value: u64,
    /// The Pod that has the value; none while the user is not logged in.
    pod: Option<String>,
    counts: Counts,
}

impl User {
    /// A user who has not logged in. The values that it stores follow `value`.
    pub(super) fn new(from: SocketAddr, to: SocketAddr, value: u64) -> Self {
        Self { from, to, mode: Mode::Asking, value, pod: None, counts: Counts::default() }
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    pub(super) fn address(&self) -> IpAddr {
        self.from.ip()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The Pod that has its session.
    pub(super) fn pod(&self) -> Option<&str> {
        self.pod.as_deref()
    }

    /// Asks once, from the namespace that the thread is in, and logs in where there is no session. Whoever wants to know
    /// at once of attempts that failed is told by `retries`.
    ///
    /// A request that nobody answers is counted. Fails when somebody answers what cannot be.
    pub(super) fn ask(&mut self, retries: &AtomicU64) -> Result<()> {
        if self.mode == Mode::Quiet {
            return Ok(());
        }
        if self.pod.is_some() {
            let Some(answer) = self.request(retries, |_, connection| connection.get()) else {
                return Ok(());
            };
            if self.finds(&answer)? {
                return Ok(());
            }
        }
        let answer = self.request(retries, |user, connection| {
            // Another value for each attempt: what is stored may be so although its answer was lost.
            user.value += 1;
            connection.post(user.value)
        });
        answer.map_or(Ok(()), |answer| self.log_in(answer))
    }

    /// Whether the answer knows the session; if not, it is lost.
    fn finds(&mut self, answer: &Session) -> Result<bool> {
        if answer.value != Some(self.value) {
            self.counts.lost += 1;
            self.pod = None;
            return Ok(false);
        }
        let (from, had, now) = (self.from.ip(), self.pod(), &answer.pod);
        ensure!(had == Some(now), "{from} stored its value at Pod {} and found it at {now}", had.unwrap_or("none"));
        Ok(true)
    }

    fn log_in(&mut self, answer: Session) -> Result<()> {
        let Session { pod, client, value } = answer;
        let from = self.from.ip();
        ensure!(client == from, "Pod {pod} takes {from} for {client}");
        ensure!(value == Some(self.value), "Pod {pod} has no room for the session of {from}");
        self.pod = Some(pod);
        Ok(())
    }

    /// Makes a request, over a connection of its own, until it is answered or must be given up.
    fn request(
        &mut self,
        retries: &AtomicU64,
        mut say: impl FnMut(&mut Self, &mut Connection) -> Result<Session>,
    ) -> Option<Session> {
        let start = Instant::now();
        for number in 1..=MAX_ATTEMPTS {
            let answer = client::connect(self.to, self.from).and_then(|mut connection| say(self, &mut connection));
            match answer {
                Ok(answer) => {
                    self.counts.answered += 1;
                    return Some(answer);
                }
                Err(_) if number < MAX_ATTEMPTS && start.elapsed() < PATIENCE => {
                    self.counts.retried += 1;
                    retries.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
                Err(error) => {
                    eprintln!("{} gives up after {number} attempts: {error:#}", self.from.ip());
                    break;
                }
            }
        }
        self.counts.unanswered += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        let from: SocketAddr = "198.18.1.7:0".parse().unwrap();
        let mut user = User::new(from, "203.0.113.1:80".parse().unwrap(), 40);
        user.value += 1;
        user.log_in(answer("web-0", Some(41))).unwrap();
        user
    }

    fn answer(pod: &str, value: Option<u64>) -> Session {
        Session { pod: pod.to_owned(), client: "198.18.1.7".parse().unwrap(), value }
    }

    #[test]
    fn a_session_that_is_found_is_not_lost() {
        let mut user = user();
        assert!(user.finds(&answer("web-0", Some(41))).unwrap());
        assert_eq!((user.pod(), user.counts().lost), (Some("web-0"), 0));
    }

    #[test]
    fn no_value_or_another_one_is_a_lost_session() {
        for value in [None, Some(40)] {
            let mut user = user();
            assert!(!user.finds(&answer("web-1", value)).unwrap());
            assert_eq!((user.pod(), user.counts().lost), (None, 1), "{value:?}");
        }
    }

    #[test]
    fn a_value_at_a_pod_that_never_got_it_is_no_ordinary_loss() {
        assert!(user().finds(&answer("web-1", Some(41))).is_err());
    }

    #[test]
    fn a_log_in_counts_only_with_the_users_own_value_and_address() {
        assert!(user().log_in(answer("web-0", None)).is_err());
        let other = Session { client: "198.18.1.8".parse().unwrap(), ..answer("web-0", Some(41)) };
        assert!(user().log_in(other).is_err());
    }
}
