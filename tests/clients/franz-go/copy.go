package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// How many records one transaction copies at most.
const copiedRecordsMax = 25

// copyForever reads a topic in a group and writes what it read to another, each time in a transaction with the offsets, every
// fifth of which it aborts. It says what became of each, and ends where it can't go on.
func copyForever(bootstrap, group, id, input, output string) error {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(bootstrap),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(8*time.Second),
		kgo.DefaultProduceTopic(output),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(input),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	ctx := context.Background()
	for turn := 0; ; turn++ {
		fetches := session.PollRecords(ctx, copiedRecordsMax)
		for _, failure := range fetches.Errors() {
			return fmt.Errorf("reading %s %d: %w", failure.Topic, failure.Partition, failure.Err)
		}
		if err := session.Begin(); err != nil {
			return err
		}
		first := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(got *kgo.Record) {
			session.Produce(ctx, &kgo.Record{Key: got.Key, Value: got.Value}, first.Promise())
		})
		wanted := kgo.TransactionEndTry(first.Err() == nil && turn%5 != 3)
		committed, err := session.End(ctx, wanted)
		if err != nil {
			return err
		}
		if committed {
			fmt.Println("committed", fetches.NumRecords())
		} else {
			fmt.Println("aborted", fetches.NumRecords())
		}
	}
}
