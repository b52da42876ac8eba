//! The ledger of gaps: offsets that the source did not give us, noted, and repaired when their
//! events come after all. What is at or below the high-water mark and in no open gap was given.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::batch::{Batch, Gap};
use crate::connect::Param;
use crate::dead_letters::Address;
use crate::error::Error;
use crate::offsets::Key;

/// More open gaps than this are not held in memory: the oldest are.
const MOST: usize = 10_000;

/// What was sent while nobody listened has no offsets that could come.
const OPEN: &str = "
    select gap_id, first_missed, last_missed, noticed_by = 'reset' from sse_stream.gaps
    where stream = $1 and shard = $2 and epoch = $3 and repaired_at is null
      and noticed_by <> 'reconnect'
    order by first_missed, gap_id limit $4";
const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended($1, 0))";
const NOTE: &str = "
    insert into sse_stream.gaps (stream, shard, epoch, run_id, first_missed, last_missed, noticed_by)
    select $1, $2, $3, nullif($4, ''), u.*
    from unnest($5::bigint[], $6::bigint[], $7::text[]) u
    on conflict (stream, shard, epoch, first_missed, last_missed) do nothing";
const CLOSE: &str = "update sse_stream.gaps set repaired_at = now() where gap_id = $1";
/// A part of a gap gets a line of its own.
const PART: &str = "
    insert into sse_stream.gaps
        (stream, shard, epoch, first_missed, last_missed, noticed_by, noticed_at, run_id, repaired_at)
    select stream, shard, epoch, $2, $3, noticed_by, noticed_at, run_id,
           case when $4 then now() end
    from sse_stream.gaps where gap_id = $1
    on conflict (stream, shard, epoch, first_missed, last_missed) do update
    set repaired_at = excluded.repaired_at";
/// What is left of a gap, unless another line says the same.
const SHRINK: &str = "
    update sse_stream.gaps g set first_missed = $2, last_missed = $3
    where gap_id = $1 and not exists (
        select from sse_stream.gaps o
        where (o.stream, o.shard, o.epoch) = (g.stream, g.shard, g.epoch)
          and o.first_missed = $2 and o.last_missed = $3)";

/// The open gaps of a stream's epoch, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenGaps(Vec<OpenGap>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenGap {
    gap_id: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// A person moved the offset over it: nobody fetches it unasked.
    pub(crate) on_purpose: bool,
}

/// The ledger as a run knows it, for all of its writers.
#[derive(Default)]
pub(crate) struct Ledger {
    open: Mutex<Arc<OpenGaps>>,
    reading: tokio::sync::Mutex<()>,
}

impl Ledger {
    pub(crate) fn open(&self) -> Arc<OpenGaps> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads it again. One after the other: whoever changed it reads after its own commit, so the
    /// last to read has seen all changes.
    pub(crate) async fn read(
        &self,
        client: &Client,
        key: Key<'_>,
        epoch: Option<&str>,
    ) -> Result<(), Error> {
        // A writer that has committed nothing yet knows of no epoch, others may.
        let Some(epoch) = epoch else { return Ok(()) };
        let _one = self.reading.lock().await;
        let open = Arc::new(OpenGaps::read(client, key, epoch).await?);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        Ok(())
    }
}

impl OpenGaps {
    /// Reads the ledger.
    pub(crate) async fn read(
        client: &Client,
        (stream, shard): Key<'_>,
        epoch: &str,
    ) -> Result<Self, Error> {
        let most = MOST as i64;
        let params: [Param<'_>; 4] = [
            (&stream, Type::TEXT),
            (&shard, Type::INT4),
            (&epoch, Type::TEXT),
            (&most, Type::INT8),
        ];
        let rows = client
            .query_typed(OPEN, &params)
            .await
            .map_err(|error| Error::database("cannot read sse_stream.gaps", error))?;
        if rows.len() == MOST {
            tracing::warn!(
                "stream {stream:?} has more than {MOST} open gaps; only the oldest are looked after"
            );
        }
        let gap = |row: &tokio_postgres::Row| OpenGap {
            gap_id: row.get(0),
            first: row.get(1),
            last: row.get(2),
            on_purpose: row.get(3),
        };
        Ok(Self(rows.iter().map(gap).collect()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OpenGap> {
        self.0.iter()
    }

    /// Whether the source has not given us this offset yet, although it went on behind it.
    pub(crate) fn contains(&self, offset: i64) -> bool {
        self.0.iter().any(|gap| (gap.first..=gap.last).contains(&offset))
    }

    pub(crate) fn overlaps(&self, range: &RangeInclusive<i64>) -> bool {
        self.0.iter().any(|gap| gap.first <= *range.end() && *range.start() <= gap.last)
    }

    /// Writes down that the offsets of the batch's events are missing no more, in the present
    /// transaction. Returns how many lines of the ledger changed, and how many gaps ended.
    pub(crate) async fn repair(
        &self,
        client: &Client,
        key: Key<'_>,
        batch: &Batch,
    ) -> Result<(u64, u64), Error> {
        let given = given(batch);
        let brings = |gap: &OpenGap| {
            given.iter().any(|(first, last)| gap.first <= *last && *first <= gap.last)
        };
        if !self.0.iter().any(brings) {
            return Ok((0, 0));
        }
        // Another writer may be at the same gap: one after the other, each with what it finds.
        client
            .execute(LOCK, &[&format!("sse_stream/gaps/{}/{}", key.0, key.1)])
            .await
            .map_err(|error| Error::database("cannot lock sse_stream.gaps", error))?;
        Self::read(client, key, &batch.epoch).await?.fill(client, &given).await
    }

    async fn fill(&self, client: &Client, given: &[(i64, i64)]) -> Result<(u64, u64), Error> {
        let (mut touched, mut ended) = (0, 0);
        let failed = |error| Error::database("cannot write sse_stream.gaps", error);
        for gap in &self.0 {
            let mut parts = parts((gap.first, gap.last), given);
            if parts.iter().all(|part| !part.given) {
                continue;
            }
            touched += 1;
            // The line itself stands for the last part that is still missing, if one is.
            let own = parts.iter().rposition(|part| !part.given).map(|at| parts.remove(at));
            if own.is_none() {
                ended += 1;
                parts.clear();
            }
            for part in parts {
                let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                    [&gap.gap_id, &part.first, &part.last, &part.given];
                client.execute(PART, &params).await.map_err(failed)?;
            }
            let kept = match own {
                Some(part) => client
                    .execute(SHRINK, &[&gap.gap_id, &part.first, &part.last])
                    .await
                    .map_err(failed)?,
                None => 0,
            };
            if kept == 0 {
                client.execute(CLOSE, &[&gap.gap_id]).await.map_err(failed)?;
            }
        }
        Ok((touched, ended))
    }
}

/// A part of a gap whose offsets all came, or all did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: i64,
    last: i64,
    given: bool,
}

/// The offsets that the batch brings, in order and joined to ranges.
fn given(batch: &Batch) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> =
        batch.events.iter().filter_map(|event| event.id).map(|id| (id, id)).collect();
    ranges.extend(batch.covered);
    ranges.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

fn parts((start, end): (i64, i64), given: &[(i64, i64)]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = start;
    for (first, last) in given {
        let (first, last) = ((*first).max(start), (*last).min(end));
        if first > last {
            continue;
        }
        if at < first {
            parts.push(Part { first: at, last: first - 1, given: false });
        }
        parts.push(Part { first, last, given: true });
        at = last + 1;
    }
    if at <= end {
        parts.push(Part { first: at, last: end, given: false });
    }
    parts
}

/// Leaves of the batch's gaps what is above the high-water mark and did not come with the same
/// batch: what is below was given to us once, or is in the ledger.
pub(crate) fn clip(batch: &mut Batch, high_water: i64) {
    if batch.gaps.is_empty() {
        return;
    }
    let given = given(batch);
    let gaps = std::mem::take(&mut batch.gaps);
    for gap in gaps.into_iter().filter(|gap| gap.last > high_water) {
        let missing = parts((gap.first.max(high_water + 1), gap.last), &given);
        let missing = missing.into_iter().filter(|part| !part.given);
        batch.gaps.extend(missing.map(|part| Gap { first: part.first, last: part.last, ..gap }));
    }
}

/// Records the batch's gaps, in the present transaction; in most batches there are none.
pub(crate) async fn note(
    client: &Client,
    address: &Address<'_>,
    batch: &Batch,
) -> Result<(), Error> {
    if batch.gaps.is_empty() {
        return Ok(());
    }
    client
        .execute(
            NOTE,
            &[
                &address.stream,
                &address.shard,
                &batch.epoch,
                &address.run_id,
                &batch.gaps.iter().map(|gap| gap.first).collect::<Vec<_>>(),
                &batch.gaps.iter().map(|gap| gap.last).collect::<Vec<_>>(),
                &batch.gaps.iter().map(|gap| gap.noticed_by).collect::<Vec<_>>(),
            ],
        )
        .await
        .map_err(|error| Error::database("cannot write sse_stream.gaps", error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_falls_into_what_came_and_what_did_not() {
        let shown = |given: &[(i64, i64)]| -> Vec<String> {
            let sign = |part: &Part| if part.given { '+' } else { '-' };
            let parts = parts((5, 20), given);
            parts
                .iter()
                .map(|part| format!("{}{}..{}", sign(part), part.first, part.last))
                .collect()
        };
        assert_eq!(shown(&[]), ["-5..20"]);
        assert_eq!(shown(&[(1, 4), (21, 30)]), ["-5..20"]);
        assert_eq!(shown(&[(1, 40)]), ["+5..20"]);
        assert_eq!(shown(&[(5, 9), (12, 25)]), ["+5..9", "-10..11", "+12..20"]);
        assert_eq!(shown(&[(7, 7)]), ["-5..6", "+7..7", "-8..20"]);
    }
}
