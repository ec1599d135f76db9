package sluice.interop;

import java.io.FileWriter;
import java.io.PrintWriter;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * Writes the body of each received message as a line to a file until its input ends.
 *
 * <p>Arguments: {@code <namesrvAddr> <topic>[,<topic>...] <group> <receivedFile>}. Prints {@code READY} once started.
 */
public final class AuditConsumer {
    private AuditConsumer() {}

    public static void main(String[] args) throws Exception {
        var consumer = new DefaultMQPushConsumer(args[2]);
        var received = new PrintWriter(new FileWriter(args[3], true), true);
        consumer.setNamesrvAddr(args[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPullThresholdForQueue(10_000);
        for (String topic : args[1].split(",")) {
            consumer.subscribe(topic, "*");
        }
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            synchronized (received) {
                messages.forEach(m -> received.println(Scene.text(m)));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        System.out.println("READY");
        while (System.in.read() >= 0) {
            // Runs until its input ends.
        }
        consumer.shutdown();
        received.flush();
        Runtime.getRuntime().halt(0);
    }
}
