package dynamodb

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// batch writes go to DynamoDB at once, in up to parallel calls. DynamoDB has no batch
// request with conditions.
const (
	batch    = 25
	parallel = 4
)

// Limits: DynamoDB itself says when it is too much.
func (s *sink) Limits() projector.Limits { return projector.Limits{Batch: batch, Parallel: parallel} }

// Write puts each write on the condition that the item is not newer.
func (s *sink) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	errs := make([]error, len(writes))
	var all sync.WaitGroup
	for i, w := range writes {
		all.Go(func() { errs[i] = s.write(awssdk.As(ctx, w.Tenant), w) })
	}
	all.Wait()
	var down error
	for _, err := range errs {
		if err == nil {
			return errs, nil
		}
		if noAnswer(err) {
			down = err
		}
	}
	if down != nil {
		return nil, down
	}
	return errs, nil
}

func (s *sink) write(ctx context.Context, w projector.Write) error {
	at, err := s.layout.primaryKey(w.Tenant, w.Key)
	if err != nil {
		return err
	}
	item, err := s.render(w)
	if err != nil {
		return err
	}
	e := newExpression()
	condition, err := s.condition(ctx, e, at, w, item)
	if err != nil {
		return err
	}
	var set, remove []string
	for _, name := range s.layout.attributes() {
		if v, ok := item[name]; ok {
			set = append(set, e.name(name)+" = "+e.value(v))
		} else {
			remove = append(remove, e.name(name))
		}
	}
	_, err = s.client.UpdateItem(ctx, &sdk.UpdateItemInput{
		TableName: &s.table, Key: s.key(at),
		UpdateExpression:    aws.String("SET " + strings.Join(set, ", ") + " REMOVE " + strings.Join(remove, ", ")),
		ConditionExpression: &condition, ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
	})
	if conditionFailed(err) {
		return nil // something newer is there
	}
	return s.explain(fmt.Sprintf("write %s", s.name(at)), err)
}

// condition is the condition on the existing item: normally that it is not of this
// ledger and newer. The same revision may be written again, because the answer to the
// first time may have been lost. An item without a revision was never written by a
// projector, or was edited by hand.
//
// An item that is being replaced must be as it was read, or have an older revision.
func (s *sink) condition(ctx context.Context, e *expression, at primaryKey, w projector.Write, item attributes) (string, error) {
	epoch, revision := e.name(s.layout.Epoch), e.name(s.layout.Revision)
	ours, own := e.value(item[s.layout.Epoch]), e.value(item[s.layout.Revision])
	var seen attributes
	if w.Replace != nil {
		seen, _ = w.Replace.State.(attributes)
	}
	if seen == nil {
		return fmt.Sprintf("attribute_not_exists(%[1]s) OR %[1]s <> %[2]s OR NOT attribute_type(%[3]s, %[4]s) OR %[3]s <= %[5]s",
			epoch, ours, revision, e.value(text("N")), own), nil
	}
	condition := fmt.Sprintf("(%s = %s AND %s < %s)", epoch, ours, revision, own)
	same, err := s.unchanged(ctx, at, seen)
	if same {
		condition += " OR (" + s.asSeen(e, seen) + ")"
	}
	return condition, err
}

// asSeen holds while the item is as it was seen. Lists and maps are compared by the
// number of their members only, which dynalite can; unchanged has compared the rest.
func (s *sink) asSeen(e *expression, seen attributes) string {
	var terms []string
	for _, name := range s.layout.attributes() {
		n := e.name(name)
		switch v := seen[name].(type) {
		case nil:
			terms = append(terms, fmt.Sprintf("attribute_not_exists(%s)", n))
		case *types.AttributeValueMemberL:
			terms = append(terms, fmt.Sprintf("attribute_type(%s, %s) AND size(%s) = %s", n, e.value(text("L")), n, e.value(count(uint64(len(v.Value))))))
		case *types.AttributeValueMemberM:
			terms = append(terms, fmt.Sprintf("attribute_type(%s, %s) AND size(%s) = %s", n, e.value(text("M")), n, e.value(count(uint64(len(v.Value))))))
		default:
			terms = append(terms, n+" = "+e.value(v))
		}
	}
	return strings.Join(terms, " AND ")
}

// Remove deletes an item that is still as it was seen.
func (s *sink) Remove(ctx context.Context, seen projector.Item) error {
	ctx = awssdk.As(ctx, seen.Tenant)
	found, ok := seen.State.(attributes)
	at, err := s.primaryKey(seen.Name)
	if err != nil || !ok {
		return err
	}
	if same, err := s.unchanged(ctx, at, found); err != nil || !same {
		return err
	}
	e := newExpression()
	condition := s.asSeen(e, found)
	_, err = s.client.DeleteItem(ctx, &sdk.DeleteItemInput{
		TableName: &s.table, Key: s.key(at),
		ConditionExpression: &condition, ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
	})
	if conditionFailed(err) {
		return nil
	}
	return s.explain("remove "+seen.Name, err)
}

// expression assigns names and values the placeholders that expressions use.
type expression struct {
	names  map[string]string
	values attributes
	given  map[string]string // placeholders by name
}

func newExpression() *expression {
	return &expression{names: make(map[string]string), values: make(attributes), given: make(map[string]string)}
}

func (e *expression) name(attribute string) string {
	p, ok := e.given[attribute]
	if !ok {
		p = fmt.Sprintf("#n%d", len(e.names))
		e.given[attribute], e.names[p] = p, attribute
	}
	return p
}

func (e *expression) value(v types.AttributeValue) string {
	p := fmt.Sprintf(":v%d", len(e.values))
	e.values[p] = v
	return p
}
