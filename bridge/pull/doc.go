// Package pull fetches from the sender's polling endpoint: events that a webhook
// could not deliver, and all events of a company without a public address.
//
// # The promise
//
// The position moves past an item only after Acceptor.AcceptAll has returned for
// it without an error, so everything before the position is on disk, fsynced. A
// crash at any point fetches some items again, and their ids make them duplicates;
// no item is skipped. Items are accepted in the order of the endpoint, which is the
// order in which the sender sent them.
//
// The failure points, in order:
//
//   - Before a page is whole (cut connection, malformed JSON, too large): nothing
//     was accepted, and the page is fetched again; one that was too large, in parts.
//   - While the page is accepted: what is on disk is a duplicate next time.
//   - Behind the last item, before the position is written: the whole page is
//     fetched again.
//   - The position is written and its sync is lost with the power: as above. The
//     journal syncs it with the next event, or within a second.
//   - The endpoint no longer knows the position's iterator: pulling goes on from
//     the time of the last item, less a minute.
//
// What this package cannot bring back: items that the endpoint has dropped (a
// sender keeps them 5 to 90 days), and items from before the endpoint was made.
//
// # The endpoint
//
// The API is Svix's (documented): GET with iterator, limit and after, a Bearer
// token, and {"data":[{"id","eventType","payload","timestamp"}],"iterator","done"}.
// That Persat's portal offers it is inferred. An item is a delivery like any
// other: its id is the item's, which a webhook carries as svix-id, and its body is
// {"eventType":…,"payload":…} with both values byte for byte as the endpoint wrote
// them. A webhook carries the same event in other bytes, so if either of
// the two was pulled, the id alone decides whether they are one event.
//
// # Failures
//
// A failure that only an operator can repair (the token is refused, the endpoint
// has moved, the certificate does not verify, the answer is no page) and a failure
// that passes (429, 5xx, no connection) both end in another fetch, as Retry-After
// says, else after at most a minute. Each is logged when it begins and
// when it ends. A full journal holds the page back, and the endpoint keeps the rest.
// The token stands in no log, error or status.
package pull
