//! What readers saw, judged.

use rejoin_test_support::Seen;

/// The ids and payloads that a reader saw, which must be events only, their ids rising.
pub(crate) fn events(seen: &[Seen]) -> Vec<(&str, &serde_json::Value)> {
    let events: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Event(id, data) => (id.as_str(), &data["payload"]),
            Seen::Control(data) => panic!("nothing was lost, and a reader was told {data}"),
        })
        .collect();
    for pair in events.windows(2) {
        assert!(place(pair[0].0) < place(pair[1].0), "{} came before {}", pair[0].0, pair[1].0);
    }
    events
}

/// An id as something that can be compared.
fn place(id: &str) -> (u64, u64) {
    let (ms, count) = id.split_once('-').expect("an id of a user's topic");
    (ms.parse().unwrap(), count.parse().unwrap())
}

/// A user's only publisher numbers its events: the reader saw each, once, in order.
pub(crate) fn saw_all_in_order(seen: &[Seen], count: usize) {
    let numbers: Vec<_> =
        events(seen).into_iter().map(|(_, payload)| payload["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..count as u64).collect::<Vec<_>>());
}
