package sluice.interop;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;

/** What is sent by gRPC, and comes: whole, late or not at all. */
final class GrpcSendScenarios {
    private GrpcSendScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("send_and_push", GrpcSendScenarios::sendAndPush);
        all.put("remoting_and_grpc", GrpcSendScenarios::remotingAndGrpc);
        all.put("big_body", GrpcSendScenarios::bigBody);
        all.put("delivery_time", GrpcSendScenarios::deliveryTime);
        all.put("recall", GrpcSendScenarios::recall);
        all.put("tags", GrpcSendScenarios::tags);
        all.put("sql", GrpcSendScenarios::sql);
        all.put("long_poll_wake", GrpcSendScenarios::wake);
        all.put("types", GrpcSendScenarios::types);
    }

    private static void sendAndPush(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 4);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        var producer = grpc.producer(topic);
        var bodies = new TreeSet<String>();
        for (int i = 0; i < 40; i++) {
            String body = "m-" + i;
            producer.send(Grpc.message(topic, body).setTag("tag").setKeys("k1", "k" + i).addProperty("colour", "blü").build());
            bodies.add(body);
        }
        inbox.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, inbox.bodies());
        for (var delivery : inbox.all()) {
            var message = delivery.message();
            Scene.same("topic", topic, message.getTopic());
            Scene.same("tag", Optional.of("tag"), message.getTag());
            Scene.check("keys " + message.getKeys(), message.getKeys().contains("k1"));
            Scene.same("property", "blü", message.getProperties().get("colour"));
            Scene.same("attempt", 1, delivery.attempt());
        }
    }

    /** Both kinds of clients share topics: one behind the proxy, one with the broker itself. */
    private static void remotingAndGrpc(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 2);
        var byGrpc = new GrpcInbox();
        // Nobody created this group: the broker does when it is first asked for it.
        grpc.push(s.name("g"), topic, Grpc.ALL, byGrpc);
        var byRemoting = new Inbox();
        s.collecting(s.name("r"), topic, "*", byRemoting).start();
        var bodies = Scene.send(s.producer(), topic, "tag", "remoting", 10);
        bodies.addAll(Grpc.send(grpc.producer(topic), topic, "grpc", 10));
        byGrpc.awaitBodies(bodies, Scene.SOON);
        byRemoting.awaitBodies(bodies, Scene.SOON);
        Scene.sameBodies(bodies, byGrpc.bodies());
        Scene.sameBodies(bodies, byRemoting.bodies());
    }

    /** The client compresses what is long. */
    private static void bigBody(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 1);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        String body = "0123456789abcdef".repeat(64 * 1024);
        grpc.producer(topic).send(Grpc.message(topic, body).build());
        inbox.await("the body", Scene.SOON, got -> !got.isEmpty());
        Scene.check("another body", inbox.bodies().get(0).equals(body));
    }

    private static void deliveryTime(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("DELAY", 2);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        var producer = grpc.producer(topic);
        long now = System.currentTimeMillis();
        var due = Map.of("in 2 s", now + 2_000, "in 3.3 s", now + 3_300, "in 4 s", now + 4_000);
        for (var entry : due.entrySet()) {
            producer.send(Grpc.message(topic, entry.getKey()).setDeliveryTimestamp(entry.getValue()).setKeys("k").build());
        }
        inbox.awaitBodies(due.keySet(), Scene.SOON);
        Scene.sameBodies(due.keySet(), inbox.bodies());
        for (var delivery : inbox.all()) {
            Scene.check(delivery.body() + " came early", delivery.at() >= due.get(delivery.body()));
            Scene.same("delivery time", Optional.of(due.get(delivery.body())), delivery.message().getDeliveryTimestamp());
        }
    }

    /** What is recalled never comes; what lies beside it does. */
    private static void recall(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("DELAY", 1);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, Grpc.ALL, inbox);
        var producer = grpc.producer(topic);
        long due = (System.currentTimeMillis() / 1000 + 5) * 1000 + 400;
        producer.send(Grpc.message(topic, "kept").setDeliveryTimestamp(due).build());
        var recalled = producer.send(Grpc.message(topic, "recalled").setDeliveryTimestamp(due).build());
        producer.recallMessage(topic, recalled.getRecallHandle());
        inbox.await("the message beside it", Scene.SOON, got -> !got.isEmpty());
        Thread.sleep(2_000);
        Scene.sameBodies(Set.of("kept"), inbox.bodies());
    }

    private static void tags(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 2);
        var inbox = new GrpcInbox();
        grpc.push(grpc.group(false, 16), topic, new FilterExpression("a || b"), inbox);
        var producer = grpc.producer(topic);
        var wanted = new TreeSet<String>();
        for (String tag : List.of("a", "b", "c", "Aa", "BB")) {
            for (int i = 0; i < 4; i++) {
                producer.send(Grpc.message(topic, tag + i).setTag(tag).build());
                if (tag.equals("a") || tag.equals("b")) {
                    wanted.add(tag + i);
                }
            }
        }
        inbox.awaitBodies(wanted, Scene.SOON);
        Thread.sleep(500);
        Scene.sameBodies(wanted, inbox.bodies());
    }

    private static void sql(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 2);
        String group = grpc.group(false, 16);
        var filter = new FilterExpression("n BETWEEN 3 AND 6 AND colour = 'red'", FilterExpressionType.SQL92);
        var consumer = grpc.simple(group, topic, filter, Duration.ofSeconds(3));
        var producer = grpc.producer(topic);
        for (int n = 0; n < 10; n++) {
            for (String colour : List.of("red", "blue")) {
                producer.send(Grpc.message(topic, colour + n).addProperty("n", "" + n).addProperty("colour", colour).build());
            }
        }
        var got = Grpc.take(consumer, 4, Duration.ofSeconds(30));
        Scene.sameBodies(Set.of("red3", "red4", "red5", "red6"), Grpc.texts(got));
        Grpc.takeNothing(consumer, "beside what the filter lets pass", 1_000);
    }

    /** A message ends a wait that would last far longer. */
    private static void wake(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 2);
        var consumer = grpc.simple(grpc.group(false, 16), topic, Grpc.ALL, Duration.ofSeconds(18));
        var producer = grpc.producer(topic);
        var waiting = consumer.receiveAsync(8, Duration.ofSeconds(30));
        Thread.sleep(1_500);
        Scene.check("received something of nothing", !waiting.isDone());
        producer.send(Grpc.message(topic, "wake").build());
        Scene.same("received", List.of("wake"), Grpc.texts(waiting.get(8, TimeUnit.SECONDS)));
    }

    /** The proxy asks the broker which type of messages a topic is for. */
    private static void types(Scene s) throws Exception {
        var grpc = new Grpc(s);
        String topic = grpc.topic("NORMAL", 1);
        var producer = grpc.producer(topic);
        producer.send(Grpc.message(topic, "plain").build());
        try {
            producer.send(Grpc.message(topic, "in order").setMessageGroup("mg").build());
        } catch (ClientException | IllegalArgumentException refused) {
            return;
        }
        throw new AssertionError("a topic of normal messages took one of a message group");
    }
}
