package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var everything = consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}

// send sends one message per body and checks each answer.
func send(ctx context.Context, p rocketmq.Producer, topic string, bodies []string) error {
	for _, body := range bodies {
		result, err := p.SendSync(ctx, primitive.NewMessage(topic, []byte(body)))
		if err != nil {
			return err
		}
		if result.Status != primitive.SendOK {
			return fmt.Errorf("send status %d", result.Status)
		}
	}
	return nil
}

func numbered(prefix string, count int) []string {
	bodies := make([]string, count)
	for i := range bodies {
		bodies[i] = prefix + strconv.Itoa(i)
	}
	return bodies
}

// consumeAll starts a consumer and waits for these bodies, each exactly once.
func consumeAll(ctx context.Context, b *bench, bodies []string) error {
	in := newInbox()
	if _, err := b.consumer(everything, in); err != nil {
		return err
	}
	if err := in.wait(ctx, bodies); err != nil {
		return err
	}
	return once(in, bodies)
}

func once(in *inbox, bodies []string) error {
	got := in.all()
	if len(got) != len(bodies) {
		return fmt.Errorf("%d messages came, %d were sent", len(got), len(bodies))
	}
	return nil
}

func sendSync(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	bodies := numbered("sync ", 20)
	for i, body := range bodies {
		m := primitive.NewMessage(b.topic, []byte(body)).WithKeys([]string{"k" + strconv.Itoa(i)})
		result, err := p.SendSync(ctx, m)
		if err != nil {
			return err
		}
		if result.Status != primitive.SendOK || result.OffsetMsgID == "" || result.MessageQueue == nil {
			return fmt.Errorf("incomplete answer %v", result)
		}
	}
	return consumeAll(ctx, b, bodies)
}

func sendAsync(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	bodies := numbered("async ", 100)
	answers := make(chan error, len(bodies))
	answered := func(_ context.Context, result *primitive.SendResult, err error) {
		if err == nil && result.Status != primitive.SendOK {
			err = fmt.Errorf("send status %d", result.Status)
		}
		answers <- err
	}
	for _, body := range bodies {
		if err := p.SendAsync(ctx, answered, primitive.NewMessage(b.topic, []byte(body))); err != nil {
			return err
		}
	}
	for range bodies {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("an answer never came")
		}
	}
	return consumeAll(ctx, b, bodies)
}

func sendOneWay(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	bodies := numbered("one-way ", 20)
	// The topic has to be there when the consumer starts; nothing tells when a one-way send made it.
	if err := send(ctx, p, b.topic, bodies[:1]); err != nil {
		return err
	}
	for _, body := range bodies[1:] {
		if err := p.SendOneWay(ctx, primitive.NewMessage(b.topic, []byte(body))); err != nil {
			return err
		}
	}
	return consumeAll(ctx, b, bodies)
}

func sendBatch(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	bodies := numbered("batch ", 32)
	messages := make([]*primitive.Message, len(bodies))
	for i, body := range bodies {
		messages[i] = primitive.NewMessage(b.topic, []byte(body)).WithTag("T").WithKeys([]string{body})
	}
	result, err := p.SendSync(ctx, messages...)
	if err != nil {
		return err
	}
	if ids := len(strings.Split(result.OffsetMsgID, ",")); ids != len(bodies) {
		return fmt.Errorf("%d offset ids for %d messages", ids, len(bodies))
	}
	return consumeAll(ctx, b, bodies)
}

// The tags are ASCII: this client hashes others in its own way and would refuse what the broker lets pass.
func tags(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	var wanted []string
	for i := 0; i < 30; i++ {
		tag := []string{"A", "B", "C"}[i%3]
		body := tag + strconv.Itoa(i)
		if tag != "B" {
			wanted = append(wanted, body)
		}
		if _, err := p.SendSync(ctx, primitive.NewMessage(b.topic, []byte(body)).WithTag(tag)); err != nil {
			return err
		}
	}
	in := newInbox()
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "A || C"}
	if _, err := b.consumer(selector, in); err != nil {
		return err
	}
	if err := in.wait(ctx, wanted); err != nil {
		return err
	}
	return once(in, wanted)
}

// pushClustering shares a topic between two consumers that are running before the messages are sent.
func pushClustering(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	if err := send(ctx, p, b.topic, []string{"first"}); err != nil {
		return err
	}
	in := newInbox()
	for i := 0; i < 2; i++ {
		if _, err := b.consumer(everything, in); err != nil {
			return err
		}
	}
	if err := in.wait(ctx, []string{"first"}); err != nil {
		return err
	}
	bodies := numbered("shared ", 40)
	if err := send(ctx, p, b.topic, bodies); err != nil {
		return err
	}
	return in.wait(ctx, bodies)
}

// pushBroadcast gives every message to each of two consumers.
func pushBroadcast(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	bodies := numbered("broadcast ", 20)
	if err := send(ctx, p, b.topic, bodies); err != nil {
		return err
	}
	boxes := []*inbox{newInbox(), newInbox()}
	for _, in := range boxes {
		if _, err := b.consumer(everything, in, consumer.WithConsumerModel(consumer.BroadCasting)); err != nil {
			return err
		}
	}
	for _, in := range boxes {
		if err := in.wait(ctx, bodies); err != nil {
			return err
		}
	}
	return nil
}

func orderly(ctx context.Context, b *bench) error {
	p, err := b.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	var bodies []string
	for i := 0; i < 40; i++ {
		body := fmt.Sprintf("%d:%d", i%4, i/4)
		bodies = append(bodies, body)
		m := primitive.NewMessage(b.topic, []byte(body)).WithShardingKey(strconv.Itoa(i % 4))
		if _, err := p.SendSync(ctx, m); err != nil {
			return err
		}
	}
	in := newInbox()
	if _, err := b.consumer(everything, in, consumer.WithConsumerOrder(true)); err != nil {
		return err
	}
	if err := in.wait(ctx, bodies); err != nil {
		return err
	}
	next := map[string]int{}
	for _, m := range in.all() {
		key, number, _ := strings.Cut(string(m.Body), ":")
		if number != strconv.Itoa(next[key]) {
			return fmt.Errorf("key %s: message %s came, %d was next", key, number, next[key])
		}
		next[key]++
	}
	return nil
}

func pull(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	bodies := numbered("pull ", 20)
	ends := map[string]*primitive.SendResult{}
	for _, body := range bodies {
		result, err := p.SendSync(ctx, primitive.NewMessage(b.topic, []byte(body)))
		if err != nil {
			return err
		}
		ends[result.MessageQueue.String()] = result
	}
	c, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer([]string{b.nameServer}),
		consumer.WithGroupName(b.group),
		consumer.WithInstance(b.instance()),
	)
	if err != nil {
		return err
	}
	if err := c.Subscribe(b.topic, everything); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	b.onShutdown(c.Shutdown)
	in := newInbox()
	for _, end := range ends {
		for offset := int64(0); offset <= end.QueueOffset; {
			result, err := c.PullFrom(ctx, end.MessageQueue, offset, 8)
			if err != nil {
				return err
			}
			if result.Status != primitive.PullFound || result.NextBeginOffset <= offset {
				return fmt.Errorf("pull of %s at %d: status %v, next %d", end.MessageQueue, offset, result.Status, result.NextBeginOffset)
			}
			in.put(result.GetMessageExts()...)
			offset = result.NextBeginOffset
		}
	}
	if err := in.wait(ctx, bodies); err != nil {
		return err
	}
	return once(in, bodies)
}

func unicode(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	m := primitive.NewMessage(b.topic, []byte("正文 é 😀")).WithTag("标签").WithKeys([]string{"钥匙😀"})
	m.WithProperty("имя", "значение \"quoted\" \\ 😀")
	if _, err := p.SendSync(ctx, m); err != nil {
		return err
	}
	in := newInbox()
	if _, err := b.consumer(everything, in); err != nil {
		return err
	}
	if err := in.wait(ctx, []string{string(m.Body)}); err != nil {
		return err
	}
	got := in.all()[0]
	for name, value := range map[string]string{"TAGS": "标签", "KEYS": "钥匙😀", "имя": "значение \"quoted\" \\ 😀"} {
		if got.GetProperty(name) != value {
			return fmt.Errorf("property %s came as %q", name, got.GetProperty(name))
		}
	}
	return nil
}

func bigBody(ctx context.Context, b *bench) error {
	// Sent as it is: noise does not compress, and the client's threshold is out of reach.
	p, err := b.producer(producer.WithCompressMsgBodyOverHowmuch(16 << 20))
	if err != nil {
		return err
	}
	noise := make([]byte, 4<<20-4096)
	rand.New(rand.NewSource(1)).Read(noise)
	text := strings.Repeat("compresses well ", 1<<16)
	compressing, err := b.producer()
	if err != nil {
		return err
	}
	if err := send(ctx, p, b.topic, []string{string(noise)}); err != nil {
		return err
	}
	if err := send(ctx, compressing, b.topic, []string{text}); err != nil {
		return err
	}
	in := newInbox()
	if _, err := b.consumer(everything, in); err != nil {
		return err
	}
	if err := in.wait(ctx, []string{string(noise), text}); err != nil {
		return err
	}
	for _, m := range in.all() {
		if !bytes.Equal(m.Body, noise) && string(m.Body) != text {
			return fmt.Errorf("a body of %d bytes came that was never sent", len(m.Body))
		}
	}
	return nil
}

// offsetsRestart consumes, shuts down, and starts the group anew: it goes on where it was.
func offsetsRestart(ctx context.Context, b *bench) error {
	p, err := b.producer()
	if err != nil {
		return err
	}
	old := numbered("old ", 20)
	if err := send(ctx, p, b.topic, old); err != nil {
		return err
	}
	in := newInbox()
	c, err := b.consumer(everything, in, consumer.WithConsumeGoroutineNums(1))
	if err != nil {
		return err
	}
	if err := in.wait(ctx, old); err != nil {
		return err
	}
	if err := c.Shutdown(); err != nil {
		return err
	}
	fresh := numbered("new ", 20)
	if err := send(ctx, p, b.topic, fresh); err != nil {
		return err
	}
	again := newInbox()
	if _, err := b.consumer(everything, again); err != nil {
		return err
	}
	if err := again.wait(ctx, fresh); err != nil {
		return err
	}
	// The client counts a message after its handler: the last one of each of 4 queues may come again.
	if repeated := len(again.all()) - len(fresh); repeated > 4 {
		return fmt.Errorf("%d of %d consumed messages came again", repeated, len(old))
	}
	return nil
}
