//! A parameter of the query that is one of a few words.

use utoipa::openapi::path::Parameter;

use super::parameter::{query, text_schema};
use crate::adapters::http::{problem::Problem, problem_code::Code};

/// Such a parameter.
pub(super) struct Choice<T: 'static> {
    /// Its name.
    pub(super) name: &'static str,
    /// The words, and what each means.
    pub(super) words: &'static [(&'static str, T)],
    /// The code of the refusal of any other.
    pub(super) refusal: Code,
    /// What it is for.
    pub(super) about: &'static str,
}

impl<T: Copy> Choice<T> {
    /// What the query says; `default` where it says nothing.
    pub(super) fn read(&self, word: Option<&str>, default: T) -> Result<T, Problem> {
        let Some(word) = word else { return Ok(default) };
        let known = self.words.iter().find(|(known, _)| *known == word);
        known.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<String> =
                self.words.iter().map(|(word, _)| format!("`{word}`")).collect();
            Problem::new(self.refusal, format!("`{}` is {}", self.name, words.join(" or ")))
        })
    }

    /// How it is described.
    pub(super) fn parameter(&self) -> Parameter {
        let words: Vec<&str> = self.words.iter().map(|(word, _)| *word).collect();
        query(self.name, text_schema(|text| text.enum_values(Some(words))), self.about)
    }
}
