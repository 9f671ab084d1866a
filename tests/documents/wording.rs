//! What users and operators read is said in the field's words: the pages, the API's description,
//! the settings, the console, and the texts of errors, logs and metrics.

use std::{ffi::OsStr, fs, path::Path};

/// Words for *notified*, *returned*, *unknown*, *no client* and the like, which a reader would have
/// to translate.
const WORDS: [&str; 8] =
    ["told", "tells", "telling", "nobody", "somebody", "whoever", "heed", "in vain"];

#[test]
fn public_texts_are_in_the_fields_words() {
    let mut found = Vec::new();
    for file in ["README.md", "docs/openapi.json", "config/default.toml"] {
        look(Path::new(file), &mut found);
    }
    look_into(Path::new("docs"), &["md"], &mut found);
    look_into(Path::new("src/adapters/http/console/page"), &["html"], &mut found);
    look_into(Path::new("src"), &["rs"], &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_word_is_found_where_it_stands_alone() {
    assert_eq!(words_in("A client is Told, and goes on."), ["told"]);
    assert_eq!(words_in("waits in vain"), ["in vain"]);
    assert!(words_in("untold, retells, `tell`").is_empty());
    assert_eq!(literals(r#"say("a b", "one", 'c', "d \" e"); // "f g""#), ["a b", "d \\\" e"]);
}

fn look_into(folder: &Path, extensions: &[&str], found: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let name = entry.unwrap().file_name();
        let path = folder.join(&name);
        // What was decided once is history.
        if root().join(&path).is_dir() && name != "decisions" {
            look_into(&path, extensions, found);
        } else if extensions
            .iter()
            .any(|extension| path.extension().is_some_and(|e| e == *extension))
        {
            look(&path, found);
        }
    }
}

fn look(path: &Path, found: &mut Vec<String>) {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let is_code = path.extension().is_some_and(|extension| extension == "rs");
    let texts = if is_code { production_literals(path, &text) } else { vec![text] };
    for text in texts {
        for word in words_in(&text) {
            let line = text.lines().find(|line| words_in(line).contains(&word)).unwrap_or(&text);
            found.push(format!("{}: `{word}` in: {line}", path.display()));
        }
    }
}

fn words_in(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    let stands_alone = |word: &str| {
        text.match_indices(word).any(|(at, _)| {
            !text[..at].ends_with(is_letter) && !text[at + word.len()..].starts_with(is_letter)
        })
    };
    WORDS.into_iter().filter(|word| stands_alone(word)).collect()
}

/// The texts of a file's production code that are more than one word.
fn production_literals(path: &Path, text: &str) -> Vec<String> {
    let is_of_tests = |part: &OsStr| {
        let part = part.to_string_lossy();
        let part = part.trim_end_matches(".rs");
        part.ends_with("tests") || part == "properties"
    };
    if path.iter().any(is_of_tests) {
        return Vec::new();
    }
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = production.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(literals).collect()
}

/// The string literals of a line that have a space in them.
fn literals(line: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('"') {
        if before.contains("//") && !before.contains("://") {
            break;
        }
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (literal, behind) = match end {
            Some(end) => (&after[..end], &after[end + 1..]),
            // It goes on in the next line.
            None => (after, ""),
        };
        if literal.contains(' ') {
            literals.push(literal.to_owned());
        }
        rest = behind;
    }
    literals
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
