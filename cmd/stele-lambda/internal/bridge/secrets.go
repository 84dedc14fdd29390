package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// ReadSecret reads a secret, so that it need not be in the function's environment,
// which is visible to everyone with read access to the function. The ID is the name or
// ARN of a secret in Secrets Manager, or the ARN or the name, which begins with a
// slash, of a parameter in Parameter Store.
func ReadSecret(ctx context.Context, id string) (string, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return "", fmt.Errorf("load the AWS configuration: %w", err)
	}
	if strings.HasPrefix(id, "/") || strings.Contains(id, ":ssm:") {
		out, err := ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: &id, WithDecryption: aws.Bool(true)})
		if err != nil {
			return "", err
		}
		return aws.ToString(out.Parameter.Value), nil
	}
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", err
	}
	if out.SecretString == nil {
		return "", errors.New("it is binary: store it as text")
	}
	return *out.SecretString, nil
}
