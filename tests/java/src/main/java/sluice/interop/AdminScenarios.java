package sluice.interop;

import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;

/** What operators' programs do through the admin client. */
final class AdminScenarios {
    private AdminScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("admin_topics", AdminScenarios::topics);
        all.put("admin_topic_stats", AdminScenarios::topicStats);
        all.put("admin_groups", AdminScenarios::groups);
        all.put("admin_progress", AdminScenarios::progress);
        all.put("admin_connections", AdminScenarios::connections);
        all.put("admin_broker", AdminScenarios::broker);
        all.put("admin_kv_config", AdminScenarios::kvConfig);
        all.put("system_topics", AdminScenarios::systemTopics);
    }

    private static void topics(Scene s) throws Exception {
        String topic = s.topic("t", 3);
        var admin = s.admin;
        Scene.check("not listed", admin.fetchAllTopicList().getTopicList().contains(topic));
        Scene.same("stored queues", 3, admin.examineTopicConfig(s.broker(), topic).getWriteQueueNums());
        var wider = new TopicConfig(topic);
        wider.setReadQueueNums(6);
        wider.setWriteQueueNums(6);
        admin.createAndUpdateTopicConfig(s.broker(), wider);
        Scene.until("6 queues in the route", Scene.SOON,
                () -> admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getWriteQueueNums() == 6);
        admin.deleteTopicInBroker(Set.of(s.broker()), topic);
        Compat.deleteTopicInNameServer(admin, s.namesrv, s.cluster(), topic);
        Scene.until("end of the route", Scene.SOON, () -> routeGone(s, topic));
        Scene.check("still listed", !admin.fetchAllTopicList().getTopicList().contains(topic));
    }

    private static boolean routeGone(Scene s, String topic) throws Exception {
        try {
            s.admin.examineTopicRouteInfo(topic);
            return false;
        } catch (MQClientException e) {
            return e.getResponseCode() == 17;
        }
    }

    private static void topicStats(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var fresh = s.admin.examineTopicStats(topic).getOffsetTable();
        Scene.same("queues of a new topic", 2, fresh.size());
        fresh.values().forEach(o -> Scene.same("max of a new queue", 0L, o.getMaxOffset()));
        Scene.send(s.producer(), topic, "", "m", 10);
        Scene.until("10 messages in the statistics", Scene.SOON, () -> total(s, topic) == 10);
        for (var offset : s.admin.examineTopicStats(topic).getOffsetTable().values()) {
            Scene.same("min", 0L, offset.getMinOffset());
            Scene.check("last update time", offset.getLastUpdateTimestamp() > 0);
        }
    }

    private static long total(Scene s, String topic) throws Exception {
        return s.admin.examineTopicStats(topic).getOffsetTable().values().stream().mapToLong(o -> o.getMaxOffset() - o.getMinOffset()).sum();
    }

    private static void groups(Scene s) throws Exception {
        String group = s.name("g");
        Compat.putGroup(s.admin, s.broker(), group, 2);
        var stored = s.admin.examineSubscriptionGroupConfig(s.broker(), group);
        Scene.same("name", group, stored.getGroupName());
        Scene.same("retry queues", 2, stored.getRetryQueueNums());
        var all = s.admin.getAllSubscriptionGroup(s.broker(), 5_000).getSubscriptionGroupTable();
        Scene.check("not listed", all.containsKey(group));
        s.admin.deleteSubscriptionGroup(s.broker(), group);
        all = s.admin.getAllSubscriptionGroup(s.broker(), 5_000).getSubscriptionGroupTable();
        Scene.check("still listed", !all.containsKey(group));
    }

    private static void progress(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        var consumer = s.collecting(s.name("g"), topic, "*", inbox);
        consumer.start();
        var producer = s.producer();
        inbox.awaitBodies(Scene.send(producer, topic, "", "eaten", 10), Scene.SOON);
        Scene.awaitDrained(consumer, topic);
        consumer.shutdown();
        Scene.until("no lag", Scene.SOON, () -> lag(s, topic) == 0);
        Scene.send(producer, topic, "", "left", 6);
        Scene.until("a lag of 6", Scene.SOON, () -> lag(s, topic) == 6);
        Scene.until("the group among the topic's", Scene.SOON, () -> s.admin.queryTopicConsumeByWho(topic).getGroupList().contains(s.name("g")));
    }

    private static long lag(Scene s, String topic) throws Exception {
        var table = s.admin.examineConsumeStats(s.name("g"), topic).getOffsetTable();
        Scene.same("queues", 2, table.size());
        return table.values().stream().mapToLong(o -> o.getBrokerOffset() - o.getConsumerOffset()).sum();
    }

    private static void connections(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        var inbox = new Inbox();
        var consumer = s.collecting(s.name("g"), topic, "TagA || TagB", inbox);
        consumer.start();
        Scene.awaitHeld(consumer, topic, 2);
        var info = s.admin.examineConsumerConnectionInfo(s.name("g"));
        Scene.same("connections", 1, info.getConnectionSet().size());
        Scene.same("subscription", "TagA || TagB", info.getSubscriptionTable().get(topic).getSubString());
        Scene.same("from where", consumer.getConsumeFromWhere(), info.getConsumeFromWhere());
        var producer = s.producer();
        Scene.send(producer, topic, "TagA", "m", 1);
        Scene.until("producer connection", Scene.SOON,
                () -> s.admin.examineProducerConnectionInfo(producer.getProducerGroup(), topic).getConnectionSet().size() == 1);
    }

    private static void broker(Scene s) throws Exception {
        String broker = s.broker();
        var runtime = s.admin.fetchBrokerRuntimeStats(broker).getTable();
        for (String key : new String[] {"brokerVersionDesc", "bootTimestamp", "putTps", "getTotalTps", "msgPutTotalTodayNow", "commitLogDiskRatio", "runtime"}) {
            Scene.check("no " + key + " in the runtime statistics", runtime.containsKey(key));
        }
        var config = s.admin.getBrokerConfig(broker);
        Scene.check("no brokerName in the configuration", config.getProperty("brokerName") != null);
        var change = new Properties();
        change.setProperty("maxTransferCountOnMessageInMemory", "40");
        s.admin.updateBrokerConfig(broker, change);
        Scene.same("changed key", "40", s.admin.getBrokerConfig(broker).getProperty("maxTransferCountOnMessageInMemory"));
    }

    private static void kvConfig(Scene s) throws Exception {
        s.admin.createAndUpdateKvConfig("interop", s.name("key"), "wert-ü");
        Scene.same("value", "wert-ü", s.admin.getKVConfig("interop", s.name("key")));
        s.admin.deleteKvConfig("interop", s.name("key"));
    }

    /** Topics named after the cluster and each broker exist, as tools expect. */
    private static void systemTopics(Scene s) throws Exception {
        var brokers = s.admin.examineBrokerClusterInfo().getBrokerAddrTable().keySet();
        for (String broker : brokers) {
            Scene.check("no route of topic " + broker, !s.admin.examineTopicRouteInfo(broker).getQueueDatas().isEmpty());
        }
        Scene.check("no route of topic " + s.cluster(), !s.admin.examineTopicRouteInfo(s.cluster()).getQueueDatas().isEmpty());
    }
}
