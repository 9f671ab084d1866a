//! What is notified: once for each transaction, however many events it holds, and nothing of what
//! they say.

use std::sync::Arc;

use rejoin::{
    adapters::postgres,
    domain::{
        event::{Content, Event},
        json::Json,
    },
    ports::journal::Append,
    testing::backend_context,
};
use rejoin_test_support::{PostgresServer, soon};
use sqlx::postgres::PgListener;
use tokio::task::JoinSet;

use crate::postgres::given::{SCHEMA, append, event, options};

const APPENDERS: usize = 64;
/// Neither a payload nor a user's id is hexadecimal, as the numbers in a notification are.
const SECRET: &str = "mystery";
/// What this test notifies behind everything else.
const LAST: &str = "last";

fn secret(user: &str) -> Append {
    let content = Content::Payload(Json::parse(&format!("\"{SECRET}\"")).unwrap());
    Append { event: Arc::new(Event { content, ..(*event()).clone() }), ..append(user, None) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_notifies_once_and_tells_nothing() {
    let server = PostgresServer::start().await;
    let process =
        Arc::new(postgres::open(options(server.url()), &backend_context()).await.unwrap());
    let mut listener = PgListener::connect(&server.url()).await.unwrap();
    let channel = format!("{SCHEMA}_feed");
    listener.listen(&channel).await.unwrap();

    let batch = (0..100).map(|number| secret(&format!("{SECRET}-{}", number % 50))).collect();
    process.journal.append(batch).await.unwrap();
    let mut appending = JoinSet::new();
    for number in 0..APPENDERS {
        let process = Arc::clone(&process);
        appending.spawn(async move {
            process.journal.append(vec![secret(&format!("{SECRET}-{number}"))]).await.unwrap()
        });
    }
    appending.join_all().await;
    server.run_sql(&format!("NOTIFY {channel}, '{LAST}'"));

    let mut told = Vec::new();
    loop {
        let notification = soon("a notification", listener.recv()).await.unwrap();
        if notification.payload() == LAST {
            break;
        }
        told.push(notification.payload().to_owned());
    }
    assert!(told.iter().all(|told| !told.contains(SECRET)), "{told:?}");
    let transactions =
        server.run_sql(&format!("SELECT count(DISTINCT xmin::text) FROM {SCHEMA}.user_events"));
    assert_eq!(told.len().to_string(), transactions.trim(), "one for each transaction");
    // The first batch, the appender that came first, and those that came meanwhile.
    assert!(
        told.len() < APPENDERS / 2,
        "{} transactions for {APPENDERS} appends at once",
        told.len()
    );
}
