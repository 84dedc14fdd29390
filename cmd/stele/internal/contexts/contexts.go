// Package contexts keeps, in one YAML file, how to reach which gateway:
//
//	current: local
//	contexts:
//	  local:
//	    address: 127.0.0.1:7070
//	    token_file: /home/me/.local/share/stele/token
//	    tenant: acme
//	  edge:
//	    address: stele.example.com:7070
//	    tls_ca: /etc/stele/ca.pem
package contexts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stelehq/stele/internal/durable"
	"go.yaml.in/yaml/v3"
)

// File is the whole file.
type File struct {
	// Current names the context that is used when none is chosen.
	Current  string             `yaml:"current,omitempty"`
	Contexts map[string]Context `yaml:"contexts,omitempty"`
}

// Context is one gateway and who to be there.
type Context struct {
	// Address is host:port of the gateway's gRPC listener.
	Address string `yaml:"address"`
	// TokenFile is an absolute path.
	TokenFile string `yaml:"token_file,omitempty"`
	// Tenant to act for, where the token says none.
	Tenant string `yaml:"tenant,omitempty"`
	// TLSCA holds the CA of the gateway's certificate, TLSCert and TLSKey what to
	// show it; absolute paths.
	TLSCA   string `yaml:"tls_ca,omitempty"`
	TLSCert string `yaml:"tls_cert,omitempty"`
	TLSKey  string `yaml:"tls_key,omitempty"`
}

// Path is $STELE_CONFIG, or stele/config.yaml in the user's configuration
// directory.
func Path() (string, error) {
	if p := os.Getenv("STELE_CONFIG"); p != "" {
		return p, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the context file: %w: set STELE_CONFIG", err)
	}
	return filepath.Join(dir, "stele", "config.yaml"), nil
}

// Load reads the file; one that is not there is empty.
func Load(path string) (File, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("read the context file: %w", err)
	}
	var f File
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return File{}, fmt.Errorf("read the context file %s: %w", path, err)
	}
	return f, nil
}

// Put writes one context into the file, new or in place of the one of that name.
// It becomes the current one if there is none.
func Put(path, name string, c Context) error {
	return update(path, func(f *File) error {
		if f.Contexts == nil {
			f.Contexts = make(map[string]Context)
		}
		f.Contexts[name] = c
		if f.Current == "" {
			f.Current = name
		}
		return nil
	})
}

// Use makes a context the current one.
func Use(path, name string) error {
	return update(path, func(f *File) error {
		if _, ok := f.Contexts[name]; !ok {
			return fmt.Errorf("context %q is not in %s", name, path)
		}
		f.Current = name
		return nil
	})
}

func update(path string, change func(*File) error) error {
	f, err := Load(path)
	if err != nil {
		return err
	}
	if err := change(&f); err != nil {
		return err
	}
	data, err := yaml.Marshal(f)
	if err != nil {
		return fmt.Errorf("write the context file: %w", err)
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("write the context file: %w", err)
	}
	return nil
}

// NameFor is the name for the context of a server on this machine, which a token file
// identifies: the name of the context with this token file, or else usual, or, if that is the
// context of another server, usual with a number.
func (f File) NameFor(tokenFile, usual string) string {
	for name, c := range f.Contexts {
		if c.TokenFile == tokenFile {
			return name
		}
	}
	name := usual
	for n := 2; ; n++ {
		if _, taken := f.Contexts[name]; !taken {
			return name
		}
		name = fmt.Sprintf("%s-%d", usual, n)
	}
}

// replace writes the file, so that a reader sees the old one or the new one, in a folder
// that it creates.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.Replace(path, data)
}
