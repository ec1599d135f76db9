package sluice.interop;

import apache.rocketmq.v2.AckMessageEntry;
import apache.rocketmq.v2.AckMessageRequest;
import apache.rocketmq.v2.AckMessageResponse;
import apache.rocketmq.v2.MessagingServiceGrpc;
import apache.rocketmq.v2.Resource;
import org.apache.rocketmq.shaded.io.grpc.Metadata;
import org.apache.rocketmq.shaded.grpc.netty.NettyChannelBuilder;
import org.apache.rocketmq.shaded.io.grpc.stub.MetadataUtils;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.TransactionChecker;
import org.apache.rocketmq.client.java.message.MessageViewImpl;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** The gRPC clients of one scenario, and what it needs on the broker. */
final class Grpc {
    static final FilterExpression ALL = FilterExpression.SUB_ALL;
    private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();
    private static final String PROXY = System.getProperty("interop.proxy");

    private final Scene scene;

    Grpc(Scene scene) {
        this.scene = scene;
    }

    private static ClientConfiguration configuration() {
        return ClientConfiguration.newBuilder().setEndpoints(PROXY).enableSsl(false).setRequestTimeout(Duration.ofSeconds(10)).build();
    }

    private void closing(AutoCloseable client) {
        scene.closing(() -> {
            try {
                client.close();
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
    }

    /** Creates a topic for messages of one type. */
    String topic(String type, int queues) throws Exception {
        String topic = scene.name("t");
        var config = new TopicConfig(topic);
        config.setReadQueueNums(queues);
        config.setWriteQueueNums(queues);
        config.setAttributes(Map.of("+message.type", type));
        scene.admin.createAndUpdateTopicConfig(scene.broker(), config);
        Scene.until("route of " + topic, Scene.SOON, () -> !scene.admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
        return topic;
    }

    /** Creates the scenario's group: in order or not, its messages to be dead letters after so many retries. */
    String group(boolean orderly, int retries) throws Exception {
        var config = new SubscriptionGroupConfig();
        config.setGroupName(scene.name("g"));
        config.setConsumeMessageOrderly(orderly);
        config.setRetryMaxTimes(retries);
        scene.admin.createAndUpdateSubscriptionGroupConfig(scene.broker(), config);
        return config.getGroupName();
    }

    Producer producer(String topic) throws Exception {
        return producer(topic, view -> null);
    }

    Producer producer(String topic, TransactionChecker checker) throws Exception {
        var producer = PROVIDER.newProducerBuilder().setClientConfiguration(configuration())
                .setTopics(topic).setTransactionChecker(checker).build();
        closing(producer);
        return producer;
    }

    SimpleConsumer simple(String group, String topic, FilterExpression filter, Duration await) throws Exception {
        var consumer = PROVIDER.newSimpleConsumerBuilder().setClientConfiguration(configuration()).setConsumerGroup(group)
                .setAwaitDuration(await).setSubscriptionExpressions(Map.of(topic, filter)).build();
        closing(consumer);
        return consumer;
    }

    PushConsumer push(String group, String topic, FilterExpression filter, MessageListener listener) throws Exception {
        var consumer = PROVIDER.newPushConsumerBuilder().setClientConfiguration(configuration()).setConsumerGroup(group)
                .setConsumptionThreadCount(4).setSubscriptionExpressions(Map.of(topic, filter)).setMessageListener(listener).build();
        closing(consumer);
        return consumer;
    }

    static MessageBuilder message(String topic, String body) {
        return PROVIDER.newMessageBuilder().setTopic(topic).setBody(Scene.bytes(body));
    }

    static String text(MessageView message) {
        return StandardCharsets.UTF_8.decode(message.getBody()).toString();
    }

    static List<String> texts(Collection<MessageView> messages) {
        return messages.stream().map(Grpc::text).toList();
    }

    /** Sends bodies {@code label-0...} and returns them. */
    static Set<String> send(Producer producer, String topic, String label, int count) throws Exception {
        var bodies = new TreeSet<String>();
        for (int i = 0; i < count; i++) {
            String body = label + "-" + i;
            producer.send(message(topic, body).build());
            bodies.add(body);
        }
        return bodies;
    }

    /** Receives until there are so many messages. */
    static List<MessageView> take(SimpleConsumer consumer, int count, Duration invisible) throws Exception {
        var got = new ArrayList<MessageView>();
        Scene.until(count + " received messages", Scene.SOON, () -> {
            got.addAll(consumer.receive(count - got.size(), invisible));
            return got.size() >= count;
        });
        return got;
    }

    /** Fails if something is received within that time. */
    static void takeNothing(SimpleConsumer consumer, String when, long millis) throws Exception {
        long end = System.nanoTime() + millis * 1_000_000L;
        do {
            Scene.same("received " + when, List.of(), texts(consumer.receive(32, Duration.ofSeconds(10))));
        } while (System.nanoTime() < end);
    }

    /** Acks messages by one request: the client has one for each. */
    static AckMessageResponse ack(String group, String topic, Collection<MessageView> messages) throws Exception {
        var request = AckMessageRequest.newBuilder()
                .setGroup(Resource.newBuilder().setName(group))
                .setTopic(Resource.newBuilder().setName(topic));
        for (var message : messages) {
            request.addEntries(AckMessageEntry.newBuilder()
                    .setMessageId(message.getMessageId().toString())
                    .setReceiptHandle(((MessageViewImpl) message).getReceiptHandle()));
        }
        var headers = new Metadata();
        headers.put(Metadata.Key.of("x-mq-client-id", Metadata.ASCII_STRING_MARSHALLER), Scene.instance());
        headers.put(Metadata.Key.of("x-mq-language", Metadata.ASCII_STRING_MARSHALLER), "JAVA");
        var channel = NettyChannelBuilder.forTarget(PROXY).usePlaintext().build();
        try {
            return MessagingServiceGrpc.newBlockingStub(channel)
                    .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
                    .withDeadlineAfter(10, TimeUnit.SECONDS).ackMessage(request.build());
        } finally {
            channel.shutdownNow();
        }
    }
}
