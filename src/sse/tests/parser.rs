//! Properties of the parser that hold for any input.

use bytes::Bytes;
use sse::{Item, Limits, Parser};

fn all(limits: Limits, chunks: &[&[u8]]) -> Vec<String> {
    let mut parser = Parser::new(limits);
    let mut items = Vec::new();
    for chunk in chunks {
        parser.push(Bytes::copy_from_slice(chunk));
        while let Some(item) = parser.next() {
            items.push(format!("{item:?}"));
        }
    }
    items.push(format!("{:?}", parser.last_event_id()));
    items
}

#[test]
fn smoke() {
    let input: &[u8] = b"\xEF\xBB\xBF: hi\nid: 1\nevent: a\ndata: {\"x\":1}\n\nid:2\r\n\r\nretry: 30\rdata: a\rdata: b\r\r";
    let whole = all(Limits::default(), &[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(whole, all(Limits::default(), &bytes));
    println!("{whole:#?}");
    let _ = Item::IdOnly(b"");
}
