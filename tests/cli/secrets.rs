//! No secret is shown, wherever in a setting it stands: not by `rejoin config`, not by `rejoin
//! serve`, on no output and at no level of the log that people use.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use rejoin_test_support::eventually;
use reqwest::Client;

use crate::cli::program::{Running, command, run};

/// The two ends of each secret: neither may be shown.
const FIRST: &str = "hushfirst";
const LAST: &str = "hushlast";

/// Characters that people have in passwords and don't encode.
const ODD: [&str; 14] = ["", "?", "#", "/", "@", ":", ",", "%", "%zz", " ", "&", "=", "\\", "[x]"];

type Environment = Vec<(&'static str, String)>;

fn on(backend: &'static str, url: (&'static str, String)) -> Environment {
    let backends = ["REJOIN_EVENTS__BACKEND", "REJOIN_MESSAGES__BACKEND", "REJOIN_LIMITS__BACKEND"];
    backends.into_iter().map(|name| (name, backend.to_owned())).chain([url]).collect()
}

/// Every place of every setting that may hold a secret. Nothing listens at port 1.
fn places() -> Vec<Environment> {
    let secrets: Vec<String> = ODD.iter().map(|odd| format!("{FIRST}{odd}{LAST}")).collect();
    let mut places: Vec<Environment> = Vec::new();
    for secret in &secrets {
        let urls = |scheme: &str, path: &str| {
            vec![
                format!("{scheme}://user:{secret}@127.0.0.1:1/{path}"),
                format!("{scheme}://{secret}@127.0.0.1:1/{path}"),
                format!("{scheme}://127.0.0.1:1/{path}?password={secret}"),
                format!("{scheme}://127.0.0.1:1/{path}#{secret}"),
            ]
        };
        places.extend(
            urls("redis", "0").into_iter().map(|url| on("redis", ("REJOIN_REDIS__URL", url))),
        );
        places.extend(
            urls("postgres", "db")
                .into_iter()
                .map(|url| on("postgres", ("REJOIN_POSTGRES__URL", url))),
        );
        let issuers =
            urls("http", "keys").into_iter().map(|url| ("REJOIN_AUTH__JWT__JWKS_URL", url));
        places.extend(issuers.map(|issuer| vec![("REJOIN_AUTH__MODE", "jwt".to_owned()), issuer]));
        places.extend(
            urls("http", "traces")
                .into_iter()
                .map(|url| vec![("REJOIN_TELEMETRY__OTLP_ENDPOINT", url)]),
        );
    }
    let plain = format!("{FIRST}{LAST}");
    for query in ["pasword={}&{}=1", "password=x&{}=1", "{}"] {
        places.push(on(
            "postgres",
            (
                "REJOIN_POSTGRES__URL",
                format!("postgres://127.0.0.1:1/db?{}", query.replace("{}", &plain)),
            ),
        ));
    }
    for parameter in [
        "pasword",
        "sslmode",
        "port",
        "hostaddr",
        "statement-cache-capacity",
        "options",
        "dbname",
        "user",
        "sslpassword",
    ] {
        places.push(on(
            "postgres",
            ("REJOIN_POSTGRES__URL", format!("postgres://127.0.0.1:1/db?{parameter}={plain}")),
        ));
    }
    places.push(on("postgres", ("REJOIN_POSTGRES__URL", plain.clone())));
    places.push(on("redis", ("REJOIN_REDIS__URL", plain.clone())));
    places.push(on("redis", ("REJOIN_REDIS__URL", format!("redis://{plain}:{plain}"))));
    places.push(on("redis", ("REJOIN_REDIS__URL", format!("http://user:{plain}@127.0.0.1:1"))));
    places.push(vec![("REJOIN_AUTH__JWT__SECRET", plain.clone())]);
    places.push(vec![
        ("REJOIN_AUTH__JWT__SECRET", plain.clone()),
        ("REJOIN_AUTH__JWT__ALLOW_WEAK_SECRET", "true".to_owned()),
    ]);
    places.push(vec![("REJOIN_AUTH__KEYS", plain.clone())]);
    places.push(vec![(
        "REJOIN_AUTH__KEYS",
        format!("[{{ name = \"a\", sha256 = \"{plain}\", scopes = [\"admin\"] }}]"),
    )]);
    places
}

/// All that both commands say with these settings.
async fn said(environment: &Environment) -> String {
    let config = Running::of(command(&["config"]).envs(environment.iter().cloned())).ended().await;
    let mut serve = command(&["serve", "--memory"]);
    serve
        .envs(environment.iter().cloned())
        .env("REJOIN_LOG__LEVEL", "debug")
        .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0");
    serve.env("REJOIN_SERVER__DRAIN_SECONDS", "0");
    let mut serving = Running::of(&mut serve);
    eventually("it serves, or has ended", async || {
        serving.has_ended() || serving.has_said("listens on http://")
    })
    .await;
    if !serving.has_ended() {
        // An issuer is asked for its keys by the first token, and a collector is sent what was
        // traced.
        let url = format!("http://{}/api/events", serving.address().await);
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.AA";
        let request = Client::builder().no_proxy().build().unwrap().get(url).bearer_auth(token);
        drop(tokio::time::timeout(Duration::from_secs(20), request.send()).await);
        serving.signal("TERM").await;
    }
    let served = serving.ended().await;
    [config.out, config.err, served.out, served.err].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_output_shows_a_secret_wherever_it_stands() {
    let places = places();
    let tried = stream::iter(places).map(async |environment| {
        let said = said(&environment).await;
        (environment, said)
    });
    let shown: Vec<String> = tried
        .buffer_unordered(16)
        .filter_map(async |(environment, said)| {
            let line = said.lines().find(|line| line.contains(FIRST) || line.contains(LAST))?;
            Some(format!("{environment:?}: {line}"))
        })
        .collect()
        .await;
    assert!(shown.is_empty(), "{shown:#?}");
}

#[tokio::test]
async fn a_servers_url_with_a_password_is_refused_without_showing_it() {
    for url in [
        format!("http://{FIRST}:{LAST}@127.0.0.1:1"),
        format!("{FIRST}://{LAST}@h"),
        format!("{FIRST} {LAST}"),
    ] {
        let by_option = run(&["tail", "--url", &url]).await;
        let by_variable = Running::of(command(&["tail"]).env("REJOIN_URL", &url)).ended().await;
        let help = Running::of(command(&["tail", "--help"]).env("REJOIN_URL", &url)).ended().await;
        for finished in [&by_option, &by_variable, &help] {
            let said = [finished.out.as_str(), &finished.err].concat();
            assert!(!said.contains(FIRST) && !said.contains(LAST), "{said}");
        }
        by_option.assert_failed("--url or REJOIN_URL: a");
    }
}

#[tokio::test]
async fn what_is_not_read_of_a_postgres_url_is_named_and_what_is_wrong_is_said() {
    let says = async |query: &str| {
        let url = format!("postgres://u:p@127.0.0.1:1/db?{query}");
        let mut serve = command(&["serve", "--memory"]);
        serve
            .envs(on("postgres", ("REJOIN_POSTGRES__URL", url)))
            .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0");
        serve
    };
    let serving = Running::of(&mut says("pasword=hush&connect_timeout=3&sslmode=prefer").await);
    serving.tells("parameter=\"pasword\" more=1").await;
    drop(serving);
    let refused = Running::of(&mut says("sslmode=hush").await).ended().await;
    refused.assert_failed(
        "its sslmode is none of disable, allow, prefer, require, verify-ca and verify-full",
    );
}
