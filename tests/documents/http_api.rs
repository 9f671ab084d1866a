//! `docs/http-api.md`: it names what there is, and its examples work.

use std::collections::BTreeSet;

use rejoin::adapters::http::Code;
use rejoin_test_support::{PATIENCE, TestServer};
use serde_json::Value;
use tokio::process::Command;

use crate::documents::pages;

const PAGE: &str = "docs/http-api.md";

/// The blocks of that language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let beginning = format!("```{language}\n");
    page.split(&beginning)
        .skip(1)
        .map(|part| part.split_once("```").unwrap().0.to_owned())
        .collect()
}

/// What stands in single backticks and looks like a code: words in lower case with underscores
/// between them.
fn named(text: &str) -> BTreeSet<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect()
}

#[test]
fn each_code_is_in_the_table_and_the_table_has_no_other() {
    let page = pages::text(PAGE);
    let table = page.split_once("## All codes").unwrap().1;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = Code::ALL
        .iter()
        .map(|code| {
            format!("| `{}` | {} | {} |", code.as_str(), code.status().as_u16(), code.meaning())
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn each_code_is_named_where_it_comes_from() {
    let page = pages::text(PAGE);
    let named = named(page.split_once("## All codes").unwrap().0);
    // These come from any path, and are told in the table alone.
    let anywhere = [Code::NotFound, Code::MethodNotAllowed, Code::InternalError];
    for code in Code::ALL.iter().filter(|code| !anywhere.contains(code)) {
        assert!(named.contains(code.as_str()), "{} is named beside no call", code.as_str());
    }
}

#[test]
fn each_call_and_header_is_named() {
    let page = pages::text(PAGE);
    let description: Value = serde_json::from_str(&rejoin::adapters::http::description()).unwrap();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let call = format!("`{} {path}", method.to_uppercase());
            assert!(page.contains(&call), "{call}` is missing");
            for parameter in operation["parameters"].as_array().unwrap() {
                let name = parameter["name"].as_str().unwrap();
                assert!(
                    page.contains(&format!("`{name}`"))
                        || page.contains(&format!("{name}="))
                        || name == "id",
                    "{name} of {call}`"
                );
            }
        }
    }
}

/// All examples, one after the other in one shell, as a reader would try them. A stream is left
/// after a moment; a status of 400 or more fails.
#[tokio::test]
async fn the_examples_work() {
    let server = TestServer::start("").await;
    let page = pages::text(PAGE).replace("http://127.0.0.1:8080", &server.url(""));
    let streams_end =
        "curl() { command curl -sS --fail-with-body --max-time 2 \"$@\" || [[ $? == 28 ]]; echo; }";
    let script = format!("set -euo pipefail\n{streams_end}\n{}", blocks(&page, "sh").join("\n"));
    let running = Command::new("bash").args(["-c", &script]).kill_on_drop(true).output();
    let output =
        tokio::time::timeout(2 * PATIENCE, running).await.expect("the examples hang").unwrap();
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // That a stream was left is no complaint.
    let real_complaints: Vec<&str> =
        complaints.lines().filter(|line| !line.contains("(28)")).collect();
    assert!(output.status.success() && real_complaints.is_empty(), "{said}\n{complaints}");
    for expected in [
        ": connected",
        "stream.refused",
        "\"line\":2",
        "data: {\"type\":\"chunk\",\"text\": \"Hello\"}",
        "\"status\":\"complete\"",
    ] {
        assert!(said.contains(expected), "{expected} is missing: {said}");
    }
}
