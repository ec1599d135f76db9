package sluice.interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that leave it to brokers which queues are theirs: {@code setClientRebalance(false)}, since 5.0. */
final class AssignmentScenarios {
    private AssignmentScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("rebalance_by_broker", AssignmentScenarios::rebalanceByBroker);
    }

    private static void rebalanceByBroker(Scene s) throws Exception {
        String topic = s.topic("t", 8);
        var inbox = new Inbox();
        var allocatedHere = new AtomicInteger();
        var members = new ArrayList<DefaultMQPushConsumer>();
        for (int i = 0; i < 3; i++) {
            var consumer = s.collecting(s.name("g"), topic, "*", inbox);
            consumer.setClientRebalance(false);
            consumer.setAllocateMessageQueueStrategy(new Counted(allocatedHere));
            consumer.start();
            members.add(consumer);
        }
        awaitShares(members, topic, List.of(2, 3, 3));
        var producer = s.producer();
        inbox.awaitBodies(Scene.send(producer, topic, "", "three", 24), Scene.SOON);
        members.remove(1).shutdown();
        awaitShares(members, topic, List.of(4, 4));
        inbox.awaitBodies(Scene.send(producer, topic, "", "two", 24), Scene.SOON);
        Scene.same("allocations by the clients", 0, allocatedHere.get());
    }

    /** Waits until the members have so many queues each, and no queue is with two of them. */
    private static void awaitShares(List<DefaultMQPushConsumer> members, String topic, List<Integer> shares) throws Exception {
        Scene.until("shares of " + shares, Scene.SOON, () -> {
            var sizes = new ArrayList<Integer>();
            var all = new HashSet<MessageQueue>();
            for (var member : members) {
                var held = Scene.held(member, topic);
                sizes.add(held.size());
                all.addAll(held);
            }
            sizes.sort(null);
            return sizes.equals(shares) && all.size() == shares.stream().mapToInt(Integer::intValue).sum();
        });
    }

    /** Brokers know the strategy by its name; this counts who uses it all the same. */
    private static final class Counted extends AllocateMessageQueueAveragelyByCircle {
        private final AtomicInteger used;

        Counted(AtomicInteger used) {
            this.used = used;
        }

        @Override
        public List<MessageQueue> allocate(String group, String client, List<MessageQueue> queues, List<String> clients) {
            used.incrementAndGet();
            return super.allocate(group, client, queues, clients);
        }
    }
}
