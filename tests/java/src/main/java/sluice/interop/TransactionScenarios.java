package sluice.interop;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Transactional messages. The brokers of these tests ask producers after 6 s, every 5 s, three times at
 * most: see {@code transactionCheckInterval} and its like in the cluster's properties.
 */
final class TransactionScenarios {
    private static final String GIVEN_UP = "TRANS_CHECK_MAX_TIME_TOPIC";

    private TransactionScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("transaction_commit_and_rollback", TransactionScenarios::commitAndRollback);
        all.put("transaction_check", TransactionScenarios::check);
        all.put("transaction_check_of_another_producer", TransactionScenarios::checkOfAnotherProducer);
        all.put("transaction_given_up", TransactionScenarios::givenUp);
    }

    /** What a producer says: by body at first, and when it is asked. */
    private static final class Decisions implements TransactionListener {
        final Map<String, LocalTransactionState> first = new ConcurrentHashMap<>();
        final Map<String, LocalTransactionState> asked = new ConcurrentHashMap<>();
        final Map<String, AtomicInteger> checks = new ConcurrentHashMap<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return first.getOrDefault(Scene.text(message), LocalTransactionState.UNKNOW);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            String body = Scene.text(message);
            checks.computeIfAbsent(body, b -> new AtomicInteger()).incrementAndGet();
            return asked.getOrDefault(body, first.getOrDefault(body, LocalTransactionState.UNKNOW));
        }

        int checks(String body) {
            var count = checks.get(body);
            return count == null ? 0 : count.get();
        }
    }

    private static TransactionMQProducer producer(Scene s, String group, Decisions decisions) throws Exception {
        var producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(s.namesrv);
        producer.setInstanceName(Scene.instance());
        producer.setSendMsgTimeout(10_000);
        producer.setTransactionListener(decisions);
        producer.start();
        s.closing(producer::shutdown);
        return producer;
    }

    private static TransactionSendResult send(TransactionMQProducer producer, String topic, String body) throws Exception {
        var message = new Message(topic, "TagA", "k-" + body, Scene.bytes(body));
        message.putUserProperty("colour", "blue");
        var result = producer.sendMessageInTransaction(message, null);
        Scene.sendOk(result);
        Scene.same("transaction id", result.getMsgId(), result.getTransactionId());
        return result;
    }

    /** What is committed comes, once and whole; what is not never does. */
    private static void commitAndRollback(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "TagA", inbox).start();
        var decisions = new Decisions();
        var producer = producer(s, s.name("p"), decisions);
        Set<String> committed = new TreeSet<>();
        for (int i = 0; i < 30; i++) {
            String body = "m" + i;
            boolean commit = i % 3 == 0;
            decisions.first.put(body, commit ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE);
            if (commit) {
                committed.add(body);
            }
            var result = send(producer, topic, body);
            Scene.same("state", decisions.first.get(body), result.getLocalTransactionState());
        }
        inbox.await("committed messages", Scene.WAKE, got -> got.size() >= committed.size());
        // Longer than the first check takes: what is decided is not asked about.
        Thread.sleep(7_500);
        Scene.sameBodies(committed, inbox.bodies());
        for (var message : inbox.all()) {
            Scene.same("topic", topic, message.getTopic());
            Scene.same("tag", "TagA", message.getTags());
            Scene.same("key", "k-" + Scene.text(message), message.getKeys());
            Scene.same("property", "blue", message.getUserProperty("colour"));
            Scene.same("transaction", message.getMsgId(), message.getTransactionId());
        }
    }

    /** A producer that does not know yet is asked, and nothing is seen before it says commit. */
    private static void check(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var decisions = new Decisions();
        decisions.asked.put("later", LocalTransactionState.COMMIT_MESSAGE);
        decisions.asked.put("never", LocalTransactionState.ROLLBACK_MESSAGE);
        var producer = producer(s, s.name("p"), decisions);
        send(producer, topic, "later");
        send(producer, topic, "never");
        Scene.check("seen before it was committed", inbox.all().isEmpty());
        inbox.await("message committed when asked", Scene.LONG, got -> got.size() >= 1);
        Scene.check("committed without being asked", decisions.checks("later") >= 1);
        Scene.until("check of the other", Scene.SOON, () -> decisions.checks("never") >= 1);
        Thread.sleep(2_000);
        Scene.sameBodies(Set.of("later"), inbox.bodies());
    }

    /** The program that sent it is gone; another producer of its group is asked. */
    private static void checkOfAnotherProducer(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var gone = producer(s, s.name("p"), new Decisions());
        send(gone, topic, "left behind");
        gone.shutdown();
        var decisions = new Decisions();
        decisions.asked.put("left behind", LocalTransactionState.COMMIT_MESSAGE);
        var next = producer(s, s.name("p"), decisions);
        // A producer sends heartbeats to brokers that it has sent to.
        decisions.first.put("its own", LocalTransactionState.COMMIT_MESSAGE);
        send(next, topic, "its own");
        inbox.await("message of the gone producer", Scene.LONG, got -> got.size() >= 2);
        Scene.sameBodies(Set.of("left behind", "its own"), inbox.bodies());
    }

    /** Asked so often in vain, it goes where operators look. */
    private static void givenUp(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var inbox = new Inbox();
        s.collecting(s.name("g"), topic, "*", inbox).start();
        var decisions = new Decisions();
        var producer = producer(s, s.name("p"), decisions);
        String body = s.name("undecided");
        send(producer, topic, body);
        var reader = s.pullConsumer(s.name("r"));
        Scene.until("message that was given up", 55_000, () -> {
            for (var queue : reader.fetchSubscribeMessageQueues(GIVEN_UP)) {
                var found = reader.pull(queue, "*", reader.minOffset(queue), 32).getMsgFoundList();
                if (found != null && found.stream().anyMatch(m -> Scene.text(m).equals(body))) {
                    return true;
                }
            }
            return false;
        });
        Scene.same("checks", 3, decisions.checks(body));
        Scene.check("an undecided message was seen", inbox.all().isEmpty());
    }
}
