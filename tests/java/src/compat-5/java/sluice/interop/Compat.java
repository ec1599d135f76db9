package sluice.interop;

import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** The few types that live in other packages in client 5.x. */
final class Compat {
    private Compat() {}

    /** Whether a requester is given the reply; 5.3.1 to 5.3.3 give up once the request is stored. */
    static final boolean ANSWERS_REQUESTS = false;

    /** Scenarios that only this line can play. */
    static void register(Map<String, Scenarios.Body> all) {
        AssignmentScenarios.register(all);
        PopScenarios.register(all);
        PeekScenarios.register(all);
        TopicTypeScenarios.register(all);
        CompactionScenarios.register(all);
        BatchQueueScenarios.register(all);
        NamespaceV2Scenarios.register(all);
        RecallScenarios.register(all);
        GroupAdminScenarios.register(all);
    }

    static void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    /**
     * Keeps the client's own heartbeat at start: the one that a new channel starts (5.2 and later) can hold
     * the lock, and then the consumer joins its group only with the 20 s timer.
     */
    static void steady(DefaultMQPushConsumer consumer) {
        consumer.setEnableHeartbeatChannelEventListener(false);
    }

    static void deleteTopicInNameServer(DefaultMQAdminExt admin, String namesrv, String cluster, String topic) throws Exception {
        admin.deleteTopicInNameServer(Set.of(namesrv), cluster, topic);
    }

    static void putGroup(DefaultMQAdminExt admin, String broker, String group, int retryQueues) throws Exception {
        var config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setRetryQueueNums(retryQueues);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
    }

    /** Runs one of mqadmin's commands, made anew as in a process of its own: some keep clients in themselves. */
    static void mqadmin(String[] words) {
        Commands.run(words);
    }

    private static final class Commands extends MQAdminStartup {
        static void run(String[] words) {
            SUB_COMMANDS.clear();
            main(words);
        }
    }
}
