//! Connection slots, counted over all processes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rejoin::domain::leases::LeaseId;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::contract::{
    backend::{Fixture, Options},
    given::user,
};

const TTL: Duration = Duration::from_secs(3);
/// More than any law takes.
const LONG: Duration = Duration::from_mins(10);

fn lease() -> LeaseId {
    LeaseId(Uuid::new_v4())
}

pub(crate) async fn never_more_leases_than_the_cap(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    for (round, cap) in [1, 5, 31].into_iter().enumerate() {
        let user = user(&format!("u{round}"));
        let mut asking = JoinSet::new();
        for n in 0..32 {
            let (process, user) = (processes[n % 2].clone(), user.clone());
            asking.spawn(async move {
                process.leases.acquire(&user, lease(), cap, LONG).await.unwrap()
            });
        }
        let granted = asking.join_all().await.into_iter().filter(|granted| *granted).count();
        assert_eq!(granted, cap as usize);
        for process in &processes {
            assert_eq!(process.leases.count(&user).await.unwrap(), cap);
        }
    }
}

pub(crate) async fn concurrent_comings_and_goings_stay_within_the_cap(fixture: &dyn Fixture) {
    const CAP: u32 = 3;
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    let (user, held) = (user("u1"), Arc::new(AtomicUsize::new(0)));
    let mut coming_and_going = JoinSet::new();
    for n in 0..10 {
        let (process, user, held) = (processes[n % 2].clone(), user.clone(), Arc::clone(&held));
        coming_and_going.spawn(async move {
            for _ in 0..30 {
                let lease = lease();
                if process.leases.acquire(&user, lease, CAP, LONG).await.unwrap() {
                    assert!(held.fetch_add(1, Ordering::SeqCst) < CAP as usize, "over the cap");
                    tokio::task::yield_now().await;
                    process.leases.renew(&[(user.clone(), lease)], LONG).await.unwrap();
                    held.fetch_sub(1, Ordering::SeqCst);
                    process.leases.release(&[(user.clone(), lease)]).await.unwrap();
                }
            }
        });
    }
    coming_and_going.join_all().await;
    assert_eq!(processes[0].leases.count(&user).await.unwrap(), 0);
}

pub(crate) async fn a_refused_lease_leaves_no_trace(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, user) = (backend.process().await, backend.process().await, user("u1"));
    let held = lease();
    assert!(one.leases.acquire(&user, held, 1, LONG).await.unwrap());
    for _ in 0..20 {
        let refused = lease();
        assert!(!two.leases.acquire(&user, refused, 1, LONG).await.unwrap());
        // Whoever is refused may give back what it never had.
        two.leases.release(&[(user.clone(), refused)]).await.unwrap();
    }
    assert_eq!(two.leases.count(&user).await.unwrap(), 1);
    one.leases.release(&[(user.clone(), held)]).await.unwrap();
    assert_eq!(one.leases.count(&user).await.unwrap(), 0);
    assert!(two.leases.acquire(&user, lease(), 1, LONG).await.unwrap());
    assert!(!one.leases.acquire(&user, lease(), 1, LONG).await.unwrap());
    assert!(
        one.leases.acquire(&user, lease(), 2, LONG).await.unwrap(),
        "a cap that was raised counts from then on"
    );
}

pub(crate) async fn a_lease_ends_after_its_time(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, user) = (backend.process().await, backend.process().await, user("u1"));
    assert!(one.leases.acquire(&user, lease(), 2, TTL).await.unwrap());
    backend.pass(Duration::from_secs(2)).await;
    assert!(two.leases.acquire(&user, lease(), 2, TTL).await.unwrap());
    assert!(!two.leases.acquire(&user, lease(), 2, TTL).await.unwrap());
    // The refused attempt must not have held the first lease open.
    backend.pass(Duration::from_millis(1_500)).await;
    assert_eq!(two.leases.count(&user).await.unwrap(), 1);
    assert!(two.leases.acquire(&user, lease(), 2, TTL).await.unwrap());
    backend.pass(Duration::from_millis(3_500)).await;
    assert_eq!(one.leases.count(&user).await.unwrap(), 0, "whoever held them has died");
}

pub(crate) async fn a_renewed_lease_holds(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let held: Vec<_> = ["u1", "u1", "u2"].map(|id| (user(id), lease())).to_vec();
    for (user, lease) in &held {
        assert!(process.leases.acquire(user, *lease, 2, TTL).await.unwrap());
    }
    for _ in 0..3 {
        backend.pass(Duration::from_secs(2)).await;
        process.leases.renew(&held, TTL).await.unwrap();
        assert_eq!(process.leases.count(&user("u1")).await.unwrap(), 2);
        assert_eq!(process.leases.count(&user("u2")).await.unwrap(), 1);
        assert!(!process.leases.acquire(&user("u1"), lease(), 2, TTL).await.unwrap());
    }
    process.leases.renew(&[], TTL).await.unwrap();
}

pub(crate) async fn renewing_takes_an_ended_lease_up_again(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, user) = (backend.process().await, user("u1"));
    let held = [(user.clone(), lease())];
    assert!(process.leases.acquire(&user, held[0].1, 1, TTL).await.unwrap());
    backend.pass(TTL + Duration::from_millis(500)).await;
    assert_eq!(process.leases.count(&user).await.unwrap(), 0);
    process.leases.renew(&held, TTL).await.unwrap();
    assert_eq!(process.leases.count(&user).await.unwrap(), 1);
    assert!(!process.leases.acquire(&user, lease(), 1, TTL).await.unwrap());
    process.leases.renew(&held, TTL).await.unwrap();
    assert_eq!(process.leases.count(&user).await.unwrap(), 1, "it is counted once");
}

pub(crate) async fn releasing_twice_is_harmless(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, user) = (backend.process().await, backend.process().await, user("u1"));
    let (gone, held) = (lease(), lease());
    for lease in [gone, held] {
        assert!(one.leases.acquire(&user, lease, 2, LONG).await.unwrap());
    }
    for process in [&one, &two, &one] {
        process
            .leases
            .release(&[(user.clone(), gone), (user.clone(), lease()), (user.clone(), gone)])
            .await
            .unwrap();
        assert_eq!(process.leases.count(&user).await.unwrap(), 1);
    }
    one.leases.release(&[]).await.unwrap();
    assert!(two.leases.acquire(&user, lease(), 2, LONG).await.unwrap());
    assert!(
        !two.leases.acquire(&user, lease(), 2, LONG).await.unwrap(),
        "the count never goes below what is held"
    );
}
