package sluice.interop;

import java.io.FileWriter;
import java.io.PrintWriter;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Sends transactional messages until it is killed or told to stop, and writes each acknowledged id to a file.
 *
 * <p>Arguments: {@code <namesrvAddr> <topic> <ackedFile> <prefix>}. By its number an id is committed (0) or
 * rolled back (1) at once, committed (2) or rolled back (3) when the broker asks: {@code number % 4}. Prints
 * {@code READY} after the first acknowledgement and stops at end of input.
 */
public final class TransactionAuditProducer {
    private TransactionAuditProducer() {}

    private static LocalTransactionState fate(String id, boolean asked) {
        return switch ((int) (Long.parseLong(id.substring(id.lastIndexOf('-') + 1)) % 4)) {
            case 0 -> LocalTransactionState.COMMIT_MESSAGE;
            case 1 -> LocalTransactionState.ROLLBACK_MESSAGE;
            case 2 -> asked ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW;
            default -> asked ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
        };
    }

    private static final class ByNumber implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return fate(Scene.text(message), false);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return fate(Scene.text(message), true);
        }
    }

    public static void main(String[] args) throws Exception {
        var producer = new TransactionMQProducer("audit-transactions");
        producer.setNamesrvAddr(args[0]);
        producer.setSendMsgTimeout(2_000);
        producer.setRetryTimesWhenSendFailed(0);
        producer.setTransactionListener(new ByNumber());
        producer.start();
        var acked = new PrintWriter(new FileWriter(args[2], true), true);
        var next = new AtomicLong();
        for (int i = 0; i < 2; i++) {
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

    private static void sendForever(TransactionMQProducer producer, String topic, String prefix, AtomicLong next, PrintWriter acked) {
        boolean ready = false;
        while (true) {
            String id = prefix + "-" + next.getAndIncrement();
            if (!sent(producer, new Message(topic, "audit", id, Scene.bytes(id)))) {
                continue;
            }
            synchronized (acked) {
                acked.println(id);
            }
            if (!ready) {
                ready = true;
                System.out.println("READY");
            }
        }
    }

    /** An id that is not acknowledged is never sent again: its message may be there all the same. */
    private static boolean sent(TransactionMQProducer producer, Message message) {
        try {
            Thread.sleep(2);
            return producer.sendMessageInTransaction(message, null).getSendStatus() == SendStatus.SEND_OK;
        } catch (Exception e) {
            try {
                Thread.sleep(50);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
            return false;
        }
    }
}
