//! What a fuzz input must satisfy; used by the fuzz targets and by the test over their corpora.

pub(crate) mod copy;
pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod expect;
pub(crate) mod json;
pub(crate) mod read;

/// A type as the catalog names it: object id and modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Type(pub(crate) u32, pub(crate) i32);

pub(crate) const TEXT: Type = Type(25, -1);
pub(crate) const VARCHAR_5: Type = Type(1043, 9);
pub(crate) const CHAR_3: Type = Type(1042, 7);
pub(crate) const UUID: Type = Type(2950, -1);
pub(crate) const INT2: Type = Type(21, -1);
pub(crate) const INT4: Type = Type(23, -1);
pub(crate) const INT8: Type = Type(20, -1);
pub(crate) const FLOAT4: Type = Type(700, -1);
pub(crate) const FLOAT8: Type = Type(701, -1);
pub(crate) const NUMERIC: Type = Type(1700, -1);
pub(crate) const NUMERIC_8_2: Type = numeric(8, 2);
pub(crate) const NUMERIC_3_5: Type = numeric(3, 5);
pub(crate) const BOOL: Type = Type(16, -1);
pub(crate) const TIMESTAMPTZ: Type = Type(1184, -1);
pub(crate) const TIMESTAMP: Type = Type(1114, -1);
pub(crate) const DATE: Type = Type(1082, -1);
pub(crate) const JSON: Type = Type(114, -1);
pub(crate) const JSONB: Type = Type(3802, -1);

/// Every kind of column.
pub(crate) const TYPES: [Type; 18] = [
    TEXT,
    VARCHAR_5,
    CHAR_3,
    UUID,
    INT2,
    INT4,
    INT8,
    FLOAT4,
    FLOAT8,
    NUMERIC,
    NUMERIC_8_2,
    NUMERIC_3_5,
    BOOL,
    TIMESTAMPTZ,
    TIMESTAMP,
    DATE,
    JSON,
    JSONB,
];

const fn numeric(precision: i32, scale: i32) -> Type {
    Type(1700, (precision << 16 | scale) + 4)
}

impl Type {
    /// Precision and scale of a `numeric`.
    fn limits(self) -> Option<(i64, i64)> {
        (self.1 >= 4).then(|| (i64::from((self.1 - 4) >> 16), i64::from((self.1 - 4) & 0x7ff)))
    }
}
