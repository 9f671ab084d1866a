//! The settings as a whole: layers, names, and the account of them.

mod environment;
mod refusals;

use std::{collections::BTreeSet, ffi::OsString, time::Duration};

use figment::{
    Jail,
    providers::{Format, Toml},
    value::Dict,
};

use super::*;
use crate::domain::{access::Scope, event::EventType};

const DEFAULT: &str = include_str!("../../../config/default.toml");
const REDIS_FILE: &str = include_str!("../../../config/redis.toml");
const POSTGRES_FILE: &str = include_str!("../../../config/postgres.toml");
const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let environment =
        environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    assemble(Some((Path::new("rejoin.toml"), text)), environment)
}

fn settings(text: &str, environment: &[(&str, &str)]) -> Settings {
    load(text, environment).unwrap().settings
}

fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
    load(text, environment).unwrap_err().to_string()
}

fn line<'a>(listing: &'a Listing, key: &str) -> &'a Setting {
    listing.settings().iter().find(|setting| setting.key == key).unwrap()
}

fn leaves(section: &str, values: &Dict, found: &mut BTreeSet<String>) {
    for (name, value) in values {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match value.as_dict() {
            Some(values) => leaves(&key, values, found),
            None => drop(found.insert(key)),
        }
    }
}

#[test]
fn the_default_file_has_every_key_and_nothing_else() {
    let mut found = BTreeSet::new();
    leaves("", &Toml::from_str(DEFAULT).unwrap(), &mut found);
    found.retain(|key| !key.starts_with("categories."));
    let known: BTreeSet<String> = keys::all().map(|key| key.name.to_owned()).collect();
    assert_eq!(found, known);
    // Fields have no defaults of their own and know no other key: that this loads shows that they
    // are the same, too.
    settings("", &[]);
}

#[test]
fn the_default_file_says_of_every_key_what_it_does_and_may_be() {
    for key in keys::all() {
        let (section, name) = key.name.rsplit_once('.').unwrap();
        let body = DEFAULT.split_once(&format!("\n[{section}]\n")).unwrap().1;
        let lines: Vec<&str> = body.lines().collect();
        let at = lines.iter().position(|line| line.starts_with(&format!("{name} = "))).unwrap();
        let comment = lines[at - 1];
        assert!(
            comment.starts_with("# ") && !lines[..at].iter().any(|line| line.starts_with('[')),
            "{}",
            key.name
        );
        assert!(comment.contains(key.legacy.unwrap_or("")), "{}", key.name);
        if let allowed::Allowed::Number { min, max } = key.allowed {
            assert!(comment.contains(&format!("{min} to {max}")), "{}", key.name);
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = settings("", &[]);
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.drain, Duration::from_secs(10));
    assert_eq!(settings.server.keep_alive, Duration::from_secs(90));
    assert_eq!(settings.server.cors_origins, CorsOrigins::Only(Vec::new()));
    assert!(settings.sse.push_enabled);
    assert_eq!(settings.sse.max_concurrent_per_user, Some(8));
    assert_eq!(settings.events.replay_max_age, Some(Duration::from_hours(48)));
    assert_eq!(settings.events.replay_budget_requests_per_window, Some(30));
    assert_eq!((settings.auth.mode, settings.auth.jwt.secret), (AuthMode::None, None));
    assert_eq!(
        (settings.auth.jwt.leeway, settings.auth.jwt.require_exp),
        (Duration::from_secs(5), true)
    );
    let names: Vec<&str> =
        settings.categories.names().map(crate::domain::category::Category::as_str).collect();
    assert_eq!(names, ["ai", "data_sync", "import", "portfolio", "provider", "security"]);
}

#[test]
fn each_layer_overrides_the_one_before() {
    let file = "[sse]\nkeepalive_seconds = 20\nretry_ms = 5";
    let legacy = ("SSE_KEEPALIVE_SECONDS", "30");
    let own = ("REJOIN_SSE__KEEPALIVE_SECONDS", "40");
    for (text, environment, seconds, origin) in [
        ("", vec![], "15", "default"),
        (file, vec![], "20", "file rejoin.toml"),
        (file, vec![legacy], "30", "environment SSE_KEEPALIVE_SECONDS"),
        (file, vec![own, legacy], "40", "environment REJOIN_SSE__KEEPALIVE_SECONDS"),
        ("", vec![legacy, own], "40", "environment REJOIN_SSE__KEEPALIVE_SECONDS"),
    ] {
        let loaded = load(text, &environment).unwrap();
        let found = line(&loaded.listing, "sse.keepalive_seconds");
        assert_eq!((found.value.as_str(), found.origin.to_string().as_str()), (seconds, origin));
        assert_eq!(loaded.settings.sse.keepalive.as_secs().to_string(), seconds);
        assert_eq!(loaded.settings.sse.retry_ms, if text.is_empty() { 3000 } else { 5 });
    }
}

#[test]
fn the_legacy_names_are_those_of_the_contract() {
    let settings = settings(
        "",
        &[
            ("ENABLE_SSE_PUSH", "False"),
            ("SSE_KEEPALIVE_SECONDS", "1"),
            ("SSE_MAX_CONCURRENT_PER_USER", "0"),
            ("EVENTS_STREAM_MAXLEN", "3"),
            ("EVENTS_REPLAY_MAX_PER_REQUEST", "4"),
            ("EVENTS_REPLAY_MAX_AGE_HOURS", "0"),
            ("EVENTS_REPLAY_BUDGET_REQUESTS_PER_WINDOW", "0"),
            ("EVENTS_REPLAY_BUDGET_WINDOW_SECONDS", "7"),
        ],
    );
    assert!(!settings.sse.push_enabled);
    assert_eq!(
        (settings.sse.keepalive, settings.sse.max_concurrent_per_user),
        (Duration::from_secs(1), None)
    );
    assert_eq!((settings.events.stream_maxlen, settings.events.replay_max_per_request), (3, 4));
    assert_eq!(
        (settings.events.replay_max_age, settings.events.replay_budget_requests_per_window),
        (None, None)
    );
    assert_eq!(settings.events.replay_budget_window, Duration::from_secs(7));
}

#[test]
fn a_variable_means_what_its_key_says() {
    for (spelling, expected) in [
        ("true", true),
        ("True", true),
        ("TRUE", true),
        ("1", true),
        ("yes", true),
        ("on", true),
        ("false", false),
        ("False", false),
        ("0", false),
        ("no", false),
        ("OFF", false),
        ("t", true),
        ("T", true),
        ("y", true),
        ("Y", true),
        ("Yes", true),
        ("On", true),
        ("f", false),
        ("F", false),
        ("n", false),
        ("N", false),
    ] {
        assert_eq!(
            settings("", &[("ENABLE_SSE_PUSH", spelling)]).sse.push_enabled,
            expected,
            "{spelling}"
        );
    }
    for secret in [
        "12345678901234567890123456789012",
        "true-or-false-true-or-false-true",
        "[a,b]{c=1}\"quoted\"  with spaces  ",
    ] {
        let settings = settings("", &[("REJOIN_AUTH__JWT__SECRET", secret)]);
        assert_eq!(settings.auth.jwt.secret.unwrap().reveal(), secret);
    }
    for level in ["off", "WARN", "info,rejoin=debug", "rejoin[stream{user=1}]=trace, warn"] {
        assert_eq!(settings("", &[("REJOIN_LOG__LEVEL", level)]).log.level, level);
    }
    for issuer in ["true", "1", "1.5", "[]", "{}", "'x'"] {
        assert_eq!(
            settings("", &[("REJOIN_AUTH__JWT__ISSUER", issuer)]).auth.jwt.issuer.unwrap(),
            issuer
        );
    }
    for list in
        ["http://a,https://b:1", " http://a , https://b:1 ,", "[\"http://a\", 'https://b:1']"]
    {
        let CorsOrigins::Only(origins) =
            settings("", &[("REJOIN_SERVER__CORS_ORIGINS", list)]).server.cors_origins
        else {
            unreachable!()
        };
        assert_eq!(origins, ["http://a", "https://b:1"]);
    }
    let keys = format!(
        "[{{ name = \"ci\", sha256 = \"{HASH}\", scopes = [\"admin\", \"events:publish\"] }}]"
    );
    let key = settings("", &[("REJOIN_AUTH__KEYS", &keys)]).auth.keys.remove(0);
    assert_eq!((key.sha256[1], key.sha256[31]), (0x11, 0xff));
    assert_eq!(key.scopes, BTreeSet::from([Scope::Admin, Scope::EventsPublish]));
}

#[test]
fn categories_join_replace_and_remove() {
    let settings = settings(
        "[categories]\nai = [\"llm.*\"]\nportfolio = []\nmine = [\"x\"]",
        &[("REJOIN_CATEGORIES__DATA_SYNC", "a.*,b.*")],
    );
    let category = |text: &str| {
        settings.categories.category_of(&EventType::parse(text).unwrap()).map(ToString::to_string)
    };
    assert_eq!(category("llm.done").as_deref(), Some("ai"));
    assert_eq!(category("ai.done"), None);
    assert_eq!(category("b.done").as_deref(), Some("data_sync"));
    assert_eq!(category("source.done").as_deref(), Some("import"));
    assert_eq!(category("x").as_deref(), Some("mine"));
    assert!(settings.categories.find("portfolio").is_none());
}

#[test]
fn the_listing_is_an_account_for_people() {
    let listing =
        load("[log]\nlevel = \"debug\"", &[("REJOIN_CATEGORIES__AI", "a,b")]).unwrap().listing;
    let text = listing.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), keys::all().count() + 6);
    assert!(
        lines[0].starts_with("server.listen  ")
            && lines[0].ends_with("= \"127.0.0.1:8080\"                          # default"),
        "{text}"
    );
    assert!(
        text.contains("= [\"a\", \"b\"]") && text.contains("# environment REJOIN_CATEGORIES__AI"),
        "{text}"
    );
    assert_eq!(line(&listing, "log.level").origin, Origin::File("rejoin.toml".into()));
    // Every line is TOML.
    Toml::from_str::<Dict>(&text).unwrap();
}

#[test]
#[expect(clippy::result_large_err, reason = "figment's own error, which its Jail asks for")]
fn a_process_loads_its_file_and_its_environment() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("rejoin.toml", "[server]\nlisten = \"127.0.0.1:1\"")?;
        jail.set_env("REJOIN_CONFIG", "elsewhere.toml");
        jail.set_env("REJOIN_URL", "x");
        jail.set_env("REJOIN_LOG__FORMAT", "json");
        let path = jail.directory().join("rejoin.toml");
        let settings = Settings::load(Some(&path)).map_err(|error| error.to_string())?.settings;
        assert_eq!((settings.server.listen.port(), settings.log.format), (1, LogFormat::Json));
        let missing = jail.directory().join("missing.toml");
        assert!(
            matches!(Settings::load(Some(&missing)), Err(ConfigError::Read { path, .. }) if path == missing)
        );
        assert!(Settings::load(None).is_ok());
        Ok(())
    });
}

#[test]
fn each_ready_file_chooses_its_backend_for_everything() {
    for (file, backend) in [(REDIS_FILE, Backend::Redis), (POSTGRES_FILE, Backend::Postgres)] {
        let settings = settings(file, &[]);
        assert_eq!(
            [settings.events.backend, settings.messages.backend, settings.limits.backend],
            [backend; 3]
        );
    }
}

#[test]
fn a_password_in_a_url_is_never_shown() {
    for (url, shown) in [
        ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ("redis://user:pa:s@s@host:1/2", "redis://********@host:1/2"),
        ("rediss://:pass@a,redis://b?password=pass", "rediss://********@a,redis://b?********"),
    ] {
        let loaded = load("", &[("REJOIN_REDIS__URL", url)]).unwrap();
        assert_eq!(line(&loaded.listing, "redis.url").value, format!("\"{shown}\""));
        assert_eq!(loaded.settings.redis.url.reveal(), url);
        assert!(!format!("{:?}", loaded.settings).contains("pass"));
    }
    assert!(!refusal("", &[("REJOIN_REDIS__URL", "http://user:pass@host")]).contains("pass@"));
    // Its parts can't be distinguished: the password may end with the host of that name.
    for odd in ["?", "#", "/", "\\"] {
        let message =
            refusal("", &[("REJOIN_REDIS__URL", &format!("redis://user:hush{odd}hush@host"))]);
        assert!(message.contains("percent-encoded") && !message.contains("hush"), "{message}");
    }
    for key in ["auth.jwt.jwks_url", "telemetry.otlp_endpoint"] {
        let variable = keys::variable(key);
        let loaded = load("", &[(&variable, "https://host/path?key=hush")]).unwrap();
        assert_eq!(line(&loaded.listing, key).value, "\"https://host/path?********\"");
        assert!(!format!("{:?}", loaded.settings).contains("hush"));
        let message = refusal("", &[(&variable, "https://hush:hush@host/path")]);
        assert!(
            message.contains("`https://********@host/path`")
                || message.contains("\"https://********@host/path\""),
            "{message}"
        );
        assert!(!message.contains("hush"), "{message}");
    }
}

#[test]
fn what_other_programs_write_for_a_backends_scheme_is_understood() {
    for (key, schemes, strangers) in [
        (
            "postgres.url",
            &[
                "postgres",
                "postgresql",
                "postgresql+psycopg",
                "postgresql+psycopg2",
                "postgresql+asyncpg",
                "postgres+asyncpg",
                "postgresql+pg8000",
            ][..],
            &[
                "mysql",
                "postgresql+",
                "postgres+a b",
                "mysql+psycopg",
                "jdbc:postgresql",
                "Postgres",
            ][..],
        ),
        (
            "redis.url",
            &[
                "redis",
                "rediss",
                "redis+tls",
                "redis+ssl",
                "valkey",
                "valkeys",
                "unix",
                "redis+unix",
                "valkey+unix",
            ],
            &["http", "redis+sentinel", "redis+cluster", "sentinel", "redis+"],
        ),
    ] {
        let variable = keys::variable(key);
        for scheme in schemes {
            assert!(
                load("", &[(&variable, &format!("{scheme}://u:p%40@h/0"))]).is_ok(),
                "{scheme}"
            );
        }
        for scheme in strangers {
            let message = refusal("", &[(&variable, &format!("{scheme}://u:p@h/0"))]);
            assert!(message.contains(key) && message.contains("such as"), "{scheme}: {message}");
        }
    }
}
