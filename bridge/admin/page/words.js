// The words of the page, in each language. A word that depends on a number is a
// function of the number and of its text.

const s = (n, one, many) => (n === 1 ? one : many);

export const words = {
  en: {
    title: 'Status',
    token_label: 'This bridge asks for its admin token (admin.token):',
    token_send: 'Open', token_wrong: 'That is not the token.',
    lost: (at) => `No answer from the bridge since ${at}. What is below is from before.`,
    looking: 'Asking the bridge…',

    accepting: 'Accepting', publishing: 'Accepting and publishing', refusing: 'Not accepting events',
    nats_away: (at) => `NATS away since ${at}`, nats_connecting: 'connecting to NATS',
    waiting: (n, t) => `${t} ${s(n, 'event', 'events')} waiting`, oldest: (at) => `the oldest since ${at}`,
    nothing_waiting: 'nothing waiting', held_some: (n, t) => `${t} held`, nothing_lost: 'nothing lost', stream_missing: 'the stream is missing', gone_some: (n, t) => `${t} ${s(n, 'event', 'events')} lost by the stream and no longer kept here`,
    dead_some: (n, t) => `${t} dead ${s(n, 'letter', 'letters')} to decide on`,
    advice_nats: 'Bring NATS back. Events are taken and wait on this disk; they go by themselves, in order, when it answers.',
    advice_reason: (r) => `Last attempt: ${r}.`,
    advice_refusing: (r) => `${r}. Senders get a 503 and repeat for more than a day, so nothing is lost yet.`,
    advice_stream: 'NATS does not find the stream, and the bridge does not create it again by itself: see the notice.',
    advice_held: 'Repair what is named under “Held”. Its events, and later ones of the same entities, wait and then go by themselves.',
    advice_dead: 'Look at each reason below. Replay what has been repaired, discard what nobody needs.',
    advice_behind: 'Publishing is slower than accepting. Look at the end-to-end latency and at the load of NATS.',

    waiting_tile: 'Waiting', oldest_tile: 'Oldest waiting', rate_tile: 'Accepted, last minute', dead_tile: 'Dead letters', held_tile: 'Held', journal_tile: 'Journal',
    of_limit: (used, limit) => `${used} of ${limit}`, no_limit: 'no limit', none: 'none', accepted_ever: (t) => `${t} since the journal began`, per_source: (name, t) => `${name}: ${t}`,

    notices: 'To know', held: 'Held', held_note: 'These types wait until something is repaired. They go by themselves afterwards.',
    stream_recreate: 'Recreate the stream…', ask_recreate: 'Create the stream again? What NATS may still have of it on disk is deleted.', yes_recreate: 'Recreate', recreating: 'The stream is created in a few seconds.',
    held_line: (t, n, at) => `${t} ${s(n, 'event', 'events')} since ${at}`,
    dead: 'Dead letters', dead_note: 'Kept until you decide. Replay publishes under a new message id.', dead_total: (n, t, shown) => (n > shown ? `${t}, the first ${shown} shown` : t),
    replay_one: 'Replay', discard_one: 'Discard', never: 'it can never be published', replay_all: 'Replay all', discard_all: 'Discard all',
    ask_replay: (n, t) => `Replay ${t} dead ${s(n, 'letter', 'letters')}? ${s(n, 'It is', 'They are')} published again now.`,
    ask_discard: (n, t) => `Discard ${t} dead ${s(n, 'letter', 'letters')}?`,
    ask_discard_again: (n, t) => `Really? ${s(n, 'This event', `These ${t} events`)} will never be published, and the body is gone for good.`,
    yes_replay: 'Replay', yes_discard: 'Discard', yes_discard_again: 'Discard for good', no: 'Cancel',
    replayed: (n, t) => `${t} ${s(n, 'dead letter is', 'dead letters are')} on the way again.`, discarded: (n, t) => `${t} ${s(n, 'dead letter', 'dead letters')} discarded.`,
    refused_some: (n, t) => `${t} cannot be published as ${s(n, 'it is', 'they are')} and ${s(n, 'stays', 'stay')}.`,

    flow: 'Events', per_minute: 'per minute', accepted: 'Accepted', published: 'Published', pending: 'Waiting', pending_chart: 'Waiting for NATS',
    accept_latency: 'Accept', accept_latency_note: 'request in to 2xx', publish_latency: 'End to end', publish_latency_note: 'accepted to stored in the stream', median: 'Median', p99: '99 %',

    events: 'Recent events', search: 'Search; exactly: entity:48, type:…', any_state: 'Any state', state_pending: 'waiting', state_published: 'published', state_dead: 'dead', state_discarded: 'discarded',
    older: 'Older', body: 'Body', close: 'Close', no_events: 'No events yet.', no_match: 'Nothing fits.', record: (n) => `record ${n}`, sequence: (n) => `stream ${n}`, replayed_mark: 'replayed',
    no_body: 'The body is no longer kept.', bytes: (t) => `${t} bytes`, attempts: (n, t) => `${t} ${s(n, 'attempt', 'attempts')}`, died: (at) => `dead since ${at}`,

    replay: 'Replay by time', replay_note: 'Publishes events again that the journal still keeps, for a stream made anew or a consumer that lost data. Consumers will see them twice.',
    since: 'Accepted since', until: 'until (empty: now)', type: 'Type', all_types: 'All types', replay_go: 'Count and replay…',
    ask_replay_time: (n, t) => `Publish ${t} ${s(n, 'event', 'events')} again?`, replay_nothing: 'No published event of that time is kept.',
    replay_running: (done, all) => `Replaying: ${done} of ${all}`, replay_done: (done, all, at) => `Last replay: ${done} of ${all} published, ended ${at}`,
    replay_failed: (t, r) => `${t} failed: ${r}`, replay_skipped: (t) => `${t} no longer kept`, cancel_replay: 'Stop this replay', replay_cancelled: 'No more events are taken.',

    stream: 'NATS and stream', server: 'NATS server', address: 'Address', connected: 'Connected since', cluster: 'Cluster', leader: 'leader', name: 'Stream', subjects: 'Subjects', messages: 'Messages', sequences: 'Sequences', storage: 'Storage', limits: 'Limits',
    replicas: (n) => `${n} ${s(n, 'replica', 'replicas')}`, unlimited: 'none', max_age: (t) => `age ${t}`, duplicates: 'Duplicate window', consumers: 'Consumers', created: 'Created', differences: 'Not as configured', full_discards: (t) => `when full, discards ${t}`, embedded: 'the embedded server',
    settings: {},
    types: 'Events by type', last_hour: 'Last hour', since_start: 'Since start', counted_since: (at) => `Counted since this process started, ${at}.`,
    refused: 'Refused requests', refused_none: 'None since this process started.', reason: 'Reason',
    log: 'Log level', log_note: 'Holds until the bridge restarts.',
    days: 'd', hours: 'h', minutes: 'min', seconds: 's', failed: (r) => `That did not work: ${r}`,
  },
  es: {
    title: 'Estado',
    token_label: 'Este puente pide su clave de administración (admin.token):',
    token_send: 'Entrar', token_wrong: 'Esa no es la clave.',
    lost: (at) => `El puente no responde desde las ${at}. Lo de abajo es de antes.`,
    looking: 'Consultando al puente…',

    accepting: 'Aceptando', publishing: 'Aceptando y publicando', refusing: 'No acepta eventos',
    nats_away: (at) => `NATS ausente desde las ${at}`, nats_connecting: 'conectando con NATS',
    waiting: (n, t) => `${t} ${s(n, 'evento', 'eventos')} en espera`, oldest: (at) => `el más antiguo desde las ${at}`,
    nothing_waiting: 'nada en espera', held_some: (n, t) => `${t} ${s(n, 'retenido', 'retenidos')}`, nothing_lost: 'nada perdido', stream_missing: 'falta el stream', gone_some: (n, t) => `${t} ${s(n, 'evento perdido', 'eventos perdidos')} por el stream que aquí ya no se ${s(n, 'guarda', 'guardan')}`,
    dead_some: (n, t) => `${t} ${s(n, 'evento muerto', 'eventos muertos')} por decidir`,
    advice_nats: 'Hay que levantar NATS. Los eventos se aceptan y esperan en este disco; salen solos, en orden, cuando responda.',
    advice_reason: (r) => `Último intento: ${r}.`,
    advice_refusing: (r) => `${r}. Los remitentes reciben 503 y repiten durante más de un día: todavía no se perdió nada.`,
    advice_stream: 'NATS no encuentra el stream, y el puente no lo vuelve a crear por sí mismo: ver el aviso.',
    advice_held: 'Hay que reparar lo que se nombra en «Retenidos». Esos eventos, y los siguientes de las mismas entidades, esperan y después salen solos.',
    advice_dead: 'Abajo está el motivo de cada uno. Publicar los que ya se repararon, descartar los que nadie necesita.',
    advice_behind: 'Se publica más lento de lo que se acepta. Conviene mirar la latencia total y la carga de NATS.',

    waiting_tile: 'En espera', oldest_tile: 'Espera más larga', rate_tile: 'Aceptados, último minuto', dead_tile: 'Eventos muertos', held_tile: 'Retenidos', journal_tile: 'Diario',
    of_limit: (used, limit) => `${used} de ${limit}`, no_limit: 'sin límite', none: 'ninguna', accepted_ever: (t) => `${t} desde que existe el diario`, per_source: (name, t) => `${name}: ${t}`,

    notices: 'Para saber', held: 'Retenidos', held_note: 'Estos tipos esperan hasta que se repare algo. Después salen solos.',
    stream_recreate: 'Volver a crear el stream…', ask_recreate: '¿Volver a crear el stream? Lo que NATS todavía tenga de él en disco se borra.', yes_recreate: 'Volver a crear', recreating: 'El stream se crea en unos segundos.',
    held_line: (t, n, at) => `${t} ${s(n, 'evento', 'eventos')} desde las ${at}`,
    dead: 'Eventos muertos', dead_note: 'Se guardan hasta que alguien decida. Publicar los envía a NATS con un nuevo id de mensaje.', dead_total: (n, t, shown) => (n > shown ? `${t}, se muestran los primeros ${shown}` : t),
    replay_one: 'Publicar', discard_one: 'Descartar', never: 'no se puede publicar nunca', replay_all: 'Publicar todos', discard_all: 'Descartar todos',
    ask_replay: (n, t) => `¿Publicar ${t} ${s(n, 'evento muerto', 'eventos muertos')}? Se ${s(n, 'intenta', 'intentan')} otra vez ahora.`,
    ask_discard: (n, t) => `¿Descartar ${t} ${s(n, 'evento muerto', 'eventos muertos')}?`,
    ask_discard_again: (n, t) => `¿Seguro? ${s(n, 'Este evento no se publicará', `Estos ${t} eventos no se publicarán`)} nunca, y el contenido se pierde para siempre.`,
    yes_replay: 'Publicar', yes_discard: 'Descartar', yes_discard_again: 'Descartar para siempre', no: 'Cancelar',
    replayed: (n, t) => `${t} ${s(n, 'evento está', 'eventos están')} otra vez en camino.`, discarded: (n, t) => `${t} ${s(n, 'evento descartado', 'eventos descartados')}.`,
    refused_some: (n, t) => `${t} no se ${s(n, 'puede', 'pueden')} publicar así y ${s(n, 'queda', 'quedan')}.`,

    flow: 'Eventos', per_minute: 'por minuto', accepted: 'Aceptados', published: 'Publicados', pending: 'En espera', pending_chart: 'Esperan a NATS',
    accept_latency: 'Aceptación', accept_latency_note: 'del pedido al 2xx', publish_latency: 'Latencia total', publish_latency_note: 'de aceptado a guardado en el stream', median: 'Mediana', p99: '99 %',

    events: 'Eventos recientes', search: 'Buscar; exacto: entity:48, type:…', any_state: 'Todos los estados', state_pending: 'en espera', state_published: 'publicado', state_dead: 'muerto', state_discarded: 'descartado',
    older: 'Anteriores', body: 'Contenido', close: 'Cerrar', no_events: 'Todavía no hay eventos.', no_match: 'Nada coincide.', record: (n) => `registro ${n}`, sequence: (n) => `stream ${n}`, replayed_mark: 'republicado',
    no_body: 'El contenido ya no se guarda.', bytes: (t) => `${t} bytes`, attempts: (n, t) => `${t} ${s(n, 'intento', 'intentos')}`, died: (at) => `muerto desde las ${at}`,

    replay: 'Republicar por fecha', replay_note: 'Publica otra vez los eventos que el diario todavía guarda: para un stream rehecho o un consumidor que perdió datos. Los consumidores los verán dos veces.',
    since: 'Aceptados desde', until: 'hasta (vacío: ahora)', type: 'Tipo', all_types: 'Todos los tipos', replay_go: 'Contar y republicar…',
    ask_replay_time: (n, t) => `¿Publicar otra vez ${t} ${s(n, 'evento', 'eventos')}?`, replay_nothing: 'No se guarda ningún evento publicado de ese período.',
    replay_running: (done, all) => `Republicando: ${done} de ${all}`, replay_done: (done, all, at) => `Última republicación: ${done} de ${all} publicados, terminó a las ${at}`,
    replay_failed: (t, r) => `${t} fallaron: ${r}`, replay_skipped: (t) => `${t} ya no se guardan`, cancel_replay: 'Detener esta republicación', replay_cancelled: 'No se toman más eventos.',

    stream: 'NATS y stream', server: 'Servidor NATS', address: 'Dirección', connected: 'Conectado desde', cluster: 'Clúster', leader: 'líder', name: 'Stream', subjects: 'Subjects', messages: 'Mensajes', sequences: 'Secuencias', storage: 'Almacenamiento', limits: 'Límites',
    replicas: (n) => `${n} ${s(n, 'réplica', 'réplicas')}`, unlimited: 'ninguno', max_age: (t) => `edad ${t}`, duplicates: 'Ventana de duplicados', consumers: 'Consumidores', created: 'Creado', differences: 'Distinto de lo configurado', full_discards: (t) => `si se llena, descarta ${t}`, embedded: 'el servidor embebido',
    settings: { file: 'en archivo', memory: 'en memoria', limits: 'retención por límites', interest: 'retención por interés', workqueue: 'retención de cola', old: 'los más viejos', new: 'los nuevos' },
    types: 'Eventos por tipo', last_hour: 'Última hora', since_start: 'Desde el inicio', counted_since: (at) => `Contados desde que empezó este proceso, ${at}.`,
    refused: 'Pedidos rechazados', refused_none: 'Ninguno desde que empezó este proceso.', reason: 'Motivo',
    log: 'Nivel del log', log_note: 'Vale hasta que el puente se reinicie.',
    days: 'd', hours: 'h', minutes: 'min', seconds: 's', failed: (r) => `No se pudo: ${r}`,
  },
};
