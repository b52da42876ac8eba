//! Children that came before their parents: kept in `sse_stream.waiting` until the parent lands.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate, Missing};
use crate::connect::Param;
use crate::dead_letters::Address;
use crate::error::Error;

// An event waits or is dead, not both: a letter of it that is open (it was read again after its time
// was over) is settled by the waiting.
const PARK: &str = "
    with parked as (
        insert into sse_stream.waiting
            (stream, shard, epoch, run_id, event_offset, source_id, event_type, parent_table,
             parent_key, parent_id, raw)
        select $1, $2, $3, nullif($4, ''), u.*
        from unnest($5::bigint[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::text[], $11::bytea[]) u
        on conflict (stream, shard, epoch, source_id, md5(raw)) do nothing
        returning source_id, raw),
    settled as (
        update sse_stream.dead_letters d
        set state = 'replayed', settled_at = now(), settled_by = 'waiting again'
        from parked p
        where d.stream = $1 and d.shard = $2 and d.epoch = $3 and d.source_id = p.source_id
          and md5(d.raw) = md5(p.raw) and d.state = 'open')
    select source_id from parked";
const COUNT: &str = "select count(*) from sse_stream.waiting where stream = $1 and shard = $2";
const DUE: &str = "
    select waiting_id, octet_length(raw) from sse_stream.waiting
    where stream = $1 and shard = $2
      and (parent_table, parent_key) in (select * from unnest($3::text[], $4::bytea[]))
    order by epoch, waiting_id";
const ALL: &str = "
    select waiting_id, octet_length(raw) from sse_stream.waiting
    where stream = $1 and shard = $2 order by epoch, waiting_id";
// Another session may be landing the same event: it is left to that one.
const TAKE: &str = "
    select waiting_id, epoch, event_offset, source_id, event_type, raw,
           (extract(epoch from first_seen_at) * 1000000)::bigint
    from sse_stream.waiting where waiting_id = any($1)
    order by epoch, waiting_id for update skip locked";
const FORGET: &str = "delete from sse_stream.waiting where waiting_id = any($1)";
const REDIRECT: &str = "
    update sse_stream.waiting w
    set parent_table = u.parent_table, parent_key = u.parent_key, parent_id = u.parent_id
    from unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[])
        u (waiting_id, parent_table, parent_key, parent_id)
    where w.waiting_id = u.waiting_id";
const EXPIRE: &str = "
    with expired as (
        delete from sse_stream.waiting
        where stream = $1 and shard = $2 and first_seen_at < now() - make_interval(secs => $3)
        returning *)
    insert into sse_stream.dead_letters as d
        (stream, shard, epoch, run_id, event_offset, source_id, event_type, reason_code, reason, raw,
         raw_landed)
    select stream, shard, epoch, nullif($4, ''), event_offset, source_id, event_type,
           'missing_parent',
           format('%s has no row with %s; the event waited for it since %s', parent_table, parent_id,
                  date_trunc('second', first_seen_at)),
           raw, true
    from expired
    on conflict (stream, shard, epoch, source_id, md5(raw)) do update
    set attempts = d.attempts + 1, last_seen_at = now(), run_id = excluded.run_id,
        reason_code = excluded.reason_code, reason = excluded.reason, raw_landed = true,
        -- It waited, so it had not landed: a replay must bring its rows without a key, too.
        settled_at = case d.state when 'discarded' then d.settled_at end,
        state = case d.state when 'replayed' then 'open' else d.state end";

/// Bounds on what is landed late in one piece.
const PAGE_ROWS: usize = 1000;
const PAGE_BYTES: i64 = 4 << 20;

/// Keys of parents that landed: table and encoded key.
pub(crate) type Keys = HashSet<(String, Vec<u8>)>;

/// The room's door: statements prepared for one session.
pub(crate) struct WaitingRoom {
    park: Statement,
    due: Statement,
}

/// An event that waited.
pub(crate) struct Waiter {
    pub(crate) waiting_id: i64,
    pub(crate) epoch: String,
    pub(crate) offset: i64,
    pub(crate) source_id: String,
    pub(crate) event_type: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) first_seen_at: jiff::Timestamp,
}

/// Ids of waiting events that are landed in one piece.
pub(crate) type Page = Vec<i64>;

fn failed(error: tokio_postgres::Error) -> Error {
    Error::database("cannot use sse_stream.waiting", error)
}

impl WaitingRoom {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, Error> {
        let (park, due) =
            try_join(client.prepare(PARK), client.prepare(DUE)).await.map_err(failed)?;
        Ok(Self { park, due })
    }

    /// Keeps the batch's waiting events. One that waits already (it was read again) becomes a
    /// duplicate.
    pub(crate) async fn park(
        &self,
        client: &Client,
        address: &Address<'_>,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let waiting: Vec<(usize, &Missing)> = waiting_in(batch).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let events = || waiting.iter().map(|(event, _)| &batch.events[*event]);
        let missing = || waiting.iter().map(|(_, missing)| *missing);
        let rows = client
            .query(
                &self.park,
                &[
                    &address.stream,
                    &address.shard,
                    &batch.epoch,
                    &address.run_id,
                    &events().map(|event| event.id).collect::<Vec<_>>(),
                    &events().map(|event| batch.source_id(event)).collect::<Vec<_>>(),
                    &events().map(|event| batch.event_type(event)).collect::<Vec<_>>(),
                    &missing().map(|missing| missing.table.as_str()).collect::<Vec<_>>(),
                    &missing().map(|missing| missing.key.as_slice()).collect::<Vec<_>>(),
                    &missing().map(|missing| missing.id.as_str()).collect::<Vec<_>>(),
                    &events().map(|event| batch.data(event)).collect::<Vec<_>>(),
                ],
            )
            .await
            .map_err(failed)?;
        let mut parked: HashMap<String, usize> = HashMap::new();
        for row in rows {
            *parked.entry(row.get(0)).or_default() += 1;
        }
        let known: Vec<usize> = waiting
            .iter()
            .map(|(event, _)| *event)
            .filter(|event| match parked.get_mut(&batch.source_id(&batch.events[*event])) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                _ => true,
            })
            .collect();
        for event in known {
            batch.events[event].fate = Fate::Duplicate;
        }
        Ok(())
    }

    /// The events that wait for one of these parents.
    pub(crate) async fn due(
        &self,
        client: &Client,
        address: &Address<'_>,
        parents: &Keys,
    ) -> Result<Vec<Page>, Error> {
        let (tables, keys): (Vec<&str>, Vec<&[u8]>) =
            parents.iter().map(|(table, key)| (table.as_str(), key.as_slice())).unzip();
        let rows = client
            .query(&self.due, &[&address.stream, &address.shard, &tables, &keys])
            .await
            .map_err(failed)?;
        Ok(pages(&rows))
    }
}

/// How many events wait.
pub(crate) async fn count(client: &Client, stream: &str, shard: i32) -> Result<i64, Error> {
    let row = client.query_typed_one(COUNT, &[(&stream, Type::TEXT), (&shard, Type::INT4)]).await;
    Ok(row.map_err(failed)?.get(0))
}

/// All events that wait.
pub(crate) async fn all(client: &Client, address: &Address<'_>) -> Result<Vec<Page>, Error> {
    let params: [Param<'_>; 2] = [(&address.stream, Type::TEXT), (&address.shard, Type::INT4)];
    Ok(pages(&client.query_typed(ALL, &params).await.map_err(failed)?))
}

/// Locks the events of a page, in the order of [`all`], and reads them.
pub(crate) async fn take(client: &Client, page: &Page) -> Result<Vec<Waiter>, Error> {
    let rows = client.query(TAKE, &[page]).await.map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|row| Waiter {
            waiting_id: row.get(0),
            epoch: row.get(1),
            offset: row.get(2),
            source_id: row.get(3),
            event_type: row.get(4),
            raw: row.get(5),
            first_seen_at: jiff::Timestamp::from_microsecond(row.get(6)).unwrap_or_default(),
        })
        .collect())
}

/// Settles the waiting events `ids`, which are the events of `batch`: those that still wait (for
/// another parent) stay, all others leave. Returns how many left.
pub(crate) async fn leave(client: &Client, ids: &[i64], batch: &Batch) -> Result<u64, Error> {
    let staying: HashMap<usize, &Missing> = waiting_in(batch).collect();
    let gone: Vec<i64> = ids
        .iter()
        .enumerate()
        .filter(|(event, _)| !staying.contains_key(event))
        .map(|(_, id)| *id)
        .collect();
    if !staying.is_empty() {
        let (ids, missing): (Vec<i64>, Vec<&Missing>) =
            staying.into_iter().map(|(event, missing)| (ids[event], missing)).unzip();
        let tables: Vec<&str> = missing.iter().map(|missing| missing.table.as_str()).collect();
        let keys: Vec<&[u8]> = missing.iter().map(|missing| missing.key.as_slice()).collect();
        let texts: Vec<&str> = missing.iter().map(|missing| missing.id.as_str()).collect();
        client.execute(REDIRECT, &[&ids, &tables, &keys, &texts]).await.map_err(failed)?;
    }
    client.execute(FORGET, &[&gone]).await.map_err(failed)
}

/// Turns events that have waited longer than `max_age_s` seconds into dead letters and returns how
/// many there were.
pub(crate) async fn expire(
    client: &Client,
    address: &Address<'_>,
    max_age_s: f64,
) -> Result<u64, Error> {
    client
        .execute(EXPIRE, &[&address.stream, &address.shard, &max_age_s, &address.run_id])
        .await
        .map_err(failed)
}

fn waiting_in(batch: &Batch) -> impl Iterator<Item = (usize, &Missing)> {
    batch.events.iter().enumerate().filter_map(|(index, event)| match &event.fate {
        Fate::Waiting(missing) => Some((index, missing)),
        _ => None,
    })
}

fn pages(rows: &[tokio_postgres::Row]) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let (id, size): (i64, i32) = (row.get(0), row.get(1));
        bytes += i64::from(size);
        match pages.last_mut() {
            Some(page) if page.len() < PAGE_ROWS && bytes <= PAGE_BYTES => page.push(id),
            _ => {
                bytes = i64::from(size);
                pages.push(vec![id]);
            }
        }
    }
    pages
}
