"""What a filter in Python needs of Sluice: blocks and settings."""

import struct
from enum import IntEnum, IntFlag


class Verdict(IntEnum):
    """What becomes of a message."""

    DROP = 0
    PASS = 1
    # The queue is held before the message, which is judged again later.
    HOLD = 2
    # The binding's failure policy decides.
    FAILED = 3


class Field(IntFlag):
    """System fields of a message; joined in `Needs.fields`."""

    QUEUE_OFFSET = 1
    STORE_TIME = 2  # Unix milliseconds
    BORN_TIME = 4
    QUEUE_ID = 8
    SYS_FLAG = 16
    TAGS_CODE = 32
    RECONSUME_TIMES = 64


ABSENT = 0xFFFFFFFF
CELL = struct.Struct("<II")
HEADER = struct.Struct("<HHIIII")
INTEGER = struct.Struct("<q")


class Binding:
    """What the plugin is bound to, and its settings."""

    def __init__(self, topic, group, params):
        self.topic = topic
        self.group = group  # empty when bound for all groups
        self.params = dict(params)

    def param(self, name, default=None):
        """A setting; `default` when it is not set."""
        return self.params.get(name, default)


class Needs:
    """What the plugin wants to see of each message."""

    def __init__(self):
        self.properties = []
        self.fields = Field(0)
        self.body = False  # whether bodies are wanted
        self.pure = False  # the verdict depends on the columns alone

    def property(self, name):
        """Wants a property; what `Message.text` and others are asked with."""
        self.properties.append(name)
        return len(self.properties) - 1


class Block:
    """Header, fields, cells and body cells, as sdk/wit/plugin.wit lays them out."""

    def __init__(self, data):
        self.data = data
        version, header, self.rows, self.cols, self.fields, has_body = HEADER.unpack_from(data)
        if version != 1:
            raise ValueError("the block is of another version")
        self.fields_at = header
        self.cells_at = header + self.fields.bit_count() * self.rows * 8
        self.bodies_at = self.cells_at + self.rows * self.cols * 8 if has_body else 0

    def pointed(self, cell):
        offset, length = CELL.unpack_from(self.data, cell)
        return None if length == ABSENT else self.data[offset : offset + length]


class Message:
    """A message of the block at hand."""

    def __init__(self, block, row):
        self.block = block
        self.row = row

    def bytes(self, column):
        """A property's bytes; None when the message has none of that name."""
        return self.block.pointed(self.block.cells_at + (self.row * self.block.cols + column) * 8)

    def text(self, column):
        """A property as a text, or None."""
        value = self.bytes(column)
        return None if value is None else value.decode()

    def int(self, column):
        """A property read as a whole number of up to 18 digits; None when it is none."""
        value = self.bytes(column)
        if value is None or len(value) > 19:
            return None
        digits = value[1:] if value[:1] in (b"-", b"+") else value
        return int(value) if digits.isdigit() and len(digits) <= 18 else None

    def body(self):
        """The body's bytes, decompressed; None when `Needs.body` did not ask for it."""
        block = self.block
        return block.pointed(block.bodies_at + self.row * 8) if block.bodies_at else None

    def field(self, field):
        """A system field; None when `Needs.fields` did not ask for it."""
        block = self.block
        if not block.fields & field:
            return None
        place = (block.fields & (field - 1)).bit_count()
        return INTEGER.unpack_from(block.data, block.fields_at + (place * block.rows + self.row) * 8)[0]


class Filter:
    """A filter: derive from it in plugin.py."""

    def configure(self, binding, needs):
        """Reads the settings; an exception's text refuses the binding."""
        raise NotImplementedError

    def filter(self, message):
        """The message's verdict."""
        raise NotImplementedError
