package sluice.interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByConfig;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Answers what the official strategies answer.
 *
 * <p>One case per input line, fields separated by tabs, items of a list by U+001F, a queue as
 * {@code broker:id}: strategy, its parameter (queues, rooms or a number), what ends a room's name in the
 * names of brokers and clients, topic, queues, clients, who asks. One output line per case: the strategy's
 * name, the queues sorted, the clients sorted, and for each who asks its queues, or {@code !} if the
 * strategy refuses.
 */
public final class Allocations {
    private static final String NEARBY = "MACHINE_ROOM_NEARBY-";

    private Allocations() {}

    public static void main(String[] args) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(answer(line.split("\t", -1)));
        }
        out.flush();
    }

    private static String answer(String[] fields) {
        String topic = fields[3];
        List<MessageQueue> queues = queues(topic, fields[4]);
        List<String> clients = items(fields[5]);
        var strategy = strategy(fields[0], fields[1], fields[2], topic);
        var answers = new ArrayList<String>();
        answers.add(strategy.getName());
        answers.add(text(new TreeSet<>(queues)));
        answers.add(String.join("\u001f", new TreeSet<>(clients)));
        for (String client : items(fields[6])) {
            try {
                answers.add(text(strategy.allocate("g", client, queues, clients)));
            } catch (IllegalArgumentException refused) {
                answers.add("!");
            }
        }
        return String.join("\t", answers);
    }

    private static AllocateMessageQueueStrategy strategy(String name, String parameter, String end, String topic) {
        if (name.startsWith(NEARBY)) {
            return new AllocateMachineRoomNearby(strategy(name.substring(NEARBY.length()), parameter, end, topic), rooms(end));
        }
        switch (name) {
            case "AVG":
                return new AllocateMessageQueueAveragely();
            case "AVG_BY_CIRCLE":
                return new AllocateMessageQueueAveragelyByCircle();
            case "CONFIG":
                var config = new AllocateMessageQueueByConfig();
                config.setMessageQueueList(queues(topic, parameter));
                return config;
            case "MACHINE_ROOM":
                var room = new AllocateMessageQueueByMachineRoom();
                room.setConsumeridcs(new HashSet<>(items(parameter)));
                return room;
            case "CONSISTENT_HASH":
                return new AllocateMessageQueueConsistentHash(Integer.parseInt(parameter));
            default:
                throw new IllegalStateException("no strategy " + name);
        }
    }

    private static AllocateMachineRoomNearby.MachineRoomResolver rooms(String end) {
        return new AllocateMachineRoomNearby.MachineRoomResolver() {
            @Override
            public String brokerDeployIn(MessageQueue queue) {
                return consumerDeployIn(queue.getBrokerName());
            }

            @Override
            public String consumerDeployIn(String name) {
                return name.substring(0, Math.max(0, name.indexOf(end)));
            }
        };
    }

    /** An empty text is an empty list; the empty item stands for itself only beside others. */
    private static List<String> items(String text) {
        return text.isEmpty() ? List.of() : List.of(text.split("\u001f", -1));
    }

    private static List<MessageQueue> queues(String topic, String text) {
        return items(text).stream().map(item -> {
            int colon = item.lastIndexOf(':');
            return new MessageQueue(topic, item.substring(0, colon), Integer.parseInt(item.substring(colon + 1)));
        }).collect(Collectors.toList());
    }

    private static String text(Iterable<MessageQueue> queues) {
        var items = new ArrayList<String>();
        queues.forEach(queue -> items.add(queue.getBrokerName() + ":" + queue.getQueueId()));
        return String.join("\u001f", items);
    }
}
