//! What only the inside can tell: how much memory is held.

use super::*;

fn held(parser: &Parser) -> usize {
    let own = [
        &parser.carry,
        &parser.data_buffer,
        &parser.id_buffer,
        &parser.event_buffer,
        &parser.last_event_id,
    ];
    let texts = parser.event_text.capacity() + parser.data_text.capacity();
    own.into_iter().map(Vec::capacity).sum::<usize>() + texts + parser.chunk.len()
}

#[test]
fn memory_stays_bounded_whatever_comes() {
    const LIMIT: usize = 256 * 1024;
    let limits = Limits { max_line_bytes: LIMIT, max_event_bytes: LIMIT };
    let endless: [&[u8]; 9] = [
        b"data: a\n",
        b"data:\n",
        b"data: ",
        b"id: ",
        b"event: ",
        b": ",
        b"retry: 1",
        b"x",
        b"id: 1\n",
    ];
    let filler = Bytes::from(vec![b'7'; 10_000]);
    let bad = Bytes::from(vec![0xFF; 10_000]);
    for start in endless {
        for filler in [&filler, &bad, &Bytes::copy_from_slice(&start.repeat(1000))] {
            let mut parser = Parser::new(limits);
            let mut most = 0;
            for round in 0..3 {
                parser.push(Bytes::copy_from_slice(start));
                for _ in 0..100 {
                    while parser.next().is_some() {}
                    parser.push(filler.clone());
                    most = most.max(held(&parser));
                }
                while parser.next().is_some() {}
                let end = ["\n\n", "\r\r", "\ndata: b\n\n"][round];
                parser.push(Bytes::from_static(end.as_bytes()));
                while parser.next().is_some() {}
            }
            assert!(most <= 2 * LIMIT + 4 * HEAD_BYTES, "{start:?}: {most} bytes");
        }
    }
}
