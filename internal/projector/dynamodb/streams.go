package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// streamed is a sink that also reads the table's stream. It keeps no place in the stream: it
// begins with the newest record, and sweeps find what it misses.
type streamed struct {
	*sink
	streams *dynamodbstreams.Client
}

func (s *sink) newStreams() *dynamodbstreams.Client {
	return dynamodbstreams.NewFromConfig(s.account, func(o *dynamodbstreams.Options) { o.HTTPClient = awssdk.HTTPClient(s.transport) })
}

const (
	// streamPause is the time between two reads of a shard. AWS allows five a second, of
	// all readers together.
	streamPause = time.Second
	// rediscover is how often the list of shards is read while none ends.
	rediscover = time.Minute
)

// Watch yields the items that the records of the table's stream are about.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
func (s *streamed) Watch(ctx context.Context, yield func(projector.Item) error) error {
	out, err := s.client.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: &s.table})
	if err != nil {
		return s.explain("look at the table "+s.table, err)
	}
	if !hasStream(out.Table) {
		return fmt.Errorf("the table %s has no stream: turn it on with the view type NEW_IMAGE, or remove \"streams\" from the sink's settings", s.table)
	}
	f := &stream{streamed: s, arn: aws.ToString(out.Table.LatestStreamArn), open: make(map[string]*shard)}
	for {
		if err := f.discover(ctx); err != nil {
			return err
		}
		if !f.enabled && len(f.open) == 0 {
			return fmt.Errorf("the stream of the table %s was turned off", s.table)
		}
		for begun, ended := time.Now(), false; !ended && time.Since(begun) < rediscover; {
			if ended, err = f.read(ctx, yield); err != nil {
				return err
			}
			select {
			case <-time.After(streamPause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func hasStream(t *types.TableDescription) bool {
	return t.LatestStreamArn != nil && t.StreamSpecification != nil && aws.ToBool(t.StreamSpecification.StreamEnabled)
}

// stream is a stream while it is read.
type stream struct {
	*streamed
	arn     string
	enabled bool
	// known are all shards, read or not; nil before they are listed.
	known map[string]bool
	open  map[string]*shard
}

// shard is a part of the stream.
type shard struct {
	// iterator is the place of the next read; nil before the first one.
	iterator *string
	// from is where the reading began, and after the last record that was read.
	from  streams.ShardIteratorType
	after *string
}

// discover finds the shards. Shards that open later are read from their beginning: they
// continue one that was read.
func (f *stream) discover(ctx context.Context) error {
	from := streams.ShardIteratorTypeTrimHorizon
	if f.known == nil { // the first time
		from = streams.ShardIteratorTypeLatest
	}
	found := make(map[string]bool)
	for in := (&dynamodbstreams.DescribeStreamInput{StreamArn: &f.arn}); ; {
		out, err := f.streams.DescribeStream(ctx, in)
		if err != nil {
			return fmt.Errorf("describe the stream of %s: %w", f.table, err)
		}
		is := out.StreamDescription
		f.enabled = is.StreamStatus == streams.StreamStatusEnabled || is.StreamStatus == streams.StreamStatusEnabling
		for _, sh := range is.Shards {
			id := aws.ToString(sh.ShardId)
			closed := sh.SequenceNumberRange != nil && sh.SequenceNumberRange.EndingSequenceNumber != nil
			if !f.known[id] && !(closed && from == streams.ShardIteratorTypeLatest) {
				f.open[id] = &shard{from: from}
			}
			found[id] = true
		}
		if in.ExclusiveStartShardId = is.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			f.known = found
			return nil
		}
	}
}

// read reads each shard once, and reports whether one has ended: others continue it.
func (f *stream) read(ctx context.Context, yield func(projector.Item) error) (ended bool, err error) {
	for id, sh := range f.open {
		records, err := f.next(ctx, id, sh)
		if err != nil {
			return false, fmt.Errorf("read the stream of %s: %w", f.table, err)
		}
		if sh.iterator == nil {
			delete(f.open, id)
			ended = true
		}
		for _, r := range records {
			if r.Dynamodb == nil {
				continue
			}
			item, ours := f.itemOf(r)
			if !ours {
				continue
			}
			if err := yield(item); err != nil {
				return false, err
			}
		}
	}
	return ended, nil
}

// next reads the next records of a shard. An iterator lasts for 15 minutes, and a record for
// 24 hours: after a longer pause the shard is read from its last record that was read, or from its
// oldest one. If the shard has ended or does not exist anymore, the iterator is nil.
func (f *stream) next(ctx context.Context, id string, sh *shard) ([]streams.Record, error) {
	if sh.iterator == nil {
		in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &f.arn, ShardId: &id, ShardIteratorType: sh.from}
		if sh.after != nil {
			in.ShardIteratorType, in.SequenceNumber = streams.ShardIteratorTypeAfterSequenceNumber, sh.after
		}
		out, err := f.streams.GetShardIterator(ctx, in)
		if isTrimmed(err) {
			in.ShardIteratorType, in.SequenceNumber = streams.ShardIteratorTypeTrimHorizon, nil
			out, err = f.streams.GetShardIterator(ctx, in)
		}
		if _, gone := errors.AsType[*streams.ResourceNotFoundException](err); gone {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		sh.iterator = out.ShardIterator
	}
	out, err := f.streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: sh.iterator})
	_, expired := errors.AsType[*streams.ExpiredIteratorException](err)
	if expired || isTrimmed(err) {
		if sh.iterator = nil; !expired {
			sh.after, sh.from = nil, streams.ShardIteratorTypeTrimHorizon
		}
		return f.next(ctx, id, sh)
	}
	if err != nil {
		return nil, err
	}
	if n := len(out.Records); n > 0 && out.Records[n-1].Dynamodb != nil {
		sh.after = out.Records[n-1].Dynamodb.SequenceNumber
	}
	sh.iterator = out.NextShardIterator
	return out.Records, nil
}

func isTrimmed(err error) bool {
	_, ok := errors.AsType[*streams.TrimmedDataAccessException](err)
	return ok
}

// itemOf is the item that a record is about, as it was after the change. ours is false for
// items that are not the sink's. Without a new image it has no State: it was deleted, or the
// stream has only keys.
func (f *stream) itemOf(r streams.Record) (item projector.Item, ours bool) {
	found := attributesOf(r.Dynamodb.NewImage)
	image := len(found) > 0
	if !image {
		found = attributesOf(r.Dynamodb.Keys)
	}
	item = f.item(found)
	if _, err := f.primaryKey(item.Name); err != nil {
		return item, false
	}
	if !image {
		item.State = nil
	}
	return item, true
}

func attributesOf(m map[string]streams.AttributeValue) attributes {
	out := make(attributes, len(m))
	for name, v := range m {
		out[name] = attributeOf(v)
	}
	return out
}

// attributeOf is a value of a stream as the table has it.
func attributeOf(v streams.AttributeValue) types.AttributeValue {
	switch v := v.(type) {
	case *streams.AttributeValueMemberS:
		return &types.AttributeValueMemberS{Value: v.Value}
	case *streams.AttributeValueMemberN:
		return &types.AttributeValueMemberN{Value: v.Value}
	case *streams.AttributeValueMemberBOOL:
		return &types.AttributeValueMemberBOOL{Value: v.Value}
	case *streams.AttributeValueMemberNULL:
		return &types.AttributeValueMemberNULL{Value: v.Value}
	case *streams.AttributeValueMemberB:
		return &types.AttributeValueMemberB{Value: v.Value}
	case *streams.AttributeValueMemberSS:
		return &types.AttributeValueMemberSS{Value: v.Value}
	case *streams.AttributeValueMemberNS:
		return &types.AttributeValueMemberNS{Value: v.Value}
	case *streams.AttributeValueMemberBS:
		return &types.AttributeValueMemberBS{Value: v.Value}
	case *streams.AttributeValueMemberM:
		return &types.AttributeValueMemberM{Value: attributesOf(v.Value)}
	case *streams.AttributeValueMemberL:
		list := make([]types.AttributeValue, len(v.Value))
		for i, member := range v.Value {
			list[i] = attributeOf(member)
		}
		return &types.AttributeValueMemberL{Value: list}
	}
	return nil
}

// startStream turns the table's stream on, unless it is on.
func (s *sink) startStream(ctx context.Context) error {
	out, err := s.client.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: &s.table})
	if err == nil && !hasStream(out.Table) {
		_, err = s.client.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: &s.table, StreamSpecification: newImages})
	}
	return s.unlessUnknown("turn on the stream", err)
}

// newImages is a stream whose records contain the items after their changes.
var newImages = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage}
