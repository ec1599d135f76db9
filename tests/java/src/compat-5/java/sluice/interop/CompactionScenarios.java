package sluice.interop;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** Topics whose messages are kept by their last key. */
final class CompactionScenarios {
    private CompactionScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("compaction_topic", CompactionScenarios::topic);
    }

    private static TopicConfig config(String topic) {
        var config = new TopicConfig(topic);
        config.setReadQueueNums(1);
        config.setWriteQueueNums(1);
        config.setAttributes(new HashMap<>(Map.of("+cleanup.policy", "COMPACTION")));
        return config;
    }

    private static void topic(Scene s) throws Exception {
        String topic = s.name("t");
        s.admin.createAndUpdateTopicConfig(s.broker(), config(topic));
        Scene.same("attributes", Map.of("cleanup.policy", "COMPACTION"), s.admin.examineTopicConfig(s.broker(), topic).getAttributes());
        Scene.until("route", Scene.SOON, () -> !s.admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
        var producer = s.producer();
        refused(producer, new Message(topic, "TagA", Scene.bytes("no key")));
        refused(producer, new Message(topic, "TagA", " ", Scene.bytes("a blank key")));
        var sent = new HashMap<String, String>();
        List<String> ofB = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            String tag = i % 3 == 0 ? "TagB" : "TagA";
            String key = "k" + i % 5;
            Scene.sendOk(producer.send(new Message(topic, tag, key, Scene.bytes("v" + i))));
            sent.put(key, "v" + i);
            if (tag.equals("TagB")) {
                ofB.add("v" + i);
            }
        }
        var queue = Scene.onlyQueue(producer, topic);
        Scene.same("max", 12L, s.admin.maxOffset(queue));
        Scene.same("min", 0L, s.admin.minOffset(queue));
        Scene.same("values", sent, values(s, queue));
        var inbox = new Inbox();
        s.retryTopic(s.name("g"));
        s.collecting(s.name("g"), topic, "TagB", inbox).start();
        Scene.until("messages of TagB", Scene.SOON, () -> inbox.bodies().containsAll(ofB));
        Scene.sameBodies(ofB, inbox.bodies());
        try {
            s.admin.createAndUpdateTopicConfig(s.broker(), config(topic));
        } catch (MQBrokerException | MQClientException e) {
            Scene.check(e.getMessage(), e.getMessage().contains("attempt to update an unchangeable attribute. key: cleanup.policy"));
            return;
        }
        throw new AssertionError("the attribute was set again");
    }

    /** What the queue holds for each key, read from its beginning. */
    private static Map<String, String> values(Scene s, MessageQueue queue) throws Exception {
        var consumer = s.litePull(s.name("reader"));
        consumer.start();
        consumer.assign(Set.of(queue));
        consumer.seekToBegin(queue);
        var values = new HashMap<String, String>();
        Scene.until("the last value", Scene.SOON, () -> {
            consumer.poll(200).forEach(m -> values.put(m.getKeys(), Scene.text(m)));
            return values.containsValue("v11");
        });
        return values;
    }

    private static void refused(DefaultMQProducer producer, Message message) throws Exception {
        try {
            producer.send(message);
        } catch (MQBrokerException e) {
            Scene.same("code", 13, e.getResponseCode());
            Scene.check(e.getErrorMessage(), e.getErrorMessage().contains("Required message key is missing"));
            return;
        }
        throw new AssertionError("a message without a key was taken");
    }
}
