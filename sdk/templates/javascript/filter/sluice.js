// What a filter in JavaScript needs of Sluice: blocks, settings, exports.

/** What becomes of a message. */
export const Verdict = Object.freeze({
  Drop: 0,
  Pass: 1,
  /** The queue is held before the message, which is judged again later. */
  Hold: 2,
  /** The binding's failure policy decides. */
  Failed: 3,
});

/** System fields of a message; joined with `|` in `needs.fields`. */
export const Field = Object.freeze({
  QueueOffset: 1,
  /** Unix milliseconds. */
  StoreTime: 2,
  BornTime: 4,
  QueueId: 8,
  SysFlag: 16,
  TagsCode: 32,
  ReconsumeTimes: 64,
});

const ABSENT = 0xffffffff;
const text = new TextDecoder();

/** What the plugin is bound to, and its settings. */
class Binding {
  constructor({ topic, group, params }) {
    this.topic = topic;
    /** Empty when bound for all groups. */
    this.group = group;
    this.params = new Map(params);
  }

  /** A setting; undefined when it is not set. */
  param(name) {
    return this.params.get(name);
  }
}

/** What the plugin wants to see of each message. */
class Needs {
  properties = [];
  fields = 0;
  /** Bodies are wanted. */
  body = false;
  /** The verdict depends on the columns alone. */
  pure = false;

  /** Wants a property; what `message.text` and others are asked with. */
  property(name) {
    return this.properties.push(name) - 1;
  }
}

function bits(number) {
  let count = 0;
  for (; number !== 0; number &= number - 1) count += 1;
  return count;
}

/** Header, fields, cells and body cells of a block, as sdk/wit/plugin.wit lays them out. */
class Block {
  constructor(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const header = view.getUint16(2, true);
    this.bytes = bytes;
    this.view = view;
    this.rows = view.getUint32(4, true);
    this.cols = view.getUint32(8, true);
    this.fields = view.getUint32(12, true);
    this.fieldsAt = header;
    this.cellsAt = header + bits(this.fields) * this.rows * 8;
    this.bodiesAt = view.getUint32(16, true) ? this.cellsAt + this.rows * this.cols * 8 : 0;
    if (view.getUint16(0, true) !== 1) throw new Error("the block is of another version");
  }

  pointed(cell) {
    const length = this.view.getUint32(cell + 4, true);
    if (length === ABSENT) return undefined;
    const offset = this.view.getUint32(cell, true);
    return this.bytes.subarray(offset, offset + length);
  }
}

/** A message of the block at hand; it and its bytes are valid during the call only. */
class Message {
  constructor(block, row) {
    this.block = block;
    this.row = row;
  }

  /** A property's bytes; undefined when the message has none of that name. */
  bytes(column) {
    return this.block.pointed(this.block.cellsAt + (this.row * this.block.cols + column) * 8);
  }

  /** A property as a text; undefined as well. */
  text(column) {
    const bytes = this.bytes(column);
    return bytes && text.decode(bytes);
  }

  /** A property read as a whole number of up to 15 digits; NaN when it is none, so that no comparison holds. */
  int(column) {
    const bytes = this.bytes(column);
    if (bytes === undefined) return NaN;
    const signed = bytes[0] === 0x2d || bytes[0] === 0x2b ? 1 : 0;
    if (bytes.length === signed || bytes.length > signed + 15) return NaN;
    let sum = 0;
    for (let at = signed; at < bytes.length; at += 1) {
      const digit = bytes[at] - 0x30;
      if (digit < 0 || digit > 9) return NaN;
      sum = sum * 10 + digit;
    }
    return bytes[0] === 0x2d ? -sum : sum;
  }

  /** The body's bytes, decompressed; undefined when `needs.body` did not ask for it. */
  body() {
    return this.block.bodiesAt === 0 ? undefined : this.block.pointed(this.block.bodiesAt + this.row * 8);
  }

  /** A system field as a BigInt; undefined when `needs.fields` did not ask for it. */
  field(field) {
    const { fields, fieldsAt, rows, view } = this.block;
    if ((fields & field) === 0) return undefined;
    return view.getBigInt64(fieldsAt + (bits(fields & (field - 1)) * rows + this.row) * 8, true);
  }
}

/**
 * The exports of a filter. `configure(binding, needs)` reads the settings and throws a text to refuse the
 * binding; `filter(message)` answers a verdict.
 */
export function filter(plugin) {
  return {
    configure(binding) {
      const needs = new Needs();
      plugin.configure(new Binding(binding), needs);
      const { properties, body, fields, pure } = needs;
      return { properties, body, fields, pure };
    },

    filterBatch(bytes) {
      const block = new Block(bytes);
      const verdicts = new Uint8Array(block.rows);
      for (let row = 0; row < block.rows; row += 1) verdicts[row] = plugin.filter(new Message(block, row));
      return verdicts;
    },
  };
}
