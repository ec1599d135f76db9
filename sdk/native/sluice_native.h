/* A native Sluice plugin: a shared library with one exported function, `sluice_plugin_v1`.
 *
 * It gets and gives the same packed bytes as a WASM plugin (sdk/wit/plugin.wit says how they are laid
 * out; sluice_plugin.h reads them), but runs inside the broker, unguarded: an endless loop, a crash or
 * a wild pointer is the broker's. Nothing may unwind or jump out of a function of the table. The
 * broker takes libraries only from the folder that its operator names, and never unloads one.
 *
 * What a plugin keeps belongs into its instances, not into globals: the broker makes several, and
 * calls each from one thread at a time, which need not be the same each time.
 */
#ifndef SLUICE_NATIVE_H
#define SLUICE_NATIVE_H

#include "sluice_plugin.h" /* sluice_text and the block's reader */

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_NATIVE_ABI 1

/* Answers of the table's functions. Any but SLUICE_OK, and SLUICE_REFUSED of `configure`, counts as a
 * failure of the rows at hand; the binding's policy decides. */
enum {
    SLUICE_OK = 0,
    SLUICE_REFUSED = 1,   /* configure, kv: the text says why */
    SLUICE_CALL_FAILED = 2, /* this call failed; the instance can go on */
    SLUICE_MALFORMED = 3, /* the block can't be read */
    SLUICE_BROKEN = 4,    /* the instance can't go on: the broker destroys it */
    SLUICE_NONE = 5,      /* the broker: no such property or key */
    SLUICE_UNEQUAL = 6,   /* kv_compare_and_set: another value is there, nothing was set */
};

typedef enum {
    SLUICE_KIND_FILTER = 1,
    SLUICE_KIND_LANGUAGE = 2,
    SLUICE_KIND_FUNCTION = 3,
    SLUICE_KIND_SEND_HOOK = 4,
    SLUICE_KIND_CONSUME_HOOK = 5,
} sluice_kind;

/* What the broker does for a plugin: to be called during a call of the table, on its thread only, with
 * `context` as the first argument. What `answer` points to is the broker's and good until the next
 * call of this table. Entries beyond `struct_size` are not there. */
typedef struct {
    uint32_t abi_version;
    uint32_t struct_size;
    void *context;
    void (*log)(void *context, uint32_t level, sluice_text message); /* a sluice_level */
    uint64_t (*now)(void *context);
    void (*counter_add)(void *context, sluice_text name, uint64_t delta);
    int32_t (*body)(void *context, uint32_t row, sluice_text *answer);
    int32_t (*property)(void *context, uint32_t row, sluice_text name, sluice_text *answer);
    /* By grant: without it they answer SLUICE_REFUSED. */
    int32_t (*kv_get)(void *context, sluice_text key, sluice_text *answer);
    int32_t (*kv_set)(void *context, sluice_text key, sluice_text value, uint64_t ttl_ms, sluice_text *error);
    /* `old.at` NULL: the key must be absent. */
    int32_t (*kv_compare_and_set)(void *context, sluice_text key, sluice_text old, sluice_text fresh, uint64_t ttl_ms, sluice_text *error);
    int32_t (*kv_delete)(void *context, sluice_text key, sluice_text *error);
} sluice_native_host;

/* What an instance is made for. The broker's, during `configure` only. */
typedef struct {
    uint32_t struct_size;
    uint32_t arguments;     /* functions: how many the expression has */
    sluice_text expression; /* languages */
    sluice_binding binding;
} sluice_native_binding;

/* What an instance wants to see. The plugin's, good until the instance is destroyed. */
typedef struct {
    const sluice_text *properties;
    uint32_t properties_len;
    uint32_t fields;
    uint32_t body; /* 0 or 1, as `pure` */
    uint32_t pure;
} sluice_native_needs;

/* Called with a block; what `answer` is set to is the plugin's and good until the instance's next call. */
typedef int32_t sluice_native_call(void *instance, const sluice_native_host *host, sluice_text block, sluice_text *answer);
/* Shown a block. */
typedef int32_t sluice_native_see(void *instance, const sluice_native_host *host, sluice_text block);

/* The plugin: entries that its kind does not have are NULL. */
typedef struct {
    uint32_t abi_version; /* SLUICE_NATIVE_ABI */
    uint32_t struct_size; /* sizeof of this struct */
    uint32_t kind;
    uint32_t reserved; /* 0 */
    /* Makes an instance. SLUICE_REFUSED sets `error`, which is the plugin's and good until the next
     * call of `configure` on this thread. */
    int32_t (*configure)(const sluice_native_host *host, const sluice_native_binding *binding, void **instance, sluice_native_needs *needs, sluice_text *error);
    sluice_native_call *filter_block; /* filters, languages: one verdict a row */
    sluice_native_call *call_block;   /* functions: one value of 16 bytes a row */
    sluice_native_call *before_send;  /* edits, as all hooks before the act */
    sluice_native_see *after_send;
    sluice_native_call *before_deliver;
    sluice_native_see *after_consume;
    void (*destroy)(void *instance);
} sluice_native_plugin;

#if defined(_WIN32)
#define SLUICE_NATIVE_EXPORT __declspec(dllexport)
#else
#define SLUICE_NATIVE_EXPORT __attribute__((visibility("default")))
#endif

/* The one exported function: the table, which lives as long as the library. Asked once. */
SLUICE_NATIVE_EXPORT const sluice_native_plugin *sluice_plugin_v1(void);

#ifdef __cplusplus
}
#endif

#endif
