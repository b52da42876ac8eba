//! How one order comes about, in the numbers of the chain's statistics.

use uuid::Uuid;

use super::catalogue::items_of;
use super::draw::Draw;
use super::state::Due;
use super::{Calendar, Event, Micros, Payload};

const SERVICE_TYPES: [&str; 3] = ["dine_in", "takeout", "delivery"];
const SERVICE_SHARES: [u32; 3] = [62, 23, 15];
const ITEM_COUNT_SHARES: [u32; 4] = [60, 28, 9, 3];
const QTY_SHARES: [u32; 3] = [85, 12, 3];
const METHODS: [&str; 5] = ["credit_card", "debit", "cash", "digital_wallet", "gift_card"];
const METHOD_SHARES: [u32; 5] = [52, 18, 14, 12, 4];
const RATING_SHARES: [u32; 5] = [4, 6, 20, 36, 34];
const TAX_PERCENT: u32 = 13;
const MILLION: u64 = 1_000_000;

/// Whether and after how long the guest answers. Drawn first of all, so that the answer does not
/// depend on what the guest ate.
pub(super) fn feedback_after(draw: &mut Draw, delay: (Micros, Micros)) -> Option<Micros> {
    let answers = draw.below(100) < 25;
    let after = draw.between_micros(delay.0, delay.1);
    answers.then_some(after)
}

/// Writes the events of one order and returns its id and site.
pub(super) fn write(
    draw: &mut Draw,
    ids: &mut Draw,
    calendar: &Calendar,
    now: Micros,
    events: &mut Vec<Event>,
) -> (Uuid, u8) {
    let order_id = ids.uuid_v7(now);
    let site = draw.weighted(&calendar.site_weights) as u8;
    let service = draw.weighted(&SERVICE_SHARES);
    let mut push = |ids: &mut Draw, payload| {
        events.push(Event { event_id: ids.uuid_v7(now), ts: now, site, payload });
    };
    let visit_id = ids.uuid_v7(now);
    let service_type = SERVICE_TYPES[service];
    push(ids, Payload::OrderCreated { order_id, visit_id, service_type });

    let tastes = &calendar.category_weights[usize::from(site)];
    let mut subtotal = 0;
    for _ in 0..=draw.weighted(&ITEM_COUNT_SHARES) {
        let items = items_of(draw.weighted(tastes));
        let item = &items[draw.below(items.len() as u32) as usize];
        let qty = 1 + draw.weighted(&QTY_SHARES) as u32;
        subtotal += item.price_cents * qty;
        let order_item_id = ids.uuid_v7(now);
        push(ids, Payload::OrderItemAdded { order_item_id, order_id, item, qty });
    }

    let payment_id = ids.uuid_v7(now);
    let method = draw.weighted(&METHOD_SHARES);
    let tip = tip(draw, service, subtotal);
    let provider = provider(draw, method);
    let auth_code = matches!(method, 0 | 1 | 3).then(|| draw.below(1 << 24));
    push(
        ids,
        Payload::PaymentCaptured {
            payment_id,
            order_id,
            method: METHODS[method],
            provider,
            auth_code,
            subtotal,
            tax: (subtotal * TAX_PERCENT + 50) / 100,
            tip,
        },
    );
    (order_id, site)
}

fn tip(draw: &mut Draw, service: usize, subtotal: u32) -> u32 {
    let millionths = match service {
        0 => draw.between(120_000, 240_000),
        1 => [0, 60_000, 100_000][draw.weighted(&[70, 20, 10])],
        _ => draw.between(80_000, 200_000),
    };
    ((u64::from(subtotal) * u64::from(millionths) + MILLION / 2) / MILLION) as u32
}

fn provider(draw: &mut Draw, method: usize) -> Option<&'static str> {
    match method {
        0 => Some(["VISA", "Mastercard", "Amex"][draw.weighted(&[48, 42, 10])]),
        1 => Some("Interac"),
        3 => Some(["Apple Pay", "Google Pay"][draw.weighted(&[65, 35])]),
        4 => Some("Gift Card"),
        _ => None,
    }
}

/// The answer of a guest, given at `now`.
pub(super) fn feedback(draw: &mut Draw, ids: &mut Draw, now: Micros, due: &Due) -> Event {
    let rating = 1 + draw.weighted(&RATING_SHARES) as u32;
    let nps = match rating {
        1 | 2 => draw.between(0, 6),
        3 => draw.between(4, 8),
        4 => draw.between(7, 10),
        _ => draw.between(8, 10),
    };
    Event {
        event_id: ids.uuid_v7(now),
        ts: now,
        site: due.site,
        payload: Payload::FeedbackSubmitted {
            feedback_id: ids.uuid_v7(now),
            order_id: due.order_id,
            customer_id: ids.uuid_v7(now),
            rating,
            nps,
        },
    }
}
