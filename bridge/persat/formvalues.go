package persat

import "encoding/json"

// FormValues are the answers of a form: work instructions, results, a digital
// form. A key, "FW…", belongs to one version of one template, and a new version
// brings new keys, so there is no fixed schema to decode into. Values are
// strings, numbers or arrays, and a number may come as a string of its digits.
// Documented.
type FormValues map[string]json.RawMessage

// Text returns a string, or the literal of a number; false when the key is
// missing or its value is neither.
func (f FormValues) Text(key string) (string, bool) { return text(f[key]) }

// Number returns a number, whether it came as one or as a string of its
// digits; false when the key is missing, when its value is neither, and when it
// is beyond float64.
func (f FormValues) Number(key string) (float64, bool) {
	digits, ok := text(f[key])
	if !ok || !isNumber(digits) {
		return 0, false
	}
	var number float64
	err := json.Unmarshal([]byte(digits), &number)
	return number, err == nil
}

// Texts returns the items of an array as text, and what Text returns as the
// only one; false when the key is missing, or its value or an item has no text.
func (f FormValues) Texts(key string) ([]string, bool) {
	if one, ok := text(f[key]); ok {
		return []string{one}, true
	}
	var items []json.RawMessage
	if json.Unmarshal(f[key], &items) != nil || items == nil {
		return nil, false
	}
	texts := make([]string, len(items))
	for i, item := range items {
		one, ok := text(item)
		if !ok {
			return nil, false
		}
		texts[i] = one
	}
	return texts, true
}

// text returns a string's text or a number's literal.
func text(value json.RawMessage) (string, bool) {
	if isNumber(string(value)) {
		return string(value), true
	}
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err == nil
}
