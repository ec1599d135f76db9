package sluice.interop;

import java.util.Map;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** Subscriptions by SQL92, wherever messages leave. */
final class FilterScenarios {
    private static final String SQL = "region = 'eu' AND amount > 100";

    private FilterScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("sql_push", FilterScenarios::push);
        all.put("sql_lite_pull", FilterScenarios::litePull);
        all.put("sql_pull", FilterScenarios::pull);
        all.put("sql_wake", FilterScenarios::wake);
        all.put("sql_refused", FilterScenarios::refused);
    }

    /** Amounts 90, 91, ... in turn from eu and us; the bodies that the expression passes. */
    private static TreeSet<String> send(DefaultMQProducer producer, String topic, int count) throws Exception {
        var passing = new TreeSet<String>();
        for (int i = 0; i < count; i++) {
            int amount = 90 + i;
            String region = i % 2 == 0 ? "eu" : "us";
            var message = new Message(topic, "T", Scene.bytes(region + amount));
            message.putUserProperty("region", region);
            message.putUserProperty("amount", Integer.toString(amount));
            Scene.sendOk(producer.send(message));
            if (region.equals("eu") && amount > 100) {
                passing.add(region + amount);
            }
        }
        return passing;
    }

    private static void push(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        var consumer = s.consumer(s.name("g"));
        consumer.subscribe(topic, MessageSelector.bySql(SQL));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        var passing = send(s.producer(), topic, 40);
        inbox.awaitBodies(passing, Scene.SOON);
        Scene.sameBodies(passing, inbox.bodies());
    }

    private static void litePull(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var passing = send(s.producer(), topic, 40);
        var consumer = s.litePull(s.name("g"));
        consumer.subscribe(topic, MessageSelector.bySql(SQL));
        consumer.start();
        var inbox = new Inbox();
        Scene.until(passing.size() + " messages", Scene.SOON, () -> {
            inbox.add(consumer.poll(500));
            return inbox.bodies().size() >= passing.size();
        });
        Scene.sameBodies(passing, inbox.bodies());
    }

    private static void pull(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        var passing = send(producer, topic, 40);
        var consumer = s.pullConsumer(s.name("g"));
        var queue = Scene.onlyQueue(producer, topic);
        var got = new TreeSet<String>();
        // The client learns from its first heartbeat, a second after its start, that the broker knows SQL92.
        Scene.until("the broker's version", Scene.SOON, () -> {
            try {
                return consumer.pull(queue, MessageSelector.bySql(SQL), 0, 1) != null;
            } catch (MQClientException e) {
                return false;
            }
        });
        long offset = 0;
        while (offset < 40) {
            var result = consumer.pull(queue, MessageSelector.bySql(SQL), offset, 32);
            if (result.getMsgFoundList() != null) {
                result.getMsgFoundList().forEach(m -> got.add(Scene.text(m)));
            }
            offset = result.getNextBeginOffset();
        }
        Scene.same("bodies", passing, got);
    }

    /** A held pull is woken by a message that passes, and by no other. */
    private static void wake(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        var consumer = s.consumer(s.name("g"));
        consumer.subscribe(topic, MessageSelector.bySql(SQL));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Scene.awaitHeld(consumer, topic, 1);
        var producer = s.producer();
        send(producer, topic, 10);
        Thread.sleep(1000);
        var message = new Message(topic, "T", Scene.bytes("late"));
        message.putUserProperty("region", "eu");
        message.putUserProperty("amount", "1000");
        Scene.sendOk(producer.send(message));
        inbox.await("late message", Scene.WAKE, got -> !got.isEmpty());
        Scene.sameBodies(new TreeSet<>(java.util.Set.of("late")), inbox.bodies());
    }

    /** What can't work is said when the consumer starts. */
    private static void refused(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        for (String sql : new String[] {"amount > '5'", "amount >", "region != 'eu'", "amount = NULL"}) {
            var consumer = s.consumer(s.name("g"));
            consumer.subscribe(topic, MessageSelector.bySql(sql));
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
            try {
                consumer.start();
            } catch (MQClientException e) {
                Scene.same("code of " + sql, 23, e.getResponseCode());
                continue;
            }
            throw new AssertionError(sql + " was taken");
        }
    }
}
