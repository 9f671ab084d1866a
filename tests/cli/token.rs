//! What `rejoin token` makes is taken by the server that has the same settings.

use rejoin_test_support::TestServer;

use crate::cli::program::{Finished, Running, command, run, run_as};

const SECRET: &str = "a secret of thirty-two bytes, at least";

async fn token(arguments: &[&str]) -> Finished {
    let arguments = [&["token"], arguments].concat();
    let mut command = command(&arguments);
    command.env("REJOIN_AUTH__MODE", "jwt").env("REJOIN_AUTH__JWT__SECRET", SECRET);
    command.env("REJOIN_AUTH__JWT__ISSUER", "here").env("REJOIN_AUTH__JWT__AUDIENCE", "rejoin");
    Running::of(&mut command).ended().await
}

/// A server of mode `jwt` with this secret, and more settings.
async fn server(secret: &str, more: &str) -> TestServer {
    let jwt = format!(
        "[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"{secret}\"\nissuer = \"here\"\naudience = \"rejoin\"\n{more}"
    );
    TestServer::start(&jwt).await
}

#[tokio::test]
async fn a_token_reads_and_publishes_as_far_as_it_says() {
    let server = server(SECRET, "").await;
    let url = server.url("");
    let both = token(&["--user", "u1", "--scope", "events:publish", "--ttl", "5m"]).await;
    let reader = token(&["--user", "u1", "--category", "ai", "--category", "import"]).await;
    assert_eq!(both.err.clone() + &reader.err, "");
    let (both, reader) = (both.lines()[0], reader.lines()[0]);
    for event_type in ["sync.a", "ai.b"] {
        assert_eq!(
            run_as(both, &["publish", "--url", &url, "--user", "u1", "--type", event_type])
                .await
                .lines()
                .len(),
            1
        );
    }
    let seen = run_as(both, &["tail", "--url", &url, "--from", "0", "--count", "1"]).await;
    assert!(seen.lines()[0].contains(" sync.a "));
    let seen = run_as(reader, &["tail", "--url", &url, "--from", "0", "--count", "1"]).await;
    assert!(seen.lines()[0].contains(" ai.b "));
    let refused = run_as(reader, &["publish", "--url", &url, "--user", "u1", "--type", "t"]).await;
    refused.assert_failed("the credentials lack the scope `events:publish` (403 forbidden)");
    run_as(reader, &["tail", "--url", &url, "--categories", "security"])
        .await
        .assert_failed("(403 category_not_allowed)");
}

#[tokio::test]
async fn a_key_is_taken_by_the_settings_that_come_with_it() {
    let made =
        token(&["key", "--name", "the \"crm\"", "--scope", "events:publish", "--scope", "admin"])
            .await;
    let key = made.lines()[0];
    assert!(!made.err.contains(key));
    let server = server(SECRET, &made.err).await;
    assert_eq!(
        run_as(key, &["publish", "--url", &server.url(""), "--user", "u1", "--type", "t"])
            .await
            .lines()
            .len(),
        1
    );
    run_as(key, &["tail", "--url", &server.url("")])
        .await
        .assert_failed("the credentials name no user");
}

#[tokio::test]
async fn a_new_secret_is_fit_for_the_settings() {
    let made = run(&["token", "secret"]).await;
    assert_eq!((made.lines().len(), made.err.as_str()), (1, ""));
    server(made.lines()[0], "").await;
    assert_ne!(run(&["token", "secret"]).await.out, made.out);
}

#[tokio::test]
async fn a_weak_secret_signs_for_the_server_that_allows_it() {
    let weak = "changeme";
    let token = |allow: &'static str| {
        let mut command = command(&["token", "--user", "u1", "--scope", "events:publish"]);
        command
            .env("REJOIN_AUTH__MODE", "jwt")
            .env("REJOIN_AUTH__JWT__SECRET", weak)
            .env("REJOIN_AUTH__JWT__ALLOW_WEAK_SECRET", allow);
        command.env("REJOIN_AUTH__JWT__ISSUER", "here").env("REJOIN_AUTH__JWT__AUDIENCE", "rejoin");
        Running::of(&mut command).ended()
    };
    token("no").await.assert_failed("set `auth.jwt.allow_weak_secret` to true");
    let made = token("yes").await;
    let server = server(weak, "allow_weak_secret = true").await;
    let published = run_as(
        made.lines()[0],
        &["publish", "--url", &server.url(""), "--user", "u1", "--type", "t"],
    )
    .await;
    assert_eq!(published.lines().len(), 1);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said() {
    run(&["token", "--user", "u1"]).await.assert_failed("make one with `rejoin token secret`");
    let mut others = command(&["token", "--user", "u1"]);
    others
        .env("REJOIN_AUTH__MODE", "jwt")
        .env("REJOIN_AUTH__JWT__JWKS_URL", "https://issuer.example/keys");
    Running::of(&mut others)
        .ended()
        .await
        .assert_failed("auth.jwt.jwks_url is set, so tokens are issued by");
    token(&["--user", "u1", "--category", "nonsense"])
        .await
        .assert_failed("category `nonsense` is unknown; the valid ones are: ai, ");
    for usage in [
        &[][..],
        &["--user", ""],
        &["--user", "u", "--scope", "x"],
        &["--user", "u", "--ttl", "1"],
        &["key", "--name", " "],
    ] {
        assert_eq!(token(usage).await.code, Some(2), "{usage:?}");
    }
}

#[tokio::test]
async fn a_token_for_a_server_that_asks_nobody_is_remarked_on() {
    let mut unused = command(&["token", "--user", "u1"]);
    let made = Running::of(unused.env("REJOIN_AUTH__JWT__SECRET", SECRET)).ended().await;
    assert_eq!(made.lines().len(), 1);
    assert!(made.err.contains("auth.mode is \"none\""), "{}", made.err);
}
