package sluice.interop;

import java.io.FileWriter;
import java.io.PrintWriter;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Sends unique ids until it is killed or told to stop, and writes each acknowledged id to a file.
 *
 * <p>Arguments: {@code <namesrvAddr> <topic> <ackedFile> <prefix>}. Failed sends are repeated with the
 * same id until acknowledged, and with the further argument {@code patient} only after the client's own attempts,
 * each such failure a line {@code FAILED}. Prints {@code READY} after the first acknowledgement and stops at end of
 * input.
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
        var acked = new PrintWriter(new FileWriter(args[2], true), true);
        var next = new AtomicLong();
        for (int i = 0; i < 4; i++) {
            var sender = new Thread(() -> sendForever(producer, args[1], args[3], next, acked));
            sender.setDaemon(true);
            sender.start();
        }
        while (System.in.read() >= 0) {
            // Runs until its input ends.
        }
        acked.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void sendForever(DefaultMQProducer producer, String topic, String prefix, AtomicLong next, PrintWriter acked) {
        while (true) {
            long number = next.getAndIncrement();
            String id = prefix + "-" + number;
            while (!sent(producer, new Message(topic, "audit", id, Scene.bytes(id)))) {
                Thread.yield();
            }
            synchronized (acked) {
                acked.println(id);
            }
            if (number == 0) {
                System.out.println("READY");
            }
        }
    }

    private static boolean sent(DefaultMQProducer producer, Message message) {
        try {
            return producer.send(message).getSendStatus() == SendStatus.SEND_OK;
        } catch (Exception e) {
            System.out.println("FAILED " + e);
            // The broker is away; the same id goes out again.
            try {
                Thread.sleep(50);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
            return false;
        }
    }
}
