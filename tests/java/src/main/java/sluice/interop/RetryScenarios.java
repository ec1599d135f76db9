package sluice.interop;

import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** What comes back: delayed messages, retries, dead letters. */
final class RetryScenarios {
    private RetryScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("delay_level", RetryScenarios::delayLevel);
        all.put("retry_default_schedule", RetryScenarios::defaultSchedule);
        all.put("retry_chosen_level", RetryScenarios::chosenLevel);
        all.put("retry_to_dead_letters", RetryScenarios::deadLetters);
        all.put("retry_given_up", RetryScenarios::givenUp);
        all.put("retry_orderly_to_dead_letters", RetryScenarios::orderlyDeadLetters);
    }

    /** A message with a level comes after its delay and not before, with its properties. */
    private static void delayLevel(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var message = new Message(topic, "late", "k1", Scene.bytes("in 5 s"));
        message.setDelayTimeLevel(2);
        message.putUserProperty("colour", "red");
        var producer = s.producer();
        long sent = System.currentTimeMillis();
        producer.send(message);
        producer.send(new Message(topic, Scene.bytes("at once")));
        inbox.await("both messages", Scene.SOON, got -> got.size() == 2);
        MessageExt late = inbox.all().stream().filter(m -> Scene.text(m).equals("in 5 s")).findFirst().orElseThrow();
        if (late.getStoreTimestamp() - sent < 5_000) {
            throw new AssertionError("stored after " + (late.getStoreTimestamp() - sent) + " ms");
        }
        Scene.same("tags", "late", late.getTags());
        Scene.same("keys", "k1", late.getKeys());
        Scene.same("property", "red", late.getUserProperty("colour"));
        Scene.same("topic", topic, late.getTopic());
    }

    /** The first retry comes by the level of 10 s. */
    private static void defaultSchedule(Scene s) throws Exception {
        var inbox = new Inbox();
        String topic = s.topic("t", 1);
        failing(s, topic, inbox, 1, 0, -1);
        s.producer().send(new Message(topic, "tag", Scene.bytes("again")));
        inbox.await("the retry", Scene.SOON, got -> got.size() == 2);
        MessageExt first = inbox.all().get(0);
        MessageExt second = inbox.all().get(1);
        Scene.same("reconsume times", 1, second.getReconsumeTimes());
        Scene.same("topic", topic, second.getTopic());
        Scene.same("tags", "tag", second.getTags());
        long after = second.getStoreTimestamp() - first.getStoreTimestamp();
        if (after < 10_000) {
            throw new AssertionError("the retry came after " + after + " ms");
        }
    }

    /** The listener chooses the level. */
    private static void chosenLevel(Scene s) throws Exception {
        var inbox = new Inbox();
        String topic = s.topic("t", 1);
        failing(s, topic, inbox, 3, 1, -1);
        s.producer().send(new Message(topic, Scene.bytes("thrice")));
        inbox.await("three retries", Scene.SOON, got -> got.size() == 4);
        Scene.same("reconsume times", List.of(0, 1, 2, 3), inbox.all().stream().map(MessageExt::getReconsumeTimes).toList());
    }

    /** After its last retry a message is a dead letter, which a consumer can read. */
    private static void deadLetters(Scene s) throws Exception {
        var inbox = new Inbox();
        String topic = s.topic("t", 1);
        failing(s, topic, inbox, 100, 1, 2);
        s.producer().send(new Message(topic, "tag", "key", Scene.bytes("never")));
        MessageExt letter = letter(s);
        Scene.same("body", "never", Scene.text(letter));
        Scene.same("deliveries", 3, inbox.all().size());
        Scene.same("origin", topic, letter.getProperty("RETRY_TOPIC"));
        Scene.same("keys", "key", letter.getKeys());
    }

    /** A negative level gives a message up at once. */
    private static void givenUp(Scene s) throws Exception {
        var inbox = new Inbox();
        String topic = s.topic("t", 1);
        failing(s, topic, inbox, 100, -1, -1);
        s.producer().send(new Message(topic, Scene.bytes("given up")));
        Scene.same("body", "given up", Scene.text(letter(s)));
        Scene.same("deliveries", 1, inbox.all().size());
    }

    /** In order, a message is retried in its place and then given up. */
    private static void orderlyDeadLetters(Scene s) throws Exception {
        var inbox = new Inbox();
        String topic = s.topic("t", 1);
        var consumer = s.consumer(s.name("g"));
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            inbox.add(messages);
            boolean bad = Scene.text(messages.get(0)).equals("bad");
            return bad ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        var producer = s.producer();
        producer.send(new Message(topic, Scene.bytes("bad")));
        producer.send(new Message(topic, Scene.bytes("good")));
        Scene.same("body", "bad", Scene.text(letter(s)));
        inbox.await("what lies behind it", Scene.SOON, got -> Scene.text(got.get(got.size() - 1)).equals("good"));
        Scene.same("deliveries", List.of("bad", "bad", "bad", "good"), inbox.bodies());
    }

    /** A consumer that fails the first {@code failures} deliveries, asking for {@code level}. */
    private static void failing(Scene s, String topic, Inbox inbox, int failures, int level, int max) throws Exception {
        var deliveries = new AtomicInteger();
        s.retryTopic(s.name("g"));
        var consumer = s.consumer(s.name("g"));
        if (max >= 0) {
            consumer.setMaxReconsumeTimes(max);
        }
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            context.setDelayLevelWhenNextConsume(level);
            return deliveries.incrementAndGet() <= failures ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    /** The first dead letter of the scenario's group. */
    private static MessageExt letter(Scene s) throws Exception {
        String letters = "%DLQ%" + s.name("g");
        Scene.until("topic " + letters, Scene.SOON, () -> !s.admin.examineTopicRouteInfo(letters).getQueueDatas().isEmpty());
        var inbox = new Inbox();
        s.collecting(s.name("readers"), letters, "*", inbox).start();
        inbox.await("the dead letter", Scene.SOON, got -> !got.isEmpty());
        return inbox.all().get(0);
    }
}
