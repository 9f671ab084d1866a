//! Tokens signed with key pairs, checked with keys from files.

use std::{io::Write, sync::Arc};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rejoin::{
    adapters::auth::{
        algorithm::Algorithm as Allowed,
        jwt::{JwtAuthenticator, JwtSetupError, KeySource},
        verifying_key::UnusableKey,
    },
    domain::topic::UserId,
    ports::authenticator::{AuthError, Authenticator},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::auth::test_key::{
    EC, ED, RSA, TestKey, authenticator, authenticator_that_allows, claims,
};

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_pem(text: &str) -> Result<Arc<JwtAuthenticator>, JwtSetupError> {
    authenticator(KeySource::PemFile(file(text).path().into()))
}

fn with_set(keys: &[Value]) -> Result<Arc<JwtAuthenticator>, JwtSetupError> {
    authenticator(KeySource::JwksFile(file(&json!({ "keys": keys }).to_string()).path().into()))
}

async fn assert_accepted(authenticator: &JwtAuthenticator, token: &str) {
    let principal = authenticator.authenticate(Some(token)).await;
    assert_eq!(principal.unwrap().reader().map(UserId::as_str), Ok("u1"));
}

async fn assert_refused(authenticator: &JwtAuthenticator, token: &str) {
    let answer = authenticator.authenticate(Some(token)).await;
    assert!(matches!(answer, Err(AuthError::Invalid(_))), "{answer:?}");
}

#[tokio::test]
async fn each_kind_of_key_accepts_its_own_tokens_and_no_others() {
    let keys: [&TestKey; 3] = [&RSA, &EC, &ED];
    for key in keys {
        let by_pem = with_pem(&key.public_pem).unwrap();
        let by_set = with_set(&[key.jwk("a")]).unwrap();
        assert_accepted(&by_pem, &key.token(None)).await;
        assert_accepted(&by_pem, &key.token(Some("whatever"))).await;
        assert_accepted(&by_set, &key.token(None)).await;
        assert_accepted(&by_set, &key.token(Some("a"))).await;
        assert_refused(&by_set, &key.token(Some("b"))).await;
        for other in keys.into_iter().filter(|other| other.algorithm != key.algorithm) {
            assert_refused(&by_pem, &other.token(None)).await;
            assert_refused(&by_set, &other.token(Some("a"))).await;
        }
    }
}

#[tokio::test]
async fn another_key_of_the_same_kind_is_not_the_key() {
    for (key, stranger) in [(&*EC, TestKey::ec()), (&*ED, TestKey::ed()), (&*RSA, TestKey::rsa())] {
        assert_refused(&with_pem(&key.public_pem).unwrap(), &stranger.token(None)).await;
        assert_refused(&with_set(&[key.jwk("a")]).unwrap(), &stranger.token(Some("a"))).await;
    }
}

#[tokio::test]
async fn a_public_key_is_never_an_hmac_secret() {
    for key in [&*RSA, &*EC, &*ED] {
        let jwk = key.jwk("a");
        let published: Vec<&str> =
            ["n", "x"].iter().filter_map(|name| jwk[name].as_str()).collect();
        let secrets = [
            key.public_pem.as_bytes(),
            key.public_pem.trim().as_bytes(),
            &key.public_der,
            published[0].as_bytes(),
            b"",
        ];
        for secret in secrets {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let header = Header { kid: Some("a".into()), ..Header::new(algorithm) };
                let forged =
                    jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret))
                        .unwrap();
                assert_refused(&with_pem(&key.public_pem).unwrap(), &forged).await;
                assert_refused(&with_set(std::slice::from_ref(&jwk)).unwrap(), &forged).await;
            }
        }
        let secret =
            authenticator(KeySource::Secret { text: key.public_pem.clone(), allow_weak: false })
                .err()
                .unwrap();
        assert!(matches!(secret, JwtSetupError::Secret(UnusableKey::PemAsSecret)));
    }
}

#[tokio::test]
async fn a_secret_in_a_published_set_is_no_secret() {
    let secret = b"a secret of more than thirty-two bytes";
    let jwk = json!({"kty": "oct", "k": "YSBzZWNyZXQgb2YgbW9yZSB0aGFuIHRoaXJ0eS10d28gYnl0ZXM", "kid": "s", "alg": "HS256"});
    let header = Header { kid: Some("s".into()), ..Header::new(Algorithm::HS256) };
    let token =
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
    assert_refused(&with_set(&[EC.jwk("a"), jwk.clone()]).unwrap(), &token).await;
    assert!(matches!(with_set(&[jwk]), Err(JwtSetupError::NoKeys { .. })));
}

#[tokio::test]
async fn a_key_that_is_meant_for_something_else_is_not_used() {
    for (member, value) in
        [("use", json!("enc")), ("alg", json!("PS256")), ("key_ops", json!(["encrypt"]))]
    {
        let mut other = RSA.jwk("a");
        other[member] = value;
        assert_refused(&with_set(&[other, EC.jwk("b")]).unwrap(), &RSA.token(Some("a"))).await;
    }
    let mut same = RSA.jwk("a");
    same["alg"] = json!("RS256");
    assert_accepted(&with_set(&[same]).unwrap(), &RSA.token(Some("a"))).await;
}

#[tokio::test]
async fn only_algorithms_on_the_list_are_allowed_whatever_keys_there_are() {
    let set = file(&json!({ "keys": [RSA.jwk("r"), EC.jwk("e"), ED.jwk("d")] }).to_string());
    let source = || KeySource::JwksFile(set.path().into());
    let narrow = authenticator_that_allows(source(), &[Allowed::Es256, Allowed::EdDsa]).unwrap();
    assert_accepted(&narrow, &EC.token(Some("e"))).await;
    assert_accepted(&narrow, &ED.token(Some("d"))).await;
    assert_refused(&narrow, &RSA.token(Some("r"))).await;
    assert!(matches!(
        authenticator_that_allows(source(), &[Allowed::Hs256]),
        Err(JwtSetupError::Algorithm { .. })
    ));
}

#[test]
fn files_that_hold_no_key_of_use_stop_the_start() {
    let unusable = |text: &str| match with_pem(text) {
        Err(JwtSetupError::Pem { reason, .. }) => reason,
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(unusable(&RSA.private_pem), UnusableKey::PrivateKey);
    assert_eq!(unusable(&EC.private_pem), UnusableKey::PrivateKey);
    assert_eq!(unusable(&EC.public_pem.replace("PUBLIC KEY", "CERTIFICATE")), UnusableKey::NotPem);
    assert_eq!(unusable(""), UnusableKey::NotPem);
    assert_eq!(unusable(&TestKey::ec_p384_public_pem()), UnusableKey::Unsupported);
    assert!(matches!(with_set(&[]), Err(JwtSetupError::NoKeys { .. })));
    let garbage = authenticator(KeySource::JwksFile(file("<html>").path().into()));
    assert!(matches!(garbage, Err(JwtSetupError::KeySet { .. })));
}

#[tokio::test]
async fn a_pem_file_may_begin_with_a_comment() {
    let commented = format!("# the issuer's key, since March\n\n{}", EC.public_pem);
    assert_accepted(&with_pem(&commented).unwrap(), &EC.token(None)).await;
}
