//! The rules of the tree, as tests: who may look at whom, and what a backend has.

mod circles;
mod supply;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rejoin::adapters::config::Backend;

/// Every Rust file below a folder, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && !entry.ends_with("node_modules") && !entry.ends_with("target") {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&entry).unwrap();
                found.push((entry, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// No file of `folder` names any of these, not even in a link of its docs.
fn never_names(folder: &str, forbidden: &[&str]) {
    for (path, text) in sources(folder) {
        // A group such as `use crate::{app::.., domain::..}` names its members at the beginning of
        // a line or behind a brace.
        let lines: Vec<&str> =
            text.lines().flat_map(|line| line.split('{')).map(str::trim_start).collect();
        for name in forbidden {
            let in_group = text.contains("use crate::{")
                && lines.iter().any(|line| line.starts_with(&format!("{name}::")));
            let direct = text.contains(&format!("crate::{name}"));
            assert!(
                !direct && !in_group,
                "{} names `{name}`, which lies outward of it",
                path.display()
            );
        }
    }
}

#[test]
fn dependencies_point_inward() {
    never_names("src/domain", &["ports", "app", "adapters", "composition"]);
    never_names("src/ports", &["app", "adapters", "composition"]);
    never_names("src/app", &["adapters", "composition"]);
}

#[test]
fn the_backend_kit_knows_no_backend() {
    let others = ["auth", "config", "disk", "memory", "nats", "postgres", "redis", "http", "cli"]
        .map(|other| format!("adapters::{other}"));
    never_names(
        "src/adapters/backend_kit",
        &others.iter().map(String::as_str).chain(["app", "composition"]).collect::<Vec<_>>(),
    );
}

#[test]
fn driven_adapters_know_neither_the_application_nor_each_other() {
    let driven = ["auth", "config", "disk", "memory", "nats", "postgres", "redis"];
    for adapter in driven {
        let folder = format!("src/adapters/{adapter}");
        never_names(&folder, &["app", "composition"]);
        for other in driven.iter().chain(&["http", "cli"]).filter(|other| **other != adapter) {
            never_names(&folder, &[&format!("adapters::{other}")]);
        }
    }
}

#[test]
fn the_domain_has_no_io_no_clock_and_no_async() {
    for (path, text) in sources("src/domain") {
        let production = text.split("#[cfg(test)]").next().unwrap();
        for forbidden in [
            "tokio",
            "axum",
            "hyper",
            "reqwest",
            "async ",
            ".await",
            "Instant::now",
            "SystemTime",
            "std::net",
            "std::fs",
            "rand::",
        ] {
            let is_test = path.components().any(|part| part.as_os_str() == "tests.rs");
            assert!(
                is_test || !production.contains(forbidden),
                "{} has `{forbidden}`",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_composition_root_knows_which_backend_there_is() {
    for folder in ["src/app", "src/adapters/http"] {
        for (path, text) in sources(folder) {
            let production = text.split("#[cfg(test)]").next().unwrap();
            assert!(
                !production.contains("Memory")
                    && !production.contains("Redis")
                    && !production.contains("Postgres")
                    && !production.contains("Backend::"),
                "{} knows a backend",
                path.display()
            );
        }
    }
}

/// The steps of `docs/adding-a-backend.md`.
#[test]
fn each_backend_has_all_that_the_recipe_names() {
    let read = |path: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
    };
    for backend in Backend::ALL {
        let (name, variant) = (backend.name(), format!("Backend::{backend:?} =>"));
        let has = |path: &str, what: &str| {
            assert!(read(path).contains(what), "{name} lacks `{what}` in {path}");
        };
        has(&format!("src/adapters/{name}/mod.rs"), "//!");
        has("src/composition/backends.rs", &variant);
        has("config/default.toml", &format!("[{name}]"));
        has("tests/contract/mod.rs", &format!("mod {name}_backend:"));
        // Memory needs no server, and no page or file of its own: `rejoin serve --memory` is all.
        if backend != Backend::Memory {
            has("Cargo.toml", &format!("\n{name} = [\"dep:"));
            has("scripts/check-features", name);
            has("src/adapters/mod.rs", &format!("#[cfg(feature = \"{name}\")]"));
            has(&format!("config/{name}.toml"), &format!("[{name}]"));
            has(&format!("docs/backends/{name}.md"), "#");
            has("docs/operations/tasks.md", &format!("| `{name} "));
        }
        // What belongs to one process has no server.
        if !matches!(backend, Backend::Memory | Backend::Disk) {
            has(&format!("tests/cluster/{name}.rs"), "storm");
            has("scripts/install-test-tools", name);
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let is_tests_of_a_module = path.file_name().is_some_and(|name| name == "tests.rs");
        assert!(
            text.starts_with("//!") || is_tests_of_a_module,
            "{} has no module docs",
            path.display()
        );
    }
}

/// rustfmt holds the code to `max_width`, and leaves comments alone.
#[test]
fn no_comment_is_wider_than_the_code() {
    const WIDTH_MAX: usize = 100;
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let mut is_example = false;
        for (at, line) in text.lines().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
            let is_fence = comment.trim_start_matches(['/', '!', ' ']).starts_with("```");
            is_example ^= is_fence;
            let fits = is_example || line.chars().count() <= WIDTH_MAX;
            assert!(fits, "{}:{} is wider than {WIDTH_MAX} columns", path.display(), at + 1);
        }
    }
}
