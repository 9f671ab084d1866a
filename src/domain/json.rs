//! A publisher's JSON, carried as the publisher's own text.
//!
//! Invariant: a [`Json`] is one valid JSON value on one line, not nested deeper than [`DEPTH_MAX`].
//! Numbers, key order, escapes and `\u0000` stay as they came; only line breaks *between* tokens
//! become spaces (inside strings JSON forbids them), so that the value fits one `data:` line and
//! one line of NDJSON.

use serde_json::value::RawValue;

/// Deepest nesting of arrays and objects. Databases and clients with recursive parsers fail on much
/// deeper values.
pub const DEPTH_MAX: usize = 128;

/// One JSON value, as text.
#[derive(Clone, Debug)]
pub struct Json(Box<RawValue>);

/// Why a text is not taken as JSON.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJson {
    /// The syntax is wrong; the text of the parser's error says where.
    #[error("not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

impl Json {
    /// Takes a value that a JSON parser has already found to be well-formed.
    ///
    /// # Errors
    /// [`InvalidJson::TooDeep`].
    pub fn from_raw(raw: Box<RawValue>) -> Result<Self, InvalidJson> {
        if deeper_than(raw.get(), DEPTH_MAX) {
            return Err(InvalidJson::TooDeep);
        }
        if raw.get().contains(['\r', '\n']) {
            let one_line = raw.get().replace(['\r', '\n'], " ");
            return Ok(Self(RawValue::from_string(one_line)?));
        }
        Ok(Self(raw))
    }

    /// Parses a text.
    ///
    /// # Errors
    /// Which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidJson> {
        Self::from_raw(serde_json::from_str(text)?)
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("two braces are an object"))
    }

    /// The value's text: one line, no surrounding white space.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.as_str().starts_with('{')
    }
}

/// Whether a JSON text is an array. Serde fills the fields of a struct from one too, by their
/// order, which no reader of objects wants.
pub fn is_array(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'[')
}

impl PartialEq for Json {
    /// Same text. Two spellings of one value are different.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A value of ours as JSON, on one line.
pub(super) fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and raw JSON always serialise")
}

/// Counts brackets outside strings; `text` must be valid JSON.
fn deeper_than(text: &str, limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_stays_as_it_came() {
        for text in [
            r#"{"b":1.10,"a":1e400,"a":2}"#,
            r#""\u0000\ud83d\ude00\/""#,
            "12345678901234567890123",
            "null",
            "[ 1,  2 ]",
        ] {
            assert_eq!(Json::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        let json = Json::parse("{\r\n  \"a\": \"x\\n\"\n}").unwrap();
        assert_eq!(json.as_str(), r#"{    "a": "x\n" }"#);
    }

    #[test]
    fn depth_is_limited_and_brackets_in_strings_do_not_count() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(&nested(DEPTH_MAX)).is_ok());
        assert!(matches!(Json::parse(&nested(DEPTH_MAX + 1)), Err(InvalidJson::TooDeep)));
        assert!(matches!(Json::parse(&nested(500_000)), Err(InvalidJson::TooDeep)));
        assert!(Json::parse(&format!(r#"["\"{}"]"#, "[".repeat(1000))).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_a_panic(text in "\\PC{0,60}|[\\[\\]{}\",:0-9a-z\\\\\r\n ]{0,60}") {
            if let Ok(json) = Json::parse(&text) {
                prop_assert!(!json.as_str().contains(['\r', '\n']));
                let before: serde_json::Value = serde_json::from_str(&text).unwrap();
                let after: serde_json::Value = serde_json::from_str(json.as_str()).unwrap();
                prop_assert_eq!(before, after);
            }
        }
    }
}
