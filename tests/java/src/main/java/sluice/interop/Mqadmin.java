package sluice.interop;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
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
            running.join(COMMAND);
            if (running.isAlive()) {
                stream.println("not finished within " + COMMAND + " ms");
                running.interrupt();
            }
        } finally {
            System.setOut(standard);
            System.setErr(errors);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    private void run(String[] words) {
        // A command before has left its -n there.
        System.clearProperty("rocketmq.namesrv.addr");
        try {
            switch (words[0]) {
                case "@consume" -> consume(words[1], words[2], words[3]);
                case "@produce" -> produce(words[1], words[2], words[3]);
                case "@monitor" -> monitor();
                case "@help" -> Compat.mqadmin(new String[0]);
                case "@endless" -> endless(Integer.parseInt(words[1]), Arrays.copyOfRange(words, 2, words.length));
                default -> Compat.mqadmin(words);
            }
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    /** A consumer of a group that is there until the end; prints its client id. */
    private void consume(String group, String topic, String expression) throws Exception {
        DefaultMQPushConsumer consumer = scene.consumer(group);
        consumer.subscribe(topic, expression);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        consumer.start();
        Scene.until("queues of " + topic, Scene.SOON, () -> !Scene.held(consumer, topic).isEmpty());
        System.out.println(consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId());
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
        var listener = (MonitorListener) Proxy.newProxyInstance(Mqadmin.class.getClassLoader(), new Class<?>[] {MonitorListener.class},
                (self, method, arguments) -> {
                    System.out.println(method.getName() + " " + (arguments == null ? "" : Arrays.toString(arguments)));
                    return null;
                });
        var service = new MonitorService(config, listener, null);
        service.start();
        service.doMonitorWork();
        service.shutdown();
    }

    /** Runs a command that goes on for ever until it has printed so many lines. */
    private static void endless(int lines, String[] words) throws Exception {
        var printed = new ByteArrayOutputStream();
        var stream = System.out;
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        var running = new Thread(() -> Compat.mqadmin(words));
        running.start();
        try {
            Scene.until(lines + " lines", Scene.SOON, () -> printed.toString(StandardCharsets.UTF_8).lines().count() >= lines);
        } finally {
            System.setOut(stream);
            running.interrupt();
            running.join(COMMAND);
        }
        printed.toString(StandardCharsets.UTF_8).lines().limit(lines).forEach(System.out::println);
    }
}
