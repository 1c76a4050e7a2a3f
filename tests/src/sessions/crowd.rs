//! Many users who ask in rounds, in the background of whatever is done to the lab meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::user::{Counts, Mode, User};
use crate::client::Client;
use crate::wait;

/// How many users of one machine ask at the same time.
const THREADS_PER_MACHINE: usize = 4;
/// Rounds begin so far apart at the least, which bounds how much is asked.
const ROUND_PERIOD: Duration = Duration::from_millis(100);
/// How long a round may take before something is wrong.
const ROUND_LIMIT: Duration = Duration::from_secs(30);

/// Users on the client machines of a lab.
#[derive(Debug)]
pub struct Crowd {
    machines: Vec<Machine>,
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Attempts that failed, of all users: their own counts cannot be asked for while they try.
    retries: AtomicU64,
}

#[derive(Debug)]
struct Machine {
    client: Client,
    users: Vec<Mutex<User>>,
}

#[derive(Debug, Default)]
struct Progress {
    begun: usize,
    ended: usize,
    over: bool,
    failure: Option<String>,
}

/// A user as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its address.
    pub address: IpAddr,
    /// The Pod that has its session, as that Pod's server said.
    pub pod: Option<String>,
    /// What it has counted.
    pub counts: Counts,
}

impl Crowd {
    /// Users who have not logged in, one for each of these addresses of each client machine, and the
    /// frontend that it asks.
    #[must_use]
    pub fn new(machines: Vec<(Client, Vec<(IpAddr, SocketAddr)>)>) -> Self {
        let mut next_value = 0;
        let mut user = |(address, to)| {
            // Far enough apart that no two users ever store the same value.
            next_value += 1 << 32;
            Mutex::new(User::new(SocketAddr::new(address, 0), to, next_value))
        };
        let machines = machines
            .into_iter()
            .map(|(client, users)| Machine { client, users: users.into_iter().map(&mut user).collect() })
            .collect();
        Self { machines, progress: Mutex::default(), changed: Condvar::new(), retries: AtomicU64::new(0) }
    }

    /// Lets all users ask, round after round, while `work` is done; fails when either does.
    pub fn keep_asking<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        *self.progress() = Progress::default();
        thread::scope(|scope| {
            let rounds = scope.spawn(|| self.ask_until_over());
            // Also when the work panics, or the rounds would go on for ever.
            let outcome = {
                let _stop = StopAtEnd(self);
                work()
            };
            rounds.join().map_err(|_| anyhow!("asking panicked"))?;
            match (self.progress().failure.take(), outcome) {
                (Some(failure), Ok(_)) => bail!(failure),
                (Some(failure), Err(error)) => Err(error.context(failure)),
                (None, outcome) => outcome,
            }
        })
    }

    /// Waits for a round that begins after this call and ends: every user who is not quiet has asked
    /// by then. For the work of [`Crowd::keep_asking`] alone, and only while requests are answered.
    pub fn whole_round(&self) -> Result<()> {
        let deadline = Instant::now() + ROUND_LIMIT;
        let mut progress = self.progress();
        let awaited = progress.begun + 1;
        while progress.ended < awaited {
            if let Some(failure) = &progress.failure {
                bail!("the rounds have ended: {failure}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || progress.over {
                bail!("waited {} s for round {awaited} of all users", ROUND_LIMIT.as_secs());
            }
            progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Waits until a request of somebody has failed and is to be made again.
    pub fn someone_tries_again(&self) -> Result<()> {
        let retries = || self.retries.load(Ordering::Relaxed);
        let before = retries();
        wait::until_true("a request that fails", ROUND_LIMIT, || Ok(retries() > before))
    }

    /// Lets those users be quiet, or ask again, whose position and standing are as the choice says, and
    /// returns how many they are.
    pub fn set_mode(&self, mode: Mode, choice: impl Fn(usize, &Standing) -> bool) -> usize {
        let mut chosen = 0;
        for (position, user) in self.users().enumerate() {
            let mut user = lock(user);
            if choice(position, &standing(&user)) {
                user.set_mode(mode);
                chosen += 1;
            }
        }
        chosen
    }

    /// How all users stand, always in the same order.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.users().map(|user| standing(&lock(user))).collect()
    }

    fn users(&self) -> impl Iterator<Item = &Mutex<User>> {
        self.machines.iter().flat_map(|machine| &machine.users)
    }

    fn ask_until_over(&self) {
        loop {
            let begun_at = Instant::now();
            {
                let mut progress = self.progress();
                if progress.over {
                    return;
                }
                progress.begun += 1;
            }
            let outcome = self.ask_once();
            let mut progress = self.progress();
            progress.ended = progress.begun;
            if let Err(error) = outcome {
                progress.failure = Some(format!("{error:#}"));
                progress.over = true;
            }
            self.changed.notify_all();
            while !progress.over {
                let left = ROUND_PERIOD.saturating_sub(begun_at.elapsed());
                if left.is_zero() {
                    break;
                }
                progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// One round: every user asks once, on a few threads for each machine. Cut short when the work is over.
    fn ask_once(&self) -> Result<()> {
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for machine in &self.machines {
                for first in 0..THREADS_PER_MACHINE {
                    threads.push(scope.spawn(move || machine.client.inside(|| self.ask_of(machine, first))));
                }
            }
            let outcomes = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a user panicked"))?);
            outcomes.collect()
        })
    }

    /// One thread's part of a round.
    fn ask_of(&self, machine: &Machine, first: usize) -> Result<()> {
        for user in machine.users.iter().skip(first).step_by(THREADS_PER_MACHINE) {
            if self.progress().over {
                break;
            }
            lock(user).ask(&self.retries)?;
        }
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }
}

/// Ends the rounds when it is dropped.
struct StopAtEnd<'a>(&'a Crowd);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.progress().over = true;
        self.0.changed.notify_all();
    }
}

fn standing(user: &User) -> Standing {
    Standing { address: user.address(), pod: user.pod().map(str::to_owned), counts: user.counts() }
}

/// What is guarded is counts and names, which a panic elsewhere does not spoil.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
