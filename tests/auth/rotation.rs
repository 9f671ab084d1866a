//! Keys at a URL: fetched when needed, rotated, revoked, and kept while the issuer is away.
//!
//! The runtime's clock is moved by hand, so that an hour passes at once. It runs on in between: a
//! paused clock would jump to the fetch's timeout whenever the network is waited for.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rejoin::{
    adapters::auth::jwt::JwtAuthenticator,
    domain::access::Principal,
    ports::authenticator::{AuthError, Authenticator},
};
use serde_json::json;
use tokio::time;

use crate::auth::{
    issuer::{Answer, Issuer, response},
    test_key::{EC, ED, RSA, TestKey, authenticator},
};

/// Just over the pause between two fetches.
const PAUSE: Duration = Duration::from_secs(11);
const HOUR: Duration = Duration::from_hours(1);

async fn pass(duration: Duration) {
    time::pause();
    time::advance(duration).await;
    time::resume();
}

async fn ask(authenticator: &JwtAuthenticator, token: &str) -> Result<Principal, AuthError> {
    authenticator.authenticate(Some(token)).await
}

fn is_invalid(answer: &Result<Principal, AuthError>) -> bool {
    matches!(answer, Err(AuthError::Invalid(_)))
}

fn is_unavailable(answer: &Result<Principal, AuthError>) -> bool {
    matches!(answer, Err(AuthError::Unavailable { retry_after }) if (1..=10).contains(&retry_after.as_secs()))
}

/// An issuer that publishes `EC` as `a`, and an authenticator that has fetched it.
async fn with_fetched_keys() -> (Issuer, Arc<JwtAuthenticator>) {
    let issuer = Issuer::start(Answer::Keys(vec![EC.jwk("a")])).await;
    let authenticator = authenticator(issuer.source()).unwrap();
    assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok());
    (issuer, authenticator)
}

#[tokio::test]
async fn keys_are_fetched_at_first_need_once_for_all_who_wait() {
    let issuer = Issuer::start(Answer::Keys(vec![RSA.jwk("r"), EC.jwk("e"), ED.jwk("d")])).await;
    let authenticator = authenticator(issuer.source()).unwrap();
    assert!(is_invalid(&ask(&authenticator, "garbage").await));
    assert_eq!(issuer.requests(), 0, "garbage needs no key");
    let tokens = [RSA.token(Some("r")), EC.token(Some("e")), ED.token(Some("d")), ED.token(None)];
    let answers = join_all((0..40).map(|n| ask(&authenticator, &tokens[n % 4]))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn a_rotation_is_picked_up_by_its_unknown_kid() {
    let (issuer, authenticator) = with_fetched_keys().await;
    pass(PAUSE).await;
    let next = TestKey::ec();
    issuer.answer_with(Answer::Keys(vec![EC.jwk("a"), next.jwk("b")]));
    assert!(ask(&authenticator, &next.token(Some("b"))).await.is_ok());
    assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok());
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_kids_is_one_fetch() {
    let (issuer, authenticator) = with_fetched_keys().await;
    let flood: Vec<String> = (0..100).map(|n| EC.token(Some(&format!("k{n}")))).collect();
    assert!(
        join_all(flood.iter().map(|token| ask(&authenticator, token))).await.iter().all(is_invalid)
    );
    assert_eq!(issuer.requests(), 1, "a fetch was made a moment ago");
    for round in 2..4 {
        pass(PAUSE).await;
        assert!(
            join_all(flood.iter().map(|token| ask(&authenticator, token)))
                .await
                .iter()
                .all(is_invalid)
        );
        assert_eq!(issuer.requests(), round);
    }
    assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok());
}

#[tokio::test]
async fn a_revoked_key_ends_within_the_hour() {
    let (issuer, authenticator) = with_fetched_keys().await;
    issuer.answer_with(Answer::Keys(vec![ED.jwk("b")]));
    pass(HOUR).await;
    // Still at hand, so that it is not waited for; but it makes the set be fetched anew.
    assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok());
    issuer.asked(2).await;
    assert!(
        ask(&authenticator, &ED.token(Some("b"))).await.is_ok(),
        "an unknown kid waits for the fetch under way"
    );
    assert!(is_invalid(&ask(&authenticator, &EC.token(Some("a"))).await));
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn a_key_that_was_revoked_while_nobody_came_is_not_used_once_more() {
    let (issuer, authenticator) = with_fetched_keys().await;
    issuer.answer_with(Answer::Keys(Vec::new()));
    pass(2 * HOUR).await;
    let token = EC.token(Some("a"));
    assert!(join_all((0..5).map(|_| ask(&authenticator, &token))).await.iter().all(is_invalid));
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn an_outage_keeps_the_old_keys() {
    let (issuer, authenticator) = with_fetched_keys().await;
    issuer.stop().await;
    for _ in 0..3 {
        pass(3 * HOUR).await;
        assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok());
        assert!(
            is_unavailable(&ask(&authenticator, &EC.token(Some("new"))).await),
            "it may be new, nobody can tell"
        );
        assert!(
            is_invalid(&ask(&authenticator, &ED.token(Some("a"))).await),
            "this one is known to be wrong"
        );
    }
}

#[tokio::test]
async fn an_issuer_that_was_away_at_first_is_asked_again_after_the_pause() {
    let issuer = Issuer::start(Answer::Raw(response("503 Service Unavailable", ""))).await;
    let authenticator = authenticator(issuer.source()).unwrap();
    let token = EC.token(Some("a"));
    for _ in 0..5 {
        assert!(is_unavailable(&ask(&authenticator, &token).await));
    }
    issuer.answer_with(Answer::Keys(vec![EC.jwk("a")]));
    assert!(is_unavailable(&ask(&authenticator, &token).await));
    assert_eq!(issuer.requests(), 1);
    pass(PAUSE).await;
    assert!(ask(&authenticator, &token).await.is_ok());
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn answers_of_no_use_change_nothing() {
    let (issuer, authenticator) = with_fetched_keys().await;
    let elsewhere = Issuer::start(Answer::Keys(vec![ED.jwk("b")])).await;
    let rejoin::adapters::auth::jwt::KeySource::JwksUrl(other) = elsewhere.source() else {
        panic!("a URL")
    };
    let too_long = json!({ "keys": [ED.jwk("b")], "padding": " ".repeat(1024 * 1024) }).to_string();
    let useless = [
        Answer::Raw(response("200 OK", &too_long)),
        Answer::Raw(response("500 Internal Server Error", r#"{"keys":[]}"#)),
        Answer::Raw(response("200 OK", "<html>")),
        Answer::Raw(response("200 OK", "")),
        Answer::Raw(response("200 OK", r#"{"keys":{}}"#)),
        Answer::Raw(response(&format!("302 Found\r\nLocation: {other}"), "")),
        Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[".into()),
        Answer::Raw("SSH-2.0-what\r\n".into()),
        Answer::Raw(String::new()),
        Answer::Endless,
    ];
    for (round, answer) in useless.into_iter().enumerate() {
        pass(PAUSE).await;
        issuer.answer_with(answer);
        assert!(is_unavailable(&ask(&authenticator, &ED.token(Some("b"))).await), "round {round}");
        assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok(), "round {round}");
        assert_eq!(issuer.requests(), round + 2);
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn who_has_a_key_does_not_wait_for_a_fetch() {
    let (issuer, authenticator) = with_fetched_keys().await;
    issuer.answer_with(Answer::Held(vec![EC.jwk("a"), ED.jwk("b")]));
    pass(HOUR).await;
    let newcomer = tokio::spawn({
        let authenticator = Arc::clone(&authenticator);
        async move { ask(&authenticator, &ED.token(Some("b"))).await }
    });
    issuer.asked(2).await;
    for _ in 0..10 {
        assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok());
    }
    assert!(!newcomer.is_finished());
    issuer.release();
    assert!(newcomer.await.unwrap().is_ok());
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn who_hangs_up_does_not_take_the_fetch_along() {
    let issuer = Issuer::start(Answer::Held(vec![EC.jwk("a")])).await;
    let authenticator = authenticator(issuer.source()).unwrap();
    let ask_in_background = || {
        let authenticator = Arc::clone(&authenticator);
        tokio::spawn(async move { ask(&authenticator, &EC.token(Some("a"))).await })
    };
    let first = ask_in_background();
    issuer.asked(1).await;
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    let second = ask_in_background();
    issuer.release();
    assert!(second.await.unwrap().is_ok());
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_given_up_on() {
    let issuer = Issuer::start(Answer::Silence).await;
    let authenticator = authenticator(issuer.source()).unwrap();
    let asking = tokio::spawn({
        let authenticator = Arc::clone(&authenticator);
        async move { ask(&authenticator, &EC.token(Some("a"))).await }
    });
    issuer.asked(1).await;
    pass(Duration::from_secs(5)).await;
    assert!(is_unavailable(&asking.await.unwrap()));
    issuer.answer_with(Answer::Keys(vec![EC.jwk("a")]));
    pass(PAUSE).await;
    assert!(ask(&authenticator, &EC.token(Some("a"))).await.is_ok());
}
