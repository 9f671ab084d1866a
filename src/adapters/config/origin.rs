//! Where a value came from.

use std::{fmt, path::PathBuf};

use figment::{Figment, Metadata, Source};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The defaults, as `config/default.toml` has them.
    Default,
    /// A file.
    File(PathBuf),
    /// The environment variable of that name.
    Environment(String),
}

impl Origin {
    /// Where the value in force of a key came from.
    pub(super) fn of(figment: &Figment, key: &str) -> Self {
        match figment.find_metadata(key).and_then(|metadata| metadata.source.as_ref()) {
            Some(Source::File(path)) => Self::File(path.clone()),
            Some(Source::Custom(name)) => Self::Environment(name.clone()),
            _ => Self::Default,
        }
    }

    /// What figment is to remember, so that [`Origin::of`] finds it.
    pub(super) fn metadata(&self) -> Metadata {
        match self {
            Self::Default => Metadata::named("default"),
            Self::File(path) => Metadata::from("file", path.as_path()),
            Self::Environment(name) => Metadata::from("environment", name.as_str()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
        }
    }
}
