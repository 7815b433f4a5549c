//! The last good answers, shown with their age while the collector is away.
//!
//! Bounded by entries and by bytes; the oldest go first.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;

const MAX_ENTRIES: usize = 256;
const MAX_BYTES: usize = 32 << 20;

/// One remembered answer.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    /// As the API spelled it.
    pub(super) content_type: String,
    /// The body.
    pub(super) bytes: Bytes,
    at: Instant,
}

impl Remembered {
    /// How long ago it was fetched.
    pub(super) fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

/// Answers by request.
#[derive(Debug, Default)]
pub(super) struct LastGood {
    answers: Mutex<HashMap<String, Remembered>>,
}

impl LastGood {
    /// Remembers an answer in place of an older one to the same request.
    pub(super) fn keep(&self, request: &str, content_type: &str, bytes: &Bytes) {
        if bytes.len() > MAX_BYTES / 4 {
            return;
        }
        let Ok(mut answers) = self.answers.lock() else {
            return;
        };
        answers.insert(
            request.to_owned(),
            Remembered {
                content_type: content_type.to_owned(),
                bytes: bytes.clone(),
                at: Instant::now(),
            },
        );
        let mut held: usize = answers.values().map(|answer| answer.bytes.len()).sum();
        while answers.len() > MAX_ENTRIES || held > MAX_BYTES {
            let oldest = answers
                .iter()
                .min_by_key(|(_, answer)| answer.at)
                .map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| answers.remove(&key)) else {
                break;
            };
            held -= gone.bytes.len();
        }
    }

    /// The last good answer to a request.
    pub(super) fn recall(&self, request: &str) -> Option<Remembered> {
        self.answers.lock().ok()?.get(request).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_bytes_are_bounded_and_the_newest_survives() {
        let store = LastGood::default();
        let megabyte = Bytes::from(vec![0; 1 << 20]);
        for i in 0..300 {
            store.keep(&format!("/{i}"), "text/plain", &megabyte);
        }
        let held = store.answers.lock().expect("not poisoned");
        assert!(held.len() <= MAX_BYTES >> 20, "{} entries", held.len());
        assert!(held.contains_key("/299"));
        drop(held);
        store.keep("/huge", "text/plain", &Bytes::from(vec![0; MAX_BYTES]));
        assert!(
            store.recall("/huge").is_none(),
            "one answer may not push out all others"
        );
    }
}
