package sluice.interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** One scenario's stage: its own names, its clients (closed at the end) and its checks. */
final class Scene implements AutoCloseable {
    /** How long an event may take that a wake-up brings: shorter than every hold and timer. */
    static final long WAKE = 10_000;
    /** How long an ordinary step may take. */
    static final long SOON = 25_000;
    /** How long anything may take. */
    static final long LONG = 45_000;

    private static final AtomicInteger INSTANCES = new AtomicInteger();

    final String namesrv;
    final String prefix;
    final DefaultMQAdminExt admin;
    private final Deque<Runnable> closers = new ArrayDeque<>();

    Scene(String namesrv, String prefix, DefaultMQAdminExt admin) {
        this.namesrv = namesrv;
        this.prefix = prefix;
        this.admin = admin;
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String instance() {
        return "i" + ProcessHandle.current().pid() + "-" + INSTANCES.incrementAndGet();
    }

    String name(String suffix) {
        return prefix + "-" + suffix;
    }

    /** The address of the first master, as clients of this name server see it. */
    String broker() throws Exception {
        var brokers = admin.examineBrokerClusterInfo().getBrokerAddrTable().values();
        return brokers.iterator().next().getBrokerAddrs().get(0L);
    }

    String cluster() throws Exception {
        return admin.examineBrokerClusterInfo().getClusterAddrTable().keySet().iterator().next();
    }

    /** Creates a topic and waits until its route is known. */
    String topic(String suffix, int queues) throws Exception {
        String topic = name(suffix);
        var config = new TopicConfig(topic);
        config.setReadQueueNums(queues);
        config.setWriteQueueNums(queues);
        admin.createAndUpdateTopicConfig(broker(), config);
        until("route of " + topic, SOON, () -> !admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
        return topic;
    }

    /** Creates the retry topic of a group: a consumer that starts before it has a route finds it 20 s later, with every broker. */
    void retryTopic(String group) throws Exception {
        var retries = new TopicConfig("%RETRY%" + group);
        retries.setReadQueueNums(1);
        retries.setWriteQueueNums(1);
        admin.createAndUpdateTopicConfig(broker(), retries);
        until("route of " + retries.getTopicName(), SOON, () -> !admin.examineTopicRouteInfo(retries.getTopicName()).getQueueDatas().isEmpty());
    }

    DefaultMQProducer producer() throws Exception {
        var producer = new DefaultMQProducer(name("P" + INSTANCES.incrementAndGet()));
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(instance());
        producer.setSendMsgTimeout(10_000);
        producer.start();
        closing(producer::shutdown);
        return producer;
    }

    /** A push consumer of {@code group} that reads from the first message on; not started. */
    DefaultMQPushConsumer consumer(String group) {
        var consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        Compat.steady(consumer);
        closing(consumer::shutdown);
        return consumer;
    }

    DefaultMQPushConsumer collecting(String group, String topic, String tags, Inbox inbox) throws Exception {
        var consumer = consumer(group);
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return consumer;
    }

    DefaultLitePullConsumer litePull(String group) {
        var consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        closing(consumer::shutdown);
        return consumer;
    }

    DefaultMQPullConsumer pullConsumer(String group) throws Exception {
        var consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.start();
        closing(consumer::shutdown);
        return consumer;
    }

    /** Queues of {@code topic} that this consumer holds now. */
    static Set<MessageQueue> held(DefaultMQPushConsumer consumer, String topic) {
        var held = new TreeSet<MessageQueue>();
        for (var queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                held.add(queue);
            }
        }
        return held;
    }

    /** Waits until every message that the consumer took has been counted as consumed. */
    static void awaitDrained(DefaultMQPushConsumer consumer, String topic) throws Exception {
        var table = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable();
        until("end of consumption of " + topic, SOON, () -> table.entrySet().stream()
                .filter(e -> e.getKey().getTopic().equals(topic))
                .allMatch(e -> e.getValue().getMsgCount().get() == 0));
    }

    static void awaitHeld(DefaultMQPushConsumer consumer, String topic, int queues) throws Exception {
        awaitHeld(consumer, topic, queues, SOON);
    }

    static void awaitHeld(DefaultMQPushConsumer consumer, String topic, int queues, long millis) throws Exception {
        until(queues + " queues of " + topic, millis, () -> held(consumer, topic).size() == queues);
    }

    /** Sends {@code count} messages with bodies {@code label-0...} and returns the bodies. */
    static Set<String> send(DefaultMQProducer producer, String topic, String tag, String label, int count) throws Exception {
        var bodies = new TreeSet<String>();
        for (int i = 0; i < count; i++) {
            String body = label + "-" + i;
            sendOk(producer.send(new Message(topic, tag, bytes(body))));
            bodies.add(body);
        }
        return bodies;
    }

    /** Sends bodies {@code label-0...} to one queue, in order. */
    static List<String> sendTo(DefaultMQProducer producer, MessageQueue queue, String label, int count) throws Exception {
        var bodies = new ArrayList<String>();
        for (int i = 0; i < count; i++) {
            String body = label + "-" + i;
            sendOk(producer.send(new Message(queue.getTopic(), bytes(body)), queue));
            bodies.add(body);
        }
        return bodies;
    }

    static MessageQueue onlyQueue(DefaultMQProducer producer, String topic) throws Exception {
        var queues = producer.fetchPublishMessageQueues(topic);
        same("queues of " + topic, 1, queues.size());
        return queues.get(0);
    }

    static SendResult sendOk(SendResult result) {
        same("send status", SendStatus.SEND_OK, result.getSendStatus());
        return result;
    }

    static void same(String what, Object expected, Object actual) {
        if (!Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": expected " + clip(expected) + " but got " + clip(actual));
        }
    }

    static void sameBodies(Collection<String> expected, Collection<String> actual) {
        same("bodies", new TreeSet<>(expected), new TreeSet<>(actual));
        same("count", expected.size(), actual.size());
    }

    static void check(String what, boolean holds) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    /** Waits until {@code condition} holds; an exception in it counts as "not yet". */
    static void until(String what, long millis, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + millis * 1_000_000L;
        Exception last = null;
        while (true) {
            try {
                if (condition.call()) {
                    return;
                }
                last = null;
            } catch (Exception e) {
                last = e;
            }
            if (System.nanoTime() > end) {
                throw new AssertionError("no " + what + " within " + millis + " ms" + (last == null ? "" : ": " + last), last);
            }
            Thread.sleep(20);
        }
    }

    /** Returns when the wall clock shows a later second than now. */
    static long nextSecond() throws Exception {
        long second = System.currentTimeMillis() / 1000;
        until("next second", 5_000, () -> System.currentTimeMillis() / 1000 > second);
        return (second + 1) * 1000;
    }

    void closing(Runnable closer) {
        closers.push(closer);
    }

    private static String clip(Object value) {
        String text = String.valueOf(value);
        return text.length() <= 300 ? text : text.substring(0, 300) + "...";
    }

    @Override
    public void close() {
        while (!closers.isEmpty()) {
            try {
                closers.pop().run();
            } catch (RuntimeException e) {
                // A scenario closed this client itself.
            }
        }
    }
}
