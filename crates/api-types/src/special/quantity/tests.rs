//! Behaviours of upstream's quantity_test.go.

use super::*;

const SI: Format = Format::DecimalSI;
const BI: Format = Format::BinarySI;
const EXP: Format = Format::DecimalExponent;

fn number(value: i64, scale: i32, format: Format) -> Quantity {
    Quantity::small(value, scale, format)
}

fn parse(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|err| panic!("{text}: {err}"))
}

/// The same number kept as a big one.
fn big(quantity: &Quantity) -> Quantity {
    Quantity {
        repr: Repr::Big(Box::new(quantity.decimal())),
        format: quantity.format,
    }
}

const PARSED: &[(&str, i64, i32, Format)] = &[
    ("0", 0, 0, SI),
    ("0n", 0, 0, SI),
    ("0Ki", 0, 0, BI),
    ("0M", 0, 0, SI),
    ("1", 1, 0, SI),
    ("1Ki", 1024, 0, BI),
    ("8Ki", 8 << 10, 0, BI),
    ("7Mi", 7 << 20, 0, BI),
    ("6Gi", 6 << 30, 0, BI),
    ("5Ti", 5 << 40, 0, BI),
    ("4Pi", 4 << 50, 0, BI),
    ("3Ei", 3 << 60, 0, BI),
    ("100Ti", 100 << 40, 0, BI),
    ("5n", 5, -9, SI),
    ("4u", 4, -6, SI),
    ("3m", 3, -3, SI),
    ("8k", 8, 3, SI),
    ("50k", 5, 4, SI),
    ("300T", 3, 14, SI),
    ("2P", 2, 15, SI),
    ("1E", 1, 18, SI),
    ("12E", 12, 18, SI),
    ("1E-3", 1, -3, EXP),
    ("1e3", 1, 3, EXP),
    ("1E18", 1, 18, EXP),
    ("1e14", 1, 14, EXP),
    ("100.035k", 100_035, 0, SI),
    ("0.001", 1, -3, SI),
    ("0.0005k", 5, -1, SI),
    ("0.00050k", 5, -1, SI),
    ("0.50000", 5, -1, SI),
    ("0.5e-2", 5, -3, EXP),
    ("1.3E+6", 13, 5, EXP),
    ("1.7E18", 17, 17, EXP),
    ("7.123456M", 7_123_456, 0, SI),
    ("6.987654321G", 6_987_654_321, 0, SI),
    ("1.01E", 101, 16, SI),
    // What is too small is rounded up.
    ("3.001n", 4, -9, SI),
    ("1.1E-9", 2, -9, EXP),
    ("0.0000000001", 1, -9, SI),
    ("0.00000000050", 1, -9, SI),
    ("0.9n", 1, -9, SI),
    ("0.00000012345", 124, -9, SI),
    ("1e-2147483648", 1, -9, EXP),
    // Binary numbers stop at the largest 64-bit integer.
    ("9Ei", i64::MAX, 0, BI),
    ("9223372036854775807Ki", i64::MAX, 0, BI),
    // Fractions of binary units.
    ("100.035Ki", 10_243_584, -2, BI),
    ("0.5Mi", 512 << 10, 0, BI),
    ("0.05Gi", 536_870_912, -1, BI),
    ("0.025Ti", 274_877_906_944, -1, BI),
    ("0.000000000001Ki", 2, -9, SI),
    // Odd texts.
    (".001", 1, -3, SI),
    (".0001k", 100, -3, SI),
    ("1.", 1, 0, SI),
    ("1.G", 1, 9, SI),
    (".", 0, 0, SI),
    ("Mi", 0, 0, BI),
];

#[test]
fn text_is_parsed_with_every_sign() {
    for (text, value, scale, format) in PARSED {
        for (sign, value) in [("", *value), ("+", *value), ("-", -value)] {
            let text = format!("{sign}{text}");
            let got = parse(&text);
            let want = number(value, *scale, *format);
            assert_eq!(got, want, "{text}");
            assert_eq!(big(&got), want, "{text} as a big number");
            assert_eq!(got.format(), *format, "{text}");
            assert_eq!(parse(&got.to_string()), want, "{text} again");
        }
    }
}

#[test]
fn broken_text_is_refused() {
    use ParseQuantityError::{FormatWrong, Numeric, Suffix};
    for (text, want) in [
        ("", FormatWrong),
        ("1.1.M", FormatWrong),
        ("1+1.0M", FormatWrong),
        ("0.1mi", Suffix),
        ("0.1am", FormatWrong),
        ("aoeu", FormatWrong),
        (".5i", Suffix),
        ("1i", Suffix),
        ("-3.01e-", Suffix),
        ("1e", Suffix),
        ("1e99999999999999999999", Suffix),
        (" 1", FormatWrong),
        ("1 ", FormatWrong),
        ("Ei", Numeric),
    ] {
        assert_eq!(Quantity::parse(text), Err(want), "{text:?}");
    }
}

#[test]
fn canonical_text() {
    for (value, scale, format, want) in [
        (1 << 30, 0, BI, "1Gi"),
        (300 << 20, 0, BI, "300Mi"),
        (6 << 10, 0, BI, "6Ki"),
        (1001 << 30, 0, BI, "1001Gi"),
        (1 << 40, 0, BI, "1Ti"),
        (5, 0, BI, "5"),
        (500, -3, BI, "500m"),
        (1, 9, SI, "1G"),
        (1000, 6, SI, "1G"),
        (1_000_000_000, 0, SI, "1G"),
        (1, -3, SI, "1m"),
        (80, -3, SI, "80m"),
        (108, -2, SI, "1080m"),
        (10_800, -4, SI, "1080m"),
        (300, 6, SI, "300M"),
        (1_234_567, 6, SI, "1234567M"),
        (1_234_567, -3, BI, "1234567m"),
        (1025, 0, BI, "1025"),
        (0, 0, BI, "0"),
        (1, 9, EXP, "1e9"),
        (1, -3, EXP, "1e-3"),
        (80, -3, EXP, "80e-3"),
        (300, 6, EXP, "300e6"),
        (0, 0, EXP, "0"),
        (1, -9, SI, "1n"),
        (108, -8, SI, "1080n"),
        (1080, -6, SI, "1080u"),
        // Beyond the suffixes there is none: upstream's oddity.
        (1, 21, SI, "1"),
        (i64::MAX, 2, SI, "922337203685477580700"),
    ] {
        let quantity = number(value, scale, format);
        assert_eq!(quantity.to_string(), want, "{value}e{scale}");
        assert_eq!(
            big(&quantity).to_string(),
            want,
            "{value}e{scale} as a big number"
        );
        if value != 0 {
            let negative = number(-value, scale, format);
            assert_eq!(negative.to_string(), format!("-{want}"));
            assert_eq!(big(&negative).to_string(), format!("-{want}"));
        }
    }
}

#[test]
fn parsed_text_is_canonicalized_or_kept() {
    for (text, want) in [
        ("1024Mi", "1Gi"),
        ("307200Ki", "300Mi"),
        ("1000M", "1G"),
        ("5000m", "5"),
        ("0.5", "500m"),
        ("1.08", "1080m"),
        ("1080000000n", "1080m"),
        (".001e12", "1e9"),
        ("1000e-12", "1e-9"),
        ("00", "0"),
        (".001Ki", "1024m"),
        (".000000000001Ki", "2n"),
        // Upstream takes these for canonical and keeps them.
        ("+1", "+1"),
        ("01", "01"),
        ("1.500", "1.500"),
        ("1.234", "1.234"),
        ("1E3", "1E3"),
        ("1e0", "1e0"),
        ("1.", "1."),
    ] {
        assert_eq!(parse(text).to_string(), want, "{text}");
    }
    let mut kept = parse("1.500");
    kept.add(&Quantity::default());
    assert_eq!(kept.to_string(), "1500m", "arithmetic forgets the text");
}

#[test]
fn values_are_rounded_up() {
    for (text, whole, milli) in [
        ("1", 1, 1000),
        ("100m", 1, 100),
        ("1500m", 2, 1500),
        ("-1500m", -2, -1500),
        ("1n", 1, 1),
        ("1Ki", 1024, 1_024_000),
        ("0.0005", 1, 1),
        // What does not fit wraps around or gives 0, depending on how upstream keeps the number.
        ("9223372036854775807", i64::MAX, -1000),
        ("10E", 0, 0),
    ] {
        assert_eq!(
            (parse(text).value(), parse(text).milli_value()),
            (whole, milli),
            "{text}"
        );
    }
    for (scale, target, want) in [
        (-9, 0, 1),
        (0, -9, 1_000_000_000),
        (2, -2, 10_000),
        (-3, -3, 1),
        (-6, -9, 1000),
    ] {
        assert_eq!(
            Quantity::from_scaled(1, scale).scaled_value(target),
            want,
            "{scale} to {target}"
        );
    }
}

#[test]
fn rounding_goes_away_from_zero() {
    for (text, scale, value, own, exact) in [
        ("9.01", -3, 901, -2, true),
        ("9.01", -1, 91, -1, false),
        ("9.01", 0, 10, 0, false),
        ("9.01", 2, 100, 0, false),
        ("-9.01", -1, -91, -1, false),
        ("-9.01", 2, -100, 0, false),
    ] {
        for mut quantity in [parse(text), big(&parse(text))] {
            assert_eq!(quantity.round_up(scale), exact, "{text} to {scale}");
            assert_eq!(quantity, number(value, own, SI), "{text} to {scale}");
        }
    }
}

#[test]
fn sums_keep_the_suffixes_of_what_is_not_zero() {
    for text in ["100m", "1Gi"] {
        let mut sum = parse(text);
        sum.add(&parse("0"));
        assert_eq!(sum.to_string(), text);
        let mut sum = parse("0");
        sum.add(&parse(text));
        assert_eq!(sum.to_string(), text);
        let mut difference = parse("0");
        difference.sub(&parse(text));
        assert_eq!(difference.to_string(), format!("-{text}"));
    }
    for (a, b, sum, difference) in [
        (
            number(10, 0, SI),
            number(1, 1, SI),
            number(20, 0, SI),
            number(0, 0, SI),
        ),
        (
            number(10, 0, BI),
            number(1, 0, SI),
            number(11, 0, BI),
            number(9, 0, BI),
        ),
        (
            number(0, 0, SI),
            number(50, 0, SI),
            number(50, 0, SI),
            number(-50, 0, SI),
        ),
    ] {
        for (a, b) in [
            (a.clone(), b.clone()),
            (big(&a), b.clone()),
            (a.clone(), big(&b)),
            (big(&a), big(&b)),
        ] {
            let mut got = a.clone();
            got.add(&b);
            assert_eq!(got, sum);
            let mut got = a;
            got.sub(&b);
            assert_eq!(got, difference);
        }
    }
}

#[test]
fn sums_beyond_64_bits_are_exact() {
    let mut sum = number(i64::MAX, 0, SI);
    sum.add(&number(i64::MAX, 0, SI));
    assert_eq!(sum.to_string(), "18446744073709551614");
    sum.sub(&number(i64::MAX, 0, SI));
    assert_eq!(sum, number(i64::MAX, 0, SI));
    sum.sub(&parse("9223372036854775807"));
    assert!(sum.is_zero());
    let mut tiny = parse("1n");
    tiny.add(&parse("100E"));
    assert_eq!(tiny.to_string(), "100000000000000000000000000001n");
}

#[test]
fn products() {
    for (value, factor, want, fits) in [
        (10, 10, "100", true),
        (10, -10, "-100", true),
        (-50, 0, "0", true),
        (i64::MAX, 1, "9223372036854775807", true),
        (i64::MAX / 2, 2, "9223372036854775806", true),
        (i64::MAX, 2, "18446744073709551614", false),
        (i64::MIN, 1, "-9223372036854775808", true),
        (i64::MIN, -1, "9223372036854775808", false),
        (i64::MIN, 10, "-92233720368547758080", false),
    ] {
        let mut quantity = number(value, 0, EXP);
        assert_eq!(quantity.mul(factor), fits, "{value} * {factor}");
        assert_eq!(quantity, parse(want), "{value} * {factor}");
    }
}

#[test]
fn comparison_lines_up_scales() {
    for (a, b, want) in [
        ("1", "1000m", Ordering::Equal),
        ("1Ki", "1024", Ordering::Equal),
        ("100m", "1", Ordering::Less),
        ("1e30", "1n", Ordering::Greater),
        ("-1e30", "1n", Ordering::Less),
        ("1E", "1000000000000000001", Ordering::Less),
        ("0", "-1n", Ordering::Greater),
        ("1e2000000000", "2e2000000000", Ordering::Less),
    ] {
        assert_eq!(parse(a).cmp(&parse(b)), want, "{a} and {b}");
        assert_eq!(parse(b).cmp(&parse(a)), want.reverse(), "{b} and {a}");
        assert_eq!(
            big(&parse(a)).cmp(&big(&parse(b))),
            want,
            "{a} and {b} as big numbers"
        );
    }
}

#[test]
fn huge_exponents_stay_cheap() {
    let mut sum = parse("99999999999999999999e2147483647");
    sum.add(&parse("1n"));
    sum.sub(&parse("1e2000000000"));
    assert_eq!(sum.signum(), 1);
    let _ = (sum.to_string(), sum.value(), sum.as_f64());
}

#[test]
fn floats() {
    for (text, want) in [
        ("1", 1.0),
        ("100m", 0.1),
        ("1Ki", 1024.0),
        ("1e3", 1000.0),
        ("-2500m", -2.5),
    ] {
        assert!((parse(text).as_f64() - want).abs() < 1e-12, "{text}");
    }
}

#[test]
fn quantities_are_small_in_memory() {
    assert!(
        size_of::<Quantity>() <= 24,
        "{} bytes",
        size_of::<Quantity>()
    );
}
