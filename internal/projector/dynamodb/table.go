package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// createTimeout bounds how long a new table may take to be there, and to have its
// backups.
const createTimeout = 2 * time.Minute

// check fails when the table is not one for the layout.
func (s *sink) check(ctx context.Context) error {
	out, err := s.client.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: &s.table})
	if err != nil {
		return s.explain("look at the table "+s.table, err)
	}
	switch out.Table.TableStatus {
	case types.TableStatusActive, types.TableStatusUpdating:
	default:
		return fmt.Errorf("the table %s is %s, not ACTIVE: wait until it is", s.table, out.Table.TableStatus)
	}
	kinds := make(map[string]types.ScalarAttributeType)
	for _, a := range out.Table.AttributeDefinitions {
		kinds[aws.ToString(a.AttributeName)] = a.AttributeType
	}
	var is string
	for _, k := range out.Table.KeySchema {
		is += fmt.Sprintf("%s %s %s, ", k.KeyType, aws.ToString(k.AttributeName), kinds[aws.ToString(k.AttributeName)])
	}
	if want := fmt.Sprintf("HASH %s S, RANGE %s S, ", s.layout.Partition, s.layout.Sort); is != want {
		return fmt.Errorf("the table %s has the keys %sand the layout's are %sas it says: change the layout, or name another table", s.table, is, want)
	}
	if s.tombstones == 0 {
		return nil
	}
	on, err := s.expires(ctx)
	if err == nil && !on {
		s.log.Warn("tombstones will never expire: the table's TTL is not on; set \"create\": true, or turn it on", "table", s.table, "attribute", s.layout.Expires)
	}
	return s.unlessUnknown("look at the TTL", err)
}

// expires reports whether the table's TTL is on for the layout's attribute.
func (s *sink) expires(ctx context.Context) (bool, error) {
	out, err := s.client.DescribeTimeToLive(ctx, &sdk.DescribeTimeToLiveInput{TableName: &s.table})
	if err != nil {
		return false, err
	}
	ttl := out.TimeToLiveDescription
	on := ttl.TimeToLiveStatus == types.TimeToLiveStatusEnabled || ttl.TimeToLiveStatus == types.TimeToLiveStatusEnabling
	if is := aws.ToString(ttl.AttributeName); on && is != s.layout.Expires {
		return false, fmt.Errorf("the TTL of the table %s is that of the attribute %s, and the layout's is %s: change one of them", s.table, is, s.layout.Expires)
	}
	return on, nil
}

// create creates the table if it does not exist, and turns its TTL and its
// point-in-time recovery on. Each step continues after an earlier run that was
// interrupted.
func (s *sink) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	_, err := s.client.CreateTable(ctx, &sdk.CreateTableInput{
		TableName: &s.table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: &s.layout.Partition, AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: &s.layout.Sort, AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: &s.layout.Partition, KeyType: types.KeyTypeHash},
			{AttributeName: &s.layout.Sort, KeyType: types.KeyTypeRange},
		},
	})
	if _, there := errors.AsType[*types.ResourceInUseException](err); err != nil && !there {
		return s.explain("make the table "+s.table, err)
	}
	wait := sdk.NewTableExistsWaiter(s.client, func(o *sdk.TableExistsWaiterOptions) { o.MinDelay, o.MaxDelay = 50*time.Millisecond, 5*time.Second })
	if err := wait.Wait(ctx, &sdk.DescribeTableInput{TableName: &s.table}, createTimeout); err != nil {
		return fmt.Errorf("wait for the table %s: %w", s.table, err)
	}
	on, err := s.expires(ctx)
	if err == nil && !on {
		_, err = s.client.UpdateTimeToLive(ctx, &sdk.UpdateTimeToLiveInput{TableName: &s.table,
			TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: &s.layout.Expires, Enabled: aws.Bool(true)}})
	}
	if err := s.unlessUnknown("turn on the TTL", err); err != nil {
		return err
	}
	return s.unlessUnknown("turn on point-in-time recovery", s.recover(ctx))
}

// recover turns on point-in-time recovery, which a new table has not at once.
func (s *sink) recover(ctx context.Context) error {
	for {
		_, err := s.client.UpdateContinuousBackups(ctx, &sdk.UpdateContinuousBackupsInput{TableName: &s.table,
			PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)}})
		if _, early := errors.AsType[*types.ContinuousBackupsUnavailableException](err); !early {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

// unlessUnknown ignores an error that the service does not support the operation. AWS
// supports it; other servers with DynamoDB's protocol may not, and the sink works
// without it.
func (s *sink) unlessUnknown(doing string, err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "UnknownOperationException" {
		s.log.Warn("this is not AWS: it cannot "+doing, "table", s.table)
		return nil
	}
	return s.explain(doing+" of the table "+s.table, err)
}
