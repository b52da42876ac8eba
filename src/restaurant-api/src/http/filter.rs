//! Which events a client wants, and cutting them out of a page.

use bytes::{Bytes, BytesMut};

use super::parameters::Until;
use crate::log::Page;
use crate::wire::Entry;

/// Sets of event types and sites, one bit each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) types: u32,
    pub(super) sites: u32,
}

impl Filter {
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        self.types >> entry.event_type & self.sites >> entry.site & 1 == 1
    }

    fn takes_all(&self) -> bool {
        self.types == u32::MAX && self.sites == u32::MAX
    }

    /// Blocks of the wanted events among `from..to`. Without a filter nothing is copied.
    pub(super) fn cut(&self, page: &Page, from: usize, to: usize) -> Bytes {
        if self.takes_all() {
            return page.blocks(from..to);
        }
        let mut out = BytesMut::new();
        let mut at = from;
        while at < to {
            let run = page.entries()[at..to].iter().take_while(|e| self.takes(e)).count();
            if run > 0 {
                out.extend_from_slice(&page.blocks(at..at + run));
            }
            at += run + 1;
        }
        out.freeze()
    }
}

impl Until {
    /// How many events of the page lie before the end: an index one past the last of them.
    pub(super) fn within(&self, page: &Page) -> usize {
        match self {
            Self::Offset(last) => {
                let count = (last + 1).saturating_sub(page.first());
                usize::try_from(count).unwrap_or(usize::MAX).min(page.len())
            }
            Self::Time(time) => {
                let (mut low, mut high) = (0, page.len());
                while low < high {
                    let middle = low.midpoint(high);
                    if page.ts(middle) <= time.as_slice() {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                low
            }
        }
    }
}
