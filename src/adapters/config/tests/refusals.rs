//! What is refused, and that it is said without giving a secret away.

use std::os::unix::ffi::OsStringExt;

use super::*;

/// What is refused of a file and an environment says all of this.
fn assert_refused(text: &str, environment: &[(&str, &str)], parts: &[&str]) {
    let message = refusal(text, environment);
    for part in parts {
        assert!(message.contains(part), "{text:?} {environment:?}: no {part:?} in {message}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place_and_what_is_allowed() {
    for (text, parts) in [
        (
            "[evnts]",
            vec!["`evnts`", "did you mean `events`", "file rejoin.toml", "server, sse, events"],
        ),
        (
            "[sse]\nkeepalive_secs = 1",
            vec!["`sse.keepalive_secs`", "did you mean `sse.keepalive_seconds`", "retry_ms"],
        ),
        ("\"server.listen\" = \"127.0.0.1:1\"", vec!["`\"server.listen\"` (file", "not a setting"]),
        ("[categories]\nBad = []", vec!["`categories.Bad`", "a-z"]),
        ("sse = 1", vec!["`sse`", "a table"]),
        ("[sse\n", vec!["file rejoin.toml", "line 1"]),
        ("\n[sse]\nretry_ms = 1\nretry_ms = 2", vec!["line 4"]),
        (
            "[sse]\nkeepalive_seconds = 0",
            vec!["`sse.keepalive_seconds` is 0", "file rejoin.toml", "1 to 3600"],
        ),
        ("[sse]\npush_enabled = 1", vec!["`sse.push_enabled` is 1", "true or false"]),
        (
            "[sse]\npush_enabled = \"t\"",
            vec!["`sse.push_enabled` is \"t\"", "file rejoin.toml", "must be true or false"],
        ),
        ("[sse]\npush_enabled = yes", vec!["file rejoin.toml, line 2", "true", "false"]),
        ("[auth.jwt]\nrequire_exp = 0", vec!["`auth.jwt.require_exp` is 0", "true or false"]),
        (
            "[events]\nbackend = \"floppy\"",
            vec!["`events.backend` is \"floppy\"", "\"memory\", \"disk\", \"redis\""],
        ),
        (
            "[limits]\nbackend = \"disk\"",
            vec!["`limits.backend` is \"disk\"", "\"memory\", \"redis\""],
        ),
        ("[server]\nlisten = \"localhost:1\"", vec!["\"localhost:1\"", "IP address and a port"]),
        ("[server]\ncors_origins = [\"*\", \"http://a\"]", vec!["`server.cors_origins`", "alone"]),
        ("[server]\ncors_origins = [\"http://a/\"]", vec!["without a path"]),
        ("[log]\nlevel = \"info,=,\"", vec!["`log.level`", "directives"]),
        ("[log]\nlevel = \"inof\"", vec!["`log.level` is \"inof\""]),
        ("[log]\nlevel = \"\"", vec!["`log.level` is \"\""]),
        ("[auth]\ncookie = \"a b\"", vec!["`auth.cookie` is \"a b\"", "name of a cookie"]),
        ("[auth.jwt]\njwks_url = \"file:///x\"", vec!["`auth.jwt.jwks_url`", "https://"]),
        ("[auth.jwt]\njwks_url = \"https://a:b@c/\"", vec!["without user and password"]),
        ("[categories]\nai = [\"*x\"]", vec!["`categories.ai`", "followed by `*`"]),
        (
            "[categories]\nmine = [\"ai.*\"]",
            vec!["`ai.*`", "ai: default", "mine: file rejoin.toml"],
        ),
    ] {
        assert_refused(text, &[], &parts);
    }
}

#[test]
fn what_is_wrong_in_the_environment_is_named_with_its_variable() {
    for (environment, parts) in [
        (vec![("REJOIN_events__backend", "memory")], vec!["did you mean `REJOIN_EVENTS__BACKEND`"]),
        (vec![("REJOIN___", "x")], vec!["environment REJOIN___"]),
        (
            vec![("SSE_KEEPALIVE_SECONDS", "-1"), ("REJOIN_SSE__KEEPALIVE_SECONDS", "1")],
            vec!["is \"-1\"", "environment SSE_KEEPALIVE_SECONDS"],
        ),
        (
            vec![("ENABLE_SSE_PUSH", "maybe")],
            vec!["\"maybe\"", "true or false (or t, yes, y, on, 1; f, no, n, off, 0)"],
        ),
    ] {
        assert_refused("", &environment, &parts);
    }
}

#[test]
fn what_is_wrong_with_a_publishers_key_is_named_without_showing_it() {
    let key = |fields: &str| format!("[[auth.keys]]\n{fields}");
    for (text, parts) in [
        (key("name = \"a\""), vec!["`auth.keys[0]`", "without `sha256`"]),
        (
            key("name = \"a\"\nsha256 = \"ab\"\nscopes = [\"admin\"]"),
            vec!["`auth.keys[0].sha256` is ********", "64 hex"],
        ),
        (
            key(&format!("name = \"a\"\nsha256 = \"{HASH}\"\nscopes = [\"root\"]")),
            vec!["scopes` is [\"root\"]", "events:publish, messages:publish, messages:read, admin"],
        ),
        (
            key(
                "name = \"a\"\nsha256 = \"E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nscopes = [\"admin\"]",
            ),
            vec!["`auth.keys[0].sha256` is ********", "of the empty text"],
        ),
        (key("nam = \"a\""), vec!["`auth.keys[0].nam`", "did you mean `name`", "sha256"]),
    ] {
        assert_refused(&text, &[], &parts);
    }
}

#[test]
fn a_publishers_key_is_known_by_64_hexadecimal_digits_only() {
    let load = |sha256: &str| {
        let scopes = "scopes = [\"admin\"]";
        load(&format!("[[auth.keys]]\nname = \"a\"\nsha256 = \"{sha256}\"\n{scopes}"), &[])
    };
    let text = "2C26B46B68FFC68FF99B453C1D30413413422d706483bfa0f98a5e886266e7ae";
    let digest = load(text).unwrap().settings.auth.keys.remove(0).sha256;
    assert_eq!(hex::encode(digest), text.to_lowercase());
    for wrong in [
        "",
        "2c",
        &text[1..],
        &format!("{text}00"),
        &format!("+{}", &text[1..]),
        &"é".repeat(32),
        &"g".repeat(64),
    ] {
        let message = load(wrong).unwrap_err().to_string();
        assert!(message.contains("64 hexadecimal digits"), "{wrong}: {message}");
    }
}

#[test]
fn rules_between_keys() {
    let secret =
        "[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"01234567890123456789012345678901\"\n";
    let twice = format!(
        "[auth]\nkeys = [{0}, {0}]",
        format_args!("{{ name = \"a\", sha256 = \"{HASH}\", scopes = [\"admin\"] }}")
    );
    for (text, refused) in [
        ("[server]\nlisten = \"0.0.0.0:1\"", Some("auth.allow_insecure")),
        ("[server]\nlisten = \"0.0.0.0:1\"\n[auth]\nallow_insecure = true", None),
        ("[server]\nlisten = \"[::1]:1\"", None),
        (
            "[server]\nops_listen = \"0.0.0.0:1\"",
            Some("`server.ops_listen` is \"0.0.0.0:1\" (file rejoin.toml), which others"),
        ),
        ("[server]\nops_listen = \"[::]:1\"", Some("`server.ops_listen` to a loopback address")),
        ("[server]\nops_listen = \"192.0.2.1:1\"\n[auth]\nallow_insecure = true", None),
        ("[server]\nops_listen = \"127.0.0.2:1\"", None),
        (&format!("{secret}[server]\nlisten = \"0.0.0.0:1\"\nops_listen = \"0.0.0.0:2\""), None),
        ("[server]\nlisten = \"[::ffff:127.0.0.1]:1\"", None),
        ("[auth]\nmode = \"jwt\"", Some("none is set")),
        (secret, None),
        (
            &format!("{secret}jwks_file = \"x\""),
            Some(
                "`auth.jwt.secret` (file rejoin.toml) and `auth.jwt.jwks_file` (file rejoin.toml) are set",
            ),
        ),
        (&format!("{secret}algorithms = [\"HS256\"]"), None),
        (&format!("{secret}algorithms = [\"HS256\", \"RS256\"]"), Some("RS256")),
        (
            "[auth]\nmode = \"jwt\"\n[auth.jwt]\njwks_url = \"https://a/b\"\nalgorithms = [\"HS256\"]",
            Some("HS256"),
        ),
        (
            "[auth]\nmode = \"jwt\"\n[auth.jwt]\npublic_key_file = \"x\"\nalgorithms = [\"EdDSA\", \"ES256\"]",
            None,
        ),
        (&twice, Some("two keys")),
    ] {
        match (load(text, &[]), refused) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => {
                assert!(error.to_string().contains(part), "{text}: {error}");
            }
            (result, _) => unreachable!("{text}: {:?}", result.map(|_| ())),
        }
    }
}

#[test]
fn a_secret_that_can_be_guessed_stops_the_start_unless_that_is_set() {
    let jwt = |secret: &str, more: &str| {
        format!("[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"{secret}\"\n{more}")
    };
    let allow = "allow_weak_secret = true";
    for (secret, why) in [
        ("changeme", "32 bytes"),
        (&"x".repeat(64), "8 different"),
        (&"password".repeat(4), "8 different"),
    ] {
        let message = refusal(&jwt(secret, ""), &[]);
        let parts = [
            "`auth.jwt.secret` (file rejoin.toml)",
            why,
            "`auth.jwt.allow_weak_secret`",
            "rejoin token secret",
        ];
        assert!(
            parts.iter().all(|part| message.contains(part)) && !message.contains(secret),
            "{message}"
        );
        let loaded = load(&jwt(secret, allow), &[]).unwrap();
        assert_eq!(loaded.settings.auth.jwt.secret.unwrap().reveal(), secret);
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        assert!(
            warning.contains(why)
                && warning.contains("auth.jwt.allow_weak_secret")
                && !warning.contains(secret),
            "{warning}"
        );
        // In mode `none` it signs tokens for other servers.
        assert!(refusal(&format!("[auth.jwt]\nsecret = \"{secret}\""), &[]).contains(why));
    }
    for blank in [" ", &" ".repeat(64), "\\t\\t", "\\n\\n"] {
        let message = refusal(&jwt(blank, allow), &[]);
        assert!(
            message.contains("`auth.jwt.secret` is ********") && message.contains("not blank"),
            "{message}"
        );
    }
    assert!(refusal(&jwt("", allow), &[]).contains("none is set"));
    assert_eq!(
        load(&jwt("01234567890123456789012345678901", allow), &[]).unwrap().warnings,
        [""; 0]
    );
}

#[test]
fn what_mode_none_ignores_or_opens_to_every_page_is_warned_of_once() {
    let jwt = "issuer = \"i\"\nsecret = \"01234567890123456789012345678901\"";
    let keys = format!("keys = [{{ name = \"ci\", sha256 = \"{HASH}\", scopes = [\"admin\"] }}]");
    let text = format!("[auth]\ncookie = \"session\"\n{keys}\n[auth.jwt]\n{jwt}");
    let warnings = load(&text, &[("REJOIN_AUTH__JWT__LEEWAY_SECONDS", "9")]).unwrap().warnings;
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    for part in [
        "`auth.mode` is \"none\"",
        "`auth.cookie` (file rejoin.toml)",
        "`auth.keys` (file rejoin.toml)",
        "`auth.jwt.secret` (file rejoin.toml)",
        "`auth.jwt.issuer` (file rejoin.toml)",
        "`auth.jwt.leeway_seconds` (environment REJOIN_AUTH__JWT__LEEWAY_SECONDS)",
    ] {
        assert!(warning.contains(part), "no {part} in {warning}");
    }
    assert!(
        !warning.contains("0123456789")
            && !warning.contains(HASH)
            && !warning.contains("auth.jwt.audience"),
        "{warning}"
    );
    assert_eq!(
        load(&format!("[auth]\nmode = \"jwt\"\n{keys}\n[auth.jwt]\n{jwt}"), &[]).unwrap().warnings,
        [""; 0]
    );

    let every = "[server]\ncors_origins = [\"*\"]\n";
    let warnings = load(every, &[]).unwrap().warnings;
    assert!(
        matches!(&*warnings, [one] if one.contains("`server.cors_origins` is [\"*\"] (file rejoin.toml)")),
        "{warnings:?}"
    );
    for quiet in [
        format!("{every}[auth]\nmode = \"jwt\"\n[auth.jwt]\n{jwt}"),
        "[server]\ncors_origins = [\"http://a\"]".to_owned(),
    ] {
        assert_eq!(load(&quiet, &[]).unwrap().warnings, [""; 0], "{quiet}");
    }
    assert_eq!(load("", &[]).unwrap().warnings, [""; 0]);
}

#[test]
fn no_secret_is_shown() {
    let secret = "very-secret-very-secret-very-secret";
    let file =
        format!("[auth]\nkeys = [{{ name = \"ci\", sha256 = \"{HASH}\", scopes = [\"admin\"] }}]");
    let loaded = load(&file, &[("REJOIN_AUTH__JWT__SECRET", secret)]).unwrap();
    let listing = loaded.listing.to_string();
    assert!(
        !listing.contains(secret)
            && !listing.contains(HASH)
            && !format!("{loaded:?}").contains(secret),
        "{listing}"
    );
    assert_eq!(line(&loaded.listing, "auth.jwt.secret").value, "\"********\"");
    assert_eq!(line(&load("", &[]).unwrap().listing, "auth.jwt.secret").value, "\"\"");
    for message in [
        refusal("", &[("REJOIN_AUTH__JWT__SECRET", "too-short-secret")]),
        refusal("[auth.jwt]\nsecret = \"too-short-secret\"", &[]),
        refusal("[auth.jwt]\nsecret = \"too-short-secret", &[]),
        refusal("", &[("REJOIN_AUTH__KEYS", "too-short-secret")]),
    ] {
        assert!(!message.contains("too-short"), "{message}");
    }
}

#[test]
fn what_is_not_utf8_stops_the_start_only_where_it_is_ours() {
    let bad = || OsString::from_vec(vec![0xff]);
    let with_bad_name = |prefix: &str| OsString::from_vec([prefix.as_bytes(), &[0xff]].concat());
    for (name, value, refused) in [
        (OsString::from("PATH"), bad(), false),
        (bad(), bad(), false),
        (OsString::from("REJOIN_TOKEN"), bad(), false),
        (OsString::from("REJOIN_LOG__LEVEL"), bad(), true),
        (OsString::from("ENABLE_SSE_PUSH"), bad(), true),
        (with_bad_name("REJOIN_LOG__"), OsString::from("x"), true),
        (with_bad_name("REJOIN_"), OsString::from("x"), false),
    ] {
        let result = assemble(None, [(name.clone(), value)]);
        assert_eq!(
            matches!(result, Err(ConfigError::NotUtf8 { .. })),
            refused,
            "{}",
            name.display()
        );
        assert_eq!(result.is_ok(), !refused);
    }
}
