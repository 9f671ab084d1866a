//! A stream's frames as the body of a response that hyper sends over HTTP/2.
//!
//! Invariant: at most one write waits between the stream's task and hyper, so a client that doesn't
//! read stops the task, whose timers go on: hyper itself asks a body for nothing while its client
//! reads nothing.

use std::{convert::Infallible, io};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::mpsc;

use super::slow_client::WriteTimeout;
use crate::{app::streaming::Wire, domain::frame::Frame};

/// What is handed to hyper at once: a client that takes this much within the write timeout has not
/// stalled.
const PIECE_BYTES_MAX: usize = 16 * 1024;

pub(super) struct BodyWire {
    sender: mpsc::Sender<Bytes>,
    write_timeout: WriteTimeout,
}

impl BodyWire {
    /// The wire, and the body at its other end.
    pub(super) fn new(write_timeout: WriteTimeout) -> (Self, Body) {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
        let chunks = stream::poll_fn(move |context| {
            receiver.poll_recv(context).map(|bytes| bytes.map(Ok::<_, Infallible>))
        });
        (Self { sender, write_timeout }, Body::from_stream(chunks))
    }
}

impl Wire for BodyWire {
    async fn write(&mut self, frames: &[Frame]) -> io::Result<()> {
        let mut rest = match frames {
            [frame] => frame.body(),
            frames => {
                let mut joined = BytesMut::new();
                for frame in frames {
                    joined.extend_from_slice(&frame.body());
                }
                joined.freeze()
            }
        };
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            let taken = async {
                self.sender.send(piece).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
            };
            self.write_timeout.step(taken).await?;
        }
        Ok(())
    }

    async fn gone(&mut self) {
        self.sender.closed().await;
    }

    async fn finish(self) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{
        domain::{frame::Format, position::EventId, topic::Topic},
        testing::event_of_bytes,
    };

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn frame(payload_bytes: usize) -> Frame {
        let topic = Topic::Message(uuid::Uuid::nil().into());
        Frame::entry(Format::Named, &topic, EventId::sequence(0), &event_of_bytes(payload_bytes))
    }

    #[tokio::test(start_paused = true)]
    async fn promise_7_a_client_that_takes_something_within_the_write_timeout_has_not_stalled() {
        let frame = frame(100 * 1024);
        let (mut wire, mut body) = BodyWire::new(WriteTimeout::new(TIMEOUT));
        let began = Instant::now();
        let takes_slowly = async {
            let mut taken = 0;
            while taken < frame.body().len() {
                sleep(TIMEOUT * 9 / 10).await;
                taken += body.frame().await.unwrap().unwrap().data_ref().unwrap().len();
            }
        };
        let (written, ()) = tokio::join!(wire.write(std::slice::from_ref(&frame)), takes_slowly);
        written.unwrap();
        assert!(began.elapsed() > 5 * TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn promise_7_a_client_that_takes_nothing_for_the_write_timeout_has_stalled() {
        let (mut wire, _body) = BodyWire::new(WriteTimeout::new(TIMEOUT));
        let began = Instant::now();
        let stalled = wire.write(&[frame(100 * 1024)]).await.unwrap_err();
        assert_eq!(
            (stalled.kind(), began.elapsed().as_secs()),
            (io::ErrorKind::TimedOut, TIMEOUT.as_secs())
        );
    }
}
