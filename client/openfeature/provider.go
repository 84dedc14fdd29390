// Package stele is an OpenFeature provider whose flags are settings in Stele. It
// evaluates them in memory, from the settings that an open client.Client keeps:
//
//	c, err := client.Open(ctx, client.Config{...})
//	err = openfeature.SetProviderAndWait(stele.NewProvider(c, stele.Config{}))
//
// docs/flags.md describes the format of a flag: a flag definition of flagd, or any
// other JSON value, which is the same for every caller.
package stele

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/stelehq/stele/client"
)

// Config defines which keys are flags.
type Config struct {
	// Prefix of the keys of flags; "flags/" by default. The client must keep it.
	Prefix string
	// MaxAge is how old the client's settings may be before the provider is stale; 30
	// seconds by default. Flags are evaluated nevertheless.
	MaxAge time.Duration
}

// Provider evaluates flags until Shutdown. The client stays its caller's to close.
type Provider struct {
	client *client.Client
	cfg    Config
	flags  sync.Map // of *flag, by name: as they were when they were last evaluated
	events chan openfeature.Event

	mu      sync.Mutex // guards stop
	stop    func()     // nil while nothing runs
	running sync.WaitGroup
}

var (
	_ openfeature.FeatureProvider          = (*Provider)(nil)
	_ openfeature.ContextAwareStateHandler = (*Provider)(nil)
	_ openfeature.EventHandler             = (*Provider)(nil)
)

// NewProvider makes a provider of a client's flags.
func NewProvider(c *client.Client, cfg Config) *Provider {
	if cfg.Prefix == "" {
		cfg.Prefix = "flags/"
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 30 * time.Second
	}
	return &Provider{client: c, cfg: cfg, events: make(chan openfeature.Event)}
}

// Metadata names the provider.
func (p *Provider) Metadata() openfeature.Metadata { return openfeature.Metadata{Name: "Stele"} }

// Hooks returns no hooks.
func (p *Provider) Hooks() []openfeature.Hook { return nil }

// EventChannel reports changed flags, and when the provider becomes stale and ready
// again.
func (p *Provider) EventChannel() <-chan openfeature.Event { return p.events }

// Init starts to send events.
func (p *Provider) Init(c openfeature.EvaluationContext) error {
	return p.InitWithContext(context.Background(), c)
}

// InitWithContext starts to send events. It fails if the client does not keep the
// flags.
func (p *Provider) InitWithContext(context.Context, openfeature.EvaluationContext) error {
	if !p.client.Keeps(p.cfg.Prefix) {
		return &openfeature.ProviderInitError{ErrorCode: openfeature.ProviderFatalCode,
			Message: fmt.Sprintf("the client does not keep the keys under %q: add that to its Prefixes", p.cfg.Prefix)}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		return nil
	}
	done := make(chan struct{})
	unsubscribe := p.client.OnChange(p.cfg.Prefix, func(u client.Update) { p.changed(done, u) })
	p.running.Go(func() { p.watchAge(done) })
	p.stop = func() {
		unsubscribe()
		close(done)
	}
	return nil
}

// Shutdown stops what Init has started.
func (p *Provider) Shutdown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
	p.running.Wait()
}

// ShutdownWithContext is Shutdown, which does not take long.
func (p *Provider) ShutdownWithContext(context.Context) error {
	p.Shutdown()
	return nil
}

func (p *Provider) send(done <-chan struct{}, kind openfeature.EventType, details openfeature.ProviderEventDetails) {
	select {
	case p.events <- openfeature.Event{ProviderName: p.Metadata().Name, EventType: kind, ProviderEventDetails: details}:
	case <-done:
	}
}

func (p *Provider) changed(done <-chan struct{}, u client.Update) {
	details := openfeature.ProviderEventDetails{EventMetadata: map[string]any{"revision": int64(u.After.Revision())}}
	for _, key := range u.Keys {
		name := strings.TrimPrefix(key, p.cfg.Prefix)
		details.FlagChanges = append(details.FlagChanges, name)
		if _, set := u.After.Get(key); !set {
			p.flags.Delete(name)
		}
	}
	p.send(done, openfeature.ProviderConfigChange, details)
}

// watchAge says when the client's settings become too old, and when they are not any
// more.
func (p *Provider) watchAge(done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stale := false
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		age := p.client.Age()
		switch old := age > p.cfg.MaxAge; {
		case old == stale:
			continue
		case old:
			why := fmt.Sprintf("the flags are %s old", age.Round(time.Second))
			if err := p.client.Status().Err; err != nil {
				why += ": " + err.Error()
			}
			p.send(done, openfeature.ProviderStale, openfeature.ProviderEventDetails{Message: why})
		default:
			p.send(done, openfeature.ProviderReady, openfeature.ProviderEventDetails{Message: "the flags are current again"})
		}
		stale = !stale
	}
}

// flag is a flag as it is now.
func (p *Provider) flag(name string) (*flag, bool) {
	e, set := p.client.Get(p.cfg.Prefix + name)
	if !set {
		return nil, false
	}
	if known, ok := p.flags.Load(name); ok {
		if f := known.(*flag); f.revision == e.Revision && f.value == e.Value {
			return f, true
		}
	}
	f := parse(e)
	p.flags.Store(name, f)
	return f, true
}

// resolve evaluates a flag. T is what as makes of the variant's value.
func resolve[T any](p *Provider, name string, fallback T, flat openfeature.FlattenedContext, as func(any) (T, error)) openfeature.GenericResolutionDetail[T] {
	failed := func(err openfeature.ResolutionError) openfeature.GenericResolutionDetail[T] {
		return openfeature.GenericResolutionDetail[T]{Value: fallback, ProviderResolutionDetail: openfeature.ProviderResolutionDetail{ResolutionError: err, Reason: openfeature.ErrorReason}}
	}
	f, set := p.flag(name)
	if !set {
		return failed(openfeature.NewFlagNotFoundResolutionError(fmt.Sprintf("%s%s is not set", p.cfg.Prefix, name)))
	}
	variant, reason, err := f.choose(name, flat)
	if wrong, ok := errors.AsType[openfeature.ResolutionError](err); ok {
		return failed(wrong)
	}
	detail := openfeature.GenericResolutionDetail[T]{Value: fallback, ProviderResolutionDetail: openfeature.ProviderResolutionDetail{Reason: reason, Variant: variant, FlagMetadata: f.metadata}}
	if variant == "" {
		return detail
	}
	if detail.Value, err = as(f.variants[variant]); err != nil {
		return failed(openfeature.NewTypeMismatchResolutionError(fmt.Sprintf("%s%s: its variant %s %v", p.cfg.Prefix, name, variant, err)))
	}
	return detail
}

// BooleanEvaluation evaluates a flag whose variants are booleans.
func (p *Provider) BooleanEvaluation(_ context.Context, name string, fallback bool, flat openfeature.FlattenedContext) openfeature.BoolResolutionDetail {
	return resolve(p, name, fallback, flat, is[bool])
}

// StringEvaluation evaluates a flag whose variants are strings.
func (p *Provider) StringEvaluation(_ context.Context, name string, fallback string, flat openfeature.FlattenedContext) openfeature.StringResolutionDetail {
	return resolve(p, name, fallback, flat, is[string])
}

// FloatEvaluation evaluates a flag whose variants are numbers.
func (p *Provider) FloatEvaluation(_ context.Context, name string, fallback float64, flat openfeature.FlattenedContext) openfeature.FloatResolutionDetail {
	return resolve(p, name, fallback, flat, func(v any) (float64, error) {
		n, err := is[json.Number](v)
		if err != nil {
			return 0, err
		}
		return n.Float64()
	})
}

// IntEvaluation evaluates a flag whose variants are whole numbers, exactly.
func (p *Provider) IntEvaluation(_ context.Context, name string, fallback int64, flat openfeature.FlattenedContext) openfeature.IntResolutionDetail {
	return resolve(p, name, fallback, flat, func(v any) (int64, error) {
		n, err := is[json.Number](v)
		if err != nil {
			return 0, err
		}
		return whole(n)
	})
}

// ObjectEvaluation evaluates any flag.
func (p *Provider) ObjectEvaluation(_ context.Context, name string, fallback any, flat openfeature.FlattenedContext) openfeature.InterfaceResolutionDetail {
	return resolve(p, name, fallback, flat, func(v any) (any, error) { return plain(v), nil })
}
