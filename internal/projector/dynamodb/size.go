package dynamodb

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// maxItem is the most bytes that an item may have, as itemSize counts them.
const maxItem = 400 << 10

// itemSize is the size of an item as DynamoDB counts it, and for numbers, whose size is
// documented only approximately, an upper bound.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
func itemSize(item attributes) int {
	n := 0
	for name, v := range item {
		n += len(name) + valueSize(v)
	}
	return n
}

func valueSize(v types.AttributeValue) int {
	const document, element = 3, 1 // of a list or map
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		// A byte and one for each two digits; one more when they begin in the middle
		// of a byte, and one for a sign.
		return 3 + (digitsOf(v.Value)+1)/2
	case *types.AttributeValueMemberL:
		n := document
		for _, e := range v.Value {
			n += element + valueSize(e)
		}
		return n
	case *types.AttributeValueMemberM:
		return document + element*len(v.Value) + itemSize(v.Value)
	}
	return 1 // null or boolean; the sink writes no other types
}

// digitsOf counts the digits of a number except leading zeros.
func digitsOf(n string) int {
	n, _, _ = strings.Cut(n, "E")
	return len(strings.TrimLeft(strings.TrimPrefix(n, "-"), "0."))
}
