//! The frame of a binary COPY stream around encoded fields.

use bytes::{BufMut, BytesMut};

/// Signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

pub(crate) fn begin(out: &mut BytesMut) {
    out.put_slice(HEADER);
}

/// Begins a row: the number of its fields, which must follow.
pub(crate) fn begin_row(out: &mut BytesMut, fields: i16) {
    out.put_i16(fields);
}

pub(crate) fn end(out: &mut BytesMut) {
    out.put_i16(-1);
}
