package secret

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/ledger"
)

// KMSScheme is how the name of a key of AWS KMS begins, before its ARN.
const KMSScheme = "aws-kms://"

// contextName is the name in KMS's encryption context, which CloudTrail shows, for the
// binding of a tenant's key.
const contextName = "stele"

// OpenKMS is the key of AWS KMS with that name, aws-kms://ARN. Credentials are what
// the environment and the shared configuration say. Nothing is asked yet.
func OpenKMS(ctx context.Context, name string) (KEK, error) {
	id := strings.TrimPrefix(name, KMSScheme)
	parsed, err := arn.Parse(id)
	if err != nil || parsed.Service != "kms" || !strings.HasPrefix(parsed.Resource, "key/") { // Decrypt names no alias
		return nil, fmt.Errorf("%q names no key of AWS KMS: write %sarn:aws:kms:REGION:ACCOUNT:key/ID", name, KMSScheme)
	}
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(parsed.Region))
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", err)
	}
	return &kmsKEK{kms.NewFromConfig(c), id}, nil
}

type kmsKEK struct {
	client *kms.Client
	id     string
}

func (k *kmsKEK) EncryptWithContext(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	out, err := k.client.Encrypt(ctx, &kms.EncryptInput{
		KeyId: &k.id, Plaintext: plaintext, EncryptionContext: map[string]string{contextName: string(associated)},
	})
	if err != nil {
		return nil, k.failed("encrypt", err)
	}
	return out.CiphertextBlob, nil
}

func (k *kmsKEK) DecryptWithContext(ctx context.Context, ciphertext, associated []byte) ([]byte, error) {
	out, err := k.client.Decrypt(ctx, &kms.DecryptInput{
		KeyId: &k.id, CiphertextBlob: ciphertext, EncryptionContext: map[string]string{contextName: string(associated)},
	})
	if err != nil {
		return nil, k.failed("decrypt", err)
	}
	if aws.ToString(out.KeyId) != k.id {
		return nil, fmt.Errorf("AWS KMS has decrypted with %s, not with %s", aws.ToString(out.KeyId), k.id)
	}
	return out.Plaintext, nil
}

// failed reports whether to retry: KMS either answered that the ciphertext is not from
// its key, or did not do what was asked.
func (k *kmsKEK) failed(what string, err error) error {
	var said smithy.APIError
	if errors.As(err, &said) {
		switch said.ErrorCode() {
		case "InvalidCiphertextException", "IncorrectKeyException":
			return fmt.Errorf("%s with AWS KMS: %s", what, said.ErrorCode())
		}
		return fmt.Errorf("%w: %s with AWS KMS: %s: %s", ledger.ErrUnavailable, what, said.ErrorCode(), said.ErrorMessage())
	}
	return fmt.Errorf("%w: %s with AWS KMS: %w", ledger.ErrUnavailable, what, err)
}
