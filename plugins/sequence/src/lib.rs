//! Filter: passes messages whose property `SequenceId` is above 10 and a multiple of 3.
//!
//! Settings: `above` (10), `multiple-of` (3).

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Filter, Message, Needs, Verdict, export_filter};

struct Sequence {
    id: Column<i64>,
    above: i64,
    multiple_of: i64,
}

impl Filter for Sequence {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        let multiple_of = binding.parse("multiple-of")?.unwrap_or(3);
        if multiple_of < 1 {
            return Err("multiple-of must be 1 or more".into());
        }
        let above = binding.parse("above")?.unwrap_or(10);
        Ok(Sequence {
            id: needs.property("SequenceId"),
            above,
            multiple_of,
        })
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        let passes = |id| id > self.above && id % self.multiple_of == 0;
        message.get(self.id).is_some_and(passes).into()
    }
}

export_filter!(Sequence);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn multiples_of_three_above_ten() {
        let mut plugin = testing::filter::<Sequence>(&[]).unwrap();
        let samples: Vec<_> = (0..20)
            .map(|id| Sample::new().property("SequenceId", id.to_string()))
            .collect();
        let verdicts = plugin.filter(&samples);
        let passed: Vec<_> = (0..20)
            .filter(|id| verdicts[*id] == Verdict::Pass)
            .collect();
        assert_eq!(passed, [12, 15, 18]);
    }

    #[test]
    fn no_number_does_not_pass() {
        let mut plugin = testing::filter::<Sequence>(&[]).unwrap();
        let samples = [Sample::new(), Sample::new().property("SequenceId", "12a")];
        assert_eq!(plugin.filter(&samples), [Verdict::Drop; 2]);
    }

    #[test]
    fn a_multiple_of_nothing_is_refused() {
        assert!(testing::filter::<Sequence>(&[("multiple-of", "0")]).is_err());
    }
}
