//! The families of all suites.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Suite;

/// A kind of task. The name says which suite it belongs to: no two suites share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// `reference-v1`: add two numbers of three, four or six digits.
    Addition,
    /// `reference-v1`: repeat a word of four to twelve letters.
    Copy,
    /// `reference-v1`: spell a word of four to twelve letters backwards.
    Reverse,
    /// `reference-v1`: put four to twelve different letters in alphabetical order.
    Sort,
    /// `reference-v1`: give the two-letter value of one of three, five or seven keys.
    Recall,
    /// `reference-v1`: add two numbers modulo 100, a multiple of ten from 50 on, or any number
    /// from 50 on.
    Modular,
    /// `reference-v1`: close the brackets that are still open.
    Brackets,
    /// `core-v1`: arithmetic word problems.
    Arithmetic,
    /// `core-v1`: where things are after a series of moves.
    State,
    /// `core-v1`: an order from clues.
    Ordering,
    /// `core-v1`: a fact from a long text.
    Retrieval,
    /// `core-v1`: JSON of a given schema from a letter or note.
    Extraction,
    /// `core-v1`: a text that keeps to stated constraints.
    Constraints,
    /// `core-v1`: what a program prints.
    Tracing,
    /// `core-v1`: questions about a table or about dates.
    Tables,
    /// `core-v1`: a text changed as told.
    Transformation,
}

impl Family {
    /// Those of `reference-v1`, in the order of its plan.
    pub const REFERENCE: [Self; 7] = [
        Self::Addition,
        Self::Copy,
        Self::Reverse,
        Self::Sort,
        Self::Recall,
        Self::Modular,
        Self::Brackets,
    ];

    /// Those of `core-v1`, in the order of its plan.
    pub const CORE: [Self; 9] = [
        Self::Arithmetic,
        Self::State,
        Self::Ordering,
        Self::Retrieval,
        Self::Extraction,
        Self::Constraints,
        Self::Tracing,
        Self::Tables,
        Self::Transformation,
    ];

    /// The suite it belongs to.
    pub const fn suite(self) -> Suite {
        match self {
            Self::Addition
            | Self::Copy
            | Self::Reverse
            | Self::Sort
            | Self::Recall
            | Self::Modular
            | Self::Brackets => Suite::ReferenceV1,
            Self::Arithmetic
            | Self::State
            | Self::Ordering
            | Self::Retrieval
            | Self::Extraction
            | Self::Constraints
            | Self::Tracing
            | Self::Tables
            | Self::Transformation => Suite::CoreV1,
        }
    }

    /// The name used in records, lower-case ASCII.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Copy => "copy",
            Self::Reverse => "reverse",
            Self::Sort => "sort",
            Self::Recall => "recall",
            Self::Modular => "modular",
            Self::Brackets => "brackets",
            Self::Arithmetic => "arithmetic",
            Self::State => "state",
            Self::Ordering => "ordering",
            Self::Retrieval => "retrieval",
            Self::Extraction => "extraction",
            Self::Constraints => "constraints",
            Self::Tracing => "tracing",
            Self::Tables => "tables",
            Self::Transformation => "transformation",
        }
    }

    /// The family of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::REFERENCE.into_iter().chain(Self::CORE);
        all.find(|family| family.name() == name)
    }

    /// One sentence for people, with an example where one is short.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Addition => {
                "Adds two numbers of 3, 4 or 6 digits, answer last digit first: +047+985= gives 2301."
            }
            Self::Copy => "Repeats a word of 4 to 12 letters: \"qzab= gives qzab.",
            Self::Reverse => "Spells a word of 4 to 12 letters backwards: ~qzab= gives bazq.",
            Self::Sort => "Puts 4 to 12 letters in alphabetical order: &qzab= gives abqz.",
            Self::Recall => {
                "Looks up one of 3, 5 or 7 keys, each with a two-letter value: ?KmpTazWre=T gives az."
            }
            Self::Modular => {
                "Adds two numbers modulo 50 to 100, answer last digit first: %47+35:60= gives 22."
            }
            Self::Brackets => {
                "Closes the 4 to 6 brackets that are still open: !([]{(<= gives >)})."
            }
            Self::Arithmetic => "Solves a word problem of 2 to 8 arithmetic steps.",
            Self::State => "Follows where things are through a series of moves.",
            Self::Ordering => "Finds the one order that fits all clues.",
            Self::Retrieval => "Finds a fact at a chosen depth of a long text.",
            Self::Extraction => "Reads a note into JSON of a given schema.",
            Self::Constraints => "Writes a text that keeps to stated constraints.",
            Self::Tracing => "Says what a short program prints.",
            Self::Tables => "Answers a question about a table or about dates.",
            Self::Transformation => "Changes a text exactly as told.",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
