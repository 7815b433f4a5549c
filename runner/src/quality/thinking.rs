//! Cutting thinking out of an answer, where a server leaves it in the text.
//!
//! The tags, and who writes them: `<think>` DeepSeek-R1, Qwen3 and many after them, `◁think▷`
//! Kimi, `<|channel|>analysis` gpt-oss (<https://docs.sglang.io/docs/advanced_features/separate_reasoning>,
//! <https://cookbook.openai.com/articles/openai-harmony>), `<thought>` EXAONE Deep
//! (<https://huggingface.co/LGAI-EXAONE/EXAONE-Deep-7.8B>), `[THINK]` Magistral
//! (<https://huggingface.co/mistralai/Magistral-Small-2509>).

/// What opens thinking and what closes it.
const TAGS: [(&str, &str); 5] = [
    ("<think>", "</think>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
];

/// A text without its thinking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// What is left; nothing where thinking was never closed.
    pub(crate) answer: String,
    /// Bytes that were cut, tags included; 0 where there was no tag.
    pub(crate) bytes: usize,
}

/// Cuts every piece of thinking. What stands before a closing tag that nothing opened is thinking
/// too, because some templates open it in the prompt; of a tag that is never closed everything is.
/// The work is linear in the text's length.
pub(crate) fn cut(text: &str) -> Cut {
    let mut answer = String::new();
    let mut rest = text;
    let mut is_cut = false;
    while let Some((at, tag, end)) = next_tag(rest) {
        is_cut = true;
        if tag == Tag::Closes {
            answer.clear();
            rest = &rest[end..];
            continue;
        }
        let closes = TAGS
            .iter()
            .find(|(open, _)| rest[at..].starts_with(open))
            .map_or("", |(_, close)| close);
        let Some(closed) = rest[end..].find(closes) else {
            return Cut {
                answer: String::new(),
                bytes: text.len(),
            };
        };
        answer.push_str(&rest[..at]);
        rest = &rest[end + closed + closes.len()..];
    }
    answer.push_str(rest);
    if !is_cut {
        return Cut { answer, bytes: 0 };
    }
    let bytes = text.len() - answer.len();
    Cut {
        answer: answer.trim_start().to_owned(),
        bytes,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Opens,
    Closes,
}

/// The first tag: where it stands, which it is, and where it ends.
fn next_tag(text: &str) -> Option<(usize, Tag, usize)> {
    text.char_indices()
        .filter(|(_, c)| matches!(c, '<' | '[' | '\u{25c1}'))
        .find_map(|(at, _)| {
            TAGS.iter().find_map(|(open, close)| {
                let is = |tag: &str| text[at..].starts_with(tag).then(|| at + tag.len());
                is(open)
                    .map(|end| (at, Tag::Opens, end))
                    .or_else(|| is(close).map(|end| (at, Tag::Closes, end)))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn thinking_is_cut_whatever_its_tags() {
        for (text, answer) in [
            ("Answer: 4", "Answer: 4"),
            ("<think>\n2+2\n</think>\n\nAnswer: 4", "Answer: 4"),
            ("2+2 is\n</think>Answer: 4", "Answer: 4"),
            ("<thought>a</thought>Answer: 4", "Answer: 4"),
            ("[THINK]a[/THINK]Answer: 4", "Answer: 4"),
            (
                "\u{25c1}think\u{25b7}a\u{25c1}/think\u{25b7}Answer: 4",
                "Answer: 4",
            ),
            (
                "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Answer: 4",
                "Answer: 4",
            ),
            ("<|channel|>final<|message|>Answer: 4", "Answer: 4"),
            (
                "Well. <think>a</think>Answer: <think>b</think>4",
                "Well. Answer: 4",
            ),
            ("if a[0] < b: print([THIN])", "if a[0] < b: print([THIN])"),
        ] {
            assert_eq!(cut(text).answer, answer, "{text}");
        }
        assert_eq!(cut("<think>ab</think>c").bytes, "<think>ab</think>".len());
        assert_eq!(cut("no tags").bytes, 0);
    }

    #[test]
    fn of_thinking_that_never_ends_nothing_was_answered() {
        for text in ["<think>Answer: 4", "Answer: 4 <think>or 5", "[THINK]"] {
            let cut = cut(text);
            assert_eq!((cut.answer.as_str(), cut.bytes), ("", text.len()), "{text}");
        }
    }

    #[test]
    fn a_megabyte_of_tags_is_read_once() {
        let text = "<think></think>".repeat(1 << 16) + "Answer: 4";
        assert_eq!(cut(&text).answer, "Answer: 4");
        let text = "</think>".repeat(1 << 17);
        assert_eq!(cut(&text).answer, "");
    }

    proptest! {
        #[test]
        fn what_is_left_is_never_longer(text in "(<think>|</think>|\\[THINK\\]|a|\u{25c1}|<){0,12}") {
            let cut = cut(&text);
            prop_assert!(cut.answer.len() + cut.bytes <= text.len());
        }
    }
}
