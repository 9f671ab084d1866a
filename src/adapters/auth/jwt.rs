//! Signed tokens (JWT).
//!
//! Invariant: in this order, a token is small, says how it is signed in a way that is allowed, is
//! signed so by a key for just that, and only then is anything that it claims believed.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use jsonwebtoken::{
    Header,
    errors::{Error as JwtError, ErrorKind},
};
use reqwest::Url;

use super::{
    TOKEN_BYTES_MAX,
    algorithm::Algorithm,
    claims::{ClaimRules, Claims, invalid},
    jwks::RemoteKeys,
    key_set::{InvalidKeySet, KeySet},
    verifying_key::{UnusableKey, VerifyingKey},
};
use crate::{
    domain::access::Principal,
    ports::{
        authenticator::{AuthError, Authenticator},
        clock::Clock,
        tasks::Tasks,
    },
};

/// How tokens are checked.
#[derive(Clone, Debug)]
pub struct JwtOptions {
    /// Where the keys come from.
    pub key: KeySource,
    /// The algorithms that tokens may use; empty for those that fit the key.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be, if it matters.
    pub issuer: Option<String>,
    /// What `aud` must contain, if it matters.
    pub audience: Option<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// Whether a token must end.
    pub require_exp: bool,
}

/// Where the keys come from.
#[derive(Clone)]
pub enum KeySource {
    /// An HMAC secret, its bytes taken as they are.
    Secret {
        /// The secret.
        text: String,
        /// Whether it may be one that can be guessed.
        allow_weak: bool,
    },
    /// A file with one public key in PEM form.
    PemFile(PathBuf),
    /// A file with a key set.
    JwksFile(PathBuf),
    /// The `http` or `https` address of a key set.
    JwksUrl(String),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { .. } => f.write_str("Secret(***)"),
            Self::PemFile(path) => f.debug_tuple("PemFile").field(path).finish(),
            Self::JwksFile(path) => f.debug_tuple("JwksFile").field(path).finish(),
            // An address may carry credentials.
            Self::JwksUrl(_) => f.write_str("JwksUrl(***)"),
        }
    }
}

/// Why the options can't be put to work.
#[derive(Debug, thiserror::Error)]
pub enum JwtSetupError {
    /// The secret is not fit to be one.
    #[error("JWT secret: {0}")]
    Secret(UnusableKey),
    /// A key file can't be read.
    #[error("{}: can't be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A key file holds no key of use.
    #[error("{}: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with the key.
        reason: UnusableKey,
    },
    /// A file is no key set.
    #[error("{}: {source}", path.display())]
    KeySet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidKeySet,
    },
    /// A key set holds no key of use; the warnings before this say why.
    #[error("{}: no key in it can check tokens", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// The address of the key set is none.
    #[error("the address of the key set must be an http or https URL")]
    Url,
    /// The HTTP client can't be set up.
    #[error("the HTTP client for the key set can't be set up")]
    Client(#[source] reqwest::Error),
    /// An allowed algorithm that the key can't be used with.
    #[error("algorithm {} does not fit the configured key, which allows {}", .algorithm.as_str(), names(fitting))]
    Algorithm {
        /// The algorithm as configured.
        algorithm: Algorithm,
        /// Those that could be.
        fitting: Vec<Algorithm>,
    },
}

fn names(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>().join(", ")
}

/// Checks signed tokens.
pub struct JwtAuthenticator {
    keys: Keys,
    algorithms: Vec<Algorithm>,
    rules: ClaimRules,
    clock: Arc<dyn Clock>,
}

enum Keys {
    One(Arc<VerifyingKey>),
    Set(KeySet),
    Remote(RemoteKeys),
}

impl JwtAuthenticator {
    /// Reads and checks the keys, except those at a URL, which are fetched when they are first
    /// needed.
    ///
    /// # Errors
    /// [`JwtSetupError`].
    pub fn new(
        options: JwtOptions,
        clock: Arc<dyn Clock>,
        tasks: Arc<dyn Tasks>,
    ) -> Result<Self, JwtSetupError> {
        let keys = Keys::load(options.key, tasks)?;
        let fitting = keys.algorithms();
        if let Some(algorithm) =
            options.algorithms.iter().find(|algorithm| !fitting.contains(algorithm))
        {
            return Err(JwtSetupError::Algorithm { algorithm: *algorithm, fitting });
        }
        let algorithms = if options.algorithms.is_empty() { fitting } else { options.algorithms };
        let rules = ClaimRules {
            issuer: options.issuer,
            audience: options.audience,
            leeway: options.leeway,
            require_exp: options.require_exp,
        };
        Ok(Self { keys, algorithms, rules, clock })
    }

    fn header(&self, token: &str) -> Result<(Algorithm, Option<String>), AuthError> {
        let header: Header = jsonwebtoken::decode_header(token).map_err(|error| refusal(&error))?;
        if header.crit.is_some() {
            return Err(invalid("it asks for extensions that are not supported (its `crit`)"));
        }
        let algorithm =
            Algorithm::of_jws(header.alg).filter(|algorithm| self.algorithms.contains(algorithm));
        Ok((algorithm.ok_or_else(|| invalid("its `alg` is not allowed here"))?, header.kid))
    }
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, token: Option<&str>) -> Result<Principal, AuthError> {
        let token = token.filter(|token| !token.is_empty()).ok_or(AuthError::Missing)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid(format!("it is longer than {TOKEN_BYTES_MAX} bytes")));
        }
        let (algorithm, kid) = self.header(token)?;
        let key = self.keys.find(algorithm, kid.as_deref()).await?;
        let claims: Claims = key.proven_claims(token).map_err(|error| refusal(&error))?;
        self.rules.judge(&claims, self.clock.now())
    }
}

impl Keys {
    fn load(source: KeySource, tasks: Arc<dyn Tasks>) -> Result<Self, JwtSetupError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| JwtSetupError::File { path: path.clone(), source })
        };
        match source {
            KeySource::Secret { text, allow_weak } => VerifyingKey::from_secret(&text, allow_weak)
                .map(|key| Self::One(Arc::new(key)))
                .map_err(JwtSetupError::Secret),
            KeySource::PemFile(path) => {
                let key = VerifyingKey::from_pem(&String::from_utf8_lossy(&read(&path)?));
                key.map(|key| Self::One(Arc::new(key)))
                    .map_err(|reason| JwtSetupError::Pem { path, reason })
            }
            KeySource::JwksFile(path) => match KeySet::parse(&read(&path)?) {
                Ok(keys) if keys.is_empty() => Err(JwtSetupError::NoKeys { path }),
                Ok(keys) => Ok(Self::Set(keys)),
                Err(source) => Err(JwtSetupError::KeySet { path, source }),
            },
            KeySource::JwksUrl(text) => {
                let url = Url::parse(&text)
                    .ok()
                    .filter(|url| matches!(url.scheme(), "http" | "https"))
                    .ok_or(JwtSetupError::Url)?;
                if url.scheme() == "http" {
                    tracing::warn!(
                        "the issuer's keys are fetched without TLS: anyone on the network path can replace them"
                    );
                }
                RemoteKeys::new(url, tasks).map(Self::Remote).map_err(JwtSetupError::Client)
            }
        }
    }

    fn algorithms(&self) -> Vec<Algorithm> {
        match self {
            Self::One(key) => vec![key.algorithm],
            // Never HMAC: a key that is published is no secret.
            Self::Set(_) | Self::Remote(_) => Algorithm::PUBLIC.to_vec(),
        }
    }

    async fn find(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Arc<VerifyingKey>, AuthError> {
        match self {
            // A single key has no name, so whatever name the token gives is meant.
            Self::One(key) => Ok(Arc::clone(key)),
            Self::Set(keys) => {
                keys.find(algorithm, kid).map_err(|miss| AuthError::Invalid(miss.to_string()))
            }
            Self::Remote(keys) => keys.find(algorithm, kid).await,
        }
    }
}

/// What to return of the library's error: what is wrong with the token, and nothing about the key.
fn refusal(error: &JwtError) -> AuthError {
    invalid(match error.kind() {
        ErrorKind::InvalidToken => "it is not a JWT: three parts, with dots between them",
        ErrorKind::Base64(_) => "a part of it is not base64url",
        ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
            "its header or its claims are malformed, or its `alg` is unknown"
        }
        _ => "its signature is not right",
    })
}

#[cfg(test)]
mod tests;
