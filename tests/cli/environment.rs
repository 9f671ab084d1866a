//! An environment as orchestrators make it.

use rejoin_test_support::soon;

use crate::program::{Running, command};

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
    assert!(config.lines().iter().any(|line| line.starts_with("sse.keepalive_seconds") && line.ends_with("# default")), "{}", config.out);
    assert!(config.err.contains("REJOIN_REDIS_PORT, REJOIN_REDIS_PORT_6379_TCP_ADDR"), "{}", config.err);
}
