//! What it costs to encode a frame in each format. It happens once per event, format and process,
//! however many connections take the frame.

use std::hint::black_box;

use rejoin::{
    domain::{
        event::{Content, Event, EventName},
        frame::{Format, Frame},
        position::EventId,
        topic::{Topic, UserId},
    },
    testing::event,
};
use tokio::time::Instant;
use uuid::Uuid;

/// Frames of one measurement.
const FRAMES: u32 = 200_000;
/// Measurements of each, of which the fastest counts.
const ROUNDS: usize = 5;

fn nanoseconds(format: Format, topic: &Topic, event: &Event) -> f64 {
    let one = |_| {
        let began = Instant::now();
        for number in 0..FRAMES {
            let id = EventId::sequence(u64::from(number));
            black_box(Frame::entry(format, black_box(topic), id, black_box(event)));
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(FRAMES)
    };
    (0..ROUNDS).map(one).fold(f64::INFINITY, f64::min)
}

/// Prints what each format costs for a payload and for a text of 200 bytes, as a ratio to the
/// envelope.
pub(crate) fn measure() {
    let payload = event(&format!("{{\"text\":\"{}\"}}", "x".repeat(189)));
    let content = Content::Data {
        text: "<li>a line of some HTML</li>\n".repeat(7).into(),
        event: EventName::parse("patch").ok(),
    };
    let text = Event { content, ..(*payload).clone() };
    let user = Topic::User(UserId::parse("u1").unwrap());
    let message = Topic::Message(Uuid::nil().into());
    let envelope = nanoseconds(Format::Whole, &user, &payload);
    println!("frames: an envelope of 200 bytes takes {envelope:.0} ns to encode; as ratios to it:");
    for (topic, channel) in [(&user, "user"), (&message, "message")] {
        for format in Format::ALL {
            let name = format.as_str(topic.channel());
            let ratio = |event| nanoseconds(format, topic, event) / envelope;
            println!(
                "  {channel:7} {name:8} payload {:.2}, text {:.2}",
                ratio(&payload),
                ratio(&text)
            );
        }
    }
}
