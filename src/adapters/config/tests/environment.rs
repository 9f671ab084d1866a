//! What orchestrators put into the environment.

use super::*;

const SECRET: &str = "12345678901234567890123456789012";

#[test]
fn what_kubernetes_puts_into_pods_is_warned_of_whatever_a_service_is_called() {
    for service in
        ["REJOIN", "REJOIN_REDIS", "REJOIN_POSTGRES", "REJOIN_OPS", "REJOIN_HEADLESS", "REJOIN_X9"]
    {
        for rest in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_6379_TCP",
            "PORT_6379_TCP_ADDR",
        ] {
            let name = format!("{service}_{rest}");
            let loaded = load("", &[(&name, "tcp://10.96.12.7:6379")])
                .unwrap_or_else(|error| panic!("{error}"));
            assert!(loaded.warnings[0].contains(&name));
        }
    }
    assert_eq!(
        load("", &[("REJOINDER", "x"), ("REJOIN_URL", "x"), ("PATH", "x")]).unwrap().warnings,
        [""; 0]
    );
}

#[test]
fn a_variable_that_is_near_a_setting_is_told_which() {
    let variables = [
        ("REJOIN_EVENTS_BACKEND", "redis"),
        ("REJOIN_SOMETHING", "x"),
        ("REJOIN_SSE_KEEPALIVE", "1"),
    ];
    let warning = load("", &variables).unwrap().warnings.remove(0);
    assert!(
        warning.contains(
            "REJOIN_EVENTS_BACKEND (did you mean REJOIN_EVENTS__BACKEND?), REJOIN_SOMETHING, "
        ),
        "{warning}"
    );
    assert_eq!(warning.lines().count(), 1);
    // With two underscores it was meant for us.
    let message = refusal("", &[("REJOIN_EVENTS__BACKENDS", "redis")]);
    assert!(message.contains("did you mean `REJOIN_EVENTS__BACKEND`?"), "{message}");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    for key in keys::all() {
        let listing =
            |environment: &[(&str, &str)]| load("", environment).unwrap().listing.to_string();
        for name in key.legacy.map(ToOwned::to_owned).into_iter().chain([keys::variable(key.name)])
        {
            assert_eq!(listing(&[(&name, "")]), listing(&[]), "{name}");
            assert_eq!(listing(&[(&name, "\n")]), listing(&[]), "{name}");
        }
    }
    let overridden =
        load("[sse]\nretry_ms = 5", &[("REJOIN_SSE__RETRY_MS", ""), ("REJOIN_UNHEARD", "")])
            .unwrap();
    assert_eq!((overridden.settings.sse.retry_ms, overridden.warnings), (5, Vec::new()));
}

#[test]
fn the_line_end_of_a_file_is_no_part_of_a_secret() {
    for value in [SECRET.to_owned(), format!("{SECRET}\n"), format!("{SECRET}\r\n")] {
        let settings = settings("", &[("REJOIN_AUTH__JWT__SECRET", &value)]);
        assert_eq!(settings.auth.jwt.secret.unwrap().reveal(), SECRET);
        let url = value.replace(SECRET, "redis://:pass@host");
        assert_eq!(
            self::settings("", &[("REJOIN_REDIS__URL", &url)]).redis.url.reveal(),
            "redis://:pass@host"
        );
    }
    // A file of settings can have a text of several lines.
    let text = format!(
        "[auth.jwt]\nsecret = \"\"\"\n{SECRET}\n\"\"\"\n[redis]\nurl = \"redis://:pass@host\\r\\n\"\n[log]\nlevel = \"info\""
    );
    let settings = settings(&text, &[]);
    assert_eq!(settings.auth.jwt.secret.unwrap().reveal(), SECRET);
    assert_eq!(settings.redis.url.reveal(), "redis://:pass@host");
    // One only: what else is there was meant.
    let settings = self::settings("", &[("REJOIN_AUTH__JWT__SECRET", &format!("{SECRET}\n\n"))]);
    assert_eq!(settings.auth.jwt.secret.unwrap().reveal(), format!("{SECRET}\n"));
}
