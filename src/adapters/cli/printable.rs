//! Text from outside, on its way to a terminal.
//!
//! Invariant: no character gets through that a terminal would obey, or that would make text look
//! like other text: control characters (C0, DEL, C1), line and paragraph separators, and marks that
//! turn the direction of text around. They are written as JSON writes them, `\u001b`, so that JSON
//! stays the same JSON.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

/// Displays a text without what could do harm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match escaped(char) {
            Some(escape) => f.write_str(&escape),
            None => f.write_char(char),
        })
    }
}

/// What stands for a character that must not be written as it is; `None` for all others.
pub(super) fn escaped(char: char) -> Option<String> {
    // Every one of them fits four digits.
    is_harmful(char).then(|| format!("\\u{:04x}", u32::from(char)))
}

fn is_harmful(char: char) -> bool {
    // U+061C, U+200E and U+200F are marks of direction, as are the two ranges; U+2028 and U+2029
    // separate lines.
    char.is_control()
        || matches!(char, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes something for people, on standard error.
pub(super) fn tell(text: &str) {
    // A closed standard error is no failure.
    let _ = writeln!(io::stderr(), "rejoin: {}", Printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text = "a\u{1b}[2J\u{7}\u{7f}\u{9b}31m\u{202e}b\u{2066}\u{2028}\u{0}\r\n\té😀";
        let expected =
            r"a\u001b[2J\u0007\u007f\u009b31m\u202eb\u2066\u2028\u0000\u000d\u000a\u0009é😀";
        assert_eq!(Printable(text).to_string(), expected);
    }

    proptest! {
        #[test]
        fn nothing_harmful_gets_through_and_nothing_else_is_touched(text: String) {
            let printed = Printable(&text).to_string();
            prop_assert!(!printed.contains(is_harmful));
            let harmless = |text: &str| text.chars().filter(|char| !is_harmful(*char)).collect::<String>();
            prop_assert!(harmless(&text) == printed || printed.len() > harmless(&text).len());
        }

        #[test]
        fn a_json_text_stays_the_same_json(value in "[a\u{7f}\u{9b}\u{202e}\u{2028}é\"\\\\]{0,20}") {
            let json = serde_json::to_string(&value).unwrap();
            let printed = Printable(&json).to_string();
            prop_assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), value);
        }
    }
}
