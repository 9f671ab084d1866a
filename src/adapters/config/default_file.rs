//! `config/default.toml`, printed from the declared sections.

use super::{
    allowed::Allowed,
    keys::{self, CATEGORIES, ROUTES},
    section::{Key, Section},
};

/// What the file says of itself.
pub(super) const INTRODUCTION: &str = "\
Every setting of Rejoin, with its default. This file is compiled in: copy only the lines that you want to change.

Each of these overrides the one before:
  1. this file;
  2. a file of yours, given by `--config` or REJOIN_CONFIG;
  3. environment variables: REJOIN_, then the key in capitals, with two underscores for each dot:
     `events.backend` is REJOIN_EVENTS__BACKEND, `auth.jwt.secret` is REJOIN_AUTH__JWT__SECRET.
     A few keys have a second, older name, given below; where both are set, the REJOIN_ one wins.

In the environment a text is taken as it is, without quotes, but for one line end at its end, as secrets have that were
made of files; true, t, yes, y, on and 1 mean true, and false, f, no, n, off and 0 mean false, in any case; a list is
written with commas (`a,b`) or as TOML (`[\"a\", \"b\"]`). An empty variable counts as not set.

An unknown key or a bad value stops the start. A variable that begins with REJOIN_ and has no two underscores, as
Kubernetes makes for each service, is warned of. `rejoin config` prints what is in force, and where it came from.
";

/// A route, as one stands in a file.
pub(super) const ROUTE_EXAMPLE: &str = "\
[[routes]]
path = \"/api/chat/{id}/stream\"
profile = \"ai-sdk\"
";

/// The file: every key with its default, what it does and what it may be.
pub fn default_file() -> String {
    let mut lines: Vec<String> = INTRODUCTION.lines().map(comment).collect();
    for Section { name, about, keys } in keys::SECTIONS.iter().chain([&CATEGORIES]) {
        lines.push(String::new());
        lines.extend(about.iter().map(|line| comment(line.trim())));
        lines.push(format!("[{name}]"));
        for key in *keys {
            lines.extend(described(key).iter().map(|line| comment(line)));
            lines.push(format!("{} = {}", key.name_in(name), key.default));
        }
    }
    // A list of tables can't be empty in this form, so that it stands here as a comment.
    lines.push(String::new());
    lines.extend(ROUTES.about.iter().map(|line| comment(line)));
    lines.extend(ROUTE_EXAMPLE.lines().map(comment));
    lines.join("\n") + "\n"
}

/// What a key does, and at the end its bounds and its older name.
fn described(key: &Key) -> Vec<String> {
    let mut lines: Vec<String> = key.about.iter().map(|line| line.trim().to_owned()).collect();
    if let Some(last) = lines.last_mut() {
        let text = last.trim_end_matches('.');
        let bounds = match key.allowed {
            Allowed::Number { min, max } => format!("; {min} to {max}"),
            _ => String::new(),
        };
        let legacy = key.legacy.map(|legacy| format!(" Also {legacy}.")).unwrap_or_default();
        *last = format!("{text}{bounds}.{legacy}");
    }
    lines
}

fn comment(line: &str) -> String {
    if line.is_empty() { "#".to_owned() } else { format!("# {line}") }
}
