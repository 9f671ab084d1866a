//! What the pages name exists: calls, metrics, settings and commands.

use std::{collections::BTreeSet, fs, process::Command};

use rejoin::app::signals::METRICS;
use serde_json::Value;

use crate::documents::pages;

/// The pages that people read, by their path. Decisions tell of their own time.
fn pages_for_people() -> Vec<(String, String)> {
    let mut found = vec!["README.md".to_owned()];
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(pages::path(&folder)).unwrap().map(Result::unwrap) {
            let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() && !path.ends_with("decisions") {
                folders.push(path);
            } else if entry.path().extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
        .into_iter()
        .map(|path| (pages::text(&path), path))
        .map(|(text, path)| (path, text))
        .collect()
}

/// Calls of the applications that move here: their pages name them too.
const CALLS_OF_OTHERS: [&str; 3] = ["/api/generate_token", "/api/health", "/api/v1/sessions"];

/// The paths of the routes that the pages configure.
fn configured_routes() -> Vec<String> {
    let of_page = |(_, text): (String, String)| {
        let paths = text.split("path = \"").skip(1).filter_map(|rest| rest.split('"').next());
        paths.map(str::to_owned).collect::<Vec<_>>()
    };
    pages_for_people().into_iter().flat_map(of_page).collect()
}

/// All words of a text that begin so, as far as their characters go.
fn words<'a>(
    text: &'a str,
    beginning: &'a str,
    goes_on: impl Fn(char) -> bool + Copy + 'a,
) -> impl Iterator<Item = &'a str> {
    text.match_indices(beginning).filter_map(move |(at, _)| {
        let stands_alone = !text[..at]
            .ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/' || c == '.');
        let rest = &text[at..];
        stands_alone.then(|| rest.split_once(|c| !goes_on(c)).map_or(rest, |(word, _)| word))
    })
}

#[test]
fn each_call_is_described() {
    let description: Value = serde_json::from_str(&rejoin::adapters::http::description()).unwrap();
    let known: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    let goes_on = |c: char| c.is_ascii_alphanumeric() || "/-_{}<>$".contains(c);
    let routes = configured_routes();
    for (page, text) in pages_for_people() {
        // Behind a server's URL, by itself, or as a pattern of nginx.
        let text = text
            .replace("$URL/", " /")
            .replace(":8080/", " /")
            .replace("[^/]+/events$", "{id}/events");
        for path in words(&text, "/api/", goes_on) {
            let fits = |known: &&String| {
                let (known, path): (Vec<&str>, Vec<&str>) =
                    (known.split('/').collect(), path.trim_end_matches('/').split('/').collect());
                known.len() == path.len()
                    && known
                        .iter()
                        .zip(&path)
                        .all(|(known, part)| known == part || *known == "{id}")
            };
            let is_anothers = page.starts_with("docs/moving/") && CALLS_OF_OTHERS.contains(&path);
            let is_of_a_route = routes.iter().any(|route| {
                route
                    .strip_prefix(path.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            let is_known = known.iter().any(fits);
            assert!(is_anothers || is_of_a_route || is_known, "{page} names {path}");
        }
    }
}

#[test]
fn each_metric_is_there() {
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    for (page, text) in pages_for_people() {
        for name in words(&text, "rejoin_", |c| c.is_ascii_lowercase() || c == '_') {
            assert!(known.contains(name.trim_end_matches("_bucket")), "{page} names {name}");
        }
    }
}

#[test]
fn each_setting_is_there() {
    let table = rejoin::adapters::config::reference();
    let known: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    let sections: BTreeSet<&str> =
        known.iter().filter_map(|key| key.split_once('.')).map(|(section, _)| section).collect();
    for (page, text) in pages_for_people() {
        for section in &sections {
            // In code alone: a sentence may end in the name of a section.
            let code: String = text.split('`').skip(1).step_by(2).collect::<Vec<_>>().join("\n");
            for key in words(&code, &format!("{section}."), |c| {
                c.is_ascii_lowercase() || "._*".contains(c)
            }) {
                let is_other =
                    [".toml", ".json", ".md", ".rs", ".com"].iter().any(|end| key.ends_with(end));
                let beginning = key.strip_suffix('*').unwrap_or(key).trim_end_matches('.');
                // Types of events look like settings: these are in no section of their own.
                let is_type =
                    key.ends_with(".*") && known.iter().all(|known| !known.starts_with(beginning));
                assert!(
                    is_other || is_type || known.iter().any(|known| known.starts_with(beginning)),
                    "{page} names {key}"
                );
            }
        }
    }
}

#[test]
fn each_command_and_flag_is_there() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_rejoin"))
            .args(arguments)
            .arg("--help")
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    for (page, text) in pages_for_people() {
        let text = text.replace("cargo run --release -- ", "rejoin ");
        for (at, _) in text.match_indices("rejoin ") {
            let is_command = text[..at].ends_with(['`', '(', '\n', ' ', '$'])
                && !text[..at].ends_with("proxy_pass ");
            let end = text[at..]
                .find(['`', '\n', '|', ')', '#', '&', '$'])
                .map_or(text.len(), |length| at + length);
            let words: Vec<&str> = text[at..end].split_whitespace().skip(1).collect();
            let Some(command) = words
                .first()
                .filter(|word| is_command && word.bytes().all(|b| b.is_ascii_lowercase()))
            else {
                continue;
            };
            // "rejoin" is a verb as well, and how connections to a backend are called.
            if !["serve", "config", "journal", "tail", "publish", "pipe", "token"].contains(command)
            {
                assert!(
                    page.starts_with("docs/backends/") || !text[..at].ends_with(['`', '$']),
                    "{page} names `rejoin {command}`"
                );
                continue;
            }
            let (is_there, said) = help(&[command]);
            assert!(is_there, "{page} names `rejoin {command}`");
            for flag in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                let flag = flag.split('=').next().unwrap().trim_end_matches(['"', ',', '.']);
                assert!(said.contains(flag), "{page} names {flag} of `rejoin {command}`");
            }
        }
    }
}
