/* What the header's structs measure, for comparison with the Rust side's. */
#include "sluice_native.h"

const uint32_t *sluice_layout(void) {
    static const uint32_t layout[] = {
        sizeof(sluice_text), offsetof(sluice_text, len),
        sizeof(sluice_native_host), offsetof(sluice_native_host, context),
        offsetof(sluice_native_host, log), offsetof(sluice_native_host, kv_delete),
        sizeof(sluice_native_binding), offsetof(sluice_native_binding, expression),
        offsetof(sluice_native_binding, binding.params), offsetof(sluice_native_binding, binding.params_len),
        sizeof(sluice_native_needs), offsetof(sluice_native_needs, properties_len), offsetof(sluice_native_needs, pure),
        sizeof(sluice_native_plugin), offsetof(sluice_native_plugin, configure),
        offsetof(sluice_native_plugin, call_block), offsetof(sluice_native_plugin, after_consume),
        offsetof(sluice_native_plugin, destroy),
    };
    return layout;
}
