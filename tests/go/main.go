// Command goclient drives a broker with the Go client of Apache RocketMQ.
//
//	goclient <name server address> [scenario ...]
//	goclient consume <name server address> <topic> <group> [sql]
//
// Each scenario prints "PASS name millis" or "FAIL name millis reason"; the exit status is 1 if any failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// limit bounds each wait for something that has to happen.
const limit = 60 * time.Second

type scenario struct {
	name string
	run  func(context.Context, *bench) error
}

var scenarios = []scenario{
	{"go_sync", sendSync},
	{"go_async", sendAsync},
	{"go_one_way", sendOneWay},
	{"go_batch", sendBatch},
	{"go_tags", tags},
	{"go_push_clustering", pushClustering},
	{"go_push_broadcast", pushBroadcast},
	{"go_orderly", orderly},
	{"go_pull", pull},
	{"go_unicode", unicode},
	{"go_big_body", bigBody},
	{"go_offsets_restart", offsetsRestart},
	{"go_transaction", transaction},
	{"go_delay_levels", delayLevels},
	{"go_retry", retry},
	{"go_dead_letters", deadLetters},
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: goclient <name server address> [scenario ...]")
		os.Exit(2)
	}
	rlog.SetLogLevel("error")
	if os.Args[1] == "consume" {
		if err := trial(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	chosen, err := choose(os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	failed := false
	for _, s := range chosen {
		failed = !report(s, os.Args[1]) || failed
	}
	if failed {
		os.Exit(1)
	}
}

func choose(names []string) ([]scenario, error) {
	if len(names) == 0 {
		return scenarios, nil
	}
	var chosen []scenario
	for _, name := range names {
		found := false
		for _, s := range scenarios {
			if s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario is named %q", name)
		}
	}
	return chosen, nil
}

func report(s scenario, nameServer string) bool {
	start := time.Now()
	b := newBench(s.name, nameServer)
	err := guarded(s, b)
	took := time.Since(start).Milliseconds()
	b.shutdown()
	if err != nil {
		fmt.Printf("FAIL %s %d %s\n", s.name, took, strings.ReplaceAll(err.Error(), "\n", " "))
		return false
	}
	fmt.Printf("PASS %s %d\n", s.name, took)
	return true
}

// guarded makes a panic and a hanging call of the client a failure of this scenario only.
func guarded(s scenario, b *bench) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- s.run(ctx, b)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("did not end within " + limit.String())
	}
}
