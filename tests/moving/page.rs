//! A page as a list of steps: each `sh` block is one, and a `text` block that follows it is its
//! whole output.
//!
//! Invariant: nothing in a page goes untried. A block of another language, an output without a
//! command before it, and a command outside of a block are errors.

use std::fs;

/// Programs that an operator calls: in a page they stand in blocks only.
const PROGRAMS: [&str; 7] =
    ["curl ", "redis-cli ", "psql ", "nginx ", "python3 ", "rejoin serve", "rejoin token"];

/// Something to do, and what it prints.
pub(crate) struct Step {
    /// Where it begins in the page.
    pub(crate) line: usize,
    pub(crate) script: String,
    pub(crate) output: Option<String>,
}

/// The steps of a page, in order; with a `heading`, those before it only.
pub(crate) fn steps(page: &str, heading: Option<&str>) -> Vec<Step> {
    let text = fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let end = heading.map_or(text.len(), |heading| {
        text.find(heading).unwrap_or_else(|| panic!("{page} has no {heading}"))
    });
    parse(page, &text[..end])
}

fn parse(page: &str, text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines().zip(1..);
    let mut may_have_output = false;
    while let Some((line, number)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            for code in line.split('`').skip(1).step_by(2) {
                assert!(
                    !PROGRAMS.iter().any(|program| code.starts_with(program)),
                    "{page}:{number}: `{code}` stands outside of a block"
                );
            }
            continue;
        };
        assert!(
            line.starts_with("```"),
            "{page}:{number}: a block begins at the beginning of its line"
        );
        let block: Vec<&str> =
            lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```").collect();
        let block = block.join("\n");
        match (language, steps.last_mut()) {
            ("sh", _) => steps.push(Step { line: number, script: block, output: None }),
            ("text", Some(step)) if may_have_output => step.output = Some(block),
            _ => panic!("{page}:{number}: a block that nothing tries"),
        }
        may_have_output = language == "sh";
    }
    steps
}

/// A text in which what is another one each time is replaced: ids of events, times, and UUIDs.
pub(crate) fn masked(text: &str) -> String {
    let belongs = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':' || c == '.';
    let mut masked = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
        if is_time(word) {
            masked.push_str("<time>");
        } else {
            masked.push_str(&word.split(':').map(masked_part).collect::<Vec<_>>().join(":"));
        }
        rest = &rest[word.len()..];
        let other = rest.find(belongs).unwrap_or(rest.len());
        masked.push_str(&rest[..other]);
        rest = &rest[other..];
    }
    masked
}

fn is_time(word: &str) -> bool {
    word.len() == 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T'
}

fn masked_part(part: &str) -> &str {
    let is_id = part.split_once('-').is_some_and(|(ms, n)| {
        ms.len() == 13 && !n.is_empty() && ms.bytes().chain(n.bytes()).all(|b| b.is_ascii_digit())
    });
    if is_id {
        "<id>"
    } else if part.len() == 36 && part.parse::<uuid::Uuid>().is_ok() {
        "<uuid>"
    } else {
        part
    }
}

#[test]
fn a_page_is_read_as_its_reader_does() {
    let steps = parse(
        "a page",
        "Do `this`:\n\n```sh\na\nb\n```\n\nIt says\n\n```text\nc\n```\n\n```sh\nd\n```\n",
    );
    let read: Vec<_> = steps
        .iter()
        .map(|step| (step.line, step.script.as_str(), step.output.as_deref()))
        .collect();
    assert_eq!(read, [(3, "a\nb", Some("c")), (14, "d", None)]);
}

#[test]
fn what_nothing_would_try_is_an_error() {
    for text in [
        "```toml\na = 1\n```",
        "```text\na\n```",
        "```sh\na\n```\n```text\na\n```\n```text\nb\n```",
        "- ```sh\n  a\n  ```",
        "`curl x`",
    ] {
        let text = text.replace("- ```", "  ```");
        assert!(std::panic::catch_unwind(|| parse("a page", &text)).is_err(), "{text}");
    }
}

#[test]
fn what_changes_each_time_is_masked() {
    let text = r#"{"id":"1795349503266-1","ts":"2026-11-22T12:11:43.266Z","topic":"user:0c9a7a34-3f0e-4f6e-9a35-6d2f1b7f0001"} 12-1 a-b"#;
    assert_eq!(masked(text), r#"{"id":"<id>","ts":"<time>","topic":"user:<uuid>"} 12-1 a-b"#);
}
