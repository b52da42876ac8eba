//! The chain's statistics, its money and its clocks.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Timelike, Utc};
use proptest::prelude::*;
use restaurant_api::simulator::{
    Event, Meal, Micros, Payload, Settings, Simulator, State, Step, sites,
};
use uuid::Uuid;

fn simulator(seed: u64, epoch: Uuid) -> Simulator {
    let settings = Settings { seed, epoch, feedback_delay: (60_000_000, 600_000_000) };
    Simulator::new(settings, State::default())
}

fn micros(text: &str) -> Micros {
    text.parse::<DateTime<Utc>>().unwrap().timestamp_micros()
}

/// So many orders at one time, and all their feedback.
fn orders_at(now: Micros, count: usize) -> Vec<Event> {
    let mut simulator = simulator(42, Uuid::nil());
    let mut step = Step::default();
    for _ in 0..count {
        simulator.order(now, &mut step);
    }
    while let Some(due) = simulator.next_due() {
        simulator.feedback(due, &mut step);
    }
    step.events
}

/// Counts words and compares their shares with percentages, within five standard deviations.
fn assert_shares(what: &str, found: &HashMap<String, usize>, percent: &[(&str, f64)]) {
    let total: usize = found.values().sum();
    let names: HashSet<_> = percent.iter().map(|(name, _)| *name).collect();
    assert!(found.keys().all(|name| names.contains(name.as_str())), "{what}: {found:?}");
    for (name, percent) in percent {
        let share = found.get(*name).copied().unwrap_or(0) as f64 / total as f64;
        let p = percent / 100.0;
        let tolerance = 5.0 * (p * (1.0 - p) / total as f64).sqrt();
        assert!((share - p).abs() <= tolerance, "{what} {name}: {share} is not {p}");
    }
}

const MIDDAY: &str = "2026-06-10T16:30:00Z";

#[test]
fn shares_are_those_of_the_statistics() {
    let events = orders_at(micros(MIDDAY), 40_000);
    let mut counts: HashMap<&str, HashMap<String, usize>> = HashMap::new();
    let mut count = |what: &'static str, name: &str| {
        let name = name.to_owned();
        *counts.entry(what).or_default().entry(name).or_default() += 1;
    };
    let mut items = 0;
    for event in &events {
        count("type", event.event_type().as_str());
        match &event.payload {
            Payload::OrderCreated { service_type, .. } => {
                count("service", service_type);
                count("site", &sites()[usize::from(event.site)].code);
                items = 0;
            }
            Payload::OrderItemAdded { qty, .. } => {
                items += 1;
                count("qty", &qty.to_string());
            }
            Payload::PaymentCaptured { method, provider, auth_code, .. } => {
                count("items", &items.to_string());
                count("method", method);
                if *method == "credit_card" {
                    count("card", provider.unwrap());
                } else if *method == "digital_wallet" {
                    count("wallet", provider.unwrap());
                }
                assert_eq!(auth_code.is_none(), ["cash", "gift_card"].contains(method));
                assert_eq!(provider.is_none(), *method == "cash");
            }
            Payload::FeedbackSubmitted { rating, nps, .. } => {
                count("rating", &rating.to_string());
                let range = match rating {
                    1 | 2 => 0..=6,
                    3 => 4..=8,
                    4 => 7..=10,
                    _ => 8..=10,
                };
                assert!(range.contains(nps));
            }
        }
    }
    let check = |what, percent: &[(&str, f64)]| assert_shares(what, &counts[what], percent);
    check("service", &[("dine_in", 62.0), ("takeout", 23.0), ("delivery", 15.0)]);
    check("items", &[("1", 60.0), ("2", 28.0), ("3", 9.0), ("4", 3.0)]);
    check("qty", &[("1", 85.0), ("2", 12.0), ("3", 3.0)]);
    check(
        "method",
        &[
            ("credit_card", 52.0),
            ("debit", 18.0),
            ("cash", 14.0),
            ("digital_wallet", 12.0),
            ("gift_card", 4.0),
        ],
    );
    check("card", &[("VISA", 48.0), ("Mastercard", 42.0), ("Amex", 10.0)]);
    check("wallet", &[("Apple Pay", 65.0), ("Google Pay", 35.0)]);
    check("rating", &[("1", 4.0), ("2", 6.0), ("3", 20.0), ("4", 36.0), ("5", 34.0)]);
    // Per order 1 + 1.55 + 1 + 0.25 events.
    let of = |events: f64| 100.0 * events / 3.8;
    check(
        "type",
        &[
            ("order_created", of(1.0)),
            ("order_item_added", of(1.55)),
            ("payment_captured", of(1.0)),
            ("feedback_submitted", of(0.25)),
        ],
    );
    // At this hour the site in the west still has breakfast: 12 lunches against 0.375 of one.
    let weight = |meal| match meal {
        Meal::Morning => 1.0 / 1.2,
        Meal::Midday => 2.0 / 0.9,
        Meal::Evening => 3.0 / 0.6,
        Meal::Other => 1.0 / 1.5,
    };
    let weights: Vec<_> = sites().iter().map(|s| weight(s.meal_at(micros(MIDDAY)))).collect();
    let sum: f64 = weights.iter().sum();
    let percent: Vec<_> = sites()
        .iter()
        .zip(weights)
        .map(|(site, weight)| (site.code.as_str(), 100.0 * weight / sum))
        .collect();
    check("site", &percent);
}

#[test]
fn tastes_follow_the_meal() {
    let share = |time: &str, name: &str| {
        let (mut all, mut some) = (0.0, 0.0);
        for event in orders_at(micros(time), 20_000) {
            if let Payload::OrderItemAdded { item, .. } = event.payload {
                all += 1.0;
                some += f64::from(u8::from(item.category.as_str() == name));
            }
        }
        some / all
    };
    // 08:00, 13:00 and 19:00 in Toronto, one hour less in Kenora: the same meals.
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.01, "{found}");
    let morning = "2026-06-10T12:00:00Z";
    near(share(morning, "coffee"), 9.0 / 101.0);
    near(share(morning, "alcohol"), 1.2 / 101.0);
    near(share("2026-06-10T17:00:00Z", "sandwich"), 11.2 / 107.5);
    near(share("2026-06-10T23:00:00Z", "entree"), 30.6 / 123.9);
}

#[test]
fn money_adds_up_to_the_cent() {
    let (mut subtotal_of_items, mut orders) = (0, 0);
    let mut tips = [0; 3];
    for event in orders_at(micros(MIDDAY), 20_000) {
        match event.payload {
            Payload::OrderItemAdded { item, qty, .. } => {
                subtotal_of_items += item.price_cents * qty
            }
            Payload::PaymentCaptured { subtotal, tax, tip, .. } => {
                assert_eq!(subtotal, subtotal_of_items);
                assert_eq!(tax, (f64::from(subtotal * 13) / 100.0 + 0.5).floor() as u32);
                assert!(f64::from(tip) <= f64::from(subtotal) * 0.24 + 0.5);
                tips[usize::from(tip > 0)] += 1;
                orders += 1;
                subtotal_of_items = 0;
            }
            _ => {}
        }
    }
    assert_eq!(orders, 20_000);
    // Only take-out guests leave nothing: 23 % of all, 70 % of them.
    let none = f64::from(tips[0]) / 20_000.0;
    assert!((none - 0.161).abs() < 0.015, "{none}");
}

#[test]
fn meals_follow_the_local_clock_through_summer_time() {
    let meal = |code: &str, time: &str| {
        let site = sites().iter().find(|site| site.code == code).unwrap();
        site.meal_at(micros(time))
    };
    // Summer time began on 2026-03-08 at 02:00 local time and ended on 2026-11-01.
    assert_eq!(meal("LOC-ON-001", "2026-03-07T10:30:00Z"), Meal::Other);
    assert_eq!(meal("LOC-ON-001", "2026-03-09T10:30:00Z"), Meal::Morning);
    assert_eq!(meal("LOC-ON-001", "2026-10-31T21:30:00Z"), Meal::Evening);
    assert_eq!(meal("LOC-ON-001", "2026-11-01T21:30:00Z"), Meal::Other);
    // An hour west.
    assert_eq!(meal("LOC-ON-012", "2026-03-09T10:30:00Z"), Meal::Other);
    assert_eq!(meal("LOC-ON-012", "2026-03-09T11:30:00Z"), Meal::Morning);
    // All hours of one day, against the table.
    for hour in 0..24 {
        let time = micros("2026-07-01T00:10:00Z") + hour * 3_600_000_000;
        for site in sites() {
            let local = DateTime::from_timestamp_micros(time).unwrap();
            let local = local.with_timezone(&site.time_zone).hour();
            let expected = match local {
                6..=10 => Meal::Morning,
                11..=14 => Meal::Midday,
                17..=22 => Meal::Evening,
                _ => Meal::Other,
            };
            assert_eq!(site.meal_at(time), expected);
        }
    }
}

#[test]
fn guests_arrive_as_a_poisson_process_with_the_stated_means() {
    // Hours at which it is the same meal in both zones: mean orders and length of a tick.
    for (time, mean, length) in [
        ("2026-06-10T12:00:00Z", 1.0, 1_200_000.0),
        ("2026-06-10T17:00:00Z", 2.0, 900_000.0),
        ("2026-06-10T23:00:00Z", 3.0, 600_000.0),
        ("2026-06-10T07:00:00Z", 1.0, 1_500_000.0),
    ] {
        let mut simulator = simulator(9, Uuid::nil());
        let ticks: Vec<_> = (0..20_000).map(|_| simulator.tick(micros(time))).collect();
        let n = ticks.len() as f64;
        let found = ticks.iter().map(|tick| f64::from(tick.orders)).sum::<f64>() / n;
        let square =
            |tick: &restaurant_api::simulator::Tick| (f64::from(tick.orders) - found).powi(2);
        let variance = ticks.iter().map(square).sum::<f64>() / n;
        assert!((found - mean).abs() < 0.06, "{time}: {found}");
        assert!((variance - mean).abs() < 0.2, "{time}: {variance}");
        let pause = ticks.iter().map(|tick| tick.pause as f64).sum::<f64>() / n;
        assert!((pause / length - 1.0).abs() < 0.01, "{time}: {pause}");
        let range = length * 0.6 - 1.0..=length * 1.4 + 1.0;
        assert!(ticks.iter().all(|tick| range.contains(&(tick.pause as f64))));
    }
}

#[test]
fn feedback_waits_for_its_time() {
    let mut simulator = simulator(1, Uuid::nil());
    let (mut step, now) = (Step::default(), micros(MIDDAY));
    for _ in 0..1000 {
        simulator.order(now, &mut step);
    }
    let expected = (0..1000).filter(|order| simulator.will_answer(*order)).count();
    assert_eq!(step.added.len(), expected);
    assert!((180..320).contains(&expected));
    let delays: Vec<_> = step.added.iter().map(|due| due.at - now).collect();
    assert!(delays.iter().all(|delay| (60_000_000..=600_000_000).contains(delay)));
    let mean = delays.iter().sum::<i64>() / delays.len() as i64;
    assert!((mean - 330_000_000).abs() < 40_000_000, "{mean}");
}

fn story(seed: u64, epoch: Uuid, gaps: &[u32]) -> Vec<String> {
    let mut simulator = simulator(seed, epoch);
    let (mut step, mut now) = (Step::default(), micros(MIDDAY));
    for gap in gaps {
        now += i64::from(*gap);
        while simulator.next_due().is_some_and(|due| due <= now) {
            simulator.feedback(now, &mut step);
        }
        simulator.order(now, &mut step);
    }
    step.events.iter().map(|event| format!("{event:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..Default::default() })]

    #[test]
    fn the_same_seed_tells_the_same_story(
        seed: u64,
        gaps in proptest::collection::vec(0..400_000_000_u32, 1..40),
    ) {
        prop_assert_eq!(story(seed, Uuid::nil(), &gaps), story(seed, Uuid::nil(), &gaps));
        prop_assert_ne!(story(seed, Uuid::nil(), &gaps), story(seed ^ 1, Uuid::nil(), &gaps));
    }

    /// Stopped anywhere and continued from its state, it goes on as if nothing had happened.
    #[test]
    fn a_restart_changes_nothing(seed: u64, stop in 1..50_usize) {
        let whole = story(seed, Uuid::nil(), &[90_000_000; 50]);
        let settings = Settings { seed, epoch: Uuid::nil(), feedback_delay: (60_000_000, 600_000_000) };
        let mut simulator = Simulator::new(settings, State::default());
        let (mut step, mut now) = (Step::default(), micros(MIDDAY));
        for n in 0..50 {
            if n == stop {
                simulator = Simulator::new(settings, simulator.state().clone());
            }
            now += 90_000_000;
            while simulator.next_due().is_some_and(|due| due <= now) {
                simulator.feedback(now, &mut step);
            }
            simulator.order(now, &mut step);
        }
        let found: Vec<_> = step.events.iter().map(|event| format!("{event:?}")).collect();
        prop_assert_eq!(found, whole);
    }

    /// Two lives of one seed at the very same times share content but not one identifier.
    #[test]
    fn another_epoch_shares_no_identifier(seed: u64, a: u128, b: u128) {
        prop_assume!(a != b);
        let ids = |epoch| -> HashSet<Uuid> {
            let mut simulator = simulator(seed, Uuid::from_u128(epoch));
            let mut step = Step::default();
            for _ in 0..50 {
                simulator.order(micros(MIDDAY), &mut step);
            }
            let all: HashSet<_> = step.events.iter().map(|event| event.event_id).collect();
            assert_eq!(all.len(), step.events.len());
            assert!(all.iter().all(|id| id.get_version_num() == 7));
            all
        };
        prop_assert!(ids(a).is_disjoint(&ids(b)));
    }
}

#[test]
fn identifiers_carry_their_time() {
    let now = micros("2026-06-10T17:00:00.123456Z");
    for event in orders_at(now, 10) {
        let (millis, _) = event.event_id.as_u64_pair();
        assert_eq!((millis >> 16) as i64, event.ts / 1000);
    }
}

#[test]
fn the_sites_are_twelve_in_ontario() {
    let codes: Vec<_> = sites().iter().map(|site| site.code.clone()).collect();
    let expected: Vec<_> = (1..=12).map(|n| format!("LOC-ON-{n:03}")).collect();
    assert_eq!(codes, expected);
    for site in sites() {
        assert!((41.6..56.9).contains(&site.latitude) && (-95.2..-74.3).contains(&site.longitude));
        assert!(!site.name.is_empty() && !site.city.is_empty());
    }
}
