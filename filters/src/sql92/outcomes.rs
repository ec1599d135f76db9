//! What a condition can come to: truth values, and sets of them.

/// A set of ends of a condition. One with a single member is a result; a larger one is a condition
/// that waits for a function: whatever the function answers, the end is in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcomes(u8);

impl Outcomes {
    pub const TRUE: Outcomes = Outcomes(1);
    pub const FALSE: Outcomes = Outcomes(2);
    /// NULL, SQL's third truth value.
    pub const UNKNOWN: Outcomes = Outcomes(4);
    /// The evaluation fails.
    pub const RAISED: Outcomes = Outcomes(8);
    /// What a function that has not been called can answer.
    pub const ANSWER: Outcomes = Outcomes(1 | 2 | 4);
    /// What an operator over such an answer can come to.
    pub const ANY: Outcomes = Outcomes(15);
    const NONE: Outcomes = Outcomes(0);

    /// `boolean` as a result.
    pub const fn of(boolean: bool) -> Self {
        if boolean { Self::TRUE } else { Self::FALSE }
    }

    /// Whether it is a result.
    pub const fn is_single(self) -> bool {
        self.0.is_power_of_two()
    }

    /// Whether it can come to one of `ends`.
    pub const fn may(self, ends: Outcomes) -> bool {
        self.0 & ends.0 != 0
    }

    pub const fn or(self, other: Outcomes) -> Self {
        Outcomes(self.0 | other.0)
    }

    /// Those of it that are in `ends`.
    pub const fn among(self, ends: Outcomes) -> Self {
        Outcomes(self.0 & ends.0)
    }

    /// NOT.
    pub const fn negated(self) -> Self {
        Outcomes(self.0 & 12 | (self.0 & 1) << 1 | (self.0 & 2) >> 1)
    }

    /// `self AND right`: FALSE and a failure on the left keep the right side from being looked at.
    pub fn conjoined(self, right: Outcomes) -> Self {
        self.joined(right, Outcomes::FALSE, Outcomes::TRUE)
    }

    /// `self OR right`: TRUE and a failure on the left keep the right side from being looked at.
    pub fn disjoined(self, right: Outcomes) -> Self {
        self.joined(right, Outcomes::TRUE, Outcomes::FALSE)
    }

    /// `decisive` decides from either side, `neutral` leaves it to the other one.
    fn joined(self, right: Outcomes, decisive: Outcomes, neutral: Outcomes) -> Self {
        let when = |condition: bool, ends: Outcomes| if condition { ends } else { Outcomes::NONE };
        let after_unknown = right.among(decisive.or(Outcomes::RAISED)).or(when(
            right.may(neutral.or(Outcomes::UNKNOWN)),
            Outcomes::UNKNOWN,
        ));
        self.among(decisive.or(Outcomes::RAISED))
            .or(when(self.may(neutral), right))
            .or(when(self.may(Outcomes::UNKNOWN), after_unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::Outcomes;

    const T: Outcomes = Outcomes::TRUE;
    const F: Outcomes = Outcomes::FALSE;
    const N: Outcomes = Outcomes::UNKNOWN;
    const R: Outcomes = Outcomes::RAISED;

    #[test]
    fn results_join_as_in_java() {
        for (left, right, and, or) in [
            (T, T, T, T),
            (T, F, F, T),
            (T, N, N, T),
            (T, R, R, T),
            (F, T, F, T),
            (F, R, F, R),
            (F, N, F, N),
            (N, T, N, T),
            (N, F, F, N),
            (N, N, N, N),
            (N, R, R, R),
            (R, T, R, R),
            (R, F, R, R),
        ] {
            assert_eq!(left.conjoined(right), and, "{left:?} AND {right:?}");
            assert_eq!(left.disjoined(right), or, "{left:?} OR {right:?}");
        }
        assert_eq!([T, F, N, R].map(Outcomes::negated), [F, T, N, R]);
    }

    #[test]
    fn a_set_joins_as_all_of_its_members() {
        let singles = [T, F, N, R];
        let members = |set: Outcomes| singles.into_iter().filter(move |&end| set.may(end));
        for (left, right) in (1..16).flat_map(|l| (1..16).map(move |r| (Outcomes(l), Outcomes(r))))
        {
            let mut and = Outcomes::NONE;
            let mut or = Outcomes::NONE;
            for (l, r) in members(left).flat_map(|l| members(right).map(move |r| (l, r))) {
                and = and.or(l.conjoined(r));
                or = or.or(l.disjoined(r));
            }
            assert_eq!(left.conjoined(right), and, "{left:?} AND {right:?}");
            assert_eq!(left.disjoined(right), or, "{left:?} OR {right:?}");
        }
    }
}
