//! What happens in a restaurant, before it has an offset or a byte of JSON.

use uuid::Uuid;

use super::Micros;
use super::catalogue::Item;

/// One event. Money is in cents, times in microseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub event_id: Uuid,
    pub ts: Micros,
    /// Index into [`sites`](super::sites).
    pub site: u8,
    pub payload: Payload,
}

#[derive(Clone, Copy, Debug)]
pub enum Payload {
    OrderCreated {
        order_id: Uuid,
        visit_id: Uuid,
        service_type: &'static str,
    },
    OrderItemAdded {
        order_item_id: Uuid,
        order_id: Uuid,
        item: &'static Item,
        qty: u32,
    },
    PaymentCaptured {
        payment_id: Uuid,
        order_id: Uuid,
        method: &'static str,
        provider: Option<&'static str>,
        /// 24 random bits, written as six hexadecimal digits.
        auth_code: Option<u32>,
        subtotal: u32,
        tax: u32,
        tip: u32,
    },
    FeedbackSubmitted {
        feedback_id: Uuid,
        order_id: Uuid,
        customer_id: Uuid,
        rating: u32,
        nps: u32,
    },
}

/// The four kinds, as clients name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventType {
    OrderCreated = 0,
    OrderItemAdded = 1,
    PaymentCaptured = 2,
    FeedbackSubmitted = 3,
}

impl EventType {
    pub const ALL: [Self; 4] =
        [Self::OrderCreated, Self::OrderItemAdded, Self::PaymentCaptured, Self::FeedbackSubmitted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderCreated => "order_created",
            Self::OrderItemAdded => "order_item_added",
            Self::PaymentCaptured => "payment_captured",
            Self::FeedbackSubmitted => "feedback_submitted",
        }
    }
}

impl Event {
    pub fn event_type(&self) -> EventType {
        match self.payload {
            Payload::OrderCreated { .. } => EventType::OrderCreated,
            Payload::OrderItemAdded { .. } => EventType::OrderItemAdded,
            Payload::PaymentCaptured { .. } => EventType::PaymentCaptured,
            Payload::FeedbackSubmitted { .. } => EventType::FeedbackSubmitted,
        }
    }
}
