//! A stream's frames as the body of a response that hyper sends over HTTP/2.
//!
//! Invariant: at most one write waits between the stream's task and hyper, so a client that doesn't read stops the task,
//! whose timers go on: hyper itself asks a body for nothing while its client reads nothing.

use std::{convert::Infallible, io, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::mpsc;

use crate::{app::streaming::Wire, domain::frame::Frame};

pub(super) struct BodyWire {
    sender: mpsc::Sender<Bytes>,
    write_timeout: Duration,
}

impl BodyWire {
    /// The wire, and the body at its other end.
    pub(super) fn new(write_timeout: Duration) -> (Self, Body) {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
        let chunks = stream::poll_fn(move |context| receiver.poll_recv(context).map(|bytes| bytes.map(Ok::<_, Infallible>)));
        (Self { sender, write_timeout }, Body::from_stream(chunks))
    }
}

impl Wire for BodyWire {
    async fn write(&mut self, frames: &[Frame]) -> io::Result<()> {
        let bytes = match frames {
            [frame] => frame.body(),
            frames => {
                let mut joined = BytesMut::new();
                for frame in frames {
                    joined.extend_from_slice(&frame.body());
                }
                joined.freeze()
            }
        };
        match tokio::time::timeout(self.write_timeout, self.sender.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn gone(&mut self) {
        self.sender.closed().await;
    }

    async fn finish(self) {}
}
