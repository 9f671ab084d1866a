//! `[auth]`: who may do what.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error};

use super::{
    allowed::{Allowed, FILE, HTTP_URL, TEXT, number, text, texts},
    fields,
    secret::Secret,
    section::section,
    validators::{self, fits},
};
use crate::domain::access::Scope;

/// The SHA-256 of the empty text: the hash of no key.
const SHA256_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

section! {
    "auth" => AuthSettings {
        /// Who may do what: "none" (everybody is user `local` and may do all: for development) or
        /// "jwt".
        mode: AuthMode = "none",
            text("\"none\" or \"jwt\"", fits::<AuthMode>);

        /// Whether mode "none" may listen on other than loopback addresses, and be called under any
        /// host name and by pages of any origin.
        allow_insecure: bool = false, Allowed::Flag;

        /// Name of a cookie that may carry the token of a subscribe request; "": none may.
        #[serde(deserialize_with = "fields::not_empty")]
        cookie: Option<String> = "",
            text("the name of a cookie, or empty", validators::cookie);

        /// Whether `?access_token=` may carry the token of a subscribe request: it may end up in
        /// the logs of proxies.
        query_token: bool = false, Allowed::Flag;

        /// Keys of publishers: { name, sha256 (of the key, 64 hex digits), scopes (events:publish,
        /// messages:publish, messages:read, admin) } each.
        keys: Vec<StaticKey> = [],
            Allowed::Tables {
                what: "a list of tables { name, sha256, scopes }",
                check: |keys| Ok(keys.deserialize::<Vec<StaticKey>>().map(drop)?),
                shown: false,
            };

        with
        /// What tokens must be.
        jwt: JwtSettings;
    }
}

/// How it is known who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Not at all: every caller is user `local` and may do everything.
    None,
    /// By signed tokens, and static keys.
    Jwt,
}

section! {
    /// Mode "jwt" needs exactly one of secret, public_key_file, jwks_file and jwks_url.
    "auth.jwt" => JwtSettings {
        /// Secret of HS256, at least 32 bytes, 8 of them different.
        #[serde(deserialize_with = "fields::not_empty")]
        secret: Option<Secret> = "", Allowed::Secret;

        /// Whether that secret may be shorter, or one letter repeated: it is then warned of at the
        /// start.
        allow_weak_secret: bool = false, Allowed::Flag;

        /// PEM file with the public key of RS256, ES256 or EdDSA.
        #[serde(deserialize_with = "fields::not_empty")]
        public_key_file: Option<PathBuf> = "", FILE;

        /// JWKS file with public keys.
        #[serde(deserialize_with = "fields::not_empty")]
        jwks_file: Option<PathBuf> = "", FILE;

        /// URL of a JWKS with public keys, http or https.
        #[serde(deserialize_with = "fields::not_empty")]
        jwks_url: Option<Secret> = "", HTTP_URL;

        /// Algorithms to accept, of HS256, RS256, ES256 and EdDSA; `[]`: those that fit the
        /// configured key.
        algorithms: Vec<Algorithm> = [],
            texts("a list of HS256, RS256, ES256, EdDSA", fits::<Vec<Algorithm>>);

        /// What a token's `iss` must be; "": it is not looked at.
        #[serde(deserialize_with = "fields::not_empty")]
        issuer: Option<String> = "", TEXT;

        /// What a token's `aud` must be or hold; "": it is not looked at.
        #[serde(deserialize_with = "fields::not_empty")]
        audience: Option<String> = "", TEXT;

        /// Seconds that other clocks may differ from ours when a token's times are checked.
        #[serde(deserialize_with = "fields::seconds")]
        leeway as "leeway_seconds": Duration = 5, number(0, 600);

        /// Whether a token must have an `exp`; false: a token without it never expires.
        require_exp: bool = true, Allowed::Flag;
    }
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
    pub(super) const KEYS: [&'static str; 4] =
        ["auth.jwt.secret", "auth.jwt.public_key_file", "auth.jwt.jwks_file", "auth.jwt.jwks_url"];

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
    /// What signatures are checked with. There is exactly one in mode `jwt`, and any number in mode
    /// `none`, where none is used.
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
        return Err(D::Error::custom(
            "the SHA-256 of the key; this one is of the empty text, which is no key",
        ));
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest)
        .map_err(|_| D::Error::custom("the SHA-256 of the key, 64 hexadecimal digits"))?;
    Ok(digest)
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Scope>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let scopes: Option<BTreeSet<Scope>> = names.iter().map(|name| Scope::find(name)).collect();
    scopes.filter(|scopes| !scopes.is_empty()).ok_or_else(|| {
        let known: Vec<&str> = Scope::ALL.into_iter().map(Scope::as_str).collect();
        D::Error::custom(format_args!("a list of one or more of {}", known.join(", ")))
    })
}
