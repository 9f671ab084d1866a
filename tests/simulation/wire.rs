//! A client's end of a connection, on a network that has its moods.

use std::{future::pending, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use rejoin::{
    app::streaming::Wire,
    domain::{
        frame::Frame,
        frame_decoder::{Decoded, FrameDecoder},
    },
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::dice::Dice;

/// After so long a real wire gives a stalled write up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is wrong with a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Gentle,
    /// Each frame takes up to so many milliseconds.
    Slow(u64),
    /// It is cut when so many bytes have passed.
    CutAfter(usize),
    /// It is cut at this moment.
    CutAt(Instant),
    /// When so many bytes have passed, the client takes nothing more.
    StallsAfter(usize),
}

impl Mood {
    pub(crate) fn random(dice: &Dice) -> Self {
        match dice.number(0..5) {
            0 => Self::Gentle,
            1 => Self::Slow(*dice.pick(&[5, 50, 400])),
            2 => Self::CutAfter(dice.number(0..6_000)),
            3 => Self::CutAt(Instant::now() + dice.ms(0..4_000)),
            _ => Self::StallsAfter(dice.number(0..6_000)),
        }
    }
}

/// Who is at the other end.
#[async_trait]
pub(crate) trait Taker: Send + Sync {
    /// Whether the network has no moods any more.
    fn is_calm(&self) -> bool;

    fn dice(&self) -> &Dice;

    /// The next thing that a stream said.
    async fn take(&self, decoded: Decoded);
}

pub(crate) struct MoodyWire<C> {
    client: Arc<C>,
    mood: Mood,
    decoder: FrameDecoder,
    passed: usize,
}

impl<C: Taker> MoodyWire<C> {
    pub(crate) fn new(client: Arc<C>, mood: Mood) -> Self {
        Self { client, mood, decoder: FrameDecoder::default(), passed: 0 }
    }

    /// Hands bytes to the client; `false` if only a part of them got through.
    async fn pass(&mut self, bytes: &[u8], until: usize) -> bool {
        let whole = bytes.len().min(until.saturating_sub(self.passed));
        self.passed += whole;
        for decoded in self.decoder.feed(&bytes[..whole]) {
            self.client.take(decoded).await;
        }
        whole == bytes.len()
    }
}

impl<C: Taker> Wire for MoodyWire<C> {
    async fn write(&mut self, frames: &[Frame]) -> io::Result<()> {
        for frame in frames {
            let mood = if self.client.is_calm() { Mood::Gentle } else { self.mood };
            let until = match mood {
                Mood::CutAfter(until) | Mood::StallsAfter(until) => until,
                _ => usize::MAX,
            };
            if let Mood::Slow(most) = mood {
                sleep(self.client.dice().ms(0..most)).await;
            }
            if matches!(mood, Mood::CutAt(at) if at <= Instant::now()) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !self.pass(&frame.body(), until).await {
                if matches!(mood, Mood::StallsAfter(_)) {
                    sleep(WRITE_TIMEOUT).await;
                    return Err(io::ErrorKind::TimedOut.into());
                }
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }

    async fn gone(&mut self) {
        match self.mood {
            Mood::CutAt(at) if !self.client.is_calm() => sleep_until(at).await,
            _ => pending().await,
        }
    }

    async fn finish(self) {}
}
