// Package check_test holds the files of scripts/deploy to the types of those who read
// them: Compose, kustomize and Kubernetes. It is a module of its own, because nothing
// else needs these.
package check_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kinds are those that may be there, as Kubernetes reads them.
var kinds = map[string]func() any{
	"Namespace":           func() any { return new(corev1.Namespace) },
	"ConfigMap":           func() any { return new(corev1.ConfigMap) },
	"Service":             func() any { return new(corev1.Service) },
	"StatefulSet":         func() any { return new(appsv1.StatefulSet) },
	"PodDisruptionBudget": func() any { return new(policyv1.PodDisruptionBudget) },
	"NetworkPolicy":       func() any { return new(networkingv1.NetworkPolicy) },
}

// build is what kubectl apply -k would send.
func build(t *testing.T) map[string][]any {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	objects := make(map[string][]any)
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		make := kinds[r.GetKind()]
		if make == nil {
			t.Errorf("%s is of the kind %s", r.GetName(), r.GetKind())
			continue
		}
		o := make()
		if err := yaml.UnmarshalStrict(text, o); err != nil {
			t.Errorf("%s %s: %v", r.GetKind(), r.GetName(), err)
		}
		if ns := r.GetNamespace(); ns != "stele" && r.GetKind() != "Namespace" {
			t.Errorf("%s %s is in the namespace %q", r.GetKind(), r.GetName(), ns)
		}
		objects[r.GetKind()] = append(objects[r.GetKind()], o)
	}
	return objects
}

func TestKubernetes_Manifests(t *testing.T) {
	objects := build(t)
	for kind := range kinds {
		if len(objects[kind]) == 0 {
			t.Errorf("there is no %s", kind)
		}
	}
}

// Each set of pods is one that a budget protects, that runs without rights, and
// whose ports, volumes and configuration are there.
func TestKubernetes_PodsAreConfined(t *testing.T) {
	objects := build(t)
	maps := make(map[string]bool)
	for _, o := range objects["ConfigMap"] {
		maps[o.(*corev1.ConfigMap).Name] = true
	}
	budgets := make(map[string]bool)
	for _, o := range objects["PodDisruptionBudget"] {
		b := o.(*policyv1.PodDisruptionBudget)
		if b.Spec.MaxUnavailable.IntValue() == 1 {
			budgets[b.Spec.Selector.MatchLabels["app.kubernetes.io/name"]] = true
		}
	}
	services := make(map[string]bool)
	for _, o := range objects["Service"] {
		services[o.(*corev1.Service).Name] = true
	}
	for _, o := range objects["StatefulSet"] {
		s := o.(*appsv1.StatefulSet)
		pod := s.Spec.Template.Spec
		if !budgets[s.Spec.Template.Labels["app.kubernetes.io/name"]] {
			t.Errorf("%s has no budget", s.Name)
		}
		if !services[s.Spec.ServiceName] {
			t.Errorf("%s has no service %q", s.Name, s.Spec.ServiceName)
		}
		for k, v := range s.Spec.Selector.MatchLabels {
			if s.Spec.Template.Labels[k] != v {
				t.Errorf("%s selects pods by %s, which its own do not have", s.Name, k)
			}
		}
		if !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *pod.AutomountServiceAccountToken {
			t.Errorf("%s has rights that it does not need", s.Name)
		}
		var volumes []string
		for _, v := range pod.Volumes {
			volumes = append(volumes, v.Name)
			if v.ConfigMap != nil && !maps[v.ConfigMap.Name] {
				t.Errorf("%s: there is no ConfigMap %s", s.Name, v.ConfigMap.Name)
			}
		}
		for _, v := range s.Spec.VolumeClaimTemplates {
			volumes = append(volumes, v.Name)
		}
		for _, c := range pod.Containers {
			sc := c.SecurityContext
			if *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem || !slices.Contains(sc.Capabilities.Drop, "ALL") {
				t.Errorf("%s: %s has rights that it does not need", s.Name, c.Name)
			}
			if c.StartupProbe == nil || c.ReadinessProbe == nil || c.LivenessProbe == nil {
				t.Errorf("%s: %s lacks a probe", s.Name, c.Name)
			}
			for _, m := range c.VolumeMounts {
				if !slices.Contains(volumes, m.Name) {
					t.Errorf("%s: there is no volume %s", s.Name, m.Name)
				}
			}
			for _, e := range c.EnvFrom {
				if !maps[e.ConfigMapRef.Name] {
					t.Errorf("%s: there is no ConfigMap %s", s.Name, e.ConfigMapRef.Name)
				}
			}
			var ports []string
			for _, p := range c.Ports {
				ports = append(ports, p.Name)
			}
			for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if !slices.Contains(ports, p.HTTPGet.Port.StrVal) {
					t.Errorf("%s: a probe asks the port %s", s.Name, p.HTTPGet.Port.StrVal)
				}
			}
		}
	}
}

func TestCompose_File(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"../docker/compose.yaml"}, cli.WithName("stele"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nats-1", "nats-2", "nats-3", "core", "projector", "edge"} {
		s, err := project.GetService(name)
		if err != nil {
			t.Error(err)
			continue
		}
		for dependency := range s.DependsOn {
			on, err := project.GetService(dependency)
			switch {
			case err != nil:
				t.Error(err)
			case strings.HasPrefix(dependency, "nats-") && on.HealthCheck == nil:
				t.Errorf("%s waits for the health of %s, which says nothing about it", name, dependency)
			}
		}
		if strings.HasPrefix(name, "nats-") {
			continue
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s has rights that it does not need", name)
		}
		if file := filepath.Base(s.Build.Dockerfile); file != "Dockerfile" {
			t.Errorf("%s is built by %s", name, file)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s is open to other machines at %s, without TLS", name, p.Published)
			}
		}
	}
}
