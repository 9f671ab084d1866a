//! Who checks credentials, and with what.

use std::sync::Arc;

use super::StartError;
use crate::{
    adapters::{
        auth::{
            KeysThenJwt,
            algorithm::Algorithm,
            jwt::{JwtAuthenticator, JwtOptions, KeySource},
            keys::{StaticKey, StaticKeys},
            none::NoAuthentication,
        },
        config::{self, AuthMode, AuthSettings},
    },
    ports::{authenticator::Authenticator, clock::Clock, tasks::Tasks},
};

pub(super) fn authenticator(
    auth: &AuthSettings,
    clock: &Arc<dyn Clock>,
    tasks: &Arc<dyn Tasks>,
) -> Result<Arc<dyn Authenticator>, StartError> {
    // In mode `jwt` the settings have exactly one source; without one there is nothing to check a
    // token with.
    let (AuthMode::Jwt, Some(source)) = (auth.mode, auth.jwt.key_sources().next()) else {
        return Ok(Arc::new(NoAuthentication));
    };
    let key = match source {
        config::KeySource::Secret(secret) => KeySource::Secret {
            text: secret.reveal().to_owned(),
            allow_weak: auth.jwt.allow_weak_secret,
        },
        config::KeySource::PublicKeyFile(path) => KeySource::PemFile(path.to_owned()),
        config::KeySource::JwksFile(path) => KeySource::JwksFile(path.to_owned()),
        config::KeySource::JwksUrl(url) => KeySource::JwksUrl(url.reveal().to_owned()),
    };
    let algorithm = |algorithm: &config::Algorithm| match algorithm {
        config::Algorithm::Hs256 => Algorithm::Hs256,
        config::Algorithm::Rs256 => Algorithm::Rs256,
        config::Algorithm::Es256 => Algorithm::Es256,
        config::Algorithm::EdDsa => Algorithm::EdDsa,
    };
    let options = JwtOptions {
        key,
        algorithms: auth.jwt.algorithms.iter().map(algorithm).collect(),
        issuer: auth.jwt.issuer.clone(),
        audience: auth.jwt.audience.clone(),
        leeway: auth.jwt.leeway,
        require_exp: auth.jwt.require_exp,
    };
    let keys = auth.keys.iter().map(|key| StaticKey {
        name: key.name.clone(),
        sha256: key.sha256,
        scopes: key.scopes.clone(),
    });
    let jwt = JwtAuthenticator::new(options, Arc::clone(clock), Arc::clone(tasks))?;
    Ok(Arc::new(KeysThenJwt::new(StaticKeys::new(keys)?, jwt)))
}
