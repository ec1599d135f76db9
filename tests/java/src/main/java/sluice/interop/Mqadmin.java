package sluice.interop;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.monitor.MonitorConfig;
import org.apache.rocketmq.tools.monitor.MonitorListener;
import org.apache.rocketmq.tools.monitor.MonitorService;

/**
 * Runs commands of mqadmin one after the other in one process, and the clients that they are about. Reads a
 * command a line, its words separated by tabs; answers with what it printed, and {@code === <line number>}.
 */
public final class Mqadmin {
    private static final PrintStream ANSWERS = System.out;
    /** How long a command may take. */
    private static final long COMMAND = 60_000;

    private final Scene scene;
    /** The one that is there. */
    private DefaultMQPushConsumer consumer;

    private Mqadmin(String namesrv) {
        scene = new Scene(namesrv, "mqadmin", null);
    }

    public static void main(String[] args) throws Exception {
        var all = new Mqadmin(args[0]);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        int number = 0;
        for (String line; (line = lines.readLine()) != null; number++) {
            ANSWERS.print(all.printed(line.split("\t")) + "\n=== " + number + "\n");
            ANSWERS.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /** What a command prints, errors included. */
    private String printed(String[] words) throws Exception {
        var printed = new ByteArrayOutputStream();
        var stream = new PrintStream(printed, true, StandardCharsets.UTF_8);
        var standard = System.out;
        var errors = System.err;
        System.setOut(stream);
        System.setErr(stream);
        try {
            var running = new Thread(() -> run(words));
            running.start();
            // A trace is sent while the producer is shut down.
            boolean traces = words[0].equals("sendMessage") && Arrays.asList(words).contains("-m");
            if (!ended(running, !traces)) {
                stream.println("not finished within " + COMMAND + " ms");
                running.interrupt();
            }
        } finally {
            System.setOut(standard);
            System.setErr(errors);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    /**
     * Waits for a command's end. Clients of 5.x wait for a thread of their own when they are shut down, up to 3 s
     * each, which can be cut short.
     */
    private static boolean ended(Thread running, boolean cutShort) throws InterruptedException {
        long end = System.nanoTime() + COMMAND * 1_000_000L;
        int idle = 0;
        while (running.isAlive() && System.nanoTime() < end) {
            running.join(10);
            idle = isShuttingDown(running) ? idle + 1 : 0;
            // Not one that is about to go on: whatever it waits for next must not be cut short.
            if (cutShort && idle == 5) {
                running.interrupt();
                idle = 0;
            }
        }
        return !running.isAlive();
    }

    private static boolean isShuttingDown(Thread running) {
        var frames = Arrays.stream(running.getStackTrace()).filter(frame -> frame.getMethodName().equals("shutdown"));
        var classes = frames.map(StackTraceElement::getClassName).toList();
        return classes.stream().anyMatch(name -> name.endsWith(".ServiceThread"))
                && classes.stream().anyMatch(name -> name.endsWith(".NettyRemotingClient"));
    }

    private void run(String[] words) {
        // A command before has left its -n there.
        System.clearProperty("rocketmq.namesrv.addr");
        try {
            switch (words[0]) {
                case "@consume" -> consume(words[1], words[2], words[3]);
                case "@produce" -> produce(words[1], words[2], words[3]);
                case "@commit" -> commit();
                case "@monitor" -> monitor();
                case "@help" -> Compat.mqadmin(new String[0]);
                case "@endless" -> endless(Integer.parseInt(words[1]), Arrays.copyOfRange(words, 2, words.length));
                default -> Compat.mqadmin(words);
            }
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    /** A consumer of a group, on a topic of one queue, that is there until the end; prints its client id. */
    private void consume(String group, String topic, String expression) throws Exception {
        consumer = scene.consumer(group);
        consumer.subscribe(topic, expression);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        consumer.start();
        for (String held : new String[] {topic, "%RETRY%" + group}) {
            Scene.awaitHeld(consumer, held, 1);
        }
        System.out.println(consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId());
    }

    /** The consumer consumes what there is, and says so. */
    private void commit() throws Exception {
        var queues = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet();
        for (var queue : queues) {
            Scene.until("all of " + queue, Scene.SOON, () -> isConsumed(queue));
        }
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
    }

    private boolean isConsumed(MessageQueue queue) throws Exception {
        var known = consumer.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_MEMORY);
        return known == consumer.maxOffset(queue) || consumer.maxOffset(queue) == 0;
    }

    /** A producer that is there until the end; sends one message and prints its ids. */
    private void produce(String group, String topic, String key) throws Exception {
        var producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr(scene.namesrv);
        producer.setInstanceName(Scene.instance());
        producer.start();
        scene.closing(producer::shutdown);
        var sent = producer.send(new Message(topic, "TagA", key, Scene.bytes("body of " + key)));
        producer.getDefaultMQProducerImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
        System.out.println(sent.getMsgId() + " " + sent.getOffsetMsgId() + " " + sent.getMessageQueue().getQueueId() + " " + sent.getQueueOffset());
    }

    /** One round of what startMonitoring does every minute, with a listener that prints instead of logging. */
    private void monitor() throws Exception {
        var config = new MonitorConfig();
        config.setNamesrvAddr(scene.namesrv);
        var over = new AtomicBoolean();
        var listener = (MonitorListener) Proxy.newProxyInstance(Mqadmin.class.getClassLoader(), new Class<?>[] {MonitorListener.class},
                (self, method, arguments) -> {
                    // Its timer goes on when it is shut down.
                    if (over.get()) {
                        return null;
                    }
                    System.out.println(method.getName() + " " + (arguments == null ? "" : Arrays.toString(arguments)));
                    return null;
                });
        var service = new MonitorService(config, listener, null);
        service.start();
        service.doMonitorWork();
        over.set(true);
        service.shutdown();
    }

    /** Runs a command that goes on for ever until it has printed so many lines. */
    private static void endless(int lines, String[] words) throws Exception {
        var printed = new ByteArrayOutputStream();
        var stream = System.out;
        var errors = System.err;
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        // That it was ended is not what it is about.
        System.setErr(new PrintStream(OutputStream.nullOutputStream()));
        var running = new Thread(() -> Compat.mqadmin(words));
        running.start();
        try {
            Scene.until(lines + " lines", Scene.SOON, () -> printed.toString(StandardCharsets.UTF_8).lines().count() >= lines);
        } finally {
            running.interrupt();
            ended(running, true);
            System.setOut(stream);
            System.setErr(errors);
        }
        printed.toString(StandardCharsets.UTF_8).lines().limit(lines).forEach(System.out::println);
    }
}
