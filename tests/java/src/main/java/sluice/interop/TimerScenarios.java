package sluice.interop;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages with a delay or a delivery time of their own. */
final class TimerScenarios {
    static final String DELAY_SEC = "TIMER_DELAY_SEC";
    static final String DELAY_MS = "TIMER_DELAY_MS";
    static final String DELIVER_MS = "TIMER_DELIVER_MS";
    private static final long LATE_MAX = 5_000;

    private TimerScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("timer_delays", TimerScenarios::delays);
        all.put("timer_many_in_one_second", TimerScenarios::many);
        all.put("timer_refusals", TimerScenarios::refusals);
        all.put("timer_due_already", TimerScenarios::dueAlready);
    }

    static Message message(String topic, String body, String property, long value) {
        var message = new Message(topic, "TagA", "k-" + body, Scene.bytes(body));
        message.putUserProperty("colour", "blue");
        MessageAccessor.putProperty(message, property, Long.toString(value));
        return message;
    }

    /** Never early, whichever way the time is given; what a message carries comes with it. */
    private static void delays(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "TagA", inbox).start();
        var producer = s.producer();
        long now = System.currentTimeMillis();
        Scene.sendOk(producer.send(message(topic, "" + (now + 3_000), DELIVER_MS, now + 3_000)));
        Scene.sendOk(producer.send(message(topic, "" + (now + 2_345), DELIVER_MS, now + 2_345)));
        Scene.sendOk(producer.send(message(topic, "" + (System.currentTimeMillis() + 2_000), DELAY_SEC, 2)));
        Scene.sendOk(producer.send(message(topic, "" + (System.currentTimeMillis() + 1_500), DELAY_MS, 1_500)));
        inbox.await("delayed messages", 3_000 + LATE_MAX, got -> got.size() >= 4);
        Thread.sleep(1_500);
        Scene.same("messages", 4, inbox.all().size());
        for (MessageExt got : inbox.all()) {
            long due = Long.parseLong(Scene.text(got));
            Scene.check("delivered " + (due - got.getStoreTimestamp()) + " ms early", got.getStoreTimestamp() >= due);
            Scene.same("topic", topic, got.getTopic());
            Scene.same("key", "k-" + due, got.getKeys());
            Scene.same("property", "blue", got.getUserProperty("colour"));
            Scene.same("real topic", topic, got.getProperty("REAL_TOPIC"));
            for (String name : List.of("TIMER_OUT_MS", "TIMER_ENQUEUE_MS", "TIMER_DEQUEUE_MS")) {
                Scene.check("no " + name, got.getProperty(name) != null);
            }
        }
    }

    private static void many(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var producer = s.producer();
        long due = (System.currentTimeMillis() / 1000 + 6) * 1000 + 500;
        Set<String> sent = new TreeSet<>();
        for (int i = 0; i < 2_000; i++) {
            sent.add("m" + i);
            producer.sendOneway(message(topic, "m" + i, DELIVER_MS, due));
        }
        inbox.await("delayed messages", 12_000 + LATE_MAX, got -> got.size() >= sent.size());
        Thread.sleep(1_000);
        Scene.sameBodies(sent, inbox.bodies());
        for (MessageExt got : inbox.all()) {
            Scene.check("delivered early", got.getStoreTimestamp() >= due);
        }
    }

    private static void refusals(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        refused(producer, message(topic, "too far", DELAY_SEC, 401L * 24 * 3600), 13);
        refused(producer, message(topic, "deletes what is due", DELIVER_MS, 1), 13, "TIMER_DEL_UNIQKEY", topic + "+x");
        var unreadable = message(topic, "unreadable", DELAY_MS, 0);
        MessageAccessor.putProperty(unreadable, DELAY_MS, "soon");
        refused(producer, unreadable, 13);
    }

    private static void refused(DefaultMQProducer producer, Message message, int code, String... more) throws Exception {
        if (more.length == 2) {
            MessageAccessor.putProperty(message, more[0], more[1]);
        }
        try {
            producer.send(message);
        } catch (MQBrokerException refusal) {
            Scene.same(Scene.text(message), code, refusal.getResponseCode());
            return;
        }
        throw new AssertionError("stored: " + Scene.text(message));
    }

    private static void dueAlready(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var producer = s.producer();
        Scene.sendOk(producer.send(message(topic, "past", DELIVER_MS, System.currentTimeMillis() - 10_000)));
        Scene.sendOk(producer.send(message(topic, "now", DELAY_MS, 0)));
        inbox.awaitBodies(Set.of("past", "now"), Scene.WAKE);
    }
}
