package sluice.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;

/** Orderly consumption: queue locks, suspension, commit and rollback by hand. */
@SuppressWarnings("deprecation") // COMMIT and ROLLBACK are deprecated, and in use.
final class OrderlyScenarios {
    private OrderlyScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("orderly", OrderlyScenarios::orderly);
        all.put("orderly_two_consumers", OrderlyScenarios::twoConsumers);
        all.put("orderly_suspend", OrderlyScenarios::suspend);
        all.put("orderly_commit", OrderlyScenarios::commit);
        all.put("orderly_rollback", OrderlyScenarios::rollback);
    }

    private static DefaultMQPushConsumer orderly(Scene s, String topic, MessageListenerOrderly listener) throws Exception {
        var consumer = s.consumer(s.name("g"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        return consumer;
    }

    private static DefaultMQPushConsumer collecting(Scene s, String topic, Inbox inbox) throws Exception {
        return orderly(s, topic, (messages, context) -> {
            inbox.add(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
    }

    private static List<String> ofQueue(Inbox inbox, int queue) {
        return inbox.all().stream().filter(m -> m.getQueueId() == queue).map(Scene::text).toList();
    }

    private static void orderly(Scene s) throws Exception {
        String topic = s.topic("t", 3);
        var inbox = new Inbox();
        collecting(s, topic, inbox).start();
        var producer = s.producer();
        var expected = new ArrayList<List<String>>();
        for (var queue : producer.fetchPublishMessageQueues(topic)) {
            expected.add(Scene.sendTo(producer, queue, "q" + queue.getQueueId(), 20));
        }
        inbox.await("60 messages", Scene.SOON, got -> got.size() >= 60);
        for (int queue = 0; queue < 3; queue++) {
            Scene.same("order in queue " + queue, expected.get(queue), ofQueue(inbox, queue));
        }
    }

    /** A second orderly consumer gets its share: the first gives up its locks. */
    private static void twoConsumers(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var inbox = new Inbox();
        var first = collecting(s, topic, inbox);
        first.start();
        Scene.awaitHeld(first, topic, 4);
        var second = collecting(s, topic, inbox);
        second.start();
        Scene.awaitHeld(first, topic, 2, Scene.LONG);
        Scene.awaitHeld(second, topic, 2, Scene.LONG);
        var producer = s.producer();
        inbox.awaitBodies(Scene.send(producer, topic, "", "shared", 16), Scene.SOON);
        first.shutdown();
        Scene.awaitHeld(second, topic, 4, Scene.LONG);
        inbox.awaitBodies(Scene.send(producer, topic, "", "alone", 16), Scene.SOON);
    }

    private static void suspend(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        var refused = new AtomicBoolean();
        orderly(s, topic, (messages, context) -> {
            inbox.add(messages);
            if (Scene.text(messages.get(0)).equals("m-2") && refused.compareAndSet(false, true)) {
                context.setSuspendCurrentQueueTimeMillis(100);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            return ConsumeOrderlyStatus.SUCCESS;
        }).start();
        var producer = s.producer();
        Scene.sendTo(producer, Scene.onlyQueue(producer, topic), "m", 5);
        inbox.await("6 deliveries", Scene.SOON, got -> got.size() >= 6);
        Scene.same("deliveries", List.of("m-0", "m-1", "m-2", "m-2", "m-3", "m-4"), inbox.bodies());
    }

    /** What was consumed after the last COMMIT comes again to the next consumer. */
    private static void commit(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        var consumer = orderly(s, topic, (messages, context) -> {
            context.setAutoCommit(false);
            inbox.add(messages);
            return Scene.text(messages.get(0)).equals("m-2") ? ConsumeOrderlyStatus.COMMIT : ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        var producer = s.producer();
        var queue = Scene.onlyQueue(producer, topic);
        var bodies = Scene.sendTo(producer, queue, "m", 5);
        inbox.await("5 messages", Scene.SOON, got -> got.size() >= 5);
        Scene.same("order", bodies, inbox.bodies());
        consumer.shutdown();
        Scene.until("committed offset 3", Scene.SOON, () -> committed(s, topic) == 3);
        var rest = new Inbox();
        collecting(s, topic, rest).start();
        rest.await("the uncommitted two", Scene.SOON, got -> got.size() >= 2);
        Scene.same("uncommitted", List.of("m-3", "m-4"), rest.bodies());
    }

    private static long committed(Scene s, String topic) throws Exception {
        var table = s.admin.examineConsumeStats(s.name("g"), topic).getOffsetTable();
        return table.values().iterator().next().getConsumerOffset();
    }

    private static void rollback(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        var rolledBack = new AtomicBoolean();
        orderly(s, topic, (messages, context) -> {
            context.setAutoCommit(false);
            context.setSuspendCurrentQueueTimeMillis(100);
            inbox.add(messages);
            if (!Scene.text(messages.get(0)).equals("m-2")) {
                return ConsumeOrderlyStatus.SUCCESS;
            }
            return rolledBack.compareAndSet(false, true) ? ConsumeOrderlyStatus.ROLLBACK : ConsumeOrderlyStatus.COMMIT;
        }).start();
        var producer = s.producer();
        Scene.sendTo(producer, Scene.onlyQueue(producer, topic), "m", 3);
        inbox.await("6 deliveries", Scene.SOON, got -> got.size() >= 6);
        Scene.same("deliveries", List.of("m-0", "m-1", "m-2", "m-0", "m-1", "m-2"), inbox.bodies());
    }
}
