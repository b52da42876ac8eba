//! A reader of binary COPY streams, from PostgreSQL's description of the format.

use super::read::split;

/// The fields of each row of a whole stream.
pub(crate) fn rows(stream: &[u8]) -> Vec<Vec<Option<&[u8]>>> {
    let body = stream.strip_prefix(b"PGCOPY\n\xff\r\n\0").expect("the signature");
    let (flags, body) = body.split_first_chunk::<4>().expect("flags");
    assert_eq!(*flags, [0; 4]);
    let (extension, mut body) = body.split_first_chunk::<4>().expect("an extension's length");
    assert_eq!(*extension, [0; 4]);
    let mut rows = Vec::new();
    loop {
        let (count, mut rest) = body.split_first_chunk::<2>().expect("a row or the end");
        let Ok(count) = usize::try_from(i16::from_be_bytes(*count)) else {
            assert_eq!(*count, [0xff, 0xff], "the end is -1");
            assert!(rest.is_empty(), "bytes behind the end");
            return rows;
        };
        let mut row = Vec::with_capacity(count);
        for _ in 0..count {
            let (field, after) = split(rest);
            row.push(field);
            rest = after;
        }
        rows.push(row);
        body = rest;
    }
}
