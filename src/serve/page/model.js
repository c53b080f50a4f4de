// What is known of the pipeline: the last full status, kept up to date by events, and the figures the page draws from it.

/** Longer than the longest span shown, so that a line reaches its left edge. */
const KEPT_SEC = 960;
/** Events are a second apart; after a longer pause than this the points in between are fetched. */
const MISSED_MS = 5_000;
/** In the order in which they happen; others come behind them. */
const PHASES = ['read', 'gather', 'stage', 'commit'];
const KEPT_BATCHES = 100;
const KEPT_LINES = 300;

const sum = (values) => values.reduce((total, value) => total + value, 0);
const known = (values) => values.filter((value) => value !== null && value !== undefined);
const max = (values) => (values.length ? Math.max(...values) : null);
export const sumOf = (values) => (known(values).length ? sum(known(values)) : null);
export const maxOf = (values) => max(known(values));

/** The mean duration of each phase in each second. */
class Phases {
  seconds = new Map();
  names = new Set();

  add(second, phases) {
    const [kept, times] = this.seconds.get(second) ?? [{}, 0];
    for (const [name, value] of Object.entries(phases)) {
      this.names.add(name);
      kept[name] = ((kept[name] ?? 0) * times + value) / (times + 1);
    }
    this.seconds.set(second, [kept, times + 1]);
  }

  trim(oldest) {
    for (const second of this.seconds.keys()) {
      if (second < oldest) this.seconds.delete(second);
    }
  }
}

class Part {
  batches = [];
  lines = [];
  points = new Map();
  phases = new Phases();

  constructor(status) {
    Object.assign(this, { id: status.id, role: status.role, status });
    for (const { seq, report } of status.batches ?? []) this.addBatch(seq, report);
    for (const line of status.log ?? []) this.addLine(line);
    const { t = [], phases_ms: phases, ...fields } = status.history ?? {};
    this.sampled = Boolean(phases);
    t.forEach((second, index) => {
      this.points.set(second, Object.fromEntries(Object.entries(fields).map(([name, values]) => [name, values[index]])));
      if (phases) this.addPhases(second, Object.fromEntries(Object.entries(phases).map(([name, values]) => [name, values[index]])));
    });
    if (!phases) for (const { report } of this.batches) this.addPhases(secondOf(report), report.durationMs);
  }

  update(status) {
    const { config, consumer } = this.status;
    this.status = { config, ...status };
    // Left out of an event where they are what they were.
    if (status.consumer && consumer) this.status.consumer = { lake_partitions: consumer.lake_partitions, daily: consumer.daily, ...status.consumer };
    const { t, phases_ms: phases, ...fields } = status.sample ?? {};
    if (!t || this.points.has(t)) return;
    this.points.set(t, fields);
    if (phases) this.addPhases(t, phases);
    const oldest = t - KEPT_SEC;
    for (const second of this.points.keys()) {
      if (second >= oldest) break;
      this.points.delete(second);
    }
    this.phases.trim(oldest);
  }

  addBatch(seq, report) {
    this.batches.push({ seq, report, part: this.id, role: this.role });
    if (this.batches.length > KEPT_BATCHES) this.batches.shift();
  }

  addLine(line) {
    this.lines.push({ ...line, part: this.id, role: this.role });
    if (this.lines.length > KEPT_LINES) this.lines.shift();
  }

  addPhases(second, phases) {
    const given = Object.entries(phases ?? {}).filter(([, value]) => value !== null && value !== undefined);
    if (given.length) this.phases.add(second, Object.fromEntries(given));
  }
}

const secondOf = (report) => Math.floor(Date.parse(report.timestamp) / 1e3);
const latestFirst = (time) => (a, b) => (time(a) < time(b) ? 1 : time(a) > time(b) ? -1 : b.seq - a.seq);

export class Model {
  status = null;
  parts = new Map();

  load(status) {
    this.status = status;
    this.parts = new Map(status.parts.map((part) => [part.id, new Part(part)]));
    this.setClock();
  }

  /** Returns whether something of the past is missing: a part is new, or events did not come for a while. */
  update(status) {
    const heard = Date.parse(this.status.generated_at);
    this.status = status;
    const strangers = status.parts.filter(({ id }) => !this.parts.has(id));
    this.parts = new Map(status.parts.map((part) => [part.id, this.parts.get(part.id) ?? new Part(part)]));
    for (const part of status.parts) this.parts.get(part.id).update(part);
    this.setClock();
    return strangers.length > 0 || Date.parse(status.generated_at) - heard > MISSED_MS;
  }

  addBatch({ part: id, seq, report }) {
    const part = this.parts.get(id);
    if (!part || part.batches.some((known) => known.seq === seq)) return;
    part.addBatch(seq, report);
    if (!part.status.sample || !('phases_ms' in part.status.sample)) part.addPhases(secondOf(report), report.durationMs);
  }

  addLine(line) {
    const part = this.parts.get(line.part);
    if (part && !part.lines.some((known) => known.seq === line.seq)) part.addLine(line);
  }

  /** The servers' clock may differ from this one. */
  setClock() {
    const said = Date.parse(this.status.generated_at);
    this.ahead = Number.isNaN(said) ? 0 : said - Date.now();
  }

  get now() {
    return Date.now() + this.ahead;
  }

  /** Seconds since a time of the status, or null. */
  since(time) {
    const at = Date.parse(time);
    return Number.isNaN(at) ? null : Math.max(0, (this.now - at) / 1e3);
  }

  get self() {
    return this.parts.get(this.status.self) ?? null;
  }

  of(role) {
    return [...this.parts.values()].filter((part) => part.role === role);
  }

  /** The processes that bring rows: producers, or the generator of the purchases. */
  get bringing() {
    const producers = this.of('producer');
    return producers.length ? producers : this.of('generator');
  }

  /** Every consumer knows the whole lake; the one that saw the last commit knows it best. */
  get lake() {
    const consumers = this.of('consumer').map((part) => part.status.consumer).filter(Boolean);
    return consumers.reduce((best, one) => ((one.commit ?? -1) > (best?.commit ?? -1) || !best ? one : best), null);
  }

  /** The newest 100 batches, of one role or all. */
  batches(role) {
    const all = [...this.parts.values()].filter((part) => !role || part.role === role).flatMap((part) => part.batches);
    return all.sort(latestFirst(({ report }) => report.timestamp)).slice(0, KEPT_BATCHES);
  }

  lines(matches) {
    const all = [...this.parts.values()].flatMap((part) => part.lines).filter(matches);
    return all.sort(latestFirst(({ time }) => time)).slice(0, KEPT_LINES);
  }

  /** Seconds since the oldest point of a chart. */
  get known() {
    const oldest = [...this.parts.values()].flatMap((part) => part.points.keys().next().value ?? []);
    return oldest.length ? this.now / 1e3 - Math.min(...oldest) : 0;
  }

  /** Points of a chart: for each second the value of each group of parts, `{ parts, field, of }` with `of` its sum or maximum. */
  series(groups) {
    const seconds = new Set(groups.flatMap(({ parts }) => parts.flatMap((part) => [...part.points.keys()])));
    return [...seconds].sort((a, b) => a - b).map((second) => ({
      time: second * 1e3,
      values: groups.map(({ parts, field, of }) => of(parts.map((part) => part.points.get(second)?.[field]))),
    }));
  }

  /** The phases of some parts, in the order in which they happen, and their durations in each second with a batch. */
  phases(parts) {
    const place = (name) => PHASES.indexOf(name) >>> 0;
    const names = [...new Set(parts.flatMap((part) => [...part.phases.names]))].sort((a, b) => place(a) - place(b));
    const seconds = new Set(parts.flatMap((part) => [...part.phases.seconds.keys()]));
    const points = [...seconds].sort((a, b) => a - b).map((second) => {
      const of = parts.flatMap((part) => part.phases.seconds.get(second)?.[0] ?? []);
      return { time: second * 1e3, values: names.map((name) => sum(of.map((phases) => phases[name] ?? 0)) / of.length) };
    });
    return { names, points };
  }

  /** The lake by date, the newest first; each consumer knows the newest row of what it wrote itself. */
  get dates() {
    const newest = new Map();
    for (const part of this.of('consumer')) {
      for (const { date, newest_event: event } of part.status.consumer?.lake_partitions ?? []) {
        if (event && !(event <= newest.get(date))) newest.set(date, event);
      }
    }
    const dates = (this.lake?.lake_partitions ?? []).map((one) => ({ ...one, newest_event: newest.get(one.date) ?? null }));
    return dates.sort((a, b) => (a.date < b.date ? 1 : -1));
  }

  /** Messages behind in each partition: of the consumer it is assigned to, or of the last that knew it. */
  get partitions() {
    const found = new Map();
    for (const part of this.of('consumer')) {
      for (const one of part.status.consumer?.partitions ?? []) {
        const before = found.get(one.partition);
        const better = Number(one.assigned) - Number(before?.assigned) || (one.committed ?? -1) - (before?.committed ?? -1);
        const chosen = !before || better > 0 ? { ...one, by: one.assigned ? part : null } : before;
        const newest = [one.newest_at, before?.newest_at].filter(Boolean).sort().at(-1);
        found.set(one.partition, { ...chosen, newest_at: newest ?? null });
      }
    }
    return [...found.values()].sort((a, b) => a.partition - b.partition);
  }

  /** Rejects of all consumers by reason and column, the most frequent first. */
  get rejects() {
    const found = new Map();
    for (const part of this.of('consumer')) {
      for (const one of part.status.consumer?.rejects?.by_reason ?? []) {
        const key = `${one.reason} ${one.column}`;
        const before = found.get(key);
        const newer = !before || (one.last_at ?? '') >= (before.last_at ?? '') ? one : before;
        found.set(key, { ...newer, key, count: (before?.count ?? 0) + one.count });
      }
    }
    return [...found.values()].sort((a, b) => b.count - a.count);
  }
}
