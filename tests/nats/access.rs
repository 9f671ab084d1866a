//! Ways to prove who one is, and an account that may do what the page lists, and nothing else.

use std::fs;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures_util::StreamExt;
use nkeys::KeyPair;
use rejoin::{
    adapters::nats::NatsOptions,
    domain::{leases::LeaseId, position::Position},
    ports::{backend_error::BackendErrorKind, feed::Signal},
    testing::{event, user},
};
use rejoin_test_support::{NatsConfig, NatsServer, eventually, soon};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::nats::given::{append, appended, options, payloads, topic, try_open};

const PAGE: &str = include_str!("../../docs/backends/nats.md");

/// Everything that a process does works with these settings.
pub(crate) async fn assert_works(options: &NatsOptions) {
    let ports = try_open(options).await.unwrap();
    let mut signals = ports.feed.signals();
    eventually("the feed to listen", async || ports.feed.watch(&topic("u1")).await.is_ok()).await;
    let ids = appended(&ports, "u1", 0..3).await;
    soon("a signal", async {
        while !matches!(signals.next().await, Some(Signal::Appended(..))) {}
    })
    .await;
    assert_eq!(payloads(&ports, "u1", ids[0].into()).await, ["1", "2"]);
    ports.journal.purge(&user("u1")).await.unwrap();
    ports.journal.probe().await.unwrap();
    let id = rejoin::domain::topic::MessageId::from(Uuid::new_v4());
    ports.messages.open(&id, &user("u1"), false).await.unwrap().unwrap();
    assert!(ports.messages.delete(&id).await.unwrap());
    assert_eq!(ports.messages.sweep(std::time::Duration::ZERO, 1).await.unwrap(), 0);
    ports.feed.broadcast(event("{}")).await.unwrap();
    soon("the broadcast", async {
        while !matches!(signals.next().await, Some(Signal::Broadcast(_))) {}
    })
    .await;
    assert!(
        ports
            .leases
            .acquire(&user("u1"), LeaseId(Uuid::new_v4()), 9, std::time::Duration::from_secs(9))
            .await
            .unwrap()
    );
    ports
        .budget
        .take(&user("u1"), Position::Start, 9, std::time::Duration::from_secs(9))
        .await
        .unwrap()
        .unwrap();
}

/// The permissions that the page lists, with the streams' names written out.
fn permissions() -> (Vec<String>, Vec<String>) {
    let list = |name: &str| {
        let (_, rest) = PAGE.split_once(&format!("{name}: [")).expect("the page lists it");
        let subjects = rest.split_once(']').expect("a list").0.split('"').skip(1).step_by(2);
        let written_out = |subject: &str| match subject.strip_suffix("REJOIN_*") {
            Some(api) => ["EVENTS", "MESSAGES", "ANNOUNCEMENTS", "LIMITS"]
                .map(|stream| format!("{api}REJOIN_{stream}"))
                .to_vec(),
            None => vec![subject.to_owned()],
        };
        subjects.flat_map(written_out).collect()
    };
    (list("publish"), list("subscribe"))
}

fn config(publish: &[String], subscribe: &[String]) -> NatsConfig {
    let user = format!(
        "{{ user: app, password: secret, permissions: {{ publish: {publish:?}, subscribe: {subscribe:?} }} }}"
    );
    let lines = format!("authorization {{ users: [ {user}, {{ user: all, password: all }} ] }}");
    NatsConfig { lines, user: Some(("all".to_owned(), "all".to_owned())), ..NatsConfig::default() }
}

#[tokio::test]
async fn an_account_with_the_listed_permissions_and_no_others_is_enough() {
    let (publish, subscribe) = permissions();
    let mut server = NatsServer::start_with(config(&publish, &subscribe)).await;
    let url = server.url().replace("nats://", "nats://app:secret@");
    assert_works(&options(url.clone())).await;
    // Without one of them, what needs it fails at once, and does not wait for its timeout.
    let lesser: Vec<String> =
        publish.iter().filter(|subject| !subject.contains("user")).cloned().collect();
    server.kill().await;
    server.start_again_with(config(&lesser, &subscribe)).await;
    let ports = try_open(&options(url)).await.unwrap();
    let error = ports.journal.append(vec![append("u1", 1)]).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Rejected, "{error:?}");
    let why = error.source.unwrap().to_string();
    assert!(why.contains("does not allow") && why.contains("rejoin.user.u1"), "{why}");
}

#[tokio::test]
async fn user_and_password_token_and_nkey() {
    let folder = TempDir::new().unwrap();
    let key = KeyPair::new_user();
    let seed = folder.path().join("seed.nk");
    fs::write(&seed, key.seed().unwrap() + "\n").unwrap();
    let users = format!(
        "authorization {{ users: [ {{ user: \"a p\", password: \"p@ss/w?rd\" }}, {{ nkey: {} }} ] }}",
        key.public_key()
    );
    let config = |lines: String, user: &str, password: &str| NatsConfig {
        lines,
        user: Some((user.to_owned(), password.to_owned())),
        ..NatsConfig::default()
    };
    let server = NatsServer::start_with(config(users, "a p", "p@ss/w?rd")).await;
    assert_works(&options(server.url().replace("nats://", "nats://a%20p:p%40ss%2Fw%3Frd@"))).await;
    assert_works(&NatsOptions { nkey_file: Some(seed), ..options(server.url()) }).await;
    let wrong =
        try_open(&options(server.url().replace("nats://", "nats://a%20p:wrong@"))).await.unwrap();
    let error = wrong.journal.append(vec![append("u1", 1)]).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Unavailable);
    assert!(
        error.source.unwrap().to_string().to_lowercase().contains("authorization"),
        "it says why"
    );

    let with_token = NatsConfig {
        lines: "authorization { token: \"t0ken\" }".to_owned(),
        token: Some("t0ken".to_owned()),
        ..NatsConfig::default()
    };
    let server = NatsServer::start_with(with_token).await;
    assert_works(&options(server.url().replace("nats://", "nats://t0ken@"))).await;
}

/// Where JetStream has a domain, its requests go there.
#[tokio::test]
async fn a_domain() {
    let server = NatsServer::start_with(NatsConfig {
        jetstream: "domain: hub".to_owned(),
        ..NatsConfig::default()
    })
    .await;
    assert_works(&NatsOptions { domain: Some("hub".to_owned()), ..options(server.url()) }).await;
    let elsewhere =
        try_open(&NatsOptions { domain: Some("leaf".to_owned()), ..options(server.url()) })
            .await
            .unwrap();
    assert!(elsewhere.journal.append(vec![append("u1", 1)]).await.is_err());
}

/// A JWT as NATS has them, signed by a key.
fn jwt(signer: &KeyPair, subject: &str, name: &str, claims: &Value) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let body = json!({ "jti": name, "iat": 1_718_900_000, "iss": signer.public_key(), "sub": subject, "name": name, "nats": claims });
    let unsigned = format!("{head}.{}", part(&body));
    let signature = signer.sign(unsigned.as_bytes()).unwrap();
    format!("{unsigned}.{}", BASE64.encode(signature))
}

#[tokio::test]
async fn a_credentials_file() {
    let (operator, account, key) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let unlimited = json!({ "subs": -1, "data": -1, "payload": -1 });
    let of_account = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let operator_jwt = jwt(
        &operator,
        &operator.public_key(),
        "operator",
        &json!({ "type": "operator", "version": 2 }),
    );
    let claims = json!({ "type": "account", "version": 2, "limits": of_account });
    let account_jwt = jwt(&operator, &account.public_key(), "account", &claims);
    let mut claims = unlimited;
    claims["type"] = "user".into();
    claims["version"] = 2.into();
    let user_jwt = jwt(&account, &key.public_key(), "user", &claims);
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        key.seed().unwrap()
    );
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("app.creds");
    fs::write(&file, &credentials).unwrap();
    // The servers' own account.
    let system = KeyPair::new_account();
    let claims = json!({ "type": "account", "version": 2, "limits": { "subs": -1, "data": -1, "payload": -1, "conn": -1 } });
    let system_jwt = jwt(&operator, &system.public_key(), "system", &claims);
    let accounts = format!(
        "{}: \"{account_jwt}\", {}: \"{system_jwt}\"",
        account.public_key(),
        system.public_key()
    );
    let lines = format!(
        "operator: \"{operator_jwt}\"\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {accounts} }}",
        system.public_key()
    );
    let server = NatsServer::start_with(NatsConfig {
        lines,
        credentials: Some(credentials),
        ..NatsConfig::default()
    })
    .await;
    assert_works(&NatsOptions { credentials_file: Some(file), ..options(server.url()) }).await;
    let missing =
        NatsOptions { credentials_file: Some(folder.path().join("none")), ..options(server.url()) };
    assert!(try_open(&missing).await.err().unwrap().to_string().contains("nats.credentials_file"));
}
