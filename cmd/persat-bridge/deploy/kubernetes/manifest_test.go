// Package kubernetes tests the manifest against the types of the Kubernetes API and of
// the Prometheus Operator. It is a module of its own, so that these types are none of the
// product's dependencies: k8s.io/api and the operator's pkg/apis/monitoring have the types,
// k8s.io/apimachinery decodes as an API server does, and k8s.io/pod-security-admission
// is the server's own judgement of a pod.
package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

const (
	manifestFile = "persat-bridge.yaml"
	root         = "../../../../"
)

// decoder refuses unknown and repeated fields, as kubectl and the API server do.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents are the objects of the manifest as they are written.
func documents(t *testing.T) []string {
	t.Helper()
	return strings.Split(read(t, manifestFile), "\n---\n")
}

// manifest has the objects of the manifest by their types.
type manifest struct {
	namespace *corev1.Namespace
	secret    *corev1.Secret
	config    *corev1.ConfigMap
	services  map[string]*corev1.Service
	set       *appsv1.StatefulSet
	budget    *policyv1.PodDisruptionBudget
	network   *networkingv1.NetworkPolicy
	monitor   *monitoringv1.PodMonitor
	all       []metav1.Object
}

func readManifest(t *testing.T) manifest {
	t.Helper()
	m := manifest{services: make(map[string]*corev1.Service)}
	decode := decoder(t)
	for i, document := range documents(t) {
		object, kind, err := decode.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("document %d: %v", i+1, err)
		}
		switch o := object.(type) {
		case *corev1.Namespace:
			m.namespace = o
		case *corev1.Secret:
			m.secret = o
		case *corev1.ConfigMap:
			m.config = o
		case *corev1.Service:
			m.services[o.Name] = o
		case *appsv1.StatefulSet:
			m.set = o
		case *policyv1.PodDisruptionBudget:
			m.budget = o
		case *networkingv1.NetworkPolicy:
			m.network = o
		case *monitoringv1.PodMonitor:
			m.monitor = o
		default:
			t.Fatalf("document %d: no test looks at a %s", i+1, kind.Kind)
		}
		m.all = append(m.all, object.(metav1.Object))
	}
	if want := 9; len(m.all) != want {
		t.Fatalf("got %d objects, want %d", len(m.all), want)
	}
	return m
}

func (m manifest) pod() corev1.PodSpec { return m.set.Spec.Template.Spec }

func (m manifest) container(t *testing.T) corev1.Container {
	t.Helper()
	if len(m.pod().Containers) != 1 || len(m.pod().InitContainers) != 0 {
		t.Fatal("want one container")
	}
	return m.pod().Containers[0]
}

// port is the number of a port of the container, by its name.
func (m manifest) port(t *testing.T, name string) int32 {
	t.Helper()
	for _, p := range m.container(t).Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	t.Errorf("the container has no port %q", name)
	return 0
}

// configuration is config.yaml of the ConfigMap: every value by its key.
func (m manifest) configuration(t *testing.T) map[string]string {
	t.Helper()
	var tree map[string]any
	if err := yaml.UnmarshalStrict([]byte(m.config.Data["config.yaml"]), &tree); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	var walk func(at string, value any)
	walk = func(at string, value any) {
		if inner, ok := value.(map[string]any); ok {
			for key, v := range inner {
				walk(strings.TrimPrefix(at+"."+key, "."), v)
			}
			return
		}
		values[at] = fmt.Sprint(value)
	}
	walk("", tree)
	return values
}

// free are the fields whose keys are the writer's own.
var free = []string{"labels", "matchLabels", "data", "stringData", "requests", "limits", "selector"}

// Every field of the manifest, mistyped, is refused.
func TestMistypedFieldsAreRefused(t *testing.T) {
	decode, tried := decoder(t), 0
	for i, document := range documents(t) {
		var tree map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &tree); err != nil {
			t.Fatal(err)
		}
		kind := fmt.Sprint(tree["kind"])
		var walk func(at string, value any)
		walk = func(at string, value any) {
			switch v := value.(type) {
			case []any:
				for n, one := range v {
					walk(at+"["+strconv.Itoa(n)+"]", one)
				}
			case map[string]any:
				for _, key := range slices.Sorted(maps.Keys(v)) {
					inner := v[key]
					delete(v, key)
					v[key+"x"] = inner
					mistyped, err := json.Marshal(tree)
					if err != nil {
						t.Fatal(err)
					}
					tried++
					if _, _, err := decode.Decode(mistyped, nil, nil); err == nil {
						t.Errorf("document %d, %s: %s.%sx is taken", i+1, kind, at, key)
					}
					delete(v, key+"x")
					v[key] = inner
					// A Service's selector is a map of labels, another one a structure.
					if !slices.Contains(free, key) || key == "selector" && kind != "Service" {
						walk(at+"."+key, inner)
					}
				}
			}
		}
		walk("", tree)
		twice := strings.Replace(document, "metadata:", "metadata: {}\nmetadata:", 1)
		if _, _, err := decode.Decode([]byte(twice), nil, nil); err == nil {
			t.Errorf("document %d, %s: a repeated field is taken", i+1, kind)
		}
	}
	if tried < 150 {
		t.Errorf("got %d fields, want all", tried)
	}
	t.Logf("%d fields", tried)
}

// Kubernetes' own judgement: the pod meets the level that its namespace enforces.
func TestPodIsRestricted(t *testing.T) {
	m := readManifest(t)
	level := podsecurity.Level(m.namespace.Labels[podsecurity.EnforceLevelLabel])
	if level != podsecurity.LevelRestricted {
		t.Errorf("the namespace enforces %q", level)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	refusals := func(spec corev1.PodSpec) string {
		var all []string
		for _, result := range evaluator.EvaluatePod(podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}, &m.set.Spec.Template.ObjectMeta, &spec) {
			if !result.Allowed {
				all = append(all, result.ForbiddenReason+": "+result.ForbiddenDetail)
			}
		}
		return strings.Join(all, "; ")
	}
	if got := refusals(m.pod()); got != "" {
		t.Errorf("the pod is refused: %s", got)
	}
	loose := m.set.Spec.Template.Spec.DeepCopy()
	loose.Containers[0].SecurityContext.Capabilities.Drop = nil
	if got := refusals(*loose); got == "" {
		t.Error("a pod that keeps its capabilities is not refused")
	}
	if c := m.container(t); c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the root can be written")
	}
	if s := m.pod().SecurityContext; s.RunAsUser == nil || s.FSGroup == nil || *s.RunAsUser != 65532 || *s.FSGroup != 65532 || !strings.Contains(read(t, root+"Dockerfile"), "USER 65532:65532\n") {
		t.Error("the user, the group of the volumes and the Dockerfile's user are not 65532")
	}
}

// Names are what Kubernetes takes, all objects are in the namespace, and every selector
// selects the pods of the StatefulSet.
func TestObjectsFit(t *testing.T) {
	m := readManifest(t)
	for _, o := range m.all {
		if errs := validation.IsDNS1035Label(o.GetName()); len(errs) > 0 {
			t.Errorf("%s: %v", o.GetName(), errs)
		}
		if want := m.namespace.Name; o != metav1.Object(m.namespace) && o.GetNamespace() != want {
			t.Errorf("%T %s is in namespace %q, want %s", o, o.GetName(), o.GetNamespace(), want)
		}
	}
	pod := labels.Set(m.set.Spec.Template.Labels)
	selects := func(what string, selector *metav1.LabelSelector) {
		t.Helper()
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(pod) {
			t.Errorf("%s: %v does not select the pods %v: %v", what, s, pod, err)
		}
	}
	selects("the StatefulSet", m.set.Spec.Selector)
	selects("the spread", m.pod().TopologySpreadConstraints[0].LabelSelector)
	selects("the disruption budget", m.budget.Spec.Selector)
	selects("the NetworkPolicy", &m.network.Spec.PodSelector)
	selects("the PodMonitor", &m.monitor.Spec.Selector)
	for name, s := range m.services {
		selects("Service "+name, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
		for _, p := range s.Spec.Ports {
			if got := m.port(t, p.TargetPort.String()); got != p.Port {
				t.Errorf("Service %s: port %d leads to %d", name, p.Port, got)
			}
		}
	}
	if s := m.services[m.set.Spec.ServiceName]; s == nil || s.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("the StatefulSet's Service %q is not a headless one of the manifest", m.set.Spec.ServiceName)
	}
	for _, p := range m.container(t).Ports {
		if errs := validation.IsValidPortName(p.Name); len(errs) > 0 {
			t.Errorf("port %s: %v", p.Name, errs)
		}
	}
}

// Probes and the PodMonitor ask paths of the admin listener that need no token. That they
// are answered is TestKubernetesConfiguration's, of cmd/persat-bridge.
func TestProbes(t *testing.T) {
	m := readManifest(t)
	c := m.container(t)
	_, port, err := net.SplitHostPort(m.configuration(t)["admin.listen"])
	if err != nil {
		t.Fatal(err)
	}
	if got := strconv.Itoa(int(m.port(t, "admin"))); got != port {
		t.Errorf("the port admin is %s, the configuration's is %s", got, port)
	}
	for name, probe := range map[string]struct {
		*corev1.Probe
		path string
	}{
		"startup": {c.StartupProbe, "/livez"}, "liveness": {c.LivenessProbe, "/livez"}, "readiness": {c.ReadinessProbe, "/readyz"},
	} {
		if probe.Probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Port != intstr.FromString("admin") || probe.HTTPGet.Path != probe.path {
			t.Errorf("the %s probe does not ask for %s of the port admin: %+v", name, probe.path, probe.Probe)
		}
	}
	if e := m.monitor.Spec.PodMetricsEndpoints; len(e) != 1 || e[0].Port == nil || *e[0].Port != "admin" || e[0].Path != "/metrics" {
		t.Errorf("the PodMonitor does not ask for /metrics of the port admin: %+v", e)
	}
	if m.port(t, "webhooks") != 8080 || !strings.Contains(read(t, root+"config.yaml"), "\n  listen: \":8080\"\n") || m.configuration(t)["server.listen"] != "" {
		t.Error("the port webhooks is not that of server.listen, 8080 unless set")
	}
}

// Every file that the configuration names is in a volume: a key of the Secret, or a path
// on the disk.
func TestFilesAreMounted(t *testing.T) {
	m := readManifest(t)
	c := m.container(t)
	mounted := func(file string) string {
		for _, mount := range c.VolumeMounts {
			if strings.HasPrefix(file, mount.MountPath+"/") && mount.SubPath == "" {
				return mount.Name
			}
		}
		return ""
	}
	volumes := make(map[string]corev1.VolumeSource)
	for _, v := range m.pod().Volumes {
		volumes[v.Name] = v.VolumeSource
	}
	used := make(map[string]bool)
	for key, value := range m.configuration(t) {
		switch {
		case strings.HasSuffix(key, "_file"):
			source := volumes[mounted(value)].Secret
			if _, ok := m.secret.StringData[path.Base(value)]; source == nil || source.SecretName != m.secret.Name || !ok {
				t.Errorf("%s: %s is no key of the Secret", key, value)
			}
			used[path.Base(value)] = true
		case strings.HasPrefix(value, "/") && mounted(value) != "data":
			t.Errorf("%s: %s is not on the disk", key, value)
		}
	}
	for key, value := range m.secret.StringData {
		if !used[key] {
			t.Errorf("the configuration does not read the Secret's %s", key)
		}
		if value != "" {
			t.Errorf("the Secret's %s has a value that everyone knows", key)
		}
	}
	i := slices.Index(c.Args, "-c")
	if source := volumes[mounted(c.Args[i+1])].ConfigMap; source == nil || source.Name != m.config.Name || m.config.Data[path.Base(c.Args[i+1])] == "" {
		t.Errorf("%s is no key of the ConfigMap", c.Args[i+1])
	}
	for _, v := range c.Env {
		if v.ValueFrom != nil || v.Name != "GOMEMLIMIT" {
			t.Errorf("the environment has %s: secrets belong into files", v.Name)
		}
	}
	if claims := m.set.Spec.VolumeClaimTemplates; len(claims) != 1 || claims[0].Name != "data" || mounted(m.configuration(t)["journal.dir"]) != "data" {
		t.Error("the journal is not on the claim \"data\"")
	}
}

// Limits and times leave room for what the bridge needs.
func TestLimitsFit(t *testing.T) {
	m := readManifest(t)
	c, config := m.container(t), m.configuration(t)
	quantity := func(text string) int64 { // 400MiB of Go and of the configuration is Kubernetes' 400Mi
		t.Helper()
		q, err := resource.ParseQuantity(strings.TrimSuffix(text, "B"))
		if err != nil {
			t.Fatal(err)
		}
		return q.Value()
	}
	if memory, soft := c.Resources.Limits.Memory().Value(), quantity(c.Env[0].Value); soft > memory*9/10 || soft < memory/2 {
		t.Errorf("GOMEMLIMIT %d of a limit of %d bytes: want it below, and with room for what Go does not count", soft, memory)
	}
	if disk, journal := m.set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().Value(), quantity(config["journal.max_bytes"]); journal > disk*94/100 {
		t.Errorf("a journal of %d bytes on a disk of %d: from 94 %% on the bridge drops published events early", journal, disk)
	}
	seconds := func(file, pattern string) time.Duration {
		t.Helper()
		found := regexp.MustCompile(pattern).FindStringSubmatch(read(t, root+file))
		if found == nil {
			t.Fatalf("%s has nothing like %s", file, pattern)
		}
		d, err := time.ParseDuration(found[1])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	grace := time.Duration(*m.pod().TerminationGracePeriodSeconds) * time.Second
	first := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	shutdown, ack := seconds("config.yaml", `(?m)^  shutdown_timeout: (\S+)$`), seconds("config.yaml", `(?m)^  ack_timeout: (\S+)$`)
	if needed := first + shutdown + ack; grace < needed {
		t.Errorf("a stop may take %v, and is killed after %v", needed, grace)
	}
	if compose := seconds("docker-compose.yml", `stop_grace_period: (40s)`); grace != compose {
		t.Errorf("the bridge has %v to stop, in docker-compose.yml %v", grace, compose)
	}
}

// The NetworkPolicy lets through what the configuration needs.
func TestNetworkPolicy(t *testing.T) {
	m := readManifest(t)
	nats, err := url.Parse(m.configuration(t)["nats.url"])
	if err != nil {
		t.Fatal(err)
	}
	namespace := strings.Split(nats.Hostname(), ".")[1]
	spec := m.network.Spec
	if !slices.Equal(spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}) {
		t.Errorf("the policy is of %v, want both ways", spec.PolicyTypes)
	}
	in := make(map[string]bool)
	for _, rule := range spec.Ingress {
		if len(rule.From) == 0 {
			t.Errorf("everyone may reach %v", rule.Ports)
		}
		for _, p := range rule.Ports {
			m.port(t, p.Port.String())
			in[p.Port.String()] = true
		}
	}
	if len(in) != 2 {
		t.Errorf("the ports %v may be reached, want both", in)
	}
	out := make(map[string]string) // port: namespace
	for _, rule := range spec.Egress {
		for _, p := range rule.Ports {
			protocol := corev1.ProtocolTCP
			if p.Protocol != nil {
				protocol = *p.Protocol
			}
			to := ""
			if s := rule.To[0].NamespaceSelector; s != nil {
				to = s.MatchLabels[corev1.LabelMetadataName]
			}
			out[string(protocol)+" "+p.Port.String()] = to
		}
	}
	want := map[string]string{"TCP " + nats.Port(): namespace, "UDP 53": metav1.NamespaceSystem, "TCP 53": metav1.NamespaceSystem, "TCP 443": ""}
	if !maps.Equal(out, want) {
		t.Errorf("the bridge may reach %v, want %v", out, want)
	}
	for _, to := range spec.Egress[2].To {
		for _, block := range append([]string{to.IPBlock.CIDR}, to.IPBlock.Except...) {
			if _, _, err := net.ParseCIDR(block); err != nil {
				t.Error(err)
			}
		}
	}
}

// The image has a version, the newest of CHANGELOG.md.
func TestImage(t *testing.T) {
	image := readManifest(t).container(t).Image
	released := regexp.MustCompile(`(?m)^## v?(\d+\.\d+\.\d+)`).FindStringSubmatch(read(t, root+"CHANGELOG.md"))
	if released == nil {
		t.Fatal("CHANGELOG.md has no version")
	}
	if want := "ghcr.io/persat-bridge/persat-bridge:" + released[1]; image != want {
		t.Errorf("got image %s, want %s", image, want)
	}
}
