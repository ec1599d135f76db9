package sluice.interop;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.impl.mqclient.DoNothingClientRemotingProcessor;
import org.apache.rocketmq.client.impl.mqclient.MQClientAPIExt;
import org.apache.rocketmq.common.constant.ConsumeInitMode;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.NotificationRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PeekMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopMessageResponseHeader;

/**
 * PEEK_MESSAGE, NOTIFICATION and BATCH_ACK_MESSAGE by the classes that the proxy is made of. No consumer sends
 * them; the proxy sends the last one, and the first two nobody does in 5.3.3.
 */
final class PeekScenarios {
    private static final long TIMEOUT = 15_000;

    private PeekScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("peek", PeekScenarios::peek);
        all.put("notification", PeekScenarios::notification);
        all.put("batch_ack", PeekScenarios::batchAck);
    }

    private static MQClientAPIExt api(Scene s) {
        var api = new MQClientAPIExt(new ClientConfig(), new NettyClientConfig(), new DoNothingClientRemotingProcessor(null), null);
        api.start();
        s.closing(api::shutdown);
        return api;
    }

    private static PopResult pop(Scene s, MQClientAPIExt api, String topic, String group, int max, long invisible) throws Exception {
        var header = new PopMessageRequestHeader();
        header.setTopic(topic);
        header.setConsumerGroup(group);
        header.setQueueId(-1);
        header.setMaxMsgNums(max);
        header.setInvisibleTime(invisible);
        header.setPollTime(0);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(ConsumeInitMode.MIN);
        header.setExpType(ExpressionType.TAG);
        header.setExp("*");
        header.setOrder(false);
        return api.popMessageAsync(s.broker(), "broker-a", header, TIMEOUT).get(TIMEOUT, TimeUnit.MILLISECONDS);
    }

    /** Pops until there are so many messages: one pop may give less than there is. */
    private static List<MessageExt> popAll(Scene s, MQClientAPIExt api, String topic, String group, int count, long invisible) throws Exception {
        var got = new ArrayList<MessageExt>();
        Scene.until(count + " popped messages", Scene.SOON, () -> {
            var found = pop(s, api, topic, group, count - got.size(), invisible).getMsgFoundList();
            if (found != null) {
                got.addAll(found);
            }
            return got.size() >= count;
        });
        return got;
    }

    private static RemotingCommand peek(Scene s, MQClientAPIExt api, String topic, String group, int queue, int max) throws Exception {
        var header = new PeekMessageRequestHeader();
        header.setTopic(topic);
        header.setConsumerGroup(group);
        header.setQueueId(queue);
        header.setMaxMsgNums(max);
        var request = RemotingCommand.createRequestCommand(RequestCode.PEEK_MESSAGE, header);
        return api.invoke(s.broker(), request, TIMEOUT).get(TIMEOUT, TimeUnit.MILLISECONDS);
    }

    private static void seen(RemotingCommand answer, long rest, List<String> bodies) throws Exception {
        Scene.same("code", ResponseCode.SUCCESS, answer.getCode());
        Scene.same("remark", "FOUND", answer.getRemark());
        var header = (PopMessageResponseHeader) answer.decodeCommandCustomHeader(PopMessageResponseHeader.class);
        Scene.same("rest", rest, header.getRestNum());
        Scene.same("peeked", bodies, MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())).stream().map(Scene::text).toList());
    }

    /** What a pop would find is seen, as often as one looks, and taken from nobody. */
    private static void peek(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        String group = s.name("g");
        Compat.putGroup(s.admin, s.broker(), group, 1);
        var api = api(s);
        var nothing = peek(s, api, topic, group, 0, 8);
        Scene.same("code while it is empty", ResponseCode.PULL_NOT_FOUND, nothing.getCode());
        Scene.same("remark while it is empty", "NO_MESSAGE_IN_QUEUE", nothing.getRemark());
        Scene.send(s.producer(), topic, "", "m", 5);
        for (int queue : new int[] {0, -1, 0}) {
            seen(peek(s, api, topic, group, queue, 3), 5, List.of("m-0", "m-1", "m-2"));
        }
        Scene.sameBodies(List.of("m-0", "m-1"), popAll(s, api, topic, group, 2, 60_000).stream().map(Scene::text).toList());
        seen(peek(s, api, topic, group, -1, 32), 3, List.of("m-2", "m-3", "m-4"));
        Scene.same("no such queue", ResponseCode.INVALID_PARAMETER, peek(s, api, topic, group, 1, 3).getCode());
        Scene.same("no such topic", ResponseCode.TOPIC_NOT_EXIST, peek(s, api, s.name("none"), group, 0, 3).getCode());
    }

    private static CompletableFuture<Boolean> ask(Scene s, MQClientAPIExt api, String topic, String group, long pollTime) throws Exception {
        var header = new NotificationRequestHeader();
        header.setTopic(topic);
        header.setConsumerGroup(group);
        header.setQueueId(-1);
        header.setPollTime(pollTime);
        header.setBornTime(System.currentTimeMillis());
        return api.notification(s.broker(), header, TIMEOUT);
    }

    /** Says at once that there is something to pop, waits for it, and says in the end that there is nothing. */
    private static void notification(Scene s) throws Exception {
        String topic = s.topic("t", 2);
        String group = s.name("g");
        Compat.putGroup(s.admin, s.broker(), group, 1);
        var api = api(s);
        var producer = s.producer();
        var waiting = ask(s, api, topic, group, 12_000);
        Thread.sleep(500);
        Scene.check("an answer while there is nothing", !waiting.isDone());
        Scene.send(producer, topic, "", "m", 1);
        Scene.same("woken", true, waiting.get(Scene.WAKE, TimeUnit.MILLISECONDS));
        Scene.same("at once", true, ask(s, api, topic, group, 12_000).get(5_000, TimeUnit.MILLISECONDS));
        popAll(s, api, topic, group, 1, 60_000);
        Scene.same("all is popped", false, ask(s, api, topic, group, 1_000).get(TIMEOUT, TimeUnit.MILLISECONDS));
        // A message that nobody acks is told of when it comes back; a Java broker wakes nobody for it.
        Scene.send(producer, topic, "", "back", 1);
        popAll(s, api, topic, group, 1, 1_000);
        Scene.until("what comes back", Scene.SOON, () -> ask(s, api, topic, group, 1_000).get(TIMEOUT, TimeUnit.MILLISECONDS));
    }

    /** One request acks messages of several queues and pops; what it does not name comes back, and nothing else. */
    private static void batchAck(Scene s) throws Exception {
        String topic = s.topic("t", 3);
        String group = s.name("g");
        Compat.putGroup(s.admin, s.broker(), group, 1);
        var api = api(s);
        Scene.send(s.producer(), topic, "", "m", 30);
        var popped = popAll(s, api, topic, group, 30, 3_000);
        var receipts = new ArrayList<String>();
        var left = new TreeSet<String>();
        for (var message : popped) {
            if (Scene.text(message).endsWith("7")) {
                left.add(Scene.text(message));
            } else {
                receipts.add(message.getProperty(MessageConst.PROPERTY_POP_CK));
            }
        }
        var acked = api.batchAckMessageAsync(s.broker(), topic, group, receipts, TIMEOUT).get(TIMEOUT, TimeUnit.MILLISECONDS);
        Scene.same("status", org.apache.rocketmq.client.consumer.AckStatus.OK, acked.getStatus());
        var again = popAll(s, api, topic, group, left.size(), 2_000);
        Scene.sameBodies(left, again.stream().map(Scene::text).toList());
        var back = again.stream().map(message -> message.getProperty(MessageConst.PROPERTY_POP_CK)).toList();
        api.batchAckMessageAsync(s.broker(), topic, group, back, TIMEOUT).get(TIMEOUT, TimeUnit.MILLISECONDS);
        Thread.sleep(5_500);
        var more = pop(s, api, topic, group, 32, 1_000).getMsgFoundList();
        Scene.same("messages after all are acked", 0, more == null ? 0 : more.size());
    }
}
