package sluice.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.message.MessageRequestMode;

/** Topics with {@code queue.type=BatchCQ}, where a batch is one record; 4.x does not have them. */
final class BatchQueueScenarios {
    private BatchQueueScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("batch_queue", BatchQueueScenarios::batches);
        all.put("batch_queue_push", BatchQueueScenarios::push);
        all.put("batch_queue_pop", BatchQueueScenarios::pop);
        all.put("batch_queue_single", BatchQueueScenarios::single);
        // The Java broker gives these groups nothing: it judges a batch by its own properties, which have no tags.
        all.put("batch_queue_filters", BatchQueueScenarios::filters);
    }

    private static String topic(Scene s) throws Exception {
        String topic = s.name("t");
        var config = new TopicConfig(topic);
        config.setReadQueueNums(1);
        config.setWriteQueueNums(1);
        config.setAttributes(Map.of("+queue.type", "BatchCQ"));
        s.admin.createAndUpdateTopicConfig(s.broker(), config);
        Scene.until("route of " + topic, Scene.SOON, () -> !s.admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
        return topic;
    }

    private static Message message(String topic, String body) {
        var message = new Message(topic, body.substring(0, 1), "key-" + body, Scene.bytes(body));
        message.putUserProperty("n", Integer.toString(body.charAt(1) - '0'));
        return message;
    }

    /** Bodies begin with their tag and a digit. */
    private static List<Message> messages(String topic, String... bodies) {
        var messages = new ArrayList<Message>();
        for (String body : bodies) {
            messages.add(message(topic, body));
        }
        return messages;
    }

    private static List<String> found(PullResult result) {
        var found = new ArrayList<String>();
        for (MessageExt message : result.getMsgFoundList()) {
            found.add(message.getQueueOffset() + " " + Scene.text(message));
        }
        return found;
    }

    private static void awaitMax(Scene s, MessageQueue queue, long max) throws Exception {
        Scene.until("message " + max, Scene.SOON, () -> s.admin.maxOffset(queue) == max);
    }

    private static void batches(Scene s) throws Exception {
        String topic = topic(s);
        Scene.same("attributes", Map.of("queue.type", "BatchCQ"), s.admin.examineTopicConfig(s.broker(), topic).getAttributes());
        DefaultMQProducer producer = s.producer();
        MessageQueue queue = Scene.onlyQueue(producer, topic);
        var consumer = s.pullConsumer(s.name("g"));
        Scene.same("min of an empty queue", -1L, s.admin.minOffset(queue));
        Scene.same("max of an empty queue", 0L, s.admin.maxOffset(queue));
        var empty = consumer.pull(queue, "*", 0, 32);
        Scene.same("status of an empty queue", PullStatus.NO_NEW_MSG, empty.getPullStatus());
        Scene.same("min told by a pull", -1L, empty.getMinOffset());
        var stats = s.admin.examineTopicStats(topic).getOffsetTable().get(queue);
        Scene.same("stats of an empty queue", List.of(0L, 0L), List.of(stats.getMinOffset(), stats.getMaxOffset()));

        var first = Scene.sendOk(producer.send(messages(topic, "a1", "b2", "a3")));
        Scene.same("first offset", 0L, first.getQueueOffset());
        Scene.check("one id: " + first.getMsgId(), !first.getMsgId().contains(",") && !first.getOffsetMsgId().contains(","));
        var second = Scene.sendOk(producer.send(messages(topic, "b4", "c5")));
        Scene.same("second offset", 3L, second.getQueueOffset());
        awaitMax(s, queue, 5);
        Scene.same("min", 0L, s.admin.minOffset(queue));
        Scene.same("offset of an early time", 0L, s.admin.searchOffset(queue, 1));

        var all = consumer.pull(queue, "*", 0, 32);
        Scene.same("all", List.of("0 a1", "1 b2", "2 a3", "3 b4", "4 c5"), found(all));
        Scene.same("next", 5L, all.getNextBeginOffset());
        MessageExt inner = all.getMsgFoundList().get(1);
        Scene.same("tags", "b", inner.getTags());
        Scene.same("keys", "key-b2", inner.getKeys());
        Scene.same("place in the log", all.getMsgFoundList().get(0).getCommitLogOffset(), inner.getCommitLogOffset());
        var some = consumer.pull(queue, "*", 1, 2);
        Scene.same("a batch is whole", List.of("0 a1", "1 b2", "2 a3"), found(some));
        Scene.same("behind it", 3L, some.getNextBeginOffset());

        // By its id, the batch as it was stored.
        MessageExt stored = s.admin.viewMessage(topic, first.getOffsetMsgId());
        Scene.same("messages", "3", stored.getProperty(MessageConst.PROPERTY_INNER_NUM));
        Scene.same("base", "0", stored.getProperty(MessageConst.PROPERTY_INNER_BASE));
        Scene.same("flags", 0xC0, stored.getSysFlag() & 0xC0);
        Scene.same("properties", Set.of("INNER_NUM", "INNER_BASE", "UNIQ_KEY", "CLUSTER", "MSG_REGION", "TRACE_ON", "WAIT"), stored.getProperties().keySet());
        Scene.same("base of the second", "3", s.admin.viewMessage(topic, second.getOffsetMsgId()).getProperty(MessageConst.PROPERTY_INNER_BASE));
        Scene.until("batch by its key", Scene.SOON, () -> "3".equals(s.admin.viewMessage(topic, first.getMsgId()).getProperty(MessageConst.PROPERTY_INNER_NUM)));

        try {
            var config = new TopicConfig(topic);
            config.setAttributes(Map.of("+queue.type", "SimpleCQ"));
            s.admin.createAndUpdateTopicConfig(s.broker(), config);
            Scene.check("the type was changed", false);
        } catch (MQClientException e) {
            Scene.check(e.getErrorMessage(), e.getErrorMessage().contains("attempt to update an unchangeable attribute. key: queue.type"));
        }
    }

    private static void push(Scene s) throws Exception {
        String topic = topic(s);
        String group = s.name("g");
        var inbox = new Inbox();
        var consumer = s.collecting(group, topic, "*", inbox);
        consumer.setAwaitTerminationMillisWhenShutdown(5_000);
        consumer.start();
        DefaultMQProducer producer = s.producer();
        Scene.sendOk(producer.send(messages(topic, "a1", "b2", "a3")));
        Scene.sendOk(producer.send(messages(topic, "b4", "c5")));
        var bodies = Set.of("a1", "b2", "a3", "b4", "c5");
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
        // Else it commits the second batch with its next pull, or ten seconds later if that was sent already.
        consumer.shutdown();
        Scene.until("progress", Scene.SOON, () -> {
            var progress = s.admin.examineConsumeStats(group, topic).getOffsetTable().values().iterator().next();
            return progress.getBrokerOffset() == 5 && progress.getConsumerOffset() == 5;
        });
    }

    /** A pop takes records as they are: its client does not take them apart. */
    private static void pop(Scene s) throws Exception {
        String topic = topic(s);
        String group = s.name("g");
        DefaultMQProducer producer = s.producer();
        MessageQueue queue = Scene.onlyQueue(producer, topic);
        Scene.sendOk(producer.send(messages(topic, "a1", "b2", "a3")));
        Scene.sendOk(producer.send(messages(topic, "b4", "c5")));
        awaitMax(s, queue, 5);
        Compat.putGroup(s.admin, s.broker(), group, 1);
        s.admin.setMessageRequestMode(s.broker(), topic, group, MessageRequestMode.POP, 0, 5_000);
        var inbox = new Inbox();
        var consumer = s.collecting(group, topic, "*", inbox);
        consumer.setClientRebalance(false);
        consumer.start();
        Scene.until("both batches", Scene.SOON, () -> inbox.all().size() == 2);
        var bases = new TreeSet<Long>();
        inbox.all().forEach(message -> bases.add(message.getQueueOffset()));
        Scene.same("bases", Set.of(0L, 3L), bases);
    }

    private static void single(Scene s) throws Exception {
        String topic = topic(s);
        DefaultMQProducer producer = s.producer();
        MessageQueue queue = Scene.onlyQueue(producer, topic);
        Scene.same("first", 0L, Scene.sendOk(producer.send(message(topic, "a1"))).getQueueOffset());
        Scene.same("second", 1L, Scene.sendOk(producer.send(messages(topic, "b2", "b3"))).getQueueOffset());
        Scene.same("third", 3L, Scene.sendOk(producer.send(message(topic, "c4"))).getQueueOffset());
        var consumer = s.pullConsumer(s.name("g"));
        awaitMax(s, queue, 4);
        Scene.same("all", List.of("0 a1", "1 b2", "2 b3", "3 c4"), found(consumer.pull(queue, "*", 0, 32)));
        // What waits elsewhere first comes here in the end.
        var later = message(topic, "d5");
        later.setDelayTimeLevel(1);
        Scene.sendOk(producer.send(later));
        awaitMax(s, queue, 5);
        Scene.same("later", List.of("4 d5"), found(consumer.pull(queue, "*", 4, 32)));
    }

    private static void filters(Scene s) throws Exception {
        String topic = topic(s);
        s.retryTopic(s.name("tags"));
        s.retryTopic(s.name("sql"));
        var tagged = new Inbox();
        s.collecting(s.name("tags"), topic, "b", tagged).start();
        var chosen = new Inbox();
        var sql = s.consumer(s.name("sql"));
        sql.subscribe(topic, MessageSelector.bySql("n >= 3"));
        sql.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            chosen.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        sql.start();
        DefaultMQProducer producer = s.producer();
        Scene.sendOk(producer.send(messages(topic, "a1", "b2", "a3")));
        Scene.sendOk(producer.send(messages(topic, "b4", "c5")));
        tagged.awaitBodies(Set.of("b2", "b4"), 2 * Scene.WAKE);
        chosen.awaitBodies(Set.of("a3", "b4", "c5"), 2 * Scene.WAKE);
        Scene.sameBodies(Set.of("b2", "b4"), tagged.bodies());
        Scene.sameBodies(Set.of("a3", "b4", "c5"), chosen.bodies());
    }
}
