package sluice.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.trace.TraceView;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/** Message trace: clients write what they did with a message to a topic, under its id and keys. */
final class TraceScenarios {
    /** A traced client sends what it has written every five seconds. */
    private static final long FLUSHED = Scene.SOON;

    private TraceScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("trace", s -> traced(s, null, "RMQ_SYS_TRACE_TOPIC"));
        all.put("trace_to_a_topic_of_its_own", s -> {
            String topic = s.topic("trace", 1);
            traced(s, topic, topic);
        });
        all.put("trace_of_a_retry", TraceScenarios::retried);
    }

    private static DefaultMQProducer producer(Scene s, String traceTopic) throws Exception {
        var producer = new DefaultMQProducer(s.name("pg"), true, traceTopic);
        producer.setNamesrvAddr(s.namesrv);
        producer.setInstanceName(Scene.instance());
        producer.setSendMsgTimeout(10_000);
        producer.start();
        s.closing(producer::shutdown);
        return producer;
    }

    private static DefaultMQPushConsumer consumer(Scene s, String traceTopic, String topic, MessageListenerConcurrently listener) throws Exception {
        var consumer = new DefaultMQPushConsumer(s.name("g"), true, traceTopic);
        consumer.setNamesrvAddr(s.namesrv);
        consumer.setInstanceName(Scene.instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        Compat.steady(consumer);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        s.closing(consumer::shutdown);
        consumer.start();
        return consumer;
    }

    /** What the trace topic has of a message: the lines that {@code queryMsgTraceById} would print. */
    private static List<String> trace(Scene s, String traceTopic, String id) throws Exception {
        var lines = new ArrayList<String>();
        for (var message : s.admin.queryMessage(traceTopic, id, 64, 0, Long.MAX_VALUE).getMessageList()) {
            for (var view : TraceView.decodeFromTraceTransData(id, message)) {
                lines.add(view.getMsgType() + " " + view.getGroupName() + " " + view.getStatus());
            }
        }
        lines.sort(null);
        return lines;
    }

    private static void traced(Scene s, String given, String traceTopic) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        consumer(s, given, topic, (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        var message = new Message(topic, "tag", s.name("key"), Scene.bytes("traced"));
        var sent = Scene.sendOk(producer(s, given).send(message));
        inbox.await("the message", Scene.SOON, got -> got.size() == 1);
        Scene.same("id", sent.getMsgId(), inbox.all().get(0).getMsgId());
        var expected = List.of("Pub " + s.name("pg") + " success", "SubAfter " + s.name("g") + " success");
        Scene.until("trace of " + sent.getMsgId(), FLUSHED, () -> whole(s, traceTopic, sent.getMsgId(), expected));
        Scene.until("trace by key", FLUSHED, () -> !s.admin.queryMessage(traceTopic, s.name("key"), 64, 0, Long.MAX_VALUE).getMessageList().isEmpty());
    }

    /** The start of a consumption is traced, too, but tools do not show it. */
    private static boolean whole(Scene s, String traceTopic, String id, List<String> expected) throws Exception {
        return trace(s, traceTopic, id).stream().filter(line -> !line.startsWith("SubBefore")).toList().equals(expected);
    }

    private static void retried(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String traceTopic = s.topic("trace", 1);
        s.retryTopic(s.name("g"));
        var times = new AtomicInteger();
        var inbox = new Inbox();
        consumer(s, traceTopic, topic, (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (times.getAndIncrement() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        var sent = Scene.sendOk(producer(s, traceTopic).send(new Message(topic, Scene.bytes("again"))));
        inbox.await("the message that came back", Scene.SOON, got -> got.size() == 1);
        var expected = List.of("Pub " + s.name("pg") + " success", "SubAfter " + s.name("g") + " failed", "SubAfter " + s.name("g") + " success");
        Scene.until("both consumptions in the trace", FLUSHED, () -> whole(s, traceTopic, sent.getMsgId(), expected));
    }
}
