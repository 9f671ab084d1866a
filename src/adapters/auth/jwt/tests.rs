use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Jws, EncodingKey, crypto::sign};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::auth::{
        KeysThenJwt,
        keys::{StaticKey, StaticKeys, digest},
        mint,
    },
    domain::{access::Scope, category::Category, timestamp::Timestamp, topic::UserId},
    testing::ManualClock,
};

const SECRET: &str = "a secret of more than thirty-two bytes";
const NOW_S: u64 = 1_700_000_000;

fn options() -> JwtOptions {
    JwtOptions {
        key: KeySource::Secret { text: SECRET.into(), allow_weak: false },
        algorithms: Vec::new(),
        issuer: Some("issuer".into()),
        audience: Some("rejoin".into()),
        leeway: Duration::ZERO,
        require_exp: true,
    }
}

fn authenticator() -> JwtAuthenticator {
    JwtAuthenticator::new(
        options(),
        Arc::new(ManualClock::at_ms(NOW_S * 1000)),
        crate::testing::tasks(),
    )
    .unwrap()
}

/// A runtime is needed for a key set at a URL only.
fn authenticate(authenticator: &dyn Authenticator, token: &str) -> Result<Principal, AuthError> {
    futures_util::FutureExt::now_or_never(authenticator.authenticate(Some(token))).unwrap()
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(header: &str, claims: impl AsRef<[u8]>, secret: &str, algorithm: Jws) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature =
        sign(message.as_bytes(), &EncodingKey::from_secret(secret.as_bytes()), algorithm).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> Value {
    json!({"sub": "u1", "exp": NOW_S + 60, "iss": "issuer", "aud": "rejoin"})
}

fn token(claims: &Value) -> String {
    signed(r#"{"alg":"HS256"}"#, claims.to_string(), SECRET, Jws::HS256)
}

fn reason(token: &str) -> String {
    match authenticate(&authenticator(), token) {
        Err(AuthError::Invalid(reason)) => reason,
        other => panic!("{token:.200}: {other:?}"),
    }
}

#[test]
fn a_token_that_is_right_in_everything_is_accepted() {
    let principal = authenticate(&authenticator(), &token(&claims())).unwrap();
    assert_eq!(principal.reader().map(UserId::as_str), Ok("u1"));
    assert_eq!(principal.expires_at, Some(Timestamp::from_ms((NOW_S + 60) * 1000)));
}

#[test]
fn a_minted_token_is_accepted_and_says_what_was_asked_for() {
    let request = mint::TokenRequest {
        user: UserId::parse("u1").ok(),
        scopes: [Scope::Admin, Scope::EventsPublish].into(),
        categories: Some([Category::parse("ai").unwrap()].into()),
        ttl: Duration::from_secs(5),
        issuer: Some("issuer".into()),
        audience: Some("rejoin".into()),
        ..mint::TokenRequest::default()
    };
    let token = mint::token(SECRET, &request, Timestamp::from_ms(NOW_S * 1000)).unwrap();
    let principal = authenticate(&authenticator(), &token).unwrap();
    let expires_at = Some(Timestamp::from_ms((NOW_S + 5) * 1000));
    let expected = Principal {
        user: request.user,
        scopes: request.scopes,
        categories: request.categories,
        expires_at,
    };
    assert_eq!(principal, expected);
}

#[test]
fn nothing_is_credentials_at_all() {
    assert_eq!(authenticate(&authenticator(), ""), Err(AuthError::Missing));
    assert_eq!(
        futures_util::FutureExt::now_or_never(authenticator().authenticate(None)).unwrap(),
        Err(AuthError::Missing)
    );
}

#[test]
fn text_that_is_no_token_is_refused() {
    let good = token(&claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    let deep = |open: &str| part(open.repeat(5_000));
    let garbage = [
        " ".into(),
        "x".into(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b.c".into(),
        "🦀.🦀.🦀".into(),
        "\0.\0.\0".into(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{good}"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}="),
        format!("Bearer {good}"),
        format!("{message}."),
        message.to_owned(),
        format!("{}.{}.", deep("["), deep("[")),
        format!("{}.{}.x", deep(r#"{"alg":"#), part("{}")),
        signed("", "{}", SECRET, Jws::HS256),
        signed("[]", "{}", SECRET, Jws::HS256),
        signed("{}", claims().to_string(), SECRET, Jws::HS256),
        signed(r#"{"alg":"HS256","alg":"HS256"}"#, claims().to_string(), SECRET, Jws::HS256),
        signed(r#"{"alg":7}"#, claims().to_string(), SECRET, Jws::HS256),
        signed(r#"{"alg":"HS256","kid":7}"#, claims().to_string(), SECRET, Jws::HS256),
        signed(r#"{"alg":"HS256"}"#, "", SECRET, Jws::HS256),
        signed(r#"{"alg":"HS256"}"#, "7", SECRET, Jws::HS256),
        signed(
            r#"{"alg":"HS256"}"#,
            [b'{', b'"', 0xff, 0xfe, b'"', b':', b'1', b'}'],
            SECRET,
            Jws::HS256,
        ),
        signed(r#"{"alg":"HS256"}"#, "[".repeat(5_000), SECRET, Jws::HS256),
        signed(r#"{"alg":"HS256"}"#, r#"{"exp":9999999999,"exp":1}"#, SECRET, Jws::HS256),
        signed(r#"{"alg":"HS256"}"#, r#"{"exp":1e999}"#, SECRET, Jws::HS256),
    ];
    for text in garbage {
        reason(&text);
    }
}

#[test]
fn a_header_can_t_choose_how_it_is_checked() {
    let text = claims().to_string();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":null}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
    ] {
        reason(&signed(header, &text, SECRET, Jws::HS256));
        reason(&format!("{}.{}.", part(header), part(&text)));
    }
    assert!(reason(&signed(r#"{"alg":"HS512"}"#, &text, SECRET, Jws::HS512)).contains("`alg`"));
    assert!(
        reason(&signed(r#"{"alg":"HS256","crit":["x"]}"#, &text, SECRET, Jws::HS256))
            .contains("`crit`")
    );
    let own_key = format!(
        r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}},"jku":"http://127.0.0.1:1/"}}"#,
        part("another secret")
    );
    assert!(reason(&signed(&own_key, &text, "another secret", Jws::HS256)).contains("signature"));
}

#[test]
fn a_signature_of_another_key_or_another_text_is_refused() {
    assert!(
        reason(&signed(r#"{"alg":"HS256"}"#, claims().to_string(), "another secret", Jws::HS256))
            .contains("signature")
    );
    let (ours, theirs) = (token(&claims()), token(&json!({"sub": "u2"})));
    let (message, _) = ours.rsplit_once('.').unwrap();
    let (_, signature) = theirs.rsplit_once('.').unwrap();
    assert!(reason(&format!("{message}.{signature}")).contains("signature"));
}

#[test]
fn the_rules_of_the_claims_are_applied() {
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        token(&claims)
    };
    assert_eq!(authenticate(&authenticator(), &with("exp", json!(NOW_S))), Err(AuthError::Expired));
    for (name, value) in [
        ("nbf", json!(NOW_S + 1)),
        ("iss", json!("other")),
        ("aud", json!(["other"])),
        ("sub", json!("a\nb")),
        ("exp", json!("x")),
    ] {
        assert!(reason(&with(name, value)).contains(&format!("`{name}`")));
    }
    assert!(authenticate(&authenticator(), &with("aud", json!(["other", "rejoin"]))).is_ok());
}

#[test]
fn an_expired_token_of_a_stranger_is_not_called_expired() {
    let expired = json!({"sub": "u1", "exp": 1}).to_string();
    assert!(
        reason(&signed(r#"{"alg":"HS256"}"#, expired, "another secret", Jws::HS256))
            .contains("signature")
    );
}

#[test]
fn an_enormous_token_is_refused_unread() {
    let mut claims = claims();
    claims["x"] = json!("x".repeat(TOKEN_BYTES_MAX));
    assert!(reason(&token(&claims)).contains("longer"));
    reason(&"x".repeat(10_000_000));
}

#[test]
fn a_static_key_comes_before_a_token() {
    let key = mint::static_key().key;
    let entry = StaticKey {
        name: "crm".into(),
        sha256: digest(&key),
        scopes: [Scope::EventsPublish].into(),
    };
    let both = KeysThenJwt::new(StaticKeys::new([entry]).unwrap(), authenticator());
    assert_eq!(authenticate(&both, &key).unwrap().require(Scope::EventsPublish), Ok(()));
    assert!(authenticate(&both, &token(&claims())).unwrap().reader().is_ok());
    let unknown = authenticate(&both, &mint::static_key().key);
    assert!(
        matches!(unknown, Err(AuthError::Invalid(reason)) if reason.contains("publisher's key"))
    );
    assert_eq!(
        futures_util::FutureExt::now_or_never(both.authenticate(None)).unwrap(),
        Err(AuthError::Missing)
    );
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let setup = |key: KeySource, algorithms: &[Algorithm]| {
        let options = JwtOptions { key, algorithms: algorithms.to_vec(), ..options() };
        JwtAuthenticator::new(options, Arc::new(ManualClock::default()), crate::testing::tasks())
            .err()
            .unwrap()
    };
    assert!(matches!(
        setup(KeySource::Secret { text: "short".into(), allow_weak: false }, &[]),
        JwtSetupError::Secret(UnusableKey::WeakSecret(_))
    ));
    let misfit = setup(
        KeySource::Secret { text: SECRET.into(), allow_weak: false },
        &[Algorithm::Hs256, Algorithm::Rs256],
    );
    assert_eq!(
        misfit.to_string(),
        "algorithm RS256 does not fit the configured key, which allows HS256"
    );
    let url = || KeySource::JwksUrl("https://localhost/keys".into());
    assert!(
        matches!(setup(url(), &[Algorithm::Hs256]), JwtSetupError::Algorithm { .. }),
        "a published key is no secret"
    );
    for address in ["", "localhost", "file:///etc/passwd", "ftp://localhost/"] {
        assert!(matches!(setup(KeySource::JwksUrl(address.into()), &[]), JwtSetupError::Url));
    }
    assert!(matches!(
        setup(KeySource::PemFile("/nonexistent".into()), &[]),
        JwtSetupError::File { .. }
    ));
}

#[test]
fn the_secret_is_not_shown() {
    assert!(!format!("{:?}", options()).contains(SECRET));
    assert!(!format!("{:?}", VerifyingKey::from_secret(SECRET, false).unwrap()).contains(SECRET));
}

proptest! {
    #[test]
    fn arbitrary_text_never_authenticates(text in "\\PC{0,200}") {
        prop_assert!(authenticate(&authenticator(), &text).is_err());
    }

    #[test]
    fn arbitrary_parts_never_authenticate(header in any::<Vec<u8>>(), claims in any::<Vec<u8>>(), signature in any::<Vec<u8>>()) {
        let text = format!("{}.{}.{}", part(header), part(claims), part(signature));
        prop_assert!(authenticate(&authenticator(), &text).is_err());
    }

    #[test]
    fn no_mutation_of_a_token_authenticates(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..3, prop_oneof!["[A-Za-z0-9_.=-]", "\\PC"]), 1..4),
    ) {
        let good = token(&claims());
        let mut characters: Vec<String> = good.chars().map(String::from).collect();
        for (index, removed, inserted) in edits {
            let at = index.index(characters.len());
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, [inserted]);
        }
        let mutated = characters.concat();
        prop_assert_eq!(authenticate(&authenticator(), &mutated).is_ok(), mutated == good);
    }
}
