package sluice.interop;

import java.text.SimpleDateFormat;
import java.util.Date;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Where a consumer begins, and how an operator moves it. */
final class OffsetScenarios {
    private OffsetScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("reset_by_time_offline", OffsetScenarios::resetOffline);
        all.put("consume_from_first", OffsetScenarios::fromFirst);
        all.put("consume_from_last", OffsetScenarios::fromLast);
        all.put("consume_from_last_young_topic", OffsetScenarios::fromLastYoungTopic);
        all.put("consume_from_timestamp", OffsetScenarios::fromTimestamp);
        all.put("search_offset", OffsetScenarios::searchOffset);
    }

    /** A broadcasting consumer without a local offset file asks the broker where to begin. */
    private static Set<String> begins(Scene s, ConsumeFromWhere where, long timestamp, Set<String> expectedOld, String topic) throws Exception {
        var inbox = new Inbox();
        var consumer = s.collecting(s.name("g-" + where), topic, "*", inbox);
        Compat.broadcast(consumer);
        consumer.setConsumeFromWhere(where);
        consumer.setConsumeTimestamp(new SimpleDateFormat("yyyyMMddHHmmss").format(new Date(timestamp)));
        consumer.start();
        Scene.awaitHeld(consumer, topic, 2);
        var expected = new TreeSet<>(expectedOld);
        expected.addAll(Scene.send(s.producer(), topic, "", "new-" + where, 4));
        inbox.awaitBodies(expected, Scene.SOON);
        Scene.sameBodies(expected, inbox.bodies());
        return expected;
    }

    private static void fromFirst(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var old = Scene.send(s.producer(), topic, "", "old", 8);
        begins(s, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, 0, old, topic);
    }

    private static void fromLast(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        Scene.send(s.producer(), topic, "", "old", 8);
        begins(s, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, 0, Set.of(), topic);
    }

    /** A new clustering group on a topic whose first message is young reads it whole. */
    private static void fromLastYoungTopic(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var old = Scene.send(s.producer(), topic, "", "old", 8);
        var inbox = new Inbox();
        var consumer = s.collecting(s.name("g"), topic, "*", inbox);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.start();
        inbox.awaitBodies(old, Scene.SOON);
        Scene.sameBodies(old, inbox.bodies());
    }

    private static void fromTimestamp(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        Scene.send(producer, topic, "", "early", 8);
        long between = Scene.nextSecond();
        var late = Scene.send(producer, topic, "", "late", 8);
        begins(s, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP, between, late, topic);
    }

    private static void searchOffset(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        var queue = Scene.onlyQueue(producer, topic);
        long start = System.currentTimeMillis();
        Scene.sendTo(producer, queue, "early", 5);
        long between = Scene.nextSecond();
        Scene.sendTo(producer, queue, "late", 5);
        Scene.same("before the first", 0L, producer.searchOffset(queue, start - 60_000));
        Scene.same("between", 5L, producer.searchOffset(queue, between));
        Scene.same("min", 0L, producer.minOffset(queue));
        Scene.same("max", 10L, producer.maxOffset(queue));
        Scene.check("earliest store time", Math.abs(producer.earliestMsgStoreTime(queue) - start) < 60_000);
        Scene.nextSecond();
        Scene.same("after the last", 10L, producer.searchOffset(queue, System.currentTimeMillis()));
    }

    /** The command moves a running consumer back; it consumes the later half again. */
    static void resetOnline(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        Scene.send(producer, topic, "", "early", 8);
        long between = Scene.nextSecond();
        var late = Scene.send(producer, topic, "", "late", 8);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        inbox.await("all messages", Scene.SOON, got -> got.size() >= 16);
        var moved = s.admin.resetOffsetByTimestamp(topic, s.name("g"), between, true);
        Scene.same("queues moved", 2, moved.size());
        inbox.await("the later half again", Scene.LONG, got -> late.stream().allMatch(body -> times(got, body) >= 2));
        Scene.same("early-0 came", 1L, times(inbox.all(), "early-0"));
    }

    private static long times(java.util.List<MessageExt> messages, String body) {
        return messages.stream().filter(m -> Scene.text(m).equals(body)).count();
    }

    private static void resetOffline(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        Scene.send(producer, topic, "", "early", 8);
        long between = Scene.nextSecond();
        var late = Scene.send(producer, topic, "", "late", 8);
        var first = new Inbox();
        var consumer = s.collecting(s.name("g"), topic, "*", first);
        consumer.start();
        first.await("all messages", Scene.SOON, got -> got.size() >= 16);
        Scene.awaitDrained(consumer, topic);
        consumer.shutdown();
        Scene.until("the consumer gone", Scene.SOON, () -> offline(s));
        s.admin.resetOffsetByTimestampOld(s.name("g"), topic, between, true);
        var again = new Inbox();
        s.collecting(s.name("g"), topic, "*", again).start();
        again.awaitBodies(late, Scene.SOON);
        Scene.sameBodies(late, again.bodies());
    }

    private static boolean offline(Scene s) {
        try {
            s.admin.examineConsumerConnectionInfo(s.name("g"));
            return false;
        } catch (Exception e) {
            return true;
        }
    }
}
