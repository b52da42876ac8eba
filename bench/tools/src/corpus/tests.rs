use super::*;

const ORDER: &str = "id: 1\nevent: order_created\ndata: {\"offset\":1,\
    \"event_id\":\"019bc41a-0818-7000-93eb-4569bbb05aa1\",\"event_type\":\"order_created\",\
    \"ts\":\"2026-01-15T23:59:59.000001Z\",\"partition_key\":\"LOC-ON-002\",\"payload\":{\
    \"order_id\":\"019bc41a-0818-7000-8b84-6fa62cd8654e\",\
    \"menu_item_id\":\"01941f29-7c00-7000-8000-000000000026\",\
    \"order_ts\":\"2026-01-15T23:59:59.000001Z\"}}\n\n";
const ITEM: &str = "id: 2\nevent: order_item_added\ndata: {\"offset\":2,\
    \"event_id\":\"019bc41a-0819-7000-9030-edc574c9136a\",\
    \"ts\":\"2026-01-15T23:59:59.500000Z\",\"payload\":{\
    \"order_id\":\"019bc41a-0818-7000-8b84-6fa62cd8654e\",\"category\":\"pasta\",\"qty\":1}}\n\n";

fn corpus() -> Corpus {
    Corpus::new(format!("{ORDER}{ITEM}").into_bytes()).expect("a corpus")
}

fn played(corpus: &Corpus, after: u64, last: u64) -> String {
    let mut out = Vec::new();
    assert_eq!(corpus.play(after, last, usize::MAX / 2, &mut out), last);
    String::from_utf8(out).expect("text")
}

#[test]
fn the_first_pass_is_the_file() {
    assert_eq!(played(&corpus(), 0, 2), format!("{ORDER}{ITEM}"));
    assert_eq!(played(&corpus(), 1, 2), ITEM);
}

#[test]
fn a_later_pass_has_ids_and_times_of_its_own() {
    // The corpus is shorter than a second, so that a pass takes two; 200 passes are 400 s.
    let text = played(&corpus(), 400, 402);
    let millis = format!("{:012x}", 0x019b_c41a_0818_u64 + 400_000);
    let (head, tail) = millis.split_at(8);
    assert!(text.starts_with("id: 401\n") && text.contains("{\"offset\":402,"), "{text}");
    assert_eq!(text.matches(&format!("\"order_id\":\"{head}-{tail}-7000-8b84")).count(), 2);
    assert!(text.contains("\"ts\":\"2026-01-16T00:06:39.000001Z\""), "{text}");
    assert!(text.contains("\"01941f29-7c00-7000-8000-000000000026\""), "the menu stays: {text}");
    assert_eq!(text.len(), ORDER.len() + ITEM.len() + 8);
}

#[test]
fn times_within_a_day_are_written_the_short_way() {
    let mut out = Vec::new();
    let text = "2026-01-15T01:02:03.456789Z";
    let time: Timestamp = text.parse().expect("a time");
    put_time(text.as_bytes(), time.as_microsecond(), 3_661_000_000, &mut out);
    assert_eq!(out, b"2026-01-15T02:03:04.456789Z");
}

#[test]
fn room_bounds_what_is_played_at_once() {
    let mut out = Vec::new();
    assert_eq!(corpus().play(0, 1000, ORDER.len() + 1, &mut out), 2);
    assert_eq!(out.len(), ORDER.len() + ITEM.len());
}

#[test]
fn spoiled_events_keep_their_length() {
    let mut spoiled = corpus();
    spoiled.spoil(1);
    let text = played(&spoiled, 0, 2);
    assert!(text.starts_with(ORDER) && text.contains("\"qty\":0"), "{text}");
    assert_eq!(text.len(), ORDER.len() + ITEM.len());
}

#[test]
fn what_the_generator_did_not_write_is_refused() {
    assert!(Corpus::new(b"data: {}\n\n".to_vec()).is_err());
    assert!(Corpus::new(Vec::new()).is_err());
}

#[test]
fn scattered_ids_are_others_and_the_same_wherever_they_stand() {
    let mut scattered = corpus();
    scattered.scatter_ids();
    let text = played(&scattered, 0, 4);
    let ids: Vec<_> = text
        .match_indices("\"order_id\":\"")
        .map(|(at, name)| &text[at + name.len()..][..36])
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[2], ids[3]);
    assert_ne!(ids[0], ids[2]);
    assert!(!ORDER.contains(ids[0]));
    assert_ne!(ids[0][..8], ids[2][..8], "no time is left: {ids:?}");
    assert!(text.contains("\"01941f29-7c00-7000-8000-000000000026\""), "the menu stays: {text}");
}
