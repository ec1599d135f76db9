package sluice.interop;

import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;

/** Push consumers that pop: all of it by the broker, which shares the queues out as well. */
final class PopScenarios {
    private PopScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("pop_failure_comes_back", PopScenarios::failureComesBack);
        all.put("pop_all", PopScenarios::all);
        all.put("pop_two_consumers", PopScenarios::twoConsumers);
        all.put("pop_tags", PopScenarios::tags);
        all.put("pop_sql", PopScenarios::sql);
    }

    /** The group comes into being with its setting, as an operator would do it. */
    private static void setPop(Scene s, String topic, String group) throws Exception {
        Compat.putGroup(s.admin, s.broker(), group, 1);
        s.admin.setMessageRequestMode(s.broker(), topic, group, MessageRequestMode.POP, 0, 5_000);
    }

    private static DefaultMQPushConsumer popping(Scene s, String group, String topic, Inbox inbox) throws Exception {
        setPop(s, topic, group);
        var consumer = s.collecting(group, topic, "*", inbox);
        consumer.setClientRebalance(false);
        return consumer;
    }

    private static void all(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var inbox = new Inbox();
        popping(s, s.name("g"), topic, inbox).start();
        var bodies = Scene.send(s.producer(), topic, "", "pop", 40);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
    }

    private static void twoConsumers(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        popping(s, s.name("g"), topic, inbox).start();
        popping(s, s.name("g"), topic, inbox).start();
        var bodies = Scene.send(s.producer(), topic, "", "pop", 60);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
    }

    private static void tags(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        String group = s.name("g");
        setPop(s, topic, group);
        var inbox = new Inbox();
        var consumer = s.collecting(group, topic, "TagA", inbox);
        consumer.setClientRebalance(false);
        consumer.start();
        var producer = s.producer();
        Scene.send(producer, topic, "TagB", "b", 10);
        var bodies = Scene.send(producer, topic, "TagA", "a", 10);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
    }

    private static void sql(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        String group = s.name("g");
        setPop(s, topic, group);
        var inbox = new Inbox();
        var consumer = s.consumer(group);
        consumer.subscribe(topic, MessageSelector.bySql("n >= 5"));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.setClientRebalance(false);
        consumer.start();
        var producer = s.producer();
        var wanted = new TreeSet<String>();
        for (int n = 0; n < 10; n++) {
            var message = new Message(topic, Scene.bytes("n" + n));
            message.putUserProperty("n", Integer.toString(n));
            Scene.sendOk(producer.send(message));
            if (n >= 5) {
                wanted.add("n" + n);
            }
        }
        inbox.awaitBodies(wanted, Scene.SOON);
        Scene.sameBodies(wanted, inbox.bodies());
    }

    /** What a listener fails to consume comes back from the retry topic, not before the 10 s of the first retry. */
    private static void failureComesBack(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String group = s.name("g");
        setPop(s, topic, group);
        var firstAt = new ConcurrentHashMap<String, Long>();
        var again = new ConcurrentLinkedQueue<MessageExt>();
        var consumer = s.consumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (var message : messages) {
                if (firstAt.putIfAbsent(Scene.text(message), System.currentTimeMillis()) == null) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                again.add(message);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.setClientRebalance(false);
        consumer.start();
        Scene.send(s.producer(), topic, "TagA", "fails", 1);
        Scene.until("second delivery", Scene.LONG, () -> !again.isEmpty());
        var message = again.peek();
        Scene.same("topic", topic, message.getTopic());
        Scene.same("tag", "TagA", message.getTags());
        Scene.same("reconsume times", 1, message.getReconsumeTimes());
        long after = System.currentTimeMillis() - firstAt.get("fails-0");
        Scene.check("comes back after " + after + " ms", after >= 10_000);
    }
}
