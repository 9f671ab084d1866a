//! All settings as a page for people, from `config/default.toml` and the table of keys.
//!
//! Invariant: the page has no word of its own about a key: what it does is the comment above it in `config/default.toml`,
//! which a test holds together with the table.

use std::fmt::Write as _;

use super::{keys, layer::DEFAULT};

const INTRODUCTION: &str = "# Settings

Generated from [config/default.toml](../config/default.toml) and the table of keys in `src/adapters/config/keys.rs`; to renew it:
`RENEW_DOCS=1 cargo test --test repository`. `rejoin config` shows what is in force, and where each value came from.
";

const FILE: &str = "`config/default.toml`";

/// A part of `config/default.toml`: a section, or what stands before the first.
#[derive(Default)]
struct Section<'a> {
    name: &'a str,
    comment: Vec<&'a str>,
    settings: Vec<Described<'a>>,
}

/// A line that sets a key.
struct Described<'a> {
    name: &'a str,
    value: &'a str,
    comment: Vec<&'a str>,
}

/// The page, in Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections(DEFAULT) {
        if !section.name.is_empty() {
            // Writing to a string can't fail.
            let _ = write!(page, "\n## `[{}]`\n", section.name);
        }
        if !section.comment.is_empty() {
            // On a page of its own, "this file" would be another.
            let comment = section.comment.join("\n").replace("This file", FILE).replace("this file", FILE);
            let _ = write!(page, "\n{comment}\n");
        }
        if section.settings.is_empty() {
            continue;
        }
        page.push_str("\n| key | default | allowed | environment | what it does |\n| --- | --- | --- | --- | --- |\n");
        for setting in &section.settings {
            row(&mut page, section.name, setting);
        }
    }
    page
}

fn row(page: &mut String, section: &str, Described { name, value, comment }: &Described<'_>) {
    let key = format!("{section}.{name}");
    let legacy = keys::KEYS.iter().find(|known| known.name == key).and_then(|known| known.legacy);
    let allowed = keys::allowed(&key).map(ToString::to_string).unwrap_or_default();
    let mut variables = format!("`{}`", keys::variable(&key));
    let mut comment = comment.join(" ");
    if let Some(legacy) = legacy {
        let _ = write!(variables, ", `{legacy}`");
        comment = comment.replace(&format!(" Also {legacy}."), "");
    }
    let cells = [format!("`{key}`"), format!("`{value}`"), allowed, variables, comment];
    let _ = writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
}

/// Reads the file line by line. Comments belong to what stands right below them; those before a blank line to the part.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections = vec![Section::default()];
    let mut comment = Vec::new();
    for line in text.lines() {
        let Some(section) = sections.last_mut() else { break };
        if let Some(words) = line.strip_prefix('#') {
            comment.push(words.strip_prefix(' ').unwrap_or(words));
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push(Section { name, comment: std::mem::take(&mut comment), settings: Vec::new() });
        } else if let Some((name, value)) = line.split_once(" = ") {
            section.settings.push(Described { name, value, comment: std::mem::take(&mut comment) });
        } else {
            section.comment.append(&mut comment);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_row_that_says_something() {
        let page = reference();
        for key in keys::KEYS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name))).unwrap();
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(cells.len() >= 5 && cells.iter().all(|cell| !cell.trim_matches(['|', ' ']).is_empty()), "{row}");
            if let Some(legacy) = key.legacy {
                assert!(cells[3].contains(legacy) && !cells[4].contains(legacy), "{row}");
            }
        }
    }
}
