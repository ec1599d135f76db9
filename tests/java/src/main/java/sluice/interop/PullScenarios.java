package sluice.interop;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.MQPullConsumerScheduleService;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that pull: the lite one, the old one and its schedule. */
@SuppressWarnings("deprecation") // The old pull consumer is deprecated, and in use.
final class PullScenarios {
    private PullScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("lite_subscribe", PullScenarios::liteSubscribe);
        all.put("lite_assign", PullScenarios::liteAssign);
        all.put("lite_seek", PullScenarios::liteSeek);
        all.put("pull_consumer", PullScenarios::pullConsumer);
        all.put("pull_schedule", PullScenarios::pullSchedule);
    }

    private static Set<String> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        var bodies = new TreeSet<String>();
        Scene.until(count + " polled messages", Scene.SOON, () -> {
            for (MessageExt m : consumer.poll(200)) {
                bodies.add(Scene.text(m));
            }
            return bodies.size() >= count;
        });
        return bodies;
    }

    private static void liteSubscribe(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var consumer = s.litePull(s.name("g"));
        consumer.subscribe(topic, "TagA || TagB");
        consumer.start();
        var producer = s.producer();
        var bodies = new TreeSet<>(Scene.send(producer, topic, "TagA", "a", 10));
        bodies.addAll(Scene.send(producer, topic, "TagB", "b", 10));
        Scene.send(producer, topic, "TagC", "c", 10);
        Scene.same("polled", bodies, poll(consumer, 20));
        consumer.commitSync();
        consumer.shutdown();
        var next = s.litePull(s.name("g"));
        next.subscribe(topic, "*");
        next.start();
        var later = Scene.send(producer, topic, "TagC", "later", 4);
        var got = new TreeSet<String>();
        Scene.until("the later messages", Scene.SOON, () -> {
            next.poll(200).forEach(m -> got.add(Scene.text(m)));
            return got.containsAll(later);
        });
        Scene.check("did not go on behind the commit: " + got, got.stream().noneMatch(bodies::contains));
    }

    private static void liteAssign(Scene s) throws Exception {
        String topic = s.topic("t", 4);
        var producer = s.producer();
        var queues = producer.fetchPublishMessageQueues(topic);
        var wanted = Scene.sendTo(producer, queues.get(1), "wanted", 10);
        Scene.sendTo(producer, queues.get(2), "unwanted", 10);
        var consumer = s.litePull(s.name("g"));
        consumer.setAutoCommit(false);
        consumer.start();
        Scene.same("queues", new HashSet<>(queues), new HashSet<>(consumer.fetchMessageQueues(topic)));
        consumer.assign(List.of(queues.get(1)));
        consumer.seekToBegin(queues.get(1));
        Scene.same("polled", new TreeSet<>(wanted), poll(consumer, 10));
        consumer.commitSync();
        Scene.until("commit", Scene.SOON, () -> consumer.committed(queues.get(1)) == 10);
    }

    private static void liteSeek(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        var queue = Scene.onlyQueue(producer, topic);
        Scene.sendTo(producer, queue, "early", 10);
        long between = Scene.nextSecond();
        Scene.sendTo(producer, queue, "late", 10);
        var consumer = s.litePull(s.name("g"));
        consumer.start();
        consumer.assign(List.of(queue));
        consumer.seek(queue, 7);
        var fromSeven = poll(consumer, 13);
        Scene.check("early-7 missing in " + fromSeven, fromSeven.contains("early-7") && !fromSeven.contains("early-6"));
        consumer.seekToBegin(queue);
        Scene.check("seekToBegin", pollUntil(consumer, "early-0"));
        long offset = consumer.offsetForTimestamp(queue, between);
        Scene.same("offset by time", 10L, offset);
        consumer.seek(queue, offset);
        Scene.check("seek by time", pollUntil(consumer, "late-0"));
        consumer.seekToEnd(queue);
        Scene.sendOk(producer.send(new Message(topic, Scene.bytes("at the end")), queue));
        Scene.check("seekToEnd", pollUntil(consumer, "at the end"));
    }

    private static boolean pollUntil(DefaultLitePullConsumer consumer, String body) throws Exception {
        Scene.until(body, Scene.SOON, () -> contains(consumer.poll(200), body));
        return true;
    }

    private static boolean contains(Collection<MessageExt> messages, String body) {
        return messages.stream().anyMatch(m -> Scene.text(m).equals(body));
    }

    private static void pullConsumer(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var producer = s.producer();
        var queue = Scene.onlyQueue(producer, topic);
        Scene.sendTo(producer, queue, "m", 10);
        Scene.sendOk(producer.send(new Message(topic, "Tagged", Scene.bytes("tagged")), queue));
        var consumer = s.pullConsumer(s.name("g"));
        Scene.same("queues", Set.of(queue), consumer.fetchSubscribeMessageQueues(topic));
        Scene.same("offset of an unknown group", true, consumer.fetchConsumeOffset(queue, true) <= 0);
        var first = consumer.pull(queue, "*", 0, 4);
        Scene.same("status", PullStatus.FOUND, first.getPullStatus());
        Scene.same("batch", List.of("m-0", "m-1", "m-2", "m-3"), first.getMsgFoundList().stream().map(Scene::text).toList());
        Scene.same("next", 4L, first.getNextBeginOffset());
        Scene.same("max", 11L, first.getMaxOffset());
        var tagged = new ArrayList<String>();
        long next = 0;
        while (tagged.isEmpty() && next < 11) {
            var result = consumer.pull(queue, "Tagged", next, 32);
            Scene.check("the old consumer does not advance from " + next, result.getNextBeginOffset() > next);
            next = result.getNextBeginOffset();
            if (result.getPullStatus() == PullStatus.FOUND) {
                result.getMsgFoundList().forEach(m -> tagged.add(Scene.text(m)));
            }
        }
        Scene.same("tagged", List.of("tagged"), tagged);
        Scene.same("at the end", PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 11, 32).getPullStatus());
        Scene.same("beyond the end", PullStatus.OFFSET_ILLEGAL, consumer.pull(queue, "*", 5_000, 32).getPullStatus());
        consumer.updateConsumeOffset(queue, 5);
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persistAll(Set.of(queue));
        Scene.until("stored offset", Scene.SOON, () -> consumer.fetchConsumeOffset(queue, true) == 5);
        blockingPull(s, consumer, queue);
    }

    private static void blockingPull(Scene s, org.apache.rocketmq.client.consumer.DefaultMQPullConsumer consumer, MessageQueue queue) throws Exception {
        var inbox = new Inbox();
        var parked = new Thread(() -> {
            try {
                var result = consumer.pullBlockIfNotFound(queue, "*", 11, 32);
                if (result.getPullStatus() == PullStatus.FOUND) {
                    inbox.add(result.getMsgFoundList());
                }
            } catch (Exception e) {
                // The inbox stays empty, which fails the scenario.
            }
        });
        parked.start();
        Scene.sendOk(s.producer().send(new Message(queue.getTopic(), Scene.bytes("wake")), queue));
        inbox.awaitBodies(Set.of("wake"), Scene.SOON);
    }

    private static void pullSchedule(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        var schedule = new MQPullConsumerScheduleService(s.name("g"));
        schedule.getDefaultMQPullConsumer().setNamesrvAddr(s.namesrv);
        schedule.getDefaultMQPullConsumer().setInstanceName(Scene.instance());
        schedule.registerPullTaskCallback(topic, (queue, context) -> {
            try {
                var consumer = context.getPullConsumer();
                long offset = Math.max(0, consumer.fetchConsumeOffset(queue, false));
                var result = consumer.pull(queue, "*", offset, 32);
                if (result.getPullStatus() == PullStatus.FOUND) {
                    inbox.add(result.getMsgFoundList());
                }
                consumer.updateConsumeOffset(queue, result.getNextBeginOffset());
            } catch (Exception e) {
                // The next turn tries again; messages that never come fail the scenario.
            }
            context.setPullNextDelayTimeMillis(100);
        });
        schedule.start();
        s.closing(schedule::shutdown);
        var bodies = Scene.send(s.producer(), topic, "", "scheduled", 20);
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
    }
}
