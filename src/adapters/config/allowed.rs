//! What a setting may be: how its text in the environment is understood, what passes, and how that is said.
//!
//! Invariant: what passes here fits the field of the settings that it is for.

use std::fmt;

use figment::{
    providers::{Format, Toml},
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

use super::auth::MASK;

/// Shortest secret of HS256, in bytes: as long as its hash, as RFC 7518 demands.
const SECRET_BYTES_MIN: usize = 32;

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
    /// A text that must not be shown.
    Secret,
    /// URLs of a backend, with commas between, which may hold passwords.
    Urls {
        /// What they may be, in words.
        what: &'static str,
        /// What they may begin with, before `://`.
        schemes: &'static [&'static str],
    },
    /// A list of texts that passes a test.
    Texts {
        /// What it may be, in words.
        what: &'static str,
        /// The test.
        accepts: fn(&Value) -> bool,
    },
    /// A list of tables, each with a secret.
    Tables {
        /// What it may be, in words.
        what: &'static str,
        /// The test.
        check: fn(&Value) -> Result<(), Box<figment::Error>>,
    },
}

impl Allowed {
    /// Understands an environment variable's text. A text that makes no sense comes back as a text, for
    /// [`Allowed::accepts`] to refuse: only the kind decides what a text means, so that a secret of digits stays a text.
    pub(super) fn parse(&self, text: &str) -> Value {
        let understood = match self {
            Self::Flag => flag(text.trim()).map(Value::from),
            Self::Number { .. } => text.trim().parse::<u64>().ok().map(Value::from),
            Self::Ratio => text.trim().parse::<f64>().ok().map(Value::from),
            Self::Text { .. } | Self::Secret | Self::Urls { .. } => None,
            Self::Texts { .. } if !text.trim_start().starts_with('[') => Some(comma_separated(text)),
            Self::Texts { .. } | Self::Tables { .. } => toml_value(text),
        };
        understood.unwrap_or_else(|| Value::from(text))
    }

    /// Whether a value passes.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Flag => value.to_bool().is_some(),
            Self::Number { min, max } => integer(value).is_some_and(|number| (i128::from(*min)..=i128::from(*max)).contains(&number)),
            Self::Ratio => value.deserialize::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio)),
            Self::Text { accepts, .. } => value.as_str().is_some() && accepts(value),
            Self::Secret => value.as_str().is_some_and(|text| text.is_empty() || text.len() >= SECRET_BYTES_MIN),
            Self::Urls { schemes, .. } => value.as_str().is_some_and(|urls| urls.split(',').all(|url| is_url(url.trim(), schemes))),
            Self::Texts { accepts, .. } => {
                value.as_array().is_some_and(|items| items.iter().all(|item| item.as_str().is_some())) && accepts(value)
            }
            Self::Tables { check, .. } => value.as_array().is_some() && check(value).is_ok(),
        }
    }

    /// A value as anybody may see it.
    pub(super) fn masked(&self, value: &Value) -> Value {
        match (self, value.as_str()) {
            (Self::Secret, Some(text)) if !text.is_empty() => Value::from(MASK),
            (Self::Urls { .. }, Some(urls)) => Value::from(urls.split(',').map(without_password).collect::<Vec<_>>().join(",")),
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
            Self::Secret => write!(f, "a text of at least {SECRET_BYTES_MIN} bytes, or empty"),
            Self::Text { what, .. } | Self::Urls { what, .. } | Self::Texts { what, .. } | Self::Tables { what, .. } => f.write_str(what),
        }
    }
}

/// Whether a value is what a field of this type takes.
pub(super) fn fits<T: DeserializeOwned>(value: &Value) -> bool {
    value.deserialize::<T>().is_ok()
}

/// Only the beginning is looked at: what a backend's driver makes of the rest is its own business.
fn is_url(url: &str, schemes: &[&str]) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
}

/// A URL without its password, and without what stands behind a `?`, which may be one too.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, String::new()), |(rest, _)| (rest, format!("?{MASK}")));
    // A password may hold anything but an `@`, so the last one ends it.
    let rest = match rest.rsplit_once('@') {
        Some((credentials, host)) => format!("{}:{MASK}@{host}", credentials.split(':').next().unwrap_or_default()),
        None => rest.to_owned(),
    };
    format!("{scheme}://{rest}{query}")
}

/// The spellings that are found in `.env` files.
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
