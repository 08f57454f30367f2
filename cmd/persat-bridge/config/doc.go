// Package config reads what the operator wants, and refuses what cannot be meant.
//
// # The promise
//
// A Config that Load returns is whole: every value is set, in its range, and
// fits the others; every file it names could be read, and a certificate fits its key.
// What is wrong is reported
// all at once, each Mistake with its key and with the line or the variable it
// came from, and then there is no Config: nothing starts half configured. A
// secret is in no message and in no print of a Config.
//
// Load looks at files only. It asks nothing of NATS and binds no address: that
// is what "persat-bridge check --connect" and the start itself find out.
//
// # Where a value comes from
//
// The later one wins:
//
//  1. the default, as in Default and in config.yaml at the root
//  2. the file
//  3. NATS_URL, NATS_CREDS, NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_NKEY,
//     NATS_CA, NATS_CERT, NATS_KEY and NATS_CONTEXT, as the nats command reads
//     them: NATS_USER without a password is a token. A context names a whole
//     connection, so it replaces all that the file says of one. NATS_JWT, NATS_SEED
//     and NATS_SOCKS_PROXY are not read, and a mistake where NATS is outside.
//  4. PERSAT_BRIDGE_ and the key's path in upper case, with _ for "." and "-":
//     PERSAT_BRIDGE_SOURCES_PERSAT_TOLERANCE. Lists are comma-separated, so a
//     secret with a comma in it belongs into a file. A source has to exist to be
//     set. Variables that begin like this and name no key are a Warning, but not
//     those that Kubernetes makes for a Service called persat-bridge.
//
// An empty variable counts as unset, everywhere; one that names a key is a Warning.
// What a variable replaces is not looked at, so a ${MISSING} below it does no harm. Of a value and its _file
// key the one from the later place wins; both from the same place is a mistake.
//
// # How a value is read
//
// A value of a variable, of a file that holds a secret and of the configuration is read
// in one way: a byte order mark, the newline at its end and the blanks around it are
// taken off; quotes around the whole, invisible characters and a path that begins with ~
// are mistakes. The entries of a list are read like a value each.
//
// # The file
//
// The file is one YAML document, and strict: unknown keys, keys written twice,
// aliases, merge keys and custom tags are mistakes. A section without keys is
// left at its defaults, a key without a value is a mistake.
//
// ${VAR} and ${VAR:-default} are replaced in values, after the YAML is parsed,
// so that no value can become YAML. The default reaches to the next }. $${ is a
// literal ${, and every other $ stands for itself.
//
// Relative paths are relative to the working directory, not to the file.
package config
