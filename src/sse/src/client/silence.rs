//! The clock that finds dead connections.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// A limit on how long nothing may be heard.
pub(super) struct Silence {
    limit: Duration,
    until: Instant,
}

impl Silence {
    /// What a caller who was away past the limit still gets: the bytes may be in the socket.
    const GRACE: Duration = Duration::from_secs(1);

    /// No clock can count to the end of time.
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    pub(super) fn new(limit: Duration) -> Self {
        let limit = limit.min(Self::LONGEST);
        Silence { limit, until: Instant::now() + limit }
    }

    pub(super) fn heard(&mut self) {
        self.until = Instant::now() + self.limit;
    }

    /// The future's output, or `None` once the silence has lasted too long.
    pub(super) async fn bound<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let now = Instant::now();
        if now >= self.until {
            self.until = now + self.limit.min(Self::GRACE);
        }
        timeout_at(self.until, future).await.ok()
    }
}
