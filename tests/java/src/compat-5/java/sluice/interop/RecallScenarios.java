package sluice.interop;

import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** What only clients of the 5.x line know of delayed messages: their setters, and recall. */
final class RecallScenarios {
    private RecallScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("timer_setters", RecallScenarios::setters);
        all.put("recall", RecallScenarios::recall);
        all.put("recall_refusals", RecallScenarios::refusals);
    }

    private static void setters(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var producer = s.producer();
        long now = System.currentTimeMillis();
        var seconds = new Message(topic, Scene.bytes("seconds"));
        seconds.setDelayTimeSec(2);
        var millis = new Message(topic, Scene.bytes("millis"));
        millis.setDelayTimeMs(1_700);
        var time = new Message(topic, Scene.bytes("time"));
        time.setDeliverTimeMs(now + 2_600);
        for (var message : List.of(seconds, millis, time)) {
            Scene.check("no recall handle", Scene.sendOk(producer.send(message)).getRecallHandle() != null);
        }
        inbox.awaitBodies(Set.of("seconds", "millis", "time"), 8_000);
        var least = Map.of("seconds", 2_000L, "millis", 1_700L, "time", 2_600L);
        for (MessageExt got : inbox.all()) {
            Scene.check("delivered early", got.getStoreTimestamp() >= now + least.get(Scene.text(got)));
        }
    }

    private static SendResult send(DefaultMQProducer producer, String topic, String body, long deliver) throws Exception {
        var message = new Message(topic, Scene.bytes(body));
        message.setDeliverTimeMs(deliver);
        return Scene.sendOk(producer.send(message));
    }

    /** What is recalled never comes; what lies beside it does. */
    private static void recall(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var producer = s.producer();
        long deliver = (System.currentTimeMillis() / 1000 + 5) * 1000 + 400;
        send(producer, topic, "kept", deliver);
        var recalled = send(producer, topic, "recalled", deliver);
        send(producer, topic, "kept too", deliver + 1);
        var far = send(producer, topic, "far", deliver + 3_600_000);
        Scene.same("answer", recalled.getMsgId(), producer.recallMessage(topic, recalled.getRecallHandle()));
        Scene.same("answer", far.getMsgId(), producer.recallMessage(topic, far.getRecallHandle()));
        inbox.awaitBodies(Set.of("kept", "kept too"), 12_000);
        Thread.sleep(2_500);
        Scene.sameBodies(Set.of("kept", "kept too"), inbox.bodies());
        refused("too late", 604, "recall failed, timestamp invalid", () -> producer.recallMessage(topic, recalled.getRecallHandle()));
    }

    private static String handle(String text) {
        return Base64.getUrlEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void refusals(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        long later = System.currentTimeMillis() + 60_000;
        refused("another topic", 604, "recall failed, topic not match",
            () -> producer.recallMessage(topic, handle("v1 other broker-a " + later + " x")));
        refused("no time", 604, "recall failed, timestamp invalid",
            () -> producer.recallMessage(topic, handle("v1 " + topic + " broker-a soon x")));
        refused("too far", 604, "recall failed, timestamp invalid",
            () -> producer.recallMessage(topic, handle("v1 " + topic + " broker-a " + (later + 500L * 24 * 3600_000) + " x")));
        Scene.same("answer", "nobody", producer.recallMessage(topic, handle("v1 " + topic + " broker-a " + later + " nobody")));
    }

    private static void refused(String what, int code, String words, java.util.concurrent.Callable<?> recall) throws Exception {
        try {
            recall.call();
        } catch (MQBrokerException refusal) {
            Scene.same(what, code, refusal.getResponseCode());
            Scene.check(what + ": " + refusal.getErrorMessage(), words.equals(refusal.getErrorMessage()));
            return;
        }
        throw new AssertionError("recalled: " + what);
    }
}
