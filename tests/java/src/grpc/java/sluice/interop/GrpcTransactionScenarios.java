package sluice.interop;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactional messages: the proxy is the producer that brokers know of, and relays their questions. */
final class GrpcTransactionScenarios {
    private GrpcTransactionScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("transaction_check", GrpcTransactionScenarios::check);
        all.put("remoting_transaction_check", GrpcTransactionScenarios::remotingCheck);
        all.put("transaction_commit_and_rollback", GrpcTransactionScenarios::commitAndRollback);
    }

    private static void send(Producer producer, String topic, String body, TransactionResolution resolution) throws Exception {
        var transaction = producer.beginTransaction();
        producer.send(Grpc.message(topic, body).setTag("tag").setKeys("k-" + body).addProperty("colour", "blue").build(), transaction);
        switch (resolution) {
            case COMMIT -> transaction.commit();
            case ROLLBACK -> transaction.rollback();
            default -> { }
        }
    }

    private static void commitAndRollback(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("TRANSACTION", 4);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        var asked = ConcurrentHashMap.<String>newKeySet();
        var producer = grpc.producer(topic, message -> {
            asked.add(Grpc.text(message));
            return TransactionResolution.UNKNOWN;
        });
        var committed = new TreeSet<String>();
        for (int i = 0; i < 15; i++) {
            boolean commit = i % 3 == 0;
            send(producer, topic, "m" + i, commit ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK);
            if (commit) {
                committed.add("m" + i);
            }
        }
        inbox.awaitBodies(committed, Scene.WAKE);
        // Longer than the first check takes: what is decided is not asked about.
        Thread.sleep(7_500);
        Scene.sameBodies(committed, inbox.bodies());
        Scene.same("asked about", Set.of(), asked);
        for (var delivery : inbox.all()) {
            Scene.same("tag", "tag", delivery.message().getTag().orElse(null));
            Scene.same("keys", Set.of("k-" + delivery.body()), Set.copyOf(delivery.message().getKeys()));
            Scene.same("property", "blue", delivery.message().getProperties().get("colour"));
        }
    }

    /** What stays undecided is asked about, over the proxy's connection, and its answer counts. */
    private static void check(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("TRANSACTION", 1);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        Map<String, TransactionResolution> answers = Map.of("later", TransactionResolution.COMMIT, "never", TransactionResolution.ROLLBACK);
        var asked = ConcurrentHashMap.<String>newKeySet();
        var producer = grpc.producer(topic, message -> {
            Scene.same("property", "blue", message.getProperties().get("colour"));
            asked.add(Grpc.text(message));
            return answers.get(Grpc.text(message));
        });
        for (String body : answers.keySet()) {
            send(producer, topic, body, TransactionResolution.UNKNOWN);
        }
        Scene.until("questions about both", Scene.LONG, () -> asked.equals(answers.keySet()));
        inbox.await("what was committed when asked", Scene.WAKE, got -> !got.isEmpty());
        Thread.sleep(1_500);
        Scene.sameBodies(Set.of("later"), inbox.bodies());
    }

    /** A remoting producer behind the proxy, which relays question and answer. */
    private static void remotingCheck(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("TRANSACTION", 1);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        var asked = ConcurrentHashMap.<String>newKeySet();
        var producer = new TransactionMQProducer(s.name("p"));
        producer.setNamesrvAddr(System.getProperty("interop.proxy.remoting"));
        producer.setInstanceName(Scene.instance());
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return LocalTransactionState.UNKNOW;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                asked.add(Scene.text(message));
                return Scene.text(message).equals("later") ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }
        });
        producer.start();
        s.closing(producer::shutdown);
        for (String body : Set.of("later", "never")) {
            Scene.sendOk(producer.sendMessageInTransaction(new Message(topic, Scene.bytes(body)), null));
        }
        // The proxy forgets a producer that it has seen no heartbeat of, until that one sends again.
        Scene.until("questions about both", Scene.LONG, () -> {
            Thread.sleep(500);
            producer.sendMessageInTransaction(new Message(topic, Scene.bytes("more")), null);
            return asked.containsAll(Set.of("later", "never"));
        });
        inbox.await("what was committed when asked", Scene.WAKE, got -> !got.isEmpty());
        Thread.sleep(1_500);
        Scene.sameBodies(Set.of("later"), inbox.bodies());
    }
}
