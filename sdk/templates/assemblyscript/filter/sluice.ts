// What a filter in AssemblyScript needs of Sluice: blocks, settings, exports.
//
// Reading numbers allocates nothing; reading texts makes strings, which costs several times as much.

/** What becomes of a message. Of `Failed` the binding's failure policy decides. */
export enum Verdict {
  Drop = 0,
  Pass = 1,
  Hold = 2,
  Failed = 3,
}

/** System fields, to be joined in `needs.fields`. */
export enum Field {
  QueueOffset = 1,
  StoreTime = 2,
  BornTime = 4,
  QueueId = 8,
  SysFlag = 16,
  TagsCode = 32,
  ReconsumeTimes = 64,
}

export class Setting {
  constructor(
    public name: string,
    public value: string,
  ) {}
}

/** What the plugin is bound to, and its settings. */
export class Binding {
  params: Setting[] = [];

  /** `group` is empty when bound for all groups. */
  constructor(
    public topic: string,
    public group: string,
  ) {}

  /** A setting; of equal names the last counts. */
  param(name: string): string | null {
    for (let i = this.params.length - 1; i >= 0; i--) {
      if (this.params[i].name == name) return this.params[i].value;
    }
    return null;
  }
}

/** What the plugin wants to see of each message. */
export class Needs {
  properties: ArrayBuffer[] = [];
  fields: u32 = 0;
  /** Bodies are wanted. */
  body: bool = false;
  /** The verdict depends on the columns alone. */
  pure: bool = false;

  /** Wants a property; what comes back is its column. */
  property(name: string): i32 {
    return this.properties.push(String.UTF8.encode(name)) - 1;
  }
}

/** A message of the block at hand. Valid during the call only. */
export class Message {
  block: usize = 0;
  length: u32 = 0;
  rows: u32 = 0;
  cols: u32 = 0;
  fields: u32 = 0;
  fieldsAt: u32 = 0;
  cellsAt: u32 = 0;
  /** 0: there are none. */
  bodiesAt: u32 = 0;
  row: u32 = 0;
  /** The bytes found last. */
  at: usize = 0;
  size: u32 = 0;

  /** Checks that header, fields, cells and body cells are all there. */
  parse(block: usize, length: u32): bool {
    if (length < 24) return false;
    this.block = block;
    this.length = length;
    const headerLen = <u32>load<u16>(block, 2);
    this.rows = load<u32>(block, 4);
    this.cols = load<u32>(block, 8);
    this.fields = load<u32>(block, 12);
    const hasBody = load<u32>(block, 16);
    if (load<u16>(block) != 1 || headerLen < 24 || headerLen % 8 != 0) return false;
    if (this.rows < 1 || this.rows > 64 || this.fields > 127 || hasBody > 1) return false;
    const cellsAt = <u64>headerLen + <u64>popcnt(this.fields) * this.rows * 8;
    const bodiesAt = cellsAt + <u64>this.rows * this.cols * 8;
    if (bodiesAt + <u64>hasBody * this.rows * 8 > <u64>length) return false;
    this.fieldsAt = headerLen;
    this.cellsAt = <u32>cellsAt;
    this.bodiesAt = hasBody ? <u32>bodiesAt : 0;
    return true;
  }

  /** Finds what a cell means; false when it means: no such property. */
  private find(cell: u32): bool {
    const offset = load<u32>(this.block + cell);
    this.size = load<u32>(this.block + cell, 4);
    this.at = this.block + offset;
    return this.size != u32.MAX_VALUE && <u64>offset + this.size <= <u64>this.length;
  }

  /** Whether the message has a property. */
  has(column: i32): bool {
    if (<u32>column >= this.cols) return false;
    return this.find(this.cellsAt + (this.row * this.cols + column) * 8);
  }

  /** A property read as a whole number of up to 18 digits; `otherwise` when there is none. */
  int(column: i32, otherwise: i64): i64 {
    if (!this.has(column) || this.size == 0) return otherwise;
    const sign = load<u8>(this.at);
    const negative = sign == 0x2d;
    let i: u32 = negative || sign == 0x2b ? 1 : 0;
    if (i == this.size || this.size - i > 18) return otherwise;
    let sum: i64 = 0;
    for (; i < this.size; i++) {
      const digit = <u32>load<u8>(this.at + i) - 0x30;
      if (digit > 9) return otherwise;
      sum = sum * 10 + digit;
    }
    return negative ? -sum : sum;
  }

  /** A property as a text. */
  text(column: i32): string | null {
    return this.has(column) ? String.UTF8.decodeUnsafe(this.at, this.size) : null;
  }

  /** The body, decompressed; null when `needs.body` did not ask for it. */
  body(): ArrayBuffer | null {
    if (!this.bodiesAt || !this.find(this.bodiesAt + this.row * 8)) return null;
    const body = new ArrayBuffer(this.size);
    memory.copy(changetype<usize>(body), this.at, this.size);
    return body;
  }

  /** A system field of `needs.fields`; 0 when it was not asked for. */
  field(field: Field): i64 {
    if (!(this.fields & field)) return 0;
    const place = <u32>popcnt(this.fields & (field - 1));
    return load<i64>(this.block + this.fieldsAt + (place * this.rows + this.row) * 8);
  }
}

/** Passes or drops messages on their way to a group. */
export abstract class Filter {
  /** Null, or why the settings are refused. */
  abstract configure(binding: Binding, needs: Needs): string | null;
  abstract filter(message: Message): Verdict;
}

@external("sluice:plugin/host@0.1.0", "log")
declare function host_log(level: u32, at: usize, length: u32): void;
@external("sluice:plugin/host@0.1.0", "counter-add")
declare function host_counter_add(at: usize, length: u32, delta: u64): void;
/** Newest store time of the block in Unix milliseconds; never the wall clock. */
@external("sluice:plugin/host@0.1.0", "now")
export declare function now(): u64;

/** A line for `sluice plugin logs`, of at most 1 KiB. */
export function info(message: string): void {
  const bytes = String.UTF8.encode(message);
  host_log(1, changetype<usize>(bytes), bytes.byteLength);
}

/** Adds to a counter of the plugin's own. */
export function counterAdd(name: string, delta: u64): void {
  const bytes = String.UTF8.encode(name);
  host_counter_add(changetype<usize>(bytes), bytes.byteLength, delta);
}

let plugin: Filter | null = null;

/** Says which filter this module is. */
export function install(filter: Filter): void {
  plugin = filter;
}

// What the broker allocates during a call, each piece behind the address of the one before.
const HEAD: usize = 16;
let pieces: usize = 0;

export function cabi_realloc(old: usize, oldLength: usize, align: usize, length: usize): usize {
  const piece = heap.alloc(HEAD + length);
  store<usize>(piece, pieces);
  pieces = piece;
  memory.copy(piece + HEAD, old, min(oldLength, length));
  return piece + HEAD;
}

function giveBack(): void {
  while (pieces) {
    const piece = pieces;
    pieces = load<usize>(piece);
    heap.free(piece);
  }
}

// The words of an answer; what they point to is kept until the next one.
const words = memory.data(24, 8);
const verdicts = memory.data(64, 8);
const message = new Message();
let needs = new Needs();
let names = new StaticArray<u32>(0);
let reason = new ArrayBuffer(0);

function text(at: usize, length: u32): string {
  return String.UTF8.decodeUnsafe(at, length);
}

/** result<needs, string>: tag, then the record or a text. */
export function configure(
  topic: usize, topicLength: u32, group: usize, groupLength: u32, params: usize, paramsLength: u32,
): usize {
  const binding = new Binding(text(topic, topicLength), text(group, groupLength));
  for (let i: u32 = 0; i < paramsLength; i++) {
    const pair = params + i * 16;
    const name = text(load<u32>(pair), load<u32>(pair, 4));
    binding.params.push(new Setting(name, text(load<u32>(pair, 8), load<u32>(pair, 12))));
  }
  giveBack();
  needs = new Needs();
  const refused = plugin!.configure(binding, needs);
  if (refused !== null) {
    reason = String.UTF8.encode(refused);
    store<u32>(words, 1);
    store<u32>(words, <u32>changetype<usize>(reason), 4);
    store<u32>(words, reason.byteLength, 8);
    return words;
  }
  const count = needs.properties.length;
  names = new StaticArray<u32>(count * 2);
  for (let i = 0; i < count; i++) {
    names[i * 2] = <u32>changetype<usize>(needs.properties[i]);
    names[i * 2 + 1] = needs.properties[i].byteLength;
  }
  store<u32>(words, 0);
  store<u32>(words, <u32>changetype<usize>(names), 4);
  store<u32>(words, count, 8);
  store<u32>(words, needs.body ? 1 : 0, 12);
  store<u32>(words, needs.fields, 16);
  store<u32>(words, needs.pure ? 1 : 0, 20);
  return words;
}

/** One byte for each row. */
export function filterBatch(block: usize, length: u32): usize {
  if (!message.parse(block, length)) unreachable();
  const filter = plugin!;
  for (let row: u32 = 0; row < message.rows; row++) {
    message.row = row;
    store<u8>(verdicts + row, filter.filter(message));
  }
  giveBack();
  store<u32>(words, <u32>verdicts);
  store<u32>(words, message.rows, 4);
  return words;
}
