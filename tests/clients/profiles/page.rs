//! The page about clients names each client here, with the version that is tried.

use crate::clients::table::versions::Package;

const CLIENTS: [Package; 8] = [
    Package::Npm("ai"),
    Package::Npm("@ai-sdk/workflow"),
    Package::Npm("openai"),
    Package::Python("openai"),
    Package::Npm("@anthropic-ai/sdk"),
    Package::Python("anthropic"),
    Package::Npm("@langchain/langgraph-sdk"),
    Package::Python("langgraph-sdk"),
];

#[test]
fn the_page_about_clients_names_each_with_its_version() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/clients.md")).unwrap();
    for package in CLIENTS {
        let (name, from) = match package {
            Package::Npm(name) => (name, "npm"),
            Package::Python(name) => (name, "Python"),
            Package::Chromium | Package::Crate(_) => unreachable!("none of the clients here"),
        };
        let row = format!("\n| {name} {} ({from})", package.version());
        assert!(page.contains(&row), "docs/clients.md has no row that begins with {row:?}");
    }
}
