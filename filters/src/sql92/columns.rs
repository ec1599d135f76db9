//! Evaluation on values that somebody else has found, as a plugin is given them.

use super::cell::{Cell, NULL};
use super::evaluate::{Answers, Machine};
use super::properties::{is_utf8, mended};
use super::{Outcome, Sql92, outcome};

impl Sql92 {
    /// Names of the properties that it reads, each once.
    pub fn properties(&self) -> impl ExactSizeIterator<Item = &str> {
        self.program.properties.iter().map(|key| &*key.name)
    }

    /// What it comes to for each of `rows` messages, handed to `put` with the row. `value` finds the
    /// value of a row's property, numbered as in [`Sql92::properties`]; unlike a stored property it
    /// may be empty. Functions are not called: they fail.
    pub fn evaluate_columns<'p>(
        &'p self,
        rows: usize,
        value: impl Fn(usize, usize) -> Option<&'p [u8]>,
        mut put: impl FnMut(usize, Outcome),
    ) {
        let failed = self.failed();
        let mut answers = Answers::new(&failed, 0);
        let mut machine = Machine::new(&self.program);
        for row in 0..rows {
            let mut readable = true;
            for (at, cell) in machine.properties.iter_mut().enumerate() {
                let found = value(row, at);
                readable &= found.is_none_or(is_utf8);
                *cell = found.map_or(NULL, Cell::Text);
            }
            let ends = if readable {
                outcome(machine.run(&mut answers))
            } else {
                self.evaluate_mended(|at| value(row, at))
            };
            put(row, ends);
        }
    }

    #[cold]
    fn evaluate_mended<'p>(&self, value: impl Fn(usize) -> Option<&'p [u8]>) -> Outcome {
        let texts: Vec<Option<String>> = (0..self.program.properties.len())
            .map(|at| value(at).map(mended))
            .collect();
        let failed = self.failed();
        let mut machine = Machine::new(&self.program);
        for (text, cell) in texts.iter().zip(&mut machine.properties) {
            *cell = text
                .as_ref()
                .map_or(NULL, |text| Cell::Text(text.as_bytes()));
        }
        outcome(machine.run(&mut Answers::new(&failed, 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::NoFunctions;
    use super::*;

    #[test]
    fn columns_come_to_what_stored_properties_come_to() {
        let filter = Sql92::compile("a = 'x\u{FFFD}' OR b > 1 OR a = 'y'", &NoFunctions).unwrap();
        assert_eq!(filter.properties().collect::<Vec<_>>(), ["a", "b"]);
        let rows: [[Option<&[u8]>; 2]; 5] = [
            [Some(b"x\xFF"), None],
            [Some(b"x"), Some(b"2")],
            [Some(b"y"), None],
            [None, None],
            [Some(b"x"), Some(b"\xFF")],
        ];
        let mut found = Vec::new();
        filter.evaluate_columns(
            rows.len(),
            |row, at| rows[row][at],
            |_, ends| found.push(ends),
        );
        let stored = rows.map(|row| {
            let mut properties = Vec::new();
            for (name, value) in ["a", "b"].into_iter().zip(row) {
                if let Some(value) = value {
                    properties.extend_from_slice(name.as_bytes());
                    properties.push(1);
                    properties.extend_from_slice(value);
                    properties.push(2);
                }
            }
            filter.evaluate(&properties)
        });
        assert_eq!(found, stored);
        assert_eq!(found[..3], [Outcome::True; 3]);
    }
}
