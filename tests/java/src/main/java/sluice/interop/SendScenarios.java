package sluice.interop;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Every way to send, and every kind of body and name. */
final class SendScenarios {
    private static final int SEND_MESSAGE = 10;
    private static final int MAX_BODY = 4 * 1024 * 1024;

    private SendScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("sync_send", SendScenarios::sync);
        all.put("async_send", SendScenarios::async);
        all.put("oneway_send", SendScenarios::oneway);
        all.put("batch_send", SendScenarios::batch);
        all.put("selector_send", SendScenarios::selector);
        all.put("big_body", SendScenarios::bigBody);
        all.put("empty_body", SendScenarios::emptyBody);
        all.put("unicode", SendScenarios::unicode);
        all.put("unknown_topic_autocreate", SendScenarios::autocreate);
    }

    private static Inbox collect(Scene s, String topic) throws Exception {
        var inbox = new Inbox();
        s.collecting(s.name("G-" + topic.hashCode()), topic, "*", inbox).start();
        return inbox;
    }

    private static void sync(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var producer = s.producer();
        var bodies = new TreeSet<String>();
        var next = new HashMap<Integer, Long>();
        for (int i = 0; i < 40; i++) {
            String body = "sync-" + i;
            SendResult result = Scene.sendOk(producer.send(new Message(topic, Scene.bytes(body))));
            int queue = result.getMessageQueue().getQueueId();
            Scene.same("offset in queue " + queue, next.getOrDefault(queue, 0L), result.getQueueOffset());
            next.put(queue, result.getQueueOffset() + 1);
            bodies.add(body);
        }
        Scene.same("queues used", 4, next.size());
        var inbox = collect(s, topic);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
    }

    private static void async(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var producer = s.producer();
        var done = new CountDownLatch(200);
        var failure = new AtomicReference<Throwable>();
        var bodies = new TreeSet<String>();
        for (int i = 0; i < 200; i++) {
            String body = "async-" + i;
            bodies.add(body);
            producer.send(new Message(topic, Scene.bytes(body)), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    done.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failure.set(e);
                    done.countDown();
                }
            });
        }
        Scene.check("not all callbacks came", done.await(Scene.SOON, TimeUnit.MILLISECONDS));
        Scene.same("failed callback", null, failure.get());
        var inbox = collect(s, topic);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
    }

    private static void oneway(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        var bodies = new TreeSet<String>();
        for (int i = 0; i < 20; i++) {
            producer.sendOneway(new Message(topic, Scene.bytes("oneway-" + i)));
            bodies.add("oneway-" + i);
        }
        var inbox = collect(s, topic);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
    }

    private static void batch(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var producer = s.producer();
        var bodies = new TreeSet<String>();
        for (int round = 0; round < 5; round++) {
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 20; i++) {
                String body = "batch-" + round + "-" + i;
                var message = new Message(topic, i % 2 == 0 ? "Even" : "Odd", "k" + i, Scene.bytes(body));
                message.putUserProperty("i", Integer.toString(i));
                batch.add(message);
                bodies.add(body);
            }
            var result = Scene.sendOk(producer.send(batch));
            Scene.same("unique ids in the answer", 20, result.getMsgId().split(",").length);
            Scene.same("offset ids in the answer", 20, result.getOffsetMsgId().split(",").length);
        }
        var inbox = collect(s, topic);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
        for (MessageExt m : inbox.all()) {
            int i = Integer.parseInt(m.getUserProperty("i"));
            Scene.same("tag", i % 2 == 0 ? "Even" : "Odd", m.getTags());
            Scene.same("keys", "k" + i, m.getKeys());
        }
    }

    private static void selector(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var producer = s.producer();
        var bodies = new TreeSet<String>();
        for (int i = 0; i < 20; i++) {
            String body = i % 4 + "/selected-" + i;
            var result = producer.send(new Message(topic, Scene.bytes(body)), (queues, message, arg) -> queues.get((Integer) arg), i % 4);
            Scene.same("queue", i % 4, Scene.sendOk(result).getMessageQueue().getQueueId());
            bodies.add(body);
        }
        var inbox = collect(s, topic);
        inbox.awaitBodies(bodies, Scene.SOON);
        for (MessageExt m : inbox.all()) {
            Scene.same("queue", Integer.parseInt(Scene.text(m).substring(0, 1)), m.getQueueId());
        }
    }

    private static void bigBody(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        // Deflating random bytes makes them longer, beyond the limit.
        var plain = s.producer();
        plain.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        byte[] random = new byte[MAX_BODY];
        new Random(1).nextBytes(random);
        byte[] even = new byte[MAX_BODY];
        Scene.sendOk(plain.send(new Message(topic, "Random", random), 20_000));
        Scene.sendOk(producer.send(new Message(topic, "Zero", even), 20_000));
        var inbox = collect(s, topic);
        inbox.await("two big messages", 20_000, got -> got.size() >= 2);
        for (MessageExt m : inbox.all()) {
            byte[] expected = m.getTags().equals("Random") ? random : even;
            Scene.check("body of " + m.getTags() + " differs", java.util.Arrays.equals(expected, m.getBody()));
        }
    }

    /** The client refuses an empty body itself, so this one goes out as a bare command. */
    private static void emptyBody(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        try {
            producer.send(new Message(topic, new byte[0]));
            throw new AssertionError("the client sent an empty body");
        } catch (org.apache.rocketmq.client.exception.MQClientException expected) {
            Scene.check("another refusal: " + expected, expected.getMessage().contains("body length is zero"));
        }
        var remoting = new NettyRemotingClient(new NettyClientConfig());
        remoting.start();
        s.closing(remoting::shutdown);
        var answer = remoting.invokeSync(s.broker(), rawSend(s, topic), 5_000);
        Scene.check("an empty body was accepted", answer.getCode() != 0);
        Scene.sendOk(producer.send(new Message(topic, new byte[] {'x'})));
        var inbox = collect(s, topic);
        inbox.awaitBodies(Set.of("x"), Scene.SOON);
        Scene.same("messages", 1, inbox.all().size());
    }

    private static RemotingCommand rawSend(Scene s, String topic) {
        var command = RemotingCommand.createRequestCommand(SEND_MESSAGE, null);
        var fields = new HashMap<String, String>();
        fields.put("producerGroup", s.name("raw"));
        fields.put("topic", topic);
        fields.put("defaultTopic", "TBW102");
        fields.put("defaultTopicQueueNums", "4");
        fields.put("queueId", "0");
        fields.put("sysFlag", "0");
        fields.put("bornTimestamp", Long.toString(System.currentTimeMillis()));
        fields.put("flag", "0");
        fields.put("properties", "");
        fields.put("reconsumeTimes", "0");
        fields.put("unitMode", "false");
        fields.put("batch", "false");
        command.setExtFields(fields);
        return command;
    }

    private static void unicode(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        String wild = "日本語 ñ Ω ±\uD83D\uDE80 العربية \"quoted\" \\back {json}: [x]\n\t";
        String tag = "标签\uD83D\uDE80";
        var producer = s.producer();
        var message = new Message(topic, tag, "键-ключ-\uD83D\uDD11", Scene.bytes(wild));
        message.putUserProperty("свойство", wild);
        message.putUserProperty("plain", "é");
        message.putUserProperty("long", "ж".repeat(5000));
        Scene.sendOk(producer.send(message));
        Scene.sendOk(producer.send(new Message(topic, "other", Scene.bytes("not for " + tag))));
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, tag + " || Ünused", inbox).start();
        inbox.awaitBodies(Set.of(wild), Scene.SOON);
        MessageExt got = inbox.all().get(0);
        Scene.same("messages", 1, inbox.all().size());
        Scene.same("tag", tag, got.getTags());
        Scene.same("keys", "键-ключ-\uD83D\uDD11", got.getKeys());
        Scene.same("property", wild, got.getUserProperty("свойство"));
        Scene.same("plain property", "é", got.getUserProperty("plain"));
        Scene.same("long property", "ж".repeat(5000), got.getUserProperty("long"));
    }

    private static void autocreate(Scene s) throws Exception {
        String topic = s.name("never-created");
        var producer = s.producer();
        var bodies = Scene.send(producer, topic, "T", "auto", 8);
        var inbox = collect(s, topic);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
        var queues = s.admin.examineTopicRouteInfo(topic).getQueueDatas().get(0);
        Scene.same("write queues of an auto-created topic", 4, queues.getWriteQueueNums());
    }
}
