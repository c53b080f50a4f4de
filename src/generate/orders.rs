//! Test orders, as data: the same seed gives the same orders, on any machine.
//!
//! Only what the orders table admits: names that may be blank but not null, any amount of `numeric(10,2)`, one of
//! four statuses. No I/O; `tools` inserts them.

use super::random::Random;

/// One order, without what the table fills in by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// `Test Customer N`, as the documents' script names them; blank in some invalid orders.
    pub customer_name: String,
    pub restaurant_name: &'static str,
    pub item: &'static str,
    /// Hundredths: 42345 is 423.45.
    pub amount_cents: i64,
    pub order_status: &'static str,
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub count: u64,
    /// Number of the first order: the N of its customer. Order N is the same whatever comes before it, if no
    /// invalid ones are asked for.
    pub first: u64,
    /// Part of the orders that break a rule, 0 to 1: `floor(count × share)` of them, spread evenly.
    pub invalid_share: f64,
}

const MENU: [(&str, [&str; 4]); 8] = [
    ("Spice Garden", ["Butter Chicken", "Paneer Tikka", "Dal Makhani", "Garlic Naan"]),
    ("Burger Junction", ["Veg Burger", "Cheese Burger", "Chicken Burger", "French Fries"]),
    ("Pizza Palace", ["Margherita Pizza", "Pepperoni Pizza", "Farmhouse Pizza", "Garlic Bread"]),
    ("Dosa Corner", ["Masala Dosa", "Plain Dosa", "Idli Sambar", "Medu Vada"]),
    ("Biryani House", ["Chicken Biryani", "Mutton Biryani", "Veg Biryani", "Raita"]),
    ("Wok Express", ["Hakka Noodles", "Fried Rice", "Spring Rolls", "Manchow Soup"]),
    ("Café Délice", ["Crème Brûlée", "Croque Monsieur", "Café au Lait", "Quiche"]),
    ("Taco Fiesta", ["Bean Burrito", "Chicken Tacos", "Nachos", "Quesadilla"]),
];

/// Out of eight orders, as a running shop would have them.
const STATUSES: [&str; 8] =
    ["PLACED", "PLACED", "PREPARING", "PREPARING", "DELIVERED", "DELIVERED", "DELIVERED", "CANCELLED"];

/// Amounts of valid orders: what meals cost in the documents' examples.
const AMOUNT_CENTS: std::ops::RangeInclusive<u64> = 5_000..=99_999;

/// The orders, one after the other.
pub fn orders(plan: Plan) -> impl Iterator<Item = Order> {
    (0..plan.count).map(move |position| {
        let number = plan.first.wrapping_add(position);
        let mut random = Random::new(plan.seed, number);
        let order = valid_order(number, &mut random);
        if is_invalid(position, plan.invalid_share) { spoil(order, &mut random) } else { order }
    })
}

/// Whether the running number of invalid orders steps up at this position.
fn is_invalid(position: u64, share: f64) -> bool {
    let share = share.clamp(0.0, 1.0);
    let up_to = |count: u64| (count as f64 * share).floor();
    up_to(position + 1) > up_to(position)
}

fn valid_order(number: u64, random: &mut Random) -> Order {
    let (restaurant_name, items) = random.pick(&MENU);
    let spread = AMOUNT_CENTS.end() - AMOUNT_CENTS.start() + 1;
    Order {
        customer_name: format!("Test Customer {number}"),
        restaurant_name,
        item: random.pick(&items),
        amount_cents: (AMOUNT_CENTS.start() + random.next() % spread) as i64,
        order_status: random.pick(&STATUSES),
    }
}

/// Breaks one of the documents' rules that the table's own constraints leave open.
fn spoil(mut order: Order, random: &mut Random) -> Order {
    match random.next() % 5 {
        0 => order.amount_cents = 0,
        1 => order.amount_cents = -order.amount_cents,
        2 => order.customer_name.clear(),
        3 => order.restaurant_name = "   ",
        _ => order.item = "",
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn plan(count: u64, first: u64, invalid_share: f64) -> Plan {
        Plan { seed: 7, count, first, invalid_share }
    }

    /// The documents' rules, said once more.
    fn is_valid(order: &Order) -> bool {
        let filled = [order.customer_name.as_str(), order.restaurant_name, order.item];
        order.amount_cents > 0 && filled.iter().all(|text| !text.trim().is_empty())
    }

    #[test]
    fn the_same_seed_gives_the_same_orders_wherever_it_starts() {
        let all: Vec<_> = orders(plan(100, 1, 0.0)).collect();
        assert_eq!(all[40..], orders(plan(60, 41, 0.0)).collect::<Vec<_>>());
        assert_eq!(all[0].customer_name, "Test Customer 1");
        let other: Vec<_> = orders(Plan { seed: 8, ..plan(100, 1, 0.0) }).collect();
        assert_ne!(all, other);
    }

    #[test]
    fn valid_orders_keep_the_rules_and_vary() {
        let all: Vec<_> = orders(plan(2_000, 1, 0.0)).collect();
        assert!(all.iter().all(is_valid));
        assert!(all.iter().all(|order| order.amount_cents < 10_000_000_000), "numeric(10,2)");
        let statuses: HashSet<_> = all.iter().map(|order| order.order_status).collect();
        assert_eq!(statuses, HashSet::from(["PLACED", "PREPARING", "DELIVERED", "CANCELLED"]));
        let items: HashSet<_> = all.iter().map(|order| order.item).collect();
        assert_eq!(items.len(), 32);
    }

    #[test]
    fn as_many_orders_are_invalid_as_were_asked_for() {
        for (count, share, expected) in
            [(1_000, 0.01, 10), (1, 1.0, 1), (7, 0.5, 3), (5, 0.0, 0), (3, 9.0, 3), (9, f64::NAN, 0)]
        {
            let all: Vec<_> = orders(plan(count, 50, share)).collect();
            assert_eq!(all.len() as u64, count);
            assert_eq!(all.iter().filter(|order| !is_valid(order)).count(), expected, "{count} × {share}");
        }
        let kinds: Vec<_> = orders(plan(200, 1, 1.0)).collect();
        assert!(kinds.iter().any(|order| order.amount_cents == 0) && kinds.iter().any(|order| order.amount_cents < 0));
        assert!(kinds.iter().any(|order| order.item.is_empty()));
    }
}
