//! Expressions and properties from a seed: right ones, nearly right ones, and ones with bytes changed.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::words::{FLOATS, GAPS, INTEGERS, NAMES, PIECES, TAILS, TEXTS, VALUES};

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

    pub fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
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
}
