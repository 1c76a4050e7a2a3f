//! Bearer tokens: who may ask, and for how long.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};

use super::refusal::Refusal;

/// The tokens that were given out, and whether they are still good.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, bool>>);

impl Tokens {
    /// A new one. Not a secret: it opens a server of tests.
    pub(super) fn issue(&self) -> String {
        let mut tokens = self.lock();
        let token = format!("token-{}", tokens.len() + 1);
        tokens.insert(token.clone(), true);
        token
    }

    /// Those given out so far are no longer good.
    pub(super) fn expire(&self) {
        self.lock().values_mut().for_each(|is_good| *is_good = false);
    }

    /// Fails when a request does not come with a good one.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if token.and_then(|token| self.lock().get(token.trim()).copied()) == Some(true) {
            return Ok(());
        }
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized"))
    }

    /// A panic elsewhere leaves nothing half-written in here.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
