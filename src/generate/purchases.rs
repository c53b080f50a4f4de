//! Purchase events, written straight as JSON messages into a buffer.
//!
//! Event N of a seed is the same whatever came before it, but for its moment, which the caller gives. Prices depend
//! on the category, quantities and discounts on the customer's segment. Money is counted in cents:
//! `total = quantity × unit price × (1 − discount / 100)`, rounded half up to the cent. On request some events are
//! invalid, each in one known way, and some repeat an earlier one to the byte.

use chrono::{DateTime, SecondsFormat};

use super::random::Random;
use crate::model::{ChangeBatch, Operation};
use crate::wire::encode;

/// Repeats are of one of the last so many valid events.
const REPEAT_WINDOW: usize = 1_000;
/// Customers, as many as the documents' ids of four digits.
const CUSTOMERS: u64 = 10_000;
const MONEY_SCALE: u8 = 2;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Share of events that break a rule, 0 to 1.
    pub invalid_share: f64,
    /// Share of events that repeat an earlier one, 0 to 1.
    pub duplicate_share: f64,
}

/// What an event is. `Invalid` says how it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    Valid,
    Invalid(Flaw),
    Duplicate,
}

/// A way in which an event is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    ZeroQuantity,
    NegativeTotal,
    WrongTotal,
    MissingCustomer,
    UnknownCurrency,
    BadTimestamp,
    QuantityInWords,
}

impl Flaw {
    pub const ALL: [Flaw; 7] = [
        Flaw::ZeroQuantity,
        Flaw::NegativeTotal,
        Flaw::WrongTotal,
        Flaw::MissingCustomer,
        Flaw::UnknownCurrency,
        Flaw::BadTimestamp,
        Flaw::QuantityInWords,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Flaw::ZeroQuantity => "zero_quantity",
            Flaw::NegativeTotal => "negative_total",
            Flaw::WrongTotal => "wrong_total",
            Flaw::MissingCustomer => "missing_customer",
            Flaw::UnknownCurrency => "unknown_currency",
            Flaw::BadTimestamp => "bad_timestamp",
            Flaw::QuantityInWords => "quantity_in_words",
        }
    }
}

struct Category {
    name: &'static str,
    slug: &'static str,
    /// Of one piece, in cents.
    prices: (u64, u64),
    max_quantity: u64,
}

const CATEGORIES: [Category; 6] = [
    Category { name: "Electronics", slug: "electronics", prices: (4_999, 249_999), max_quantity: 3 },
    Category { name: "Clothing", slug: "clothing", prices: (999, 19_999), max_quantity: 5 },
    Category { name: "Books", slug: "books", prices: (499, 5_999), max_quantity: 6 },
    Category { name: "Home", slug: "home", prices: (1_499, 79_999), max_quantity: 4 },
    Category { name: "Sports", slug: "sports", prices: (1_299, 49_999), max_quantity: 4 },
    Category { name: "Beauty", slug: "beauty", prices: (599, 12_999), max_quantity: 5 },
];

struct Segment {
    name: &'static str,
    /// Discounts that it gets, in whole percent.
    discounts: [u64; 4],
    new_share: f64,
}

/// Out of four customers, as a shop has them.
const SEGMENTS: [Segment; 4] = [
    Segment { name: "Regular", discounts: [0, 0, 0, 5], new_share: 0.1 },
    Segment { name: "Regular", discounts: [0, 0, 5, 10], new_share: 0.1 },
    Segment { name: "Premium", discounts: [0, 5, 10, 15], new_share: 0.02 },
    Segment { name: "Budget", discounts: [0, 10, 20, 25], new_share: 0.3 },
];

const PAYMENTS: [&str; 5] = ["Credit Card", "Debit Card", "PayPal", "Apple Pay", "Bank Transfer"];
const SOURCES: [&str; 3] = ["Website", "Mobile App", "In-Store"];
const DEVICES: [&str; 3] = ["Mobile", "Desktop", "Tablet"];

/// Country, city, currency.
const PLACES: [(&str, &str, &str); 10] = [
    ("US", "New York", "USD"),
    ("US", "Los Angeles", "USD"),
    ("US", "Chicago", "USD"),
    ("US", "Houston", "USD"),
    ("US", "Seattle", "USD"),
    ("US", "Miami", "USD"),
    ("US", "Boston", "USD"),
    ("US", "Denver", "USD"),
    ("US", "Austin", "USD"),
    ("US", "Portland", "USD"),
];

/// A valid event, key and value.
type Repeatable = (Box<[u8]>, Box<[u8]>);

/// Makes events one after the other.
pub struct Generator {
    plan: Plan,
    number: u64,
    /// Tells the events of two generators apart that write in the same millisecond.
    tag: u64,
    /// Valid events that may be repeated, key and value, as a ring.
    recent: Vec<Repeatable>,
}

impl Generator {
    pub fn new(plan: Plan) -> Self {
        // A stream of its own, so that the tag says nothing of the first event.
        let tag = Random::new(plan.seed, u64::MAX).below(10_000);
        Generator { plan, number: 0, tag, recent: Vec::new() }
    }

    /// Appends the next event to publish, which happens at this moment (milliseconds since the epoch, UTC), and says
    /// what it is. The key is the customer's id, so that all of a customer's events are in one partition, in order.
    pub fn next_into(&mut self, at_ms: i64, out: &mut ChangeBatch) -> Made {
        let made = self.preview_into(at_ms, out);
        if made == Made::Valid {
            self.remember(out);
        }
        made
    }

    /// The same for an event that may never be published, so none of the later ones repeats it.
    pub fn preview_into(&mut self, at_ms: i64, out: &mut ChangeBatch) -> Made {
        let number = self.number;
        self.number += 1;
        let mut random = Random::new(self.plan.seed, number);
        let (spoil, repeat) = (random.happens(self.plan.invalid_share), random.happens(self.plan.duplicate_share));
        if !spoil && repeat && !self.recent.is_empty() {
            let (key, value) = &self.recent[random.below(self.recent.len() as u64) as usize];
            push(out, key, |bytes| bytes.extend_from_slice(value));
            return Made::Duplicate;
        }
        let mut event = Event::draw(&mut random, number, self.tag, at_ms);
        let flaw = spoil.then(|| random.pick(&Flaw::ALL));
        if let Some(flaw) = flaw {
            event.spoil(flaw);
        }
        let customer = format!("customer_{}", event.customer);
        push(out, customer.as_bytes(), |bytes| event.write(&customer, flaw, bytes));
        flaw.map_or(Made::Valid, Made::Invalid)
    }

    fn remember(&mut self, out: &ChangeBatch) {
        if self.plan.duplicate_share == 0.0 {
            return;
        }
        let Some((_, key, value)) = out.last() else { return };
        let kept = (Box::from(key), Box::from(value));
        if self.recent.len() < REPEAT_WINDOW {
            self.recent.push(kept);
        } else {
            let place = (self.number % REPEAT_WINDOW as u64) as usize;
            self.recent[place] = kept;
        }
    }
}

fn push(out: &mut ChangeBatch, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
    let pushed = out.push_with(Operation::Insert, |bytes| {
        bytes.extend_from_slice(key);
        let key_end = bytes.len();
        write(bytes);
        Ok::<_, std::convert::Infallible>(key_end)
    });
    match pushed {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

struct Event {
    number: u64,
    tag: u64,
    at_ms: i64,
    customer: u64,
    segment: &'static Segment,
    category: &'static Category,
    product: u64,
    item: u64,
    quantity: u64,
    unit_cents: u64,
    total_cents: i64,
    discount: u64,
    currency: &'static str,
    payment: &'static str,
    source: &'static str,
    place: (&'static str, &'static str),
    is_new: bool,
    device: &'static str,
}

impl Event {
    fn draw(random: &mut Random, number: u64, tag: u64, at_ms: i64) -> Self {
        let customer = random.below(CUSTOMERS);
        // A customer stays in its segment.
        let segment = &SEGMENTS[(customer % SEGMENTS.len() as u64) as usize];
        let category = &CATEGORIES[random.below(CATEGORIES.len() as u64) as usize];
        let (least, most) = category.prices;
        let unit_cents = least + random.below(most - least + 1);
        let quantity = 1 + random.below(category.max_quantity);
        let discount = random.pick(&segment.discounts);
        let (country, city, currency) = random.pick(&PLACES);
        Event {
            number,
            tag,
            at_ms,
            customer,
            segment,
            category,
            product: 1 + random.below(999),
            item: 1 + random.below(99),
            quantity,
            unit_cents,
            total_cents: total_cents(quantity, unit_cents, discount) as i64,
            discount,
            currency,
            payment: random.pick(&PAYMENTS),
            source: random.pick(&SOURCES),
            place: (country, city),
            is_new: random.happens(segment.new_share),
            device: random.pick(&DEVICES),
        }
    }

    /// Changes the numbers; what is no number is written broken.
    fn spoil(&mut self, flaw: Flaw) {
        match flaw {
            Flaw::ZeroQuantity => self.quantity = 0,
            Flaw::NegativeTotal => self.total_cents = -self.total_cents,
            Flaw::WrongTotal => self.total_cents += 1,
            Flaw::UnknownCurrency => self.currency = "dollars",
            Flaw::MissingCustomer | Flaw::BadTimestamp | Flaw::QuantityInWords => {}
        }
    }

    fn write(&self, customer: &str, flaw: Option<Flaw>, out: &mut Vec<u8>) {
        // `purchase_<ms>_` and four digits, as documented, would repeat itself within minutes: the number follows.
        let id = format!("purchase_{}_{:04}{:05}", self.at_ms, self.tag, self.number);
        text(out, b"{\"event_id\":", &id);
        match flaw {
            Some(Flaw::BadTimestamp) => text(out, b",\"timestamp\":", "yesterday"),
            _ => text(out, b",\"timestamp\":", &timestamp(self.at_ms)),
        }
        match flaw {
            Some(Flaw::MissingCustomer) => out.extend_from_slice(b",\"customer_id\":null"),
            _ => text(out, b",\"customer_id\":", customer),
        }
        text(out, b",\"customer_segment\":", self.segment.name);
        text(out, b",\"product_id\":", &format!("product_{}_{}", self.category.slug, self.product));
        text(out, b",\"product_category\":", self.category.name);
        text(out, b",\"product_name\":", &format!("{} Item {}", self.category.name, self.item));
        out.extend_from_slice(b",\"quantity\":");
        match flaw {
            Some(Flaw::QuantityInWords) => encode::string(out, b"two"),
            _ => encode::integer(out, self.quantity as i64),
        }
        money(out, b",\"unit_price\":", self.unit_cents as i64);
        money(out, b",\"total_amount\":", self.total_cents);
        text(out, b",\"currency\":", self.currency);
        text(out, b",\"payment_method\":", self.payment);
        text(out, b",\"order_source\":", self.source);
        text(out, b",\"location\":{\"country\":", self.place.0);
        text(out, b",\"city\":", self.place.1);
        money(out, b"},\"discount_percentage\":", self.discount as i64 * 100);
        out.extend_from_slice(b",\"is_new_customer\":");
        encode::boolean(out, self.is_new);
        text(out, b",\"device_type\":", self.device);
        out.push(b'}');
    }
}

/// Half a cent rounds up.
fn total_cents(quantity: u64, unit_cents: u64, discount_percent: u64) -> u64 {
    (quantity * unit_cents * (100 - discount_percent) + 50) / 100
}

fn text(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    encode::string(out, value.as_bytes());
}

fn money(out: &mut Vec<u8>, key: &[u8], cents: i64) {
    out.extend_from_slice(key);
    encode::decimal(out, cents.into(), MONEY_SCALE);
}

fn timestamp(at_ms: i64) -> String {
    let moment = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use serde_json::Value;

    use super::*;

    const NOON: i64 = 1_750_939_200_000;

    fn made(plan: Plan, count: usize) -> (Vec<Made>, Vec<Value>) {
        let (mut generator, mut out) = (Generator::new(plan), ChangeBatch::default());
        let kinds = (0..count).map(|number| generator.next_into(NOON + number as i64, &mut out)).collect();
        let values = out.iter().map(|(_, key, value)| {
            let event: Value = serde_json::from_slice(value).unwrap();
            if let Some(customer) = event["customer_id"].as_str() {
                assert_eq!(customer.as_bytes(), key);
            }
            event
        });
        (kinds, values.collect())
    }

    fn plain(seed: u64) -> Plan {
        Plan { seed, invalid_share: 0.0, duplicate_share: 0.0 }
    }

    /// Of a JSON number with two decimals, in cents.
    fn cents(value: &Value) -> i64 {
        (value.as_f64().unwrap() * 100.0).round() as i64
    }

    #[test]
    fn money_is_exact_to_the_cent_and_half_a_cent_rounds_up() {
        assert_eq!(total_cents(2, 14_999, 5), 28_498, "the documents' event");
        assert_eq!(total_cents(1, 1_010, 5), 960, "959.5");
        assert_eq!(total_cents(1, 1_009, 5), 959, "958.55");
        let mut out = Vec::new();
        money(&mut out, b"", -5);
        assert_eq!(out, b"-0.05");
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_seed_others() {
        assert_eq!(made(plain(7), 200), made(plain(7), 200));
        assert_ne!(made(plain(7), 200).1, made(plain(8), 200).1);
    }

    #[test]
    fn an_event_has_the_documented_fields_in_their_order() {
        let (_, events) = made(plain(1), 500);
        for event in &events {
            let keys: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(
                keys.join(" "),
                "event_id timestamp customer_id customer_segment product_id product_category product_name quantity \
                 unit_price total_amount currency payment_method order_source location discount_percentage \
                 is_new_customer device_type"
            );
            let (quantity, discount) = (event["quantity"].as_i64().unwrap(), cents(&event["discount_percentage"]));
            let exact = quantity * cents(&event["unit_price"]) * (10_000 - discount);
            assert!((exact - cents(&event["total_amount"]) * 10_000).abs() <= 5_000, "{event}");
            assert!(event["timestamp"].as_str().unwrap().starts_with("2025-06-26T12:00:00."));
        }
        let categories: HashSet<&str> =
            events.iter().map(|event| event["product_category"].as_str().unwrap()).collect();
        assert_eq!(categories.len(), CATEGORIES.len());
    }

    #[test]
    fn ids_repeat_only_where_the_whole_event_does() {
        let (kinds, events) = made(Plan { duplicate_share: 0.05, ..plain(3) }, 20_000);
        let ids: HashSet<&str> = events.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
        let duplicates = kinds.iter().filter(|made| **made == Made::Duplicate).count();
        assert_eq!(ids.len(), events.len() - duplicates);
        assert!((800..1_200).contains(&duplicates), "{duplicates} of 20,000 at 5 %");
        let whole: HashSet<String> = events.iter().map(Value::to_string).collect();
        assert_eq!(whole.len(), ids.len());
    }

    #[test]
    fn as_many_events_are_broken_as_were_asked_for_and_in_every_way() {
        let (kinds, _) = made(Plan { invalid_share: 0.1, ..plain(5) }, 20_000);
        let mut flaws: BTreeMap<Flaw, usize> = BTreeMap::new();
        for made in kinds {
            if let Made::Invalid(flaw) = made {
                *flaws.entry(flaw).or_default() += 1;
            }
        }
        assert_eq!(flaws.len(), Flaw::ALL.len());
        assert!((1_800..2_200).contains(&flaws.values().sum::<usize>()));
    }
}
