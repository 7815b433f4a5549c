//! What an arm's parent and child say to each other: one line of JSON per message.
//!
//! The child greets first; then the parent asks, one thing at a time, and the child answers. Of a
//! generated token it says so at once; the parent stamps. What these types hold is the protocol:
//! whoever changes one so that another build cannot read it raises [`VERSION`].

use std::path::PathBuf;

use domain::record::{EngineFacts, Outcome, Settings};
use serde::{Deserialize, Serialize};

use crate::engine::{Capabilities, GenerateRequest, Generated, Needs, Prompt, TokenEvent};

/// Of this build's protocol.
pub(super) const VERSION: u32 = 1;

/// The first part of a greeting, which every version begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) joulemark_arm: u32,
}

/// The greeting.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) joulemark_arm: u32,
    pub(super) about: About,
}

/// The engine's own word; more is known of it once weights are loaded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) facts: EngineFacts,
    pub(super) settings: Settings,
    pub(super) capabilities: Capabilities,
}

/// The parent's part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    Load {
        weights: PathBuf,
        needs: Needs,
    },
    FitPrompt {
        text: String,
        tokens: u32,
    },
    Generate {
        request: GenerateRequest,
        /// Until the request's deadline.
        left_ms: Option<u64>,
    },
    /// Logits go into `file`, which exists: little-endian, row by row.
    Logits {
        tokens: Vec<u32>,
        file: PathBuf,
    },
}

/// The child's part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    Loaded(Box<About>),
    Prompt(Prompt),
    /// A piece of output was made; `Generated` follows the last.
    Event(TokenEvent),
    Generated(Box<Generated>),
    Logits {
        rows: u64,
        columns: u64,
    },
    /// The engine's error; it can be asked again.
    Failed {
        outcome: Outcome,
        of_the_request: bool,
        reason: String,
    },
}
