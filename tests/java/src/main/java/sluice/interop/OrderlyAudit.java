package sluice.interop;

import java.io.FileWriter;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * Messages in the order of their keys, and who consumes them when.
 *
 * <p>{@code produce <namesrvAddr> <topic> <ackedFile>} sends {@code key-0, key-1...} of several keys, each key to one
 * queue, and writes down what was acknowledged. {@code consume <namesrvAddr> <topic> <group> <file>} writes a line
 * {@code B <nanos> <queue> <body>} when it begins with a message and {@code E} with the same when it ends; nanos are
 * of a clock that all processes of a machine share. Both print {@code READY} and run until their input ends.
 */
public final class OrderlyAudit {
    private static final int KEYS = 12;
    /** Long enough that a second owner of a queue would be seen beside the first. */
    private static final long WORK_MILLIS = 3;

    private OrderlyAudit() {}

    public static void main(String[] args) throws Exception {
        if (args[0].equals("produce")) {
            produce(args[1], args[2], new PrintWriter(new FileWriter(args[3], true), true));
        } else {
            consume(args[1], args[2], args[3], new PrintWriter(new FileWriter(args[4], true), true));
        }
        Runtime.getRuntime().halt(0);
    }

    private static void produce(String namesrv, String topic, PrintWriter acked) throws Exception {
        var producer = new DefaultMQProducer("orderly-audit");
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        var ended = new AtomicBoolean();
        var watch = new Thread(() -> {
            awaitEndOfInput();
            ended.set(true);
        });
        watch.setDaemon(true);
        watch.start();
        for (int n = 0; !ended.get(); n++) {
            for (int key = 0; key < KEYS; key++) {
                String body = key + "-" + n;
                var result = producer.send(new Message(topic, Scene.bytes(body)), (queues, message, k) -> queues.get((int) k % queues.size()), key);
                if (result.getSendStatus() != SendStatus.SEND_OK) {
                    throw new IllegalStateException("not stored: " + result);
                }
                acked.println(body);
            }
            if (n == 0) {
                System.out.println("READY");
            }
            Thread.sleep(100);
        }
        producer.shutdown();
    }

    private static void consume(String namesrv, String topic, String group, PrintWriter log) throws Exception {
        var consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (var message : messages) {
                String what = message.getQueueId() + " " + Scene.text(message);
                log.println("B " + System.nanoTime() + " " + what);
                try {
                    Thread.sleep(WORK_MILLIS);
                } catch (InterruptedException e) {
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
                log.println("E " + System.nanoTime() + " " + what);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        System.out.println("READY");
        awaitEndOfInput();
        consumer.shutdown();
        log.flush();
    }

    private static void awaitEndOfInput() {
        try {
            while (System.in.read() >= 0) {
                // Goes on until there is no more.
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
