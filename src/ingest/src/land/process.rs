//! Events with a processor: their rows for `*` and the call, one savepoint each.

use super::judge::refusal;
use super::{Exclusions, Known, Lander};
use crate::batch::{Batch, Fate};
use crate::cursor::Cursor;
use crate::decode::Reason;
use crate::error::Error;
use crate::host::ProcessorEvent;
use crate::preset::Mode;

impl Lander {
    /// Lands one event that has a processor: its rows for `*`, then the call, in one savepoint.
    pub(super) async fn process(
        &self,
        batch: &Batch,
        event: usize,
        known: &Known<'_>,
        out: &[Exclusions],
        changed: &mut [u64],
    ) -> Result<Fate, tokio_postgres::Error> {
        let is_old = |index: &usize| {
            out[*index].present.contains(&(event as i32))
                || out[*index].old.contains(&(event as u32))
                || out[*index].repeated.contains_key(&(event as u32))
        };
        let own: Vec<usize> = (0..self.routes.len())
            .filter(|index| !batch.rows[*index].within(&(event..event + 1)).is_empty())
            .collect();
        let mut keyed = own.iter().filter(|index| self.routes[**index].route.mode != Mode::Append);
        let is_known = if keyed.clone().next().is_some() {
            keyed.all(is_old)
        } else {
            known.has(batch, event)
        };
        if is_known {
            return Ok(Fate::Duplicate);
        }
        let fresh: Vec<usize> = own.into_iter().filter(|index| !is_old(index)).collect();
        self.client.batch_execute("savepoint event").await?;
        match self.land_and_call(batch, event, &fresh).await {
            Ok(counts) => {
                for (index, count) in counts {
                    changed[index] += count;
                }
                Ok(Fate::Landed)
            }
            Err(_) if self.client.is_closed() => {
                // Nothing was decided; let the broken session surface through the next statement.
                self.client.batch_execute("release savepoint event").await?;
                Ok(Fate::Pending)
            }
            Err(reason) => {
                let undo = "rollback to savepoint event; release savepoint event";
                self.client.batch_execute(undo).await?;
                Ok(Fate::Dead(reason))
            }
        }
    }

    async fn land_and_call(
        &self,
        batch: &Batch,
        event: usize,
        routes: &[usize],
    ) -> Result<Vec<(usize, u64)>, Reason> {
        let unexpected = |error: tokio_postgres::Error| {
            refusal(&error).unwrap_or_else(|| {
                let error = Error::database("cannot land the event's own rows", error);
                Reason::new("processor_error", error.to_string())
            })
        };
        let only = vec![event as i32];
        let mut counts = Vec::with_capacity(routes.len());
        for index in routes {
            let land_only = &self.routes[*index].land_only;
            counts.push((
                *index,
                self.client.execute(land_only, &[&only]).await.map_err(unexpected)?,
            ));
        }
        let subject = &batch.events[event];
        let call = ProcessorEvent {
            event_type: batch.event_type(subject).to_owned(),
            data: String::from_utf8_lossy(batch.data(subject)).into_owned(),
        };
        let mut cursor = Cursor::new(self.client.clone(), tokio::runtime::Handle::current());
        let host = self.host.clone();
        let failed =
            |why: String| Reason::new("processor_error", format!("the processor failed: {why}"));
        tokio::task::spawn_blocking(move || host.process(&call, &mut cursor))
            .await
            .map_err(|panic| failed(panic.to_string()))?
            .map_err(failed)?;
        // A statement that failed and was caught has spoilt the savepoint; it shows here.
        self.client.batch_execute("release savepoint event").await.map_err(|_| {
            failed("it caught a database error and went on; let the error out instead".into())
        })?;
        Ok(counts)
    }
}
