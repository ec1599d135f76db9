//! Passes orders whose amount is above the setting `min`.
const std = @import("std");
const sluice = @import("sluice.zig");

var amount: sluice.Column = undefined;
var min: i64 = 100;

/// Null, or why the settings are refused.
pub fn configure(binding: *const sluice.Binding, needs: *sluice.Needs) ?[]const u8 {
    amount = needs.property("amount");
    needs.pure = true;
    if (binding.param("min")) |text| {
        min = std.fmt.parseInt(i64, text, 10) catch return "the setting min is no number";
    }
    return null;
}

pub fn filter(message: sluice.Message) sluice.Verdict {
    const value = message.int(amount) orelse return .drop;
    return if (value > min) .pass else .drop;
}

comptime {
    sluice.exportFilter(@This());
}
