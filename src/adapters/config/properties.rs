//! Whatever a file or an environment holds, it is settings or an error: never a panic.

use std::{ffi::OsString, path::Path};

use proptest::prelude::*;

use super::{assemble, keys};

/// Names that mean something, and names that don't.
fn name() -> impl Strategy<Value = String> {
    let known: Vec<String> = keys::all()
        .flat_map(|key| key.name.split('.').chain([key.name]))
        .chain([
            "categories",
            "name",
            "sha256",
            "scopes",
            "x",
            "\"\"",
            "\"server.listen\"",
            "\"\\u0000\"",
        ])
        .map(str::to_owned)
        .collect();
    prop_oneof![9 => proptest::sample::select(known), 1 => "[a-zA-Z_.]{1,12}"]
}

fn key(index: prop::sample::Index) -> &'static str {
    index.get(&keys::all().collect::<Vec<_>>()).name
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        Just("true".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        "\"[ -!#-\\[\\]-~]{0,40}\"",
        "'[0-9a-f]{64}'",
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec((name(), inner), 0..3).prop_map(|fields| {
                let fields: Vec<String> =
                    fields.into_iter().map(|(name, value)| format!("{name} = {value}")).collect();
                format!("{{ {} }}", fields.join(", "))
            }),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (name(), value()).prop_map(|(name, value)| format!("{name} = {value}")),
        1 => name().prop_map(|name| format!("[{name}]")),
        1 => name().prop_map(|name| format!("[[{name}]]")),
    ]
}

fn load(text: &str, environment: Vec<(String, String)>) {
    let environment =
        environment.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match assemble(Some((Path::new("arbitrary.toml"), text)), environment) {
        Ok(loaded) => assert!(!loaded.listing.to_string().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #[test]
    fn any_text_is_settings_or_an_error(text in "(?s).{0,200}") {
        load(&text, Vec::new());
    }

    #[test]
    fn any_toml_is_settings_or_an_error(lines in proptest::collection::vec(line(), 0..4)) {
        load(&lines.join("\n"), Vec::new());
    }

    #[test]
    fn any_value_of_any_key_is_settings_or_an_error(index in any::<prop::sample::Index>(), value in value()) {
        load(&format!("{} = {value}", key(index)), Vec::new());
    }

    #[test]
    fn any_environment_is_settings_or_an_error(name in "REJOIN_[A-Z_]{0,20}", index in any::<prop::sample::Index>(), value in prop_oneof![value(), "(?s).{0,40}"]) {
        load("", vec![(name, value.clone())]);
        load("", vec![(keys::variable(key(index)), value)]);
    }
}
