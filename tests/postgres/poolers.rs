//! Through PgBouncer: in session mode with its defaults; in other modes the start says what is
//! wrong.

use rejoin::{
    adapters::postgres::{self, PostgresSetupError, PrepareError},
    ports::feed::Signal,
    testing::backend_context,
};
use rejoin_test_support::{PgBouncer, PostgresServer, soon};

use crate::postgres::given::{appended, options, topic, until_signal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_works_with_its_defaults() {
    let server = PostgresServer::start().await;
    let pooler = PgBouncer::start(&server, "session").await;
    let process = postgres::open(options(pooler.url()), &backend_context()).await.unwrap();
    let (topic, mut signals) = (topic("u1"), process.feed.signals());
    process.feed.watch(&topic).await.unwrap();
    let id = appended(&process, "u1").await;
    let heard = until_signal(
        &mut signals,
        |signal| matches!(signal, Signal::Appended(_, entry) if entry.id == id),
    );
    soon("the entry", heard).await;
    process.journal.probe().await.unwrap();
    let rejoin::domain::topic::Topic::User(user) = topic else { panic!("a user's topic") };
    assert_eq!(process.leases.count(&user).await.unwrap(), 0);
    assert_eq!(process.budget.left(&user, 3, std::time::Duration::from_mins(1)).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_keeps_no_sessions_is_named_at_the_start() {
    let server = PostgresServer::start().await;
    for pool_mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(&server, pool_mode).await;
        for attempt in 0..3 {
            let Err(refused) = postgres::open(options(pooler.url()), &backend_context()).await
            else {
                panic!("{pool_mode}, attempt {attempt}")
            };
            assert!(
                matches!(refused, PostgresSetupError::Prepare(PrepareError::NoSessions)),
                "{pool_mode}: {refused}"
            );
            assert!(refused.to_string().contains("use pool_mode = session"), "{refused}");
        }
    }
}
