//! Names from the network as label values: bounded by the protocol, without what would disturb a terminal or a page, and
//! never mistaken for a name of ours. The encoder escapes quotes, backslashes and line breaks.

use std::sync::Arc;

/// Shared by everything that has no series of its own.
pub(crate) const OTHER: &str = "(other)";
/// Stands for an empty name, and for shares whose channel or miner is not known.
pub(crate) const UNNAMED: &str = "(unnamed)";

/// The label value for a name. Control and direction characters become U+FFFD; an empty name becomes [`UNNAMED`].
pub(crate) fn of_name(name: &str) -> Arc<str> {
    if name.is_empty() {
        return UNNAMED.into();
    }
    if !name.chars().any(is_disturbing) {
        return name.into();
    }
    name.chars().map(|c| if is_disturbing(c) { char::REPLACEMENT_CHARACTER } else { c }).collect::<String>().into()
}

/// Control characters, line and paragraph separators, and marks that turn the direction of text.
fn is_disturbing(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disturbing_characters_are_replaced_and_others_kept() {
        for (name, expected) in [
            ("", UNNAMED),
            ("alice.rig-1", "alice.rig-1"),
            ("名前 😀 \"quoted\\\"", "名前 😀 \"quoted\\\""),
            ("a\nb\u{1b}[31m", "a\u{fffd}b\u{fffd}[31m"),
            ("\u{202e}reversed", "\u{fffd}reversed"),
        ] {
            assert_eq!(&*of_name(name), expected, "{name:?}");
        }
    }
}
