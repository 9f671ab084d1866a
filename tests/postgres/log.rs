//! A log that a test can read: what its own thread logged, so such a test runs on one thread.

use std::{cell::RefCell, io::Write, sync::Once};

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps each thread's lines for itself. It is the subscriber of all threads: one of a thread alone
/// misses what another thread came by first.
struct OfThisThread;

/// What this thread has logged since.
pub(crate) struct Log;

impl Log {
    pub(crate) fn begin() -> Self {
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            tracing_subscriber::fmt().with_writer(|| OfThisThread).with_ansi(false).init();
        });
        LINES.take();
        Self
    }

    /// All that was logged so far.
    #[expect(clippy::unused_self, reason = "a log that has not begun has nothing")]
    pub(crate) fn text(&self) -> String {
        LINES.with_borrow(|lines| String::from_utf8(lines.clone()).unwrap())
    }

    /// How many lines contain all of these.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        self.text().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

impl Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // A thread that ends has no lines any more.
        let _ = LINES.try_with(|lines| lines.borrow_mut().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
