//! `rejoin token`: makes development tokens, publishers' keys and secrets.
//!
//! Invariant: what is secret goes to standard output and nowhere else, alone, so that it can be put
//! where it belongs.

use std::{collections::BTreeSet, error::Error, io::Write, path::Path, time::Duration};

use clap::{Args, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};

use super::{
    duration, output,
    printable::{Printable, tell},
};
use crate::{
    adapters::{
        auth::mint::{self, TokenRequest},
        config::{AuthMode, Secret, Settings},
        system_clock::SystemClock,
    },
    domain::{
        access::Scope,
        category::{Category, Registry},
        topic::UserId,
    },
    ports::clock::Clock,
};

/// Options.
#[derive(Args, Clone, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  rejoin token --user u1                                  reads the events of u1, for an hour
  rejoin token --user u1 --scope events:publish --ttl 7d  publishes too, for a week
  rejoin token secret                                     a secret for auth.jwt.secret
  rejoin token key --name crm 2>> rejoin.toml             a key, and its hash into the settings

A token is signed with auth.jwt.secret of the settings in force, so run this where the server's settings are."
)]
pub(super) struct TokenOptions {
    #[command(subcommand)]
    other: Option<Other>,
    /// Whose events the token reads.
    #[arg(long, value_name = "ID", value_parser = UserId::parse, required_unless_present = "scopes")]
    user: Option<UserId>,
    /// What else it allows. May be repeated.
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope_parser())]
    scopes: Vec<Scope>,
    /// Which categories of events it reads; all of them, unless some are named. May be repeated.
    #[arg(long = "category", value_name = "NAME", value_parser = Category::parse)]
    categories: Vec<Category>,
    /// How long it is valid.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::parse)]
    ttl: Duration,
}

#[derive(Clone, Debug, Subcommand)]
enum Other {
    /// Make a publisher's key: the key on standard output, what the settings need on standard
    /// error.
    Key(KeyOptions),
    /// Make a secret for auth.jwt.secret.
    Secret,
}

#[derive(Args, Clone, Debug)]
struct KeyOptions {
    /// What the key is called in the log.
    #[arg(long, value_name = "NAME", default_value = "publisher", value_parser = key_name)]
    name: String,
    /// What the key allows. May be repeated.
    #[arg(long = "scope", value_name = "SCOPE", default_value = "events:publish", value_parser = scope_parser())]
    scopes: Vec<Scope>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error(
        "there is no auth.jwt.secret to sign with: make one with `rejoin token secret`, and put it into the settings, \
         or into REJOIN_AUTH__JWT__SECRET, for the server and for this command"
    )]
    NoSecret,
    #[error(
        "{0} is set, so tokens are issued by the holder of the private key; to make some here, set auth.jwt.secret instead"
    )]
    OthersSign(&'static str),
    #[error("category `{0}` is unknown; the valid ones are: {1}")]
    UnknownCategory(Category, String),
}

/// The text can't be a key's name.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a name has one character at least, and no control characters")]
struct InvalidKeyName;

fn key_name(text: &str) -> Result<String, InvalidKeyName> {
    let good = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err(InvalidKeyName) }
}

fn scope_parser() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str))
        .try_map(|name| Scope::find(&name).ok_or("no scope"))
}

/// Makes what was asked for.
pub(super) fn token(options: &TokenOptions, config: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let made = match &options.other {
        None => development_token(options, &Settings::load(config)?.settings)?,
        Some(Other::Key(options)) => {
            let key = mint::static_key();
            std::io::stderr().write_all(settings_of_key(options, &key.sha256).as_bytes())?;
            key.key
        }
        Some(Other::Secret) => mint::secret(),
    };
    Ok(output::print(&format!("{made}\n"))?)
}

fn development_token(
    options: &TokenOptions,
    settings: &Settings,
) -> Result<String, Box<dyn Error>> {
    let auth = &settings.auth;
    let secret = auth.jwt.secret.as_ref().map(Secret::reveal);
    let secret = secret.ok_or_else(|| {
        auth.jwt
            .key_sources()
            .next()
            .map_or(TokenError::NoSecret, |other| TokenError::OthersSign(other.key()))
    })?;
    check_categories(&options.categories, &settings.categories)?;
    if auth.mode == AuthMode::None {
        tell(
            "note: auth.mode is \"none\", in which the server looks at no token; set it to \"jwt\"",
        );
    }
    let categories: BTreeSet<Category> = options.categories.iter().cloned().collect();
    let request = TokenRequest {
        user: options.user.clone(),
        scopes: options.scopes.iter().copied().collect(),
        categories: (!categories.is_empty()).then_some(categories),
        ttl: options.ttl,
        issuer: auth.jwt.issuer.clone(),
        audience: auth.jwt.audience.clone(),
        allow_weak_secret: auth.jwt.allow_weak_secret,
    };
    Ok(mint::token(secret, &request, SystemClock.now())?)
}

fn check_categories(categories: &[Category], registry: &Registry) -> Result<(), TokenError> {
    match categories.iter().find(|category| registry.find(category.as_str()).is_none()) {
        Some(unknown) => {
            let valid: Vec<&str> = registry.names().map(Category::as_str).collect();
            Err(TokenError::UnknownCategory(unknown.clone(), valid.join(", ")))
        }
        None => Ok(()),
    }
}

/// The key's entry in the settings, with comments only around it, so that all of it can go into the
/// file.
fn settings_of_key(options: &KeyOptions, sha256: &str) -> String {
    let scopes: BTreeSet<Scope> = options.scopes.iter().copied().collect();
    let scopes: Vec<String> =
        scopes.into_iter().map(|scope| format!("\"{}\"", scope.as_str())).collect();
    // A JSON string is a TOML string.
    let name = serde_json::Value::from(options.name.as_str()).to_string();
    format!(
        "# For the settings file; the key itself is on standard output, and can't be had again.\n\
         [[auth.keys]]\nname = {}\nsha256 = \"{sha256}\"\nscopes = [{}]\n",
        Printable(&name),
        scopes.join(", "),
    )
}
