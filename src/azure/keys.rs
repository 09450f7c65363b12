//! The keys of a storage account. Two are valid at any time, so that they can be rotated; when the one that signs is
//! refused, the current keys are requested from Azure.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

use super::failure::Failure;
use crate::{settings::Secret, stream::cancel::Cancel};

/// The minimum interval between requests for keys: refusals with another cause must not cause many requests.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The number of retries when all keys were refused, and the pause before them.
const CHANCES: u32 = 2;
const SETTLING: Duration = Duration::from_secs(5);

/// The keys of one storage account, shared by all that sign with them. `Debug` shows none.
pub struct Keys {
    /// The source of other keys if one is refused; none if the key was configured.
    source: Option<AskKeys>,
    state: Mutex<State>,
}

struct State {
    /// The key that signs.
    current: Arc<Secret>,
    /// The keys of the last request to Azure.
    known: Vec<Arc<Secret>>,
    /// The refused keys.
    refused: Vec<Arc<Secret>>,
    asked: Option<Instant>,
    /// How often those that were refused are tried once more: a new key may take a moment until all servers know it.
    chances: u32,
}

/// Asks which keys an account has, those with full rights first.
pub(super) type AskKeys = Box<dyn Fn(&Cancel) -> Result<Vec<Secret>, Failure> + Send + Sync>;

impl Keys {
    /// A single configured key, without a fallback.
    pub(super) fn given(key: Secret) -> Self {
        Self { source: None, state: Mutex::new(State::of(Arc::new(key), Vec::new())) }
    }

    /// Keys that Azure listed, the preferred one first. None if there are none.
    pub(super) fn listed(keys: Vec<Secret>, source: AskKeys) -> Option<Self> {
        let known: Vec<_> = keys.into_iter().map(Arc::new).collect();
        let current = Arc::clone(known.first()?);
        Some(Self { source: Some(source), state: Mutex::new(State::of(current, known)) })
    }

    /// The key to sign with now.
    pub(super) fn current(&self) -> Arc<Secret> {
        Arc::clone(&self.state().current)
    }

    /// A service refused `used`: finds another key. False if there is none that was not refused.
    pub(super) fn replace(&self, used: &Secret, cancel: &Cancel) -> bool {
        // One thread asks, the others wait here and then find that the key has been replaced.
        let mut state = self.state();
        if state.current.expose() != used.expose() {
            return true;
        }
        let current = Arc::clone(&state.current);
        if !state.is_refused(&current) {
            state.refused.push(current);
        }
        if let Some(ask) = &self.source
            && state.asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN)
        {
            state.asked = Some(Instant::now());
            // If this fails, the refusal itself is reported.
            if let Ok(keys) = ask(cancel) {
                state.known = keys.into_iter().map(Arc::new).collect();
                state.chances = CHANCES;
            }
        }
        if state.known.iter().all(|key| state.is_refused(key)) && state.chances > 0 && !cancel.wait(SETTLING)
        {
            state.chances -= 1;
            state.refused.clear();
        }
        let other = state.known.iter().find(|key| !state.is_refused(key)).cloned();
        let found = other.is_some();
        if let Some(key) = other {
            state.current = key;
        }
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl State {
    fn of(current: Arc<Secret>, known: Vec<Arc<Secret>>) -> Self {
        Self { current, known, refused: Vec::new(), asked: None, chances: 0 }
    }

    fn is_refused(&self, key: &Secret) -> bool {
        self.refused.iter().any(|refused| refused.expose() == key.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_another_thread_replaced_is_not_asked_for_again() {
        let keys = Keys::given(Secret::new("one".to_owned()));
        let cancel = Cancel::new();
        assert!(keys.replace(&Secret::new("an older one".to_owned()), &cancel));
        assert_eq!(keys.current().expose(), "one");
        assert!(!keys.replace(&Secret::new("one".to_owned()), &cancel), "there is no other");
        assert_eq!(keys.current().expose(), "one");
        assert!(!format!("{keys:?}").contains("one"));
    }
}
