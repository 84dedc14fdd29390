package bridge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/stelehq/stele/client/refresh"
)

// poster keeps no connection from one event to the next, as dial does not, and follows
// no redirect: the signature is for the target alone.
var poster = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// webhook posts an event's detail as it is, signed.
func (b *Bridge) webhook(address string, detail []byte) call {
	return call{address, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(detail))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", "stele-lambda")
		req.Header.Set(refresh.SignatureHeader, refresh.Sign(b.secret, time.Now(), detail))
		resp, err := poster.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			reason, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
			return fmt.Errorf("it answers %s: %s", resp.Status, bytes.TrimSpace(reason))
		}
		return nil
	}}
}
