/* What authors of Sluice plugins in C use: one header, no libc, no allocator.
 *
 * A plugin is two or three functions and one of the macros at the end of this file:
 *
 *     #include "sluice_plugin.h"
 *
 *     static uint32_t amount;
 *     static int64_t min = 100;
 *
 *     static const char *configure(const sluice_binding *binding, sluice_needs *needs) {
 *         amount = sluice_property(needs, "amount");
 *         needs->pure = true;
 *         return sluice_param_i64(binding, "min", &min) ? NULL : "the setting min is no number";
 *     }
 *
 *     static sluice_verdict filter(sluice_message message) {
 *         int64_t value;
 *         return sluice_i64(message, amount, &value) && value > min ? SLUICE_PASS : SLUICE_DROP;
 *     }
 *
 *     SLUICE_FILTER(configure, filter)
 *
 * Build it for wasm32-freestanding with any clang; the broker takes the module as it is. Include the
 * header in one source file only. (sluice_native.h includes it for native libraries, which get the texts,
 * settings and blocks of this file and nothing else.)
 *
 * Memory that the broker or a plugin allocates during a call is given back when the next call begins.
 * What `configure` has seen and allocated is kept for good.
 */
#ifndef SLUICE_PLUGIN_H
#define SLUICE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- text ---------------------------------------------------------------------------------- */

/* Bytes somewhere else; not terminated by 0. `at` is NULL when there is no such property. */
typedef struct {
    const uint8_t *at;
    uint32_t len;
} sluice_text;

static inline sluice_text sluice_text_of(const char *string) {
    uint32_t len = 0;
    while (string[len]) len++;
    return (sluice_text){(const uint8_t *)string, len};
}

static inline bool sluice_equals(sluice_text text, const char *string) {
    uint32_t i = 0;
    if (!text.at) return false;
    for (; i < text.len && string[i]; i++)
        if (text.at[i] != (uint8_t)string[i]) return false;
    return i == text.len && !string[i];
}

/* Reads a whole decimal number with an optional sign; false when it is none or does not fit. */
static inline bool sluice_parse_i64(sluice_text text, int64_t *value) {
    if (!text.at || !text.len) return false;
    bool negative = text.at[0] == '-';
    uint32_t i = negative || text.at[0] == '+';
    if (i == text.len) return false;
    int64_t sum = 0;
    for (; i < text.len; i++) {
        uint32_t digit = (uint32_t)text.at[i] - '0';
        if (digit > 9) return false;
        if (sum > INT64_MAX / 10 || sum < INT64_MIN / 10) return false;
        sum *= 10;
        if (negative ? __builtin_sub_overflow(sum, (int64_t)digit, &sum)
                     : __builtin_add_overflow(sum, (int64_t)digit, &sum)) return false;
    }
    *value = sum;
    return true;
}

#ifdef __wasm__
/* ---- memory -------------------------------------------------------------------------------- */

extern uint8_t __heap_base;
static uintptr_t sluice_begin, sluice_top;
static bool sluice_over; /* the call is over: the next allocation begins anew */

/* `len` bytes until the next call; ends the instance when there is no more memory. */
static inline void *sluice_alloc(uint32_t len, uint32_t align) {
    if (!sluice_begin) sluice_begin = sluice_top = (uintptr_t)&__heap_base;
    if (sluice_over) {
        sluice_top = sluice_begin;
        sluice_over = false;
    }
    uint64_t at = ((uint64_t)sluice_top + align - 1) & ~((uint64_t)align - 1);
    uint64_t end = at + len;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > have) {
        uint64_t pages = (end - have + 0xffff) >> 16;
        if (end > UINT32_MAX || __builtin_wasm_memory_grow(0, (uint32_t)pages) == (size_t)-1) __builtin_trap();
    }
    sluice_top = (uintptr_t)end;
    return (void *)(uintptr_t)at;
}

static inline void sluice_copy(void *to, const void *from, uint32_t len) {
    uint8_t *t = (uint8_t *)to;
    const uint8_t *f = (const uint8_t *)from;
    for (uint32_t i = 0; i < len; i++) t[i] = f[i];
}

__attribute__((export_name("cabi_realloc"), used)) void *
sluice_cabi_realloc(void *old, uint32_t old_len, uint32_t align, uint32_t len) {
    void *fresh = sluice_alloc(len, align);
    sluice_copy(fresh, old, old_len < len ? old_len : len);
    return fresh;
}
#endif

/* ---- settings and needs -------------------------------------------------------------------- */

typedef struct {
    sluice_text topic;
    sluice_text group; /* empty when bound for all groups */
    const sluice_text (*params)[2];
    uint32_t params_len;
} sluice_binding;

/* A setting; of equal names the last counts. */
static inline sluice_text sluice_param(const sluice_binding *binding, const char *name) {
    for (uint32_t i = binding->params_len; i-- > 0;)
        if (sluice_equals(binding->params[i][0], name)) return binding->params[i][1];
    return (sluice_text){NULL, 0};
}

/* A setting read as a number. Absent: true, and `value` stays as it is. */
static inline bool sluice_param_i64(const sluice_binding *binding, const char *name, int64_t *value) {
    sluice_text text = sluice_param(binding, name);
    return !text.at || sluice_parse_i64(text, value);
}

/* System fields, to be joined in `needs.fields`. */
enum {
    SLUICE_QUEUE_OFFSET = 1,
    SLUICE_STORE_TIME = 2, /* Unix milliseconds */
    SLUICE_BORN_TIME = 4,
    SLUICE_QUEUE_ID = 8,
    SLUICE_SYS_FLAG = 16,
    SLUICE_TAGS_CODE = 32,
    SLUICE_RECONSUME_TIMES = 64,
};

#define SLUICE_PROPERTIES_MAX 64

typedef struct {
    sluice_text properties[SLUICE_PROPERTIES_MAX];
    uint32_t properties_len;
    uint32_t arguments; /* columns before the first property: a function's arguments */
    uint32_t fields;
    bool body; /* bodies are wanted */
    bool pure; /* the verdict depends on the columns alone */
} sluice_needs;

/* Wants a property; what comes back is its column. Ends the instance beyond SLUICE_PROPERTIES_MAX. */
static inline uint32_t sluice_property(sluice_needs *needs, const char *name) {
    if (needs->properties_len == SLUICE_PROPERTIES_MAX) __builtin_trap();
    needs->properties[needs->properties_len] = sluice_text_of(name);
    return needs->arguments + needs->properties_len++;
}

/* ---- blocks -------------------------------------------------------------------------------- */

#define SLUICE_ABSENT UINT32_MAX
#define SLUICE_ROWS_MAX 64

typedef struct {
    const uint8_t *at;
    uint32_t len, rows, cols, fields, fields_at, cells_at, bodies_at; /* bodies_at 0: none */
} sluice_block;

/* A message of the block at hand. */
typedef struct {
    const sluice_block *block;
    uint32_t row;
} sluice_message;

/* Numbers are little-endian, as is every machine that Sluice runs on. */
static inline uint32_t sluice_u32_at(const uint8_t *at) {
    uint32_t word;
    __builtin_memcpy(&word, at, 4);
    return word;
}

static inline int64_t sluice_i64_at(const uint8_t *at) {
    int64_t word;
    __builtin_memcpy(&word, at, 8);
    return word;
}

/* Checks that header, fields, cells and body cells are all there. */
static inline bool sluice_block_parse(sluice_block *block, const uint8_t *at, uint32_t len) {
    if (len < 24) return false;
    uint32_t version = sluice_u32_at(at) & 0xffff, header_len = sluice_u32_at(at) >> 16;
    uint32_t has_body = sluice_u32_at(at + 16);
    *block = (sluice_block){at, len, sluice_u32_at(at + 4), sluice_u32_at(at + 8), sluice_u32_at(at + 12), header_len, 0, 0};
    if (version != 1 || header_len < 24 || header_len % 8) return false;
    if (block->rows < 1 || block->rows > SLUICE_ROWS_MAX || block->fields > 127 || has_body > 1) return false;
    uint64_t cells_at = header_len + (uint64_t)__builtin_popcount(block->fields) * block->rows * 8;
    uint64_t bodies_at = cells_at + (uint64_t)block->rows * block->cols * 8;
    if (bodies_at + (uint64_t)has_body * block->rows * 8 > len) return false;
    block->cells_at = (uint32_t)cells_at;
    block->bodies_at = has_body ? (uint32_t)bodies_at : 0;
    return true;
}

static inline sluice_text sluice_pointed(const sluice_block *block, uint32_t cell) {
    uint32_t offset = sluice_u32_at(block->at + cell), len = sluice_u32_at(block->at + cell + 4);
    if (len == SLUICE_ABSENT || (uint64_t)offset + len > block->len) return (sluice_text){NULL, 0};
    return (sluice_text){block->at + offset, len};
}

/* A column's bytes; `at` is NULL when the message has no such property. */
static inline sluice_text sluice_get(sluice_message message, uint32_t column) {
    const sluice_block *block = message.block;
    if (message.row >= block->rows || column >= block->cols) return (sluice_text){NULL, 0};
    return sluice_pointed(block, block->cells_at + (message.row * block->cols + column) * 8);
}

/* A column read as a number; false when there is none. */
static inline bool sluice_i64(sluice_message message, uint32_t column, int64_t *value) {
    return sluice_parse_i64(sluice_get(message, column), value);
}

/* A system field of `needs.fields`; 0 when it was not asked for. */
static inline int64_t sluice_field(sluice_message message, uint32_t field) {
    const sluice_block *block = message.block;
    if (message.row >= block->rows || !(block->fields & field)) return 0;
    uint32_t place = (uint32_t)__builtin_popcount(block->fields & (field - 1));
    return sluice_i64_at(block->at + block->fields_at + (place * block->rows + message.row) * 8);
}

/* The body, decompressed; `at` is NULL when `needs.body` did not ask for it. */
static inline sluice_text sluice_body(sluice_message message) {
    const sluice_block *block = message.block;
    if (message.row >= block->rows || !block->bodies_at) return (sluice_text){NULL, 0};
    return sluice_pointed(block, block->bodies_at + message.row * 8);
}

/* ---- answers ------------------------------------------------------------------------------- */

typedef enum {
    SLUICE_DROP = 0,
    SLUICE_PASS = 1,
    SLUICE_HOLD = 2,   /* the queue is held before it, and it is judged again later */
    SLUICE_FAILED = 3, /* the binding's failure policy decides */
} sluice_verdict;

/* How grave a log line is. */
typedef enum { SLUICE_DEBUG, SLUICE_INFO, SLUICE_WARN, SLUICE_ERROR } sluice_level;

#ifdef __wasm__
/* ---- what the broker does for a plugin ------------------------------------------------------- */

#define SLUICE_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

typedef struct {
    uint8_t tag;
    sluice_text value;
} sluice_answer;

SLUICE_IMPORT("sluice:plugin/host@0.1.0", "log") extern void sluice_host_log(uint32_t level, const uint8_t *at, uint32_t len);
SLUICE_IMPORT("sluice:plugin/host@0.1.0", "counter-add") extern void sluice_host_counter_add(const uint8_t *at, uint32_t len, uint64_t delta);
SLUICE_IMPORT("sluice:plugin/host@0.1.0", "body") extern void sluice_host_body(uint32_t row, sluice_text *answer);
SLUICE_IMPORT("sluice:plugin/host@0.1.0", "property") extern void sluice_host_property(uint32_t row, const uint8_t *at, uint32_t len, sluice_answer *answer);
SLUICE_IMPORT("sluice:plugin/kv@0.1.0", "get") extern void sluice_kv_host_get(const uint8_t *at, uint32_t len, sluice_answer *answer);
SLUICE_IMPORT("sluice:plugin/kv@0.1.0", "set") extern void sluice_kv_host_set(const uint8_t *at, uint32_t len, const uint8_t *value, uint32_t value_len, uint64_t ttl_ms, sluice_answer *answer);
SLUICE_IMPORT("sluice:plugin/kv@0.1.0", "compare-and-set") extern void sluice_kv_host_compare_and_set(const uint8_t *at, uint32_t len, uint32_t has_old, const uint8_t *old, uint32_t old_len, const uint8_t *fresh, uint32_t fresh_len, uint64_t ttl_ms, sluice_answer *answer);
SLUICE_IMPORT("sluice:plugin/kv@0.1.0", "delete") extern void sluice_kv_host_delete(const uint8_t *at, uint32_t len, sluice_answer *answer);

/* Newest store time of the block in Unix milliseconds; never the wall clock. */
SLUICE_IMPORT("sluice:plugin/host@0.1.0", "now") extern uint64_t sluice_now(void);

/* A line for `sluice plugin logs`, of at most 1 KiB. */
static inline void sluice_log(sluice_level level, const char *message) {
    sluice_text text = sluice_text_of(message);
    sluice_host_log(level, text.at, text.len);
}

/* Adds to a counter of the plugin's own. */
static inline void sluice_counter_add(const char *name, uint64_t delta) {
    sluice_text text = sluice_text_of(name);
    sluice_host_counter_add(text.at, text.len, delta);
}

/* A body that `needs.body` did not ask for; about 0.2 us. */
static inline sluice_text sluice_fetch_body(sluice_message message) {
    sluice_text answer = {NULL, 0};
    sluice_host_body(message.row, &answer);
    return answer;
}

static inline sluice_text sluice_optional(sluice_answer answer) {
    return answer.tag ? answer.value : (sluice_text){NULL, 0};
}

/* A property that is not among the columns; about 0.2 us. */
static inline sluice_text sluice_fetch_property(sluice_message message, const char *name) {
    sluice_text text = sluice_text_of(name);
    sluice_answer answer = {0, {NULL, 0}};
    sluice_host_property(message.row, text.at, text.len, &answer);
    return sluice_optional(answer);
}

/* The value of a key; by grant, as all that follow. */
static inline sluice_text sluice_kv_get(sluice_text key) {
    sluice_answer answer = {0, {NULL, 0}};
    sluice_kv_host_get(key.at, key.len, &answer);
    return sluice_optional(answer);
}

/* Sets a value, forgotten after so many milliseconds of `sluice_now` (0: never); false: the quota is used up. */
static inline bool sluice_kv_set(sluice_text key, sluice_text value, uint64_t ttl_ms) {
    sluice_answer answer = {0, {NULL, 0}};
    sluice_kv_host_set(key.at, key.len, value.at, value.len, ttl_ms, &answer);
    return !answer.tag;
}

/* Sets `fresh` only if the value is `old` (`at` NULL: absent); whether it did. */
static inline bool sluice_kv_compare_and_set(sluice_text key, sluice_text old, sluice_text fresh, uint64_t ttl_ms) {
    sluice_answer answer = {0, {NULL, 0}};
    sluice_kv_host_compare_and_set(key.at, key.len, old.at != NULL, old.at, old.len, fresh.at, fresh.len, ttl_ms, &answer);
    return !answer.tag && ((uintptr_t)answer.value.at & 0xff);
}

/* Forgets a key. */
static inline bool sluice_kv_delete(sluice_text key) {
    sluice_answer answer = {0, {NULL, 0}};
    sluice_kv_host_delete(key.at, key.len, &answer);
    return !answer.tag;
}

/* ---- edits --------------------------------------------------------------------------------- */

#define SLUICE_EDITS_MAX 512

/* The edits of a block, applied in the order in which they were made. */
typedef struct {
    struct {
        uint32_t row, op;
        sluice_text key, value;
    } entries[SLUICE_EDITS_MAX];
    uint32_t len;
} sluice_edits;

static inline void sluice_edit(sluice_edits *edits, sluice_message message, uint32_t op, sluice_text key, sluice_text value) {
    if (edits->len == SLUICE_EDITS_MAX) __builtin_trap();
    edits->entries[edits->len].row = message.row;
    edits->entries[edits->len].op = op;
    edits->entries[edits->len].key = key;
    edits->entries[edits->len++].value = value;
}

#define SLUICE_NOTHING ((sluice_text){NULL, 0})

static inline void sluice_set_property(sluice_edits *edits, sluice_message message, const char *key, sluice_text value) {
    sluice_edit(edits, message, 1, sluice_text_of(key), value);
}

static inline void sluice_delete_property(sluice_edits *edits, sluice_message message, const char *key) {
    sluice_edit(edits, message, 2, sluice_text_of(key), SLUICE_NOTHING);
}

/* Send hooks: the producer gets code 13, which it does not retry, and the reason. */
static inline void sluice_reject(sluice_edits *edits, sluice_message message, const char *reason) {
    sluice_edit(edits, message, 3, SLUICE_NOTHING, sluice_text_of(reason));
}

static inline void sluice_set_body(sluice_edits *edits, sluice_message message, sluice_text body) {
    sluice_edit(edits, message, 4, SLUICE_NOTHING, body);
}

/* Send hooks: stores the message under another topic. */
static inline void sluice_set_topic(sluice_edits *edits, sluice_message message, const char *topic) {
    sluice_edit(edits, message, 5, SLUICE_NOTHING, sluice_text_of(topic));
}

/* Consume hooks: the message is not given to this group. */
static inline void sluice_drop(sluice_edits *edits, sluice_message message) {
    sluice_edit(edits, message, 8, SLUICE_NOTHING, SLUICE_NOTHING);
}

/* Lays the edits out; no edits are no bytes. */
static inline sluice_text sluice_edits_bytes(const sluice_edits *edits) {
    uint64_t len = 4 + (uint64_t)edits->len * 24;
    if (!edits->len) return SLUICE_NOTHING;
    for (uint32_t i = 0; i < edits->len; i++) len += (uint64_t)edits->entries[i].key.len + edits->entries[i].value.len;
    if (len > UINT32_MAX) __builtin_trap();
    uint8_t *at = (uint8_t *)sluice_alloc((uint32_t)len, 4);
    uint32_t *word = (uint32_t *)at, data = 4 + edits->len * 24;
    *word++ = edits->len;
    for (uint32_t i = 0; i < edits->len; i++) {
        sluice_text key = edits->entries[i].key, value = edits->entries[i].value;
        *word++ = edits->entries[i].row;
        *word++ = edits->entries[i].op;
        *word++ = data;
        *word++ = key.len;
        sluice_copy(at + data, key.at, key.len);
        data += key.len;
        *word++ = data;
        *word++ = value.len;
        sluice_copy(at + data, value.at, value.len);
        data += value.len;
    }
    return (sluice_text){at, data};
}

/* ---- exports ------------------------------------------------------------------------------- */

static sluice_needs sluice_needed;
static uint32_t sluice_words[6];

/* result<needs, string>: tag, then the record (address and length of the names, body, fields, pure) or a text. */
static inline const uint32_t *sluice_configured(const char *error) {
    sluice_needs *needs = &sluice_needed;
    if (error) {
        sluice_text text = sluice_text_of(error);
        sluice_words[0] = 1;
        sluice_words[1] = (uint32_t)(uintptr_t)text.at;
        sluice_words[2] = text.len;
    } else {
        sluice_words[0] = 0;
        sluice_words[1] = (uint32_t)(uintptr_t)needs->properties;
        sluice_words[2] = needs->properties_len;
        sluice_words[3] = needs->body;
        sluice_words[4] = needs->fields;
        sluice_words[5] = needs->pure;
    }
    sluice_begin = sluice_top; /* what configure has seen is kept */
    sluice_over = true;
    return sluice_words;
}

static inline const uint32_t *sluice_answered(sluice_text bytes) {
    sluice_words[0] = (uint32_t)(uintptr_t)bytes.at;
    sluice_words[1] = bytes.len;
    sluice_over = true;
    return sluice_words;
}

static inline sluice_block sluice_block_of(const uint8_t *at, uint32_t len) {
    sluice_block block;
    if (!sluice_block_parse(&block, at, len)) __builtin_trap();
    return block;
}

#define SLUICE_EXPORT(name) __attribute__((export_name(name), used))

#define SLUICE_CONFIGURE(configure)                                                                         \
    SLUICE_EXPORT("configure") const uint32_t *sluice_configure(                                            \
        const uint8_t *topic, uint32_t topic_len, const uint8_t *group, uint32_t group_len,                 \
        const sluice_text (*params)[2], uint32_t params_len) {                                              \
        sluice_binding binding = {{topic, topic_len}, {group, group_len}, params, params_len};              \
        sluice_needed.properties_len = 0;                                                                   \
        return sluice_configured(configure(&binding, &sluice_needed));                                      \
    }

/* const char *configure(const sluice_binding *, sluice_needs *)    NULL, or why not
 * sluice_verdict filter(sluice_message) */
#define SLUICE_FILTER(configure, filter)                                                                    \
    SLUICE_CONFIGURE(configure)                                                                             \
    SLUICE_EXPORT("filter-batch") const uint32_t *sluice_filter_batch(const uint8_t *at, uint32_t len) {    \
        static uint8_t verdicts[SLUICE_ROWS_MAX];                                                           \
        sluice_block block = sluice_block_of(at, len);                                                      \
        for (uint32_t row = 0; row < block.rows; row++)                                                     \
            verdicts[row] = (uint8_t)filter((sluice_message){&block, row});                                 \
        return sluice_answered((sluice_text){verdicts, block.rows});                                        \
    }

#define SLUICE_HOOK(configure, before_name, before, after_name, after)                                      \
    SLUICE_CONFIGURE(configure)                                                                             \
    SLUICE_EXPORT(before_name) const uint32_t *sluice_before(const uint8_t *at, uint32_t len) {             \
        static sluice_edits edits;                                                                          \
        sluice_block block = sluice_block_of(at, len);                                                      \
        edits.len = 0;                                                                                      \
        for (uint32_t row = 0; row < block.rows; row++) before((sluice_message){&block, row}, &edits);      \
        return sluice_answered(sluice_edits_bytes(&edits));                                                 \
    }                                                                                                       \
    SLUICE_EXPORT(after_name) void sluice_after(const uint8_t *at, uint32_t len) {                          \
        sluice_block block = sluice_block_of(at, len);                                                      \
        for (uint32_t row = 0; row < block.rows; row++) after((sluice_message){&block, row});               \
        sluice_over = true;                                                                                 \
    }

/* void before_send(sluice_message, sluice_edits *)
 * void after_send(sluice_message) */
#define SLUICE_SEND_HOOK(configure, before_send, after_send) \
    SLUICE_HOOK(configure, "before-send", before_send, "after-send", after_send)

/* void before_deliver(sluice_message, sluice_edits *)
 * void after_consume(sluice_message) */
#define SLUICE_CONSUME_HOOK(configure, before_deliver, after_consume) \
    SLUICE_HOOK(configure, "before-deliver", before_deliver, "after-consume", after_consume)
#endif /* __wasm__ */

#endif
