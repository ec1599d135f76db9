//! Numbers as Java reads them from text.

use std::cmp::Ordering;

/// Longest text in bytes that is a number. Java reads longer ones; a subscription could make that cost
/// milliseconds for each message.
pub const NUMBER_SIZE_MAX: usize = 4_096;

/// Zeros of the decimal digits of the Basic Multilingual Plane, ten in a row each: what Java's
/// `Character.digit` takes (17; Unicode 13). Digits beyond that plane are surrogates there: none.
const ZEROS: [u16; 37] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6,
    0x0D66, 0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80,
    0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0,
    0xFF10,
];

/// As `Integer.valueOf`: an optional sign and decimal digits of any script, nothing else.
pub(super) fn parse_i32(text: &[u8]) -> Option<i32> {
    parse_i64(text)?.try_into().ok()
}

/// As `Long.valueOf`.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = signed(text);
    if digits.is_empty() || digits.len() > NUMBER_SIZE_MAX {
        return None;
    }
    // So many fit whatever they are.
    if digits.len() <= 18 {
        let append = |value, digit: &u8| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        };
        if let Some(value) = digits.iter().try_fold(0, append) {
            return Some(if negative { -value } else { value });
        }
    }
    // Gathered below zero, where there is room for the smallest.
    let mut value = 0_i64;
    for character in std::str::from_utf8(digits).ok()?.chars() {
        value = value.checked_mul(10)?.checked_sub(digit(character)?)?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// Whether there is a minus sign, and what follows the sign.
fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

fn digit(character: char) -> Option<i64> {
    if let Some(value) = character.to_digit(10) {
        return Some(i64::from(value));
    }
    let code = u16::try_from(u32::from(character)).ok()?;
    let zero = ZEROS[ZEROS.partition_point(|&zero| zero <= code).checked_sub(1)?];
    (code - zero < 10).then_some(i64::from(code - zero))
}

/// As `Double.valueOf`.
pub(super) fn parse_f64(text: &[u8]) -> Option<f64> {
    let is_blank = |byte: &u8| *byte <= b' ';
    let first = text.iter().position(|byte| !is_blank(byte))?;
    let last = text.iter().rposition(|byte| !is_blank(byte))?;
    let (negative, magnitude) = signed(&text[first..=last]);
    if magnitude.len() > NUMBER_SIZE_MAX {
        return None;
    }
    let value = match magnitude {
        b"NaN" => f64::NAN,
        b"Infinity" => f64::INFINITY,
        [b'0', b'x' | b'X', hexadecimal @ ..] => parse_hexadecimal(without_suffix(hexadecimal))?,
        decimal => parse_decimal(without_suffix(decimal))?,
    };
    Some(if negative { -value } else { value })
}

fn without_suffix(number: &[u8]) -> &[u8] {
    match number {
        [before @ .., b'f' | b'F' | b'd' | b'D'] => before,
        _ => number,
    }
}

/// Digits with an optional point and exponent. What is let through reads the same in Rust.
fn parse_decimal(number: &[u8]) -> Option<f64> {
    let only = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !number.first()?.is_ascii_digit() && number[0] != b'.' || !number.iter().all(only) {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// What follows `0x`: hexadecimal digits with an optional point, then `p` and a decimal exponent.
fn parse_hexadecimal(number: &[u8]) -> Option<f64> {
    let p = number
        .iter()
        .position(|byte| byte.eq_ignore_ascii_case(&b'p'))?;
    let (significand, exponent) = (&number[..p], &number[p + 1..]);
    let (negative, exponent) = match exponent {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if exponent.is_empty() || !exponent.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // An exponent that no i32 holds decides by itself, whatever the (not zero) significand.
    let magnitude = exponent
        .iter()
        .try_fold(0_i32, |sum, digit| {
            sum.checked_mul(10)?.checked_add(i32::from(digit - b'0'))
        })
        .map_or(i64::MAX / 4, i64::from);
    let exponent = if negative { -magnitude } else { magnitude };

    let point = significand.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&significand[..at], &significand[at + 1..]),
        None => (significand, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (mut bits, mut power) = (0_u64, exponent);
    for (at, digit) in whole.iter().chain(fraction).enumerate() {
        let value = char::from(*digit).to_digit(16)?;
        let behind_the_point = at >= whole.len();
        if bits >> 58 == 0 {
            bits = bits << 4 | u64::from(value);
            power -= if behind_the_point { 4 } else { 0 };
        } else {
            // Too far down to count, except that it is not nothing.
            bits |= u64::from(value != 0);
            power += if behind_the_point { 0 } else { 4 };
        }
    }
    Some(scaled(bits, power))
}

/// `bits` times two to the `power`, rounded once, half to even.
fn scaled(bits: u64, power: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let length = 64 - i64::from(bits.leading_zeros());
    // The exponent of the leading bit, and of the last bit that a double of that size keeps.
    let leading = length - 1 + power;
    if leading > 1023 {
        return f64::INFINITY;
    }
    let last = (leading - 52).max(-1074);
    let drop = last - power;
    let kept = match drop {
        i64::MIN..=0 => bits << -drop,
        1..=63 => {
            let (kept, dropped, half) = (bits >> drop, bits & ((1 << drop) - 1), 1 << (drop - 1));
            kept + u64::from(dropped > half || dropped == half && kept & 1 == 1)
        }
        // Less than half a unit: `bits` has 62 at most.
        _ => 0,
    };
    // At most 53 bits (54 after a carry, then even), so exact; the scale takes two steps because
    // the smallest power of two is beyond one exact factor of a normal double.
    let (first, second) = (last / 2, last - last / 2);
    kept as f64 * power_of_two(first) * power_of_two(second)
}

/// Two to the `exponent`, which is within -1022..=1023.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// As `Double.compareTo`: -0.0 is below 0.0, NaN equals itself and is above everything.
pub(super) fn compare_f64(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .filter(|order| order.is_ne())
        .unwrap_or_else(|| match (left.is_nan(), right.is_nan()) {
            (false, false) => right.is_sign_negative().cmp(&left.is_sign_negative()),
            (left, right) => left.cmp(&right),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_java_reads_them() {
        assert_eq!(parse_i32("+11".as_bytes()), Some(11));
        assert_eq!(parse_i32("-2147483648".as_bytes()), Some(i32::MIN));
        assert_eq!(parse_i32("000000000000000000000000007".as_bytes()), Some(7));
        assert_eq!(parse_i32("٣".as_bytes()), Some(3));
        assert_eq!(parse_i32("\u{FF19}".as_bytes()), Some(9));
        assert_eq!(parse_i64("-9223372036854775808".as_bytes()), Some(i64::MIN));
        for text in [
            "",
            "+",
            "-",
            "+-1",
            " 1",
            "1 ",
            "1.0",
            "1L",
            "2147483648",
            "𝟛",
            "²",
        ] {
            assert_eq!(parse_i32(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_i64("9223372036854775808".as_bytes()), None);
    }

    #[test]
    fn floats_as_java_reads_them() {
        for (text, value) in [
            (" 11.0\t", 11.0),
            ("5.", 5.0),
            ("-.5", -0.5),
            ("+1e3", 1000.0),
            ("5d", 5.0),
            ("1.5F", 1.5),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e400", f64::INFINITY),
            ("1e-400", 0.0),
            ("0x1p4", 16.0),
            ("-0X.8P+1f", -1.0),
            ("0x1.p1", 2.0),
            ("0x0p99999999999", 0.0),
            ("0x1p-99999999999", 0.0),
            ("0x1p99999999999", f64::INFINITY),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", f64::from_bits(1)),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("0x0.fffffffffffffp-1022", f64::from_bits((1 << 52) - 1)),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000001p0", 1.0 + f64::EPSILON),
            ("0x10000000000000000000000p0", 2_f64.powi(88)),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        assert!(parse_f64(b"-NaN").is_some_and(f64::is_nan));
        for text in [
            "",
            " ",
            ".",
            "+",
            "d",
            "1e",
            "1e+",
            "1_0",
            "1,0",
            "0x10",
            "0x.p1",
            "0xp1",
            "nan",
            "inf",
            "infinity",
            "NaNd",
            "Infinityf",
            "1 f",
            "1ff",
            "--1",
            "٣",
            "0x1p1.0",
            "0x1p",
            "1e5.0",
            "5\u{A0}",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn longer_texts_are_no_numbers() {
        let zeros = "0".repeat(NUMBER_SIZE_MAX - 1);
        for (text, value) in [
            (format!("-{zeros}7"), Some(-7)),
            (format!("{zeros}07"), None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), value);
            assert_eq!(parse_f64(text.as_bytes()), value.map(|value| value as f64));
        }
    }

    #[test]
    fn floats_have_javas_total_order() {
        use Ordering::{Equal, Greater, Less};
        assert_eq!(compare_f64(-0.0, 0.0), Less);
        assert_eq!(compare_f64(0.0, -0.0), Greater);
        assert_eq!(compare_f64(f64::NAN, f64::NAN), Equal);
        assert_eq!(compare_f64(f64::NAN, f64::INFINITY), Greater);
        assert_eq!(compare_f64(1.0, f64::NAN), Less);
        assert_eq!(compare_f64(1.0, 2.0), Less);
    }
}
