package sluice.interop;

import java.util.Map;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;

/** Requests that are answered by a consumer's reply. */
final class ReplyScenarios {
    private ReplyScenarios() {}

    static void register(Map<String, Scenarios.Body> all) {
        all.put("request_reply", ReplyScenarios::requestReply);
    }

    private static void requestReply(Scene s) throws Exception {
        String topic = s.topic("t", 1);
        var replier = s.producer();
        var consumer = s.consumer(s.name("g"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (var message : messages) {
                try {
                    replier.send(MessageUtil.createReplyMessage(message, Scene.bytes("re: " + Scene.text(message))));
                } catch (Exception error) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        var question = new Message(topic, Scene.bytes("question"));
        if (Compat.ANSWERS_REQUESTS) {
            Scene.same("reply", "re: question", Scene.text(s.producer().request(question, Scene.SOON)));
            return;
        }
        // Such a client asks and then does not wait; the reply comes all the same, and is stored.
        s.producer().request(question, new RequestCallback() {
            @Override
            public void onSuccess(Message message) {}

            @Override
            public void onException(Throwable error) {}
        }, Scene.SOON);
        String replies = s.cluster() + "_REPLY_TOPIC";
        Scene.until("a stored reply", Scene.SOON, () -> s.admin.examineTopicStats(replies).getOffsetTable().values().stream().anyMatch(offsets -> offsets.getMaxOffset() > 0));
    }
}
