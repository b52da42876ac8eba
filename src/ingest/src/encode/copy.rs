//! The frame of a binary COPY stream around encoded fields.

use bytes::{BufMut, BytesMut};

/// Signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

pub(crate) fn begin(out: &mut BytesMut) {
    out.put_slice(HEADER);
}

/// Begins a row: the number of all its fields, and the first one, the row's event. The other
/// fields must follow.
pub(crate) fn put_row(out: &mut BytesMut, fields: i16, event: u32) {
    out.put_i16(fields);
    out.put_i32(4);
    out.put_u32(event);
}

pub(crate) fn end(out: &mut BytesMut) {
    out.put_i16(-1);
}
