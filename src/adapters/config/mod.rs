//! The settings: one document put together of layers, checked, and typed.
//!
//! Layers, each overriding the one before: the defaults, as `config/default.toml` has them; a file;
//! the environment.
//!
//! Invariants: a [`Settings`] that exists has passed every rule, so that nothing inward of here
//! checks a setting again; an unknown key or a bad value stops the start, also where a later layer
//! would override it; a variable that only begins as ours do is warned of; of every value it is
//! known where it came from; no secret is ever printed.
//!
//! Each key is declared once, with `section!`: its name, field, type, default, bounds and
//! description. Merging, and the memory of what came from where, is figment's.

mod allowed;
mod auth;
mod default_file;
mod environment;
mod error;
mod fields;
mod keys;
mod layer;
mod listing;
mod nearest;
mod origin;
#[cfg(test)]
mod properties;
mod reference;
mod routes;
mod rules;
mod secret;
mod section;
mod settings;
#[cfg(test)]
mod tests;
mod validators;
mod warnings;

use std::{ffi::OsString, path::Path};

use figment::Figment;

use self::layer::Layer;
pub use self::{
    auth::{Algorithm, AuthMode, AuthSettings, JwtSettings, KeySource, StaticKey},
    default_file::default_file,
    error::ConfigError,
    listing::{Listing, Setting},
    origin::Origin,
    reference::reference,
    routes::{CursorNames, InvalidRoute, REQUEST_PATH, RouteSettings},
    secret::Secret,
    settings::{
        Backend, CorsOrigins, DiskSettings, DiskSync, EventsSettings, HubSettings, LimitsSettings,
        LogFormat, LogSettings, MemorySettings, MessagesSettings, NatsSettings, NatsStorage,
        PostgresSettings, RedisSettings, ServerSettings, Settings, SseSettings, TelemetrySettings,
    },
};

/// Settings as loaded, and an account of them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// The same, key by key, with where each value came from.
    pub listing: Listing,
    /// What the operator should know, though it does not stop the start: one line each.
    pub warnings: Vec<String>,
}

impl Settings {
    /// The defaults, and a text over them, without the environment: for programs that start a
    /// server of their own.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_toml(text: &str) -> Result<Loaded, ConfigError> {
        assemble(Some((Path::new("settings"), text)), [])
    }

    /// Has what would be kept on disk be kept in memory instead: nothing is left behind when the
    /// process ends.
    pub fn keep_in_memory(&mut self) {
        for backend in [&mut self.events.backend, &mut self.messages.backend] {
            if *backend == Backend::Disk {
                *backend = Backend::Memory;
            }
        }
    }

    /// Loads the settings: the defaults, then the file if there is one, then this process's
    /// environment.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
        match file {
            None => assemble(None, std::env::vars_os()),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                assemble(Some((path, &text)), std::env::vars_os())
            }
        }
    }
}

/// Puts the layers together. File and environment are arguments, so that tests depend on neither.
fn assemble(
    file: Option<(&Path, &str)>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let mut figment = Figment::from(Layer::default_values()?);
    if let Some((path, text)) = file {
        figment = figment.merge(Layer::parse(Origin::File(path.to_owned()), text)?);
    }
    let environment = environment::read(environment)?;
    for variable in environment.layers {
        figment = figment.merge(variable);
    }
    rules::check_categories(&figment)?;
    let settings: Settings = figment.extract().map_err(Box::new)?;
    rules::check(&settings, &figment)?;
    let warnings =
        environment.warning.into_iter().chain(warnings::of(&settings, &figment)).collect();
    Ok(Loaded { settings, listing: Listing::of(&figment), warnings })
}
