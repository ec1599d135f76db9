package sluice.interop;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;

/** What brokers count, under the names that tools ask for; samples come every ten seconds. */
final class StatsScenarios {
    private StatsScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("stats_of_topic_and_group", StatsScenarios::topicAndGroup);
        all.put("stats_of_sent_back", StatsScenarios::sentBack);
        all.put("stats_of_broker", StatsScenarios::broker);
    }

    private static void topicAndGroup(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        String group = s.name("g");
        missing(s, "TOPIC_PUT_NUMS", topic);
        missing(s, "GROUP_GET_NUMS", topic + "@" + group);
        var inbox = new Inbox();
        var consumer = s.collecting(group, topic, "*", inbox);
        consumer.start();
        var bodies = Scene.send(s.producer(), topic, "", "counted", 12);
        inbox.awaitBodies(bodies, Scene.SOON);
        awaitSum(s, "TOPIC_PUT_NUMS", topic, 12);
        awaitSum(s, "GROUP_GET_NUMS", topic + "@" + group, 12);
        var size = s.admin.viewBrokerStatsData(s.broker(), "TOPIC_PUT_SIZE", topic).getStatsMinute();
        Scene.check("size " + size.getSum(), size.getSum() > 12 * 100);
        Scene.same("mean size", size.getSum() / 12.0, size.getAvgpt());
        Scene.check("size a second", size.getTps() > 0);
        var got = s.admin.viewBrokerStatsData(s.broker(), "GROUP_GET_SIZE", topic + "@" + group).getStatsMinute();
        Scene.same("size that the group got", size.getSum(), got.getSum());
        var progress = s.admin.examineConsumeStats(group, topic);
        Scene.check("consumption a second", progress.getConsumeTps() > 0);
        Scene.until("stored offsets", Scene.SOON, () -> s.admin.examineConsumeStats(group, topic).computeTotalDiff() == 0);
        var spans = s.admin.queryConsumeTimeSpan(topic, group);
        Scene.same("queues with times", 2, spans.size());
        Scene.check("times " + spans, spans.stream().allMatch(span -> span.getDelayTime() == 0 && span.getMinTimeStamp() > 0 && span.getConsumeTimeStamp() == span.getMaxTimeStamp()));
        var status = s.admin.getConsumeStatus(topic, group, "");
        Scene.same("consumers with a status", 1, status.size());
        var said = status.values().iterator().next();
        Scene.same("offsets that the consumer tells", 12L, said.values().stream().mapToLong(Long::longValue).sum());
        Scene.same("another consumer's status", 0, s.admin.getConsumeStatus(topic, group, "nobody").size());
        var all = s.admin.fetchConsumeStatsInBroker(s.broker(), false, 10_000).getConsumeStatsList();
        var ours = all.stream().filter(map -> map.containsKey(group)).findFirst().orElseThrow().get(group);
        var ofTopic = ours.stream().filter(stats -> stats.getOffsetTable().keySet().stream().anyMatch(queue -> queue.getTopic().equals(topic)))
                .findFirst().orElseThrow();
        Scene.same("queues", 2, ofTopic.getOffsetTable().size());
        Scene.same("behind", 0L, ofTopic.computeTotalDiff());
        Scene.check("consumption a second in the list", ofTopic.getConsumeTps() > 0);
        var ordered = s.admin.fetchConsumeStatsInBroker(s.broker(), true, 10_000).getConsumeStatsList();
        Scene.check("ordered topics only", ordered.stream().noneMatch(map -> map.containsKey(group) && !map.get(group).isEmpty()));
        consumer.shutdown();
        s.admin.deleteTopicInBroker(Set.of(s.broker()), topic);
        missing(s, "TOPIC_PUT_NUMS", topic);
        missing(s, "GROUP_GET_NUMS", topic + "@" + group);
    }

    private static void sentBack(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String group = s.name("g");
        s.retryTopic(group);
        var refused = new AtomicBoolean();
        var inbox = new Inbox();
        var consumer = s.consumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (refused.compareAndSet(false, true)) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        inbox.awaitBodies(Scene.send(s.producer(), topic, "", "back", 1), Scene.LONG);
        awaitSum(s, "SNDBCK_PUT_NUMS", topic + "@" + group, 1);
    }

    private static void broker(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String group = s.name("g");
        var inbox = new Inbox();
        s.collecting(group, topic, "*", inbox).start();
        var before = s.admin.fetchBrokerRuntimeStats(s.broker()).getTable();
        inbox.awaitBodies(Scene.send(s.producer(), topic, "", "m", 20), Scene.SOON);
        for (String name : new String[] {"BROKER_PUT_NUMS", "BROKER_GET_NUMS"}) {
            Scene.until(name, Scene.SOON, () -> s.admin.viewBrokerStatsData(s.broker(), name, s.cluster()).getStatsMinute().getSum() >= 20);
            missing(s, name, topic);
        }
        missing(s, "NONSENSE", topic);
        var now = s.admin.fetchBrokerRuntimeStats(s.broker()).getTable();
        for (String total : new String[] {"msgPutTotalTodayNow", "msgGetTotalTodayNow", "putMessageTimesTotal"}) {
            Scene.check(total, Long.parseLong(now.get(total)) >= Long.parseLong(before.get(total)) + 20 - 1);
        }
        for (String rates : new String[] {"putTps", "getFoundTps", "getTransferredTps", "getTotalTps"}) {
            Scene.until("rate " + rates, Scene.SOON, () -> Double.parseDouble(
                    s.admin.fetchBrokerRuntimeStats(s.broker()).getTable().get(rates).split(" ")[0]) > 0);
        }
    }

    /** Waits until a count stands at {@code sum} in the last minute. */
    private static void awaitSum(Scene s, String name, String key, long sum) throws Exception {
        Scene.until(name + " of " + key, Scene.SOON, () -> {
            var data = s.admin.viewBrokerStatsData(s.broker(), name, key);
            return data.getStatsMinute().getSum() == sum && data.getStatsMinute().getTps() > 0;
        });
    }

    private static void missing(Scene s, String name, String key) throws Exception {
        try {
            s.admin.viewBrokerStatsData(s.broker(), name, key);
        } catch (Exception e) {
            String words = "The stats <" + name + "> <" + key + "> not exist";
            Scene.check("words: " + e.getMessage(), e.getMessage().contains(words));
            return;
        }
        throw new AssertionError(name + " of " + key + " is there");
    }
}
