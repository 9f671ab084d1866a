//! What a setting may be: how its text in the environment is understood, what passes, and how that
//! is said.
//!
//! Invariant: what passes here fits the field of the settings that it is for.

use std::fmt;

use figment::{
    providers::{Format, Toml},
    value::{Dict, Value},
};

use super::validators::http_url;
use crate::{
    adapters::shown_url::{MASK, is_ambiguous, shown},
    domain::secret::{SECRET_BYTES_MIN, SECRET_DISTINCT_BYTES_MIN},
};

/// What a setting may be.
pub(super) enum Allowed {
    /// True or false.
    Flag,
    /// A whole number within bounds, both included.
    Number {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number from 0 to 1.
    Ratio,
    /// A text that passes a test.
    Text {
        /// What it may be, in words.
        what: &'static str,
        /// The test.
        accepts: fn(&Value) -> bool,
    },
    /// A text that must not be shown. Whether it is strong enough is a rule between keys.
    Secret,
    /// A URL that may hold what must not be shown, and that passes a test.
    Url {
        /// What it may be, in words.
        what: &'static str,
        /// The test.
        accepts: fn(&Value) -> bool,
    },
    /// URLs of a backend, with commas between, which may hold passwords.
    Urls {
        /// What they may be, in words.
        what: &'static str,
        /// What they may begin with, before `://`.
        is_scheme: fn(&str) -> bool,
    },
    /// A list of texts that passes a test.
    Texts {
        /// What it may be, in words.
        what: &'static str,
        /// The test.
        accepts: fn(&Value) -> bool,
    },
    /// A list of tables.
    Tables {
        /// What it may be, in words.
        what: &'static str,
        /// The test.
        check: fn(&Value) -> Result<(), Box<figment::Error>>,
        /// Whether what stands there may be shown: it may be a secret in a wrong place.
        shown: bool,
    },
}

/// Any text.
pub(super) const TEXT: Allowed = text("a text", |_| true);
/// A file, which need not be there yet.
pub(super) const FILE: Allowed = text("the path of a file, or empty", |_| true);
/// A URL that HTTP reaches.
pub(super) const HTTP_URL: Allowed = Allowed::Url {
    what: "a URL that begins with https:// or http://, without user and password, and with any @ written as %40; or empty",
    accepts: http_url,
};

/// A number within bounds, both included.
pub(super) const fn number(min: u64, max: u64) -> Allowed {
    Allowed::Number { min, max }
}

/// A text that passes a test.
pub(super) const fn text(what: &'static str, accepts: fn(&Value) -> bool) -> Allowed {
    Allowed::Text { what, accepts }
}

/// A list of texts that passes a test.
pub(super) const fn texts(what: &'static str, accepts: fn(&Value) -> bool) -> Allowed {
    Allowed::Texts { what, accepts }
}

/// URLs of a backend, which begin with one of its schemes.
pub(super) const fn urls(what: &'static str, is_scheme: fn(&str) -> bool) -> Allowed {
    Allowed::Urls { what, is_scheme }
}

impl Allowed {
    /// Understands an environment variable's text. A text that makes no sense comes back as a text,
    /// for [`Allowed::accepts`] to refuse: only the kind decides what a text means, so that a
    /// secret of digits stays a text.
    pub(super) fn parse(&self, text: &str) -> Value {
        let understood = match self {
            Self::Flag => flag(text.trim()).map(Value::from),
            Self::Number { .. } => text.trim().parse::<u64>().ok().map(Value::from),
            Self::Ratio => text.trim().parse::<f64>().ok().map(Value::from),
            Self::Text { .. } | Self::Secret | Self::Url { .. } | Self::Urls { .. } => None,
            Self::Texts { .. } if !text.trim_start().starts_with('[') => {
                Some(comma_separated(text))
            }
            Self::Texts { .. } | Self::Tables { .. } => toml_value(text),
        };
        understood.unwrap_or_else(|| Value::from(text))
    }

    /// Whether a value passes.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Flag => value.to_bool().is_some(),
            Self::Number { min, max } => integer(value)
                .is_some_and(|number| (i128::from(*min)..=i128::from(*max)).contains(&number)),
            Self::Ratio => {
                value.deserialize::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio))
            }
            Self::Text { accepts, .. } | Self::Url { accepts, .. } => {
                value.as_str().is_some() && accepts(value)
            }
            Self::Secret => {
                value.as_str().is_some_and(|text| text.is_empty() || !text.trim().is_empty())
            }
            Self::Urls { is_scheme, .. } => value
                .as_str()
                .is_some_and(|urls| urls.split(',').all(|url| is_url(url.trim(), *is_scheme))),
            Self::Texts { accepts, .. } => {
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(|item| item.as_str().is_some()))
                    && accepts(value)
            }
            Self::Tables { check, .. } => value.as_array().is_some() && check(value).is_ok(),
        }
    }

    /// A value as anybody may see it.
    pub(super) fn masked(&self, value: &Value) -> Value {
        match (self, value.as_str()) {
            (Self::Secret, Some(text)) if !text.is_empty() => Value::from(MASK),
            (Self::Url { .. } | Self::Urls { .. }, Some(urls)) if !urls.is_empty() => {
                Value::from(shown(urls))
            }
            _ => value.clone(),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Ratio => f.write_str("a number from 0.0 to 1.0"),
            Self::Secret => {
                write!(
                    f,
                    "a text of at least {SECRET_BYTES_MIN} bytes, {SECRET_DISTINCT_BYTES_MIN} of them different, not blank; or empty"
                )
            }
            Self::Text { what, .. }
            | Self::Url { what, .. }
            | Self::Urls { what, .. }
            | Self::Texts { what, .. }
            | Self::Tables { what, .. } => f.write_str(what),
        }
    }
}

/// What the environment may have for a truth value.
pub(super) const FLAGS: &str = "true or false (or t, yes, y, on, 1; f, no, n, off, 0)";

/// Only the beginning is looked at: what a backend's driver makes of the rest is its own business.
fn is_url(url: &str, is_scheme: fn(&str) -> bool) -> bool {
    url.split_once("://")
        .is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty() && !is_ambiguous(url))
}

/// The spellings that are found in `.env` files, and no others: [`FLAGS`] says so.
fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| value.to_u128().and_then(|number| i128::try_from(number).ok()))
}

fn comma_separated(text: &str) -> Value {
    let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    Value::from(items)
}

fn toml_value(text: &str) -> Option<Value> {
    Toml::from_str::<Dict>(&format!("value = {text}")).ok()?.remove("value")
}
