//! A room: the clients of one filter, the figures they see, and what was sent lately.
//!
//! Each client has a place in one bounded queue that all of them share; whoever falls behind its
//! beginning is sent away. So a client costs no memory beyond its socket, and a slow one delays
//! nobody.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep, sleep_until};

use super::message::raw;
use super::{Batch, Counted, Hub, Kind, Message};
use crate::store::{self, Entity, Error, Filter, Order, Ranking, Window};
use crate::token::Role;

/// Batches that a client may be behind: about a quarter of a minute.
const QUEUE: usize = 64;
/// Messages that are kept for clients that come back.
const KEPT: usize = 512;
/// Orders of a whole state; more than these at once are shown by their newest.
const ORDERS: i64 = 50;
/// How long an empty room waits for somebody to come back.
const EMPTY: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);
/// A look at the pipeline that takes longer is not waited for.
const OVERDUE: Duration = Duration::from_millis(1250);
/// Courses and rankings of more minutes than this are long, and seldom sent.
const LONG: u32 = 180;
const SELDOM: Duration = Duration::from_secs(5);

pub(super) struct Room {
    pub(super) filter: Filter,
    pub(super) role: Role,
    boot: String,
    interval: Duration,
    sender: broadcast::Sender<Arc<Batch>>,
    kept: Mutex<Kept>,
}

/// What a newcomer or somebody who comes back gets.
#[derive(Default)]
struct Kept {
    /// Number of the last message.
    last: u64,
    /// Number of the last message that is not kept any more.
    dropped: u64,
    sent: VecDeque<Message>,
    /// The newest of each kind, which together are the whole state.
    state: BTreeMap<Kind, Message>,
}

/// What the room sent last, so that it repeats nothing.
#[derive(Default)]
struct Shown {
    data: BTreeMap<Kind, Box<RawValue>>,
    orders: Vec<Order>,
}

impl Room {
    pub(super) fn new(boot: String, filter: Filter, role: Role, interval: Duration) -> Self {
        let sender = broadcast::Sender::new(QUEUE);
        Self { filter, role, boot, interval, sender, kept: Mutex::default() }
    }

    pub(super) fn occupied(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(super) fn join(&self, after: Option<&str>, guard: Counted) -> Listener {
        let after = after.and_then(|id| {
            let (boot, number) = id.rsplit_once('-')?;
            number.parse::<u64>().ok().filter(|_| boot == self.boot)
        });
        let kept = self.kept();
        // Under the lock, so that nothing is sent between what is kept and what will come.
        let receiver = self.sender.subscribe();
        let missed = after.filter(|after| (kept.dropped..=kept.last).contains(after) && *after > 0);
        let mut messages = vec![self.hello(missed.unwrap_or(0))];
        if let Some(after) = missed {
            guard.0.counts.resumed.fetch_add(1, Relaxed);
            messages.extend(kept.sent.iter().filter(|it| it.number > after).cloned());
        } else {
            messages.extend(kept.state.values().cloned());
            messages.sort_by_key(|message| message.number);
        }
        let backlog = Some(Batch::new(messages));
        Listener { backlog, receiver, ended: false, boot: self.boot.clone(), guard }
    }

    fn hello(&self, number: u64) -> Message {
        let data = json!({
            "server_time": Timestamp::now(),
            "version": env!("CARGO_PKG_VERSION"),
            "filters": self.filter,
            "interval_ms": self.interval.as_millis() as u64,
        });
        // Whoever comes back with number 0 has seen nothing yet.
        Message::new(&self.boot, number, Kind::Hello, &raw(&data))
    }

    /// Works until nobody has been here for a while or the server ends.
    pub(super) async fn run(self: Arc<Self>, hub: Arc<Hub>) {
        // Two loops, so that a database that answers slowly or never silences nobody.
        tokio::select! {
            () = self.figures(&hub) => {}
            () = self.pulse(&hub) => {}
        }
    }

    /// Sends where the pipeline stands as soon as it was looked at, which is each second, and that
    /// we are here.
    async fn pulse(&self, hub: &Hub) {
        let mut stop = hub.stop.clone();
        let mut looks = hub.sampler.looks();
        looks.mark_changed();
        let mut empty_since: Option<Instant> = None;
        loop {
            tokio::select! {
                // The sampler lives as long as the hub.
                _ = looks.changed() => {}
                () = sleep(OVERDUE) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if self.occupied() {
                empty_since = None;
                let beat = json!({ "server_time": Timestamp::now() });
                let pipeline = raw(&hub.sampler.pipeline(self.role));
                self.send(hub, vec![(Kind::Pipeline, pipeline), (Kind::Beat, raw(&beat))], None);
            } else if empty_since.get_or_insert_with(Instant::now).elapsed() >= EMPTY
                && hub.close(self)
            {
                return;
            }
        }
    }

    /// Sends figures whenever something was committed, and each second because the window moves.
    async fn figures(&self, hub: &Hub) {
        let mut commits = hub.commits.heard.clone();
        let mut shown = Shown::default();
        let mut next_slow = Instant::now();
        loop {
            let begun = Instant::now();
            commits.mark_unchanged();
            if self.occupied() {
                let slow = begun >= next_slow;
                let computed = store::in_time(self.compute(hub, slow, &mut shown)).await;
                if slow {
                    let pause = if self.filter.minutes > LONG { SELDOM } else { SECOND };
                    // Four fifths of the time belong to the other figures, however long these take
                    // and whatever comes of it: rankings of a filter look at facts.
                    next_slow = begun + pause.max(5 * begun.elapsed());
                }
                match computed {
                    Ok(news) => self.send(hub, news, Some(&shown)),
                    // The pipeline's message tells; the log has it from the sampler.
                    Err(error) => tracing::debug!("no figures: {error}"),
                }
            }
            sleep_until(begun + self.interval).await;
            tokio::select! {
                // What was committed during the work above was not marked as seen.
                changed = commits.changed() => if changed.is_err() { sleep(SECOND).await },
                () = sleep_until(begun + SECOND) => {}
            }
        }
    }

    /// Collects the figures that have changed.
    async fn compute(
        &self,
        hub: &Hub,
        slow: bool,
        shown: &mut Shown,
    ) -> Result<Vec<(Kind, Box<RawValue>)>, Error> {
        let mut news = Vec::new();
        let _turn = hub.turns.acquire().await;
        let filter = &self.filter;
        let mut session = hub.store.session().await?;
        let snapshot = store::snapshot(&mut session).await?;
        let window = Window::last(&snapshot, filter.minutes).await?;
        let current = store::kpis(&snapshot, &window, filter).await?;
        let before = store::kpis(&snapshot, &window.before(), filter).await?;
        let orders = store::orders(&snapshot, &window, filter, ORDERS).await?;
        let mut found = Vec::new();
        found.push((
            Kind::Kpis,
            raw(&json!({ "window": window, "current": current, "before": before })),
        ));
        if slow {
            let points = store::series(&snapshot, &window, filter).await?;
            found.push((Kind::Series, raw(&json!({ "window": window, "points": points }))));
            found.push((Kind::Top, raw(&tops(&snapshot, &window, filter).await?)));
        }
        drop(snapshot);
        for (kind, data) in found {
            if shown.data.get(&kind).is_none_or(|old| old.get() != data.get()) {
                shown.data.insert(kind, data.clone());
                news.push((kind, data));
            }
        }
        let is_first = !shown.data.contains_key(&Kind::Orders);
        // Those whose payment has come since are sent once more.
        let fresh: Vec<&Order> =
            orders.iter().filter(|order| !shown.orders.contains(order)).collect();
        // The first list is news even when it is empty: then it says that there are none.
        if !fresh.is_empty() || is_first {
            news.push((Kind::Orders, raw(&json!({ "rows": fresh }))));
        }
        shown.data.insert(Kind::Orders, raw(&json!({ "rows": orders })));
        shown.orders = orders;
        Ok(news)
    }

    fn send(&self, hub: &Hub, news: Vec<(Kind, Box<RawValue>)>, shown: Option<&Shown>) {
        if news.is_empty() {
            return;
        }
        let mut kept = self.kept();
        let mut messages = Vec::with_capacity(news.len());
        for (kind, data) in news {
            // A beat is no news: it has the number of the message before it.
            let number = if kind == Kind::Beat { kept.last } else { kept.last + 1 };
            let message = Message::new(&self.boot, number, kind, &data);
            if kind != Kind::Beat {
                kept.last = number;
                kept.sent.push_back(message.clone());
                // New orders are sent by themselves; whoever comes later gets all of them.
                let all = shown.and_then(|shown| shown.data.get(&Kind::Orders));
                let whole = match all.filter(|_| kind == Kind::Orders) {
                    Some(all) => Message::new(&self.boot, number, kind, all),
                    None => message.clone(),
                };
                kept.state.insert(kind, whole);
            }
            messages.push(message);
        }
        while kept.sent.len() > KEPT {
            kept.dropped = kept.sent.pop_front().map_or(kept.dropped, |message| message.number);
        }
        hub.counts.batches.fetch_add(1, Relaxed);
        let _ = self.sender.send(Arc::new(Batch::new(messages)));
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rankings of the page.
async fn tops(
    client: &impl deadpool_postgres::GenericClient,
    window: &Window,
    filter: &Filter,
) -> Result<serde_json::Value, Error> {
    Ok(json!({
        "locations": ranking(client, window, filter, Entity::Location, 50).await?,
        "items": ranking(client, window, filter, Entity::Item, 10).await?,
        // By the hour, so that it begins before the window does.
        "items_from": window.hours().from,
        "payments": ranking(client, window, filter, Entity::PaymentMethod, 10).await?,
    }))
}

async fn ranking(
    client: &impl deadpool_postgres::GenericClient,
    window: &Window,
    filter: &Filter,
    by: Entity,
    n: i64,
) -> Result<Vec<store::Top>, Error> {
    let window = if by.is_hourly() { window.hours() } else { *window };
    store::top(client, &window, filter, Ranking { by, metric: by.metrics()[0], n }).await
}

/// A client's place in a room.
pub struct Listener {
    backlog: Option<Batch>,
    receiver: broadcast::Receiver<Arc<Batch>>,
    ended: bool,
    boot: String,
    guard: Counted,
}

/// What comes next for a client.
pub enum Next {
    Messages(Arc<Batch>),
    /// The last message; the connection ends behind it.
    Bye(Message),
}

impl Listener {
    /// Waits for the next messages; `None` behind the last one.
    pub async fn next(&mut self) -> Option<Next> {
        if self.ended {
            return None;
        }
        if let Some(backlog) = self.backlog.take() {
            return Some(Next::Messages(Arc::new(backlog)));
        }
        let mut stop = self.guard.0.stop.clone();
        let received = tokio::select! {
            // What was sent goes first: it may be the reason for the end.
            biased;
            received = self.receiver.recv() => received,
            _ = stop.wait_for(|stop| *stop) => Err(RecvError::Closed),
        };
        let reason = match received {
            Ok(batch) => return Some(Next::Messages(batch)),
            Err(RecvError::Lagged(_)) => {
                self.guard.0.counts.evicted.fetch_add(1, Relaxed);
                "too_slow"
            }
            Err(RecvError::Closed) => "closing",
        };
        self.ended = true;
        let data = raw(&json!({ "reason": reason }));
        Some(Next::Bye(Message::new(&self.boot, 0, Kind::Bye, &data)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use tokio::sync::watch;

    use super::*;
    use crate::connect::Database;
    use crate::listener::Commits;
    use crate::live::Limits;
    use crate::sampler::Sampler;
    use crate::source::Source;
    use crate::store::Store;

    /// A hub over a database that is not there, and a room that nobody computes for.
    fn empty() -> (Arc<Hub>, Room, watch::Sender<bool>) {
        let database = Database::of_url("postgresql://nobody@127.0.0.1:1/none").unwrap();
        let store = Store::new(&database, 1).unwrap();
        let commits = Commits::listen(database);
        let source = Source::watch(None).unwrap();
        let sampler = Sampler::new(store.clone(), "s".into(), None, commits.clone(), source);
        let limits = Limits { clients: 9, filters: 9, interval: SECOND, turns: 1 };
        let (stop, stopping) = watch::channel(false);
        let hub = Hub::new(store, sampler, commits, limits, stopping);
        let filter = Filter { minutes: 5, locations: Vec::new(), service_types: Vec::new() };
        (hub, Room::new("b".into(), filter, Role::Viewer, SECOND), stop)
    }

    fn join(hub: &Arc<Hub>, room: &Room, after: Option<&str>) -> Listener {
        hub.counts.clients.fetch_add(1, Relaxed);
        room.join(after, Counted(Arc::clone(hub)))
    }

    fn send(hub: &Hub, room: &Room, n: usize) {
        room.send(hub, vec![(Kind::Kpis, raw(&json!({ "n": n })))], None);
    }

    async fn numbers(listener: &mut Listener) -> Vec<u64> {
        match listener.next().await {
            Some(Next::Messages(batch)) => batch.messages.iter().map(|it| it.number).collect(),
            _ => panic!("it ended"),
        }
    }

    #[tokio::test]
    async fn who_falls_behind_is_told_and_sent_away() {
        let (hub, room, _stop) = empty();
        let (mut slow, mut quick) = (join(&hub, &room, None), join(&hub, &room, None));
        assert_eq!(numbers(&mut slow).await, [0]);
        assert_eq!(numbers(&mut quick).await, [0]);
        for n in 0..=QUEUE {
            send(&hub, &room, n);
            assert_eq!(numbers(&mut quick).await, [n as u64 + 1]);
        }
        let Some(Next::Bye(bye)) = slow.next().await else { panic!("no farewell") };
        assert!(bye.text.contains("too_slow"), "{}", bye.text);
        assert!(slow.next().await.is_none());
        assert_eq!(hub.counts.evicted.load(Relaxed), 1);
        drop(slow);
        assert_eq!(hub.counts.clients.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn what_was_missed_is_sent_as_long_as_it_is_kept() {
        let (hub, room, _stop) = empty();
        for n in 0..KEPT + 10 {
            send(&hub, &room, n);
        }
        let last = KEPT as u64 + 10;
        let missed = numbers(&mut join(&hub, &room, Some(&format!("b-{}", last - 3)))).await;
        assert_eq!(missed, [last - 3, last - 2, last - 1, last]);
        assert_eq!(numbers(&mut join(&hub, &room, Some(&format!("b-{last}")))).await, [last]);
        // The oldest id from which nothing is missing, and the one before it.
        assert_eq!(numbers(&mut join(&hub, &room, Some("b-10"))).await.len(), KEPT + 1);
        for strange in ["b-9", "b-0", "c-515", "b-9999", "b", ""] {
            assert_eq!(
                numbers(&mut join(&hub, &room, Some(strange))).await,
                [0, last],
                "{strange}"
            );
        }
    }

    #[tokio::test]
    async fn the_end_of_the_server_is_told_behind_what_was_sent() {
        let (hub, room, stop) = empty();
        let mut listener = join(&hub, &room, None);
        send(&hub, &room, 1);
        stop.send(true).unwrap();
        assert_eq!(numbers(&mut listener).await, [0]);
        assert_eq!(numbers(&mut listener).await, [1]);
        assert!(
            matches!(listener.next().await, Some(Next::Bye(bye)) if bye.text.contains("closing"))
        );
    }
}
