//! Orders made from their number alone: the same on every machine, in memory, in the form COPY sends them.
//!
//! The rows are those of `benches/compare`, but for the digits in the wide texts: one in a hundred breaks a rule, and
//! times lie as far apart as those of two million rows over eight days.

use std::ops::Range;

/// What the rows look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 80 customers, 8 restaurants, 32 items.
    Narrow,
    /// Customers and items long, and no two alike.
    Wide,
}

pub const KINDS: [Kind; 2] = [Kind::Narrow, Kind::Wide];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Narrow => "narrow",
            Kind::Wide => "wide",
        }
    }
}

/// One row in so many breaks a rule.
pub const INVALID_EVERY: u64 = 100;

/// Three hours before a midnight, so that a batch of 65,536 rows has two days.
const FIRST_US: i64 = 1_763_413_200_000_000;
const STEP_US: i64 = 345_600;
/// PostgreSQL counts from 2000-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

const RESTAURANTS: [&str; 8] = [
    "Spice Garden",
    "Burger Junction",
    "Pizza Palace",
    "Dosa Corner",
    "Biryani House",
    "Wok Express",
    "Café Délice",
    "Taco Fiesta",
];
const STYLES: [&str; 4] = ["Classic", "Spicy", "Grilled", "Vegan"];
const DISHES: [&str; 8] = ["Biryani", "Burger", "Curry", "Dosa", "Noodles", "Pizza", "Salad", "Taco"];
const STATUSES: [&str; 4] = ["PLACED", "PREPARING", "DELIVERED", "CANCELLED"];

/// Columns of the table, in its order.
pub const WIDTH: usize = 7;

/// Rows of the table as a binary COPY sends them, with the place of each field.
pub struct Copied {
    pub stream: Vec<u8>,
    pub rows: Vec<[Range<usize>; WIDTH]>,
}

/// The rows with the ids from 1.
pub fn copied(kind: Kind, rows: usize) -> Copied {
    let mut copied = Copied { stream: b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec(), rows: Vec::with_capacity(rows) };
    for number in 1..=rows as u64 {
        copied.push(&fields(kind, number));
    }
    copied.stream.extend_from_slice(&(-1_i16).to_be_bytes());
    copied
}

/// Before its first field a row has its number of fields and that field's length.
const BEFORE_FIRST_FIELD: usize = 2 + 4;

impl Copied {
    /// The stream as messages: the header with the first row, each further row, the trailer.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = self.rows.iter().skip(1).map(|places| places[0].start - BEFORE_FIRST_FIELD);
        let trailer = self.rows.last().map_or(0, |places| places[WIDTH - 1].end);
        let mut from = 0;
        starts.chain([trailer, self.stream.len()]).map(move |to| {
            let piece = &self.stream[from..to];
            from = to;
            piece
        })
    }

    fn push(&mut self, fields: &[Vec<u8>; WIDTH]) {
        self.stream.extend_from_slice(&(WIDTH as i16).to_be_bytes());
        let places = fields.each_ref().map(|field| {
            self.stream.extend_from_slice(&(field.len() as i32).to_be_bytes());
            let start = self.stream.len();
            self.stream.extend_from_slice(field);
            start..self.stream.len()
        });
        self.rows.push(places);
    }
}

fn fields(kind: Kind, number: u64) -> [Vec<u8>; WIDTH] {
    // Multiplicative hashing: as good as random for sizes and compression, and the same everywhere.
    let dice = number * 2_654_435_761 % (1 << 32);
    let (customer, item) = match kind {
        Kind::Narrow => {
            let item = (dice / 11 % 32) as usize;
            (format!("Customer {}", dice % 80), format!("{} {}", STYLES[item / 8], DISHES[item % 8]))
        }
        Kind::Wide => (
            format!("Customer {} {}", digits(number), digits(number + 1)),
            format!("Dish {} with {} on {}", digits(number * 3), digits(number * 5), digits(number * 7)),
        ),
    };
    let cents = (5_000 + dice / 13 % 95_000) as i64;
    let fault = number.is_multiple_of(INVALID_EVERY).then_some(number / INVALID_EVERY % 4);
    [
        (number as i32).to_be_bytes().to_vec(),
        if fault == Some(0) { Vec::new() } else { customer.into_bytes() },
        RESTAURANTS[(dice / 7 % 8) as usize].into(),
        if fault == Some(1) { Vec::new() } else { item.into_bytes() },
        numeric(match fault {
            Some(2) => 0,
            Some(3) => -cents,
            _ => cents,
        }),
        STATUSES[(dice / 17 % 4) as usize].into(),
        (FIRST_US + (number as i64 - 1) * STEP_US - POSTGRES_EPOCH_US).to_be_bytes().to_vec(),
    ]
}

/// Thirty-two hexadecimal digits of a number.
fn digits(number: u64) -> String {
    format!("{:016x}{:016x}", mixed(number), mixed(!number))
}

/// The mixing step of SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `numeric(10,2)` in PostgreSQL's groups of four digits, for amounts below 10,000.
fn numeric(cents: i64) -> Vec<u8> {
    let size = cents.unsigned_abs();
    let groups = [(size / 100) as u16, (size % 100 * 100) as u16];
    let used = groups.iter().rposition(|&group| group != 0).map_or(0, |last| last + 1);
    let sign = if cents < 0 { 0x4000 } else { 0 };
    let words = [used as u16, 0, sign, 2].into_iter().chain(groups[..used].iter().copied());
    words.flat_map(u16::to_be_bytes).collect()
}
