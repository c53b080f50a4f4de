//! Figures as people read them.

use std::time::Duration;

/// `1.5 GiB`, with one digit from the second unit on.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `3 ms`, `0.4 s`, `12 min`, `3.5 h`, `7 d`.
pub(super) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (value, unit) = match seconds {
        s if s < 0.1 => ((s * 1_000.0).ceil(), "ms"),
        s if s < 120.0 => (s, "s"),
        s if s < 7_200.0 => (s / 60.0, "min"),
        s if s < 172_800.0 => (s / 3_600.0, "h"),
        s => (s / 86_400.0, "d"),
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// `1 file`, `2 files`.
pub(super) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_unit_that_fits_them() {
        assert_eq!([bytes(512), bytes(1536), bytes(3 << 40)], ["512 B", "1.5 KiB", "3.0 TiB"]);
        let ages = [0.0021, 0.4, 90.0, 720.0, 12_600.0, 604_800.0].map(|seconds| age(Duration::from_secs_f64(seconds)));
        assert_eq!(ages, ["3 ms", "0.4 s", "90 s", "12 min", "3.5 h", "7 d"]);
        assert_eq!((plural(1, "file", "files"), plural(2, "file", "files")), ("1 file".into(), "2 files".into()));
    }
}
