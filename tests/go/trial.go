package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// trial is a plain consumer: consume <name server> <topic> <group> [sql]. It prints "STARTED", then "GOT <body>" for
// each message until its input ends; "REFUSED <text>" when it can't start.
func trial(arguments []string) error {
	selector := everything
	if len(arguments) > 3 {
		selector = consumer.MessageSelector{Type: consumer.SQL92, Expression: arguments[3]}
	}
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer([]string{arguments[0]}),
		consumer.WithGroupName(arguments[2]),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return err
	}
	err = c.Subscribe(arguments[1], selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			fmt.Printf("GOT %s\n", message.Body)
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		fmt.Printf("REFUSED %v\n", err)
		return nil
	}
	fmt.Println("STARTED")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return c.Shutdown()
}
