package sluice.interop;

import java.io.FileWriter;
import java.io.PrintWriter;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.hook.SendMessageContext;
import org.apache.rocketmq.client.hook.SendMessageHook;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Sends unique ids until it is killed or told to stop, and writes each acknowledged id to a file.
 *
 * <p>Arguments: {@code <namesrvAddr> <topic>[,<topic>] <ackedFile> <prefix>}. A second topic gets batches of three,
 * one for seven messages of the first. Failed sends are repeated with the same id until acknowledged, and with the
 * further argument {@code patient} only after the client's own attempts, each such failure a line {@code FAILED}, each
 * attempt that took more than a second a line {@code ATTEMPT} with its broker and duration.
 * Prints {@code READY} after the first acknowledgement and stops at end of input.
 */
public final class AuditProducer {
    private AuditProducer() {}

    public static void main(String[] args) throws Exception {
        var producer = new DefaultMQProducer("audit-producer");
        producer.setNamesrvAddr(args[0]);
        if (args.length < 5) {
            producer.setSendMsgTimeout(2_000);
            producer.setRetryTimesWhenSendFailed(0);
        }
        producer.start();
        if (args.length >= 5) {
            producer.getDefaultMQProducerImpl().registerSendMessageHook(new Attempts());
        }
        var acked = new PrintWriter(new FileWriter(args[2], true), true);
        var next = new AtomicLong();
        for (int i = 0; i < 4; i++) {
            String[] topics = args[1].split(",");
            var sender = new Thread(() -> sendForever(producer, topics, args[3], next, acked));
            sender.setDaemon(true);
            sender.start();
        }
        while (System.in.read() >= 0) {
            // Runs until its input ends.
        }
        acked.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void sendForever(DefaultMQProducer producer, String[] topics, String prefix, AtomicLong next, PrintWriter acked) {
        while (true) {
            long number = next.getAndIncrement();
            String id = prefix + "-" + number;
            var ids = topics.length > 1 && number % 8 == 7 ? List.of(id + "a", id + "b", id + "c") : List.of(id);
            while (!sent(producer, topics[ids.size() > 1 ? 1 : 0], ids)) {
                Thread.yield();
            }
            synchronized (acked) {
                ids.forEach(acked::println);
            }
            if (number == 0) {
                System.out.println("READY");
            }
        }
    }

    private static boolean sent(DefaultMQProducer producer, String topic, List<String> ids) {
        try {
            var messages = ids.stream().map(id -> new Message(topic, "audit", id, Scene.bytes(id))).toList();
            var result = messages.size() > 1 ? producer.send(messages) : producer.send(messages.get(0));
            return result.getSendStatus() == SendStatus.SEND_OK;
        } catch (Exception e) {
            System.out.println("FAILED " + Instant.now() + " " + e);
            // The broker is away; the same id goes out again.
            try {
                Thread.sleep(50);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
            return false;
        }
    }

    /** Says which attempts took the time that the client gives a send: its own exception does not. */
    private static final class Attempts implements SendMessageHook {
        private final ThreadLocal<Long> began = new ThreadLocal<>();

        @Override
        public String hookName() {
            return "attempts";
        }

        @Override
        public void sendMessageBefore(SendMessageContext context) {
            began.set(System.nanoTime());
        }

        @Override
        public void sendMessageAfter(SendMessageContext context) {
            long took = (System.nanoTime() - began.get()) / 1_000_000;
            if (took > 1_000) {
                System.out.println(
                    "ATTEMPT " + Instant.now() + " " + context.getBrokerAddr() + " " + took + " ms " + context.getException());
            }
        }
    }
}
