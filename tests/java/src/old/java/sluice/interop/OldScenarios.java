package sluice.interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.RequestCode;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/**
 * What a client of 4.2.0 does: it sends to the port two below the broker's own (the VIP channel) unless told
 * otherwise. Arguments: {@code <namesrvAddr> <scenario>...}, none for all. Prints {@code PASS <name> <millis>}
 * or {@code FAIL <name> <millis> <reason>}.
 */
public final class OldScenarios {
    private static final long SOON_MILLIS = 40_000;

    private final String namesrv;
    private final String topic;
    /** Request code and address of every request to a broker. */
    private final Queue<String> asked = new ConcurrentLinkedQueue<>();
    private final List<Runnable> ends = new ArrayList<>();

    private OldScenarios(String namesrv, String topic) {
        this.namesrv = namesrv;
        this.topic = topic;
    }

    interface Body {
        void run(OldScenarios scene) throws Exception;
    }

    public static void main(String[] args) throws Exception {
        Map<String, Body> all = new LinkedHashMap<>();
        all.put("old_retry", OldScenarios::retry);
        all.put("old_send", OldScenarios::send);
        all.put("old_consume", OldScenarios::consume);
        all.put("old_orderly", OldScenarios::orderly);
        all.put("old_pull", OldScenarios::pull);
        all.put("old_query", OldScenarios::query);
        all.put("old_transaction", OldScenarios::transaction);
        List<String> names = new ArrayList<>(List.of(args).subList(1, args.length));
        if (names.isEmpty()) {
            names.addAll(all.keySet());
        }
        String run = Long.toString(System.currentTimeMillis() % 100_000_000L, 36);
        var lanes = Executors.newFixedThreadPool(3);
        List<Future<?>> results = new ArrayList<>();
        for (String name : names) {
            results.add(lanes.submit(() -> one(name, all.get(name), new OldScenarios(args[0], "t" + run + "-" + name))));
        }
        for (var result : results) {
            result.get();
        }
        // Not exit: what a failed scenario left behind must not hold the process.
        Runtime.getRuntime().halt(0);
    }

    private static void one(String name, Body body, OldScenarios scene) {
        long start = System.nanoTime();
        String reason = null;
        try {
            body.run(scene);
        } catch (Throwable failure) {
            reason = String.valueOf(failure instanceof AssertionError ? failure.getMessage() : failure).replaceAll("\\s+", " ");
        }
        long millis = (System.nanoTime() - start) / 1_000_000L;
        scene.ends.forEach(Runnable::run);
        synchronized (System.out) {
            System.out.println(reason == null ? "PASS " + name + " " + millis : "FAIL " + name + " " + millis + " " + reason);
        }
    }

    private static void send(OldScenarios scene) throws Exception {
        var producer = scene.producer();
        for (int i = 0; i < 4; i++) {
            check(producer.send(scene.message("sync " + i, null)).getSendStatus() == SendStatus.SEND_OK, "sync send");
        }
        var answered = new CountDownLatch(1);
        producer.send(scene.message("async", null), new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                answered.countDown();
            }

            @Override
            public void onException(Throwable failure) {
                failure.printStackTrace();
            }
        });
        check(answered.await(SOON_MILLIS, TimeUnit.MILLISECONDS), "the async send was not answered");
        producer.sendOneway(scene.message("oneway", null));
        producer.send(List.of(scene.message("batch 1", null), scene.message("batch 2", null)));
        var queues = producer.fetchPublishMessageQueues(scene.topic);
        until("all eight", () -> {
            long stored = 0;
            for (var queue : queues) {
                stored += producer.maxOffset(queue) - producer.minOffset(queue);
            }
            return stored == 8;
        });
        // Sends go two below the port of everything else.
        int send = scene.portOf(RequestCode.SEND_MESSAGE_V2);
        check(scene.portOf(RequestCode.GET_MAX_OFFSET) == send, "other requests to the VIP channel");
        check(scene.portOf(RequestCode.SEND_BATCH_MESSAGE) == send, "batches to the VIP channel");
    }

    private static void consume(OldScenarios scene) throws Exception {
        var producer = scene.producer();
        producer.send(scene.message("before", "A"));
        Queue<String> got = new ConcurrentLinkedQueue<>();
        var consumer = scene.consumer("A || B");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> got.add(body(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        producer.send(scene.message("other", "C"));
        producer.send(scene.message("after", "B"));
        until("both", () -> got.contains("before") && got.contains("after"));
        check(!got.contains("other"), "a tag that was not wanted came");
        until("pulls", () -> scene.asked.stream().anyMatch(one -> one.startsWith(RequestCode.PULL_MESSAGE + " ")));
        int pull = scene.portOf(RequestCode.PULL_MESSAGE);
        int send = scene.portOf(RequestCode.SEND_MESSAGE_V2);
        check(pull - 2 == send, "pulls at " + pull + ", sends at " + send);
    }

    private static void retry(OldScenarios scene) throws Exception {
        var times = new AtomicInteger();
        scene.producer().send(scene.message("again", null));
        var consumer = scene.consumer("*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            // Level 1: after a second.
            context.setDelayLevelWhenNextConsume(1);
            check(messages.get(0).getReconsumeTimes() == times.get(), "times it was given back");
            return times.getAndIncrement() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        until("the second delivery", () -> times.get() == 2);
        int back = scene.portOf(RequestCode.CONSUMER_SEND_MSG_BACK);
        check(back == scene.portOf(RequestCode.SEND_MESSAGE_V2), "sent back to " + back);
    }

    private static void orderly(OldScenarios scene) throws Exception {
        var producer = scene.producer();
        for (int i = 0; i < 20; i++) {
            producer.send(scene.message("" + i, null), (queues, message, argument) -> queues.get(0), null);
        }
        Queue<String> got = new ConcurrentLinkedQueue<>();
        var consumer = scene.consumer("*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(message -> got.add(body(message)));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        until("all twenty", () -> got.size() >= 20);
        int next = 0;
        for (String body : got) {
            check(body.equals("" + next++), "order: " + got);
        }
    }

    private static void pull(OldScenarios scene) throws Exception {
        var sent = scene.producer().send(scene.message("pulled", null));
        var consumer = new DefaultMQPullConsumer(scene.topic + "-group");
        consumer.setNamesrvAddr(scene.namesrv);
        consumer.setInstanceName(scene.topic);
        consumer.start();
        scene.ends.add(consumer::shutdown);
        MessageQueue queue = sent.getMessageQueue();
        check(consumer.fetchSubscribeMessageQueues(scene.topic).contains(queue), "queues");
        var result = consumer.pullBlockIfNotFound(queue, "*", 0, 32);
        check(result.getPullStatus() == PullStatus.FOUND, "" + result);
        check(body(result.getMsgFoundList().get(0)).equals("pulled"), "" + result);
        consumer.updateConsumeOffset(queue, result.getNextBeginOffset());
        consumer.getOffsetStore().persist(queue);
        until("the offset", () -> consumer.fetchConsumeOffset(queue, true) == 1);
    }

    private static void query(OldScenarios scene) throws Exception {
        var producer = scene.producer();
        var message = scene.message("by key", null);
        message.setKeys("key-1");
        var sent = producer.send(message);
        check(body(producer.viewMessage(sent.getOffsetMsgId())).equals("by key"), "by id");
        long now = System.currentTimeMillis();
        until("by key", () -> {
            try {
                var found = producer.queryMessage(scene.topic, "key-1", 32, now - 60_000, now + 600_000).getMessageList();
                return found.size() == 1 && body(found.get(0)).equals("by key");
            } catch (org.apache.rocketmq.client.exception.MQClientException none) {
                return false;
            }
        });
    }

    private static void transaction(OldScenarios scene) throws Exception {
        var producer = new TransactionMQProducer(scene.topic + "-transactions");
        producer.setTransactionCheckListener(message -> LocalTransactionState.UNKNOW);
        scene.start(producer);
        // Makes the topic.
        producer.send(scene.message("plain", null));
        producer.sendMessageInTransaction(scene.message("no", null), (message, argument) -> LocalTransactionState.ROLLBACK_MESSAGE, null);
        producer.sendMessageInTransaction(scene.message("yes", null), (message, argument) -> LocalTransactionState.COMMIT_MESSAGE, null);
        Queue<String> got = new ConcurrentLinkedQueue<>();
        var consumer = scene.consumer("*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> got.add(body(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        until("what was committed", () -> got.contains("yes") && got.contains("plain"));
        check(!got.contains("no"), "what was rolled back came");
    }

    private DefaultMQProducer producer() throws Exception {
        var producer = new DefaultMQProducer(topic + "-producers", recording());
        start(producer);
        return producer;
    }

    private void start(DefaultMQProducer producer) throws Exception {
        check(producer.isSendMessageWithVIPChannel(), "a client of 4.2.0 uses the VIP channel by itself");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(topic + producer.getProducerGroup());
        producer.start();
        ends.add(producer::shutdown);
    }

    private DefaultMQPushConsumer consumer(String tags) throws Exception {
        var consumer = new DefaultMQPushConsumer(topic + "-group", recording(), new org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely());
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(topic + "-consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, tags);
        return consumer;
    }

    private void start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        ends.add(consumer::shutdown);
    }

    private RPCHook recording() {
        return new RPCHook() {
            @Override
            public void doBeforeRequest(String address, RemotingCommand request) {
                asked.add(request.getCode() + " " + address);
            }

            @Override
            public void doAfterResponse(String address, RemotingCommand request, RemotingCommand response) {}
        };
    }

    /** The one port to which requests of this code went. */
    private int portOf(int code) {
        var ports = asked.stream().filter(one -> one.startsWith(code + " ")).map(one -> one.substring(one.lastIndexOf(':') + 1)).distinct().toList();
        check(ports.size() == 1, "ports of code " + code + ": " + ports + " of " + asked);
        return Integer.parseInt(ports.get(0));
    }

    private Message message(String body, String tag) {
        return new Message(topic, tag, body.getBytes(StandardCharsets.UTF_8));
    }

    private static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    private static void until(String what, Callable<Boolean> holds) throws Exception {
        long end = System.currentTimeMillis() + SOON_MILLIS;
        while (!holds.call()) {
            check(System.currentTimeMillis() < end, what + " did not come");
            Thread.sleep(50);
        }
    }
}
