package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// keyPrefix is what keys begin with, as Standard Webhooks have it; the rest is base64.
const keyPrefix = "whsec_"

// Of keys: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const (
	minKey = 24
	maxKey = 64
)

// readKeys reads the keys that requests are signed with, one a line. It does so for
// every request, so that keys can be replaced while the process runs.
func (k *sink) readKeys() ([][]byte, error) {
	text, err := os.ReadFile(k.keys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no key was found to sign requests with: run  printf 'whsec_%%s\\n' \"$(openssl rand -base64 32)\" > %s  and give the receiver the same line", k.keys)
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys that sign requests: %w", err)
	}
	var keys [][]byte
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(line), keyPrefix))
		if err != nil || len(key) < minKey || len(key) > maxKey {
			return nil, fmt.Errorf("line %d of %s is not a key: whsec_ and %d to %d bytes in base64", len(keys)+1, k.keys, minKey, maxKey)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key in it", k.keys)
	}
	return keys, nil
}

// signatures is the header webhook-signature: one signature for each key.
func signatures(keys [][]byte, id string, at time.Time, body []byte) string {
	var all []string
	for _, key := range keys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		h.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(all, " ")
}
