//! Texts of numbers that readers of numbers get wrong.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::generate::Generator;

impl Generator<'_> {
    /// A number near one of few: the same in another notation, a neighbour, or the middle between.
    pub fn near_number(&mut self) -> String {
        const BASES: [f64; 8] = [
            0.1,
            1.0,
            5e-324,
            2.2250738585072014e-308,
            9007199254740992.0,
            1e23,
            123456.789,
            1.797e308,
        ];
        let base = *BASES.choose(self.random).expect("a base");
        let bits = base
            .to_bits()
            .wrapping_add_signed(self.random.random_range(-1..=1));
        let number = f64::from_bits(bits);
        match self.random.random_range(0..6) {
            0 => format!("{number:e}"),
            1 => format!("{number:E}"),
            2 => format!("{number:?}"),
            3 => {
                let more = self.pick(&["", "000000001", "e0", "d"]);
                middle(bits, more)
            }
            4 => hexadecimal(bits, ""),
            _ => {
                let more = self.pick(&["8", "80000000000000000001", "7fffffffffff", "80"]);
                hexadecimal(bits, more)
            }
        }
    }
}

/// The decimal number exactly in the middle between a float and the next, with `more` behind it.
fn middle(bits: u64, more: &str) -> String {
    // 1,100 places hold every float here.
    let [low, high] = [bits, bits + 1].map(|bits| format!("{:0>1500.1100}", f64::from_bits(bits)));
    let (mut sum, mut carry) = (Vec::new(), 0);
    for (low, high) in low
        .bytes()
        .zip(high.bytes())
        .rev()
        .filter(|(low, _)| *low != b'.')
    {
        let digit = low + high - 2 * b'0' + carry;
        sum.push(digit % 10);
        carry = digit / 10;
    }
    let (mut half, mut rest) = (String::new(), carry);
    for (at, digit) in sum.iter().rev().enumerate() {
        if at == 1500 - 1101 {
            half.push('.');
        }
        half.push(char::from(b'0' + (rest * 10 + digit) / 2));
        rest = (rest * 10 + digit) % 2;
    }
    half + if rest == 1 { "5" } else { "0" } + more
}

/// As Java and C write floats, with more digits behind those that fit.
fn hexadecimal(bits: u64, more: &str) -> String {
    let exponent = (bits >> 52) as i64 & 0x7FF;
    let fraction = bits & ((1 << 52) - 1);
    match exponent {
        0 => format!("0x0.{fraction:013x}{more}p-1022"),
        _ => format!("0x1.{fraction:013X}{more}P{}", exponent - 1023),
    }
}
