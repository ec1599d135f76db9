package sluice.interop;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Finding stored messages by key, by unique key and by offset id. */
final class QueryScenarios {
    private QueryScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("query_by_key", QueryScenarios::byKey);
        all.put("query_by_unique_key", QueryScenarios::byUniqueKey);
        all.put("view_by_offset_id", QueryScenarios::byOffsetId);
    }

    private static void byKey(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        long begin = System.currentTimeMillis() - 60_000;
        Scene.sendOk(producer.send(new Message(topic, "T", "order-1 customer-9", Scene.bytes("first"))));
        Scene.sendOk(producer.send(new Message(topic, "T", "order-2 customer-9", Scene.bytes("second"))));
        long end = System.currentTimeMillis() + 60_000;
        found(s, topic, "order-1", begin, end, List.of("first"));
        found(s, topic, "order-2", begin, end, List.of("second"));
        found(s, topic, "customer-9", begin, end, List.of("first", "second"));
        try {
            var none = producer.queryMessage(topic, "order-3", 32, begin, end).getMessageList();
            Scene.same("messages of a key never used", 0, none.size());
        } catch (org.apache.rocketmq.client.exception.MQClientException expected) {
            Scene.same("code of a key never used", 208, expected.getResponseCode());
        }
    }

    private static void found(Scene s, String topic, String key, long begin, long end, List<String> expected) throws Exception {
        Scene.until(expected + " by " + key, Scene.SOON, () -> {
            var messages = s.admin.queryMessage(topic, key, 32, begin, end).getMessageList();
            return messages.stream().map(Scene::text).sorted().toList().equals(expected);
        });
    }

    private static void byUniqueKey(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        var sent = Scene.sendOk(producer.send(new Message(topic, "T", "k", Scene.bytes("unique"))));
        Scene.sendOk(producer.send(new Message(topic, "T", "k", Scene.bytes("another"))));
        Scene.until("message " + sent.getMsgId(), Scene.SOON,
                () -> Scene.text(producer.viewMessage(topic, sent.getMsgId())).equals("unique"));
    }

    private static void byOffsetId(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        var message = new Message(topic, "Tag", "key", Scene.bytes("by offset"));
        message.putUserProperty("colour", "blue");
        var sent = Scene.sendOk(producer.send(message));
        MessageExt got = producer.viewMessage(topic, sent.getOffsetMsgId());
        Scene.same("body", "by offset", Scene.text(got));
        Scene.same("tag", "Tag", got.getTags());
        Scene.same("property", "blue", got.getUserProperty("colour"));
        Scene.same("queue", sent.getMessageQueue().getQueueId(), got.getQueueId());
        Scene.same("queue offset", sent.getQueueOffset(), got.getQueueOffset());
    }
}
