package sluice.interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import org.apache.rocketmq.common.message.MessageExt;

/** What a consumer has received so far; a scenario waits here for what it expects. */
final class Inbox {
    private final List<MessageExt> received = new ArrayList<>();

    synchronized void add(List<MessageExt> messages) {
        received.addAll(messages);
        notifyAll();
    }

    synchronized void add(MessageExt message) {
        received.add(message);
        notifyAll();
    }

    synchronized List<MessageExt> all() {
        return new ArrayList<>(received);
    }

    List<String> bodies() {
        return all().stream().map(Scene::text).toList();
    }

    /** Waits until {@code done} holds for what was received, or fails naming {@code what}. */
    synchronized void await(String what, long millis, Predicate<List<MessageExt>> done) throws InterruptedException {
        long end = System.nanoTime() + millis * 1_000_000L;
        while (!done.test(received)) {
            long left = (end - System.nanoTime()) / 1_000_000L;
            if (left <= 0) {
                throw new AssertionError("no " + what + " within " + millis + " ms; got " + received.size() + " messages");
            }
            wait(left);
        }
    }

    /** Waits until every one of {@code bodies} has arrived at least once. */
    void awaitBodies(Set<String> bodies, long millis) throws InterruptedException {
        await(bodies.size() + " expected messages", millis, got -> {
            Set<String> missing = new HashSet<>(bodies);
            got.forEach(m -> missing.remove(Scene.text(m)));
            return missing.isEmpty();
        });
    }
}
