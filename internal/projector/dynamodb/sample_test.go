package dynamodb_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamotest"
)

// query asks as the reader of aws-samples/sample-config-management-service does, in
// its getConfigurationByTenant: a query of both keys, filtered by isActive.
func query(t *testing.T, c *sdk.Client, table, tenant, config string) []attributes {
	t.Helper()
	out, err := c.Query(t.Context(), &sdk.QueryInput{
		TableName: &table, KeyConditionExpression: aws.String("#pk = :pk AND #sk = :sk"), FilterExpression: aws.String("#active = :active"),
		ExpressionAttributeNames:  map[string]string{"#pk": "pk", "#sk": "sk", "#active": "isActive"},
		ExpressionAttributeValues: attributes{":pk": s("TENANT#" + tenant), ":sk": s("CONFIG#" + config), ":active": b(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Items
}

func TestSample_ReaderFindsItems(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", `, "layout": "aws-sample"`)
	c := client(t, endpoint)
	config := `[{"amcCode":"ACME001","validations":[{"zeroFundBalance":"true","minSIPAmount":"500"}],"paymentGateway":[]}]`
	must(t, store, write(3, "tenant_config_payment-gateway", ledger.Value(config)),
		write(4, "tenant_config_api/settings", `{"amcCode":"ACME002"}`))
	want := attributes{
		"pk": s("TENANT#acme"), "sk": s("CONFIG#payment-gateway"), "isActive": b(true), "version": n("3"), "updatedAt": n("1767323045678"),
		"config": list(object(attributes{"amcCode": s("ACME001"), "paymentGateway": list(),
			"validations": list(object(attributes{"zeroFundBalance": s("true"), "minSIPAmount": s("500")}))})),
		"json": s(config), "commit": s("03" + strings.Repeat("00", 31)), "author": s("alice"), "epoch": s("0102030405060708"),
	}
	got := query(t, c, "config", "acme", "payment-gateway")
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("the reader finds %v, want %v", got, want)
	}
	got = query(t, c, "config", "acme", "api/settings")
	if len(got) != 1 || !reflect.DeepEqual(got[0]["config"], list(object(attributes{"amcCode": s("ACME002")}))) {
		t.Errorf("the reader finds an object as %v", got)
	}
	if item := read(t, store, "tenant_config_api/settings"); item.Value != `{"amcCode":"ACME002"}` {
		t.Errorf("an object is returned as %s", item.Value)
	}
	gone := write(5, "tenant_config_payment-gateway", "")
	must(t, store, gone)
	if got := query(t, c, "config", "acme", "payment-gateway"); len(got) != 0 {
		t.Errorf("the reader finds what was deleted: %v", got)
	}
	if item := read(t, store, gone.Key); !store.Same(item, gone) || item.Value != "" {
		t.Errorf("the tombstone is %v", item)
	}
	must(t, store, write(6, gone.Key, "[]"))
	if got := query(t, c, "config", "acme", "payment-gateway"); len(got) != 1 {
		t.Errorf("the reader does not find what was set again: %v", got)
	}
}

func TestSample_ObjectsOnly(t *testing.T) {
	store := open(t, dynamotest.Start(t), "config", `, "layout": "aws-sample"`)
	for value, held := range map[string]bool{
		`[]`: true, `{}`: true, `[{}]`: true, `[{"a":[1]},{}]`: true,
		`1`: false, `"x"`: false, `null`: false, `[1]`: false, `[{},null]`: false, `{"":1}`: false,
		`{"a":"` + strings.Repeat("x", 250<<10) + `"}`:                    false,
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`: false,
	} {
		errs, err := store.Write(t.Context(), []projector.Write{write(1, "tenant_config_a", ledger.Value(value))})
		if err != nil {
			t.Fatal(err)
		}
		if _, refused := errors.AsType[*projector.RefusedError](errs[0]); refused == held || held != (errs[0] == nil) {
			t.Errorf("%.60s: %v", value, errs[0])
		}
	}
	errs, err := store.Write(t.Context(), []projector.Write{write(1, "tenantconfig/a", `{}`)})
	if _, refused := errors.AsType[*projector.RefusedError](errors.Join(append(errs, err)...)); !refused {
		t.Errorf("a key without the prefix: %v, %v", errs, err)
	}
}

// Items that the sample's own script has seeded are seen as foreign, and taken over.
func TestSample_Seeds(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", `, "layout": {"preset": "aws-sample", "prefix": "tenantconfig/"}`)
	seed := attributes{"pk": s("TENANT#acme"), "sk": s("CONFIG#api-settings"), "isActive": b(true), "version": n("9"), "config": list(object(attributes{"amcCode": s("A")}))}
	other := attributes{"pk": s("TENANT#acme"), "sk": s("USER#bob")}
	for _, item := range []attributes{seed, other} {
		if _, err := client(t, endpoint).PutItem(t.Context(), &sdk.PutItemInput{TableName: aws.String("config"), Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	var found []projector.Item
	if err := store.Scan(t.Context(), "acme", func(i projector.Item) error { found = append(found, i); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Key != "tenantconfig/api-settings" || found[0].Revision != 0 || found[0].Value != `[{"amcCode":"A"}]` {
		t.Fatalf("the scan yields %v", found)
	}
	w := write(1, "tenantconfig/api-settings", found[0].Value)
	must(t, store, w)
	if !store.Same(read(t, store, w.Key), w) {
		t.Errorf("the seed is not taken over: %v", read(t, store, w.Key))
	}
}
