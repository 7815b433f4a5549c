//! Work done for nothing, so that whoever looks for slow-downs can be shown one of a known size.
//!
//! It is real work: a pass computed twice, memory read once more; never a pause. Answers stay what
//! they are. No command line of the program reaches it; `examples/slowed_arm.rs` does.

use std::hint::black_box;
use std::num::NonZeroU32;

use super::cache::Cache;
use super::computing;
use super::model::{Model, Rows};
use crate::engine::EngineError;

/// What is done for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Burden {
    /// Every k-th decode pass is computed twice: decode takes 1 + 1/k passes per token.
    pub repeat_pass_every: Option<NonZeroU32>,
    /// Every k-th prompt is processed twice.
    pub repeat_prompt_every: Option<NonZeroU32>,
    /// Bytes of memory that are read once more for every token.
    pub read_bytes_per_token: usize,
}

/// The burden of one engine, with its counts.
#[derive(Debug, Default)]
pub(super) struct Burdened {
    burden: Burden,
    passes: u32,
    prompts: u32,
    memory: Vec<u64>,
    /// Passes that were computed for nothing.
    pub(super) repeated: u64,
}

impl Burdened {
    pub(super) fn with(burden: Burden) -> Self {
        Self {
            burden,
            // Written, so that reading it reads memory and not one page of zeros.
            memory: (0..burden.read_bytes_per_token as u64 / 8).collect(),
            ..Self::default()
        }
    }

    /// To be borne before each pass. A pass that is computed here writes keys and values where the
    /// one that counts writes the same again.
    pub(super) fn bear(
        &mut self,
        model: &Model,
        tokens: &[u32],
        is_prompt: bool,
        cache: &mut Cache,
    ) -> Result<(), EngineError> {
        if !self.memory.is_empty() {
            black_box(self.memory.iter().copied().fold(0, u64::wrapping_add));
        }
        let (every, count) = if is_prompt {
            (self.burden.repeat_prompt_every, &mut self.prompts)
        } else {
            (self.burden.repeat_pass_every, &mut self.passes)
        };
        let Some(every) = every else {
            return Ok(());
        };
        *count = (*count + 1) % every.get();
        if *count == 0 {
            let length = cache.length;
            let logits = model
                .forward(tokens, cache, Rows::Last)
                .map_err(computing("compute a forward pass"))?;
            black_box(logits);
            cache.length = length;
            self.repeated += 1;
        }
        Ok(())
    }
}
