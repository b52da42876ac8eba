//! The rows of a stream in `sse_stream.offsets`, one for each of its writers: read as one, taken
//! together at the start of a run, and moved together to another history.

use futures_util::future::try_join;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::connect::Param;
use crate::error::Error;

/// Where a stream stands, or one of its writers, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) epoch: Option<String>,
    pub(crate) position: i64,
    pub(crate) high_water: i64,
    pub(crate) highest: i64,
    pub(crate) mirrored: Option<i64>,
    pub(crate) previously_mirrored: Option<i64>,
    /// Where offsets are our own count: the source's id of the last event, or an empty text. `None`
    /// where offsets are the source's ids.
    pub(crate) resume_token: Option<String>,
}

/// A stream and its shard.
pub(crate) type Key<'a> = (&'a str, i32);

const STREAM: &str = "
    select epoch, position, high_water, highest, mirrored, previously_mirrored, resume_token
    from sse_stream.streams where stream = $1 and shard = $2";
const LOCK: &str = "
    select fence from sse_stream.offsets where stream = $1 and shard = $2 order by writer for update";
/// All writers begin with the same numbers: nothing above `highest` has landed, by whichever of
/// them, and whatever is above the position comes again.
const TAKE: &str = "
    insert into sse_stream.offsets
        (stream, shard, writer, epoch, position, high_water, highest, mirrored, previously_mirrored,
         owner, fence, resume_token)
    select $1, $2, w, $4, $5, $6, $7, case when w = 0 then $8::bigint end,
           case when w = 0 then $9::bigint end, $10, $11, $12
    from generate_series(0, $3 - 1) w
    on conflict (stream, shard, writer) do update
    set epoch = excluded.epoch, position = excluded.position, high_water = excluded.high_water,
        highest = excluded.highest, mirrored = excluded.mirrored,
        previously_mirrored = excluded.previously_mirrored, owner = excluded.owner,
        fence = excluded.fence, resume_token = excluded.resume_token, updated_at = now()";
const DISMISS: &str =
    "delete from sse_stream.offsets where stream = $1 and shard = $2 and writer >= $3";
/// A source may come back to a history that it had left: what landed of it is known by its marks.
const LEAVE: &str = "
    update sse_stream.epochs e
    set high_water = greatest(e.high_water, s.high_water), highest = greatest(e.highest, s.highest)
    from sse_stream.streams s
    where s.stream = $1 and s.shard = $2
      and e.stream = s.stream and e.shard = s.shard and e.epoch = s.epoch";
const ENTER: &str = "
    insert into sse_stream.epochs as e (stream, shard, epoch) values ($1, $2, $3)
    on conflict (stream, shard, epoch) do update set epoch = excluded.epoch
    returning high_water, highest";
const BEGIN: &str = "
    update sse_stream.offsets o
    set epoch = $3, position = $8, high_water = $4, highest = $5, updated_at = now(),
        resume_token = case when resume_token is not null then '' end
    from unnest($6::integer[], $7::bigint[]) ours (writer, fence)
    where o.stream = $1 and o.shard = $2 and o.writer = ours.writer and o.fence = ours.fence";

fn failed(error: tokio_postgres::Error) -> Error {
    Error::database("cannot use sse_stream.offsets", error)
}

impl Offset {
    /// From a row of these seven columns.
    pub(crate) fn of(row: &Row) -> Self {
        Self {
            epoch: row.get(0),
            position: row.get(1),
            high_water: row.get(2),
            highest: row.get(3),
            mirrored: row.get(4),
            previously_mirrored: row.get(5),
            resume_token: row.get(6),
        }
    }
}

/// Where the stream stands, `None` before its first run.
pub(crate) async fn read(
    client: &Client,
    (stream, shard): Key<'_>,
) -> Result<Option<Offset>, Error> {
    let key: [Param<'_>; 2] = [(&stream, Type::TEXT), (&shard, Type::INT4)];
    let row = client.query_typed_opt(STREAM, &key).await.map_err(failed)?;
    Ok(row.as_ref().map(Offset::of))
}

/// Locks the rows, in the present transaction, and returns the highest fence.
pub(crate) async fn lock(client: &Client, (stream, shard): Key<'_>) -> Result<Option<i64>, Error> {
    let key: [Param<'_>; 2] = [(&stream, Type::TEXT), (&shard, Type::INT4)];
    let rows = client.query_typed(LOCK, &key).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).max())
}

/// Gives the stream `writers` rows with these numbers and this fence, in the present transaction.
pub(crate) async fn write(
    client: &Client,
    (stream, shard): Key<'_>,
    writers: i32,
    offset: &Offset,
    (owner, fence): (&str, i64),
) -> Result<(), Error> {
    let numbers: [Param<'_>; 12] = [
        (&stream, Type::TEXT),
        (&shard, Type::INT4),
        (&writers, Type::INT4),
        (&offset.epoch, Type::TEXT),
        (&offset.position, Type::INT8),
        (&offset.high_water, Type::INT8),
        (&offset.highest, Type::INT8),
        (&offset.mirrored, Type::INT8),
        (&offset.previously_mirrored, Type::INT8),
        (&owner, Type::TEXT),
        (&fence, Type::INT8),
        (&offset.resume_token, Type::TEXT),
    ];
    try_join(client.execute_typed(TAKE, &numbers), client.execute_typed(DISMISS, &numbers[..3]))
        .await
        .map_err(failed)?;
    Ok(())
}

/// Moves all rows to offset 0 of a history, new or known, in the present transaction: those whose
/// fence is ours. Where offsets are counted, a known history is counted on. Returns how many rows
/// there were, and where they stand.
pub(crate) async fn begin_epoch(
    client: &Client,
    (stream, shard): Key<'_>,
    epoch: &str,
    fences: &[(i32, i64)],
    counted: bool,
) -> Result<(usize, Offset), Error> {
    client.execute(LEAVE, &[&stream, &shard]).await.map_err(failed)?;
    let marks = client.query_one(ENTER, &[&stream, &shard, &epoch]).await.map_err(failed)?;
    let (high_water, highest): (i64, i64) = (marks.get(0), marks.get(1));
    let (writers, fences): (Vec<i32>, Vec<i64>) = fences.iter().copied().unzip();
    let position = if counted { highest } else { 0 };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
        [&stream, &shard, &epoch, &high_water, &highest, &writers, &fences, &position];
    let moved = client.execute(BEGIN, &params).await.map_err(failed)?;
    let (epoch, resume_token) = (Some(epoch.to_owned()), counted.then(String::new));
    let offset = Offset { epoch, position, high_water, highest, resume_token, ..Offset::default() };
    Ok((moved as usize, offset))
}
