package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// handled starts a consumer with a handler of its own.
func (b *bench) handled(handler func(context.Context, *primitive.MessageExt) consumer.ConsumeResult, options ...consumer.Option) error {
	options = append([]consumer.Option{
		consumer.WithNameServer([]string{b.nameServer}),
		consumer.WithGroupName(b.group),
		consumer.WithInstance(b.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return err
	}
	err = c.Subscribe(b.topic, everything, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			if result := handler(ctx, m); result != consumer.ConsumeSuccess {
				return result, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	b.onShutdown(c.Shutdown)
	return nil
}

// delayLevels sends with levels 1 and 2: none comes early, and the shorter delay comes first.
func delayLevels(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	if err := send(ctx, p, b.topic, []string{"first"}); err != nil {
		return err
	}
	in := newInbox()
	arrived := map[string]time.Time{}
	err = b.handled(func(_ context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
		in.mu.Lock()
		arrived[string(m.Body)] = time.Now()
		in.mu.Unlock()
		in.put(m)
		return consumer.ConsumeSuccess
	})
	if err != nil {
		return err
	}
	if err := in.wait(ctx, []string{"first"}); err != nil {
		return err
	}
	delays := map[string]time.Duration{"after 5 s": 5 * time.Second, "after 1 s": time.Second}
	sent := time.Now()
	for body, level := range map[string]int{"after 5 s": 2, "after 1 s": 1} {
		if _, err := p.SendSync(ctx, primitive.NewMessage(b.topic, []byte(body)).WithDelayTimeLevel(level)); err != nil {
			return err
		}
	}
	if err := in.wait(ctx, []string{"after 1 s", "after 5 s"}); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for body, delay := range delays {
		// The broker counts in whole milliseconds.
		if took := arrived[body].Sub(sent); took < delay-time.Millisecond {
			return fmt.Errorf("%q came after %s", body, took)
		}
	}
	return nil
}

// reading starts a consumer, of a group of its own, as soon as the topic is there: before, none starts.
func (b *bench) reading(ctx context.Context, topic string, handler func(context.Context, *primitive.MessageExt) consumer.ConsumeResult) (*bench, error) {
	reader := &bench{nameServer: b.nameServer, topic: topic, group: "r_" + b.group}
	for reader.handled(handler) != nil {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s was never made", topic)
		}
	}
	return reader, nil
}

// retryTopic makes the group's retry topic on the broker that has a message: a consumer that starts before
// it has a route finds it 20 or 40 s later, with every broker.
func (b *bench) retryTopic(ctx context.Context, sent *primitive.SendResult) error {
	id, err := primitive.UnmarshalMsgID([]byte(sent.OffsetMsgID))
	if err != nil {
		return err
	}
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{b.nameServer})))
	if err != nil {
		return err
	}
	defer a.Close()
	topic := "%RETRY%" + b.group
	err = a.CreateTopic(ctx,
		admin.WithTopicCreate(topic),
		admin.WithBrokerAddrCreate(fmt.Sprintf("%s:%d", id.Addr, id.Port)),
		admin.WithReadQueueNums(1),
		admin.WithWriteQueueNums(1),
	)
	if err != nil {
		return err
	}
	success := func(context.Context, *primitive.MessageExt) consumer.ConsumeResult { return consumer.ConsumeSuccess }
	reader, err := b.reading(ctx, topic, success)
	if err != nil {
		return err
	}
	reader.shutdown()
	return nil
}

// retry sends a message back: it comes again with its count, as the same message.
func retry(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	sent, err := p.SendSync(ctx, primitive.NewMessage(b.topic, []byte("again")).WithKeys([]string{"k"}))
	if err != nil {
		return err
	}
	if err := b.retryTopic(ctx, sent); err != nil {
		return err
	}
	in := newInbox()
	err = b.handled(func(ctx context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
		if m.ReconsumeTimes < 1 {
			if c, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				c.DelayLevelWhenNextConsume = 1
			}
			return consumer.ConsumeRetryLater
		}
		in.put(m)
		return consumer.ConsumeSuccess
	})
	if err != nil {
		return err
	}
	if err := in.wait(ctx, []string{"again"}); err != nil {
		return err
	}
	m := in.all()[0]
	if m.ReconsumeTimes != 1 || m.GetKeys() != "k" || m.MsgId != sent.MsgID {
		return fmt.Errorf("came as %s with keys %q, sent back %d times", m.MsgId, m.GetKeys(), m.ReconsumeTimes)
	}
	return nil
}

// deadLetters gives a message up at its first failure: it lies in the group's own topic, as it was.
func deadLetters(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	if _, err := p.SendSync(ctx, primitive.NewMessage(b.topic, []byte("never")).WithKeys([]string{"k"})); err != nil {
		return err
	}
	never := func(context.Context, *primitive.MessageExt) consumer.ConsumeResult { return consumer.ConsumeRetryLater }
	if err := b.handled(never, consumer.WithMaxReconsumeTimes(0)); err != nil {
		return err
	}
	in := newInbox()
	read := func(_ context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
		in.put(m)
		return consumer.ConsumeSuccess
	}
	letters, err := b.reading(ctx, "%DLQ%"+b.group, read)
	if err != nil {
		return err
	}
	b.onShutdown(func() error { letters.shutdown(); return nil })
	if err := in.wait(ctx, []string{"never"}); err != nil {
		return err
	}
	m := in.all()[0]
	if m.GetKeys() != "k" || m.GetProperty("RETRY_TOPIC") != b.topic {
		return fmt.Errorf("the letter has keys %q and comes from %q", m.GetKeys(), m.GetProperty("RETRY_TOPIC"))
	}
	return nil
}
