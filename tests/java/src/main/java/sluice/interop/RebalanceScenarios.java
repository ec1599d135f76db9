package sluice.interop;

import java.util.HashSet;
import java.util.Map;

/** Consumers share queues as soon as they are told of a join or a leave. */
final class RebalanceScenarios {
    private RebalanceScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("rebalance_join_leave", RebalanceScenarios::joinLeave);
    }

    private static void joinLeave(Scene s) throws Exception {
        String topic = s.topic("t", 8);
        var inbox = new Inbox();
        var first = s.collecting(s.name("g"), topic, "*", inbox);
        first.start();
        Scene.awaitHeld(first, topic, 8);
        var second = s.collecting(s.name("g"), topic, "*", inbox);
        second.start();
        Scene.awaitHeld(first, topic, 4, Scene.WAKE);
        Scene.awaitHeld(second, topic, 4, Scene.WAKE);
        var both = new HashSet<>(Scene.held(first, topic));
        both.addAll(Scene.held(second, topic));
        Scene.same("queues held by both", 8, both.size());
        var producer = s.producer();
        inbox.awaitBodies(Scene.send(producer, topic, "", "shared", 16), Scene.SOON);
        second.shutdown();
        Scene.awaitHeld(first, topic, 8, Scene.WAKE);
        inbox.awaitBodies(Scene.send(producer, topic, "", "alone", 16), Scene.SOON);
    }
}
