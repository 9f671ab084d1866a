//! Key pairs that are made anew for every run.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair,
    },
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rejoin::{
    adapters::auth::{
        algorithm::Algorithm as Allowed,
        jwt::{JwtAuthenticator, JwtOptions, JwtSetupError, KeySource},
    },
    testing::ManualClock,
};
use serde_json::{Value, json};

pub(crate) const NOW_S: u64 = 1_700_000_000;

/// One key pair of an issuer.
pub(crate) struct TestKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) public_der: Vec<u8>,
    pub(crate) public_pem: String,
    pub(crate) private_pem: String,
    signing: EncodingKey,
}

/// One of each kind, shared: RSA keys take long to make.
pub(crate) static RSA: LazyLock<TestKey> = LazyLock::new(TestKey::rsa);
pub(crate) static EC: LazyLock<TestKey> = LazyLock::new(TestKey::ec);
pub(crate) static ED: LazyLock<TestKey> = LazyLock::new(TestKey::ed);

fn pem_text(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

impl TestKey {
    fn of(
        algorithm: Algorithm,
        private: &[u8],
        public: &[u8],
        signing: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>,
    ) -> Self {
        let private_pem = pem_text("PRIVATE KEY", private);
        let signing = signing(private_pem.as_bytes()).unwrap();
        Self {
            algorithm,
            public_der: public.to_vec(),
            public_pem: pem_text("PUBLIC KEY", public),
            private_pem,
            signing,
        }
    }

    pub(crate) fn rsa() -> Self {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self::of(Algorithm::RS256, private.as_ref(), public.as_ref(), EncodingKey::from_rsa_pem)
    }

    pub(crate) fn ec() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self::of(
            Algorithm::ES256,
            pair.to_pkcs8v1().unwrap().as_ref(),
            public.as_ref(),
            EncodingKey::from_ec_pem,
        )
    }

    pub(crate) fn ed() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self::of(
            Algorithm::EdDSA,
            pair.to_pkcs8v1().unwrap().as_ref(),
            public.as_ref(),
            EncodingKey::from_ed_pem,
        )
    }

    /// A public key on a curve that is not supported.
    pub(crate) fn ec_p384_public_pem() -> String {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        pem_text("PUBLIC KEY", public.as_ref())
    }

    /// The public key as an issuer publishes it.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.signing, self.algorithm).unwrap())
                .unwrap();
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token for `u1` that is in order.
    pub(crate) fn token(&self, kid: Option<&str>) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims(), &self.signing).unwrap()
    }
}

/// Claims that are in order.
pub(crate) fn claims() -> Value {
    json!({"sub": "u1", "exp": NOW_S + 60})
}

/// An authenticator with these keys, and no other wishes.
pub(crate) fn authenticator(key: KeySource) -> Result<Arc<JwtAuthenticator>, JwtSetupError> {
    authenticator_that_allows(key, &[])
}

/// An authenticator with these keys, for tokens signed so.
pub(crate) fn authenticator_that_allows(
    key: KeySource,
    allowed: &[Allowed],
) -> Result<Arc<JwtAuthenticator>, JwtSetupError> {
    let options = JwtOptions {
        key,
        algorithms: allowed.to_vec(),
        issuer: None,
        audience: None,
        leeway: std::time::Duration::ZERO,
        require_exp: true,
    };
    JwtAuthenticator::new(
        options,
        Arc::new(ManualClock::at_ms(NOW_S * 1000)),
        rejoin::testing::tasks(),
    )
    .map(Arc::new)
}
