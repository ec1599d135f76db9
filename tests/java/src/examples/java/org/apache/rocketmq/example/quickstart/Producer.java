package org.apache.rocketmq.example.quickstart;

import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** Does what the class of this name in RocketMQ's releases does; their jar is not in Maven's repository. */
public class Producer {
    public static void main(String[] args) throws Exception {
        var producer = new DefaultMQProducer("please_rename_unique_group_name");
        producer.start();
        for (int i = 0; i < 1000; i++) {
            var message = new Message("TopicTest", "TagA", ("Hello RocketMQ " + i).getBytes(StandardCharsets.UTF_8));
            System.out.println(producer.send(message, 20_000));
        }
        producer.shutdown();
    }
}
