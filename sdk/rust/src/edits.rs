//! What a hook does to a message.

use sluice_plugin_block::{Edit, EditsWriter};

use crate::Message;

/// The edits of one message, applied in the order in which they were made.
#[derive(Debug)]
pub struct Edits<'a> {
    writer: &'a mut EditsWriter,
    row: usize,
}

impl<'a> Edits<'a> {
    /// Edits of `message`, gathered in `writer`.
    pub fn of(message: &Message<'_>, writer: &'a mut EditsWriter) -> Self {
        Edits {
            writer,
            row: message.row(),
        }
    }

    /// Sets a property; one of that name is replaced.
    pub fn set_property(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.push(Edit::SetProperty {
            key,
            value: value.as_ref(),
        });
    }

    /// Removes a property, if it is there.
    pub fn delete_property(&mut self, key: &str) {
        self.push(Edit::DeleteProperty { key });
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl AsRef<[u8]>) {
        self.push(Edit::SetBody(body.as_ref()));
    }

    /// Send hooks: refuses the message. The producer gets code 13 (MESSAGE_ILLEGAL), which it does
    /// not retry, and the reason. A batch is refused whole.
    pub fn reject(&mut self, reason: &str) {
        self.push(Edit::Reject { code: None, reason });
    }

    /// As [`reject`](Self::reject), with a response code. Java producers retry 1, 2, 14, 16, 17, 204
    /// and 205.
    pub fn reject_with(&mut self, code: i32, reason: &str) {
        self.push(Edit::Reject {
            code: Some(code),
            reason,
        });
    }

    /// Send hooks: stores the message under another topic.
    pub fn set_topic(&mut self, topic: &str) {
        self.push(Edit::SetTopic(topic));
    }

    /// Send hooks: stores the message in this queue.
    pub fn set_queue(&mut self, queue: u32) {
        self.push(Edit::SetQueue(queue));
    }

    /// Send hooks: delivers the message so many milliseconds later.
    pub fn set_delay(&mut self, milliseconds: u64) {
        self.push(Edit::SetDelay(milliseconds));
    }

    /// Consume hooks: the message is not given to this group.
    pub fn drop_message(&mut self) {
        self.push(Edit::Drop);
    }

    fn push(&mut self, edit: Edit<'_>) {
        self.writer.push(self.row, edit);
    }
}
