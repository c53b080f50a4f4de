use super::*;

fn day(number: u32) -> Period {
    Period::Day(NaiveDate::from_ymd_opt(2025, 11, number).unwrap())
}

fn values(words: &[Option<&str>]) -> Values {
    words.iter().map(|word| word.map(str::to_owned)).collect()
}

/// Day, currency, rows, sum of the amount.
fn totals(rows: &[(u32, Option<&str>, u64, &str)]) -> Totals {
    let mut totals = Totals::default();
    for &(number, currency, rows, amount) in rows {
        totals.insert(day(number), values(&[currency]), Group::of_sums(rows, &[("amount", amount)]));
    }
    totals
}

#[test]
fn totals_add_up_exactly_by_period_and_group() {
    let mut sum = totals(&[(18, Some("USD"), 2, "18457.50"), (18, None, 1, "1"), (19, Some("USD"), 1, "-0.05")]);
    sum.add(&totals(&[(19, Some("USD"), 1, "0.10"), (18, None, 1, "2"), (20, Some("EUR"), 3, "7.00")])).unwrap();
    let expected = [
        (18, Some("USD"), 2, "18457.50"),
        (18, None, 2, "3"),
        (19, Some("USD"), 2, "0.05"),
        (20, Some("EUR"), 3, "7.00"),
    ];
    assert_eq!(sum, totals(&expected));
    assert_eq!(sum.rows(), 9);
}

#[test]
fn a_broken_total_changes_nothing_and_names_its_column_and_period() {
    for broken in ["", "1.", "1e3", "NaN"] {
        let mut sum = totals(&[(18, None, 1, "1.00"), (19, None, 1, "2.00")]);
        let before = sum.clone();
        assert!(sum.add(&totals(&[(18, None, 1, "1.00"), (19, None, 1, broken)])).is_err(), "`{broken}`");
        assert_eq!(sum, before);
        let error = sum.add(&totals(&[(20, None, 1, broken)])).unwrap_err();
        assert!(error.to_string().contains("`amount`") && error.to_string().contains("2025-11-20"), "{error}");
    }
}

#[test]
fn a_copy_does_not_see_what_is_added_later() {
    let mut sum = totals(&[(18, None, 1, "1.00"), (19, None, 1, "2.00")]);
    let copy = sum.clone();
    sum.add(&totals(&[(18, None, 1, "0.50")])).unwrap();
    assert_eq!(copy, totals(&[(18, None, 1, "1.00"), (19, None, 1, "2.00")]));
    assert!(Arc::ptr_eq(&sum.periods[&day(19)], &copy.periods[&day(19)]), "what did not change is shared");
}

#[test]
fn extremes_and_averages_join_by_value() {
    let measured = |sum: &str, count, min: Option<&str>, max: Option<&str>| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let measure = Measure { sum: owned(Some(sum)), count: Some(count), min: owned(min), max: owned(max) };
        Group { rows: count, columns: [("x".to_owned(), measure)].into() }
    };
    let mut group = Group::default();
    group.add(&measured("0", 0, None, None)).unwrap();
    assert_eq!(group.columns["x"].average(), None, "all values are null");
    group.add(&measured("19", 2, Some("9"), Some("10"))).unwrap();
    group.add(&measured("-100", 1, Some("-100"), Some("-100"))).unwrap();
    assert_eq!(group, measured("-81", 3, Some("-100"), Some("10")));
    assert_eq!(group.columns["x"].average().as_deref(), Some("-27.00"));
}

#[test]
fn running_totals_follow_late_rows_and_never_mix_groups() {
    let mut sum = totals(&[(18, Some("USD"), 1, "1.00"), (19, Some("EUR"), 1, "5"), (20, Some("USD"), 1, "2.00")]);
    let shown = |totals: &Totals| -> Vec<(String, String, String)> {
        let rows = totals.running(&[0]).unwrap();
        let text = |row: &Running| row.running.sum("amount").unwrap().to_owned();
        rows.iter().map(|row| (row.period.to_string(), row.values[0].clone().unwrap(), text(row))).collect()
    };
    let row = |day: &str, currency: &str, sum: &str| (day.to_owned(), currency.to_owned(), sum.to_owned());
    let eur = row("2025-11-19", "EUR", "5");
    assert_eq!(shown(&sum), [row("2025-11-18", "USD", "1.00"), eur.clone(), row("2025-11-20", "USD", "3.00")]);
    sum.add(&totals(&[(18, Some("USD"), 1, "0.25")])).unwrap();
    assert_eq!(shown(&sum), [row("2025-11-18", "USD", "1.25"), eur, row("2025-11-20", "USD", "3.25")]);
}

#[test]
fn groups_fold_by_any_key() {
    let mut sum = Totals::default();
    for (date, words, amount) in [(18, ["USD", "food"], "1"), (18, ["USD", "tools"], "2"), (19, ["EUR", "food"], "4")] {
        sum.insert(day(date), values(&words.map(Some)), Group::of_sums(1, &[("amount", amount)]));
    }
    let amounts = |folded: Vec<&Group>| -> Vec<String> {
        folded.into_iter().map(|group| group.sum("amount").unwrap().to_owned()).collect()
    };
    assert_eq!(amounts(sum.fold(|period, _| Some(period)).unwrap().values().collect()), ["3", "4"]);
    assert_eq!(amounts(sum.fold(|_, by| Some(by[1].clone())).unwrap().values().collect()), ["5", "2"]);
    assert_eq!(amounts(sum.fold(|period, _| (period == day(18)).then_some(())).unwrap().values().collect()), ["3"]);
    assert_eq!(sum.sums().unwrap()["amount"], "7");
    let by = sum.by(&[1]).unwrap();
    assert_eq!(by.get(day(18), &values(&[Some("tools")])).unwrap().rows, 1);
}

#[test]
fn the_json_form_holds_nulls_hours_and_every_digit() {
    let mut sum = Totals::default();
    let hour = Period::Hour("2025-11-18T09:30:00Z".parse().unwrap());
    let wide = "100000000000000000000000000000000000000.00";
    sum.insert(hour, values(&[Some("a \"b\""), None]), Group::of_sums(2, &[("amount", wide)]));
    let json = serde_json::to_string(&sum).unwrap();
    let expected = format!(
        r#"{{"2025-11-18T09:30:00Z":[{{"by":["a \"b\"",null],"rows":2,"columns":{{"amount":{{"sum":"{wide}"}}}}}}]}}"#
    );
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Totals>(&json).unwrap(), sum);
    let twice = r#"{"2025-11-18":[{"rows":1},{"rows":2}]}"#;
    assert!(serde_json::from_str::<Totals>(twice).unwrap_err().to_string().contains("there twice"));
    assert!(serde_json::from_str::<Totals>(r#"{"2025-11-18":[{"rows":1,"x":2}]}"#).is_err(), "nothing unknown is lost");
}
