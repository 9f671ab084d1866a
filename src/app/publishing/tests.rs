//! What becomes of publications, and what of them when a backend fails.

use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt, pending};

use super::*;
use crate::{
    app::broadcasts::Broadcasts,
    domain::{
        access::{Principal, Scope},
        position::EventId,
        timestamp::Timestamp,
        topic::Topic,
    },
    ports::{
        backend_error::BackendErrorKind,
        feed::{Feed, Signal},
        journal::MockJournal,
    },
    testing::ManualClock,
};

const NOW: Timestamp = Timestamp::from_ms(1_718_900_000_007);

/// A feed that keeps what was broadcast and brings it back, or fails.
struct Told {
    away: bool,
    events: Mutex<Vec<Arc<Event>>>,
    broadcasts: Arc<Broadcasts>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            away: false,
            events: Mutex::default(),
            broadcasts: Arc::new(Broadcasts::new(10_000)),
        }
    }
}

#[async_trait]
impl Feed for Told {
    fn signals(&self) -> BoxStream<'static, Signal> {
        pending().boxed()
    }

    async fn watch(&self, _: &Topic) -> Result<(), BackendError> {
        Ok(())
    }

    async fn unwatch(&self, _: &Topic) {}

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        if self.away {
            return Err(away());
        }
        self.broadcasts.add(Arc::clone(&event));
        self.events.lock().unwrap().push(event);
        Ok(())
    }

    async fn close_connections(&self, _: &UserId) -> Result<(), BackendError> {
        Ok(())
    }
}

fn away() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "test")
}

type Batches = Arc<Mutex<Vec<Vec<Append>>>>;

/// A journal that keeps what it was asked to append, and numbers it.
fn journal() -> (MockJournal, Batches) {
    let (mut journal, batches) = (MockJournal::new(), Batches::default());
    let kept = Arc::clone(&batches);
    journal.expect_append().returning(move |batch| {
        let told = (0..batch.len() as u64).map(|number| Ok(appended(number))).collect();
        kept.lock().unwrap().push(batch);
        Ok(told)
    });
    (journal, batches)
}

fn appended(number: u64) -> Appended {
    Appended { id: EventId::timed(7, number), duplicate: false }
}

/// Who may publish.
fn granted() -> EventPublisher {
    let scopes = BTreeSet::from([Scope::EventsPublish]);
    Principal { user: None, scopes, categories: None, expires_at: None }.try_into().unwrap()
}

fn publisher(journal: MockJournal, feed: &Arc<Told>, push_enabled: bool) -> Publisher {
    let patterns =
        [("import", vec!["source.*".to_owned()]), ("security", vec!["source.stolen".to_owned()])];
    let registry =
        Registry::build(patterns.iter().map(|(name, patterns)| (*name, patterns.as_slice())))
            .unwrap();
    let signals = Signals::unheard_in_tests();
    let broadcasts = Arc::clone(&feed.broadcasts);
    let broadcaster = Broadcaster::new(broadcasts, Arc::clone(feed) as _, Arc::clone(&signals));
    Publisher::new(
        Arc::new(journal),
        broadcaster,
        Arc::new(ManualClock::at_ms(NOW.as_ms())),
        Arc::new(registry),
        signals,
        push_enabled,
    )
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn to_users(ids: &[&str]) -> Recipients {
    Recipients::Users(ids.iter().map(|id| user(id)).collect())
}

fn publication(recipients: Recipients, event_type: &str) -> Publication {
    Publication {
        recipients,
        event_type: EventType::parse(event_type).unwrap(),
        scope: Json::empty_object(),
        content: Content::Payload(Json::parse("1.10").unwrap()),
        category: None,
        idempotency_key: None,
    }
}

fn all_of(published: Result<Vec<Result<Published, PublishError>>, PublishError>) -> Vec<Published> {
    published.unwrap().into_iter().map(Result::unwrap).collect()
}

fn recipients(batch: &[Append]) -> Vec<String> {
    batch.iter().map(|append| Topic::User(append.user.clone()).to_string()).collect()
}

#[tokio::test]
async fn the_registry_assigns_the_category_unless_the_publisher_did() {
    let (journal, batches) = journal();
    let publisher = publisher(journal, &Arc::default(), true);
    let chosen = publisher.registry().find("security").cloned();
    let to_u1 = |event_type| publication(Recipients::User(user("u1")), event_type);
    let publications = vec![
        to_u1("source.queued"),
        to_u1("source.stolen"),
        to_u1("other"),
        Publication { category: chosen, ..to_u1("source.queued") },
    ];
    publisher.publish_all(&granted(), publications).await.unwrap();
    let batches = batches.lock().unwrap();
    let categories: Vec<_> = batches[0]
        .iter()
        .map(|append| append.event.category.as_ref().map(Category::as_str))
        .collect();
    assert_eq!(categories, [Some("import"), Some("security"), None, Some("security")]);
}

#[tokio::test]
async fn an_event_is_stored_as_it_came_with_the_servers_time() {
    let (journal, batches) = journal();
    let scope = Json::parse(r#"{"kind":"source"}"#).unwrap();
    let sent =
        Publication { scope: scope.clone(), ..publication(Recipients::User(user("u1")), "a") };
    let published =
        publisher(journal, &Arc::default(), true).publish(&granted(), sent).await.unwrap();
    assert_eq!(published, Published::One(appended(0)));
    let batches = batches.lock().unwrap();
    let event = &batches[0][0].event;
    assert_eq!(
        (event.ts, event.content.payload().unwrap().as_str(), &event.scope),
        (NOW, "1.10", &scope)
    );
    assert_eq!(event.event_type.as_str(), "a");
}

#[tokio::test]
async fn who_is_named_twice_gets_one_entry() {
    let (journal, batches) = journal();
    let key = IdempotencyKey::parse("k").ok();
    let sent = Publication {
        idempotency_key: key.clone(),
        ..publication(to_users(&["b", "a", "b", "A", "a"]), "a")
    };
    let published =
        publisher(journal, &Arc::default(), true).publish(&granted(), sent).await.unwrap();
    assert_eq!(
        published,
        Published::Each([0, 1, 0, 2, 1].map(appended).to_vec()),
        "in the order that the users were named"
    );
    let batches = batches.lock().unwrap();
    assert_eq!(recipients(&batches[0]), ["user:b", "user:a", "user:A"]);
    assert!(
        batches[0].iter().all(|append| append.idempotency_key == key),
        "a retry is recognised for each of them"
    );
    assert!(
        batches[0].iter().all(|append| Arc::ptr_eq(&append.event, &batches[0][0].event)),
        "and they share one event"
    );
}

#[tokio::test]
async fn the_same_user_in_two_publications_gets_both() {
    let (journal, batches) = journal();
    let publications =
        vec![publication(to_users(&["a", "b"]), "a"), publication(to_users(&["b", "a"]), "b")];
    let published = all_of(
        publisher(journal, &Arc::default(), true).publish_all(&granted(), publications).await,
    );
    assert_eq!(
        published,
        [
            Published::Each([0, 1].map(appended).to_vec()),
            Published::Each([2, 3].map(appended).to_vec())
        ]
    );
    assert_eq!(recipients(&batches.lock().unwrap()[0]), ["user:a", "user:b", "user:b", "user:a"]);
}

#[tokio::test]
async fn several_publications_are_one_batch_in_their_order() {
    let ((journal, batches), feed) = (journal(), Arc::new(Told::default()));
    let publications = vec![
        publication(Recipients::User(user("a")), "one"),
        publication(Recipients::Everybody, "two"),
        publication(to_users(&["b", "a"]), "three"),
        publication(to_users(&[]), "four"),
        publication(Recipients::User(user("a")), "five"),
    ];
    let published =
        all_of(publisher(journal, &feed, true).publish_all(&granted(), publications).await);
    let each = Published::Each(vec![appended(1), appended(2)]);
    assert_eq!(
        published,
        [
            Published::One(appended(0)),
            Published::Broadcast,
            each,
            Published::Each(Vec::new()),
            Published::One(appended(3))
        ]
    );
    let batches = batches.lock().unwrap();
    assert_eq!(
        (batches.len(), recipients(&batches[0])),
        (1, ["user:a", "user:b", "user:a", "user:a"].map(str::to_owned).to_vec())
    );
    let told = feed.events.lock().unwrap();
    assert_eq!(told.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>(), ["two"]);
}

#[tokio::test]
async fn a_broadcast_leaves_the_journal_alone() {
    let feed = Arc::new(Told::default());
    let sent = publication(Recipients::Everybody, "source.queued");
    let published =
        publisher(MockJournal::new(), &feed, true).publish(&granted(), sent).await.unwrap();
    assert_eq!(published, Published::Broadcast);
    let told = feed.events.lock().unwrap();
    assert_eq!(told[0].category.as_ref().map(Category::as_str), Some("import"));
}

#[tokio::test]
async fn a_journal_that_fails_is_told_and_nothing_is_broadcast() {
    let (mut journal, feed) = (MockJournal::new(), Arc::new(Told::default()));
    journal.expect_append().times(1).returning(|_| Err(away()));
    let publications = vec![
        publication(Recipients::Everybody, "a"),
        publication(Recipients::User(user("u1")), "b"),
    ];
    let failed = publisher(journal, &feed, true).publish_all(&granted(), publications).await;
    assert!(
        matches!(failed, Err(PublishError::Backend(error)) if error.kind == BackendErrorKind::Unavailable)
    );
    assert!(feed.events.lock().unwrap().is_empty(), "the publisher will send it again");
}

#[tokio::test]
async fn a_damaged_topic_fails_alone() {
    let mut journal = MockJournal::new();
    journal.expect_append().times(1).returning(|batch| {
        let damaged = |topic| BackendError::damaged("test", topic, "a key of another type");
        Ok(batch
            .into_iter()
            .zip(0..)
            .map(
                |(append, n)| {
                    if n == 1 { Err(damaged(Topic::User(append.user))) } else { Ok(appended(n)) }
                },
            )
            .collect())
    });
    let publications =
        ["a", "b", "c"].map(|id| publication(Recipients::User(user(id)), "x")).to_vec();
    let publications = [publications, vec![publication(to_users(&["d", "e"]), "x")]].concat();
    let published = publisher(journal, &Arc::default(), true)
        .publish_all(&granted(), publications)
        .await
        .unwrap();
    assert!(
        matches!(&published[0], Ok(Published::One(_)))
            && matches!(&published[2], Ok(Published::One(_))),
        "{published:?}"
    );
    assert!(
        matches!(&published[1], Err(PublishError::Backend(error)) if error.kind == BackendErrorKind::Damaged),
        "{published:?}"
    );
    assert!(matches!(&published[3], Ok(Published::Each(each)) if each.len() == 2), "{published:?}");
}

#[tokio::test]
async fn a_feed_that_fails_is_told() {
    let feed = Arc::new(Told { away: true, ..Told::default() });
    let publisher = publisher(MockJournal::new(), &feed, true);
    let failed = publisher.publish(&granted(), publication(Recipients::Everybody, "a")).await;
    assert!(matches!(failed, Err(PublishError::Backend(_))));
}

#[tokio::test]
async fn a_broadcast_that_not_everybody_could_get_is_refused_and_the_others_are_published() {
    let (journal, _) = journal();
    let feed = Arc::new(Told::default());
    let slow = feed.broadcasts.tail();
    let large = |bytes: usize| {
        let payload = Json::parse(&format!("\"{}\"", "x".repeat(bytes))).unwrap();
        Publication {
            content: Content::Payload(payload),
            ..publication(Recipients::Everybody, "large")
        }
    };
    let publications = vec![
        large(5_000),
        large(2_000),
        large(2_000),
        publication(Recipients::User(user("a")), "x"),
    ];
    let published =
        publisher(journal, &feed, true).publish_all(&granted(), publications).await.unwrap();
    assert!(
        matches!(published[0], Err(PublishError::NoRoom(NoRoom::TooLarge { .. }))),
        "{published:?}"
    );
    assert!(matches!(published[1], Ok(Published::Broadcast)), "{published:?}");
    assert!(matches!(published[2], Err(PublishError::NoRoom(NoRoom::Full))), "{published:?}");
    assert!(matches!(published[3], Ok(Published::One(_))), "{published:?}");
    assert_eq!(feed.events.lock().unwrap().len(), 1, "nobody got those that were refused");
    drop(slow);
}

#[tokio::test]
async fn while_pushing_is_off_nothing_is_stored() {
    let feed = Arc::new(Told::default());
    let publisher = publisher(MockJournal::new(), &feed, false);
    let publications = vec![
        publication(Recipients::User(user("u1")), "a"),
        publication(Recipients::Everybody, "b"),
    ];
    assert_eq!(
        all_of(publisher.publish_all(&granted(), publications).await),
        [Published::Discarded, Published::Discarded]
    );
    assert_eq!(
        publisher.publish(&granted(), publication(Recipients::Everybody, "c")).await.unwrap(),
        Published::Discarded
    );
    assert!(feed.events.lock().unwrap().is_empty());
}
