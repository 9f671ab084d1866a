//! `[auth]`: who may do what.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error};

use super::fields;
use crate::{adapters::shown_url::MASK, domain::access::Scope};

/// The SHA-256 of the empty text: the hash of a key that everybody has.
const SHA256_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// How it is known who asks.
    pub mode: AuthMode,
    /// Whether mode `none` may listen on other than loopback addresses, and answer under any host name.
    pub allow_insecure: bool,
    /// The cookie that may carry the token of a subscribe request.
    #[serde(deserialize_with = "fields::not_empty")]
    pub cookie: Option<String>,
    /// Whether `?access_token=` may carry the token of a subscribe request.
    pub query_token: bool,
    /// What tokens must be.
    pub jwt: JwtSettings,
    /// Publishers' keys.
    pub keys: Vec<StaticKey>,
}

/// How it is known who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Not at all: everybody is user `local` and may do everything.
    None,
    /// By signed tokens, and static keys.
    Jwt,
}

/// `[auth.jwt]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSettings {
    /// The secret of HS256.
    #[serde(deserialize_with = "fields::not_empty")]
    pub secret: Option<Secret>,
    /// Whether the secret may be one that can be guessed.
    pub allow_weak_secret: bool,
    /// A PEM file with a public key.
    #[serde(deserialize_with = "fields::not_empty")]
    pub public_key_file: Option<PathBuf>,
    /// A JWKS file.
    #[serde(deserialize_with = "fields::not_empty")]
    pub jwks_file: Option<PathBuf>,
    /// The URL of a JWKS.
    #[serde(deserialize_with = "fields::not_empty")]
    pub jwks_url: Option<Secret>,
    /// The algorithms to accept; empty for those that fit the key.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be.
    #[serde(deserialize_with = "fields::not_empty")]
    pub issuer: Option<String>,
    /// What `aud` must be or hold.
    #[serde(deserialize_with = "fields::not_empty")]
    pub audience: Option<String>,
    /// How far other clocks may be off.
    #[serde(rename = "leeway_seconds", deserialize_with = "fields::seconds")]
    pub leeway: Duration,
    /// Whether a token must end.
    pub require_exp: bool,
}

/// What the signatures of tokens are checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource<'a> {
    /// A shared secret.
    Secret(&'a Secret),
    /// A PEM file with a public key.
    PublicKeyFile(&'a Path),
    /// A JWKS file.
    JwksFile(&'a Path),
    /// The URL of a JWKS.
    JwksUrl(&'a Secret),
}

impl KeySource<'_> {
    /// Every key that can be one.
    pub(super) const KEYS: [&'static str; 4] = ["auth.jwt.secret", "auth.jwt.public_key_file", "auth.jwt.jwks_file", "auth.jwt.jwks_url"];

    /// The key by which it was set.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Secret(_) => Self::KEYS[0],
            Self::PublicKeyFile(_) => Self::KEYS[1],
            Self::JwksFile(_) => Self::KEYS[2],
            Self::JwksUrl(_) => Self::KEYS[3],
        }
    }
}

impl JwtSettings {
    /// What signatures are checked with. There is exactly one in mode `jwt`, and any number in mode `none`, where none is used.
    pub fn key_sources(&self) -> impl Iterator<Item = KeySource<'_>> {
        let secret = self.secret.as_ref().map(KeySource::Secret);
        let public_key_file = self.public_key_file.as_deref().map(KeySource::PublicKeyFile);
        let jwks_file = self.jwks_file.as_deref().map(KeySource::JwksFile);
        let jwks_url = self.jwks_url.as_ref().map(KeySource::JwksUrl);
        [secret, public_key_file, jwks_file, jwks_url].into_iter().flatten()
    }
}

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// The name in tokens and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A text that is not shown, not even when it is debugged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// `[[auth.keys]]`: a publisher's key, known by its hash alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticKey {
    /// What it is called in the log.
    #[serde(deserialize_with = "key_name")]
    pub name: String,
    /// The SHA-256 of the key.
    #[serde(deserialize_with = "sha256")]
    pub sha256: [u8; 32],
    /// What its bearer may do.
    #[serde(deserialize_with = "scopes")]
    pub scopes: BTreeSet<Scope>,
}

fn key_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let good = !name.trim().is_empty() && !name.chars().any(char::is_control);
    if good { Ok(name) } else { Err(D::Error::custom("a name without control characters")) }
}

fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.eq_ignore_ascii_case(SHA256_OF_NOTHING) {
        return Err(D::Error::custom("the SHA-256 of the key; this one is of the empty text, which is no key"));
    }
    hex(text.as_bytes()).ok_or_else(|| D::Error::custom("the SHA-256 of the key, 64 hexadecimal digits"))
}

fn hex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes?.try_into().ok() } else { None }
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Scope>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let scopes: Option<BTreeSet<Scope>> = names.iter().map(|name| Scope::find(name)).collect();
    scopes.filter(|scopes| !scopes.is_empty()).ok_or_else(|| {
        let known: Vec<&str> = Scope::ALL.into_iter().map(Scope::as_str).collect();
        D::Error::custom(format_args!("a list of one or more of {}", known.join(", ")))
    })
}
