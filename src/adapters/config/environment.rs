//! The environment's layers: one for each variable, so that its exact name is remembered.

use std::ffi::{OsStr, OsString};

use super::{
    allowed::Allowed, error::ConfigError, keys, layer, layer::Layer, nearest::nearest,
    origin::Origin,
};

/// How the names of our variables begin.
const PREFIX: &str = "REJOIN_";
/// What stands between a section and a key: what has none of it names no setting.
const SEPARATOR: &str = "__";

/// What the command line takes from the environment: not settings of the server.
const NOT_SETTINGS: [&str; 3] = ["REJOIN_CONFIG", "REJOIN_URL", "REJOIN_TOKEN"];

/// What an environment says.
#[derive(Debug)]
pub(super) struct Environment {
    /// In the order in which they override: legacy names first.
    pub(super) layers: Vec<Layer>,
    /// What the operator should know of variables that set nothing.
    pub(super) warning: Option<String>,
}

/// What a variable is to us.
enum Variable<'a> {
    /// It sets a key.
    Setting { name: &'a str, key: String, allowed: &'static Allowed },
    /// It begins as ours do and names no setting. Kubernetes puts such into every pod, for each
    /// service of the namespace, whatever that is called: `REJOIN_REDIS_PORT` for a service
    /// `rejoin-redis`.
    Unknown(String),
    /// Another program's, or the command line's.
    Other,
}

/// Reads an environment. An empty variable counts as not set, and one line end at the end of a
/// value does not belong to it: a secret that was made of a file has one.
pub(super) fn read(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, ConfigError> {
    let mut variables: Vec<(OsString, OsString)> =
        environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    // An environment has no order: with one, the same mistakes always give the same message.
    variables.sort();
    let (mut legacy, mut own, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in &variables {
        let (name, key, allowed) = match variable(name)? {
            Variable::Setting { name, key, allowed } => (name, key, allowed),
            Variable::Unknown(name) => {
                unknown.push(name);
                continue;
            }
            Variable::Other => continue,
        };
        let Some(value) = value.to_str() else {
            return Err(ConfigError::NotUtf8 { name: name.to_owned() });
        };
        if layer::without_line_end(value).is_empty() {
            continue;
        }
        let layer = Layer::variable(name, &key, allowed, value)?;
        if name.starts_with(PREFIX) { own.push(layer) } else { legacy.push(layer) }
    }
    legacy.append(&mut own);
    Ok(Environment { layers: legacy, warning: warning(&unknown) })
}

fn variable(name: &OsStr) -> Result<Variable<'_>, ConfigError> {
    let Some(text) = name.to_str() else {
        let lossy = name.to_string_lossy();
        return match lossy.strip_prefix(PREFIX) {
            Some(rest) if rest.contains(SEPARATOR) => {
                Err(ConfigError::NotUtf8 { name: lossy.into_owned() })
            }
            Some(_) => Ok(Variable::Unknown(lossy.into_owned())),
            None => Ok(Variable::Other),
        };
    };
    if let Some(key) = keys::all().find(|key| key.legacy == Some(text)) {
        return Ok(Variable::Setting {
            name: text,
            key: key.name.to_owned(),
            allowed: &key.allowed,
        });
    }
    let Some(rest) = text.strip_prefix(PREFIX).filter(|_| !NOT_SETTINGS.contains(&text)) else {
        return Ok(Variable::Other);
    };
    if !rest.contains(SEPARATOR) {
        return Ok(Variable::Unknown(text.to_owned()));
    }
    let key = rest.to_ascii_lowercase().replace(SEPARATOR, ".");
    match keys::allowed(&key) {
        // The way back shows that the name was spelled in capitals.
        Some(allowed) if keys::variable(&key) == text => {
            Ok(Variable::Setting { name: text, key, allowed })
        }
        _ => Err(layer::unknown_key(key, Origin::Environment(text.to_owned()))),
    }
}

/// One line for all of them: there may be dozens that can't be helped.
fn warning(unknown: &[String]) -> Option<String> {
    if unknown.is_empty() {
        return None;
    }
    let names: Vec<String> =
        unknown.iter().map(|name| format!("{name}{}", suggestion(name))).collect();
    Some(format!(
        "these environment variables begin with {PREFIX} and are not settings: {}",
        names.join(", ")
    ))
}

fn suggestion(name: &str) -> String {
    let names = keys::all().map(|key| key.name);
    let near = nearest(name.strip_prefix(PREFIX).unwrap_or(name), names).map(keys::variable);
    near.map(|variable| format!(" (did you mean {variable}?)")).unwrap_or_default()
}
