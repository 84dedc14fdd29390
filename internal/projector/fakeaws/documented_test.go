package fakeaws_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// step is a request, and what AWS documents as its outcome: an error's code, or what it
// answers, as far as do prints it.
type step struct {
	what string
	do   func(context.Context) (string, error)
	want string
	// moto reports that moto answers otherwise than AWS documents.
	moto bool
}

// outcome is the code of an error of AWS, or its text.
func outcome(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return err.Error()
}

// run does the steps against the fake, and with STELE_MOTO=1 against moto, which takes a
// minute to start.
func run(t *testing.T, steps func(aws.Config) []step) {
	t.Helper()
	play := func(t *testing.T, cfg aws.Config, isMoto bool) {
		for _, s := range steps(cfg) {
			got, err := s.do(t.Context())
			if err != nil {
				got = outcome(err)
			}
			if got != s.want && !(isMoto && s.moto) {
				t.Errorf("%s: %s, want %s (%v)", s.what, got, s.want, err)
			}
		}
	}
	t.Run("Fake", func(t *testing.T) {
		server, err := fakeaws.Start()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		play(t, server.Config(), false)
	})
	t.Run("Moto", func(t *testing.T) {
		if os.Getenv("STELE_MOTO") == "" {
			t.Skip("set STELE_MOTO=1 to compare with moto")
		}
		cfg := startMoto(t)
		play(t, cfg, true)
	})
}

// startMoto starts Python's moto (pip install "moto[server]"), another fake of AWS.
func startMoto(t *testing.T) aws.Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("python3", "-m", "moto.server", "-H", "127.0.0.1", "-p", port)
	output, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, bufio.NewReader(output)) // ends with the process
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + address + "/moto-api/")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("moto does not start: %v", err)
		}
	}
	server := fakeaws.Server{URL: "http://" + address}
	return server.Config()
}

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
func TestS3_AsDocumented(t *testing.T) {
	run(t, func(cfg aws.Config) []step {
		c := s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.UsePathStyle, o.RequestChecksumCalculation = true, aws.RequestChecksumCalculationWhenRequired
		})
		bucket := aws.String("bucket")
		var etag *string
		put := func(key, body string, conditions func(*s3.PutObjectInput)) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				in := &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(body), Metadata: map[string]string{"stele": "mark"}, ContentType: aws.String("text/plain")}
				if conditions != nil {
					conditions(in)
				}
				out, err := c.PutObject(ctx, in)
				if err == nil {
					etag = out.ETag
				}
				return "ok", err
			}
		}
		get := func(key string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
				if err != nil {
					return "", err
				}
				defer out.Body.Close()
				body, err := io.ReadAll(out.Body)
				return fmt.Sprintf("%s %s %s %v", body, aws.ToString(out.ContentType), out.Metadata["stele"], *out.ETag == *etag), err
			}
		}
		remove := func(key string, match func() *string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key, IfMatch: match()})
				return "ok", err
			}
		}
		none, stale, seen := func() *string { return nil }, func() *string { return aws.String(`"0123"`) }, func() *string { return etag }
		return []step{
			{"put without a bucket", put("a", "1", nil), "NoSuchBucket", false},
			{"create the bucket", func(ctx context.Context) (string, error) {
				_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket})
				return "ok", err
			}, "ok", false},
			{"versioning at first", func(ctx context.Context) (string, error) {
				out, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: bucket})
				if err != nil {
					return "", err
				}
				return "status " + string(out.Status), nil
			}, "status ", false},
			{"enable versioning", func(ctx context.Context) (string, error) {
				_, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &s3types.VersioningConfiguration{Status: "Enabled"}})
				return "ok", err
			}, "ok", false},
			{"get what is not there", get("a"), "NoSuchKey", false},
			{"head what is not there", func(ctx context.Context) (string, error) {
				_, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("a")})
				return "", err
			}, "NotFound", false},
			{"put if it matches what is not there", put("a", "1", func(in *s3.PutObjectInput) { in.IfMatch = aws.String(`"0123"`) }), "NoSuchKey", false},
			{"put if there is none", put("a", "1", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }), "ok", false},
			{"put again if there is none", put("a", "2", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }), "PreconditionFailed", false},
			{"get it", get("a"), "1 text/plain mark true", false},
			{"put if it matches another one", put("a", "2", func(in *s3.PutObjectInput) { in.IfMatch = aws.String(`"0123"`) }), "PreconditionFailed", false},
			{"put if it matches", put("a", "2", func(in *s3.PutObjectInput) { in.IfMatch = etag }), "ok", false},
			{"delete if it matches another one", remove("a", stale), "PreconditionFailed", true},
			{"delete if it matches", remove("a", seen), "ok", false},
			{"get what was deleted", get("a"), "NoSuchKey", false},
			{"delete it again", remove("a", none), "ok", false},
			{"delete it again if it matches", remove("a", seen), "NoSuchKey", true},
			{"put what was deleted if there is none", put("a", "3", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }), "ok", false},
			{"a long name", put(strings.Repeat("k", 1025), "1", nil), "KeyTooLongError", true},
			{"list in the order of the bytes", func(ctx context.Context) (string, error) {
				for _, key := range []string{"p/b", "p/B", "p/a-b", "p/a/b", "q"} {
					if _, err := put(key, "x", nil)(ctx); err != nil {
						return "", err
					}
				}
				out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("p/")})
				if err != nil {
					return "", err
				}
				var keys []string
				for _, o := range out.Contents {
					keys = append(keys, *o.Key)
				}
				return strings.Join(keys, " "), nil
			}, "p/B p/a-b p/a/b p/b", false},
		}
	})
}

// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
func TestSecretsManager_AsDocumented(t *testing.T) {
	run(t, func(cfg aws.Config) []step {
		c := secretsmanager.NewFromConfig(cfg)
		name := aws.String("stele/acme/db")
		token := func(n int) *string { return aws.String(fmt.Sprintf("token-%032d", n)) }
		put := func(n int, value string, stages ...string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: &value, ClientRequestToken: token(n), VersionStages: stages})
				return "ok", err
			}
		}
		get := func(stage string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				out, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: name, VersionStage: &stage})
				if err != nil {
					return "", err
				}
				return *out.SecretString + " " + strings.TrimLeft((*out.VersionId)[6:], "0"), nil
			}
		}
		move := func(to, from int) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				_, err := c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
					SecretId: name, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: token(to), RemoveFromVersionId: token(from),
				})
				return "ok", err
			}
		}
		create := func(value string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name, SecretString: &value, ClientRequestToken: token(1)})
				return "ok", err
			}
		}
		list := func(ctx context.Context) (string, error) {
			out, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(len(out.SecretList)), nil
		}
		return []step{
			{"read what is not there", get("AWSCURRENT"), "ResourceNotFoundException", false},
			{"write what is not there", put(2, "two"), "ResourceNotFoundException", false},
			{"create", create("one"), "ok", false},
			{"create again with the same token and value", create("one"), "ok", false},
			{"create again with another value", create("other"), "ResourceExistsException", false},
			{"read", get("AWSCURRENT"), "one 1", false},
			{"a version with a label of its own", put(2, "two", "stele"), "ok", false},
			{"is not current", get("AWSCURRENT"), "one 1", false},
			{"and is read by its label", get("stele"), "two 2", false},
			{"the same token and value", put(2, "two", "stele"), "ok", true},
			{"the same token, another value", put(2, "other", "stele"), "ResourceExistsException", true},
			{"make it current", move(2, 1), "ok", false},
			{"it is", get("AWSCURRENT"), "two 2", false},
			{"the other one is previous", get("AWSPREVIOUS"), "one 1", false},
			{"move from what is not current", move(1, 1), "InvalidParameterException", true},
			{"a version without labels becomes current", put(3, "three"), "ok", false},
			{"and is", get("AWSCURRENT"), "three 3", true},
			{"list", list, "1", false},
			{"delete too soon", func(ctx context.Context) (string, error) {
				_, err := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: name, RecoveryWindowInDays: aws.Int64(3)})
				return "ok", err
			}, "InvalidParameterException", false},
			{"delete", func(ctx context.Context) (string, error) {
				_, err := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: name, RecoveryWindowInDays: aws.Int64(7)})
				return "ok", err
			}, "ok", false},
			{"read what is scheduled for deletion", get("AWSCURRENT"), "InvalidRequestException", false},
			{"write what is scheduled for deletion", put(4, "four"), "InvalidRequestException", true},
			{"create what is scheduled for deletion", create("one"), "InvalidRequestException", true},
			{"list without it", list, "0", false},
			{"restore", func(ctx context.Context) (string, error) {
				_, err := c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: name})
				return "ok", err
			}, "ok", false},
			{"it is as it was", get("AWSCURRENT"), "three 3", true},
			{"an empty secret", put(5, ""), "InvalidParameterException", true},
			{"a large secret", put(6, strings.Repeat("x", 65537)), "ValidationException", true},
		}
	})
}

// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func TestSTS_AsDocumented(t *testing.T) {
	run(t, func(cfg aws.Config) []step {
		c := sts.NewFromConfig(cfg)
		assume := func(session string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				out, err := c.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/stele"), RoleSessionName: &session})
				if err != nil {
					return "", err
				}
				return fmt.Sprint(strings.HasPrefix(*out.Credentials.AccessKeyId, "ASIA"), time.Until(*out.Credentials.Expiration) > 30*time.Minute), nil
			}
		}
		return []step{
			{"assume a role", assume("stele-acme"), "true true", false},
			{"a session with a long name", assume(strings.Repeat("s", 65)), "ValidationError", true},
		}
	})
}
