//! What may stand where: RocketMQ checks its expressions by the kind of their operands, once.

use super::number::compare_f64;
use super::program::Literal;
use crate::{ExpressionError, Position, Rule};

/// A part of an expression whose code has been written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Operand {
    pub kind: Kind,
    /// Where it begins and ends in the expression, in bytes.
    pub start: usize,
    pub end: usize,
    /// Its first instruction.
    pub code: usize,
}

/// What the rules tell apart. Parentheses and a plus sign change nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Literal(Constant),
    Property,
    /// A minus sign and something, be it a number.
    Negation,
    /// What comparisons, AND, OR and NOT make.
    Condition,
    /// Stands for any of the others.
    Call,
}

/// What the rules see of a literal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Constant {
    Null,
    Boolean,
    Text,
    Int(i32),
    Long(i64),
    Double(f64),
}

impl Constant {
    fn number(self) -> Option<f64> {
        match self {
            Constant::Int(value) => Some(f64::from(value)),
            Constant::Long(value) => Some(value as f64),
            Constant::Double(value) => Some(value),
            _ => None,
        }
    }
}

impl From<&Literal> for Constant {
    fn from(literal: &Literal) -> Self {
        match literal {
            Literal::Null => Constant::Null,
            Literal::Boolean(_) => Constant::Boolean,
            Literal::Text(_) => Constant::Text,
            Literal::Int(value) => Constant::Int(*value),
            Literal::Long(value) => Constant::Long(*value),
            Literal::Double(value) => Constant::Double(*value),
        }
    }
}

impl Operand {
    /// This one with all up to `end`, as `kind`.
    pub fn up_to(self, end: usize, kind: Kind) -> Self {
        Operand { kind, end, ..self }
    }

    fn named(&self) -> &'static str {
        match self.kind {
            Kind::Literal(Constant::Null) => "NULL",
            Kind::Literal(Constant::Boolean) => "a boolean",
            Kind::Literal(Constant::Text) => "text",
            Kind::Literal(_) => "a number",
            Kind::Property => "a property",
            Kind::Negation => "a negated value",
            Kind::Condition => "a condition",
            Kind::Call => "a function's answer",
        }
    }

    fn refused<T>(&self, text: &str, rule: Rule) -> Result<T, ExpressionError> {
        Err(ExpressionError::Refused {
            position: Position::of(text, self.start),
            operand: text
                .get(self.start..self.end)
                .unwrap_or_default()
                .trim_end()
                .to_owned(),
            rule,
        })
    }

    /// Of AND, OR, NOT, and of the whole expression. Whether it must still be made a condition.
    pub fn check_condition(&self, text: &str) -> Result<bool, ExpressionError> {
        match self.kind {
            Kind::Condition => Ok(false),
            Kind::Literal(Constant::Boolean | Constant::Null) => Ok(false),
            Kind::Property | Kind::Call => Ok(true),
            Kind::Literal(_) | Kind::Negation => {
                self.refused(text, Rule::NotCondition(self.named()))
            }
        }
    }

    /// Of `<`, `<=`, `>`, `>=` and BETWEEN.
    pub fn check_order(&self, operator: &'static str, text: &str) -> Result<(), ExpressionError> {
        let kind = self.named();
        match self.kind {
            Kind::Literal(literal) if literal.number().is_some() => Ok(()),
            Kind::Property | Kind::Negation | Kind::Call => Ok(()),
            Kind::Literal(_) | Kind::Condition => {
                self.refused(text, Rule::NoOrder { kind, operator })
            }
        }
    }

    /// Of `=` and `<>`, with this one on the left. Not symmetric: `'true' = TRUE` passes.
    pub fn check_equality(
        &self,
        right: &Operand,
        operator: &'static str,
        text: &str,
    ) -> Result<(), ExpressionError> {
        for operand in [self, right] {
            if operand.kind == Kind::Literal(Constant::Null) {
                return operand.refused(text, Rule::NullCompared(operator));
            }
        }
        match (self.kind, right.kind) {
            (Kind::Literal(Constant::Boolean), Kind::Literal(Constant::Boolean)) => Ok(()),
            (Kind::Literal(Constant::Boolean), Kind::Literal(_)) => {
                right.refused(text, Rule::NotBoolean(right.named()))
            }
            _ => Ok(()),
        }
    }

    /// Of BETWEEN, not of NOT BETWEEN: two literals must be in order. A negated number is none.
    pub fn check_bounds(&self, high: &Operand, text: &str) -> Result<(), ExpressionError> {
        let (Kind::Literal(low), Kind::Literal(top)) = (self.kind, high.kind) else {
            return Ok(());
        };
        let crossed = match (low, top) {
            (Constant::Int(low), Constant::Int(high)) => high < low,
            (Constant::Long(low), Constant::Long(high)) => high < low,
            // An int is below a long, which is a literal that fits no int; floats decide the rest.
            (low, high) => match (low.number(), high.number()) {
                (Some(low), Some(high)) => compare_f64(high, low).is_lt(),
                _ => false,
            },
        };
        if crossed {
            return high.refused(text, Rule::BoundsCrossed);
        }
        Ok(())
    }

    /// Of IN, on its left.
    pub fn check_property(&self, text: &str) -> Result<(), ExpressionError> {
        match self.kind {
            Kind::Property | Kind::Call => Ok(()),
            _ => self.refused(text, Rule::NotProperty(self.named())),
        }
    }
}
