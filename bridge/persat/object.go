package persat

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Object is a JSON object as it was read: every member under its name, with or
// without a field of its own, its value byte for byte.
//
// Each struct of this package has one, in its field Raw, and so loses nothing:
//
//   - Reading fills a field when its member has the JSON type that is expected.
//     Otherwise, and for null, the field stays zero and only Raw knows more. A
//     member counts under its exact name; encoding/json alone would take
//     "STATE" for "state".
//   - Writing takes a member from Raw, unless its field was changed since: then
//     the field counts. A field that is zero and was not in Raw is left out.
//
// So Raw["labels_ids"] tells a missing member from a null from an empty list,
// and a member set in Raw is written even if it has no field.
type Object map[string]json.RawMessage

// readObject decodes a JSON object into the struct that target points to. Only
// what is no object is an error. Null leaves the target alone, as encoding/json
// has it.
func readObject(data []byte, target any) error {
	var raw Object
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("read object: %w", err)
	}
	if raw == nil {
		return nil
	}
	v := reflect.ValueOf(target).Elem()
	for i := range v.NumField() {
		if name := memberName(v.Type().Field(i)); name != "" {
			v.Field(i).Set(readMember(raw[name], v.Field(i).Type()))
		}
	}
	v.FieldByName("Raw").Set(reflect.ValueOf(raw))
	return nil
}

// writeObject encodes the struct source, its Raw and its fields, as one object.
func writeObject(source any) ([]byte, error) {
	v := reflect.ValueOf(source)
	raw := v.FieldByName("Raw").Interface().(Object)
	members := make(Object, len(raw)+v.NumField())
	for name, value := range raw {
		members[name] = value
	}
	for i := range v.NumField() {
		name := memberName(v.Type().Field(i))
		if name == "" {
			continue
		}
		field := v.Field(i)
		asRead := readMember(raw[name], field.Type())
		if reflect.DeepEqual(field.Interface(), asRead.Interface()) {
			continue
		}
		value, err := json.Marshal(field.Interface())
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		members[name] = value
	}
	return json.Marshal(members)
}

// memberName is the JSON name of a field, or "" for one that is no member.
func memberName(field reflect.StructField) string { return field.Tag.Get("json") }

// readMember returns the field that a member's value makes: zero when there is
// no such member or when its JSON type is another. What decodes only in part is
// zero, too: half a list would look like a whole one.
func readMember(value json.RawMessage, t reflect.Type) reflect.Value {
	field := reflect.New(t)
	if value == nil || json.Unmarshal(value, field.Interface()) != nil {
		return reflect.Zero(t)
	}
	return field.Elem()
}

// readObjects decodes a payload: one object, or an array of objects.
func readObjects[T any](payload json.RawMessage) ([]T, error) {
	if len(payload) == 0 {
		return nil, errors.New("no payload")
	}
	var values []json.RawMessage
	if payload[0] != '[' {
		values = []json.RawMessage{payload}
	} else if err := json.Unmarshal(payload, &values); err != nil {
		return nil, fmt.Errorf("read payload: %w", err)
	}
	objects := make([]T, len(values))
	for i, value := range values {
		if len(value) == 0 || value[0] != '{' {
			return nil, fmt.Errorf("payload object %d is not an object", i)
		}
		if err := json.Unmarshal(value, &objects[i]); err != nil {
			return nil, fmt.Errorf("read payload object %d: %w", i, err)
		}
	}
	return objects, nil
}
