package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// bench holds what one scenario started. Names are fresh in each run.
type bench struct {
	nameServer string
	topic      string
	group      string
	mu         sync.Mutex
	stops      []func() error
	clients    int
}

func newBench(name, nameServer string) *bench {
	unique := fmt.Sprintf("%s_%d", name, time.Now().UnixNano())
	return &bench{nameServer: nameServer, topic: unique, group: "g_" + unique}
}

func (b *bench) onShutdown(stop func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stops = append(b.stops, stop)
}

func (b *bench) shutdown() {
	b.mu.Lock()
	stops := b.stops
	b.stops = nil
	b.mu.Unlock()
	for i := len(stops) - 1; i >= 0; i-- {
		_ = stops[i]() // some are stopped already by their scenario
	}
}

// instance is a client id of its own: clients that share one share a connection and a heartbeat.
func (b *bench) instance() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients++
	return fmt.Sprintf("%s_%d", b.topic, b.clients)
}

func (b *bench) producer(options ...producer.Option) (rocketmq.Producer, error) {
	options = append([]producer.Option{
		producer.WithNameServer([]string{b.nameServer}),
		producer.WithGroupName("p_" + b.group),
		producer.WithInstanceName(b.instance()),
		producer.WithSendMsgTimeout(10 * time.Second),
	}, options...)
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	b.onShutdown(p.Shutdown)
	return p, nil
}

// inbox gathers what consumers get.
type inbox struct {
	mu       sync.Mutex
	messages []*primitive.MessageExt
	changed  chan struct{}
}

func newInbox() *inbox {
	return &inbox{changed: make(chan struct{}, 1)}
}

func (i *inbox) put(messages ...*primitive.MessageExt) {
	i.mu.Lock()
	i.messages = append(i.messages, messages...)
	i.mu.Unlock()
	select {
	case i.changed <- struct{}{}:
	default:
	}
}

func (i *inbox) bodies() map[string]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	bodies := map[string]int{}
	for _, m := range i.messages {
		bodies[string(m.Body)]++
	}
	return bodies
}

func (i *inbox) all() []*primitive.MessageExt {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]*primitive.MessageExt(nil), i.messages...)
}

// wait ends when every wanted body is there.
func (i *inbox) wait(ctx context.Context, wanted []string) error {
	for {
		bodies := i.bodies()
		missing := 0
		for _, body := range wanted {
			if bodies[body] == 0 {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-i.changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages never came", missing, len(wanted))
		}
	}
}

func (b *bench) consumer(selector consumer.MessageSelector, in *inbox, options ...consumer.Option) (rocketmq.PushConsumer, error) {
	options = append([]consumer.Option{
		consumer.WithNameServer([]string{b.nameServer}),
		consumer.WithGroupName(b.group),
		consumer.WithInstance(b.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	err = c.Subscribe(b.topic, selector, func(_ context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		in.put(m...)
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	b.onShutdown(c.Shutdown)
	return c, nil
}
