//! An account of the settings in force: every key, its value, and where that came from.
//!
//! Invariant: secrets are masked when the account is made, so that it can be shown to anybody.

use std::fmt;

use figment::{Figment, value::Value};

use super::{allowed::Allowed, keys, origin::Origin};
use crate::adapters::shown_url::MASK;

/// Every key in force, in the order of `config/default.toml`. It displays as lines of `key = value
/// # origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing(Vec<Setting>);

/// One key in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, dotted.
    pub key: String,
    /// The value as TOML, masked if it is a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Listing {
    pub(super) fn of(figment: &Figment) -> Self {
        let mut settings: Vec<Setting> =
            keys::all().filter_map(|key| setting(figment, key.name, &key.allowed)).collect();
        settings.extend(setting(figment, keys::ROUTES.name, &keys::ROUTES.allowed));
        let categories = figment
            .find_value(keys::CATEGORIES.name)
            .ok()
            .and_then(Value::into_dict)
            .unwrap_or_default();
        settings.extend(categories.keys().filter_map(|name| {
            let key = format!("{}.{name}", keys::CATEGORIES.name);
            setting(figment, &key, keys::allowed(&key)?)
        }));
        Self(settings)
    }

    /// The keys in force.
    pub fn settings(&self) -> &[Setting] {
        &self.0
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A longer value pushes its own origin out, not everybody's.
        const VALUE_WIDTH_MAX: usize = 40;
        let width = |part: fn(&Setting) -> &str| {
            self.0.iter().map(|setting| part(setting).chars().count()).max().unwrap_or(0)
        };
        let key_width = width(|setting| &setting.key);
        let value_width = width(|setting| &setting.value).min(VALUE_WIDTH_MAX);
        for Setting { key, value, origin } in &self.0 {
            writeln!(f, "{key:<key_width$} = {value:<value_width$}  # {origin}")?;
        }
        Ok(())
    }
}

fn setting(figment: &Figment, key: &str, allowed: &Allowed) -> Option<Setting> {
    let value = figment.find_value(key).ok()?;
    let value = text(&allowed.masked(&value));
    Some(Setting { key: key.to_owned(), value, origin: Origin::of(figment, key) })
}

/// A value as TOML, on one line. Hashes of keys are masked: who chose a weak key would give it
/// away.
pub(super) fn text(value: &Value) -> String {
    match value {
        // A JSON string is a TOML string.
        Value::String(_, text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::Char(_, char) => serde_json::Value::from(char.to_string()).to_string(),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(..) => number(value),
        Value::Empty(..) => "\"\"".to_owned(),
        Value::Array(_, items) => {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Value::Dict(_, values) => {
            let fields = values.iter().map(|(name, value)| {
                let value = if name == "sha256" { text(&Value::from(MASK)) } else { text(value) };
                format!("{name} = {value}")
            });
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn number(value: &Value) -> String {
    let whole = value
        .to_i128()
        .map(|number| number.to_string())
        .or_else(|| value.to_u128().map(|number| number.to_string()));
    whole.or_else(|| value.to_f64().map(|number| number.to_string())).unwrap_or_default()
}
