// What the documents use of nats.js 3.4.0 (github.com/nats-io/nats.js, Apache-2.0), as its
// sources declare it: the packages are not among Debian's.

declare module "@nats-io/nats-core" {
  export interface MsgHdrs extends Iterable<[string, string[]]> {
    get(k: string, match?: string): string;
  }
  export interface NatsConnection {
    close(): Promise<void>;
  }
}

declare module "@nats-io/transport-node" {
  import type { NatsConnection } from "@nats-io/nats-core";
  export type NodeConnectionOptions = { servers?: string[] | string };
  export function connect(opts?: NodeConnectionOptions): Promise<NatsConnection>;
}

declare module "@nats-io/jetstream" {
  import type { MsgHdrs, NatsConnection } from "@nats-io/nats-core";
  export type JsMsg = {
    headers: MsgHdrs | undefined;
    subject: string;
    ack(): void;
    json<T>(): T;
    string(): string;
  };
  export interface Consumer {
    next(opts?: { expires?: number }): Promise<JsMsg | null>;
  }
  export interface Consumers {
    get(stream: string, name?: string): Promise<Consumer>;
  }
  export interface JetStreamClient {
    consumers: Consumers;
  }
  export function jetstream(nc: NatsConnection): JetStreamClient;
}

/** Node's, without all the rest of its types. */
declare const console: { log(...data: unknown[]): void };
