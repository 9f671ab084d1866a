//! All settings as a page for people, printed from the declared sections.

use std::fmt::Write as _;

use super::{
    default_file,
    keys::{self, CATEGORIES, ROUTES},
    section::Key,
};

/// On a page of its own, "this file" would be another.
const FILE: &str = "`config/default.toml`";

/// The page, in Markdown.
pub fn reference() -> String {
    let introduction =
        default_file::INTRODUCTION.replace("This file", FILE).replace("this file", FILE);
    let mut page = format!(
        "# Settings\n\nGenerated from the sections that `src/adapters/config/settings.rs` and `auth.rs` declare, as is\n\
        [config/default.toml](../config/default.toml); to renew both: `RENEW_DOCS=1 cargo test --test repository`. `rejoin config`\n\
        shows what is in force, and where each value came from.\n\n{introduction}"
    );
    for section in keys::SECTIONS.iter().chain([&CATEGORIES]) {
        // Writing to a string can't fail.
        let _ = write!(page, "\n## `[{}]`\n\n", section.name);
        for line in section.about {
            let _ = writeln!(page, "{}", line.trim());
        }
        let gap = if section.about.is_empty() { "" } else { "\n" };
        let _ = write!(
            page,
            "{gap}| key | default | allowed | environment | what it does |\n| --- | --- | --- | --- | --- |\n"
        );
        for key in section.keys {
            row(&mut page, key);
        }
    }
    let _ = write!(page, "\n## `[[{}]]`\n\n", ROUTES.name);
    for line in ROUTES.about {
        let _ = writeln!(page, "{line}");
    }
    let _ = write!(page, "\n```toml\n{}```\n", default_file::ROUTE_EXAMPLE);
    page
}

fn row(page: &mut String, Key { name, legacy, default, about, allowed }: &Key) {
    let legacy = legacy.map(|legacy| format!(", `{legacy}`")).unwrap_or_default();
    let variables = format!("`{}`{legacy}", keys::variable(name));
    let about: Vec<&str> = about.iter().map(|line| line.trim()).collect();
    let cells = [
        format!("`{name}`"),
        format!("`{default}`"),
        allowed.to_string(),
        variables,
        about.join(" "),
    ];
    let _ = writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_row_that_says_something() {
        let page = reference();
        for key in keys::all() {
            let row =
                page.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name))).unwrap();
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(
                cells.len() >= 5
                    && cells.iter().all(|cell| !cell.trim_matches(['|', ' ']).is_empty()),
                "{row}"
            );
            if let Some(legacy) = key.legacy {
                assert!(cells[3].contains(legacy) && !cells[4].contains(legacy), "{row}");
            }
        }
    }
}
