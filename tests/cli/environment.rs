//! An environment as orchestrators make it.

use rejoin_test_support::soon;

use crate::cli::program::{Running, command};

#[tokio::test]
async fn empty_variables_and_those_of_kubernetes_do_not_stop_it() {
    let environment = [
        ("REJOIN_CONFIG", ""),
        ("REJOIN_URL", ""),
        ("REJOIN_TOKEN", ""),
        ("SSE_KEEPALIVE_SECONDS", ""),
        ("REJOIN_EVENTS__BACKEND", ""),
        ("REJOIN_REDIS_PORT", "tcp://10.96.12.7:6379"),
        ("REJOIN_REDIS_PORT_6379_TCP_ADDR", "10.96.12.7"),
    ];
    let config = soon("its end", Running::of(command(&["config"]).envs(environment)).ended()).await;
    assert!(
        config
            .lines()
            .iter()
            .any(|line| line.starts_with("sse.keepalive_seconds") && line.ends_with("# default")),
        "{}",
        config.out
    );
    assert!(
        config.err.contains("REJOIN_REDIS_PORT, REJOIN_REDIS_PORT_6379_TCP_ADDR"),
        "{}",
        config.err
    );
}

#[tokio::test]
async fn what_is_set_in_vain_or_is_open_or_weak_is_warned_of_by_both_commands() {
    let environment = [
        ("REJOIN_AUTH__JWT__SECRET", "changeme"),
        ("REJOIN_AUTH__JWT__ALLOW_WEAK_SECRET", "true"),
        ("REJOIN_SERVER__CORS_ORIGINS", "*"),
        ("REJOIN_SERVER__LISTEN", "127.0.0.1:0"),
    ];
    let warnings = [
        "these settings have no effect: `auth.jwt.secret` (environment REJOIN_AUTH__JWT__SECRET), `auth.jwt.allow_weak_secret`",
        "every page that a browser on this machine has open may read, publish and administer",
        "`auth.jwt.secret` (environment REJOIN_AUTH__JWT__SECRET) can be guessed: it has fewer than 32 bytes",
    ];
    let config = soon("its end", Running::of(command(&["config"]).envs(environment)).ended()).await;
    let serving = Running::of(command(&["serve", "--memory"]).envs(environment));
    serving.address().await;
    for warning in warnings {
        assert_eq!(config.err.matches(warning).count(), 1, "{warning}: {}", config.err);
        serving.tells(warning).await;
    }
}

#[tokio::test]
async fn without_tokens_no_listener_is_open_to_others() {
    for variable in ["REJOIN_SERVER__LISTEN", "REJOIN_SERVER__OPS_LISTEN"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9090"] {
            let refused = soon(
                "its end",
                Running::of(command(&["serve", "--memory"]).env(variable, address)).ended(),
            )
            .await;
            refused.assert_failed(&format!(
                "is \"{address}\" (environment {variable}), which others can reach"
            ));
        }
    }
}
