package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
)

// administer performs one admin operation, each a thin call into kadm.
func administer(ctx context.Context, admin *kadm.Client, asked *request) (answer, error) {
	switch asked.Op {
	case "create_topic":
		var partitions int32
		if err := json.Unmarshal(asked.Partitions, &partitions); err != nil {
			return nil, err
		}
		made, err := admin.CreateTopic(ctx, partitions, -1, asked.Configs, asked.Topic)
		if err != nil {
			return nil, err
		}
		return answer{"partitions": made.NumPartitions, "id": made.ID.String()}, nil
	case "delete_topic":
		_, err := admin.DeleteTopic(ctx, asked.Topic)
		return answer{}, err
	case "list_topics":
		topics, err := admin.ListTopics(ctx)
		return answer{"topics": topics.Names()}, err
	case "describe_topic":
		return describeTopic(ctx, admin, asked)
	case "create_partitions":
		made, err := admin.UpdatePartitions(ctx, asked.Count, asked.Topic)
		if err == nil {
			err = made.Error()
		}
		return answer{}, err
	case "delete_records":
		offsets := kadm.Offsets{}
		offsets.AddOffset(asked.Topic, asked.Partition, asked.Before, -1)
		deleted, err := admin.DeleteRecords(ctx, offsets)
		if err == nil {
			err = deleted.Error()
		}
		if err != nil {
			return nil, err
		}
		one, _ := deleted.Lookup(asked.Topic, asked.Partition)
		return answer{"low_watermark": one.LowWatermark}, nil
	case "list_offsets":
		return listOffsets(ctx, admin, asked)
	case "describe_configs":
		return describeConfigs(ctx, admin, asked)
	case "alter_configs":
		return alterConfigs(ctx, admin, asked)
	case "describe_cluster":
		return describeCluster(ctx, admin)
	case "describe_log_dirs":
		var topics kadm.TopicsSet
		topics.Add(asked.Topic, asked.Partition)
		directories, err := admin.DescribeAllLogDirs(ctx, topics)
		var size int64
		directories.Each(func(one kadm.DescribedLogDir) { size += one.Size() })
		return answer{"size_bytes": size}, err
	}
	return nil, fmt.Errorf("unknown operation %q", asked.Op)
}

func describeTopic(ctx context.Context, admin *kadm.Client, asked *request) (answer, error) {
	topics, err := admin.ListTopics(ctx, asked.Topic)
	if err != nil {
		return nil, err
	}
	topic := topics[asked.Topic]
	leaders := []int32{}
	for _, partition := range topic.Partitions.Sorted() {
		leaders = append(leaders, partition.Leader)
	}
	return answer{"id": topic.ID.String(), "leaders": leaders}, topic.Err
}

func listOffsets(ctx context.Context, admin *kadm.Client, asked *request) (answer, error) {
	var listed kadm.ListedOffsets
	var err error
	switch at := asked.At.(type) {
	case float64:
		listed, err = admin.ListOffsetsAfterMilli(ctx, int64(at), asked.Topic)
	case string:
		switch at {
		case "earliest":
			listed, err = admin.ListStartOffsets(ctx, asked.Topic)
		case "latest":
			listed, err = admin.ListEndOffsets(ctx, asked.Topic)
		case "max_timestamp":
			listed, err = admin.ListMaxTimestampOffsets(ctx, asked.Topic)
		}
	}
	if err != nil {
		return nil, err
	}
	one, _ := listed.Lookup(asked.Topic, asked.Partition)
	return answer{"offset": one.Offset, "timestamp": one.Timestamp}, one.Err
}

func describeConfigs(ctx context.Context, admin *kadm.Client, asked *request) (answer, error) {
	resources, err := admin.DescribeTopicConfigs(ctx, asked.Topic)
	if err != nil {
		return nil, err
	}
	resource, err := resources.On(asked.Topic, nil)
	if err != nil {
		return nil, err
	}
	configs := answer{}
	for _, config := range resource.Configs {
		configs[config.Key] = answer{"value": config.Value, "default": config.Source.String() != "DYNAMIC_TOPIC_CONFIG"}
	}
	return answer{"configs": configs}, resource.Err
}

func alterConfigs(ctx context.Context, admin *kadm.Client, asked *request) (answer, error) {
	changes := []kadm.AlterConfig{}
	for name, value := range asked.Set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	for _, name := range asked.Delete {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	altered, err := admin.AlterTopicConfigs(ctx, changes, asked.Topic)
	if err != nil {
		return nil, err
	}
	one, err := altered.On(asked.Topic, nil)
	if err == nil {
		err = one.Err
	}
	return answer{}, err
}

func describeCluster(ctx context.Context, admin *kadm.Client) (answer, error) {
	metadata, err := admin.BrokerMetadata(ctx)
	nodes := []answer{}
	for _, id := range slices.Sorted(slices.Values(metadata.Brokers.NodeIDs())) {
		for _, broker := range metadata.Brokers {
			if broker.NodeID == id {
				nodes = append(nodes, answer{"id": id, "port": broker.Port})
			}
		}
	}
	return answer{"cluster_id": metadata.Cluster, "controller": metadata.Controller, "nodes": nodes}, err
}
