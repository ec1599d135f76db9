package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// decisions says what becomes of a message, by its body: at once, or when the broker asks.
type decisions struct {
	first, asked map[string]primitive.LocalTransactionState
}

func (d decisions) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	if state, known := d.first[string(m.Body)]; known {
		return state
	}
	return primitive.UnknowState
}

func (d decisions) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	if state, known := d.asked[string(m.Body)]; known {
		return state
	}
	return d.ExecuteLocalTransaction(&m.Message)
}

// transaction commits, rolls back, and leaves it open until the broker asks.
func transaction(ctx context.Context, b *bench) error {
	in := newInbox()
	plain, err := b.producer()
	if err != nil {
		return err
	}
	if err := send(ctx, plain, b.topic, []string{"first"}); err != nil {
		return err
	}
	if _, err := b.consumer(everything, in); err != nil {
		return err
	}
	p, err := rocketmq.NewTransactionProducer(decisions{
		first: map[string]primitive.LocalTransactionState{
			"committed":   primitive.CommitMessageState,
			"rolled back": primitive.RollbackMessageState,
		},
		asked: map[string]primitive.LocalTransactionState{
			"committed when asked":   primitive.CommitMessageState,
			"rolled back when asked": primitive.RollbackMessageState,
		},
	},
		producer.WithNameServer([]string{b.nameServer}),
		producer.WithGroupName("tx_"+b.group),
		producer.WithInstanceName(b.instance()),
		producer.WithSendMsgTimeout(10*time.Second),
	)
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	b.onShutdown(p.Shutdown)
	for _, body := range []string{"committed", "rolled back", "committed when asked", "rolled back when asked"} {
		result, err := p.SendMessageInTransaction(ctx, primitive.NewMessage(b.topic, []byte(body)))
		if err != nil {
			return err
		}
		if result.Status != primitive.SendOK {
			return fmt.Errorf("send status %d", result.Status)
		}
	}
	wanted := []string{"first", "committed", "committed when asked"}
	if err := in.wait(ctx, wanted); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	return once(in, wanted)
}
