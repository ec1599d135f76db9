/* A native plugin of any kind: as a filter it passes everything, as a hook it changes nothing, as a
 * function it answers NULL. It tells what it is set up with, and `-D` makes its table wrong. */
#include "sluice_native.h"

#include <string.h>

#ifndef ABI
#define ABI SLUICE_NATIVE_ABI
#endif
#ifndef SIZE
#define SIZE sizeof(sluice_native_plugin)
#endif
#ifndef KIND
#define KIND SLUICE_KIND_FILTER
#endif
#ifndef CODE
#define CODE SLUICE_OK
#endif
#ifndef VERDICT
#define VERDICT SLUICE_PASS
#endif

static uint8_t verdicts[SLUICE_ROWS_MAX];

static int32_t configure(const sluice_native_host *host, const sluice_native_binding *binding, void **made, sluice_native_needs *needs, sluice_text *error) {
    const uint8_t arguments = (uint8_t)('0' + binding->arguments);
    (void)error;
    host->log(host->context, SLUICE_WARN, binding->expression);
    host->log(host->context, 99, (sluice_text){&arguments, 1});
    *needs = (sluice_native_needs){0};
    *made = 0;
    return SLUICE_OK;
}

static int32_t block(void *made, const sluice_native_host *host, sluice_text bytes, sluice_text *answer) {
    sluice_block block;
    (void)made;
    host->counter_add(host->context, sluice_text_of("calls"), 1);
    if (!sluice_block_parse(&block, bytes.at, bytes.len)) return SLUICE_MALFORMED;
    memset(verdicts, VERDICT, block.rows);
    *answer = (sluice_text){verdicts, block.rows};
    return CODE;
}

static int32_t call(void *made, const sluice_native_host *host, sluice_text bytes, sluice_text *answer) {
    static const uint8_t values[16 * SLUICE_ROWS_MAX];
    sluice_block block;
    (void)made;
    (void)host;
    if (!sluice_block_parse(&block, bytes.at, bytes.len)) return SLUICE_MALFORMED;
    *answer = (sluice_text){values, 16 * block.rows};
    return SLUICE_OK;
}

static int32_t change(void *made, const sluice_native_host *host, sluice_text bytes, sluice_text *answer) {
    (void)made;
    (void)host;
    (void)bytes;
    *answer = (sluice_text){0};
    return SLUICE_OK;
}

static int32_t see(void *made, const sluice_native_host *host, sluice_text bytes) {
    sluice_block block;
    (void)made;
    if (!sluice_block_parse(&block, bytes.at, bytes.len)) return SLUICE_MALFORMED;
    host->counter_add(host->context, sluice_text_of("seen"), block.rows);
    return CODE;
}

static void destroy(void *made) { (void)made; }

#ifndef NO_SYMBOL
const sluice_native_plugin *sluice_plugin_v1(void) {
    static const sluice_native_plugin table = {
        .abi_version = ABI,
        .struct_size = SIZE,
        .kind = KIND,
        .configure = configure,
#ifndef NO_ENTRY
        .filter_block = block,
#endif
#ifdef OTHERS
        .call_block = call,
        .before_send = change,
        .after_send = see,
        .before_deliver = change,
        .after_consume = see,
#endif
        .destroy = destroy,
    };
    return &table;
}
#endif
