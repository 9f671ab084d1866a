//! What the program is built of: under which licences, in how many versions, and whether anything
//! uses it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;
use spdx::{Expression, ParseMode};

use super::sources;

/// The licences that a dependency may have.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    // The certificates that Mozilla trusts.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    // Tables of the Unicode standard.
    "Unicode-3.0",
    "Zlib",
];

/// Packages that are there in more than one version, since not all that depend on them have moved
/// to the latest one.
const SEVERAL_VERSIONS: [&str; 23] = [
    "base64",
    "block-buffer",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "getrandom",
    "hashbrown",
    "rand",
    "rand_chacha",
    "rand_core",
    "reqwest",
    "sha1",
    "sha2",
    "syn",
    "thiserror",
    "thiserror-impl",
    "toml_datetime",
    "toml_edit",
    "tower",
    "tower-http",
    "untrusted",
    "winnow",
];

/// What `cargo metadata` says of the packages that are built on a platform of ours.
fn metadata() -> Value {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The packages that are built.
fn built(metadata: &Value) -> Vec<&Value> {
    let nodes: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| text(&node["id"]))
        .collect();
    let packages = metadata["packages"].as_array().unwrap();
    let built: Vec<_> =
        packages.iter().filter(|package| nodes.contains(text(&package["id"]))).collect();
    assert!(built.len() > 100, "{} packages", built.len());
    built
}

#[test]
fn every_dependency_may_be_used_under_a_licence_that_is_listed() {
    for package in built(&metadata()) {
        let (name, licence) = (text(&package["name"]), text(&package["license"]));
        // Some write `MIT/Apache-2.0`.
        let expression = Expression::parse_mode(licence, ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{name}: {licence}: {error}"));
        let is_listed = |id: spdx::LicenseId| LICENCES.contains(&id.name);
        assert!(
            expression.evaluate(|required| required.license.id().is_some_and(is_listed)),
            "{name} is under {licence}"
        );
    }
}

#[test]
fn no_dependency_is_there_in_more_versions_than_are_listed() {
    let (metadata, mut versions) = (metadata(), BTreeMap::<&str, usize>::new());
    for package in built(&metadata) {
        *versions.entry(text(&package["name"])).or_default() += 1;
    }
    let several: Vec<_> =
        versions.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
    assert_eq!(
        several, SEVERAL_VERSIONS,
        "the packages that are there in more than one version, and those that are listed"
    );
}

#[test]
fn every_dependency_is_used() {
    let metadata = metadata();
    let own = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package["source"].is_null());
    for package in own {
        let folder =
            text(&package["manifest_path"]).strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        let folder = folder.trim_start_matches('/').trim_end_matches("Cargo.toml");
        let program: String =
            sources(&format!("{folder}src")).into_iter().map(|(_, text)| text).collect();
        let tests: String = ["tests", "benches"]
            .iter()
            .filter(|_| folder.is_empty())
            .flat_map(|folder| sources(folder))
            .map(|(_, text)| text)
            .collect();
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = text(&dependency["name"]).replace('-', "_");
            let is_named = |text: &str| {
                text.contains(&format!("{name}::")) || text.contains(&format!("use {name}"))
            };
            assert!(
                is_named(&program) || text(&dependency["kind"]) == "dev" && is_named(&tests),
                "nothing uses {name}"
            );
        }
    }
}
