//! From the grammar's pairs to a program, in one walk; the rules of `rules.rs` are checked on the way.

mod operands;

use std::collections::HashMap;

use memchr::memmem::Finder;
use pest::iterators::Pair;

use super::functions::Functions;
use super::parse::{Symbol, parse};
use super::program::{Literal, Needle, Op, Order, Program, Source};
use super::rules::{Kind, Operand};
use super::scan::scan;
use crate::ExpressionError;
use operands::unquoted;

/// Most parentheses open at a time of an expression that is compiled on the caller's stack.
const NESTING_INLINE: usize = 32;
/// Stack of a thread that compiles a deeper one: some KiB for each parenthesis, much more unoptimised.
const DEEP_STACK_SIZE: usize = 32 * 1024 * 1024;

/// Compiles `text`.
pub(super) fn compile(text: &str, functions: &dyn Functions) -> Result<Program, ExpressionError> {
    let scanned = scan(text)?;
    if scanned.nesting <= NESTING_INLINE {
        return walk(text, &scanned.text, functions);
    }
    // Grammar and walk recurse with every parenthesis; who calls may stand on a small stack.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(DEEP_STACK_SIZE)
            .spawn_scoped(scope, || walk(text, &scanned.text, functions))
            .map_err(|error| ExpressionError::NoStack(error.to_string()))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn walk(text: &str, scanned: &str, functions: &dyn Functions) -> Result<Program, ExpressionError> {
    let mut compiler = Compiler {
        text,
        functions,
        program: Program::default(),
        slots: HashMap::new(),
    };
    let whole = compiler.or(parse(text, scanned)?)?;
    compiler.condition(&whole)?;
    Ok(compiler.program)
}

struct Compiler<'t> {
    text: &'t str,
    functions: &'t dyn Functions,
    program: Program,
    slots: HashMap<Box<str>, u32>,
}

/// What a walk over a pair gives: its operand, the code of which stands at the program's end.
type Walked = Result<Operand, ExpressionError>;

/// Why a pair that the grammar demands is there.
const GRAMMAR: &str = "the grammar has it there";

impl Compiler<'_> {
    fn or(&mut self, pair: Pair<'_, Symbol>) -> Walked {
        self.joined(pair, Self::and, Op::JumpIfTrue, Op::Or)
    }

    fn and(&mut self, pair: Pair<'_, Symbol>) -> Walked {
        self.joined(pair, Self::equality, Op::JumpIfFalse, Op::And)
    }

    /// Conditions from left to right. The first one that decides jumps behind the last.
    fn joined(
        &mut self,
        pair: Pair<'_, Symbol>,
        walk: fn(&mut Self, Pair<'_, Symbol>) -> Walked,
        jump: fn(u32) -> Op,
        join: Op,
    ) -> Walked {
        let start = pair.as_span().start();
        let mut parts = pair
            .into_inner()
            .filter(|part| !matches!(part.as_rule(), Symbol::and_keyword | Symbol::or_keyword));
        let mut whole = walk(self, parts.next().expect(GRAMMAR))?;
        let mut jumps = Vec::new();
        for part in parts {
            self.condition(&whole)?;
            jumps.push(self.emit(jump(0), start));
            let right = walk(self, part)?;
            self.condition(&right)?;
            self.emit(join, start);
            whole = whole.up_to(right.end, Kind::Condition);
        }
        for at in jumps {
            self.program.ops[at] = jump(self.end());
        }
        Ok(whole)
    }

    fn equality(&mut self, pair: Pair<'_, Symbol>) -> Walked {
        let mut parts = pair.into_inner();
        let mut left = self.comparison(parts.next().expect(GRAMMAR))?;
        for suffix in parts {
            let (start, end) = (suffix.as_span().start(), suffix.as_span().end());
            let rule = suffix.as_rule();
            if let Symbol::equal | Symbol::differ = rule {
                let operator = if rule == Symbol::equal { "=" } else { "<>" };
                let right = self.comparison(suffix.into_inner().nth(1).expect(GRAMMAR))?;
                left.check_equality(&right, operator, self.text)?;
                let (left, right) = self.sources();
                self.emit(Op::Equal(left, right), start);
            } else {
                let value = self.source();
                self.emit(Op::IsNull(value), start);
            }
            if let Symbol::differ | Symbol::is_not_null = rule {
                self.emit(Op::Not, start);
            }
            left = left.up_to(end, Kind::Condition);
        }
        Ok(left)
    }

    fn comparison(&mut self, pair: Pair<'_, Symbol>) -> Walked {
        let mut parts = pair.into_inner();
        let mut left = self.unary(parts.next().expect(GRAMMAR))?;
        for suffix in parts {
            let end = suffix.as_span().end();
            match suffix.as_rule() {
                Symbol::order => self.order(&left, suffix)?,
                Symbol::search => self.search(&left, suffix)?,
                Symbol::between => self.between(&left, suffix)?,
                _ => self.membership(&left, suffix)?,
            }
            left = left.up_to(end, Kind::Condition);
        }
        Ok(left)
    }

    fn order(&mut self, left: &Operand, pair: Pair<'_, Symbol>) -> Result<(), ExpressionError> {
        let start = pair.as_span().start();
        let mut parts = pair.into_inner();
        let (order, operator) = match parts.next().map(|part| part.as_rule()) {
            Some(Symbol::greater) => (Order::Greater, ">"),
            Some(Symbol::greater_equal) => (Order::GreaterOrEqual, ">="),
            Some(Symbol::less) => (Order::Less, "<"),
            _ => (Order::LessOrEqual, "<="),
        };
        left.check_order(operator, self.text)?;
        // With NULL on the left the right side is not looked at, and does not fail.
        let jump = self.emit(Op::JumpIfNull(0), start);
        let right = self.unary(parts.next().expect(GRAMMAR))?;
        right.check_order(operator, self.text)?;
        let source = self.source();
        if self.program.ops.len() == jump + 1 {
            // Read in place, it can't fail.
            self.cut(jump);
            let left = self.source();
            self.emit(Op::Order(order, left, source), start);
        } else {
            self.emit(Op::Order(order, Source::Stack, source), start);
            self.program.ops[jump] = Op::JumpIfNull(self.end());
        }
        Ok(())
    }

    /// `(x >= low) AND (x <= high)`, or with NOT `(x < low) OR (x > high)`, with `x` computed once.
    fn between(&mut self, left: &Operand, pair: Pair<'_, Symbol>) -> Result<(), ExpressionError> {
        let start = pair.as_span().start();
        let mut parts = pair.into_inner().peekable();
        let negated = parts
            .next_if(|part| part.as_rule() == Symbol::not)
            .is_some();
        let mut bounds = parts.filter(|part| part.as_rule() == Symbol::unary);
        let (orders, jump, join): (_, fn(u32) -> Op, _) = if negated {
            ((Order::Less, Order::Greater), Op::JumpIfTrue, Op::Or)
        } else {
            (
                (Order::GreaterOrEqual, Order::LessOrEqual),
                Op::JumpIfFalse,
                Op::And,
            )
        };
        left.check_order("BETWEEN", self.text)?;
        let null = self.emit(Op::JumpIfNull(0), start);
        self.emit(Op::Duplicate, start);
        let low = self.unary(bounds.next().expect(GRAMMAR))?;
        let source = self.source();
        self.emit(Op::Order(orders.0, Source::Stack, source), start);
        let decided = self.emit(jump(0), start);
        self.emit(Op::Over, start);
        let high = self.unary(bounds.next().expect(GRAMMAR))?;
        let source = self.source();
        self.emit(Op::Order(orders.1, Source::Stack, source), start);
        self.emit(join, start);
        self.program.ops[decided] = jump(self.end());
        self.emit(Op::Nip, start);
        self.program.ops[null] = Op::JumpIfNull(self.end());
        low.check_order("BETWEEN", self.text)?;
        high.check_order("BETWEEN", self.text)?;
        if negated {
            Ok(())
        } else {
            low.check_bounds(&high, self.text)
        }
    }

    fn membership(
        &mut self,
        left: &Operand,
        pair: Pair<'_, Symbol>,
    ) -> Result<(), ExpressionError> {
        left.check_property(self.text)?;
        let start = pair.as_span().start();
        let mut elements = Vec::new();
        let mut negated = false;
        for part in pair.into_inner() {
            match part.as_rule() {
                Symbol::not => negated = true,
                Symbol::string => elements.push(unquoted(part.as_str())),
                _ => {}
            }
        }
        elements.sort_unstable();
        let set = self.program.sets.len() as u32;
        self.program.sets.push(elements.into());
        let op = Op::In {
            value: self.source(),
            set,
            negated,
        };
        self.emit(op, start);
        Ok(())
    }

    fn search(&mut self, left: &Operand, pair: Pair<'_, Symbol>) -> Result<(), ExpressionError> {
        let start = pair.as_span().start();
        let (mut place, mut text, mut negated) = (Symbol::contains, Box::default(), false);
        for part in pair.into_inner() {
            match part.as_rule() {
                Symbol::not => negated = true,
                Symbol::string => text = unquoted(part.as_str()),
                found => place = found,
            }
        }
        if text.is_empty() {
            // FALSE, with NOT or without, and whatever is before it is not looked at.
            self.cut(left.code);
            self.push(Literal::Boolean(false), start);
            return Ok(());
        }
        let needle = self.program.needles.len() as u32;
        self.program.needles.push(match place {
            Symbol::starts_with => Needle::AtStart(text),
            Symbol::ends_with => Needle::AtEnd(text),
            _ => Needle::Anywhere(Box::new(Finder::new(text.as_bytes()).into_owned())),
        });
        let op = Op::Search {
            value: self.source(),
            needle,
            negated,
        };
        self.emit(op, start);
        Ok(())
    }

    /// Makes a condition of an operand whose code has just been written.
    fn condition(&mut self, operand: &Operand) -> Result<(), ExpressionError> {
        if operand.check_condition(self.text)? {
            let value = self.source();
            self.emit(Op::Condition(value), operand.start);
        }
        Ok(())
    }

    /// Adds an instruction; where.
    fn emit(&mut self, op: Op, offset: usize) -> usize {
        self.program.ops.push(op);
        self.program.offsets.push(offset as u32);
        self.program.ops.len() - 1
    }

    /// Drops the instructions from `code` on.
    fn cut(&mut self, code: usize) {
        self.program.ops.truncate(code);
        self.program.offsets.truncate(code);
    }

    /// Where the next instruction finds the value that the last one makes. A push is taken back and
    /// read in place; jumps that led to it now lead to the next instruction, which begins with it.
    fn source(&mut self) -> Source {
        let Some(&Op::Push(source)) = self.program.ops.last() else {
            return Source::Stack;
        };
        self.cut(self.program.ops.len() - 1);
        source
    }

    /// The same of the last two values. The left one is below a right one that had to be made.
    fn sources(&mut self) -> (Source, Source) {
        let right = self.source();
        let left = match right {
            Source::Stack => Source::Stack,
            _ => self.source(),
        };
        (left, right)
    }

    /// Where the next instruction will be.
    fn end(&self) -> u32 {
        self.program.ops.len() as u32
    }

    fn push(&mut self, literal: Literal, offset: usize) {
        let index = self.program.literals.len() as u32;
        self.program.literals.push(literal);
        self.emit(Op::Push(Source::Literal(index)), offset);
    }
}
