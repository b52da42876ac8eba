//! Where in a stream a moment lies: found in the feed's REST twin by halving, since offsets and times
//! grow together. Some forty small requests in place of reading the stream from its beginning.

use crate::backfill;
use crate::config::RunConfig;
use crate::error::Error;
use crate::intake::event_time;
use crate::offsets::Offset;
use crate::pages::Pages;
use crate::selector::{Found, Selector};

/// The twin answers or it does not; a window can also be read from the beginning.
const MOST_FAILURES: u32 = 3;

/// The offset behind which the events of a window begin, where the run has just begun it and the
/// feed can tell by its twin; else where the run stands anyway.
pub(crate) async fn seek(config: &RunConfig, offset: &Offset) -> i64 {
    let stream = &config.preset.stream;
    let wanted = config.limits.from.filter(|_| offset.position == 0 && stream.since.is_none());
    let (Some(from), Some(time)) = (wanted, stream.time.as_deref()) else { return offset.position };
    let Some(twin) = backfill::twin(config).filter(|_| !stream.ids.are_counted()) else {
        tracing::info!("the window is looked for from the oldest event that the source has");
        return offset.position;
    };
    let lateness = jiff::SignedDuration::try_from_secs_f64(stream.lateness_seconds);
    let from = lateness.ok().and_then(|late| from.checked_sub(late).ok()).unwrap_or(from);
    let found = async {
        let mut probe = Probe::new(Pages::at(config, twin, 0)?, time);
        probe.find(from).await
    };
    match found.await {
        Ok(position) => {
            tracing::info!("the window begins behind offset {position}");
            position
        }
        Err(error) => {
            tracing::warn!("{error}; the window is looked for from the oldest event instead");
            offset.position
        }
    }
}

struct Probe {
    pages: Pages,
    selector: Selector,
    time: usize,
    found: Found,
}

impl Probe {
    fn new(pages: Pages, time: &str) -> Self {
        let mut selector = Selector::default();
        let time = selector.add(time);
        Self { pages, selector, time, found: Found::default() }
    }

    /// An offset behind which no event is older, and not much before the first that is not.
    async fn find(&mut self, from: jiff::Timestamp) -> Result<i64, Error> {
        // What follows `low` is older; what follows `high` is not, or there is nothing.
        let Some(mut low) = self.older_after(0, from).await? else { return Ok(0) };
        let mut high = low.saturating_mul(2).max(1024);
        while let Some(older) = self.older_after(high, from).await? {
            low = older;
            high = older.max(high).saturating_mul(2);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.older_after(middle, from).await? {
                Some(older) => low = older,
                None => high = middle,
            }
        }
        Ok(low)
    }

    /// The first offset behind `position`, if its event is older.
    async fn older_after(
        &mut self,
        position: i64,
        from: jiff::Timestamp,
    ) -> Result<Option<i64>, Error> {
        self.pages.ask(position, 1);
        let mut failures = 0;
        loop {
            match self.pages.advance().await? {
                sse::Signal::Connected(_) => {}
                sse::Signal::End => return Ok(None),
                sse::Signal::Bytes(_) => return Ok(self.read(from)),
                sse::Signal::Disconnected(gone) => {
                    failures += 1;
                    if failures >= MOST_FAILURES {
                        let kind = crate::error::ErrorKind::Source;
                        return Err(Error::new(kind, gone.reason));
                    }
                }
            }
        }
    }

    fn read(&mut self, from: jiff::Timestamp) -> Option<i64> {
        let Some(sse::Item::Event(event)) = self.pages.next_item() else { return None };
        let id = std::str::from_utf8(event.id).ok()?.parse().ok()?;
        self.selector.pick(event.data, &mut self.found).ok()?;
        let time = event_time(self.found.get(event.data, self.time)?)?;
        (time < from).then_some(id)
    }
}
