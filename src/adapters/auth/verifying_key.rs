//! One key that checks signatures.
//!
//! Invariant: a key is for one algorithm, which its own type decides and no token can change. So a
//! public key is never an HMAC secret, and a key that is not fit to be trusted (a short secret, a
//! small RSA key, a private key lying about) is refused when it is loaded, not when the first token
//! comes.

use std::collections::HashSet;

use jsonwebtoken::{
    DecodingKey, DecodingKeyKind, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::de::DeserializeOwned;

use super::algorithm::Algorithm;
use crate::domain::secret::{Weakness, weakness};

/// Sizes of an RSA modulus in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// A point on P-256: a mark and two coordinates.
const P256_POINT_BYTES: usize = 65;
const ED25519_BYTES: usize = 32;

/// A key, its algorithm, and its name in a key set.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    key: DecodingKey,
}

/// Why a key is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// An HMAC secret that can be guessed.
    #[error(
        "the secret can be guessed: {0}; make one with `rejoin token secret`, or set auth.jwt.allow_weak_secret"
    )]
    WeakSecret(Weakness),
    /// A PEM text as an HMAC secret: a public key would let anyone sign.
    #[error("the secret is a PEM text: name it as the key file instead")]
    PemAsSecret,
    /// A private key has no place where tokens are only checked.
    #[error("this is a private key, which belongs to the issuer alone: use its public key")]
    PrivateKey,
    /// Not in a form that can be read.
    #[error("this is not a public key in PEM form (`-----BEGIN PUBLIC KEY-----`)")]
    NotPem,
    /// The numbers in it are not a key.
    #[error("the key is malformed")]
    Malformed,
    /// Another kind of key, or another curve.
    #[error("keys are RSA, EC on the curve P-256, or Ed25519; this is another kind")]
    Unsupported,
    /// Too small to be safe, or too large to be quick.
    #[error("an RSA key has 2048 to 8192 bits")]
    RsaSize,
    /// Published for something else.
    #[error("the key is not for checking signatures (its `use` or `key_ops`)")]
    NotForSignatures,
    /// Published for an algorithm that is not supported.
    #[error("the key is for another algorithm than {} (its `alg`)", .0.as_str())]
    OtherAlgorithm(Algorithm),
}

impl VerifyingKey {
    /// An HMAC key: the secret's bytes as they are.
    pub(super) fn from_secret(secret: &str, allow_weak: bool) -> Result<Self, UnusableKey> {
        Ok(Self {
            algorithm: Algorithm::Hs256,
            kid: None,
            key: DecodingKey::from_secret(checked_secret(secret, allow_weak)?),
        })
    }

    /// A public key in PEM form.
    pub(super) fn from_pem(text: &str) -> Result<Self, UnusableKey> {
        // Looked at here, because the library would read private keys and certificates too.
        let label = text
            .split_once("-----BEGIN ")
            .and_then(|(_, rest)| rest.split_once("-----"))
            .map(|(label, _)| label);
        match label {
            Some("PUBLIC KEY" | "RSA PUBLIC KEY") => {}
            Some(label) if label.ends_with("PRIVATE KEY") => return Err(UnusableKey::PrivateKey),
            _ => return Err(UnusableKey::NotPem),
        }
        let pem = text.as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| UnusableKey::Unsupported)?;
        Self::from_jwk(&Jwk::from_decoding_key(&key, None).map_err(|_| UnusableKey::Unsupported)?)
    }

    /// A key of a published set.
    pub(super) fn from_jwk(jwk: &Jwk) -> Result<Self, UnusableKey> {
        let for_signatures = jwk
            .common
            .public_key_use
            .as_ref()
            .is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && jwk
                .common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !for_signatures {
            return Err(UnusableKey::NotForSignatures);
        }
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::Rs256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::Es256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDsa
            }
            // A symmetric key too: what is published is no secret.
            _ => return Err(UnusableKey::Unsupported),
        };
        if jwk
            .common
            .key_algorithm
            .is_some_and(|named| named != KeyAlgorithm::from(algorithm.jws()))
        {
            return Err(UnusableKey::OtherAlgorithm(algorithm));
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|_| UnusableKey::Malformed)?;
        match (algorithm, key.kind()) {
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, .. })
                if !RSA_BYTES.contains(&n.len()) =>
            {
                Err(UnusableKey::RsaSize)
            }
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point))
                if point.len() != P256_POINT_BYTES =>
            {
                Err(UnusableKey::Malformed)
            }
            (Algorithm::EdDsa, DecodingKeyKind::SecretOrDer(point))
                if point.len() != ED25519_BYTES =>
            {
                Err(UnusableKey::Malformed)
            }
            _ => Ok(Self { algorithm, kid: jwk.common.key_id.clone(), key }),
        }
    }

    /// What the token claims, once its signature is proven to be this key's. Nothing of the claims
    /// has been judged.
    pub(super) fn proven_claims<C: DeserializeOwned>(
        &self,
        token: &str,
    ) -> jsonwebtoken::errors::Result<C> {
        // The library would judge times by the system's clock, and take an issuer that is missing
        // for a right one.
        let mut signature_only = Validation::new(self.algorithm.jws());
        signature_only.required_spec_claims = HashSet::new();
        signature_only.validate_exp = false;
        signature_only.validate_nbf = false;
        signature_only.validate_aud = false;
        jsonwebtoken::decode(token, &self.key, &signature_only).map(|data| data.claims)
    }
}

/// The bytes of a secret that is fit to sign with. A weak one may be allowed, but not one that is
/// none.
pub(super) fn checked_secret(secret: &str, allow_weak: bool) -> Result<&[u8], UnusableKey> {
    if secret.contains("-----BEGIN ") {
        return Err(UnusableKey::PemAsSecret);
    }
    match weakness(secret) {
        Some(weakness) if !allow_weak || weakness == Weakness::Blank => {
            Err(UnusableKey::WeakSecret(weakness))
        }
        _ => Ok(secret.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_can_be_guessed_or_is_public_is_refused() {
        for (secret, weakness) in
            [("x".repeat(31), Weakness::Short), ("x".repeat(32), Weakness::Repetitive)]
        {
            assert_eq!(checked_secret(&secret, false), Err(UnusableKey::WeakSecret(weakness)));
            assert_eq!(checked_secret(&secret, true), Ok(secret.as_bytes()));
        }
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", "A".repeat(64));
        for allow_weak in [false, true] {
            for blank in ["", "                                        "] {
                assert_eq!(
                    checked_secret(blank, allow_weak),
                    Err(UnusableKey::WeakSecret(Weakness::Blank))
                );
            }
            assert_eq!(checked_secret(&pem, allow_weak), Err(UnusableKey::PemAsSecret));
        }
        assert!(checked_secret("9f86d081884c7d659a2feaa0c55ad015", false).is_ok());
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            assert_eq!(VerifyingKey::from_pem(&block(label)).unwrap_err(), UnusableKey::PrivateKey);
        }
        for text in ["", "ssh-ed25519 AAAA", "-----BEGIN ", &block("CERTIFICATE")] {
            assert_eq!(VerifyingKey::from_pem(text).unwrap_err(), UnusableKey::NotPem, "{text}");
        }
        for label in ["PUBLIC KEY", "RSA PUBLIC KEY"] {
            assert_eq!(
                VerifyingKey::from_pem(&block(label)).unwrap_err(),
                UnusableKey::Unsupported
            );
        }
    }
}
