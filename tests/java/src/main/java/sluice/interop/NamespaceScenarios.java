package sluice.interop;

import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/** Namespaces: clients put them before the names of topics and groups; the broker knows only the whole names. */
@SuppressWarnings("deprecation") // The 5.x client has another kind, too, see its own scenarios.
final class NamespaceScenarios {
    private NamespaceScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("namespace", NamespaceScenarios::apart);
        all.put("namespace_retry", NamespaceScenarios::retry);
        all.put("namespace_orderly", NamespaceScenarios::orderly);
    }

    private static void prepare(Scene s, ClientConfig client, String namespace) {
        client.setNamesrvAddr(s.namesrv);
        client.setInstanceName(Scene.instance());
        client.setNamespace(namespace);
    }

    static DefaultMQProducer producer(Scene s, String namespace) throws Exception {
        var producer = new DefaultMQProducer(s.name("pg"));
        prepare(s, producer, namespace);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        s.closing(producer::shutdown);
        return producer;
    }

    static DefaultMQPushConsumer consumer(Scene s, String namespace, String topic) throws Exception {
        var consumer = new DefaultMQPushConsumer(s.name("g"));
        prepare(s, consumer, namespace);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        Compat.steady(consumer);
        consumer.subscribe(topic, "*");
        s.closing(consumer::shutdown);
        return consumer;
    }

    /** Topic and group of one name in two namespaces have nothing to do with each other. */
    private static void apart(Scene s) throws Exception {
        String topic = "t-" + s.prefix;
        var inboxes = new Inbox[] {new Inbox(), new Inbox()};
        for (int i = 0; i < 2; i++) {
            String namespace = "NS" + i;
            var inbox = inboxes[i];
            s.admin.createAndUpdateTopicConfig(s.broker(), new org.apache.rocketmq.common.TopicConfig(namespace + "%" + topic));
            Scene.until("route", Scene.SOON, () -> !s.admin.examineTopicRouteInfo(namespace + "%" + topic).getQueueDatas().isEmpty());
            var consumer = consumer(s, namespace, topic);
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                inbox.add(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
        }
        for (int i = 0; i < 2; i++) {
            var bodies = Scene.send(producer(s, "NS" + i), topic, "", "of-" + i, 8);
            inboxes[i].awaitBodies(bodies, Scene.SOON);
            Scene.sameBodies(bodies, inboxes[i].bodies());
            Scene.same("topic as the listener sees it", topic, inboxes[i].all().get(0).getTopic());
            String group = "NS" + i + "%" + s.name("g");
            Scene.check("group", s.admin.examineConsumerConnectionInfo(group).getSubscriptionTable().containsKey("NS" + i + "%" + topic));
        }
    }

    private static void retry(Scene s) throws Exception {
        String topic = "t-" + s.prefix;
        var times = new AtomicInteger();
        var inbox = new Inbox();
        s.admin.createAndUpdateTopicConfig(s.broker(), new org.apache.rocketmq.common.TopicConfig("NSR%" + topic));
        Scene.until("route", Scene.SOON, () -> !s.admin.examineTopicRouteInfo("NSR%" + topic).getQueueDatas().isEmpty());
        s.retryTopic("NSR%" + s.name("g"));
        var consumer = consumer(s, "NSR", topic);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (times.getAndIncrement() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Scene.sendOk(producer(s, "NSR").send(new Message(topic, Scene.bytes("again"))));
        inbox.await("the message that came back", Scene.SOON, got -> got.size() == 1);
        var message = inbox.all().get(0);
        Scene.same("topic as the listener sees it", topic, message.getTopic());
        Scene.same("times", 1, message.getReconsumeTimes());
        var retries = s.admin.examineTopicStats("%RETRY%NSR%" + s.name("g")).getOffsetTable().values();
        Scene.check("retry topic", retries.stream().anyMatch(offsets -> offsets.getMaxOffset() > 0));
    }

    private static void orderly(Scene s) throws Exception {
        String topic = "t-" + s.prefix;
        s.admin.createAndUpdateTopicConfig(s.broker(), new org.apache.rocketmq.common.TopicConfig("NSO%" + topic));
        Scene.until("route", Scene.SOON, () -> !s.admin.examineTopicRouteInfo("NSO%" + topic).getQueueDatas().isEmpty());
        var inbox = new Inbox();
        var consumer = consumer(s, "NSO", topic);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            inbox.add(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        var producer = producer(s, "NSO");
        var queue = producer.fetchPublishMessageQueues(topic).get(0);
        var bodies = Scene.sendTo(producer, queue, "m", 10);
        inbox.await("10 messages", Scene.SOON, got -> got.size() >= 10);
        Scene.same("order", bodies, inbox.bodies());
    }
}
