package sluice.interop;

import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * The official producer as a load: a closed loop with a fixed number of sends in flight.
 *
 * <p>Arguments: {@code <namesrvAddr> <topic> <bodySize> <inFlight> <connections> <seconds>}. The first fifth
 * warms up and is not counted; when it is over, {@code counting} is printed. At the end comes one line of
 * {@code name=value} pairs; latencies are in microseconds.
 */
public final class LoadProducer {
    private final Semaphore permits;
    private final AtomicInteger samples = new AtomicInteger();
    private final AtomicLong failed = new AtomicLong();
    private final int[] micros = new int[20_000_000];
    private volatile boolean counting;

    private LoadProducer(int inFlight) {
        permits = new Semaphore(inFlight);
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 6) {
            System.err.println("usage: LoadProducer <namesrvAddr> <topic> <bodySize> <inFlight> <connections> <seconds>");
            System.exit(2);
        }
        int inFlight = Integer.parseInt(args[3]);
        var producers = new DefaultMQProducer[Integer.parseInt(args[4])];
        for (int i = 0; i < producers.length; i++) {
            producers[i] = new DefaultMQProducer("load-producer-" + i);
            producers[i].setNamesrvAddr(args[0]);
            producers[i].setInstanceName("load-" + ProcessHandle.current().pid() + "-" + i);
            producers[i].setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
            producers[i].setRetryTimesWhenSendAsyncFailed(0);
            producers[i].start();
        }
        var body = new byte[Integer.parseInt(args[2])];
        new Random(1).nextBytes(body);
        new LoadProducer(inFlight).run(producers, args[1], body, inFlight, Long.parseLong(args[5]));
        Runtime.getRuntime().halt(0);
    }

    private void run(DefaultMQProducer[] producers, String topic, byte[] body, int inFlight, long seconds) throws Exception {
        long start = System.nanoTime();
        long warmUntil = start + TimeUnit.SECONDS.toNanos(seconds) / 5;
        long end = start + TimeUnit.SECONDS.toNanos(seconds);
        long countedFrom = warmUntil;
        for (int i = 0; System.nanoTime() < end; i++) {
            if (!counting && System.nanoTime() >= warmUntil) {
                countedFrom = System.nanoTime();
                counting = true;
                System.out.println("counting");
                System.out.flush();
            }
            permits.acquire();
            send(producers[i % producers.length], new Message(topic, body));
        }
        counting = false;
        double elapsed = (System.nanoTime() - countedFrom) / 1e9;
        permits.tryAcquire(inFlight, 10, TimeUnit.SECONDS);
        report(elapsed, body.length, inFlight, producers.length);
    }

    private void send(DefaultMQProducer producer, Message message) throws Exception {
        long begun = System.nanoTime();
        producer.send(message, new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    count(begun);
                } else {
                    failed.incrementAndGet();
                }
                permits.release();
            }

            @Override
            public void onException(Throwable e) {
                failed.incrementAndGet();
                permits.release();
            }
        });
    }

    private void count(long begun) {
        if (!counting) {
            return;
        }
        int slot = samples.getAndIncrement();
        if (slot < micros.length) {
            micros[slot] = (int) Math.min(Integer.MAX_VALUE, (System.nanoTime() - begun) / 1_000L);
        }
    }

    private void report(double elapsed, int bodySize, int inFlight, int connections) {
        int count = Math.min(samples.get(), micros.length);
        Arrays.sort(micros, 0, count);
        System.out.printf("messages=%d per_second=%.0f failed=%d p50=%d p90=%d p99=%d p999=%d max=%d body=%d in_flight=%d connections=%d%n",
                samples.get(), samples.get() / elapsed, failed.get(), at(count, 0.5), at(count, 0.9), at(count, 0.99),
                at(count, 0.999), at(count, 1.0), bodySize, inFlight, connections);
    }

    private int at(int count, double quantile) {
        return count == 0 ? 0 : micros[Math.min(count - 1, (int) (count * quantile))];
    }
}
