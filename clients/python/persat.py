"""Types and functions for consumers of persat-bridge; standard library only.

A message's data is the body of Persat's request:

    event: PersatEvent = json.loads(message.data)
    if event["eventType"] == "workorder.closed":
        for order in objects(event["payload"]):
            print(order["_id"], order.get("state"))

A member can be missing: take it with get. An event of a type that is not here may
come at any time: leave it alone, and never fail on it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Dict, List, Literal, Mapping, NamedTuple, Optional, Sequence, TypedDict, TypeVar, Union, overload
from urllib.parse import unquote

T = TypeVar("T", bound=Mapping[str, object])

MAX_TOKEN_BYTES = 128


class EventHeaders(NamedTuple):
    """What the headers of a message say."""

    #: The delivery id, the same for every repeat and replay: remember it, with
    #: source, to be idempotent.
    id: str
    #: "/persat/" and the source of the bridge's configuration.
    source: str
    #: The event type.
    type: str
    #: When the bridge accepted the event, RFC 3339 in UTC. When it happened is not
    #: known.
    time: str
    #: The identity of the entity, when the event is about exactly one.
    subject: Optional[str]
    #: The number of the replay that the message is of; 0 for the first.
    replay: int
    #: Nats-Msg-Id, by which JetStream drops repeats: another one for a replay.
    message_id: str
    #: The W3C trace context, when there is one.
    traceparent: Optional[str]


def read_headers(headers: Optional[Mapping[str, str]]) -> EventHeaders:
    """Read the headers of a message, such as msg.headers of nats-py.

    Raises ValueError when the bridge did not publish the message.
    """
    values = headers or {}
    if not values.get("ce-id"):
        raise ValueError("read headers: no ce-id: the message was not published by persat-bridge")

    def text(name: str) -> str:
        return decode_header_value(values.get(name, ""))

    return EventHeaders(
        id=text("ce-id"),
        source=text("ce-source"),
        type=text("ce-type"),
        time=text("ce-time"),
        subject=text("ce-subject") if values.get("ce-subject") else None,
        replay=int(values.get("Persat-Replay", "0")),
        message_id=values.get("Nats-Msg-Id", ""),
        traceparent=values.get("traceparent"),
    )


def decode_header_value(value: str) -> str:
    """Decode the value of a CloudEvents header: one round of percent-decoding."""
    return unquote(value, errors="replace")


def subject_token(entities: Sequence[str]) -> str:
    """Return the last token of the subject of an event about entities.

    For a source with subject: entity. Every byte outside [A-Za-z0-9_-] is written as
    %XX; the token of several identities is "~many", of none "~none", and of a long one
    "~" and a hash.
    """
    if len(entities) > 1:
        return "~many"
    if not entities or not entities[0]:
        return "~none"
    # JSON can hold half of a surrogate pair, which has no UTF-8.
    data = re.sub("[\ud800-\udfff]", "\ufffd", entities[0]).encode()
    token = "".join(chr(b) if re.match("[A-Za-z0-9_-]", chr(b)) else f"%{b:02X}" for b in data)
    if len(token) <= MAX_TOKEN_BYTES:
        return token
    return "~" + hashlib.sha256(data).hexdigest()[:32]


def entity_of(token: str) -> Optional[str]:
    """Return the identity that a subject's token stands for; None when it does not tell."""
    if len(token) > MAX_TOKEN_BYTES or not re.fullmatch("(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+", token):
        return None
    entity = decode_header_value(token)
    return entity if subject_token([entity]) == token else None


@overload
def objects(payload: List[T]) -> List[T]:
    ...


@overload
def objects(payload: T) -> List[T]:
    ...


def objects(payload: Union[T, List[T]]) -> List[T]:
    """Return the objects of a payload, which is one object or a list of them."""
    return payload if isinstance(payload, list) else [payload]


# Generated from here on: go test ./bridge/persat/schema -update

#: An identity or a number that refers to something: 48 and "48" are the same.
ID = Union[str, float]

#: A time as Persat wrote it. The Z cannot be believed everywhere: each member tells.
Timestamp = str

#: The answers of a form, by keys of one version of its template. Values are strings, numbers or
#: arrays.
FormValues = Dict[str, object]


#: A field that the company added to its clients. Inferred, as `company_description` of a client
#: is.
class CustomField(TypedDict, total=False):
    #: `name` is its label. Example: "Notas"
    name: str
    #: `value` is what was filled in; the documentation shows strings alone. Example: ""
    value: str


#: The payload of a client event: a customer of the company that uses Persat, and a place on its
#: map. No event is sent when a client is updated or deleted through Persat's API (documented):
#: a copy that follows the events alone goes stale. A deletion carries `uid_client` and nothing
#: else, not even a time (documented); two deletions of a client that was made anew between them
#: have the same body.
class Client(TypedDict, total=False):
    #: `uid_client` is the identity, chosen by who made the client. Documented for the updated
    #: and deleted events, inferred for created. Example: "CLA-99832"
    uid_client: ID
    #: `company_name` is the name. Documented. Example: "Ferretería Núñez Hnos. S.R.L."
    company_name: str
    #: `company_description` is free text. Inferred: it is in the API's answer for a client, and
    #: an update carries the whole client. Example: "Ferretería industrial, atiende de 8 a 17
    #: h"
    company_description: str
    #: `type_id` refers to a list that only the API has. Documented. Example: 2
    type_id: ID
    #: `group_id` refers to a list that only the API has. Documented. Example: 3
    group_id: ID
    #: `latitude` is in degrees, north of the equator. Documented; the datum is not. Unit:
    #: degrees. Example: -34.72056
    latitude: float
    #: `longitude` is in degrees, east of Greenwich. Documented; the datum is not. Unit:
    #: degrees. Example: -58.47391
    longitude: float
    #: `street` is the address without its number. Inferred, as `company_description` is.
    #: Example: "Av. Hipólito Yrigoyen"
    street: str
    #: `street_nbr` is the number of the house. Inferred, as `company_description` is. Example:
    #: "9214"
    street_nbr: str
    #: `neighborhood` is the quarter of the city. Inferred, as `company_description` is.
    #: Example: "Lomas de Zamora Centro"
    neighborhood: str
    #: `city` is the city of the address. Inferred, as `company_description` is. Example: "Lomas
    #: de Zamora"
    city: str
    #: `country` is the country of the address. Inferred, as `company_description` is. Example:
    #: "Argentina"
    country: str
    #: `last_updated` is the time of the change. Documented for updates, inferred for created;
    #: whether in UTC or local time is unknown. Example: "2024-02-08T13:04:17.000Z"
    last_updated: Timestamp
    #: `custom_fields` are the fields that the company added, by number. Inferred, as
    #: `company_description` is.
    custom_fields: Dict[str, CustomField]


#: The client as another object mentions it. Documented.
class ClientRef(TypedDict, total=False):
    #: `uid_client` is the client's identity, the one of the client events: join on it.
    #: Documented. Example: "30709397423"
    uid_client: ID
    #: `id` is Persat's internal number. Documented; no client event is known to carry it.
    #: Example: 22356
    id: ID
    #: `name` is the company's name when the object was written. Documented. Example: "Almacén
    #: Doña Beba"
    name: str


#: Who takes a delivery in. Documented. It is a person: think before you log it.
class Contact(TypedDict, total=False):
    #: `name` is free text and can be empty. Documented. Example: "Beatriz Muñoz"
    name: str
    #: `phone` is free text and can be empty. Documented. Example: "11 5555-0187"
    phone: str
    #: `email` is free text and can be empty. Documented. Example: "bmunoz@example.com"
    email: str


#: A place in words. Documented.
class Address(TypedDict, total=False):
    #: `clean` is the address as a map service takes it. Documented; the meaning is inferred
    #: from the name. Example: "Av. Rivadavia 6820, Flores, CABA, Argentina"
    clean: str
    #: `extra_info` is what else the driver has to know. Documented; the meaning is inferred
    #: from the name. Example: "Portón verde, entregar por el garaje"
    extra_info: str


#: Where a delivery goes. Documented.
class Position(TypedDict, total=False):
    #: `address` is the place in words. Documented.
    address: Address
    #: `location` is longitude, then latitude, in degrees: the other way round than in a Client.
    #: Absent when it is unknown. Documented. Unit: degrees. Example: [-58.46317,-34.62998]
    location: List[float]


#: One change of a delivery's results. Documented.
class LogEntry(TypedDict, total=False):
    #: `user_name` is the user's login. Documented. Example: "chofer.sur@example.com"
    user_name: str
    #: `user_id` is the user's number. Documented. Example: 31
    user_id: ID
    #: `date` is when. Documented; whether in UTC or local time is unknown. Example:
    #: "2024-02-12T11:42:08.000Z"
    date: Timestamp


#: What the driver reports. Documented.
class DeliveryResults(TypedDict, total=False):
    #: `formvalues` are the filled-in results. Documented.
    formvalues: FormValues
    #: `log` tells who wrote results, and when. Documented.
    log: List[LogEntry]


#: What goes where, and the outcome. Documented.
class DeliveryData(TypedDict, total=False):
    #: `schema_id` is the template of its forms; only the API has it. Documented. Example: 118
    schema_id: ID
    #: `service_time` is the time needed at the door. Documented; in minutes is inferred from
    #: work orders. Unit: minutes. Example: 10
    service_time: float
    #: `wt` is from when to when the goods are taken in. Documented as a pair; in minutes after
    #: local midnight is inferred from the other times of day. Unit: minutes after midnight.
    #: Example: [480,780]
    wt: List[float]
    #: `capacity` is how much of the vehicle it takes. Documented; its unit and JSON type are
    #: unknown. Example: 3
    capacity: object
    #: `contact` is who takes it in. Documented.
    contact: Contact
    #: `position` is where. Documented.
    position: Position
    #: `instructions` are for the driver. Documented, and other than in a work order directly
    #: here, without an object between.
    instructions: FormValues
    #: `results` are the driver's; absent until there are any. Documented.
    results: DeliveryResults


#: The vehicle that a route was given to. Documented.
class DeviceAssignation(TypedDict, total=False):
    #: `assigned_date` is the day, as its midnight. Documented; that it has no zone although it
    #: ends in Z is inferred from work orders. Example: "2024-02-12T00:00:00.000Z"
    assigned_date: Timestamp
    #: `device_id` is the number of the vehicle's device; no event tells of devices. Documented.
    #: Example: 14
    device_id: ID
    #: `device_name` is the device's name, often a number plate. Documented. Example: "AA123ZZ"
    device_name: str


#: The payload of a delivery event (entrega): goods for one address. No event is sent when a
#: delivery is updated (no such page). A deletion is one event for many deliveries, always an
#: array of trimmed ones, without a time of deletion (documented). Whether a creation is an
#: object or an array is unknown.
class Delivery(TypedDict, total=False):
    #: `_id` is the identity. Who makes a delivery through the API chooses it, so it can hold
    #: any characters. Documented for deletions, inferred elsewhere. Example: "JGBG41276"
    _id: ID
    #: `state` is where it stands. Documented. Example: "PENDING"
    state: str
    #: `created` is when it was made. Documented; whether in UTC or local time is unknown.
    #: Example: "2024-02-09T21:19:25.316Z"
    created: Timestamp
    #: `source_tag` tells where it came from. Documented as optional, its values are not.
    #: Example: "EXCEL"
    source_tag: str
    #: `labels_ids` refer to labels, of which no event tells. Documented. Example: [4,11]
    labels_ids: List[ID]
    #: `due_date` is when it has to be there. Documented; that it is a day without a zone, as in
    #: work orders, is inferred. Example: "2024-02-12T00:00:00.000Z"
    due_date: Timestamp
    #: `client` is for whom; absent when for nobody in the list of clients. Documented.
    client: ClientRef
    #: `delivery_data` is what goes where, and the outcome. Documented.
    delivery_data: DeliveryData
    #: `assignation_info` is the vehicle that takes it; absent before. Documented; what is in it
    #: is inferred from delivery routes.
    assignation_info: DeviceAssignation


#: Where and when a route sets off. Documented.
class Departure(TypedDict, total=False):
    #: `name` is the name of the place. Documented. Example: "Depósito Avellaneda"
    name: str
    #: `planned_departure_time` is in minutes after midnight of the assigned day. Documented as
    #: a number, 480 in the example; the unit is inferred. Unit: minutes after midnight.
    #: Example: 480
    planned_departure_time: float


#: A delivery as its route mentions it. It is no entity of a route event: such an event is
#: ordered among the events of its route, not among those of its deliveries.
class Stop(TypedDict, total=False):
    #: `_id` is the delivery's identity. Documented. Example: "JGBG41276"
    _id: ID
    #: `state` is where the delivery stood. Documented. Example: "ASSIGNED"
    state: str
    #: `planned_arrival_time` is in minutes after midnight of the assigned day. Documented as a
    #: number; the unit is inferred. Unit: minutes after midnight. Example: 489
    planned_arrival_time: float


#: The payload of a delivery route event (ruta): the stops of one vehicle on one day. Such
#: events exist only in Persat's deliveries module (documented). Whether a payload is an object
#: or an array is unknown. The event of a cancelled route is announced in the documentation, its
#: type and payload are not.
class Route(TypedDict, total=False):
    #: `_id` is the identity, a number: the milliseconds since 1970 at which the route was made.
    #: Inferred. Example: 1707684808389
    _id: ID
    #: `assignation_info` is the vehicle and the day. Documented.
    assignation_info: DeviceAssignation
    #: `departure` is where and when it sets off. Documented. Example: {"name":"Depósito
    #: Avellaneda","planned_departure_time":480}
    departure: Departure
    #: `deliveries` are its deliveries, in the order of the drive. Documented; that order is
    #: inferred from their planned arrival times.
    deliveries: List[Stop]


#: The answers of a form. Documented.
class FormResults(TypedDict, total=False):
    #: `last_updated` is when they last changed. Documented; whether in UTC or local time is
    #: unknown. Example: "2024-02-08T13:12:09.000Z"
    last_updated: Timestamp
    #: `formvalues` are the answers. Documented.
    formvalues: FormValues


#: What was filled in. Documented.
class FormData(TypedDict, total=False):
    #: `schema_id` is the form's template; only the API has it. Documented. Example: 77
    schema_id: ID
    #: `results` are the answers. Documented.
    results: FormResults


#: A state that the company defined for its forms. Documented.
class FormState(TypedDict, total=False):
    #: `id` is the state's number. Documented. Example: 3
    id: ID
    #: `name` is the state's label. Documented. Example: "Pendiente de revisión"
    name: str
    #: `color` is how the web shows the state. Documented. Example: "#F2A900"
    color: str
    #: `deleted` says that the state is no longer offered. Documented; the meaning is inferred
    #: from the name. Example: false
    deleted: bool


#: The payload of a form event (formulario): a digital form that someone filled in. Its shape is
#: documented for the API; that form events carry it is inferred. Their types are unknown. No
#: event is sent when a form is deleted (no such page).
class Form(TypedDict, total=False):
    #: `_id` is the identity. Documented as a string for the API. Example: "65c4f1d2a7"
    _id: ID
    #: `created` is when it was filled in. Documented; whether in UTC or local time is unknown.
    #: Example: "2024-02-08T13:05:41.000Z"
    created: Timestamp
    #: `created_by_user_name` is who filled it in, as a login. Documented. Example:
    #: "tecnico.sur@example.com"
    created_by_user_name: str
    #: `created_by_user_id` is that user's number. Documented. Example: 31
    created_by_user_id: ID
    #: `client` is whom it is about. Documented.
    client: ClientRef
    #: `df_data` is what was filled in. Documented.
    df_data: FormData
    #: `state` is where it stands: an object, other than in work orders and deliveries.
    #: Documented.
    state: FormState


#: What the technician is told. Documented.
class WorkOrderInstructions(TypedDict, total=False):
    #: `formvalues` are the filled-in instructions. Documented.
    formvalues: FormValues


#: What was noted at the closing of a work order. Documented.
class ClosingInfo(TypedDict, total=False):
    #: `cause` is free text. Documented. Example: "Conforme del cliente, sin observaciones"
    cause: str


#: What the technician reports. Documented.
class WorkOrderResults(TypedDict, total=False):
    #: `last_updated` is when the results last changed. Documented; whether in UTC or, like
    #: `created` of a work order, in local time is unknown. It is no closing time: there is
    #: none. Example: "2024-02-09T12:33:06.000Z"
    last_updated: Timestamp
    #: `formvalues` are the filled-in results. Documented.
    formvalues: FormValues
    #: `closing_info` is why it was closed; absent before. Documented. Example:
    #: {"cause":"Conforme del cliente, sin observaciones"}
    closing_info: ClosingInfo


#: The job of a work order and its outcome. Documented.
class WorkOrderData(TypedDict, total=False):
    #: `schema_id` is the template of its forms; only the API has it. Documented. Example: 452
    schema_id: ID
    #: `wo_rule_id` is the rule of a repetitive work order, empty for any other. Documented;
    #: that it is a string or a number is inferred. Example: null
    wo_rule_id: Union[ID, None]
    #: `wo_instance` is which repetition this is, empty for any other work order. Documented;
    #: that it is a string or a number is inferred. Example: null
    wo_instance: Union[ID, None]
    #: `service_time` is the time it should take, in minutes. Documented. Unit: minutes.
    #: Example: 45
    service_time: float
    #: `instructions` are for the technician; absent when there are none. Documented.
    instructions: WorkOrderInstructions
    #: `results` are the technician's; absent until there are any. Documented.
    results: WorkOrderResults


#: A technician of a work order. Documented.
class Responsible(TypedDict, total=False):
    #: `user_id` is the user's number; no event tells of users. Documented. Example: 28
    user_id: ID
    #: `user_name` is the user's login. Documented. Example: "tecnico.norte@example.com"
    user_name: str


#: When a work order is to be done, and by whom. Documented.
class WorkOrderAssignation(TypedDict, total=False):
    #: `date` is the day, as its midnight, without a zone although it ends in Z. Documented.
    #: Example: "2024-02-09T00:00:00.000Z"
    date: Timestamp
    #: `starts_min` is the start in minutes after midnight of that day. Documented as minutes;
    #: from local midnight is inferred. Unit: minutes after midnight. Example: 480
    starts_min: float
    #: `responsibles_required` is how many technicians it takes. Documented. Unit: technicians.
    #: Example: 1
    responsibles_required: float
    #: `responsibles` are the technicians. Documented. Example:
    #: [{"user_id":28,"user_name":"tecnico.norte@example.com"}]
    responsibles: List[Responsible]


#: The payload of a work order event (orden de trabajo, OT): a job for a technician at a
#: client's place. Each event carries all of it (documented for closed, inferred for the
#: others); which members it has varies with its state. No event is sent when a work order is
#: cancelled, overdue or deleted (no such page), or closed through the API (documented). The
#: first event of a work order need not be its creation: an instance of a repetitive one is
#: announced at its first change, or at its completion when nothing was changed before
#: (documented).
class WorkOrder(TypedDict, total=False):
    #: `_id` is the identity, a string of digits such as "48". Documented. Example: "48"
    _id: ID
    #: `note_id` is an internal number, of no use outside Persat. Documented. Example: 23393
    note_id: ID
    #: `state` is where it stands. Documented. Example: "PENDIENTE"
    state: str
    #: `created` is the local time at which it was made, although it ends in Z. Documented.
    #: Example: "2024-02-07T18:52:00.000Z"
    created: Timestamp
    #: `created_by_user_name` is who made it, as a login. Documented. Example:
    #: "mesa.de.ayuda@example.com"
    created_by_user_name: str
    #: `created_by_user_id` is that user's number; -1 when it was made through the API.
    #: Documented. Example: 24
    created_by_user_id: ID
    #: `labels_ids` refer to labels, of which no event tells. Documented. Example: [4]
    labels_ids: List[ID]
    #: `client` is for whom. Documented.
    client: ClientRef
    #: `wo_data` is the job and its outcome. Documented.
    wo_data: WorkOrderData
    #: `assignation_info` is when and by whom; absent until it is planned. Documented.
    assignation_info: WorkOrderAssignation


#: Client created. A client is made by hand or by a CSV import. An import is one event for each
#: client, thousands at once. Payload: object, which is inferred.
class ClientCreated(TypedDict):
    eventType: Literal["client.created"]
    payload: Union[Client, List[Client]]


#: Client updated. A client is changed on the web, by the importer or in the Android app. Silent
#: when the change comes through the API. Carries the whole client.
class ClientUpdated(TypedDict):
    eventType: Literal["client.updated"]
    payload: Client


#: Client deleted. A client is deleted on the web or in the Android app. Silent when the
#: deletion comes through the API. Carries `uid_client` and nothing else, so two deletions of a
#: client that was made anew between them have equal bodies.
class ClientDeleted(TypedDict):
    eventType: Literal["client.deleted"]
    payload: Client


#: Delivery created. A delivery is made by hand or by an Excel import. Who makes a delivery
#: through the API chooses its id: any characters. Payload: object or array, which is inferred.
class DeliveryCreated(TypedDict):
    eventType: Literal["delivery.created"]
    payload: Union[Delivery, List[Delivery]]


#: Delivery finished. The driver completes the result. Payload: object or array, which is
#: inferred.
class DeliveryFinished(TypedDict):
    eventType: Literal["delivery.finished"]
    payload: Union[Delivery, List[Delivery]]


#: Deliveries deleted. Deliveries are deleted on the web, in bulk or through the API. One event
#: for many deliveries, always an array, of trimmed deliveries. No time of deletion.
class DeliveryDeleted(TypedDict):
    eventType: Literal["delivery.deleted"]
    payload: List[Delivery]


#: Delivery route assigned to a device. A route is assigned to a device. With the deliveries
#: module only. Payload: object or array, which is inferred.
class RouteAssigned(TypedDict):
    eventType: Literal["deliveryRoute.assigned"]
    payload: Union[Route, List[Route]]


#: Assigned delivery route updated. An assigned route is changed. With the deliveries module
#: only. Payload: object or array, which is inferred.
class RouteUpdated(TypedDict):
    eventType: Literal["deliveryRoute.updated"]
    payload: Union[Route, List[Route]]


#: Assigned delivery route cancelled (name assumed: it may arrive under another). An assigned
#: route is cancelled. With the deliveries module only. Payload: object or array, which is
#: inferred.
class RouteCancelled(TypedDict):
    eventType: Literal["deliveryRoute.cancelled"]
    payload: Union[Route, List[Route]]


#: Form created (name assumed: it may arrive under another). A digital form is filled in. The
#: type may begin with another word, such as `digitalForm`. Payload: object or array, which is
#: inferred.
class FormCreated(TypedDict):
    eventType: Literal["form.created"]
    payload: Union[Form, List[Form]]


#: Form updated (name assumed: it may arrive under another). A digital form is changed. Payload:
#: object or array, which is inferred.
class FormUpdated(TypedDict):
    eventType: Literal["form.updated"]
    payload: Union[Form, List[Form]]


#: State of a form updated (name assumed: it may arrive under another). The state of a digital
#: form is changed. The state is an object, and the company defines its values. Payload: object
#: or array, which is inferred.
class FormStateUpdated(TypedDict):
    eventType: Literal["form.stateUpdated"]
    payload: Union[Form, List[Form]]


#: States of many forms updated (name assumed: it may arrive under another). The state of many
#: digital forms is changed at once. One event for many forms, plausibly an array. Payload:
#: array, which is inferred.
class FormStatesUpdated(TypedDict):
    eventType: Literal["form.statesUpdated"]
    payload: Union[Form, List[Form]]


#: Work order created. A new work order. An instance of a repetitive work order fires only when
#: it is first changed, and never when it is completed before that. Its members vary with the
#: state.
class WorkOrderCreated(TypedDict):
    eventType: Literal["workorder.created"]
    payload: WorkOrder


#: Work order updated. A work order is changed. Payload: object, which is inferred.
class WorkOrderUpdated(TypedDict):
    eventType: Literal["workorder.updated"]
    payload: Union[WorkOrder, List[WorkOrder]]


#: Work order finished by the technician. The technician completes it. Can be the first event of
#: a work order. Payload: object, which is inferred.
class WorkOrderFinished(TypedDict):
    eventType: Literal["workorder.finished"]
    payload: Union[WorkOrder, List[WorkOrder]]


#: Work order closed from the web. A work order is closed on the web. Silent when it is closed
#: through the API. Carries the whole work order, but no time of closing.
class WorkOrderClosed(TypedDict):
    eventType: Literal["workorder.closed"]
    payload: WorkOrder


#: Every event of the catalogue; eventType tells which one it is.
PersatEvent = Union[ClientCreated, ClientUpdated, ClientDeleted, DeliveryCreated, DeliveryFinished, DeliveryDeleted, RouteAssigned, RouteUpdated, RouteCancelled, FormCreated, FormUpdated, FormStateUpdated, FormStatesUpdated, WorkOrderCreated, WorkOrderUpdated, WorkOrderFinished, WorkOrderClosed]
