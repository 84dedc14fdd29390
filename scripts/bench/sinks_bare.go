package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

const (
	// The concurrency of the sinks: dynamoParallel requests to DynamoDB, eventsParallel
	// requests of eventsBatch entries to EventBridge.
	dynamoParallel = 100
	eventsParallel = 4
	eventsBatch    = 10
)

// bareDynamo is a client of DynamoDB without Stele.
type bareDynamo struct {
	client    *dynamodb.Client
	transport *http.Transport
}

func newBareDynamo(endpoint string) *bareDynamo {
	t := &http.Transport{MaxIdleConnsPerHost: dynamoParallel}
	return &bareDynamo{transport: t, client: dynamodb.New(dynamodb.Options{
		Region: fakeaws.Region, BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: t},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "bare", SecretAccessKey: "bare"}, nil
		}),
	})}
}

func (b *bareDynamo) close() { b.transport.CloseIdleConnections() }

// write creates a table with another's schema and copies its items, each on the
// condition that it does not exist: the sink's writes have conditions as well.
func (b *bareDynamo) write(ctx context.Context, like, to string) (sample, error) {
	table, err := b.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &like})
	if err != nil {
		return sample{}, err
	}
	keys := table.Table.KeySchema
	_, err = b.client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &to, KeySchema: keys, AttributeDefinitions: table.Table.AttributeDefinitions, BillingMode: dynamotypes.BillingModePayPerRequest,
	})
	if err != nil {
		return sample{}, err
	}
	var items []map[string]dynamotypes.AttributeValue
	pages := dynamodb.NewScanPaginator(b.client, &dynamodb.ScanInput{TableName: &like})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return sample{}, err
		}
		items = append(items, page.Items...)
	}
	return parallel(ctx, len(items), dynamoParallel, func(ctx context.Context, i int) error {
		_, err := b.client.UpdateItem(ctx, update(to, keys, items[i]))
		return err
	})
}

func update(table string, schema []dynamotypes.KeySchemaElement, item map[string]dynamotypes.AttributeValue) *dynamodb.UpdateItemInput {
	in := &dynamodb.UpdateItemInput{
		TableName: &table, Key: make(map[string]dynamotypes.AttributeValue), ConditionExpression: aws.String("attribute_not_exists(#k)"),
		ExpressionAttributeNames: map[string]string{"#k": *schema[0].AttributeName}, ExpressionAttributeValues: make(map[string]dynamotypes.AttributeValue),
	}
	for _, k := range schema {
		in.Key[*k.AttributeName] = item[*k.AttributeName]
	}
	var set []string
	for i, name := range slices.Sorted(maps.Keys(item)) {
		if _, key := in.Key[name]; key {
			continue
		}
		n, v := fmt.Sprintf("#n%d", i), fmt.Sprintf(":v%d", i)
		in.ExpressionAttributeNames[n], in.ExpressionAttributeValues[v] = name, item[name]
		set = append(set, n+" = "+v)
	}
	in.UpdateExpression = aws.String("SET " + strings.Join(set, ", "))
	return in
}

// drop deletes a table and waits until it no longer exists.
func (b *bareDynamo) drop(ctx context.Context, table string) error {
	if _, err := b.client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &table}); err != nil {
		return err
	}
	return dynamodb.NewTableNotExistsWaiter(b.client, func(o *dynamodb.TableNotExistsWaiterOptions) { o.MinDelay = 100 * time.Millisecond }).
		Wait(ctx, &dynamodb.DescribeTableInput{TableName: &table}, time.Minute)
}

// putEvents sends events to the bus again.
func putEvents(ctx context.Context, server *fakeaws.Server, events []fakeaws.Event) (sample, error) {
	client := eventbridge.NewFromConfig(server.Config())
	batches := slices.Collect(slices.Chunk(events, eventsBatch))
	sm, err := parallel(ctx, len(batches), eventsParallel, func(ctx context.Context, i int) error {
		in := &eventbridge.PutEventsInput{}
		for _, e := range batches[i] {
			in.Entries = append(in.Entries, eventtypes.PutEventsRequestEntry{
				EventBusName: &e.Bus, Source: &e.Source, DetailType: &e.DetailType, Time: &e.Time, Detail: aws.String(string(e.Detail)),
			})
		}
		out, err := client.PutEvents(ctx, in)
		if err == nil && out.FailedEntryCount > 0 {
			err = errors.New("events were refused")
		}
		return err
	})
	return sm.times(eventsBatch), err
}
