//! The page of README shows what is published, where it is served and the server is started as
//! README says, and only there.

use std::{path::Path, process::Stdio};

use rejoin_test_support::{TestServer, eventually, soon};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::clients::{folder::ServedFolder, script};

const README: &str = include_str!("../../README.md");

/// The first block of a language behind some words.
fn block<'a>(behind: &str, language: &str) -> &'a str {
    let rest = README.split_once(behind).unwrap_or_else(|| panic!("README has no {behind:?}")).1;
    rest.split_once(&format!("```{language}\n")).unwrap().1.split_once("```").unwrap().0
}

/// A browser that opens a page, and tells what it lists as soon as it has so many entries.
fn open(url: &str, entries: usize) -> Child {
    let mut browser = Command::new("node");
    browser.current_dir(script::directory()).arg("readme.mjs").args([url, &entries.to_string()]);
    browser.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn the_page_of_the_readme_follows_as_it_says() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-page");
    std::fs::create_dir_all(&folder).unwrap();
    let site = ServedFolder::start(&folder).await;
    let start = block(
        "Serve that folder to yourself (`python3 -m http.server 8000 --bind 127.0.0.1`)",
        "sh",
    );
    let origins =
        start.split_once("REJOIN_SERVER__CORS_ORIGINS=").unwrap().1.split_once(' ').unwrap().0;
    assert_eq!(origins, "http://localhost:8000", "no other origin is recommended");
    let server = TestServer::start(&format!("server.cors_origins = [\"{}\"]", site.origin())).await;
    let page = block("Save this as `page.html`", "html");
    assert!(page.contains("http://127.0.0.1:8080/"));
    std::fs::write(
        folder.join("page.html"),
        page.replace("http://127.0.0.1:8080", &server.url("")),
    )
    .unwrap();

    let browser = open(&format!("{}/page.html", site.origin()), 1);
    eventually("the page follows", async || server.connections() == 1).await;
    server.publish("greeting", json!({ "text": "hello" })).await;
    let output = soon("the page's list", browser.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed.last().unwrap()["payload"], json!({ "text": "hello" }), "{listed:?}");
}
