//! What a filter in Zig needs of Sluice: blocks, settings, exports. No allocator but a pointer.
//!
//! Memory that the broker allocates during a call is given back when the next call begins. What
//! `configure` has seen is kept for good.
const std = @import("std");

pub const Column = struct { at: u32 };

/// What becomes of a message. Of `failed` the binding's failure policy decides.
pub const Verdict = enum(u8) { drop = 0, pass = 1, hold = 2, failed = 3 };

/// System fields, to be joined in `Needs.fields`.
pub const Field = enum(u32) {
    queue_offset = 1,
    store_time = 2,
    born_time = 4,
    queue_id = 8,
    sys_flag = 16,
    tags_code = 32,
    reconsume_times = 64,
};

/// A string or list in linear memory, as the canonical ABI lays it out.
const Text = extern struct {
    at: u32,
    len: u32,

    fn slice(text: Text) []const u8 {
        if (text.len == 0) return "";
        return @as([*]const u8, @ptrFromInt(text.at))[0..text.len];
    }

    fn of(bytes: []const u8) Text {
        return .{ .at = @intFromPtr(bytes.ptr), .len = bytes.len };
    }
};

pub const Binding = struct {
    topic: []const u8,
    /// Empty when bound for all groups.
    group: []const u8,
    params: []const [2]Text,

    /// A setting; of equal names the last counts.
    pub fn param(binding: *const Binding, name: []const u8) ?[]const u8 {
        var i = binding.params.len;
        while (i > 0) {
            i -= 1;
            const pair = binding.params[i];
            if (std.mem.eql(u8, pair[0].slice(), name)) return pair[1].slice();
        }
        return null;
    }
};

pub const Needs = struct {
    properties: [64]Text = undefined,
    len: u32 = 0,
    fields: u32 = 0,
    /// Bodies are wanted.
    body: bool = false,
    /// The verdict depends on the columns alone.
    pure: bool = false,

    /// Wants a property. At most 64.
    pub fn property(needs: *Needs, name: []const u8) Column {
        if (needs.len == needs.properties.len) @trap();
        needs.properties[needs.len] = Text.of(name);
        needs.len += 1;
        return .{ .at = needs.len - 1 };
    }

    /// Wants a system field.
    pub fn field(needs: *Needs, wanted: Field) void {
        needs.fields |= @intFromEnum(wanted);
    }
};

const Block = struct {
    bytes: []const u8,
    rows: u32,
    cols: u32,
    fields: u32,
    fields_at: usize,
    cells_at: usize,
    bodies_at: ?usize,

    /// Checks that header, fields, cells and body cells are all there.
    fn parse(bytes: []const u8) ?Block {
        if (bytes.len < 24) return null;
        const header_len = read(u16, bytes, 2);
        const rows = read(u32, bytes, 4);
        const cols = read(u32, bytes, 8);
        const fields = read(u32, bytes, 12);
        const has_body = read(u32, bytes, 16);
        if (read(u16, bytes, 0) != 1 or header_len < 24 or header_len % 8 != 0) return null;
        if (rows < 1 or rows > 64 or fields > 127 or has_body > 1) return null;
        const cells_at = @as(u64, header_len) + @as(u64, @popCount(fields)) * rows * 8;
        const bodies_at = cells_at + @as(u64, rows) * cols * 8;
        if (bodies_at + @as(u64, has_body) * rows * 8 > bytes.len) return null;
        return .{
            .bytes = bytes,
            .rows = rows,
            .cols = cols,
            .fields = fields,
            .fields_at = header_len,
            .cells_at = @intCast(cells_at),
            .bodies_at = if (has_body == 1) @intCast(bodies_at) else null,
        };
    }

    fn pointed(block: *const Block, at: usize) ?[]const u8 {
        const offset = read(u32, block.bytes, at);
        const len = read(u32, block.bytes, at + 4);
        const end = @as(u64, offset) + len;
        if (len == 0xffff_ffff or end > block.bytes.len) return null;
        return block.bytes[offset..][0..len];
    }
};

fn read(comptime T: type, bytes: []const u8, at: usize) T {
    return std.mem.readInt(T, bytes[at..][0..@sizeOf(T)], .little);
}

/// A message of the block at hand.
pub const Message = struct {
    block: *const Block,
    row: u32,

    /// A property; null when the message has none of that name.
    pub fn get(message: Message, column: Column) ?[]const u8 {
        const block = message.block;
        if (column.at >= block.cols) return null;
        return block.pointed(block.cells_at + (message.row * block.cols + column.at) * 8);
    }

    /// A property read as a whole number.
    pub fn int(message: Message, column: Column) ?i64 {
        return std.fmt.parseInt(i64, message.get(column) orelse return null, 10) catch null;
    }

    /// The body, decompressed; null when `Needs.body` did not ask for it.
    pub fn body(message: Message) ?[]const u8 {
        return message.block.pointed((message.block.bodies_at orelse return null) + message.row * 8);
    }

    /// A system field; null when `Needs.field` did not ask for it.
    pub fn field(message: Message, wanted: Field) ?i64 {
        const block = message.block;
        const bit = @intFromEnum(wanted);
        if (block.fields & bit == 0) return null;
        const place = @popCount(block.fields & (bit - 1));
        return read(i64, block.bytes, block.fields_at + (place * block.rows + message.row) * 8);
    }
};

extern "sluice:plugin/host@0.1.0" fn @"counter-add"(at: [*]const u8, len: u32, delta: u64) void;
extern "sluice:plugin/host@0.1.0" fn log(level: u32, at: [*]const u8, len: u32) void;

/// Newest store time of the block in Unix milliseconds; never the wall clock.
pub extern "sluice:plugin/host@0.1.0" fn now() u64;

/// Adds to a counter of the plugin's own.
pub fn counterAdd(name: []const u8, delta: u64) void {
    @"counter-add"(name.ptr, name.len, delta);
}

/// A line for `sluice plugin logs`, of at most 1 KiB.
pub fn info(message: []const u8) void {
    log(1, message.ptr, message.len);
}

extern var __heap_base: u8;
var begin: usize = 0;
var top: usize = 0;
/// The call is over: the next allocation begins anew.
var over: bool = false;

fn realloc(old: usize, old_len: usize, alignment: usize, len: usize) callconv(.c) usize {
    if (begin == 0) {
        begin = @intFromPtr(&__heap_base);
        top = begin;
    }
    if (over) {
        top = begin;
        over = false;
    }
    const at = (top + alignment - 1) & ~(alignment - 1);
    const end = @as(u64, at) + len;
    const have = @as(u64, @wasmMemorySize(0)) << 16;
    if (end > have) {
        const pages: u32 = @intCast((end - have + 0xffff) >> 16);
        if (end > 0xffff_ffff or @wasmMemoryGrow(0, pages) < 0) @trap();
    }
    top = @intCast(end);
    if (old_len > 0) {
        const from: [*]const u8 = @ptrFromInt(old);
        const to: [*]u8 = @ptrFromInt(at);
        @memcpy(to[0..@min(old_len, len)], from[0..@min(old_len, len)]);
    }
    return at;
}

/// Exports `plugin.configure` and `plugin.filter` as a module of the world `filter`.
pub fn exportFilter(comptime plugin: type) void {
    const exports = struct {
        var needs: Needs = .{};
        var words: [6]u32 = undefined;
        var verdicts: [64]u8 = undefined;

        /// result<needs, string>: tag, then the record or a text.
        fn configure(topic: u32, topic_len: u32, group: u32, group_len: u32, params: u32, params_len: u32) callconv(.c) *const [6]u32 {
            const list: []const [2]Text = if (params_len == 0) &.{} else @as([*]const [2]Text, @ptrFromInt(params))[0..params_len];
            const binding = Binding{
                .topic = (Text{ .at = topic, .len = topic_len }).slice(),
                .group = (Text{ .at = group, .len = group_len }).slice(),
                .params = list,
            };
            needs = .{};
            if (plugin.configure(&binding, &needs)) |reason| {
                const text = Text.of(reason);
                words = .{ 1, text.at, text.len, 0, 0, 0 };
            } else {
                words = .{ 0, @intFromPtr(&needs.properties), needs.len, @intFromBool(needs.body), needs.fields, @intFromBool(needs.pure) };
            }
            begin = top; // what configure has seen is kept
            over = true;
            return &words;
        }

        fn filterBatch(at: u32, len: u32) callconv(.c) *const [6]u32 {
            const block = Block.parse((Text{ .at = at, .len = len }).slice()) orelse @trap();
            for (verdicts[0..block.rows], 0..) |*verdict, row| {
                verdict.* = @intFromEnum(plugin.filter(.{ .block = &block, .row = @intCast(row) }));
            }
            const text = Text.of(verdicts[0..block.rows]);
            words = .{ text.at, text.len, 0, 0, 0, 0 };
            over = true;
            return &words;
        }
    };
    @export(&exports.configure, .{ .name = "configure" });
    @export(&exports.filterBatch, .{ .name = "filter-batch" });
    @export(&realloc, .{ .name = "cabi_realloc" });
}
