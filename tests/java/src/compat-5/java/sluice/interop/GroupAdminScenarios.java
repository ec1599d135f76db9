package sluice.interop;

import java.util.Map;

/** What the admin client of 5.x can ask about groups beyond that of 4.x. */
final class GroupAdminScenarios {
    private GroupAdminScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("admin_group_forbidden", GroupAdminScenarios::forbidden);
    }

    /** A group is kept from reading a topic, and let in again. */
    private static void forbidden(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String group = s.name("g");
        var inbox = new Inbox();
        var consumer = s.collecting(group, topic, "TagA || TagB", inbox);
        consumer.start();
        var producer = s.producer();
        inbox.awaitBodies(Scene.send(producer, topic, "TagA", "m", 1), Scene.SOON);
        Scene.until("what the group subscribes to", Scene.SOON,
                () -> "TagA || TagB".equals(s.admin.querySubscription(group, topic).getSubString()));
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        Scene.until("the group's topics", Scene.SOON, () -> s.admin.queryTopicsByConsumer(group).getTopicList().contains(topic));
        Scene.check("readable at first", s.admin.updateAndGetGroupReadForbidden(s.broker(), group, topic, null).getReadable());
        Scene.check("readable still", !s.admin.updateAndGetGroupReadForbidden(s.broker(), group, topic, false).getReadable());
        Scene.check("readable once more", s.admin.updateAndGetGroupReadForbidden(s.broker(), group, topic, true).getReadable());
        consumer.shutdown();
        Scene.until("no subscription of a group that has gone", Scene.SOON, () -> s.admin.querySubscription(group, topic) == null);
    }
}
