//! The smallest parts of an expression: literals, properties, calls, and signs before them.

use pest::iterators::Pair;

use super::super::cell::Cell;
use super::super::functions::Argument;
use super::super::number::parse_f64;
use super::super::parse::Symbol;
use super::super::program::{Call, Literal, Op, Program, Source};
use super::super::rules::{Constant, Kind, Operand};
use super::super::scan::{CALLS_MAX, PROPERTIES_MAX};
use super::{Compiler, GRAMMAR, Walked};
use crate::properties::Key;
use crate::{ExpressionError, Position, Rule};

impl Compiler<'_> {
    pub(super) fn unary(&mut self, pair: Pair<'_, Symbol>) -> Walked {
        let mut parts = pair.into_inner();
        let mut operand = self.primary(parts.next_back().expect(GRAMMAR))?;
        for sign in parts.rev() {
            let start = sign.as_span().start();
            let kind = match sign.as_rule() {
                Symbol::not => {
                    self.condition(&operand)?;
                    self.emit(Op::Not, start);
                    Kind::Condition
                }
                Symbol::minus => {
                    self.negate(start);
                    Kind::Negation
                }
                // A plus sign disappears.
                _ => operand.kind,
            };
            operand = Operand {
                kind,
                start,
                ..operand
            };
        }
        Ok(operand)
    }

    /// A number is negated here and now, which makes it no less a negation to the rules.
    fn negate(&mut self, start: usize) {
        let literal = match self.program.ops.last() {
            Some(Op::Push(Source::Literal(last))) => &mut self.program.literals[*last as usize],
            _ => &mut Literal::Null,
        };
        match literal {
            Literal::Int(value) => *value = value.wrapping_neg(),
            Literal::Long(value) => *value = value.wrapping_neg(),
            Literal::Double(value) => *value = -*value,
            _ => {
                self.emit(Op::Negate, start);
            }
        }
    }

    fn primary(&mut self, pair: Pair<'_, Symbol>) -> Walked {
        let span = pair.as_span();
        let code = self.program.ops.len();
        let kind = match pair.as_rule() {
            Symbol::group => self.or(pair.into_inner().nth(1).expect(GRAMMAR))?.kind,
            Symbol::call => {
                self.call(pair)?;
                Kind::Call
            }
            Symbol::property => {
                let slot = self.slot(&pair)?;
                self.emit(Op::Push(Source::Property(slot)), span.start());
                Kind::Property
            }
            _ => Kind::Literal(self.literal(&pair)?),
        };
        Ok(Operand {
            kind,
            start: span.start(),
            end: span.end(),
            code,
        })
    }

    fn literal(&mut self, pair: &Pair<'_, Symbol>) -> Result<Constant, ExpressionError> {
        let literal = match pair.as_rule() {
            Symbol::string => Literal::Text(unquoted(pair.as_str())),
            Symbol::integer => self.integer(pair)?,
            Symbol::float => self.float(pair)?,
            Symbol::true_ => Literal::Boolean(true),
            Symbol::false_ => Literal::Boolean(false),
            _ => Literal::Null,
        };
        let constant = Constant::from(&literal);
        self.push(literal, pair.as_span().start());
        Ok(constant)
    }

    /// 32 bits where it fits: that decides how a property beside it is read. The suffix widens
    /// nothing.
    fn integer(&self, pair: &Pair<'_, Symbol>) -> Result<Literal, ExpressionError> {
        let digits = pair.as_str().trim_end_matches(['l', 'L']);
        let value: i64 = digits
            .parse()
            .map_err(|_| self.refused(pair, Rule::IntegerRange))?;
        Ok(i32::try_from(value).map_or(Literal::Long(value), Literal::Int))
    }

    fn float(&self, pair: &Pair<'_, Symbol>) -> Result<Literal, ExpressionError> {
        match parse_f64(pair.as_str().as_bytes()) {
            Some(value) if value > 0.0 && value.is_finite() => Ok(Literal::Double(value)),
            _ => Err(self.refused(pair, Rule::FloatRange)),
        }
    }

    fn call(&mut self, pair: Pair<'_, Symbol>) -> Result<(), ExpressionError> {
        let start = pair.as_span().start();
        let mut parts = pair.into_inner();
        let name = parts.next().expect(GRAMMAR).as_str();
        let arguments = parts.nth(1).expect(GRAMMAR).into_inner();
        // Where the code of each argument begins, and where the last one ends.
        let mut borders = vec![self.program.ops.len()];
        for argument in arguments.filter(|part| part.as_rule() == Symbol::unary) {
            self.unary(argument)?;
            borders.push(self.program.ops.len());
        }
        let known: Vec<Argument<'_>> = borders
            .windows(2)
            .map(|border| known(&self.program, &self.program.ops[border[0]..border[1]]))
            .collect();
        let function = if self.program.calls.len() < CALLS_MAX {
            self.functions.resolve(name, &known)
        } else {
            Err(format!("more than {CALLS_MAX} calls"))
        };
        let function = function.map_err(|reason| ExpressionError::Function {
            position: Position::of(self.text, start),
            name: name.to_owned(),
            reason,
        })?;
        let call = self.program.calls.len() as u32;
        self.program.calls.push(Call {
            function,
            arguments: borders.len() - 1,
        });
        self.emit(Op::Call(call), start);
        Ok(())
    }

    fn slot(&mut self, property: &Pair<'_, Symbol>) -> Result<u32, ExpressionError> {
        let name = property.clone().into_inner().as_str();
        if let Some(&slot) = self.slots.get(name) {
            return Ok(slot);
        }
        if self.slots.len() == PROPERTIES_MAX {
            return Err(ExpressionError::TooManyProperties {
                position: Position::of(self.text, property.as_span().start()),
                max: PROPERTIES_MAX,
            });
        }
        let slot = self.slots.len() as u32;
        self.slots.insert(name.into(), slot);
        self.program.properties.push(Key::new(name));
        Ok(slot)
    }

    fn refused(&self, pair: &Pair<'_, Symbol>, rule: Rule) -> ExpressionError {
        ExpressionError::Refused {
            position: Position::of(self.text, pair.as_span().start()),
            operand: pair.as_str().to_owned(),
            rule,
        }
    }
}

/// What a string literal stands for: a doubled quote is one.
pub(super) fn unquoted(literal: &str) -> Box<str> {
    literal[1..literal.len() - 1].replace("''", "'").into()
}

/// An argument as far as its code alone tells.
fn known<'p>(program: &'p Program, code: &[Op]) -> Argument<'p> {
    match code {
        [Op::Push(Source::Literal(literal))] => {
            let literal = &program.literals[*literal as usize];
            Argument::Literal(Cell::from(literal).into_text())
        }
        _ => Argument::Varies,
    }
}
