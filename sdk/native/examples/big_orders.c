/* A filter as a native library: passes orders whose amount is above the setting `min` (100).
 *
 *     cc -O2 -shared -fPIC -I sdk/c -I sdk/native -o big_orders.so big_orders.c
 */
#include "sluice_native.h"

#include <stdlib.h>

typedef struct {
    int64_t min;
    uint8_t verdicts[SLUICE_ROWS_MAX];
} instance;

static const sluice_text properties[] = {{(const uint8_t *)"amount", 6}};

static int32_t configure(const sluice_native_host *host, const sluice_native_binding *binding, void **made, sluice_native_needs *needs, sluice_text *error) {
    int64_t min = 100;
    (void)host;
    if (!sluice_param_i64(&binding->binding, "min", &min)) {
        *error = sluice_text_of("the setting min is no number");
        return SLUICE_REFUSED;
    }
    instance *fresh = malloc(sizeof *fresh);
    if (!fresh) return SLUICE_BROKEN;
    fresh->min = min;
    *needs = (sluice_native_needs){properties, 1, 0, 0, 1};
    *made = fresh;
    return SLUICE_OK;
}

static int32_t filter_block(void *made, const sluice_native_host *host, sluice_text bytes, sluice_text *answer) {
    instance *self = made;
    sluice_block block;
    (void)host;
    if (!sluice_block_parse(&block, bytes.at, bytes.len)) return SLUICE_MALFORMED;
    for (uint32_t row = 0; row < block.rows; row++) {
        int64_t amount;
        sluice_message message = {&block, row};
        self->verdicts[row] = sluice_i64(message, 0, &amount) && amount > self->min ? SLUICE_PASS : SLUICE_DROP;
    }
    *answer = (sluice_text){self->verdicts, block.rows};
    return SLUICE_OK;
}

const sluice_native_plugin *sluice_plugin_v1(void) {
    static const sluice_native_plugin table = {
        .abi_version = SLUICE_NATIVE_ABI,
        .struct_size = sizeof table,
        .kind = SLUICE_KIND_FILTER,
        .configure = configure,
        .filter_block = filter_block,
        .destroy = free,
    };
    return &table;
}
