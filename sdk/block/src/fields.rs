//! System fields of a message, and sets of them.

/// A system field: a number that the broker keeps of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    /// Position in its queue; before the store has assigned one, -1.
    QueueOffset = 1,
    /// When it was stored, in Unix milliseconds (of a send hook: when it arrived).
    StoreTime = 2,
    /// When its producer made it, in Unix milliseconds.
    BornTime = 4,
    /// Queue of its topic.
    QueueId = 8,
    /// RocketMQ's sysFlag bits.
    SysFlag = 16,
    /// Hash of its tag, as in the ConsumeQueue.
    TagsCode = 32,
    /// How often it was sent back for another try.
    ReconsumeTimes = 64,
}

/// A set of system fields, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields(u32);

impl Fields {
    /// No field.
    pub const NONE: Fields = Fields(0);
    /// Every field that this version knows.
    pub const ALL: Fields = Fields(127);

    /// The set of `bits`, or `None` when one of them is no field of this version.
    pub const fn from_bits(bits: u32) -> Option<Fields> {
        if bits & !Fields::ALL.0 == 0 {
            Some(Fields(bits))
        } else {
            None
        }
    }

    /// The bits, as in `needs.fields`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// This set and `field`.
    #[must_use]
    pub const fn with(self, field: Field) -> Fields {
        Fields(self.0 | field as u32)
    }

    /// Whether `field` is in the set.
    pub const fn contains(self, field: Field) -> bool {
        self.0 & field as u32 != 0
    }

    /// How many fields.
    pub(crate) const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// How many fields stand before `field` in a block, when it is in the set.
    pub(crate) const fn place(self, field: Field) -> Option<usize> {
        if self.contains(field) {
            Some((self.0 & (field as u32 - 1)).count_ones() as usize)
        } else {
            None
        }
    }
}
