//! What a fuzz input must satisfy; used by the fuzz target and by the test over its corpus.

use bytes::Bytes;
use sse::{Limits, Parser};

/// The first two bytes choose limits and chunk sizes, the rest is the stream.
pub(crate) fn check(input: &[u8]) {
    let [limit, cut, stream @ ..] = input else {
        return;
    };
    let limits = if *limit == 0 {
        Limits::default()
    } else {
        Limits {
            max_line_bytes: usize::from(*limit),
            max_event_bytes: usize::from(limit.reverse_bits()),
        }
    };
    let whole = read(limits, [stream]);
    assert_eq!(whole, read(limits, stream.chunks(1)));
    assert_eq!(whole, read(limits, stream.chunks(usize::from(*cut) + 2)));
}

fn read<'a>(limits: Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut parser = Parser::new(limits);
    let mut items = Vec::new();
    for chunk in chunks {
        parser.push(Bytes::copy_from_slice(chunk));
        while let Some(item) = parser.next() {
            items.push(format!("{item:?}"));
        }
    }
    items.push(format!("{:?} {:?}", parser.last_event_id(), parser.retry()));
    items
}
