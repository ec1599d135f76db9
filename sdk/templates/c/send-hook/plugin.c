/* Refuses messages without an order id, and takes the property `card` off the others. */
#include "sluice_plugin.h"

static uint32_t order_id, card;

static const char *configure(const sluice_binding *binding, sluice_needs *needs) {
    (void)binding;
    order_id = sluice_property(needs, "orderId");
    card = sluice_property(needs, "card");
    return NULL;
}

static void before_send(sluice_message message, sluice_edits *edits) {
    if (!sluice_get(message, order_id).len)
        sluice_reject(edits, message, "the property orderId is missing");
    else if (sluice_get(message, card).at)
        sluice_delete_property(edits, message, "card");
}

static void after_send(sluice_message message) {
    (void)message;
    sluice_counter_add("stored", 1);
}

SLUICE_SEND_HOOK(configure, before_send, after_send)
