package sluice.interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.message.MessageView;

/** What a gRPC push consumer was given, and when. */
final class GrpcInbox implements MessageListener {
    /** One delivery, and its time by our clock. */
    record Delivery(String body, int attempt, long at, MessageView message) {}

    private final List<Delivery> deliveries = new ArrayList<>();
    private final Function<MessageView, ConsumeResult> verdict;

    GrpcInbox() {
        this(message -> ConsumeResult.SUCCESS);
    }

    GrpcInbox(Function<MessageView, ConsumeResult> verdict) {
        this.verdict = verdict;
    }

    @Override
    public ConsumeResult consume(MessageView message) {
        var delivery = new Delivery(Grpc.text(message), message.getDeliveryAttempt(), System.currentTimeMillis(), message);
        synchronized (this) {
            deliveries.add(delivery);
            notifyAll();
        }
        return verdict.apply(message);
    }

    synchronized List<Delivery> all() {
        return new ArrayList<>(deliveries);
    }

    List<String> bodies() {
        return all().stream().map(Delivery::body).toList();
    }

    synchronized void await(String what, long millis, Predicate<List<Delivery>> done) throws InterruptedException {
        long end = System.nanoTime() + millis * 1_000_000L;
        while (!done.test(deliveries)) {
            long left = (end - System.nanoTime()) / 1_000_000L;
            if (left <= 0) {
                throw new AssertionError("no " + what + " within " + millis + " ms; got " + bodies());
            }
            wait(left);
        }
    }

    void awaitBodies(Set<String> bodies, long millis) throws InterruptedException {
        await(bodies.size() + " expected messages", millis, got -> {
            Set<String> missing = new HashSet<>(bodies);
            got.forEach(delivery -> missing.remove(delivery.body()));
            return missing.isEmpty();
        });
    }
}
