package systemtest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/cli/server"
	"go.yaml.in/yaml/v3"
)

// deployment is where the files are that others run Stele by.
const deployment = "../../../scripts/deploy"

// started is how one of these files has a server started: its arguments, without
// the program, and the names of the variables in its environment.
type started struct {
	where     string
	args      []string
	variables []string
}

func composed(t *testing.T) (all []started) {
	t.Helper()
	var file struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
		}
	}
	text, err := os.ReadFile(filepath.Join(deployment, "docker", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for name, s := range file.Services {
		if len(s.Command) > 0 && s.Command[0] == "serve" {
			one := started{where: "compose.yaml: " + name, args: s.Command}
			for variable := range s.Environment {
				one.variables = append(one.variables, variable)
			}
			all = append(all, one)
		}
	}
	return all
}

func units(t *testing.T) (all []started) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(deployment, "systemd", "*.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		one := started{where: filepath.Base(file)}
		for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
			if command, ok := strings.CutPrefix(line, "ExecStart=/usr/local/bin/stele "); ok {
				one.args = strings.Fields(command)
			}
			if setting, ok := strings.CutPrefix(line, "Environment="); ok {
				name, _, _ := strings.Cut(setting, "=")
				one.variables = append(one.variables, name)
			}
		}
		all = append(all, one)
	}
	return all
}

func pods(t *testing.T) (all []started) {
	t.Helper()
	var variables []string
	read := func(file string, each func(*yaml.Decoder) error) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
			if err := each(d); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	read(filepath.Join(deployment, "kubernetes", "kustomization.yaml"), func(d *yaml.Decoder) error {
		var k struct {
			ConfigMapGenerator []struct {
				Name     string
				Literals []string
			} `yaml:"configMapGenerator"`
		}
		err := d.Decode(&k)
		for _, g := range k.ConfigMapGenerator {
			for _, l := range g.Literals {
				name, _, _ := strings.Cut(l, "=")
				variables = append(variables, name)
			}
		}
		return err
	})
	files, err := filepath.Glob(filepath.Join(deployment, "kubernetes", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		read(file, func(d *yaml.Decoder) error {
			var o struct {
				Spec struct {
					Template struct {
						Spec struct {
							Containers []struct {
								Image   string
								Args    []string
								Env     []struct{ Name string }
								EnvFrom []any `yaml:"envFrom"` // of the generator
							}
						}
					}
				}
			}
			err := d.Decode(&o)
			for _, c := range o.Spec.Template.Spec.Containers {
				if c.Image == "stele" {
					var own []string
					if len(c.EnvFrom) > 0 {
						own = append(own, variables...)
					}
					for _, e := range c.Env {
						if strings.HasPrefix(e.Name, "STELE_") {
							own = append(own, e.Name)
						}
					}
					all = append(all, started{filepath.Base(file), c.Args, own})
				}
			}
			return err
		})
	}
	return all
}

// What others start servers by is what the program takes: every flag, every
// variable, and all that "stele serve" cannot do without.
func TestDeploy_CommandLines(t *testing.T) {
	all := append(append(composed(t), units(t)...), pods(t)...)
	if len(all) != 8 {
		t.Errorf("there are %d command lines", len(all))
	}
	for _, s := range all {
		if len(s.args) == 0 || s.args[0] != "serve" {
			t.Errorf("%s: it runs %q", s.where, s.args)
			continue
		}
		cmd := server.ServeCommand()
		if err := cmd.ParseFlags(s.args[1:]); err != nil {
			t.Errorf("%s: %v", s.where, err)
		}
		if rest := cmd.Flags().Args(); len(rest) > 0 {
			t.Errorf("%s: %q is no flag", s.where, rest)
		}
		given := make(map[string]bool)
		for _, v := range s.variables {
			name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v, "STELE_"), "_", "-"))
			if cmd.Flags().Lookup(name) == nil {
				t.Errorf("%s: %s is no flag's", s.where, v)
			}
			given[name] = true
		}
		has := func(name string) bool { return given[name] || cmd.Flags().Changed(name) }
		for _, name := range []string{"issuer", "audience", "roles", "data"} {
			if !has(name) {
				t.Errorf("%s: --%s is missing", s.where, name)
			}
		}
		if has("nats-url") == has("upstream") || has("upstream") != (has("token-file") && has("tenants")) {
			t.Errorf("%s: it needs --nats-url, or --upstream with --token-file and --tenants", s.where)
		}
		roles, err := cmd.Flags().GetStringSlice("roles")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range roles {
			if r == "signer" && !cmd.Flags().Changed("checkpoint-key") {
				t.Errorf("%s: --checkpoint-key is missing", s.where)
			}
		}
	}
}

// The image is built as what is released is.
func TestDeploy_ImageEqualsRelease(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(strings.NewReplacer("\\\n", " ", "$2", "$VERSION", "$3", "$TARGETARCH", `"$4"`, "/out/stele").Replace(string(text))), " ")
	}
	image, release := read(filepath.Join(deployment, "docker", "Dockerfile")), read("../../../scripts/build")
	start := strings.Index(release, "CGO_ENABLED=0 GOOS=linux")
	end := strings.Index(release, "./cmd/stele)")
	if start < 0 || end < 0 || !strings.Contains(image, release[start:end]) {
		t.Errorf("scripts/build runs:\n%s\nwhich the Dockerfile does not", release[max(start, 0):max(end, 0)])
	}
}
