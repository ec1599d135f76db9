//! Expressions and properties from a seed: right ones, nearly right ones, and ones with bytes changed.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const NAMES: [&str; 7] = ["a", "b", "c", "d", "flag", "INX", "$x_1"];
const INTEGERS: [&str; 14] = [
    "0",
    "1",
    "5",
    "5L",
    "9l",
    "12",
    "16",
    "1000",
    "2147483647",
    "2147483648",
    "4000000000",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
];
const FLOATS: [&str; 16] = [
    "5.0",
    "5.",
    ".5",
    "0.1",
    "16.0",
    "1e3",
    "1E+1",
    "1.e2",
    "007.0",
    "1e-400",
    "1e309",
    "0.0",
    "4.9E-324",
    "1.7976931348623157E308",
    "9007199254740992.0",
    "2147483648.5",
];
const TEXTS: [&str; 14] = [
    "''",
    "'a'",
    "'x'",
    "'5'",
    "'true'",
    "'TRUE'",
    "'it''s'",
    "'ell'",
    "'he'",
    "'lo'",
    "'ü€𝟛'",
    "'\n'",
    "'-- /*'",
    "'05'",
];
const VALUES: [&str; 62] = [
    "5",
    "05",
    "+5",
    "-5",
    "5.0",
    " 5",
    "5 ",
    "\t5.0\n",
    "5e0",
    "0x5p0",
    "0X1.4P2",
    "٥",
    "\u{FF15}",
    "𝟝",
    "0",
    "-0",
    "-0.0",
    "0.0",
    "1",
    "12",
    "16",
    "1000",
    "1e3",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4000000000",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "9007199254740993",
    "NaN",
    "-NaN",
    "Infinity",
    "-Infinity",
    "+Infinity",
    "infinity",
    "nan",
    "1e400",
    "1e-400",
    "4.9e-324",
    "5d",
    "5f",
    "5L",
    "1_0",
    "1,5",
    "5.5",
    "2.5e-1",
    "true",
    "TRUE",
    "tRuE",
    "false",
    "a",
    "x",
    "hello",
    "it's",
    "ü€𝟛",
    "\n",
    "-- /*",
    "",
];
const GAPS: [&str; 8] = [" ", " ", " ", "  ", "\t", "\n", " /* ' */ ", " -- ' (\n"];
const TAILS: [&str; 12] = [
    "", " zzz", ")", " , 'x", " 5 @", " @", ";", " + 1", " TRUE (", " AND", " NOT", "\u{3000}",
];
/// What a changed expression gets in place of something.
const PIECES: [&str; 44] = [
    "'",
    "''",
    "(",
    ")",
    ",",
    "+",
    "-",
    "--",
    "\n",
    "/*",
    "*/",
    "=",
    "<",
    ">",
    "<>",
    "<=",
    ">=",
    "!",
    ".",
    "e",
    "E5",
    "0",
    "9",
    "L",
    " ",
    "\u{B}",
    "\u{A0}",
    "a",
    "NOT ",
    " AND ",
    " OR ",
    " IS ",
    " NULL ",
    " TRUE ",
    " IN ",
    " BETWEEN ",
    " CONTAINS ",
    " STARTSWITH ",
    "_",
    "$",
    "é",
    "\0",
    "\"",
    ";",
];

/// An expression with the messages to evaluate it on.
pub struct Case {
    pub expression: String,
    pub messages: Vec<Message>,
}

/// Properties of one message.
#[derive(Clone)]
pub struct Message {
    /// Put into a map piece by piece, so that a value may be empty.
    pub mapped: bool,
    /// The properties string.
    pub properties: Vec<u8>,
}

/// Makes cases.
pub struct Generator<'r> {
    pub random: &'r mut StdRng,
}

impl Generator<'_> {
    pub fn case(&mut self) -> Case {
        let mut expression = if self.one_in(20) {
            self.number_case()
        } else {
            self.condition(4)
        };
        if self.one_in(8) {
            expression.push_str(self.pick(&TAILS));
        }
        if self.one_in(4) {
            expression = self.changed(&expression);
        }
        let messages = (0..5).map(|_| self.message()).collect();
        Case {
            expression,
            messages,
        }
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.random.random_ratio(1, chances)
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from.choose(self.random).expect("something to pick from")
    }

    /// The order or equality of numbers whose texts are near each other.
    fn number_case(&mut self) -> String {
        let (operator, other) = (
            self.pick(&["=", "<>", "<", "<=", ">", ">="]),
            self.near_number(),
        );
        match self.random.random_range(0..3) {
            0 => format!("c {operator} d"),
            1 => format!("c {operator} {other}"),
            _ => format!("{other} {operator} c"),
        }
    }

    fn condition(&mut self, depth: u32) -> String {
        let gap = self.gap();
        match self.random.random_range(0..if depth == 0 { 8 } else { 15 }) {
            0..=6 => self.comparison(depth),
            7 => self
                .pick(&["TRUE", "FALSE", "NULL", "a", "flag", "b"])
                .to_owned(),
            8..=9 => format!(
                "{}{gap}{}{gap}{}",
                self.condition(depth - 1),
                self.word("AND"),
                self.condition(depth - 1)
            ),
            10..=11 => format!(
                "{}{gap}{}{gap}{}",
                self.condition(depth - 1),
                self.word("OR"),
                self.condition(depth - 1)
            ),
            12 => format!("{} ({})", self.word("NOT"), self.condition(depth - 1)),
            13 => format!("({gap}{})", self.condition(depth - 1)),
            _ => format!(
                "{}{gap}{}",
                self.condition(depth - 1),
                self.equality_suffix(depth - 1)
            ),
        }
    }

    fn comparison(&mut self, depth: u32) -> String {
        let (name, gap) = (self.pick(&NAMES), self.gap());
        let not = if self.one_in(3) {
            self.word("NOT") + " "
        } else {
            String::new()
        };
        match self.random.random_range(0..12) {
            0..=2 => {
                let operator = self.pick(&["=", "<>"]);
                format!(
                    "{}{gap}{operator}{gap}{}",
                    self.value(depth),
                    self.value(depth)
                )
            }
            3..=5 => {
                let operator = self.pick(&["<", "<=", ">", ">="]);
                format!(
                    "{}{gap}{operator}{gap}{}",
                    self.orderable(depth),
                    self.orderable(depth)
                )
            }
            6 => format!(
                "{} {not}{} {} {} {}",
                self.orderable(depth),
                self.word("BETWEEN"),
                self.orderable(depth),
                self.word("AND"),
                self.orderable(depth)
            ),
            7..=8 => format!("{name} {not}{}{gap}({})", self.word("IN"), self.list()),
            9..=10 => {
                let search = self.pick(&["CONTAINS", "STARTSWITH", "ENDSWITH"]);
                format!(
                    "{} {not}{}{gap}{}",
                    self.value(depth),
                    self.word(search),
                    self.pick(&TEXTS)
                )
            }
            _ => format!("{}{gap}{}", self.value(depth), self.equality_suffix(depth)),
        }
    }

    fn equality_suffix(&mut self, depth: u32) -> String {
        let gap = self.gap();
        match self.random.random_range(0..4) {
            0 => format!("{}{gap}{}", self.word("IS"), self.word("NULL")),
            1 => format!(
                "{} {}{gap}{}",
                self.word("IS"),
                self.word("NOT"),
                self.word("NULL")
            ),
            2 => format!("={gap}{}", self.value(depth)),
            _ => format!("<>{gap}{}", self.value(depth)),
        }
    }

    fn list(&mut self) -> String {
        let count = self.random.random_range(1..8);
        let texts: Vec<&str> = (0..count).map(|_| self.pick(&TEXTS)).collect();
        let gap = self.gap();
        texts.join(&format!("{gap},"))
    }

    /// Mostly what may be put in order.
    fn orderable(&mut self, depth: u32) -> String {
        match self.random.random_range(0..20) {
            0..=8 => self.pick(&NAMES).to_owned(),
            9..=13 => self.pick(&INTEGERS).to_owned(),
            14..=16 => self.pick(&FLOATS).to_owned(),
            17 => format!("-{}", self.pick(&INTEGERS)),
            18 => format!("+{}", self.value(depth)),
            _ => self.value(depth),
        }
    }

    fn value(&mut self, depth: u32) -> String {
        match self
            .random
            .random_range(0..if depth == 0 { 20 } else { 24 })
        {
            0..=8 => self.pick(&NAMES).to_owned(),
            9..=11 => self.pick(&INTEGERS).to_owned(),
            12..=13 => self.pick(&FLOATS).to_owned(),
            14..=16 => self.pick(&TEXTS).to_owned(),
            17 => {
                let word = self.pick(&["TRUE", "FALSE", "NULL"]);
                self.word(word)
            }
            18 => format!("-{}", self.value(0)),
            19 => format!("+ {}", self.value(0)),
            20..=21 => format!("({})", self.condition(depth - 1)),
            22 => format!("-({})", self.condition(depth - 1)),
            _ => format!("{} {}", self.word("NOT"), self.value(depth - 1)),
        }
    }

    /// A keyword in some case.
    fn word(&mut self, word: &str) -> String {
        match self.random.random_range(0..6) {
            0 => word.to_lowercase(),
            1 => {
                let mut upper = false;
                word.chars()
                    .map(|c| {
                        upper = !upper;
                        if upper { c } else { c.to_ascii_lowercase() }
                    })
                    .collect()
            }
            _ => word.to_owned(),
        }
    }

    fn gap(&mut self) -> &'static str {
        self.pick(&GAPS)
    }

    /// One to three changes: a piece put in, a character or a stretch taken out, two stretches swapped.
    fn changed(&mut self, expression: &str) -> String {
        let mut characters: Vec<char> = expression.chars().collect();
        for _ in 0..self.random.random_range(1..=3) {
            let at = self.random.random_range(0..=characters.len());
            let end = (at + self.random.random_range(0..6)).min(characters.len());
            match self.random.random_range(0..4) {
                0 => {
                    let piece = self.pick(&PIECES);
                    characters.splice(at..at, piece.chars());
                }
                1 => {
                    let piece = self.pick(&PIECES);
                    characters.splice(at..end, piece.chars());
                }
                2 => {
                    characters.splice(at..end, []);
                }
                _ => characters[at..].rotate_left(end - at),
            }
        }
        characters.into_iter().collect()
    }

    fn message(&mut self) -> Message {
        let mapped = self.one_in(3);
        let mut properties = Vec::new();
        for _ in 0..self.random.random_range(0..9) {
            properties.extend_from_slice(self.pick(&NAMES).as_bytes());
            properties.push(1);
            let value = if self.one_in(4) {
                self.near_number()
            } else {
                self.pick(&VALUES).to_owned()
            };
            properties.extend_from_slice(value.as_bytes());
            properties.push(2);
        }
        if !mapped && !properties.is_empty() && self.one_in(6) {
            for _ in 0..self.random.random_range(1..4) {
                let at = self.random.random_range(0..properties.len());
                properties[at] = *[
                    0, 1, 2, b'5', b'a', 0x80, 0xA0, 0xC3, 0xE2, 0xED, 0xF0, 0xFF,
                ]
                .choose(self.random)
                .expect("a byte");
            }
        }
        Message { mapped, properties }
    }

    /// A number near one of few: the same in another notation, a neighbour, or the middle between.
    fn near_number(&mut self) -> String {
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
