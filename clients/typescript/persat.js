// Functions for consumers of persat-bridge; their types are in persat.d.ts.
// Nothing but Node's own modules is needed.

import { createHash } from "node:crypto";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const maxTokenBytes = 128;

export function readHeaders(headers) {
  const get = (name) => headers?.get(name) || undefined;
  const text = (name) => decodeHeaderValue(get(name) ?? "");
  if (get("ce-id") === undefined) {
    throw new Error("read headers: no ce-id: the message was not published by persat-bridge");
  }
  return {
    id: text("ce-id"),
    source: text("ce-source"),
    type: text("ce-type"),
    time: text("ce-time"),
    subject: get("ce-subject") === undefined ? undefined : text("ce-subject"),
    replay: Number(get("Persat-Replay") ?? 0),
    messageId: get("Nats-Msg-Id") ?? "",
    traceparent: get("traceparent"),
  };
}

export function decodeHeaderValue(value) {
  return value.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) =>
    decoder.decode(Uint8Array.from(run.slice(1).split("%"), (digits) => parseInt(digits, 16))));
}

export function subjectToken(entities) {
  if (entities.length > 1) return "~many";
  if (entities.length === 0 || entities[0] === "") return "~none";
  const bytes = encoder.encode(entities[0]);
  let token = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    token += /[A-Za-z0-9_-]/.test(character) ? character : "%" + byte.toString(16).toUpperCase().padStart(2, "0");
  }
  if (token.length <= maxTokenBytes) return token;
  return "~" + createHash("sha256").update(bytes).digest("hex").slice(0, 32);
}

export function entityOf(token) {
  if (token.length > maxTokenBytes || !/^(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+$/.test(token)) return undefined;
  const entity = decodeHeaderValue(token);
  return subjectToken([entity]) === token ? entity : undefined;
}

export function objects(payload) {
  return Array.isArray(payload) ? payload : [payload];
}
