//! The computed total: exact to the last digit, and silent where a part is missing or wrong.

use proptest::prelude::*;

use super::*;
use crate::config::settings::TotalRule;

fn decimal(precision: u8, scale: u8) -> DataType {
    DataType::Decimal { precision, scale }
}

fn rule(discount: bool) -> TotalRule {
    TotalRule {
        total: "total".to_owned(),
        quantity: "quantity".to_owned(),
        unit_price: "price".to_owned(),
        discount_percentage: discount.then(|| "discount".to_owned()),
    }
}

/// Over columns total, quantity, price, discount of these types.
fn totals_of(types: [DataType; 4], discount: bool, rules: Vec<Rule>) -> Result<Validator> {
    let names = ["total", "quantity", "price", "discount"];
    let columns: Vec<_> = names.into_iter().zip(types).map(|(name, data_type)| (name, data_type, true)).collect();
    let validation = Validation { total: Some(rule(discount)), rules, ..defaults() };
    Validator::compile(&schema_of(&columns), &validation, "at", Tz::UTC, "purchases")
}

const PURCHASES: [DataType; 4] = [
    DataType::Decimal { precision: 12, scale: 2 },
    DataType::Int,
    DataType::Decimal { precision: 12, scale: 2 },
    DataType::Decimal { precision: 5, scale: 2 },
];

fn message(total: &str, quantity: &str, price: &str, discount: &str) -> String {
    format!(
        r#"{{"total":{total},"quantity":{quantity},"price":{price},"discount":{discount},"at":"2025-11-18T10:00:00Z"}}"#
    )
}

/// Reasons of one row; `None` if it is accepted.
fn judged(validator: &mut Validator, message: &str) -> Option<String> {
    validator.validate(&messages(&[message])).unwrap().rejected.map(|rejected| reasons_of(&rejected)[0].clone())
}

#[test]
fn a_total_is_rounded_half_away_from_zero_to_the_cent() {
    let mut validator = totals_of(PURCHASES, true, vec![]).unwrap();
    for (quantity, price, discount, right) in [
        ("2", "149.99", "5.0", "284.98"),
        ("1", "0.25", "50", "0.13"),
        ("-1", "0.25", "50", "-0.13"),
        ("1", "0.25", "50.01", "0.12"),
        ("1", "0.25", "49.99", "0.13"),
        ("-1", "0.25", "50.01", "-0.12"),
        ("3", "19.99", "33.33", "39.98"),
        ("7", "0.01", "100", "0.00"),
        ("0", "12.34", "10", "0"),
        ("1", "0.01", "50", "0.01"),
        ("1", "0.01", "50.01", "0"),
        ("1", "10.00", "150", "-5.00"),
        ("1", "9999999999.99", "0", "9999999999.99"),
        ("2147483647", "4.65", "0", "9985798958.55"),
    ] {
        let shown = format!("{quantity} × {price} less {discount} %");
        let mut found = |total: &str| judged(&mut validator, &message(total, quantity, price, discount));
        assert_eq!(found(right), None, "{shown} = {right}");
        let cents = (right.parse::<f64>().unwrap() * 100.0).round() as i128;
        for other in [cents - 1, cents + 1].map(format_cents) {
            if other.trim_start_matches('-').len() <= 13 {
                assert_eq!(found(&other).as_deref(), Some("total_mismatch:total"), "{shown} = {other}");
            }
        }
    }
}

fn format_cents(cents: i128) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

#[test]
fn a_total_may_have_more_or_fewer_digits_than_its_parts() {
    let mut exact =
        totals_of([decimal(20, 6), DataType::SmallInt, decimal(10, 2), DataType::Int], true, vec![]).unwrap();
    assert_eq!(judged(&mut exact, &message("2.970000", "3", "1.00", "1")), None);
    assert_eq!(judged(&mut exact, &message("2.970001", "3", "1.00", "1")).as_deref(), Some("total_mismatch:total"));
    let mut whole = totals_of([DataType::BigInt, decimal(6, 3), decimal(6, 1), DataType::Int], false, vec![]).unwrap();
    for (total, quantity, fits) in
        [("3", "2.500", true), ("2", "2.500", false), ("2", "2.499", true), ("-3", "-2.5", true)]
    {
        let found = judged(&mut whole, &message(total, quantity, "1", "77"));
        assert_eq!(found.is_none(), fits, "{total} = {quantity} × 1, no discount is taken off");
    }
}

#[test]
fn columns_wider_than_128_bits_together_are_compared_exactly() {
    let wide = [decimal(38, 2), DataType::BigInt, decimal(20, 2), decimal(5, 2)];
    let mut validator = totals_of(wide, true, vec![]).unwrap();
    let price = "123456789012345678.91";
    assert_eq!(judged(&mut validator, &message("1111111101111111110190.00", "10000", price, "10")), None);
    let off = judged(&mut validator, &message("1111111101111111110190.01", "10000", price, "10"));
    assert_eq!(off.as_deref(), Some("total_mismatch:total"));
    let most = [decimal(38, 0), decimal(38, 10), decimal(38, 10), decimal(5, 2)];
    let error = totals_of(most, true, vec![]).err().unwrap();
    assert_eq!(error.location().unwrap().key.as_deref(), Some("validation.total"));
    assert!(error.to_string().contains("83 digits"), "{error}");
}

#[test]
fn a_row_with_a_missing_or_faulty_part_is_not_judged() {
    let positive = Rule { column: "quantity".to_owned(), exclusive_min: some("0"), ..Rule::default() };
    let mut validator = totals_of(PURCHASES, true, vec![positive]).unwrap();
    for (parts, reasons) in [
        (["null", "2", "1.00", "0"], None),
        (["9.99", "null", "1.00", "0"], None),
        (["9.99", "2", "null", "0"], None),
        (["9.99", "2", "1.00", "null"], None),
        (["9.99", "-2", "1.00", "0"], Some("too_small:quantity")),
        (["9.99", "2", "1.001", "0"], Some("out_of_range:price")),
        (["\"9.99\"", "2", "1.00", "0"], Some("wrong_type:total")),
        (["9.99", "2", "1.00", "0"], Some("total_mismatch:total")),
    ] {
        let [total, quantity, price, discount] = parts;
        let found = judged(&mut validator, &message(total, quantity, price, discount));
        assert_eq!(found.as_deref(), reasons, "{parts:?}");
    }
    let batch: Vec<_> = ["2.00", "9.99", "null", "2.00", "1.99"].map(|total| message(total, "2", "1.00", "0")).into();
    let validated = validator.validate(&messages(&batch)).unwrap();
    assert_eq!(validated.counts, Counts { input: 5, accepted: 3, rejected: 2 });
}

#[test]
fn columns_that_make_no_total_are_configuration_errors_with_their_key() {
    let int = DataType::Int;
    for (types, key, words) in [
        ([DataType::Double, int, int, int], "validation.total.total", "`total` is double"),
        ([int, DataType::String, int, int], "validation.total.quantity", "`quantity` is string"),
        ([int, int, DataType::Date, int], "validation.total.unit_price", "`price` is date"),
        ([int, int, int, DataType::Boolean], "validation.total.discount_percentage", "`discount` is boolean"),
    ] {
        let error = totals_of(types, true, vec![]).err().unwrap();
        assert_eq!((error.kind(), error.location().unwrap().key.as_deref()), (Kind::Config, Some(key)));
        assert!(error.to_string().contains(words), "{error}");
    }
    let validation = Validation { total: Some(rule(false)), ..defaults() };
    let schema = schema_of(&[("totals", int, true), ("quantity", int, true), ("price", int, true)]);
    let error = Validator::compile(&schema, &validation, "at", Tz::UTC, "purchases").err().unwrap();
    assert!(error.to_string().contains("did you mean `totals`?"), "{error}");
}

/// As one does it by hand: in whole numbers, dividing.
fn naive_cents(quantity: i64, price_cents: i64, discount_hundredths: i64) -> i128 {
    let exact = i128::from(quantity) * i128::from(price_cents) * i128::from(10_000 - discount_hundredths);
    let (whole, rest) = (exact.abs() / 10_000, exact.abs() % 10_000);
    (whole + i128::from(rest >= 5_000)) * exact.signum()
}

proptest! {
    #[test]
    fn every_total_but_the_naive_one_is_a_mismatch(
        rows in prop::collection::vec((-50_i64..50, -99_999_i64..99_999, -100_i64..20_000, -1_i128..=1), 1..40)
    ) {
        let narrow = PURCHASES;
        let wide = [decimal(38, 2), DataType::BigInt, decimal(20, 2), decimal(5, 2)];
        let of = |&(quantity, price, discount, off): &(i64, i64, i64, i128)| {
            let total = naive_cents(quantity, price, discount) + off;
            let cents = |value: i64| format_cents(value.into());
            message(&format_cents(total), &quantity.to_string(), &cents(price), &cents(discount))
        };
        let values: Vec<_> = rows.iter().map(of).collect();
        for types in [narrow, wide] {
            let mut validator = totals_of(types, true, vec![]).unwrap();
            let rejected = validator.validate(&messages(&values)).unwrap().rejected;
            let offsets = rejected.map_or_else(Vec::new, |rejected| {
                rejected.column_by_name("offset").unwrap().as_primitive::<Int64Type>().values().to_vec()
            });
            let wrong = rows.iter().enumerate().filter(|(_, row)| row.3 != 0).map(|(index, _)| 100 + index as i64);
            prop_assert_eq!(offsets, wrong.collect::<Vec<_>>());
        }
    }
}
