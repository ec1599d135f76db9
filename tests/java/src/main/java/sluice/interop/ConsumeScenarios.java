package sluice.interop;

import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.Message;

/** Push consumers: tags, message models, groups used again, and how soon messages come. */
final class ConsumeScenarios {
    private ConsumeScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("tags", ConsumeScenarios::tags);
        all.put("default_settings", ConsumeScenarios::defaultSettings);
        all.put("clustering", ConsumeScenarios::clustering);
        all.put("broadcast", ConsumeScenarios::broadcast);
        all.put("group_reuse", ConsumeScenarios::groupReuse);
        all.put("offsets_survive_consumer", ConsumeScenarios::offsetsSurvive);
        all.put("long_poll_wake", ConsumeScenarios::longPollWake);
        all.put("long_poll_wake_tags", ConsumeScenarios::longPollWakeTags);
        all.put("first_message_clustering", s -> firstMessage(s, false));
        all.put("first_message_broadcast", s -> firstMessage(s, true));
    }

    private static void tags(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var either = new Inbox();
        var onlyC = new Inbox();
        var everything = new Inbox();
        s.collecting(s.name("ab"), topic, "TagA || TagB", either).start();
        s.collecting(s.name("c"), topic, "TagC", onlyC).start();
        s.collecting(s.name("all"), topic, "*", everything).start();
        var producer = s.producer();
        var a = Scene.send(producer, topic, "TagA", "a", 10);
        var b = Scene.send(producer, topic, "TagB", "b", 10);
        var c = Scene.send(producer, topic, "TagC", "c", 10);
        var untagged = Scene.send(producer, topic, "", "none", 10);
        var ab = new TreeSet<>(a);
        ab.addAll(b);
        var all = new TreeSet<>(ab);
        all.addAll(c);
        all.addAll(untagged);
        either.awaitBodies(ab, Scene.SOON);
        onlyC.awaitBodies(c, Scene.SOON);
        everything.awaitBodies(all, Scene.SOON);
        Scene.sameBodies(ab, either.bodies());
        Scene.sameBodies(c, onlyC.bodies());
        Scene.sameBodies(all, everything.bodies());
    }

    /** A consumer exactly as the client makes it; its own start may wait for its timers. */
    private static void defaultSettings(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var inbox = new Inbox();
        var consumer = new DefaultMQPushConsumer(s.name("g"));
        consumer.setNamesrvAddr(s.namesrv);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        s.closing(consumer::shutdown);
        var bodies = Scene.send(s.producer(), topic, "", "default", 20);
        inbox.awaitBodies(bodies, Scene.LONG);
        Scene.sameBodies(bodies, inbox.bodies());
    }

    private static void clustering(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var first = new Inbox();
        var second = new Inbox();
        var one = s.collecting(s.name("g"), topic, "*", first);
        var two = s.collecting(s.name("g"), topic, "*", second);
        one.start();
        two.start();
        Scene.awaitHeld(one, topic, 2);
        Scene.awaitHeld(two, topic, 2);
        var bodies = Scene.send(s.producer(), topic, "", "shared", 40);
        Scene.until("both shares", Scene.SOON, () -> first.all().size() + second.all().size() >= 40);
        Scene.same("first share", 20, first.all().size());
        Scene.same("second share", 20, second.all().size());
        var got = new TreeSet<>(first.bodies());
        got.addAll(second.bodies());
        Scene.same("bodies", bodies, got);
    }

    private static void broadcast(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var first = new Inbox();
        var second = new Inbox();
        for (var inbox : new Inbox[] {first, second}) {
            var consumer = s.collecting(s.name("g"), topic, "*", inbox);
            Compat.broadcast(consumer);
            consumer.start();
            Scene.awaitHeld(consumer, topic, 4);
        }
        var bodies = Scene.send(s.producer(), topic, "", "everyone", 20);
        first.awaitBodies(bodies, Scene.SOON);
        second.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, first.bodies());
        Scene.sameBodies(bodies, second.bodies());
    }

    /** Programs with other topics and tags take over one group id, one after another. */
    private static void groupReuse(Scene s) throws Exception {
        String group = s.name("g");
        String orders = s.topic("orders", 2);
        String bills = s.topic("bills", 2);
        var producer = s.producer();
        reuse(s, producer, group, orders, "Red");
        reuse(s, producer, group, bills, "Blue");
        reuse(s, producer, group, orders, "Blue");
        reuse(s, producer, group, orders, "Red || Green");
    }

    private static void reuse(Scene s, org.apache.rocketmq.client.producer.DefaultMQProducer producer, String group, String topic, String tags)
            throws Exception {
        var inbox = new Inbox();
        var consumer = s.collecting(group, topic, tags, inbox);
        consumer.start();
        Scene.awaitHeld(consumer, topic, 2);
        String wanted = tags.substring(tags.lastIndexOf(' ') + 1);
        var bodies = Scene.send(producer, topic, wanted, topic + tags, 6);
        Scene.send(producer, topic, "Unwanted", "unwanted", 6);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
        Scene.awaitDrained(consumer, topic);
        consumer.shutdown();
    }

    /** A group's next program goes on where the last one stopped. */
    private static void offsetsSurvive(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        var before = Scene.send(producer, topic, "", "before", 10);
        var first = new Inbox();
        var consumer = s.collecting(s.name("g"), topic, "*", first);
        consumer.start();
        first.awaitBodies(before, Scene.SOON);
        Scene.awaitDrained(consumer, topic);
        consumer.shutdown();
        var after = Scene.send(producer, topic, "", "after", 10);
        var second = new Inbox();
        s.collecting(s.name("g"), topic, "*", second).start();
        second.awaitBodies(after, Scene.SOON);
        Scene.sameBodies(after, second.bodies());
    }

    private static void longPollWake(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        var consumer = s.collecting(s.name("g"), topic, "*", inbox);
        consumer.start();
        Scene.awaitHeld(consumer, topic, 1);
        rounds(s, topic, "", inbox);
    }

    /** The parked pull asks for one tag; another tag's messages arrive meanwhile. */
    private static void longPollWakeTags(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        var consumer = s.collecting(s.name("g"), topic, "Wanted", inbox);
        consumer.start();
        Scene.awaitHeld(consumer, topic, 1);
        rounds(s, topic, "Wanted", inbox);
    }

    /** Each round finds the pull parked: the one before was delivered and the load then paused. */
    private static void rounds(Scene s, String topic, String tag, Inbox inbox) throws Exception {
        var producer = s.producer();
        var pause = new Random(7);
        for (int round = 0; round < 10; round++) {
            Thread.sleep(pause.nextInt(250));
            if (!tag.isEmpty()) {
                Scene.send(producer, topic, "Other", "other-" + round, 3);
            }
            var body = Scene.send(producer, topic, tag, "wake-" + round, 1);
            inbox.awaitBodies(body, 5_000);
        }
    }

    /** A message sent while the topic's first consumer starts must reach it. */
    private static void firstMessage(Scene s, boolean broadcast) throws Exception {
        var producer = s.producer();
        for (int round = 0; round < 4; round++) {
            String topic = s.topic("t" + round, 4);
            var inbox = new Inbox();
            var consumer = s.collecting(s.name("g" + round), topic, "*", inbox);
            if (broadcast) {
                Compat.broadcast(consumer);
            }
            var starting = new Thread(() -> {
                try {
                    consumer.start();
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            });
            starting.start();
            Set<String> bodies = Scene.send(producer, topic, "", "first-" + round, 3);
            starting.join();
            inbox.awaitBodies(bodies, Scene.SOON);
            Scene.sameBodies(bodies, inbox.bodies());
            Scene.sendOk(producer.send(new Message(topic, Scene.bytes("later"))));
            inbox.awaitBodies(Set.of("later"), Scene.SOON);
        }
    }
}
