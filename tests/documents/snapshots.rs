//! The pages that are generated are what would be generated now.

use crate::documents::pages::is_up_to_date;

#[test]
fn the_apis_description() {
    is_up_to_date("docs/openapi.json", &rejoin::adapters::http::description());
}

#[test]
fn the_settings() {
    is_up_to_date("config/default.toml", &rejoin::adapters::config::default_file());
    is_up_to_date("docs/settings.md", &rejoin::adapters::config::reference());
}
