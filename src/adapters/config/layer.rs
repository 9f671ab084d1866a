//! One layer of the settings, checked key by key before it is merged.
//!
//! Invariant: a layer that exists has known keys only, each with a value that it may have.

use figment::{
    Error, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Toml},
    util::nest,
    value::{Dict, Map, Value},
};

use super::{
    allowed::{Allowed, FLAGS},
    default_file::default_file,
    error::ConfigError,
    keys, listing,
    nearest::nearest,
    origin::Origin,
};
use crate::adapters::shown_url::MASK;

/// Values from one place.
#[derive(Debug)]
pub(super) struct Layer {
    origin: Origin,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.origin.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    /// The compiled-in defaults.
    pub(super) fn default_values() -> Result<Self, ConfigError> {
        Self::parse(Origin::Default, &default_file())
    }

    /// A file's text.
    pub(super) fn parse(origin: Origin, text: &str) -> Result<Self, ConfigError> {
        match Toml::from_str::<Dict>(text) {
            Ok(mut values) => {
                check_section("", &values, &origin)?;
                drop_line_ends("", &mut values);
                Ok(Self { origin, values })
            }
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
                let hint = if has_bare_word(text, line) { BARE_WORD } else { "" };
                Err(ConfigError::Syntax {
                    origin,
                    line,
                    message: error.message().replace('\n', ", ") + hint,
                })
            }
        }
    }

    /// The value of an environment variable, for a key that there is.
    pub(super) fn variable(
        variable: &str,
        key: &str,
        allowed: &Allowed,
        text: &str,
    ) -> Result<Self, ConfigError> {
        let origin = Origin::Environment(variable.to_owned());
        let value = allowed.parse(without_line_end(text));
        check_value(key, &value, allowed, &origin)?;
        let values = nest(key, value).into_dict().unwrap_or_default();
        Ok(Self { origin, values })
    }
}

/// What to do about a word that stands where a value should, as `yes` or `t` in a file.
const BARE_WORD: &str = " (a truth value is true or false; a text stands in quotes)";

fn has_bare_word(text: &str, line: usize) -> bool {
    let value = text.lines().nth(line.saturating_sub(1)).and_then(|line| line.split_once('='));
    value
        .is_some_and(|(_, value)| value.trim_start().starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// A text without the one line end that a file's last line has: it is no part of a secret that was
/// made of a file.
pub(super) fn without_line_end(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

/// Does so with what a file has of secrets and URLs, which may be texts of several lines in it.
fn drop_line_ends(section: &str, values: &mut Dict) {
    for (name, value) in values {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match (keys::allowed(&key), value) {
            (None, Value::Dict(_, values)) => drop_line_ends(&key, values),
            (
                Some(Allowed::Secret | Allowed::Url { .. } | Allowed::Urls { .. }),
                Value::String(_, text),
            ) => {
                text.truncate(without_line_end(text).len());
            }
            _ => {}
        }
    }
}

/// The error for a key that there isn't.
pub(super) fn unknown_key(key: String, origin: Origin) -> ConfigError {
    let names = keys::all().map(|key| key.name);
    let suggestion = match origin {
        Origin::Environment(_) => nearest(&key, names).map(keys::variable),
        Origin::Default | Origin::File(_) => {
            let sections = keys::known_beside("");
            nearest(&key, names.chain(sections.iter().map(String::as_str))).map(str::to_owned)
        }
    };
    ConfigError::UnknownKey { known: keys::known_beside(&key), key, origin, suggestion }
}

fn check_section(section: &str, values: &Dict, origin: &Origin) -> Result<(), ConfigError> {
    for (name, value) in values {
        // Without its quotes, a name with a dot in it would look like a key of another section.
        let name = if name.contains('.') { format!("\"{name}\"") } else { name.clone() };
        let key = if section.is_empty() { name } else { format!("{section}.{name}") };
        match (keys::allowed(&key), value) {
            (Some(allowed), _) => check_value(&key, value, allowed, origin)?,
            (None, Value::Dict(_, values)) if keys::is_section(&key) => {
                check_section(&key, values, origin)?;
            }
            (None, _) if keys::is_section(&key) => {
                return Err(bad_value(key, origin, "a single value".to_owned(), "a table"));
            }
            (None, _) => return Err(unknown_key(key, origin.clone())),
        }
    }
    Ok(())
}

fn check_value(
    key: &str,
    value: &Value,
    allowed: &Allowed,
    origin: &Origin,
) -> Result<(), ConfigError> {
    if allowed.accepts(value) {
        return Ok(());
    }
    let found = match allowed {
        Allowed::Tables { check, .. } if value.as_array().is_some() => {
            return check(value).map_err(|error| table_error(key, value, allowed, &error, origin));
        }
        // A key may have been put here instead of its hash.
        Allowed::Secret | Allowed::Urls { .. } | Allowed::Tables { shown: false, .. } => {
            MASK.to_owned()
        }
        Allowed::Url { .. } => listing::text(&allowed.masked(value)),
        Allowed::Flag
        | Allowed::Number { .. }
        | Allowed::Ratio
        | Allowed::Text { .. }
        | Allowed::Texts { .. }
        | Allowed::Tables { shown: true, .. } => listing::text(value),
    };
    match (allowed, origin) {
        (Allowed::Flag, Origin::Environment(_)) => {
            Err(bad_value(key.to_owned(), origin, found, FLAGS))
        }
        _ => Err(bad_value(key.to_owned(), origin, found, allowed)),
    }
}

fn bad_value(
    key: String,
    origin: &Origin,
    found: String,
    allowed: &(impl ToString + ?Sized),
) -> ConfigError {
    ConfigError::BadValue { key, origin: origin.clone(), found, allowed: allowed.to_string() }
}

/// What is wrong in a list of tables, with its place in the list.
fn table_error(
    key: &str,
    value: &Value,
    allowed: &Allowed,
    error: &Error,
    origin: &Origin,
) -> ConfigError {
    let mut place = key.to_owned();
    let mut culprit = Some(value);
    for part in &error.path {
        if let Ok(index) = part.parse::<usize>() {
            place = format!("{place}[{index}]");
            culprit = culprit.and_then(Value::as_array).and_then(|items| items.get(index));
        } else {
            place = format!("{place}.{part}");
            culprit = culprit.and_then(Value::as_dict).and_then(|values| values.get(part));
        }
    }
    let is_shown = matches!(allowed, Allowed::Tables { shown: true, .. })
        || error.path.last().is_some_and(|name| name == "scopes");
    let shown = if is_shown { culprit } else { None };
    let found = shown.map_or_else(|| MASK.to_owned(), listing::text);
    match &error.kind {
        Kind::UnknownField(_, known) => ConfigError::UnknownKey {
            known: known.iter().map(|name| (*name).to_owned()).collect(),
            suggestion: nearest(
                error.path.last().map_or("", String::as_str),
                known.iter().copied(),
            )
            .map(str::to_owned),
            key: place,
            origin: origin.clone(),
        },
        Kind::MissingField(name) => bad_value(place, origin, format!("without `{name}`"), allowed),
        Kind::Message(allowed) | Kind::InvalidType(_, allowed) => {
            bad_value(place, origin, found, allowed)
        }
        _ => bad_value(place, origin, found, allowed),
    }
}
