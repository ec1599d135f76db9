//! Packed bytes in, packed bytes out: what lies between a carrier (WASM, a native library, a test)
//! and the traits. Authors do not need this.

use sluice_plugin_block::{Block, EditsWriter, Malformed, ROWS_MAX, ValuesWriter, Verdict};

use crate::{Binding, ConsumeHook, Filter, Function, Language, Messages, Needs, SendHook};

/// What a plugin answers with, kept from call to call.
#[derive(Debug, Default)]
pub struct Answer {
    verdicts: Vec<u8>,
    values: ValuesWriter,
    edits: EditsWriter,
}

impl Answer {
    /// No answer yet.
    pub const fn new() -> Self {
        Answer {
            verdicts: Vec::new(),
            values: ValuesWriter::new(),
            edits: EditsWriter::new(),
        }
    }

    fn verdicts(&mut self, rows: usize, judge: impl FnOnce(&mut [Verdict])) -> &[u8] {
        // A row that an author's `filter_batch` leaves out has not been judged.
        let mut verdicts = [Verdict::Failed; ROWS_MAX];
        let verdicts = &mut verdicts[..rows];
        judge(verdicts);
        self.verdicts.clear();
        self.verdicts
            .extend(verdicts.iter().map(|verdict| *verdict as u8));
        &self.verdicts
    }

    fn edits(&mut self, edit: impl FnOnce(&mut EditsWriter)) -> &[u8] {
        self.edits.clear();
        edit(&mut self.edits);
        self.edits.bytes()
    }
}

/// A configured plugin and what it needs.
pub type Configured<P> = Result<(P, Needs), String>;

fn configured<P>(
    arguments: usize,
    make: impl FnOnce(&mut Needs) -> Result<P, String>,
) -> Configured<P> {
    let mut needs = Needs::new(arguments);
    make(&mut needs).map(|plugin| (plugin, needs))
}

/// Configures a filter.
///
/// # Errors
/// The plugin's own.
pub fn filter<P: Filter>(binding: &Binding) -> Configured<P> {
    configured(0, |needs| P::configure(binding, needs))
}

/// Compiles an expression.
///
/// # Errors
/// The plugin's own.
pub fn language<P: Language>(expression: &str, binding: &Binding) -> Configured<P> {
    configured(0, |needs| P::compile(expression, binding, needs))
}

/// Configures a function.
///
/// # Errors
/// The plugin's own.
pub fn function<P: Function>(binding: &Binding, arguments: usize) -> Configured<P> {
    configured(arguments, |needs| P::configure(binding, arguments, needs))
}

/// Configures a send hook.
///
/// # Errors
/// The plugin's own.
pub fn send_hook<P: SendHook>(binding: &Binding) -> Configured<P> {
    configured(0, |needs| P::configure(binding, needs))
}

/// Configures a consume hook.
///
/// # Errors
/// The plugin's own.
pub fn consume_hook<P: ConsumeHook>(binding: &Binding) -> Configured<P> {
    configured(0, |needs| P::configure(binding, needs))
}

/// What a call answers: bytes, or why the block can't be read.
pub type Called<'a> = Result<&'a [u8], Malformed>;

/// `filter-batch` of a filter.
///
/// # Errors
/// [`Malformed`] when the block is no block; so with all that follow.
pub fn filter_batch<'a, P: Filter>(
    plugin: &mut P,
    block: &[u8],
    answer: &'a mut Answer,
) -> Called<'a> {
    let block = Block::parse(block)?;
    Ok(answer.verdicts(block.rows(), |verdicts| {
        plugin.filter_batch(Messages(block), verdicts)
    }))
}

/// `filter-batch` of a language.
///
/// # Errors
/// As [`filter_batch`].
pub fn language_batch<'a, P: Language>(
    plugin: &mut P,
    block: &[u8],
    answer: &'a mut Answer,
) -> Called<'a> {
    let block = Block::parse(block)?;
    Ok(answer.verdicts(block.rows(), |verdicts| {
        plugin.filter_batch(Messages(block), verdicts)
    }))
}

/// `call-batch`.
///
/// # Errors
/// As [`filter_batch`].
pub fn call_batch<'a, P: Function>(
    plugin: &mut P,
    block: &[u8],
    answer: &'a mut Answer,
) -> Called<'a> {
    let block = Block::parse(block)?;
    answer.values.begin(block.rows());
    plugin.call_batch(Messages(block), &mut answer.values);
    Ok(answer.values.bytes())
}

/// `before-send`.
///
/// # Errors
/// As [`filter_batch`].
pub fn before_send<'a, P: SendHook>(
    plugin: &mut P,
    block: &[u8],
    answer: &'a mut Answer,
) -> Called<'a> {
    let block = Block::parse(block)?;
    Ok(answer.edits(|edits| plugin.before_send_batch(Messages(block), edits)))
}

/// `after-send`.
///
/// # Errors
/// As [`filter_batch`].
pub fn after_send<P: SendHook>(plugin: &mut P, block: &[u8]) -> Result<(), Malformed> {
    let block = Block::parse(block)?;
    Messages(block)
        .iter()
        .for_each(|message| plugin.after_send(&message));
    Ok(())
}

/// `before-deliver`.
///
/// # Errors
/// As [`filter_batch`].
pub fn before_deliver<'a, P: ConsumeHook>(
    plugin: &mut P,
    block: &[u8],
    answer: &'a mut Answer,
) -> Called<'a> {
    let block = Block::parse(block)?;
    Ok(answer.edits(|edits| plugin.before_deliver_batch(Messages(block), edits)))
}

/// `after-consume`.
///
/// # Errors
/// As [`filter_batch`].
pub fn after_consume<P: ConsumeHook>(plugin: &mut P, block: &[u8]) -> Result<(), Malformed> {
    let block = Block::parse(block)?;
    Messages(block)
        .iter()
        .for_each(|message| plugin.after_consume(&message));
    Ok(())
}
