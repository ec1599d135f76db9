package sluice.interop;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** What operators' programs ask the admin client about messages, consumers and topics, and the values they get. */
final class AdminExtScenarios {
    private AdminExtScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("admin_ext_topics", AdminExtScenarios::topics);
        all.put("admin_ext_messages", AdminExtScenarios::messages);
        all.put("admin_ext_consumers", AdminExtScenarios::consumers);
        all.put("admin_ext_offsets", AdminExtScenarios::offsets);
    }

    private static void topics(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var admin = s.admin;
        var producer = s.producer();
        MessageQueue queue = Scene.onlyQueue(producer, topic);
        Scene.sendTo(producer, queue, "m", 3);
        Scene.until("3 messages", Scene.SOON, () -> admin.maxOffset(queue) == 3);
        Scene.same("offset of long ago", 0L, admin.searchOffset(queue, 1));
        Scene.same("offset of later", 3L, admin.searchOffset(queue, System.currentTimeMillis() + 60_000));
        Scene.same("first offset", 0L, admin.minOffset(queue));
        Scene.check("time of the first message", admin.earliestMsgStoreTime(queue) > 0);
        Scene.same("last offset in the statistics", 3L, admin.examineTopicStats(topic).getOffsetTable().get(queue).getMaxOffset());
        Scene.check("not in its cluster", admin.fetchTopicsByCLuster(s.cluster()).getTopicList().contains(topic));
        Scene.same("clusters", Set.of(s.cluster()), admin.getTopicClusterList(topic));
        admin.createOrUpdateOrderConf(topic, "broker-a:1", true);
        admin.createOrUpdateOrderConf(topic, "broker-b:2", false);
        String ordered = admin.getKVConfig("ORDER_TOPIC_CONFIG", topic);
        Scene.same("brokers that keep an order", Set.of("broker-a:1", "broker-b:2"), Set.of(ordered.split(";")));
        Scene.same("the same in the namespace", ordered, admin.getKVListByNamespace("ORDER_TOPIC_CONFIG").getTable().get(topic));
        admin.deleteKvConfig("ORDER_TOPIC_CONFIG", topic);
        Scene.check("queues cleaned", admin.cleanExpiredConsumerQueue(s.cluster()));
        Scene.check("topics cleaned", admin.cleanUnusedTopic(s.cluster()));
        Scene.check("log cleaned", admin.deleteExpiredCommitLog(s.cluster()));
        Scene.same("messages after cleaning", 3L, admin.maxOffset(queue) - admin.minOffset(queue));
    }

    private static void messages(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String group = s.name("g");
        var inbox = new Inbox();
        var consumer = s.collecting(group, topic, "TagA", inbox);
        consumer.start();
        var sent = Scene.sendOk(s.producer().send(new Message(topic, "TagA", "key", Scene.bytes("body"))));
        inbox.awaitBodies(Set.of("body"), Scene.SOON);
        Scene.awaitDrained(consumer, topic);
        var message = s.admin.viewMessage(topic, sent.getOffsetMsgId());
        Scene.same("body", "body", Scene.text(message));
        Scene.same("tag", "TagA", message.getTags());
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        Scene.until("a track that says consumed", Scene.SOON, () -> tracks(s, topic, sent.getOffsetMsgId()).contains(group + " CONSUMED"));
        var units = s.admin.queryConsumeQueue(s.broker(), topic, 0, 0, 10, group);
        Scene.same("bounds", "0 to 1", units.getMinQueueIndex() + " to " + units.getMaxQueueIndex());
        Scene.same("subscription", "TagA", units.getSubscriptionData().getSubString());
        var unit = units.getQueueData().get(0);
        Scene.same("place in the log", message.getCommitLogOffset(), unit.getPhysicOffset());
        Scene.same("size", message.getStoreSize(), unit.getPhysicSize());
        Scene.same("hash of the tag", (long) "TagA".hashCode(), unit.getTagsCode());
        units = s.admin.queryConsumeQueue(s.broker(), topic, 0, 0, 10, "nobody");
        Scene.same("of a group that is not there", "nobody@" + topic + " is not online!", units.getFilterData());
    }

    private static List<String> tracks(Scene s, String topic, String id) throws Exception {
        var tracks = s.admin.messageTrackDetail(s.admin.viewMessage(topic, id));
        return tracks.stream().map(track -> track.getConsumerGroup() + " " + track.getTrackType()).toList();
    }

    /** What a consumer says of itself, and what comes of a message that it is told to consume. */
    private static void consumers(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        String group = s.name("g");
        var inbox = new Inbox();
        Compat.putGroup(s.admin, s.broker(), group, 1);
        s.retryTopic(group);
        DefaultMQPushConsumer consumer = s.consumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return switch (String.valueOf(messages.get(0).getTags())) {
                case "later" -> ConsumeConcurrentlyStatus.RECONSUME_LATER;
                case "throw" -> throw new IllegalStateException("no");
                default -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            };
        });
        consumer.start();
        Scene.awaitHeld(consumer, topic, 2);
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        var info = s.admin.getConsumerRunningInfo(group, client, true);
        Scene.check("no stacks", info.getJstack().contains("TID: "));
        Scene.same("queues", 2L, info.getMqTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count());
        Scene.check("stacks unasked", s.admin.getConsumerRunningInfo(group, client, false).getJstack() == null);
        refused("The Consumer <" + group + "> <nobody> not online", () -> s.admin.getConsumerRunningInfo(group, "nobody", false));
        var producer = s.producer();
        for (var expected : Map.of("ok", "CR_SUCCESS", "later", "CR_LATER", "throw", "CR_THROW_EXCEPTION").entrySet()) {
            var sent = Scene.sendOk(producer.send(new Message(topic, expected.getKey(), Scene.bytes(expected.getKey()))));
            var result = s.admin.consumeMessageDirectly(group, client, topic, sent.getOffsetMsgId());
            Scene.same("consumed directly", expected.getValue(), result.getConsumeResult().name());
            Scene.check("remark of what was thrown", expected.getKey().equals("throw") == String.valueOf(result.getRemark()).contains("IllegalStateException"));
            refused("The Consumer <" + group + "> <nobody> not online", () -> s.admin.consumeMessageDirectly(group, "nobody", topic, sent.getOffsetMsgId()));
        }
        Scene.until("what it says of its offsets", Scene.SOON, () -> {
            var status = s.admin.getConsumeStatus(topic, group, "");
            return status.keySet().equals(Set.of(client)) && !status.get(client).isEmpty();
        });
        var producers = s.admin.getAllProducerInfo(s.broker()).getData();
        Scene.check("no producers", !producers.isEmpty());
    }

    private static void refused(String remark, Callable<?> call) {
        try {
            call.call();
        } catch (Exception e) {
            // Two kinds of exceptions, which have no more in common.
            Scene.check("refused otherwise: " + e, e.getMessage().contains("CODE: 1 ") && e.getMessage().contains(remark));
            return;
        }
        throw new AssertionError("not refused: " + remark);
    }

    private static void offsets(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String group = s.name("g");
        String other = s.name("other");
        Compat.putGroup(s.admin, s.broker(), group, 1);
        Compat.putGroup(s.admin, s.broker(), other, 1);
        s.retryTopic(group);
        s.retryTopic(other);
        var producer = s.producer();
        MessageQueue queue = Scene.onlyQueue(producer, topic);
        Scene.sendTo(producer, queue, "m", 5);
        Scene.until("5 messages", Scene.SOON, () -> s.admin.maxOffset(queue) == 5);
        s.admin.updateConsumeOffset(s.broker(), group, queue, 2);
        Scene.until("an offset of 2", Scene.SOON, () -> offset(s, group, topic, queue) == 2);
        var span = s.admin.queryConsumeTimeSpan(topic, group).get(0);
        Scene.same("queue of the span", queue, span.getMessageQueue());
        Scene.check("times in order", span.getMinTimeStamp() <= span.getConsumeTimeStamp() && span.getConsumeTimeStamp() <= span.getMaxTimeStamp());
        s.admin.cloneGroupOffset(group, other, topic, true);
        Scene.until("the clone's offset", Scene.SOON, () -> offset(s, other, topic, queue) == 2);
        Scene.same("groups of the topic", Set.of(group, other), Set.copyOf(s.admin.queryTopicConsumeByWho(topic).getGroupList()));
        var offsets = s.admin.resetOffsetByTimestamp(topic, other, 0, true);
        Scene.same("offsets after the reset", Map.of(queue, 0L), offsets);
        Scene.same("the other group's", 2L, offset(s, group, topic, queue));
    }

    private static long offset(Scene s, String group, String topic, MessageQueue queue) throws Exception {
        return s.admin.examineConsumeStats(group, topic).getOffsetTable().get(queue).getConsumerOffset();
    }
}
