//! What the pages say of when what is over its time is removed.

use std::time::Duration;

use crate::documents::pages;

fn in_words(time: Duration) -> &'static str {
    match time.as_secs() {
        30 => "half minute",
        3_600 => "hour",
        other => panic!("the pages have no words for {other} seconds"),
    }
}

#[test]
fn each_sweep_over_postgres_is_as_often_as_its_page_says() {
    let page = pages::text("docs/backends/postgres.md").replace('\n', " ");
    let others = format!(
        "Every {} one process at a time removes",
        in_words(rejoin::adapters::postgres::SWEEP_EVERY)
    );
    assert!(page.contains(&others), "{others}");
    let (_, messages) = page.split_once("Messages over `messages.retention_days`").unwrap();
    let messages = messages.split_once(". So what").unwrap().0;
    assert!(
        messages.contains(&format!("every {},", in_words(rejoin::app::producing::SWEEP_EVERY))),
        "{messages}"
    );
}
