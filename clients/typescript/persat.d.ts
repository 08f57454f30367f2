// Types and functions for consumers of persat-bridge. A message's data is the body
// of Persat's request: const event: PersatEvent = JSON.parse(text). An event of a
// type that is not here may come at any time: leave it alone, and never fail on it.

/** What the headers of a message say. */
export interface EventHeaders {
  /** The delivery id, the same for every repeat and replay: remember it, with source, to be idempotent. */
  id: string;
  /** "/persat/" and the source of the bridge's configuration. */
  source: string;
  /** The event type. */
  type: string;
  /** When the bridge accepted the event, RFC 3339 in UTC. When it happened is not known. */
  time: string;
  /** The identity of the entity, when the event is about exactly one. */
  subject?: string | undefined;
  /** The number of the replay that the message is of; 0 for the first. */
  replay: number;
  /** Nats-Msg-Id, by which JetStream drops repeats: another one for a replay. */
  messageId: string;
  /** The W3C trace context, when there is one. */
  traceparent?: string | undefined;
}

/** Reads the headers of a message, such as msg.headers of nats.js; throws when the bridge did not publish it. */
export function readHeaders(headers: { get(name: string): string | null | undefined } | null | undefined): EventHeaders;

/** Decodes the value of a CloudEvents header: one round of percent-decoding. */
export function decodeHeaderValue(value: string): string;

/**
 * Returns the last token of the subject of an event about entities, for a source with subject: entity:
 * every byte outside [A-Za-z0-9_-] as %XX, "~many", "~none", or "~" and a hash for a long identity.
 */
export function subjectToken(entities: readonly string[]): string;

/** Returns the identity that a subject's token stands for; undefined when the token does not tell. */
export function entityOf(token: string): string | undefined;

/** Returns the objects of a payload, which is one object or an array of them. */
export function objects<T>(payload: T | readonly T[]): readonly T[];

// Generated from here on: go test ./bridge/persat/schema -update

/** An identity or a number that refers to something: 48 and "48" are the same. */
export type ID = string | number;

/** A time as Persat wrote it. The Z cannot be believed everywhere: each member tells. */
export type Timestamp = string;

/** The answers of a form, by keys of one version of its template. Values are strings, numbers or arrays. */
export type FormValues = Record<string, unknown>;

/** A field that the company added to its clients. Inferred, as `company_description` of a client is. */
export interface CustomField {
  /** `name` is its label. Example: "Notas" */
  name?: string;
  /** `value` is what was filled in; the documentation shows strings alone. Example: "" */
  value?: string;
}

/** The payload of a client event: a customer of the company that uses Persat, and a place on its map. No event is sent when a client is updated or deleted through Persat's API (documented): a copy that follows the events alone goes stale. A deletion carries `uid_client` and nothing else, not even a time (documented); two deletions of a client that was made anew between them have the same body. */
export interface Client {
  /** `uid_client` is the identity, chosen by who made the client. Documented for the updated and deleted events, inferred for created. Example: "CLA-99832" */
  uid_client?: ID;
  /** `company_name` is the name. Documented. Example: "Ferretería Núñez Hnos. S.R.L." */
  company_name?: string;
  /** `company_description` is free text. Inferred: it is in the API's answer for a client, and an update carries the whole client. Example: "Ferretería industrial, atiende de 8 a 17 h" */
  company_description?: string;
  /** `type_id` refers to a list that only the API has. Documented. Example: 2 */
  type_id?: ID;
  /** `group_id` refers to a list that only the API has. Documented. Example: 3 */
  group_id?: ID;
  /** `latitude` is in degrees, north of the equator. Documented; the datum is not. Unit: degrees. Example: -34.72056 */
  latitude?: number;
  /** `longitude` is in degrees, east of Greenwich. Documented; the datum is not. Unit: degrees. Example: -58.47391 */
  longitude?: number;
  /** `street` is the address without its number. Inferred, as `company_description` is. Example: "Av. Hipólito Yrigoyen" */
  street?: string;
  /** `street_nbr` is the number of the house. Inferred, as `company_description` is. Example: "9214" */
  street_nbr?: string;
  /** `neighborhood` is the quarter of the city. Inferred, as `company_description` is. Example: "Lomas de Zamora Centro" */
  neighborhood?: string;
  /** `city` is the city of the address. Inferred, as `company_description` is. Example: "Lomas de Zamora" */
  city?: string;
  /** `country` is the country of the address. Inferred, as `company_description` is. Example: "Argentina" */
  country?: string;
  /** `last_updated` is the time of the change. Documented for updates, inferred for created; whether in UTC or local time is unknown. Example: "2024-02-08T13:04:17.000Z" */
  last_updated?: Timestamp;
  /** `custom_fields` are the fields that the company added, by number. Inferred, as `company_description` is. */
  custom_fields?: Record<string, CustomField>;
}

/** The client as another object mentions it. Documented. */
export interface ClientRef {
  /** `uid_client` is the client's identity, the one of the client events: join on it. Documented. Example: "30709397423" */
  uid_client?: ID;
  /** `id` is Persat's internal number. Documented; no client event is known to carry it. Example: 22356 */
  id?: ID;
  /** `name` is the company's name when the object was written. Documented. Example: "Almacén Doña Beba" */
  name?: string;
}

/** Who takes a delivery in. Documented. It is a person: think before you log it. */
export interface Contact {
  /** `name` is free text and can be empty. Documented. Example: "Beatriz Muñoz" */
  name?: string;
  /** `phone` is free text and can be empty. Documented. Example: "11 5555-0187" */
  phone?: string;
  /** `email` is free text and can be empty. Documented. Example: "bmunoz@example.com" */
  email?: string;
}

/** A place in words. Documented. */
export interface Address {
  /** `clean` is the address as a map service takes it. Documented; the meaning is inferred from the name. Example: "Av. Rivadavia 6820, Flores, CABA, Argentina" */
  clean?: string;
  /** `extra_info` is what else the driver has to know. Documented; the meaning is inferred from the name. Example: "Portón verde, entregar por el garaje" */
  extra_info?: string;
}

/** Where a delivery goes. Documented. */
export interface Position {
  /** `address` is the place in words. Documented. */
  address?: Address;
  /** `location` is longitude, then latitude, in degrees: the other way round than in a Client. Absent when it is unknown. Documented. Unit: degrees. Example: [-58.46317,-34.62998] */
  location?: number[];
}

/** One change of a delivery's results. Documented. */
export interface LogEntry {
  /** `user_name` is the user's login. Documented. Example: "chofer.sur@example.com" */
  user_name?: string;
  /** `user_id` is the user's number. Documented. Example: 31 */
  user_id?: ID;
  /** `date` is when. Documented; whether in UTC or local time is unknown. Example: "2024-02-12T11:42:08.000Z" */
  date?: Timestamp;
}

/** What the driver reports. Documented. */
export interface DeliveryResults {
  /** `formvalues` are the filled-in results. Documented. */
  formvalues?: FormValues;
  /** `log` tells who wrote results, and when. Documented. */
  log?: LogEntry[];
}

/** What goes where, and the outcome. Documented. */
export interface DeliveryData {
  /** `schema_id` is the template of its forms; only the API has it. Documented. Example: 118 */
  schema_id?: ID;
  /** `service_time` is the time needed at the door. Documented; in minutes is inferred from work orders. Unit: minutes. Example: 10 */
  service_time?: number;
  /** `wt` is from when to when the goods are taken in. Documented as a pair; in minutes after local midnight is inferred from the other times of day. Unit: minutes after midnight. Example: [480,780] */
  wt?: number[];
  /** `capacity` is how much of the vehicle it takes. Documented; its unit and JSON type are unknown. Example: 3 */
  capacity?: unknown;
  /** `contact` is who takes it in. Documented. */
  contact?: Contact;
  /** `position` is where. Documented. */
  position?: Position;
  /** `instructions` are for the driver. Documented, and other than in a work order directly here, without an object between. */
  instructions?: FormValues;
  /** `results` are the driver's; absent until there are any. Documented. */
  results?: DeliveryResults;
}

/** The vehicle that a route was given to. Documented. */
export interface DeviceAssignation {
  /** `assigned_date` is the day, as its midnight. Documented; that it has no zone although it ends in Z is inferred from work orders. Example: "2024-02-12T00:00:00.000Z" */
  assigned_date?: Timestamp;
  /** `device_id` is the number of the vehicle's device; no event tells of devices. Documented. Example: 14 */
  device_id?: ID;
  /** `device_name` is the device's name, often a number plate. Documented. Example: "AA123ZZ" */
  device_name?: string;
}

/** The payload of a delivery event (entrega): goods for one address. No event is sent when a delivery is updated (no such page). A deletion is one event for many deliveries, always an array of trimmed ones, without a time of deletion (documented). Whether a creation is an object or an array is unknown. */
export interface Delivery {
  /** `_id` is the identity. Who makes a delivery through the API chooses it, so it can hold any characters. Documented for deletions, inferred elsewhere. Example: "JGBG41276" */
  _id?: ID;
  /** `state` is where it stands. Documented. Example: "PENDING" */
  state?: string;
  /** `created` is when it was made. Documented; whether in UTC or local time is unknown. Example: "2024-02-09T21:19:25.316Z" */
  created?: Timestamp;
  /** `source_tag` tells where it came from. Documented as optional, its values are not. Example: "EXCEL" */
  source_tag?: string;
  /** `labels_ids` refer to labels, of which no event tells. Documented. Example: [4,11] */
  labels_ids?: ID[];
  /** `due_date` is when it has to be there. Documented; that it is a day without a zone, as in work orders, is inferred. Example: "2024-02-12T00:00:00.000Z" */
  due_date?: Timestamp;
  /** `client` is for whom; absent when for nobody in the list of clients. Documented. */
  client?: ClientRef;
  /** `delivery_data` is what goes where, and the outcome. Documented. */
  delivery_data?: DeliveryData;
  /** `assignation_info` is the vehicle that takes it; absent before. Documented; what is in it is inferred from delivery routes. */
  assignation_info?: DeviceAssignation;
}

/** Where and when a route sets off. Documented. */
export interface Departure {
  /** `name` is the name of the place. Documented. Example: "Depósito Avellaneda" */
  name?: string;
  /** `planned_departure_time` is in minutes after midnight of the assigned day. Documented as a number, 480 in the example; the unit is inferred. Unit: minutes after midnight. Example: 480 */
  planned_departure_time?: number;
}

/** A delivery as its route mentions it. It is no entity of a route event: such an event is ordered among the events of its route, not among those of its deliveries. */
export interface Stop {
  /** `_id` is the delivery's identity. Documented. Example: "JGBG41276" */
  _id?: ID;
  /** `state` is where the delivery stood. Documented. Example: "ASSIGNED" */
  state?: string;
  /** `planned_arrival_time` is in minutes after midnight of the assigned day. Documented as a number; the unit is inferred. Unit: minutes after midnight. Example: 489 */
  planned_arrival_time?: number;
}

/** The payload of a delivery route event (ruta): the stops of one vehicle on one day. Such events exist only in Persat's deliveries module (documented). Whether a payload is an object or an array is unknown. The event of a cancelled route is announced in the documentation, its type and payload are not. */
export interface Route {
  /** `_id` is the identity, a number: the milliseconds since 1970 at which the route was made. Inferred. Example: 1707684808389 */
  _id?: ID;
  /** `assignation_info` is the vehicle and the day. Documented. */
  assignation_info?: DeviceAssignation;
  /** `departure` is where and when it sets off. Documented. Example: {"name":"Depósito Avellaneda","planned_departure_time":480} */
  departure?: Departure;
  /** `deliveries` are its deliveries, in the order of the drive. Documented; that order is inferred from their planned arrival times. */
  deliveries?: Stop[];
}

/** The answers of a form. Documented. */
export interface FormResults {
  /** `last_updated` is when they last changed. Documented; whether in UTC or local time is unknown. Example: "2024-02-08T13:12:09.000Z" */
  last_updated?: Timestamp;
  /** `formvalues` are the answers. Documented. */
  formvalues?: FormValues;
}

/** What was filled in. Documented. */
export interface FormData {
  /** `schema_id` is the form's template; only the API has it. Documented. Example: 77 */
  schema_id?: ID;
  /** `results` are the answers. Documented. */
  results?: FormResults;
}

/** A state that the company defined for its forms. Documented. */
export interface FormState {
  /** `id` is the state's number. Documented. Example: 3 */
  id?: ID;
  /** `name` is the state's label. Documented. Example: "Pendiente de revisión" */
  name?: string;
  /** `color` is how the web shows the state. Documented. Example: "#F2A900" */
  color?: string;
  /** `deleted` says that the state is no longer offered. Documented; the meaning is inferred from the name. Example: false */
  deleted?: boolean;
}

/** The payload of a form event (formulario): a digital form that someone filled in. Its shape is documented for the API; that form events carry it is inferred. Their types are unknown. No event is sent when a form is deleted (no such page). */
export interface Form {
  /** `_id` is the identity. Documented as a string for the API. Example: "65c4f1d2a7" */
  _id?: ID;
  /** `created` is when it was filled in. Documented; whether in UTC or local time is unknown. Example: "2024-02-08T13:05:41.000Z" */
  created?: Timestamp;
  /** `created_by_user_name` is who filled it in, as a login. Documented. Example: "tecnico.sur@example.com" */
  created_by_user_name?: string;
  /** `created_by_user_id` is that user's number. Documented. Example: 31 */
  created_by_user_id?: ID;
  /** `client` is whom it is about. Documented. */
  client?: ClientRef;
  /** `df_data` is what was filled in. Documented. */
  df_data?: FormData;
  /** `state` is where it stands: an object, other than in work orders and deliveries. Documented. */
  state?: FormState;
}

/** What the technician is told. Documented. */
export interface WorkOrderInstructions {
  /** `formvalues` are the filled-in instructions. Documented. */
  formvalues?: FormValues;
}

/** What was noted at the closing of a work order. Documented. */
export interface ClosingInfo {
  /** `cause` is free text. Documented. Example: "Conforme del cliente, sin observaciones" */
  cause?: string;
}

/** What the technician reports. Documented. */
export interface WorkOrderResults {
  /** `last_updated` is when the results last changed. Documented; whether in UTC or, like `created` of a work order, in local time is unknown. It is no closing time: there is none. Example: "2024-02-09T12:33:06.000Z" */
  last_updated?: Timestamp;
  /** `formvalues` are the filled-in results. Documented. */
  formvalues?: FormValues;
  /** `closing_info` is why it was closed; absent before. Documented. Example: {"cause":"Conforme del cliente, sin observaciones"} */
  closing_info?: ClosingInfo;
}

/** The job of a work order and its outcome. Documented. */
export interface WorkOrderData {
  /** `schema_id` is the template of its forms; only the API has it. Documented. Example: 452 */
  schema_id?: ID;
  /** `wo_rule_id` is the rule of a repetitive work order, empty for any other. Documented; that it is a string or a number is inferred. Example: null */
  wo_rule_id?: ID | null;
  /** `wo_instance` is which repetition this is, empty for any other work order. Documented; that it is a string or a number is inferred. Example: null */
  wo_instance?: ID | null;
  /** `service_time` is the time it should take, in minutes. Documented. Unit: minutes. Example: 45 */
  service_time?: number;
  /** `instructions` are for the technician; absent when there are none. Documented. */
  instructions?: WorkOrderInstructions;
  /** `results` are the technician's; absent until there are any. Documented. */
  results?: WorkOrderResults;
}

/** A technician of a work order. Documented. */
export interface Responsible {
  /** `user_id` is the user's number; no event tells of users. Documented. Example: 28 */
  user_id?: ID;
  /** `user_name` is the user's login. Documented. Example: "tecnico.norte@example.com" */
  user_name?: string;
}

/** When a work order is to be done, and by whom. Documented. */
export interface WorkOrderAssignation {
  /** `date` is the day, as its midnight, without a zone although it ends in Z. Documented. Example: "2024-02-09T00:00:00.000Z" */
  date?: Timestamp;
  /** `starts_min` is the start in minutes after midnight of that day. Documented as minutes; from local midnight is inferred. Unit: minutes after midnight. Example: 480 */
  starts_min?: number;
  /** `responsibles_required` is how many technicians it takes. Documented. Unit: technicians. Example: 1 */
  responsibles_required?: number;
  /** `responsibles` are the technicians. Documented. Example: [{"user_id":28,"user_name":"tecnico.norte@example.com"}] */
  responsibles?: Responsible[];
}

/** The payload of a work order event (orden de trabajo, OT): a job for a technician at a client's place. Each event carries all of it (documented for closed, inferred for the others); which members it has varies with its state. No event is sent when a work order is cancelled, overdue or deleted (no such page), or closed through the API (documented). The first event of a work order need not be its creation: an instance of a repetitive one is announced at its first change, or at its completion when nothing was changed before (documented). */
export interface WorkOrder {
  /** `_id` is the identity, a string of digits such as "48". Documented. Example: "48" */
  _id?: ID;
  /** `note_id` is an internal number, of no use outside Persat. Documented. Example: 23393 */
  note_id?: ID;
  /** `state` is where it stands. Documented. Example: "PENDIENTE" */
  state?: string;
  /** `created` is the local time at which it was made, although it ends in Z. Documented. Example: "2024-02-07T18:52:00.000Z" */
  created?: Timestamp;
  /** `created_by_user_name` is who made it, as a login. Documented. Example: "mesa.de.ayuda@example.com" */
  created_by_user_name?: string;
  /** `created_by_user_id` is that user's number; -1 when it was made through the API. Documented. Example: 24 */
  created_by_user_id?: ID;
  /** `labels_ids` refer to labels, of which no event tells. Documented. Example: [4] */
  labels_ids?: ID[];
  /** `client` is for whom. Documented. */
  client?: ClientRef;
  /** `wo_data` is the job and its outcome. Documented. */
  wo_data?: WorkOrderData;
  /** `assignation_info` is when and by whom; absent until it is planned. Documented. */
  assignation_info?: WorkOrderAssignation;
}

/** Client created. A client is made by hand or by a CSV import. An import is one event for each client, thousands at once. Payload: object, which is inferred. */
export interface ClientCreated {
  eventType: "client.created";
  payload: Client | Client[];
}

/** Client updated. A client is changed on the web, by the importer or in the Android app. Silent when the change comes through the API. Carries the whole client. */
export interface ClientUpdated {
  eventType: "client.updated";
  payload: Client;
}

/** Client deleted. A client is deleted on the web or in the Android app. Silent when the deletion comes through the API. Carries `uid_client` and nothing else, so two deletions of a client that was made anew between them have equal bodies. */
export interface ClientDeleted {
  eventType: "client.deleted";
  payload: Client;
}

/** Delivery created. A delivery is made by hand or by an Excel import. Who makes a delivery through the API chooses its id: any characters. Payload: object or array, which is inferred. */
export interface DeliveryCreated {
  eventType: "delivery.created";
  payload: Delivery | Delivery[];
}

/** Delivery finished. The driver completes the result. Payload: object or array, which is inferred. */
export interface DeliveryFinished {
  eventType: "delivery.finished";
  payload: Delivery | Delivery[];
}

/** Deliveries deleted. Deliveries are deleted on the web, in bulk or through the API. One event for many deliveries, always an array, of trimmed deliveries. No time of deletion. */
export interface DeliveryDeleted {
  eventType: "delivery.deleted";
  payload: Delivery[];
}

/** Delivery route assigned to a device. A route is assigned to a device. With the deliveries module only. Payload: object or array, which is inferred. */
export interface RouteAssigned {
  eventType: "deliveryRoute.assigned";
  payload: Route | Route[];
}

/** Assigned delivery route updated. An assigned route is changed. With the deliveries module only. Payload: object or array, which is inferred. */
export interface RouteUpdated {
  eventType: "deliveryRoute.updated";
  payload: Route | Route[];
}

/** Assigned delivery route cancelled (name assumed: it may arrive under another). An assigned route is cancelled. With the deliveries module only. Payload: object or array, which is inferred. */
export interface RouteCancelled {
  eventType: "deliveryRoute.cancelled";
  payload: Route | Route[];
}

/** Form created (name assumed: it may arrive under another). A digital form is filled in. The type may begin with another word, such as `digitalForm`. Payload: object or array, which is inferred. */
export interface FormCreated {
  eventType: "form.created";
  payload: Form | Form[];
}

/** Form updated (name assumed: it may arrive under another). A digital form is changed. Payload: object or array, which is inferred. */
export interface FormUpdated {
  eventType: "form.updated";
  payload: Form | Form[];
}

/** State of a form updated (name assumed: it may arrive under another). The state of a digital form is changed. The state is an object, and the company defines its values. Payload: object or array, which is inferred. */
export interface FormStateUpdated {
  eventType: "form.stateUpdated";
  payload: Form | Form[];
}

/** States of many forms updated (name assumed: it may arrive under another). The state of many digital forms is changed at once. One event for many forms, plausibly an array. Payload: array, which is inferred. */
export interface FormStatesUpdated {
  eventType: "form.statesUpdated";
  payload: Form | Form[];
}

/** Work order created. A new work order. An instance of a repetitive work order fires only when it is first changed, and never when it is completed before that. Its members vary with the state. */
export interface WorkOrderCreated {
  eventType: "workorder.created";
  payload: WorkOrder;
}

/** Work order updated. A work order is changed. Payload: object, which is inferred. */
export interface WorkOrderUpdated {
  eventType: "workorder.updated";
  payload: WorkOrder | WorkOrder[];
}

/** Work order finished by the technician. The technician completes it. Can be the first event of a work order. Payload: object, which is inferred. */
export interface WorkOrderFinished {
  eventType: "workorder.finished";
  payload: WorkOrder | WorkOrder[];
}

/** Work order closed from the web. A work order is closed on the web. Silent when it is closed through the API. Carries the whole work order, but no time of closing. */
export interface WorkOrderClosed {
  eventType: "workorder.closed";
  payload: WorkOrder;
}

/** Every event of the catalogue; eventType tells which one it is. */
export type PersatEvent = ClientCreated | ClientUpdated | ClientDeleted | DeliveryCreated | DeliveryFinished | DeliveryDeleted | RouteAssigned | RouteUpdated | RouteCancelled | FormCreated | FormUpdated | FormStateUpdated | FormStatesUpdated | WorkOrderCreated | WorkOrderUpdated | WorkOrderFinished | WorkOrderClosed;
