package sluice.interop;

import apache.rocketmq.v2.Code;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** Messages that a simple consumer takes for a while. */
final class GrpcPopScenarios {
    private GrpcPopScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("acked_stays_away", GrpcPopScenarios::acked);
        all.put("batch_ack", GrpcPopScenarios::batchAck);
        all.put("not_acked_comes_back", GrpcPopScenarios::notAcked);
        all.put("invisible_duration_changed", GrpcPopScenarios::changed);
    }

    private static void acked(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 2);
        var consumer = grpc.simple(grpc.group(false, 16), topic, Grpc.ALL, Duration.ofSeconds(3));
        var bodies = Grpc.send(grpc.producer(topic), topic, "m", 20);
        var got = Grpc.take(consumer, 20, Duration.ofSeconds(3));
        Scene.sameBodies(bodies, Grpc.texts(got));
        for (var message : got) {
            consumer.ack(message);
        }
        Grpc.takeNothing(consumer, "after all were acked", 6_500);
    }

    /** One request acks messages of several queues and pops; what it does not name comes back, and nothing else. */
    private static void batchAck(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 3);
        String group = grpc.group(false, 16);
        var consumer = grpc.simple(group, topic, Grpc.ALL, Duration.ofSeconds(3));
        Grpc.send(grpc.producer(topic), topic, "m", 30);
        var got = Grpc.take(consumer, 30, Duration.ofSeconds(3));
        var left = new TreeSet<String>();
        var done = got.stream().filter(message -> !Grpc.text(message).endsWith("7") || !left.add(Grpc.text(message))).toList();
        var answer = Grpc.ack(group, topic, done);
        Scene.same("answer", Code.OK, answer.getStatus().getCode());
        Scene.same("entries", done.size(), answer.getEntriesCount());
        var again = Grpc.take(consumer, left.size(), Duration.ofSeconds(3));
        Scene.sameBodies(left, Grpc.texts(again));
        // These come from the retry topic, whose receipts name another kind.
        Scene.same("second answer", Code.OK, Grpc.ack(group, topic, again).getStatus().getCode());
        Grpc.takeNothing(consumer, "after all were acked", 6_500);
        Scene.until("record of a batch", Scene.SOON, () -> hasBatchRecord(s, group));
    }

    /** Whether the revive topic has the ack of several messages in one record, as BATCH_ACK_MESSAGE makes it. */
    private static boolean hasBatchRecord(Scene s, String group) throws Exception {
        var reader = s.pullConsumer(Scene.instance());
        for (var queue : reader.fetchSubscribeMessageQueues("rmq_sys_REVIVE_LOG_DefaultCluster")) {
            long end = reader.maxOffset(queue);
            for (long offset = reader.minOffset(queue); offset < end; ) {
                var result = reader.pull(queue, "bAck", offset, 32);
                var found = result.getMsgFoundList();
                if (found != null && found.stream().anyMatch(record -> Scene.text(record).contains('"' + group + '"'))) {
                    return true;
                }
                if (result.getNextBeginOffset() <= offset) {
                    break;
                }
                offset = result.getNextBeginOffset();
            }
        }
        return false;
    }

    private static void notAcked(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 1);
        var consumer = grpc.simple(grpc.group(false, 16), topic, Grpc.ALL, Duration.ofSeconds(5));
        grpc.producer(topic).send(Grpc.message(topic, "again").setTag("tag").addProperty("colour", "red").build());
        for (int attempt = 1; attempt <= 2; attempt++) {
            long before = System.currentTimeMillis();
            var got = Grpc.take(consumer, 1, Duration.ofSeconds(2)).get(0);
            Scene.same("body", "again", Grpc.text(got));
            Scene.same("topic", topic, got.getTopic());
            Scene.same("tag", "tag", got.getTag().orElse(null));
            Scene.same("property", "red", got.getProperties().get("colour"));
            Scene.same("attempt", attempt, got.getDeliveryAttempt());
            long after = System.currentTimeMillis() - before;
            Scene.check("came back after " + after + " ms", attempt == 1 || after >= 1_900);
            if (attempt == 2) {
                consumer.ack(got);
            }
        }
        Grpc.takeNothing(consumer, "after it was acked", 5_000);
    }

    /** A new time counts instead of the first one, shorter or longer, and has a receipt of its own. */
    private static void changed(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 1);
        var consumer = grpc.simple(grpc.group(false, 16), topic, Grpc.ALL, Duration.ofSeconds(2));
        Grpc.send(grpc.producer(topic), topic, "m", 3);
        var sooner = Grpc.take(consumer, 1, Duration.ofSeconds(60)).get(0);
        var later = Grpc.take(consumer, 1, Duration.ofSeconds(2)).get(0);
        var done = Grpc.take(consumer, 1, Duration.ofSeconds(2)).get(0);
        consumer.changeInvisibleDuration(sooner, Duration.ofSeconds(2));
        consumer.changeInvisibleDuration(later, Duration.ofSeconds(60));
        consumer.changeInvisibleDuration(done, Duration.ofSeconds(3));
        consumer.ack(done);
        var again = Grpc.take(consumer, 1, Duration.ofSeconds(30)).get(0);
        Scene.same("what comes back", Grpc.text(sooner), Grpc.text(again));
        Scene.same("attempt", 2, again.getDeliveryAttempt());
        consumer.ack(again);
        Grpc.takeNothing(consumer, "before the longer time is over", 5_000);
        Scene.check("three messages", Set.of(Grpc.text(sooner), Grpc.text(later), Grpc.text(done)).equals(Set.copyOf(List.of("m-0", "m-1", "m-2"))));
    }
}
