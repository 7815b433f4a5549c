//! The byte-level tokenizer of the reference models: one token per byte, plus a few specials.
//!
//! Token text uses GPT-2's alphabet, in which every byte is one printable character, so the same
//! file loads in llama.cpp and other engines that read `tokenizer.ggml.model = "gpt2"`.
//! Only vocabularies without useful merges are read; a real byte-pair vocabulary is refused with an
//! error that says so.

use thiserror::Error;

/// Tokens of the vocabulary: 256 bytes and specials, padded to a multiple of 32.
pub const VOCABULARY_SIZE: usize = 288;
/// Begins every sequence.
pub const BOS: u32 = 256;
/// Ends every answer.
pub const EOS: u32 = 257;
/// Fills a batch; never trained.
pub const PAD: u32 = 258;

/// `tokenizer.ggml.token_type` of an ordinary token.
const TYPE_NORMAL: i32 = 1;
/// `tokenizer.ggml.token_type` of a special token.
const TYPE_CONTROL: i32 = 3;
/// `tokenizer.ggml.token_type` of a token that is never produced.
const TYPE_UNUSED: i32 = 5;

/// Why a vocabulary cannot be read as a byte-level one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// A byte has no token of its own.
    #[error(
        "read the vocabulary: byte {byte:#04x} has no token ({character:?} expected); only byte-level \
         vocabularies are supported so far"
    )]
    MissingByte {
        /// The byte without a token.
        byte: u8,
        /// Its character in GPT-2's alphabet.
        character: char,
    },
    /// A token stands for several bytes, so encoding would need merges.
    #[error(
        "read the vocabulary: token {id} is {text:?}, more than one byte; only byte-level \
         vocabularies without merges are supported so far"
    )]
    SeveralBytes {
        /// The token's id.
        id: u32,
        /// The token's text in the file.
        text: String,
    },
    /// The begin or end token lies outside the vocabulary.
    #[error("read the vocabulary: special token {id} lies outside its {size} tokens")]
    SpecialOutside {
        /// The id named in the file.
        id: u32,
        /// Tokens in the vocabulary.
        size: usize,
    },
}

/// Maps text to tokens and back, for one vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteTokenizer {
    token_of_byte: [u32; 256],
    byte_of_token: Vec<Option<u8>>,
    bos: u32,
    eos: u32,
}

impl ByteTokenizer {
    /// The tokenizer of the reference models.
    pub fn reference() -> Self {
        let mut token_of_byte = [0; 256];
        let mut byte_of_token = vec![None; VOCABULARY_SIZE];
        for byte in 0..=u8::MAX {
            token_of_byte[usize::from(byte)] = u32::from(byte);
            byte_of_token[usize::from(byte)] = Some(byte);
        }
        Self {
            token_of_byte,
            byte_of_token,
            bos: BOS,
            eos: EOS,
        }
    }

    /// A tokenizer for the token texts of a GGUF file (`tokenizer.ggml.tokens`), in any order of
    /// ids.
    ///
    /// A text of one character of the alphabet is that byte; texts of the form `<...>` or `[...]`
    /// are specials that decode to nothing; any other text is refused.
    pub fn from_tokens(tokens: &[String], bos: u32, eos: u32) -> Result<Self, TokenizerError> {
        let size = tokens.len();
        if let Some(id) = [bos, eos].into_iter().find(|&id| id as usize >= size) {
            return Err(TokenizerError::SpecialOutside { id, size });
        }
        let mut found = [None; 256];
        let mut byte_of_token = vec![None; size];
        for (id, text) in tokens.iter().enumerate() {
            let mut characters = text.chars();
            if let (Some(character), None) = (characters.next(), characters.next()) {
                if let Some(byte) = byte_of_character(character) {
                    byte_of_token[id] = Some(byte);
                    found[usize::from(byte)].get_or_insert(id as u32);
                }
            } else if !is_special(text) {
                return Err(TokenizerError::SeveralBytes {
                    id: id as u32,
                    text: text.clone(),
                });
            }
        }
        let mut token_of_byte = [0; 256];
        for byte in 0..=u8::MAX {
            token_of_byte[usize::from(byte)] =
                found[usize::from(byte)].ok_or(TokenizerError::MissingByte {
                    byte,
                    character: character_of_byte(byte),
                })?;
        }
        Ok(Self {
            token_of_byte,
            byte_of_token,
            bos,
            eos,
        })
    }

    /// The token that begins a sequence.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// The token that ends a sequence.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The tokens of `text`, one per byte of its UTF-8; begin and end are the caller's to add.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes()
            .map(|byte| self.token_of_byte[usize::from(byte)])
            .collect()
    }

    /// The bytes of `tokens`; specials and unknown ids give none.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        tokens
            .iter()
            .filter_map(|&token| self.byte_of_token.get(token as usize).copied().flatten())
            .collect()
    }
}

/// The reference vocabulary's token texts, in order of their ids.
pub fn tokens() -> Vec<String> {
    let specials = ["<|bos|>", "<|eos|>", "<|pad|>"].map(str::to_owned);
    let unused = (specials.len()..VOCABULARY_SIZE - 256).map(|place| format!("<|unused{place}|>"));
    (0..=u8::MAX)
        .map(|byte| character_of_byte(byte).to_string())
        .chain(specials)
        .chain(unused)
        .collect()
}

/// The reference vocabulary's `tokenizer.ggml.token_type`, in order of ids.
pub fn token_types() -> Vec<i32> {
    (0..VOCABULARY_SIZE as u32)
        .map(|id| match id {
            0..BOS => TYPE_NORMAL,
            BOS..=PAD => TYPE_CONTROL,
            _ => TYPE_UNUSED,
        })
        .collect()
}

/// The reference vocabulary's `tokenizer.ggml.merges`: readers demand the array, so it holds one
/// rule.
///
/// The rule can never apply: its result is no token of the vocabulary.
pub fn merges() -> Vec<String> {
    vec![format!("{0} {0}", character_of_byte(0))]
}

/// The character that stands for a byte in GPT-2's alphabet.
///
/// Printable bytes stand for themselves; the others follow in order from U+0100
/// (`bytes_to_unicode` in <https://github.com/openai/gpt-2/blob/master/src/encoder.py>).
pub fn character_of_byte(byte: u8) -> char {
    if is_printable(byte) {
        return char::from(byte);
    }
    let others = (0..=byte).filter(|&other| !is_printable(other));
    let characters = others.zip('\u{100}'..);
    characters
        .last()
        .map_or(char::from(byte), |(_, character)| character)
}

fn byte_of_character(character: char) -> Option<u8> {
    (0..=u8::MAX).find(|&byte| character_of_byte(byte) == character)
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

fn is_special(text: &str) -> bool {
    (text.starts_with('<') && text.ends_with('>')) || (text.starts_with('[') && text.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_comes_back_from_its_tokens(text in "\\PC*") {
            let tokenizer = ByteTokenizer::reference();
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text.into_bytes());
        }
    }

    #[test]
    fn the_alphabet_gives_every_byte_its_own_character() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of_character(character_of_byte(byte)), Some(byte));
        }
        assert_eq!(character_of_byte(b' '), '\u{120}');
        assert_eq!(character_of_byte(b'\n'), '\u{10a}');
        assert_eq!(character_of_byte(0xad), '\u{143}');
    }

    #[test]
    fn the_reference_vocabulary_reads_back() {
        let read =
            ByteTokenizer::from_tokens(&tokens(), BOS, EOS).expect("a byte-level vocabulary");
        assert_eq!(read, ByteTokenizer::reference());
        assert_eq!(tokens().len(), VOCABULARY_SIZE);
        assert_eq!(token_types().len(), VOCABULARY_SIZE);
    }

    #[test]
    fn specials_and_unknown_ids_decode_to_nothing() {
        let tokenizer = ByteTokenizer::reference();
        assert_eq!(
            tokenizer.decode(&[BOS, u32::from(b'a'), EOS, PAD, 287, 288, u32::MAX]),
            b"a"
        );
    }

    #[test]
    fn a_vocabulary_with_merged_tokens_is_refused() {
        let mut merged = tokens();
        merged[270] = "th".to_owned();
        let error =
            ByteTokenizer::from_tokens(&merged, BOS, EOS).expect_err("two bytes in one token");
        assert_eq!(
            error,
            TokenizerError::SeveralBytes {
                id: 270,
                text: "th".to_owned()
            }
        );
    }

    #[test]
    fn a_vocabulary_that_lacks_a_byte_or_its_specials_is_refused() {
        let mut lacking = tokens();
        lacking[65] = "<|gone|>".to_owned();
        assert_eq!(
            ByteTokenizer::from_tokens(&lacking, BOS, EOS),
            Err(TokenizerError::MissingByte {
                byte: b'A',
                character: 'A'
            })
        );
        assert_eq!(
            ByteTokenizer::from_tokens(&tokens(), BOS, 288),
            Err(TokenizerError::SpecialOutside { id: 288, size: 288 })
        );
    }
}
