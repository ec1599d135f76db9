package sluice.interop;

import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.attribute.TopicMessageType;
import org.apache.rocketmq.common.message.Message;

/** Topic attributes and message types, which 4.x does not have. */
final class TopicTypeScenarios {
    private TopicTypeScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("topic_types", TopicTypeScenarios::types);
        all.put("topic_attribute_changes", TopicTypeScenarios::changes);
        all.put("topic_attribute_refusals", TopicTypeScenarios::refusals);
    }

    private static TopicConfig config(String topic, String... changes) {
        var config = new TopicConfig(topic);
        config.setReadQueueNums(2);
        config.setWriteQueueNums(2);
        var attributes = new HashMap<String, String>();
        for (String change : changes) {
            String[] parts = change.split("=", 2);
            attributes.put(parts[0], parts.length == 1 ? "" : parts[1]);
        }
        config.setAttributes(attributes);
        return config;
    }

    /** Each type is kept, and messages of any type may be sent: only the proxy compares them. */
    private static void types(Scene s) throws Exception {
        var producer = s.producer();
        for (var type : new TopicMessageType[] {TopicMessageType.NORMAL, TopicMessageType.FIFO, TopicMessageType.DELAY, TopicMessageType.TRANSACTION}) {
            String topic = s.name(type.getValue());
            s.admin.createAndUpdateTopicConfig(s.broker(), config(topic, "+message.type=" + type.getValue()));
            var stored = s.admin.examineTopicConfig(s.broker(), topic);
            Scene.same("type", type, stored.getTopicMessageType());
            Scene.same("attributes", Map.of("message.type", type.getValue()), stored.getAttributes());
            var all = s.admin.getAllTopicConfig(s.broker(), 5_000).getTopicConfigTable();
            Scene.same("type in the table", type, all.get(topic).getTopicMessageType());
            Scene.until("route", Scene.SOON, () -> !s.admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
            Scene.sendOk(producer.send(new Message(topic, Scene.bytes("plain"))));
        }
    }

    private static void changes(Scene s) throws Exception {
        String topic = s.name("t");
        s.admin.createAndUpdateTopicConfig(s.broker(), config(topic, "+message.type=FIFO", "+queue.type=SimpleCQ"));
        s.admin.createAndUpdateTopicConfig(s.broker(), config(topic, "+message.type=NORMAL", "+reserve.time=-1"));
        Scene.same("changed", Map.of("message.type", "NORMAL", "queue.type", "SimpleCQ", "reserve.time", "-1"),
                s.admin.examineTopicConfig(s.broker(), topic).getAttributes());
        s.admin.createAndUpdateTopicConfig(s.broker(), config(topic, "-message.type", "-reserve.time"));
        Scene.same("removed", Map.of("queue.type", "SimpleCQ"), s.admin.examineTopicConfig(s.broker(), topic).getAttributes());
    }

    private static void refusals(Scene s) throws Exception {
        String topic = s.name("t");
        refused(s, 29, "MIXED message type is not supported.", config(topic, "+message.type=MIXED"));
        refused(s, 1, "value is not in set: [UNSPECIFIED, TRANSACTION, FIFO, MIXED, DELAY, NORMAL]", config(topic, "+message.type=LOUD"));
        refused(s, 1, "value is not in set: [SimpleCQ, BatchCQ]", config(topic, "+queue.type=Round"));
        refused(s, 1, "value is not in set: [DELETE, COMPACTION]", config(topic, "+cleanup.policy=Burn"));
        refused(s, 1, "unsupported key: colour", config(topic, "+colour=red"));
        refused(s, 1, "value is not in range(-1, 9223372036854775807)", config(topic, "+reserve.time=-2"));
        refused(s, 1, "For input string: \"long\"", config(topic, "+reserve.time=long"));
        refused(s, 1, "only add attribute is supported while creating topic. key: message.type", config(topic, "-message.type"));
        refused(s, 1, "add/alter attribute format is wrong: message.type", config(topic, "message.type=FIFO"));
        refused(s, 1, "delete attribute format is wrong: message.type", config(topic, "message.type"));
        s.admin.createAndUpdateTopicConfig(s.broker(), config(topic, "+message.type=FIFO", "+queue.type=SimpleCQ"));
        refused(s, 1, "attempt to update an unchangeable attribute. key: queue.type", config(topic, "+queue.type=SimpleCQ"));
        refused(s, 1, "attempt to delete a nonexistent key: reserve.time", config(topic, "-reserve.time"));
        refused(s, 1, "alter duplication key. key: message.type", config(topic, "+message.type=NORMAL", "-message.type"));
        Scene.same("nothing has changed", Map.of("message.type", "FIFO", "queue.type", "SimpleCQ"),
                s.admin.examineTopicConfig(s.broker(), topic).getAttributes());
    }

    private static void refused(Scene s, int code, String words, TopicConfig config) throws Exception {
        try {
            s.admin.createAndUpdateTopicConfig(s.broker(), config);
        } catch (Exception e) {
            Scene.same("code for " + config.getAttributes(), code, code(e));
            Scene.check("words for " + config.getAttributes() + ": " + e.getMessage(), e.getMessage().contains(words));
            return;
        }
        throw new AssertionError(config.getAttributes() + " was taken");
    }

    private static int code(Exception e) {
        if (e instanceof MQBrokerException refusal) {
            return refusal.getResponseCode();
        }
        return ((org.apache.rocketmq.client.exception.MQClientException) e).getResponseCode();
    }
}
