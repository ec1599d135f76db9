//! The kinds of plugins.

use sluice_plugin_block::{EditsWriter, Value, ValuesWriter, Verdict};

use crate::{Binding, Edits, Message, Messages, Needs};

/// Passes or drops messages on their way to a group.
pub trait Filter: Sized + 'static {
    /// Reads the settings and says what it wants to see of each message.
    ///
    /// # Errors
    /// A text for the operator, who is refused the binding.
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String>;

    /// What becomes of a message.
    fn filter(&mut self, message: &Message<'_>) -> Verdict;

    /// Judges a block at once; by itself it asks [`filter`](Self::filter) for each message.
    fn filter_batch(&mut self, messages: Messages<'_>, verdicts: &mut [Verdict]) {
        for (message, verdict) in messages.iter().zip(verdicts) {
            *verdict = self.filter(&message);
        }
    }
}

/// An expression language beside TAG and SQL92. One instance for each expression.
pub trait Language: Sized + 'static {
    /// Reads an expression and says what it wants to see of each message.
    ///
    /// # Errors
    /// A text for the consumer: the position, and what was expected there.
    fn compile(expression: &str, binding: &Binding, needs: &mut Needs) -> Result<Self, String>;

    /// As [`Filter::filter`].
    fn filter(&mut self, message: &Message<'_>) -> Verdict;

    /// As [`Filter::filter_batch`].
    fn filter_batch(&mut self, messages: Messages<'_>, verdicts: &mut [Verdict]) {
        for (message, verdict) in messages.iter().zip(verdicts) {
            *verdict = self.filter(&message);
        }
    }
}

/// A function that SQL92 expressions call by the plugin's name.
pub trait Function: Sized + 'static {
    /// Reads the settings and says what it wants to see: its arguments ([`Needs::argument`]), of
    /// which the expression has `arguments`, and properties of its own choice.
    ///
    /// # Errors
    /// A text for the consumer, such as that an argument is missing.
    fn configure(binding: &Binding, arguments: usize, needs: &mut Needs) -> Result<Self, String>;

    /// The value for a message.
    fn call<'a>(&'a mut self, message: &Message<'a>) -> Value<'a>;

    /// Computes a block at once; by itself it asks [`call`](Self::call) for each message.
    fn call_batch(&mut self, messages: Messages<'_>, values: &mut ValuesWriter) {
        for message in messages.iter() {
            values.push(self.call(&message));
        }
    }
}

/// Before and after a client's message is stored.
pub trait SendHook: Sized + 'static {
    /// As [`Filter::configure`].
    ///
    /// # Errors
    /// A text for the operator, who is refused the binding.
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String>;

    /// Changes or refuses a message before it is stored; no edit: it is stored as it is.
    fn before_send(&mut self, message: &Message<'_>, edits: &mut Edits<'_>);

    /// Sees a message that was stored.
    fn after_send(&mut self, message: &Message<'_>) {
        let _ = message;
    }

    /// Takes a block at once; by itself it asks [`before_send`](Self::before_send) for each message.
    fn before_send_batch(&mut self, messages: Messages<'_>, edits: &mut EditsWriter) {
        for message in messages.iter() {
            self.before_send(&message, &mut Edits::of(&message, edits));
        }
    }
}

/// Before messages leave for a consumer, and when it has consumed or sent back.
pub trait ConsumeHook: Sized + 'static {
    /// As [`Filter::configure`].
    ///
    /// # Errors
    /// A text for the operator, who is refused the binding.
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String>;

    /// Changes or drops a message before the consumer gets it; no edit: it gets it as it is.
    fn before_deliver(&mut self, message: &Message<'_>, edits: &mut Edits<'_>);

    /// Sees a message that was consumed or sent back.
    fn after_consume(&mut self, message: &Message<'_>) {
        let _ = message;
    }

    /// Takes a block at once; by itself it asks [`before_deliver`](Self::before_deliver) for each.
    fn before_deliver_batch(&mut self, messages: Messages<'_>, edits: &mut EditsWriter) {
        for message in messages.iter() {
            self.before_deliver(&message, &mut Edits::of(&message, edits));
        }
    }
}

/// A queue of a topic on a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageQueue {
    /// Its topic.
    pub topic: String,
    /// The broker's name.
    pub broker: String,
    /// Its number there.
    pub queue_id: u32,
}

/// Which consumer of a group gets which queues.
pub trait AllocateStrategy: Sized + 'static {
    /// Reads the settings.
    ///
    /// # Errors
    /// A text for the operator, who is refused the binding.
    fn configure(binding: &Binding) -> Result<Self, String>;

    /// Indexes into `queues` that belong to the client `current`.
    ///
    /// Every member of the group asks for itself, with `queues` and `clients` in the same order:
    /// only equal answers to equal questions keep their shares apart.
    ///
    /// # Errors
    /// A text; the broker then falls back to the average strategy.
    fn allocate(
        &self,
        group: &str,
        current: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<u32>, String>;
}
