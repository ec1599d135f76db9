package sluice.interop;

import apache.rocketmq.v2.Code;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;

/** Topics of ordered messages, groups that consume in order. */
final class GrpcOrderScenarios {
    private GrpcOrderScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("fifo_push", GrpcOrderScenarios::push);
        all.put("fifo_holds_its_queue", GrpcOrderScenarios::holds);
    }

    /** Each message group in its order, also past one that fails at first. */
    private static void push(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("FIFO", 4);
        var failed = new AtomicBoolean();
        var inbox = new GrpcInbox(message -> Grpc.text(message).equals("a-3") && failed.compareAndSet(false, true)
                ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS);
        grpc.push(grpc.group(true, 16), topic, Grpc.ALL, inbox);
        var producer = grpc.producer(topic);
        var expected = Map.of("a", new ArrayList<String>(), "b", new ArrayList<String>(), "c", new ArrayList<String>());
        for (int i = 0; i < 10; i++) {
            for (String group : expected.keySet()) {
                producer.send(Grpc.message(topic, group + "-" + i).setMessageGroup(group).build());
                expected.get(group).add(group + "-" + i);
            }
        }
        expected.get("a").add(4, "a-3");
        inbox.await("all messages and one again", Scene.SOON, got -> got.size() >= 31);
        Thread.sleep(500);
        expected.forEach((group, bodies) -> Scene.same("order of " + group, bodies,
                inbox.bodies().stream().filter(body -> body.startsWith(group)).toList()));
        Scene.check("message group", inbox.all().stream().allMatch(
                delivery -> delivery.message().getMessageGroup().orElse("").equals(delivery.body().substring(0, 1))));
    }

    /** What is in hand keeps the rest of its queue back, until it is acked or its time is over. */
    private static void holds(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("FIFO", 1);
        String group = grpc.group(true, 16);
        var consumer = grpc.simple(group, topic, Grpc.ALL, Duration.ofSeconds(2));
        var producer = grpc.producer(topic);
        for (int i = 0; i < 4; i++) {
            producer.send(Grpc.message(topic, "m-" + i).setMessageGroup("mg").build());
        }
        Scene.same("first", List.of("m-0"), Grpc.texts(Grpc.take(consumer, 1, Duration.ofSeconds(4))));
        Scene.same("while it is in hand", List.of(), Grpc.texts(consumer.receive(8, Duration.ofSeconds(4))));
        var again = Grpc.take(consumer, 2, Duration.ofSeconds(30));
        Scene.same("after its time", List.of("m-0", "m-1"), Grpc.texts(again));
        Scene.same("attempt", 2, again.get(0).getDeliveryAttempt());
        Scene.same("ack of both", Code.OK, Grpc.ack(group, topic, again).getStatus().getCode());
        var rest = Grpc.take(consumer, 2, Duration.ofSeconds(30));
        Scene.same("behind them", List.of("m-2", "m-3"), Grpc.texts(rest));
        consumer.ack(rest.get(0));
        consumer.changeInvisibleDuration(rest.get(1), Duration.ofSeconds(1));
        var last = Grpc.take(consumer, 1, Duration.ofSeconds(30)).get(0);
        Scene.same("what was not acked", "m-3", Grpc.text(last));
        consumer.ack(last);
        Grpc.takeNothing(consumer, "after all were acked", 1_000);
    }
}
