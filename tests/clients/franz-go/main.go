// Command franz-go is franz-go behind the driver protocol of tests/clients/README.md. With four more arguments (group,
// transactional id, input, output) it copies in transactions instead.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const deadline = 60 * time.Second

type record struct {
	Partition int32       `json:"p"`
	Offset    int64       `json:"o"`
	Timestamp *int64      `json:"t"`
	Key       *string     `json:"k"`
	Value     *string     `json:"v"`
	Headers   [][]*string `json:"h"`
}

type request struct {
	Op          string             `json:"op"`
	Topic       string             `json:"topic"`
	Group       string             `json:"group"`
	Acks        string             `json:"acks"`
	Idempotent  bool               `json:"idempotent"`
	Compression string             `json:"compression"`
	LingerMs    int                `json:"linger_ms"`
	BatchBytes  int32              `json:"batch_bytes"`
	Records     []record           `json:"records"`
	Partition   int32              `json:"partition"`
	Partitions  json.RawMessage    `json:"partitions"`
	Configs     map[string]*string `json:"configs"`
	From        int64              `json:"from"`
	Count       int                `json:"count"`
	Before      int64              `json:"before"`
	At          any                `json:"at"`
	Set         map[string]string  `json:"set"`
	Delete      []string           `json:"delete"`
	Options     map[string]string  `json:"options"`
}

type answer map[string]any

func main() {
	bootstrap := os.Args[1]
	if len(os.Args) == 6 {
		err := copyForever(bootstrap, os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked request
		reply, err := answer(nil), json.Unmarshal(line, &asked)
		if err == nil {
			reply, err = perform(bootstrap, &asked)
		}
		if err != nil {
			reply = answer{"error": answer{"code": code(err), "message": err.Error()}}
		}
		if err := out.Encode(reply); err != nil {
			panic(err)
		}
	}
}

func code(err error) int16 {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return kafka.Code
	}
	return -1
}

func perform(bootstrap string, asked *request) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	switch asked.Op {
	case "hello":
		return answer{"client": "franz-go " + version()}, nil
	case "produce":
		return produce(ctx, bootstrap, asked)
	case "consume":
		return consume(ctx, bootstrap, asked)
	case "group":
		return group(ctx, bootstrap, asked)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return administer(ctx, kadm.NewClient(client), asked)
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "github.com/twmb/franz-go" {
			return dependency.Version
		}
	}
	return "unknown"
}

func produce(ctx context.Context, bootstrap string, asked *request) (answer, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(map[string]kgo.CompressionCodec{
			"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
			"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
		}[asked.Compression]),
		kgo.RequiredAcks(map[string]kgo.Acks{
			"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks(),
		}[asked.Acks]),
		kgo.ProducerLinger(time.Duration(asked.LingerMs) * time.Millisecond),
		kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchMaxBytes(max(asked.BatchBytes, largestBatch(asked.Records))),
	}
	if !asked.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()

	records := make([]*kgo.Record, 0, len(asked.Records))
	for _, one := range asked.Records {
		sent := &kgo.Record{Topic: asked.Topic, Partition: one.Partition}
		if sent.Key, err = fromHex(one.Key); err != nil {
			return nil, err
		}
		if sent.Value, err = fromHex(one.Value); err != nil {
			return nil, err
		}
		if one.Timestamp != nil {
			sent.Timestamp = time.UnixMilli(*one.Timestamp)
		}
		for _, header := range one.Headers {
			value, err := fromHex(header[1])
			if err != nil {
				return nil, err
			}
			sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: *header[0], Value: value})
		}
		records = append(records, sent)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]int64, 0, len(records))
	for _, sent := range records {
		if asked.Acks == "0" {
			offsets = append(offsets, -1)
		} else {
			offsets = append(offsets, sent.Offset)
		}
	}
	return answer{"offsets": offsets}, nil
}

// group reads as a member of a group, commits what it read and leaves.
func group(ctx context.Context, bootstrap string, asked *request) (answer, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumerGroup(asked.Group),
		kgo.ConsumeTopics(asked.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	values := []string{}
	for len(values) < asked.Count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(one *kgo.Record) { values = append(values, hex.EncodeToString(one.Value)) })
	}
	return answer{"values": values}, client.CommitUncommittedOffsets(ctx)
}

// largestBatch is what the largest record needs: the client's limit is a hard one.
func largestBatch(records []record) int32 {
	largest := 0
	for _, one := range records {
		size := 512
		for _, text := range []*string{one.Key, one.Value} {
			if text != nil {
				size += len(*text) / 2
			}
		}
		for _, header := range one.Headers {
			size += 16 + len(*header[0])
			if header[1] != nil {
				size += len(*header[1]) / 2
			}
		}
		largest = max(largest, size)
	}
	return int32(largest)
}

func consume(ctx context.Context, bootstrap string, asked *request) (answer, error) {
	var wanted [][3]int64
	if err := json.Unmarshal(asked.Partitions, &wanted); err != nil {
		return nil, err
	}
	starts, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for _, one := range wanted {
		starts[int32(one[0])] = kgo.NewOffset().At(one[1])
		if one[2] > 0 {
			left[int32(one[0])] = one[2]
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{asked.Topic: starts}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()

	records := []record{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			return nil, err
		}
		fetches.EachRecord(func(got *kgo.Record) {
			if left[got.Partition] == 0 {
				return
			}
			left[got.Partition]--
			if left[got.Partition] == 0 {
				delete(left, got.Partition)
			}
			records = append(records, read(got))
		})
	}
	return answer{"records": records}, nil
}

func read(got *kgo.Record) record {
	timestamp := got.Timestamp.UnixMilli()
	read := record{
		Partition: got.Partition, Offset: got.Offset, Timestamp: &timestamp,
		Key: toHex(got.Key), Value: toHex(got.Value), Headers: [][]*string{},
	}
	for _, header := range got.Headers {
		read.Headers = append(read.Headers, []*string{&header.Key, toHex(header.Value)})
	}
	return read
}

func fromHex(text *string) ([]byte, error) {
	if text == nil {
		return nil, nil
	}
	bytes, err := hex.DecodeString(*text)
	if err != nil {
		return nil, fmt.Errorf("bad hex: %w", err)
	}
	return bytes, nil
}

func toHex(bytes []byte) *string {
	if bytes == nil {
		return nil
	}
	text := hex.EncodeToString(bytes)
	return &text
}
