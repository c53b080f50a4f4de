//! The documents' console output of one micro-batch, as text.
//!
//! Amounts come and go as decimal text, so that a table shows what the commit record holds, digit by digit. A
//! column for the currency appears with the second currency; no total ever mixes two. No I/O.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

const RULE: &str = "================================================================================";
/// Rows of BATCH DETAILS, as many as Spark's `show` prints.
pub const DETAIL_ROWS: usize = 20;
const MOMENT: &str = "%Y-%m-%d %H:%M:%S";
/// The documents' currency, and the one whose sign stands before an amount.
const DOLLAR: &str = "USD";

/// One day and currency that this batch touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayLine {
    pub date: String,
    pub currency: String,
    /// This batch's part of the day.
    pub daily: String,
    /// Everything up to and with this day.
    pub running: String,
    /// The whole day so far.
    pub day_total: String,
    /// Events of this batch's part.
    pub count: u64,
}

/// One category and currency of this batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryLine {
    pub category: String,
    pub currency: String,
    pub total: String,
    pub count: u64,
}

/// What is shown of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchView {
    pub number: u64,
    pub committed_at: DateTime<Utc>,
    pub days: Vec<DayLine>,
    /// event_id, customer_id, product_category, total_amount, event_time of the first events.
    pub events: Vec<[String; 5]>,
    /// Accepted events of the batch.
    pub accepted: u64,
    pub rejected: u64,
    pub categories: Vec<CategoryLine>,
    /// Everything so far, by currency.
    pub running: Vec<(String, String)>,
}

/// What is said before the first batch.
pub fn banner() -> String {
    format!(
        "{RULE}\nSTREAMING DATA PIPELINE - STARTED\n{RULE}\nListening for purchasing events...\nPress Ctrl+C to stop\n{RULE}"
    )
}

/// The documents' block, from `STREAMING DATA PIPELINE OUTPUT` to `RUNNING TOTAL`.
pub fn batch(view: &BatchView) -> String {
    let several = view.running.len() > 1;
    let mut text = format!(
        "\n{RULE}\nSTREAMING DATA PIPELINE OUTPUT - BATCH {}\n{RULE}\n\nDAILY AGGREGATION SUMMARY:\n",
        view.number
    );
    text.push_str(&days(view, several));
    text.push_str("\nBATCH DETAILS:\n");
    text.push_str(&details(view));
    text.push_str("\nCATEGORY BREAKDOWN:\n");
    text.push_str(&categories(view, several));
    if view.rejected > 0 {
        let _ = writeln!(text, "\nREJECTED: {} events are in quarantine with their reasons", view.rejected);
    }
    let _ = writeln!(text, "\n{RULE}");
    for (currency, total) in &view.running {
        let _ = writeln!(text, "RUNNING TOTAL: {}", money(currency, total));
    }
    text + RULE
}

fn days(view: &BatchView, several: bool) -> String {
    let mut head = vec!["Timestamp", "Date", "Daily_Total", "Running_Total", "Day_Total", "Transaction_Count"];
    if several {
        head.insert(2, "Currency");
    }
    let moment = view.committed_at.format(MOMENT).to_string();
    let row = |line: &DayLine| {
        let mut cells = vec![
            moment.clone(),
            line.date.clone(),
            line.daily.clone(),
            line.running.clone(),
            line.day_total.clone(),
            line.count.to_string(),
        ];
        if several {
            cells.insert(2, line.currency.clone());
        }
        cells
    };
    table(&head, &view.days.iter().map(row).collect::<Vec<_>>(), Align::Left)
}

fn details(view: &BatchView) -> String {
    let head = ["event_id", "customer_id", "product_category", "total_amount", "event_time"];
    let rows: Vec<Vec<String>> = view.events.iter().map(|event| event.to_vec()).collect();
    let more = view.accepted.saturating_sub(rows.len() as u64);
    let mut text = table(&head, &rows, Align::Left);
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

fn categories(view: &BatchView, several: bool) -> String {
    let mut head = vec!["product_category", "category_total", "transaction_count"];
    if several {
        head.insert(1, "currency");
    }
    let row = |line: &CategoryLine| {
        let mut cells = vec![line.category.clone(), line.total.clone(), line.count.to_string()];
        if several {
            cells.insert(1, line.currency.clone());
        }
        cells
    };
    table(&head, &view.categories.iter().map(row).collect::<Vec<_>>(), Align::Right)
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

/// A table as Spark draws it, one line each, every line ended.
fn table(head: &[&str], rows: &[Vec<String>], align: Align) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rule = widths.iter().map(|&width| format!("+{}", "-".repeat(width))).collect::<String>() + "+\n";
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, &width) in cells.zip(&widths) {
            // A control character would break the table, and a terminal may obey it.
            let cell: String = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            let _ = match align {
                Align::Left => write!(text, "|{cell:<width$}"),
                Align::Right => write!(text, "|{cell:>width$}"),
            };
        }
        text + "|\n"
    };
    let mut text = rule.clone() + &line(&mut head.iter().copied()) + &rule;
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text + &rule
}

/// `$18,457.50`; other currencies by their code, `EUR 18,457.50`.
pub fn money(currency: &str, amount: &str) -> String {
    let (sign, digits) = amount.strip_prefix('-').map_or(("", amount), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, String::new()), |(w, f)| (w, format!(".{f}")));
    let mut grouped = String::with_capacity(whole.len() * 4 / 3 + 1);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match currency {
        DOLLAR => format!("{sign}${grouped}{fraction}"),
        code => format!("{code} {sign}{grouped}{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    fn day(currency: &str, daily: &str, running: &str, count: u64) -> DayLine {
        let text = str::to_owned;
        DayLine {
            date: text("2025-06-26"),
            currency: text(currency),
            daily: text(daily),
            running: text(running),
            day_total: text(running),
            count,
        }
    }

    fn category(category: &str, currency: &str, total: &str, count: u64) -> CategoryLine {
        let text = str::to_owned;
        CategoryLine { category: text(category), currency: text(currency), total: text(total), count }
    }

    fn documented() -> BatchView {
        let event = |id: &str, customer: &str, total: &str, time: &str| {
            let text = str::to_owned;
            [text(id), text(customer), text("Electronics"), text(total), format!("2025-06-26 {time}")]
        };
        BatchView {
            number: 1,
            committed_at: Utc.with_ymd_and_hms(2025, 6, 26, 14, 11, 23).unwrap(),
            days: vec![day("USD", "18457.50", "18457.50", 9)],
            events: vec![
                event("purchase_1750921871051_1877", "customer_7828", "6611.35", "14:11:11"),
                event("purchase_1750921873095_3469", "customer_495", "2321.64", "14:11:13"),
            ],
            accepted: 9,
            rejected: 0,
            categories: vec![
                category("Electronics", "USD", "16592.56", 5),
                category("Sports", "USD", "1265.50", 3),
                category("Clothing", "USD", "599.44", 1),
            ],
            running: vec![("USD".to_owned(), "18457.50".to_owned())],
        }
    }

    #[test]
    fn a_batch_is_shown_as_documented_with_the_whole_day_beside() {
        assert_eq!(
            batch(&documented()),
            "
================================================================================
STREAMING DATA PIPELINE OUTPUT - BATCH 1
================================================================================

DAILY AGGREGATION SUMMARY:
+-------------------+----------+-----------+-------------+---------+-----------------+
|Timestamp          |Date      |Daily_Total|Running_Total|Day_Total|Transaction_Count|
+-------------------+----------+-----------+-------------+---------+-----------------+
|2025-06-26 14:11:23|2025-06-26|18457.50   |18457.50     |18457.50 |9                |
+-------------------+----------+-----------+-------------+---------+-----------------+

BATCH DETAILS:
+---------------------------+-------------+----------------+------------+-------------------+
|event_id                   |customer_id  |product_category|total_amount|event_time         |
+---------------------------+-------------+----------------+------------+-------------------+
|purchase_1750921871051_1877|customer_7828|Electronics     |6611.35     |2025-06-26 14:11:11|
|purchase_1750921873095_3469|customer_495 |Electronics     |2321.64     |2025-06-26 14:11:13|
+---------------------------+-------------+----------------+------------+-------------------+
and 7 more

CATEGORY BREAKDOWN:
+----------------+--------------+-----------------+
|product_category|category_total|transaction_count|
+----------------+--------------+-----------------+
|     Electronics|      16592.56|                5|
|          Sports|       1265.50|                3|
|        Clothing|        599.44|                1|
+----------------+--------------+-----------------+

================================================================================
RUNNING TOTAL: $18,457.50
================================================================================"
        );
    }

    #[test]
    fn a_second_currency_has_lines_of_its_own() {
        let mut view = documented();
        view.days.push(day("EUR", "5.00", "1005.00", 1));
        view.categories.push(category("Books", "EUR", "5.00", 1));
        view.running.push(("EUR".to_owned(), "1005.00".to_owned()));
        let text = batch(&view);
        assert!(text.contains("|2025-06-26 14:11:23|2025-06-26|EUR     |5.00       |1005.00      |"), "{text}");
        assert!(text.contains("|           Books|     EUR|          5.00|                1|"), "{text}");
        assert!(text.contains("RUNNING TOTAL: $18,457.50\nRUNNING TOTAL: EUR 1,005.00\n"), "{text}");
    }

    #[test]
    fn amounts_are_grouped_by_thousands_and_keep_their_digits() {
        for (currency, amount, shown) in [
            ("USD", "0.00", "$0.00"),
            ("USD", "999.99", "$999.99"),
            ("USD", "-1234.5", "-$1,234.5"),
            ("USD", "123456789012345678901234567890.12", "$123,456,789,012,345,678,901,234,567,890.12"),
            ("JPY", "1000", "JPY 1,000"),
        ] {
            assert_eq!(money(currency, amount), shown);
        }
    }

    #[test]
    fn rejects_are_said_and_control_characters_do_not_reach_the_terminal() {
        let mut view = documented();
        view.rejected = 2;
        view.events[0][0] = "purchase\u{1b}[2J".to_owned();
        let text = batch(&view);
        assert!(text.contains("REJECTED: 2 events"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
