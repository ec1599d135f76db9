//! A message as a plugin may see it, stored or about to be.

use std::borrow::Cow;

use sluice_plugin_block::Field;
use sluice_protocol::message::{Record, compression, properties, sys_flag, tags_code};

/// Most bytes a body may unfold to for a plugin; a larger one is no body to it.
pub const BODY_MAX: u64 = 16 << 20;

/// One message. What the store has not assigned yet is 0.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The properties string, as stored.
    pub properties: &'a [u8],
    /// The body, as stored: perhaps compressed.
    pub body: &'a [u8],
    /// The message's sysFlag.
    pub sys_flag: i32,
    /// Queue id.
    pub queue_id: i32,
    /// Place in the queue.
    pub queue_offset: i64,
    /// When it was stored, Unix milliseconds.
    pub store_time_ms: i64,
    /// When the producer made it, Unix milliseconds.
    pub born_time_ms: i64,
    /// How often it came back.
    pub reconsume_times: i32,
}

impl<'a> From<&Record<'a>> for Row<'a> {
    fn from(record: &Record<'a>) -> Row<'a> {
        Row {
            properties: record.properties(),
            body: record.body(),
            sys_flag: record.sys_flag(),
            queue_id: record.queue_id(),
            queue_offset: record.queue_offset(),
            store_time_ms: record.store_timestamp(),
            born_time_ms: record.born_timestamp(),
            reconsume_times: record.reconsume_times(),
        }
    }
}

impl<'a> Row<'a> {
    /// The body as the producer's program gave it.
    ///
    /// # Errors
    /// It can't be decompressed, or is larger than [`BODY_MAX`] then.
    pub fn plain_body(&self) -> Result<Cow<'a, [u8]>, String> {
        if self.sys_flag & sys_flag::COMPRESSED == 0 {
            return Ok(Cow::Borrowed(self.body));
        }
        compression::inflate_up_to(self.body, self.sys_flag, BODY_MAX).map(Cow::Owned)
    }

    /// Value of a property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        properties::find(self.properties, name)
    }

    /// A system field.
    pub(crate) fn field(&self, field: Field) -> i64 {
        match field {
            Field::QueueOffset => self.queue_offset,
            Field::StoreTime => self.store_time_ms,
            Field::BornTime => self.born_time_ms,
            Field::QueueId => i64::from(self.queue_id),
            Field::SysFlag => i64::from(self.sys_flag),
            Field::TagsCode => tags_code(self.property(properties::TAGS)),
            Field::ReconsumeTimes => i64::from(self.reconsume_times),
        }
    }
}
