/* Passes orders whose amount is above the setting `min`. */
#include "sluice_plugin.h"

static uint32_t amount;
static int64_t min = 100;

static const char *configure(const sluice_binding *binding, sluice_needs *needs) {
    amount = sluice_property(needs, "amount");
    needs->pure = true;
    return sluice_param_i64(binding, "min", &min) ? NULL : "the setting min is no number";
}

static sluice_verdict filter(sluice_message message) {
    int64_t value;
    return sluice_i64(message, amount, &value) && value > min ? SLUICE_PASS : SLUICE_DROP;
}

SLUICE_FILTER(configure, filter)
