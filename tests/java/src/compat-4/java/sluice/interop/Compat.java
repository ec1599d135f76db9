package sluice.interop;

import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;

/** The few types that live in other packages in client 4.x. */
final class Compat {
    private Compat() {}

    /** Whether a requester is given the reply; 5.3.1 to 5.3.3 give up once the request is stored. */
    static final boolean ANSWERS_REQUESTS = true;

    /** Nothing: this line has no scenarios of its own. */
    static void register(Map<String, Scenarios.Body> all) {}

    static void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    /** Nothing to do: this client sends its first heartbeat always. */
    static void steady(DefaultMQPushConsumer consumer) {}

    static void deleteTopicInNameServer(DefaultMQAdminExt admin, String namesrv, String cluster, String topic) throws Exception {
        admin.deleteTopicInNameServer(Set.of(namesrv), topic, cluster);
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
            subCommandList.clear();
            main(words);
        }
    }
}
