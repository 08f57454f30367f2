package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const variablePrefix = "PERSAT_BRIDGE_"

// natsVariables are those of the nats command.
var natsVariables = map[string]string{
	"nats.url":           "NATS_URL",
	"nats.creds_file":    "NATS_CREDS",
	"nats.user":          "NATS_USER",
	"nats.password":      "NATS_PASSWORD",
	"nats.token":         "NATS_TOKEN",
	"nats.nkey_file":     "NATS_NKEY",
	"nats.tls.ca_file":   "NATS_CA",
	"nats.tls.cert_file": "NATS_CERT",
	"nats.tls.key_file":  "NATS_KEY",
}

// refusedVariables are those of the nats command that the bridge does not read, and
// what to do instead. To ignore one would be to connect as somebody else, or elsewhere.
var refusedVariables = map[string]string{
	"NATS_JWT":         "put the JWT and its seed into a .creds file, and name that in NATS_CREDS",
	"NATS_SEED":        "put the seed into a file, and name that in NATS_NKEY, or with its JWT into a .creds file, and name that in NATS_CREDS",
	"NATS_SOCKS_PROXY": "the bridge connects to its servers directly",
}

// refuseVariables notes which of the nats command's variables ask for what is not done.
func (l *loader) refuseVariables(n *NATS) {
	for _, name := range slices.Sorted(maps.Keys(refusedVariables)) {
		if l.env[name] == "" || !n.outside() || slices.Contains(slices.Collect(maps.Values(natsVariables)), name) {
			continue
		}
		l.mistakes = append(l.mistakes, Mistake{Variable: name, Text: "is not read: " + refusedVariables[name] + "; unset it"})
	}
}

// natsContext names a context, which has no key: a file that depended on another
// file in somebody's home would work there only.
const natsContext = "NATS_CONTEXT"

// kubernetes matches what it makes for every Service of the namespace, here for
// those called persat-bridge or persat-bridge-something.
var kubernetes = regexp.MustCompile(`^PERSAT_BRIDGE_(.+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// variable returns the name of the variable that sets key.
func variable(key string) string {
	return variablePrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// fromVariables returns what the environment says of key.
func (l *loader) fromVariables(key string) (text string, at origin) {
	if name := variable(key); l.env[name] != "" {
		return l.env[name], origin{layer: fromBridge, variable: name}
	}
	if name, ok := natsVariables[key]; ok && l.env[name] != "" {
		return l.env[name], origin{layer: fromNATS, variable: name}
	}
	return "", origin{}
}

// replaced says whether the environment makes the file's value of key void.
func (l *loader) replaced(key string) bool {
	text, _ := l.fromVariables(key)
	return text != "" || l.env[natsContext] != "" && slices.Contains(contextReplaces, key)
}

// readEnvironment sets every key that has a variable, and warns of variables
// that have no key, or no value.
func (l *loader) readEnvironment() {
	l.cfg.NATS.Context = l.env[natsContext]
	if err := l.unclean[natsContext]; err != nil {
		l.mistakes = append(l.mistakes, Mistake{Variable: natsContext, Text: err.Error()})
		l.cfg.NATS.Context = ""
	}
	keys := map[string]string{} // by variable
	eachKey(reflect.ValueOf(l.cfg).Elem(), "", func(key string, v reflect.Value) {
		name := variable(key)
		text, at := l.fromVariables(key)
		if other := keys[name]; other != "" && at.variable == name {
			l.origins[key] = at
			l.mistake(key, "the variable sets %s too, for in variables - and _ are the same: rename one of the sources", other)
			return
		}
		keys[name] = key
		if text == "" {
			return
		}
		l.origins[key] = at
		if err := l.unclean[at.variable]; err != nil {
			l.mistake(key, "%v", err)
			return
		}
		l.setVariable(key, v, text)
	})
	l.warnIgnored(slices.Sorted(maps.Keys(keys)))
}

func (l *loader) setVariable(key string, v reflect.Value, text string) {
	if v.Kind() != reflect.Slice {
		text, err := cleanKey(key, text)
		if err == nil {
			err = setText(v, text)
		}
		if err != nil {
			l.mistake(key, "%v", err)
		}
		return
	}
	entries := strings.Split(text, ",")
	list := reflect.MakeSlice(v.Type(), len(entries), len(entries))
	for i, entry := range entries {
		entry, err := clean(entry)
		if err == nil {
			err = setText(list.Index(i), entry)
		}
		if err != nil {
			l.mistake(key+"["+strconv.Itoa(i)+"]", "%v", err)
		}
	}
	v.Set(list)
}

func (l *loader) warnIgnored(known []string) {
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		_, found := slices.BinarySearch(known, name)
		if found && l.env[name] == "" {
			l.warn(name, "empty, and so ignored: an empty value can only be set in the file")
		}
		if found || !strings.HasPrefix(name, variablePrefix) || kubernetes.MatchString(name) {
			continue
		}
		text := "the variable sets no key"
		if near := nearestVariable(name, known); near != "" {
			text += ": did you mean " + near + "?"
		}
		l.warn(name, "%s", text)
	}
}

func nearestVariable(name string, known []string) string {
	best, most := "", 2
	for _, k := range known {
		if d := distance(name, k, most); d <= most {
			best, most = k, d-1
		}
	}
	return best
}
