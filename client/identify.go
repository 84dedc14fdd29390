package client

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// errForeign: a gateway serves another ledger or tenant than the client's.
var errForeign = errors.New("it is not the gateway of this client's settings")

// identify compares a gateway's identity with what the client knows.
func (c *Client) identify(tenant string, epoch []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := *c.known.Load()
	if k.tenant != "" && k.tenant != tenant {
		return fmt.Errorf("%w: it serves the tenant %s, and the client has settings of %s", errForeign, tenant, k.tenant)
	}
	if c.epoch != nil && !bytes.Equal(c.epoch, epoch) {
		if c.pinned {
			return fmt.Errorf("%w: it serves the ledger %x, and the client has settings of %x: restart the program to follow the other ledger", errForeign, epoch, c.epoch)
		}
		if c.have { // before Open returns, so nothing is bound
			c.setAside(fmt.Errorf("it is of the ledger %x, and the gateway's is %x", c.epoch, epoch))
			c.have = false
			c.state.Store(replaced(nil).finish(0, nil, nil))
			k.current = time.Time{}
		}
	}
	c.epoch, k.tenant = epoch, tenant
	c.known.Store(&k)
	return nil
}

// reasonHistoryChanged is the ErrorInfo reason of a gateway whose ledger does not have the
// commit that the client has.
const reasonHistoryChanged = "HISTORY_CHANGED"

func historyChanged(err error) bool {
	info, ok := detail[*errdetails.ErrorInfo](err)
	return ok && info.Reason == reasonHistoryChanged
}

// historyChanged reports that the ledger does not have the client's newest commit: it was
// restored from a backup, and the client's state is loaded again.
func (c *Client) historyChanged(address string, err error) {
	c.cfg.Log.Error("the ledger's history has changed: the settings are loaded again, and some may be older than before",
		"gateway", address, "revision", c.state.Load().revision, "error", plain{err})
	c.note(func(k *knowledge) { k.historyChanged = time.Now() })
}
