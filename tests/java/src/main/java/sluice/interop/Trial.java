package sluice.interop;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A plain program of a stock client, driven line by line.
 *
 * <p>{@code consume <namesrv> <topic> <group> [sql]} prints {@code GOT <body>} and {@code PROPERTY <name>=<value>} for
 * each message until its input ends; {@code class:<file>} in the place of SQL is a class filter's source, {@code tag:<tags>} are tags. A message whose
 * property {@code fate} is {@code die} is given up, with {@code retry} it is given back, each time. {@code STARTED}, or {@code REFUSED <code> <text>} when it can't start.
 * {@code -Dtrial.orderly=true} consumes in order, {@code -Dtrial.keep=true} takes every message whatever its fate.
 * {@code -Dtrial.instance=NAME} names the client and leaves its queues to the broker.
 * {@code produce <namesrv> <topic>} sends each line of its input, {@code body[TAB name=value]...} ({@code keys} and
 * {@code tags} are such), and prints
 * {@code SENT <topic>} or {@code REFUSED <code> <text>}. {@code transact <namesrv> <topic> <group>} does the same in
 * transactions: the property {@code first} says what becomes of a message at once, {@code asked} when the broker asks
 * (then {@code ASKED <body>} is printed): {@code commit} or {@code rollback}, anything else leaves it open.
 */
public final class Trial {
    private Trial() {}

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "consume" -> consume(List.of(args).subList(1, args.length));
            case "produce" -> produce(new DefaultMQProducer("trial-producer"), args[1], args[2]);
            case "transact" -> {
                var producer = new TransactionMQProducer(args[3]);
                producer.setTransactionListener(new ByProperty());
                produce(producer, args[1], args[2]);
            }
            default -> throw new IllegalArgumentException(args[0]);
        }
        Runtime.getRuntime().halt(0);
    }

    private static void consume(List<String> args) throws Exception {
        var consumer = new DefaultMQPushConsumer(args.get(2));
        consumer.setNamesrvAddr(args.get(0));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        String instance = System.getProperty("trial.instance");
        if (instance != null) {
            // Of 5.x clients only: the broker shares out the queues.
            consumer.setInstanceName(instance);
            consumer.getClass().getMethod("setClientRebalance", boolean.class).invoke(consumer, false);
        }
        if (args.size() > 3 && args.get(3).startsWith("class:")) {
            subscribeClass(consumer, args.get(1), args.get(3).substring(6));
        } else if (args.size() > 3 && args.get(3).startsWith("tag:")) {
            consumer.subscribe(args.get(1), args.get(3).substring(4));
        } else if (args.size() > 3) {
            consumer.subscribe(args.get(1), MessageSelector.bySql(args.get(3)));
        } else {
            consumer.subscribe(args.get(1), "*");
        }
        if (Boolean.getBoolean("trial.orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                show(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) Trial::concurrently);
        }
        try {
            consumer.start();
        } catch (MQClientException e) {
            System.out.println("REFUSED " + e.getResponseCode() + " " + e.getMessage());
            return;
        }
        System.out.println("STARTED");
        while (System.in.read() >= 0) {
            // Until the input ends.
        }
        consumer.shutdown();
    }

    private static void show(List<MessageExt> messages) {
        synchronized (System.out) {
            messages.forEach(message -> {
                message.getProperties().forEach((name, value) -> System.out.println("PROPERTY " + name + "=" + value));
                System.out.println("GOT " + Scene.text(message));
            });
            System.out.flush();
        }
    }

    private static ConsumeConcurrentlyStatus concurrently(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        show(messages);
        String fate = messages.get(0).getUserProperty("fate");
        if (fate == null || "live".equals(fate) || Boolean.getBoolean("trial.keep")) {
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        }
        // A negative level makes it a dead letter at once.
        context.setDelayLevelWhenNextConsume("die".equals(fate) ? -1 : 0);
        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
    }

    /** The source of a class filter is what the file says. */
    @SuppressWarnings("deprecation")
    private static void subscribeClass(DefaultMQPushConsumer consumer, String topic, String file) throws Exception {
        consumer.subscribe(topic, "org.example.SequenceFilter", java.nio.file.Files.readString(java.nio.file.Path.of(file)));
    }

    private static final class ByProperty implements TransactionListener {
        private static LocalTransactionState state(String word) {
            return "commit".equals(word) ? LocalTransactionState.COMMIT_MESSAGE
                    : "rollback".equals(word) ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return state(message.getUserProperty("first"));
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            System.out.println("ASKED " + Scene.text(message));
            System.out.flush();
            return state(message.getUserProperty("asked"));
        }
    }

    private static void produce(DefaultMQProducer producer, String namesrv, String topic) throws Exception {
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        // A Java broker that has just started may have no route yet, not even for new topics.
        Scene.until("a route for new topics", Scene.SOON, () -> !producer.fetchPublishMessageQueues("TBW102").isEmpty());
        var input = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] parts = line.split("\t");
            var message = new Message(topic, "T", Scene.bytes(parts[0]));
            for (int i = 1; i < parts.length; i++) {
                String[] property = parts[i].split("=", 2);
                switch (property[0]) {
                    case "keys" -> message.setKeys(property[1]);
                    case "tags" -> message.setTags(property[1]);
                    default -> message.putUserProperty(property[0], property[1]);
                }
            }
            try {
                var result = producer instanceof TransactionMQProducer transactional
                        ? transactional.sendMessageInTransaction(message, null) : producer.send(message);
                System.out.println("SENT " + result.getMessageQueue().getTopic());
            } catch (MQBrokerException e) {
                System.out.println("REFUSED " + e.getResponseCode() + " " + e.getErrorMessage());
            } catch (MQClientException e) {
                // A transactional producer wraps what it is told.
                System.out.println(e.getCause() instanceof MQBrokerException told
                        ? "REFUSED " + told.getResponseCode() + " " + told.getErrorMessage()
                        : "REFUSED " + e.getResponseCode() + " " + e.getMessage());
            }
            System.out.flush();
        }
        producer.shutdown();
    }
}
