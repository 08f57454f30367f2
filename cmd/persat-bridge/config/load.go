package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// defaultFile is read when it exists and no other is named.
const defaultFile = "config.yaml"

// Load reads the file, then the environment, given as os.Environ gives it. An
// empty path means ./config.yaml when that exists. The error is always a
// Mistakes; the warnings stand beside it too.
func Load(path string, environ []string) (*Config, []Warning, error) {
	return newLoader().load(path, environ)
}

// LoadWithoutSecrets is Load for commands that answer no sender. The sources of
// the Config have no secrets, and that is no mistake.
func LoadWithoutSecrets(path string, environ []string) (*Config, []Warning, error) {
	l := newLoader()
	l.withoutSecrets = true
	return l.load(path, environ)
}

func newLoader() *loader {
	return &loader{cfg: Default(), env: map[string]string{}, unclean: map[string]error{}, origins: map[string]origin{}}
}

func (l *loader) load(path string, environ []string) (*Config, []Warning, error) {
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			var err error
			if l.env[name], err = clean(value); err != nil {
				l.unclean[name] = err
			}
		}
	}
	l.cfg.Sources = map[string]Source{}
	if !l.readFile(path) {
		// All that follows from not knowing the file would only confuse.
		return nil, nil, l.mistakes
	}
	if len(l.cfg.Sources) == 0 && !l.badSource && !l.bad("sources") {
		l.addDefaultSource()
	}
	l.readEnvironment()
	l.check()
	if len(l.mistakes) > 0 {
		l.mistakes.sort()
		return nil, l.warnings, l.mistakes
	}
	return l.cfg, l.warnings, nil
}

// loader is one Load: the Config so far, where each value of it came from, and
// what was wrong with the others.
type loader struct {
	cfg  *Config
	file string
	env  map[string]string // clean
	// unclean are the variables whose value has a mistake, used or not.
	unclean map[string]error
	// origins has an entry for every key that is not at its default.
	origins  map[string]origin
	mistakes Mistakes
	warnings []Warning

	// withoutSecrets: the sources' secrets are not looked at.
	withoutSecrets bool
	// badSource: the file names a source, but none with a usable name.
	badSource bool
	// noSources: there is only the default source.
	noSources bool
}

// layer is where a value comes from. The higher one wins.
type layer int

const (
	fromDefault layer = iota
	fromFile
	fromNATS
	fromBridge
)

type origin struct {
	layer    layer
	line     int    // in the file
	variable string // of the environment
}

// place says where key was set. A key that was not is looked for where its
// section begins.
func (l *loader) place(key string) origin {
	if list, _, ok := strings.Cut(key, "["); ok {
		if at, ok := l.origins[key]; ok {
			return at
		}
		key = list
	}
	if at, ok := l.origins[key]; ok {
		return at
	}
	for i := strings.LastIndexByte(key, '.'); i > 0; i = strings.LastIndexByte(key[:i], '.') {
		if at, ok := l.origins[key[:i]]; ok {
			return at
		}
	}
	return origin{}
}

// readFile says whether there was a document to read, or no need of one.
func (l *loader) readFile(path string) bool {
	l.file = path
	if path == "" {
		l.file = defaultFile
	}
	text, err := readSmall(l.file)
	switch {
	case path == "" && errors.Is(err, fs.ErrNotExist):
		return true
	case err != nil:
		l.mistakes = append(l.mistakes, Mistake{File: l.file, Text: errors.Unwrap(err).Error()})
		return false
	}
	return l.readDocument(text)
}

// addDefaultSource is for those who name none. Its secret may also come from
// another key's variable, so a missing one is no mistake yet.
func (l *loader) addDefaultSource() {
	s := newSource(defaultSource)
	if secret := l.env[defaultSecret]; secret != "" {
		s.Secrets = []Secret{Secret(secret)}
		l.origins["sources."+defaultSource+".secrets"] = origin{variable: defaultSecret}
		if err := l.unclean[defaultSecret]; err != nil {
			l.mistake("sources."+defaultSource+".secrets[0]", "%v", err)
		}
	}
	l.cfg.Sources[defaultSource] = s
	l.noSources = true
}

// secretFile reads *file into *value. When both are set, the one from the later
// place wins.
func (l *loader) secretFile(key string, value *Secret, file *string) {
	if *file == "" {
		return
	}
	if *value != "" {
		switch a, b := l.origins[key].layer, l.origins[key+"_file"].layer; {
		case a > b:
			*file = ""
			return
		case a == b:
			l.mistake(key+"_file", "set, and %s too: only one of them can hold", key)
			return
		}
	}
	text, err := readSmall(*file)
	if err != nil {
		l.mistake(key+"_file", "%v", err)
		return
	}
	text, err = clean(text)
	if err == nil && text == "" {
		err = errors.New("is empty")
	}
	if err != nil {
		l.mistake(key+"_file", "%s %v: it has to hold the secret and nothing else", quote(*file), err)
		return
	}
	*value = Secret(text)
}

// readable makes sure that a file somebody else will read is there.
func (l *loader) readable(key, path string) {
	if path == "" {
		return
	}
	if _, err := readSmall(path); err != nil {
		l.mistake(key, "%v", err)
	}
}

// readSmall reads a file of at most 1 MiB: more is no configuration, but a
// mistaken path, perhaps to something without end. The error wraps its cause.
func readSmall(path string) (string, error) {
	const most = 1 << 20
	text, err := func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, most+1))
	}()
	if err == nil && len(text) > most {
		err = errors.New("is larger than 1 MiB")
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", quote(path), err)
	}
	return string(text), nil
}
