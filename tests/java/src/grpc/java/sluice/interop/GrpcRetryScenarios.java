package sluice.interop;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.common.message.MessageExt;

/** What a push consumer can't handle: it comes again, and is a dead letter in the end. */
final class GrpcRetryScenarios {
    private GrpcRetryScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("failure_comes_back", GrpcRetryScenarios::comesBack);
        all.put("dead_letter", GrpcRetryScenarios::deadLetter);
        all.put("fifo_dead_letter", GrpcRetryScenarios::fifoDeadLetter);
    }

    private static void comesBack(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 1);
        var inbox = new GrpcInbox(message -> message.getDeliveryAttempt() == 1 ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS);
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        grpc.producer(topic).send(Grpc.message(topic, "fails").setTag("tag").build());
        inbox.await("second delivery", Scene.LONG, got -> got.size() >= 2);
        var again = inbox.all().get(1);
        Scene.same("attempt", 2, again.attempt());
        Scene.same("topic", topic, again.message().getTopic());
        Scene.same("tag", "tag", again.message().getTag().orElse(null));
    }

    /** Brought back by the broker, and buried by it or by the proxy. */
    private static void deadLetter(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 1);
        var inbox = new GrpcInbox(message -> ConsumeResult.FAILURE);
        String group = grpc.group(false, 0);
        grpc.push(group, topic, Grpc.ALL, inbox);
        grpc.producer(topic).send(Grpc.message(topic, "never").setTag("tag").setKeys("key").build());
        check(letter(s, group), "never");
        Scene.same("attempts", List.of(1), inbox.all().stream().map(GrpcInbox.Delivery::attempt).toList());
    }

    /** Tried again by the client, in its place, and then given to the dead letters: what lies behind it comes. */
    private static void fifoDeadLetter(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("FIFO", 1);
        var inbox = new GrpcInbox(message -> Grpc.text(message).equals("bad") ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS);
        String group = grpc.group(true, 1);
        grpc.push(group, topic, Grpc.ALL, inbox);
        var producer = grpc.producer(topic);
        for (String body : List.of("bad", "good")) {
            producer.send(Grpc.message(topic, body).setTag("tag").setKeys("key").setMessageGroup("mg").build());
        }
        check(letter(s, group), "bad");
        inbox.await("what lies behind it", Scene.SOON, got -> got.stream().anyMatch(delivery -> delivery.body().equals("good")));
        Scene.same("deliveries", List.of("bad", "bad", "good"), inbox.bodies());
    }

    private static void check(MessageExt letter, String body) {
        Scene.same("body", body, Scene.text(letter));
        Scene.same("tag", "tag", letter.getTags());
        Scene.same("keys", "key", letter.getKeys());
    }

    /** The group's only dead letter. */
    private static MessageExt letter(Scene s, String group) throws Exception {
        String letters = "%DLQ%" + group;
        Scene.until("topic " + letters, Scene.LONG, () -> !s.admin.examineTopicRouteInfo(letters).getQueueDatas().isEmpty());
        var inbox = new Inbox();
        s.collecting(s.name("readers"), letters, "*", inbox).start();
        inbox.await("the dead letter", Scene.SOON, got -> !got.isEmpty());
        Scene.same("letters", 1, inbox.all().size());
        return inbox.all().get(0);
    }
}
