package sluice.interop;

import java.util.Map;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;

/** Namespaces of the second kind travel in fields of each request and leave names alone; brokers pay no heed to them. */
final class NamespaceV2Scenarios {
    private NamespaceV2Scenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("namespace_v2", NamespaceV2Scenarios::roundTrip);
    }

    private static void roundTrip(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        var consumer = NamespaceScenarios.consumer(s, null, topic);
        consumer.setNamespaceV2("ns-v2");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        var producer = new org.apache.rocketmq.client.producer.DefaultMQProducer(s.name("pg"));
        producer.setNamesrvAddr(s.namesrv);
        producer.setInstanceName(Scene.instance());
        producer.setNamespaceV2("ns-v2");
        producer.start();
        s.closing(producer::shutdown);
        var bodies = Scene.send(producer, topic, "", "v2", 10);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
        Scene.same("topic as the listener sees it", topic, inbox.all().get(0).getTopic());
        Scene.check("group", s.admin.examineConsumerConnectionInfo(s.name("g")).getSubscriptionTable().containsKey(topic));
    }
}
