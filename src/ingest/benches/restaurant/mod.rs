//! The restaurant preset over a long feed, without a database: its routes as they stand in the
//! preset, its columns' types by their names.

use ingest::fuzzing::Bench;

#[path = "../../../sse/benches/corpus/mod.rs"]
pub(crate) mod corpus;

const PRESET: &str = include_str!("../../../../python/sse_stream/presets/restaurant/preset.toml");

pub(crate) fn bench() -> Bench {
    Bench::of_preset(PRESET, |column| match column {
        "event_offset" => (20, -1),
        "qty" | "rating" | "nps" => (23, -1),
        "payload" => (3802, -1),
        // numeric(10, 2)
        "unit_price" | "extended_price" | "subtotal" | "tax" | "tip" | "total" | "amount" => {
            (1700, (10 << 16) + 2 + 4)
        }
        _ if column.ends_with("_id") => (2950, -1),
        _ if column == "ts" || column.ends_with("_ts") || column.ends_with("_at") => (1184, -1),
        _ => (25, -1),
    })
}
