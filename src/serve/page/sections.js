// What each section shows of the model.

import { Bars, Lines, Stacks } from './chart.js';
import { List, make, setFacts, setOptions, setText, setTitle, Table } from './dom.js';
import { bytes, clock, count, decimal, exact, milliseconds, moment, plural, rate, seconds } from './format.js';
import { maxOf, sumOf } from './model.js';

const id = (name) => document.getElementById(name);
const ago = (model, time) => {
  const since = model.since(time);
  return since === null ? '–' : since < 2 ? 'just now' : `${seconds(Math.floor(since))} ago`;
};
const rowsOf = (value) => (value === null || value === undefined ? '–' : plural(value, 'row'));
const short = (text) => (text ? text.split('-')[0] : '–');
const inside = (description) => /\[(.*)\]$/s.exec(description ?? '')?.[1] ?? description ?? '';
const least = (value, atLeast) => (atLeast ? `≥\u00a0${count(value)}` : count(value));

const STATES = {
  ok: ['Running', 'M16 3a13 13 0 1 0 0 26a13 13 0 1 0 0-26M10 16.5l4.2 4.2L22.5 12'],
  degraded: ['Degraded', 'M16 4L29.5 27.5h-27zM16 13v7M16 23.6v.1'],
  down: ['Down', 'M16 3a13 13 0 1 0 0 26a13 13 0 1 0 0-26M11 11l10 10M21 11L11 21'],
  lost: ['No answer', 'M16 3a13 13 0 1 0 0 26a13 13 0 1 0 0-26M11 11l10 10M21 11L11 21'],
  ended: ['Ended', 'M16 3a13 13 0 1 0 0 26a13 13 0 1 0 0-26M12 12h8v8h-8z'],
  unknown: ['Connecting', 'M16 3a13 13 0 1 0 0 26a13 13 0 1 0 0-26M10 16v.1M16 16v.1M22 16v.1'],
};
const MARKS = { up: '✓', running: '✓', away: '✕', down: '✕', failed: '✕', ended: '■', starting: '…', waiting: '!', stopping: '…', unknown: '?' };
/** The worst of several counts. */
const BY_WORST = ['away', 'unknown', 'up'];
const GONE = ['down', 'failed', 'ended'];
const lives = (part) => !GONE.includes(part.status.state);

export class Health {
  show(model, lost) {
    const { state = 'unknown', text = '', reasons = [] } = model.status?.health ?? {};
    const shown = lost ? 'lost' : STATES[state] ? state : 'unknown';
    const [word, path] = STATES[shown];
    const section = id('health');
    if (section.dataset.state !== shown) {
      section.dataset.state = shown;
      section.querySelector('path').setAttribute('d', path);
      setText(id('state'), word);
      // Announced once for each change; the text beside it changes every second.
      setText(id('announce'), `${word}. ${lost ?? text}`);
    }
    document.title = `${word} – ${inside(model.status?.pipeline?.topic) || 'foodstream'}`;
    const again = `${word.toLowerCase()}: `;
    setText(id('health-text'), lost ?? (text.startsWith(again) ? text.slice(again.length) : text));
    const told = lost ? [] : reasons.filter((reason) => reason.text && !text.includes(reason.text));
    const list = id('reasons');
    if (list.textContent !== told.map((reason) => reason.text).join('')) list.replaceChildren(...told.map((reason) => make('li', '', reason.text)));
    const self = model.self?.status;
    if (!self) return;
    setFacts(id('run'), [
      ['Up for', seconds(model.since(self.started_at)), `since ${moment(self.started_at)} UTC`],
      ['Run', short(self.run_id), self.run_id],
      ['Version', self.version ?? '–'],
    ]);
  }
}

const badge = (node, parts, name) => {
  const services = parts.filter(lives).flatMap((part) => part.status.services ?? []);
  const of = services.filter((service) => service.name === name);
  const worst = BY_WORST.find((state) => of.some((service) => service.state === state)) ?? 'unknown';
  const error = of.find((service) => service.state === worst)?.error;
  const line = node.querySelector('.badge');
  const word = { up: 'connected', away: 'away', unknown: 'not known' }[worst];
  if (line.dataset.shown === `${worst} ${error}`) return;
  line.dataset.shown = `${worst} ${error}`;
  line.className = `badge ${worst}`;
  line.textContent = `${MARKS[worst]} ${word}`;
  if (error && worst === 'away') line.append(make('span', '', error));
};

/** `trouble` is true for a note that warns; `broken` says that nobody carries anything over this edge. */
const edge = (node, figure, unit, beside, note, { trouble = false, broken = false } = {}) => {
  const shown = node.querySelector('.figure');
  if (shown.firstChild?.nodeType !== Node.TEXT_NODE) shown.replaceChildren('', make('small'));
  if (shown.firstChild.data !== `${figure} `) shown.firstChild.data = `${figure} `;
  setText(shown.lastChild, unit);
  setText(node.querySelector('.beside'), beside);
  const small = node.querySelector('.note');
  setText(small, note);
  small.classList.toggle('warn', trouble || broken);
  node.classList.toggle('broken', broken);
};

/** How long a backlog takes at this pace; nothing for one that is gone in seconds. */
const pace = (waiting, done, added) => {
  if (!waiting || waiting < 1_000 || !done) return '';
  const net = done - (added ?? 0);
  if (Math.abs(net) < done / 100) return 'neither growing nor shrinking';
  if (net < 0) return `growing by ${rate(-net)}`;
  return waiting / net < 5 ? '' : `at ${rate(done)} worked off in about ${seconds(waiting / net)}`;
};

export class Flow {
  constructor() {
    const role = ({ role, status: { self } }) => (self ? `${role} (this one)` : role);
    this.processes = new Table(id('processes'), [
      { label: 'Process', head: true, text: role },
      { label: 'State', text: ({ status }) => `${MARKS[status.state] ?? '?'} ${status.state}`, className: ({ status }) => status.state, title: ({ status }) => status.state_text },
      { label: 'Where', text: ({ status }) => `pid ${status.pid} on ${status.host}` },
      { label: 'Up for', number: true, text: (part) => (lives(part) ? seconds(this.model.since(part.status.started_at)) : '–'), title: ({ status }) => `since ${moment(status.started_at)} UTC` },
      { label: 'Rows', number: true, text: ({ status }) => count(status.totals?.rows), title: ({ status }) => exact(status.totals?.rows) },
      { label: 'Batches', number: true, text: ({ status }) => count(status.totals?.batches) },
      { label: 'Run', text: ({ status }) => short(status.run_id), title: ({ status }) => status.run_id },
      { label: 'Version', text: ({ status }) => status.version ?? '–' },
      { label: 'Own page', fill: (cell, { status }) => {
        if (!/^https?:/.test(status.url ?? '')) return;
        const link = make('a', '', new URL(status.url).host);
        link.href = status.url;
        cell.append(link);
      } },
    ], (part) => part.id, 'no process yet');
  }

  show(model) {
    this.model = model;
    const { pipeline = {}, lag = {} } = model.status;
    const bringing = model.bringing;
    const consumers = model.of('consumer');
    const all = [...model.parts.values()];
    const producer = bringing.findLast((part) => part.status.producer)?.status.producer;
    const lake = model.lake;
    const waits = bringing.flatMap((part) => part.status.producer?.horizon?.held_by ?? [])[0];

    const generated = !pipeline.source && model.of('generator').length > 0;
    const source = id('node-source');
    setText(source.querySelector('h3'), generated ? 'Generator' : 'PostgreSQL');
    setText(source.querySelector('.name'), inside(pipeline.source ?? producer?.source) || (bringing.length ? '' : 'no producer is known here'));
    if (generated) setText(source.querySelector('.badge'), '');
    else badge(source, bringing, 'postgres');
    setFacts(source.querySelector('dl'), [
      ['Published', rowsOf(sumOf(bringing.map((part) => part.status.totals?.rows)))],
      ['Last row', ago(model, producer?.last_row_at), producer?.last_row_at],
      ...(producer?.cursor?.text ? [['Published to', moment(producer.cursor.at), producer.cursor.text]] : []),
      ...(producer?.horizon ? [['Horizon', `${seconds(producer.horizon.age_sec)} back`, 'Rows are read up to here: no open transaction can commit an older one.']] : []),
    ]);

    const inputs = sumOf(bringing.map((part) => part.status.rates?.input_rows_per_sec));
    const outputs = sumOf(consumers.map((part) => part.status.rates?.input_rows_per_sec));
    const broken = (parts, role) => (parts.length && !parts.some(lives) ? `no ${role} is running` : '');
    const held = lag.rows_held > 0
      ? `${least(lag.rows_held, lag.rows_held_at_least)} held back${waits ? ` by ${waits.text}` : ' by an open transaction'}`
      : '';
    const unknown = 'how long is not known';
    // Counts are some seconds old, ages are not: where none was counted, an age of a moment later would confuse.
    const oldest = (value, waiting) => (waiting === 0 || value === 0 ? 'nothing waits'
      : value === null || value === undefined ? unknown
        : waiting > 0 ? `oldest ${seconds(value)} old` : `none older than ${seconds(value)}`);
    edge(id('edge-publish'), least(lag.rows_unpublished, lag.rows_unpublished_at_least), 'rows', oldest(lag.unpublished_sec, lag.rows_unpublished),
      broken(bringing, generated ? 'generator' : 'producer') || held || (lag.rows_unpublished_at_least ? `published at ${rate(inputs)}` : pace(lag.rows_unpublished, inputs, null)),
      { trouble: Boolean(held), broken: Boolean(broken(bringing, '')) });

    const topic = id('node-topic');
    setText(topic.querySelector('.name'), pipeline.topic ?? '–');
    badge(topic, all, 'kafka');
    const partitions = model.partitions;
    const open = sumOf(consumers.map((part) => part.status.consumer?.open_batch_messages));
    setFacts(topic.querySelector('dl'), [
      ['Partitions', partitions.length ? exact(partitions.length) : '–'],
      ['In', rate(inputs)],
      ['Out', rate(outputs)],
      ['In an open batch', count(open)],
    ]);

    const each = partitions.length <= 6
      ? partitions.map(({ partition, lag: behind }) => `p${partition}:\u00a0${count(behind)}`).join(' · ')
      : `most in p${partitions.reduce((a, b) => ((b.lag ?? 0) > (a.lag ?? 0) ? b : a)).partition}`;
    edge(id('edge-consume'), count(lag.messages), 'messages', pace(lag.messages, outputs, inputs) || oldest(lag.readable_sec, lag.messages),
      broken(consumers, 'consumer') || each, { broken: Boolean(broken(consumers, '')) });

    const node = id('node-lake');
    setText(node.querySelector('.name'), pipeline.lake ?? (consumers.length ? '–' : 'no consumer is known here'));
    badge(node, consumers, 'lake');
    const { rows, files, bytes: size } = lake?.lake_totals ?? {};
    setFacts(node.querySelector('dl'), [
      ['Readable', rowsOf(rows), exact(rows)],
      ['Files', files === null || files === undefined ? '–' : `${count(files)}, ${bytes(size)}`],
      ['Last commit', lake?.committed_at ? `#${exact(lake.commit)}, ${ago(model, lake.committed_at)}` : '–', lake?.committed_at],
      ['Readable to', moment(lake?.readable_to), lake?.readable_to],
    ]);

    const through = lag.latency?.source_to_readable;
    const percentiles = through
      ? `rows of the last ${seconds(lag.latency_window_sec)}: half within ${seconds(through.p50_sec)}, 95 % within ${seconds(through.p95_sec)}, 99 % within ${seconds(through.p99_sec)}`
      : `no row in the last ${seconds(lag.latency_window_sec ?? 300)}`;
    const behind = { 0: 'behind: every committed row can be read', null: 'not known yet' }[lag.seconds ?? null] ?? 'behind, from commit to readable';
    edge(id('edge-readable'), seconds(lag.seconds), behind, percentiles, '');
    this.processes.show(all);
  }
}

/** Seconds without a batch have no processing rate; batches so far apart are still drawn as one line. */
const BATCHES_APART_MS = 30_000;
const STAGES = [['published', 'commit → published'], ['readable', 'published → readable'], ['source_to_readable', 'commit → readable']];

export class Charts {
  constructor() {
    const sides = [{ label: 'PostgreSQL to Kafka', colour: 1 }, { label: 'Kafka to lake', colour: 2 }];
    const lines = (name, title, unit, options) => new Lines(id(name), { title, unit, nothing: 'no figures of this time', series: sides, ...options });
    const stacks = (name, title) => new Stacks(id(name), { title, unit: milliseconds, nothing: 'no batch in this time', series: [] });
    this.input = lines('chart-input', 'Input rate', rate);
    this.processed = lines('chart-processed', 'Processing rate', rate, { gapMs: BATCHES_APART_MS });
    this.lag = lines('chart-lag', 'Lag', seconds);
    this.publish = stacks('chart-publish', 'Producer’s batch duration by phase');
    this.consume = stacks('chart-consume', 'Consumer’s batch duration by phase');
    this.latency = new Table(id('latency'), [
      { label: 'Stage', head: true, text: ([, name]) => name },
      ...[['p50_sec', 'p50'], ['p95_sec', 'p95'], ['p99_sec', 'p99']].map(([field, label]) =>
        ({ label, number: true, text: ([, , figures]) => seconds(figures?.[field]) })),
      { label: 'Rows', number: true, text: ([, , figures]) => count(figures?.rows) },
    ], ([key]) => key, '');
    this.spans = [...id('span').querySelectorAll('input')];
    // As long as nobody has chosen: the shortest that shows all there is.
    this.chosen = false;
    id('span').addEventListener('change', () => {
      this.chosen = true;
      if (this.model?.status) this.show(this.model);
    });
  }

  show(model) {
    this.model = model;
    if (!this.chosen) (this.spans.find(({ value }) => model.known <= Number(value)) ?? this.spans.at(-1)).checked = true;
    const time = { until: model.now, spanMs: Number(this.spans.find((span) => span.checked).value) * 1e3 };
    const [bringing, consumers] = [model.bringing, model.of('consumer')];
    const both = (field, of) => model.series([{ parts: bringing, field, of }, { parts: consumers, field, of }]);
    this.input.show({ ...time, points: both('input', sumOf) });
    this.processed.show({ ...time, points: both('processed', sumOf) });
    this.lag.show({ ...time, points: both('lag_sec', maxOf) });
    for (const [chart, parts] of [[this.publish, bringing], [this.consume, consumers]]) {
      const { names, points } = model.phases(parts);
      if (names.join() !== chart.series.map(({ label }) => label).join()) {
        chart.setSeries(names.map((label, index) => ({ label, colour: [1, 2, 3, 4, 5][index % 5] })));
      }
      chart.show({ ...time, points });
    }
    const latency = model.status.lag?.latency ?? {};
    setText(id('latency-caption'), `Latency by stage, rows of the last ${seconds(model.status.lag?.latency_window_sec ?? 300)}`);
    this.latency.show(STAGES.map(([key, name]) => [key, name, latency[key]]));
  }
}

/** `0: 100–250 · 1: 90–240`, or from where to where the cursor went. */
const offsets = (report) => {
  const { startOffset: from, endOffset: to } = report.sources?.[0] ?? {};
  if (to === null || typeof to !== 'object') return [from, to].filter(Boolean).join(' → ');
  return Object.keys(to).map((partition) => `${partition}: ${from?.[partition] ?? '?'}–${to[partition]}`).join(' · ');
};

export class Batches {
  constructor() {
    this.table = new Table(id('batches-table'), [
      { label: 'Committed', text: ({ report }) => clock(report.timestamp), title: ({ report }) => report.timestamp },
      { label: 'By', text: ({ role }) => role },
      { label: 'Batch', number: true, head: true, text: ({ report }) => exact(report.batchId) },
      { label: 'Rows', number: true, text: ({ report }) => exact(report.numInputRows) },
      { label: 'Rejected', number: true, text: ({ report }) => exact(report.sink?.numRejectedRows) },
      { label: 'Files', number: true, text: ({ report }) => exact(report.sink?.metrics?.files) },
      { label: 'Bytes', number: true, text: ({ report }) => bytes(report.sink?.metrics?.bytes) },
      { label: 'Took', number: true, text: ({ report }) => milliseconds(report.batchDuration ?? sumOf(Object.values(report.durationMs ?? {}))),
        title: ({ report }) => Object.entries(report.durationMs ?? {}).map(([name, value]) => `${name} ${milliseconds(value)}`).join(', ') },
      { label: 'Offsets, or position', text: ({ report }) => offsets(report) },
    ], ({ part, seq }) => `${part} ${seq}`, 'no batch yet');
  }

  show(model) {
    this.table.show(model.batches(id('batches-role').value));
  }
}

export class Partitions {
  constructor() {
    this.kafka = new Table(id('kafka-partitions'), [
      { label: 'Partition', head: true, text: ({ partition }) => exact(partition) },
      { label: 'Behind', number: true, text: ({ lag }) => exact(lag) },
      { label: 'In the lake up to', number: true, text: ({ committed }) => exact(committed) },
      { label: 'End', number: true, text: ({ end }) => exact(end) },
      { label: 'Newest readable', text: ({ newest_at: newest }) => ago(this.model, newest), title: ({ newest_at: newest }) => newest },
      { label: 'Consumer', text: ({ by }) => (by ? `pid ${by.status.pid}` : 'none'), className: ({ by }) => (by ? '' : 'warnings') },
    ], ({ partition }) => partition, 'no partition yet');
    this.lake = new Table(id('lake-partitions'), [
      { label: 'Date', head: true, text: ({ date }) => date },
      { label: 'Rows', number: true, text: ({ rows }) => exact(rows) },
      { label: 'Files', number: true, text: ({ files }) => exact(files) },
      { label: 'Bytes', number: true, text: ({ bytes: size }) => bytes(size) },
      { label: 'Rows a file', number: true, text: ({ rows, files }) => count(files && rows !== null ? rows / files : null) },
      { label: 'Newest event', text: ({ newest_event: newest }) => clock(newest), title: ({ newest_event: newest }) => newest ?? 'not written since the consumer began' },
    ], ({ date }) => date, 'no partition yet');
  }

  show(model) {
    this.model = model;
    this.kafka.show(model.partitions);
    const omitted = model.lake?.lake_partitions_omitted;
    setText(id('lake-caption'), `Lake: by date, the newest first${omitted ? `; ${plural(omitted, 'older date')} not shown` : ''}`);
    this.lake.show(model.dates);
  }
}

export class Rejects {
  constructor() {
    this.table = new Table(id('rejects-table'), [
      { label: 'Rule', head: true, text: ({ reason }) => reason },
      { label: 'Column', text: ({ column }) => column ?? '–' },
      { label: 'Messages', number: true, text: (one) => exact(one.count) },
      { label: 'Last', text: ({ last_at: last }) => ago(this.model, last), title: ({ last_at: last }) => last },
      { label: 'One of them, masked', wide: true, text: ({ sample }) => sample ?? '–', className: () => 'wide mono' },
    ], ({ key }) => key, 'no message was rejected by this run');
  }

  show(model) {
    this.model = model;
    const total = model.lake?.rejects?.total;
    const run = sumOf(model.of('consumer').map((part) => part.status.consumer?.rejects?.since_start));
    setText(id('rejects-text'), total === null || total === undefined ? '' : `${plural(total, 'message')} in quarantine, ${count(run)} of this run`);
    this.table.show(model.rejects);
  }
}

export class Daily {
  constructor() {
    this.chart = new Bars(id('chart-daily'), { title: 'Daily totals', unit: count, nothing: 'no total yet', series: [{ label: 'rows', colour: 1 }] });
    this.columns = null;
  }

  show(model) {
    const { measures = [], days = [] } = model.lake?.daily ?? {};
    setOptions(id('measure'), [['', 'rows'], ...measures.map((name) => [name, `sum of ${name}`])]);
    const measure = id('measure').value;
    if (this.columns !== measures.join()) {
      this.columns = measures.join();
      const table = id('daily-table');
      table.tHead?.remove();
      [...table.tBodies].forEach((body) => body.remove());
      this.table = new Table(table, [
        { label: 'Day', head: true, text: ({ date }) => date },
        { label: 'Rows', number: true, text: ({ rows }) => exact(rows) },
        ...measures.map((name) => ({ label: name, number: true, text: ({ sums }) => decimal(sums?.[name]) })),
      ], ({ date }) => date, 'no total yet');
    }
    const sorted = [...days].sort((a, b) => (a.date < b.date ? -1 : 1));
    this.table.show([...sorted].reverse());
    const label = measure || 'rows';
    if (this.chart.series[0].label !== label) this.chart.setSeries([{ label, colour: 1 }]);
    this.chart.show(sorted.slice(-60).map(({ date, rows, sums }) => ({
      name: date,
      label: date.replace(/^\d{4}-/, ''),
      values: [Math.max(0, measure ? Number(sums?.[measure] ?? 0) : rows ?? 0)],
      texts: [measure ? decimal(sums?.[measure]) : exact(rows)],
    })));
  }
}

const LEVELS = { ERROR: 1, WARN: 2, INFO: 3, DEBUG: 4, TRACE: 5 };
const CLASSES = { ERROR: 'errors', WARN: 'warnings' };

export class Log {
  constructor() {
    this.list = new List(id('log-lines'), ({ part, seq }) => `${part} ${seq}`, (entry, { time, level, target, part, message, fields, repeated }) => {
      const when = make('time', '', clock(time));
      when.dateTime = when.title = time;
      const from = make('span', 'from', (target ?? '').replace(/^foodstream::/, ''));
      from.title = part;
      const words = make('span', 'message', message ?? '');
      if (repeated) words.append(make('span', 'fields', ` (${plural(repeated, 'time')} more)`));
      const pairs = Object.entries(fields ?? {}).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
      if (pairs.length) words.append(make('span', 'fields', ` ${pairs.join(' ')}`));
      entry.append(when, ' ', make('span', `level ${CLASSES[level] ?? ''}`, level), ' ', from, ' ', words);
    }, 'no line');
  }

  show(model) {
    this.list.show(this.lines(model));
  }

  lines(model) {
    const [level, words] = [Number(id('level').value), id('words').value.toLowerCase()];
    return model.lines((line) => (LEVELS[line.level] ?? 3) <= level
      && (!words || `${line.message} ${line.target} ${JSON.stringify(line.fields)}`.toLowerCase().includes(words)));
  }
}

export class Configuration {
  show(model) {
    const parts = [...model.parts.values()].filter((part) => part.status.config);
    setOptions(id('config-part'), parts.map(({ id: key, role, status }) => [key, `${role}, pid ${status.pid}`]));
    const text = this.chosen(model)?.text ?? 'not known yet';
    const shown = id('config-text');
    if (this.text === text) return;
    this.text = text;
    shown.replaceChildren(...text.split('\n').flatMap((line) => {
      const origin = /\s+#[^"']*$/.exec(line)?.index ?? line.length;
      return [line.slice(0, origin), make('span', 'origin', `${line.slice(origin)}\n`)];
    }));
  }

  chosen(model) {
    return model.parts.get(id('config-part').value)?.status.config;
  }
}
