// Charts as inline SVG: lines over time, stacked bars over time, bars over days.
//
// A chart is one stop of the Tab key and speaks as a slider: the arrow keys move a mark along it, and what stands there
// is its value for a screen reader and its legend for the eye. Gaps in the data are gaps in the picture.

import { make, setText } from './dom.js';
import { clock, seconds } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const MARGIN = { left: 52, right: 8, top: 8, bottom: 20 };
const HEIGHT = 168;
/** Bars of a stacked chart, and at most so many points of a line, since more would fall into one pixel. */
const BUCKETS = 90;
const POINTS = 360;
/** A longer pause between two points is a gap, in milliseconds: the page slept or the side was down. */
const GAP_MS = 5_000;
/** From label to label, by the span. */
const TICK_MS = { 60e3: 20e3, 300e3: 60e3, 900e3: 300e3 };

const element = (name, attributes = {}, ...children) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

/** The next round figure whose half is round too, so that the scale changes seldom. */
const nice = (value) => {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => value <= step * power * 1.0001) * power;
};

class Chart {
  /**
   * @param {HTMLElement} figure  with a `.legend` and a `.plot` in it
   * @param {{title: string, unit: (value: number) => string, nothing: string, series: {label: string, colour?: number}[]}} options
   *   `nothing` stands where there are no values; `gapMs` may be given for figures that come less often than each second
   */
  constructor(figure, options) {
    Object.assign(this, { figure, mark: null, gapMs: GAP_MS }, options);
    this.plot = figure.querySelector('.plot');
    this.svg = element('svg', { tabindex: 0, role: 'slider', 'aria-label': this.title, 'aria-orientation': 'horizontal' });
    this.plot.append(this.svg);
    this.legend = figure.querySelector('.legend');
    this.setSeries(this.series);
    this.visible = true;
    new IntersectionObserver((entries) => {
      this.visible = entries.at(-1).isIntersecting;
      this.paint();
    }).observe(figure);
    new ResizeObserver(() => this.paint()).observe(this.plot);
    this.svg.addEventListener('keydown', (event) => this.key(event));
    this.svg.addEventListener('pointermove', (event) => this.point(event));
    this.svg.addEventListener('pointerleave', () => this.moveTo(null));
    this.svg.addEventListener('blur', () => this.moveTo(null));
  }

  setSeries(series) {
    this.series = series;
    this.values = series.map(() => make('b'));
    this.when = make('span', 'when');
    const items = series.map(({ label, colour }, index) => {
      const item = make('span');
      item.append(make('i', `swatch c${colour ?? index + 1}`), `${label} `, this.values[index]);
      return item;
    });
    this.legend.replaceChildren(...items, this.when);
  }

  get width() {
    return this.plot.clientWidth;
  }

  /** Keeps what is to be shown; paints it if it can be seen. */
  show(data) {
    this.data = data;
    this.paint();
  }

  paint() {
    if (!this.data || !this.visible || document.hidden || this.width < 80) return;
    this.columns = this.arrange();
    if (this.mark !== null) this.mark = Math.min(this.mark, this.columns.length - 1);
    const top = nice(Math.max(0, ...this.columns.map((column) => this.height(column.values))));
    const [width, bottom] = [this.width, HEIGHT - MARGIN.bottom];
    this.y = (value) => bottom - (value / top) * (bottom - MARGIN.top);
    this.svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this.svg.setAttribute('width', width);
    this.svg.setAttribute('height', HEIGHT);
    const empty = !this.columns.some((column) => column.values.some((value) => value !== null));
    if (empty) {
      const words = element('text', { class: 'tick', x: (MARGIN.left + width) / 2, y: HEIGHT / 2, 'text-anchor': 'middle' }, this.nothing);
      this.svg.replaceChildren(element('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: bottom, y2: bottom }), ...this.labels(), words);
      this.tell();
      return;
    }
    const grid = [0, 0.5, 1].flatMap((part) => {
      const y = this.y(top * part);
      return [
        element('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
        element('text', { class: 'tick', x: MARGIN.left - 6, y: y + 4, 'text-anchor': 'end' }, this.unit(top * part)),
      ];
    });
    this.svg.replaceChildren(...grid, ...this.labels(), ...this.shapes());
    this.tell();
  }

  /** Writes the marked column, or the newest values, into the legend and for the screen reader. */
  tell() {
    const last = this.columns.length - 1;
    const column = this.columns[this.mark ?? last];
    const shown = this.mark === null ? this.newest() : column?.values.map((value, index) => column.texts?.[index] ?? this.unit(value));
    this.values.forEach((value, index) => setText(value, shown?.[index] ?? '–'));
    this.when.textContent = this.mark === null || !column ? '' : column.name;
    if (this.mark !== null && column) {
      this.line = element('line', { class: 'mark', x1: column.x, x2: column.x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
      this.svg.append(this.line);
    }
    const words = this.series.map(({ label }, index) => `${label} ${this.values[index].textContent}`).join(', ');
    this.svg.setAttribute('aria-valuemin', 0);
    this.svg.setAttribute('aria-valuemax', Math.max(0, last));
    this.svg.setAttribute('aria-valuenow', Math.max(0, this.mark ?? last));
    this.svg.setAttribute('aria-valuetext', column ? `${column.name}: ${words}` : this.nothing);
  }

  /** The last column as text; by series, since one side's second may come a moment after the other's. */
  newest() {
    const column = this.columns.at(-1);
    return column?.values.map((value, index) => column.texts?.[index] ?? this.unit(value));
  }

  moveTo(mark) {
    if (!this.columns || this.mark === mark) return;
    this.mark = mark;
    this.tell();
  }

  key(event) {
    const last = (this.columns?.length ?? 0) - 1;
    if (last < 0) return;
    const from = this.mark ?? last;
    const page = Math.ceil(last / 10);
    const to = {
      ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1,
      PageDown: from - page, PageUp: from + page, Home: 0, End: last, Escape: null,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.moveTo(to === null ? null : Math.max(0, Math.min(last, to)));
  }

  point(event) {
    if (!this.columns?.length) return;
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    const distance = ({ x: at }) => Math.abs(at - x);
    const nearest = this.columns.reduce((best, column, index) =>
      distance(column) < distance(this.columns[best]) ? index : best, 0);
    this.moveTo(nearest);
  }
}

class TimeChart extends Chart {
  newest() {
    const recent = this.columns.filter((column) => column.time > this.data.until - Math.max(this.gapMs, 2 * this.slotMs));
    return this.series.map((_, index) => this.unit(recent.findLast((column) => column.values[index] !== null)?.values[index]));
  }

  x(time) {
    const { until, spanMs } = this.data;
    return MARGIN.left + (1 - (until - time) / spanMs) * (this.width - MARGIN.left - MARGIN.right);
  }

  labels() {
    const { until, spanMs } = this.data;
    const steps = Math.round(spanMs / (TICK_MS[spanMs] ?? spanMs / 3));
    return Array.from({ length: steps + 1 }, (_, step) => {
      const back = spanMs * (1 - step / steps);
      const anchor = step === 0 ? 'start' : step === steps ? 'end' : 'middle';
      const text = back ? `−${seconds(back / 1e3)}` : 'now';
      return element('text', { class: 'tick', x: this.x(until - back), y: HEIGHT - 4, 'text-anchor': anchor }, text);
    });
  }

  /** The points of the span, several of one slot of `slotMs` as their mean; `points` are in order of time. */
  slots(slotMs) {
    const { points, until, spanMs } = this.data;
    this.slotMs = slotMs;
    const columns = [];
    let slot = null;
    for (const { time, values } of points) {
      if (time < until - spanMs || time > until) continue;
      const number = Math.floor(time / slotMs);
      if (slot?.number !== number) columns.push((slot = { number, times: 0, time: 0, seen: [], values: this.series.map(() => null) }));
      slot.times += 1;
      slot.time += (time - slot.time) / slot.times;
      values.forEach((value, index) => {
        if (value === null || value === undefined) return;
        slot.seen[index] = (slot.seen[index] ?? 0) + 1;
        slot.values[index] = (slot.values[index] ?? 0) + (value - (slot.values[index] ?? 0)) / slot.seen[index];
      });
    }
    return columns.map((column) => ({ ...column, x: this.x(column.time), name: clock(new Date(column.time)) }));
  }
}

export class Lines extends TimeChart {
  arrange() {
    return this.slots(Math.max(1_000, this.data.spanMs / POINTS));
  }

  height(values) {
    return Math.max(...values);
  }

  shapes() {
    const gap = Math.max(this.gapMs, 3 * this.slotMs);
    return this.series.flatMap(({ colour }, index) => {
      const kind = `c${colour ?? index + 1}`;
      let [line, area, start, before] = ['', '', null, null];
      const close = () => {
        if (before) area += `L${before.x},${this.y(0)}L${start.x},${this.y(0)}Z`;
      };
      for (const column of this.columns) {
        if (column.values[index] === null) continue;
        const at = `${column.x.toFixed(1)},${this.y(column.values[index]).toFixed(1)}`;
        const joined = before && column.time - before.time <= gap;
        if (!joined) {
          close();
          start = column;
        }
        line += `${joined ? 'L' : 'M'}${at}`;
        area += `${joined ? 'L' : 'M'}${at}`;
        before = column;
      }
      close();
      return [
        element('path', { class: `area ${kind}`, d: area }),
        // A lone point between two gaps is a line of no length, which its round cap makes a dot.
        element('path', { class: `line ${kind}`, d: line.replace(/M([^ML]+)(?=M|$)/g, 'M$1L$1') }),
      ];
    });
  }
}

const stacked = (values, bottom, place) => {
  let sum = 0;
  return values.map((value, index) => {
    const [from, to] = [place(sum), place((sum += value))];
    return bottom(index, to, Math.max(0, from - to));
  });
};

export class Stacks extends TimeChart {
  arrange() {
    return this.slots(this.data.spanMs / BUCKETS);
  }

  height(values) {
    return values.reduce((sum, value) => sum + value, 0);
  }

  shapes() {
    const width = Math.max(1.5, (this.width - MARGIN.left - MARGIN.right) / BUCKETS - 1);
    return this.columns.flatMap((column) => {
      // By the slot, not by the mean of its times: bars stand in a row.
      const middle = this.x((column.number + 0.5) * this.slotMs);
      const x = Math.min(this.width - MARGIN.right - width, Math.max(MARGIN.left, middle - width / 2));
      return stacked(column.values, (index, y, height) =>
        element('rect', { class: `bar c${this.series[index].colour ?? index + 1}`, x, y, width, height }), this.y);
    });
  }
}

/** `show([{ name, values }])`, a bar each, stacked; few enough to stand side by side. */
export class Bars extends Chart {
  arrange() {
    const inner = this.width - MARGIN.left - MARGIN.right;
    const step = inner / Math.max(this.data.length, 1);
    this.bar = Math.max(1, Math.min(48, step * 0.7));
    return this.data.map((column, index) => ({ ...column, x: MARGIN.left + step * (index + 0.5) }));
  }

  height(values) {
    return values.reduce((sum, value) => sum + value, 0);
  }

  labels() {
    const every = Math.ceil((this.columns.length * 48) / (this.width - MARGIN.left - MARGIN.right));
    // Counted from the end: the newest day is always named.
    const named = this.columns.filter((_, index) => (this.columns.length - 1 - index) % every === 0);
    return named.map(({ x, name, label }) => {
      const anchor = x + 20 > this.width ? 'end' : 'middle';
      return element('text', { class: 'tick', x: anchor === 'end' ? this.width : x, y: HEIGHT - 4, 'text-anchor': anchor }, label ?? name);
    });
  }

  shapes() {
    return this.columns.flatMap(({ x, values }) => stacked(values, (index, y, height) =>
      element('rect', { class: `bar c${this.series[index].colour ?? index + 1}`, x: x - this.bar / 2, y, width: this.bar, height }),
    this.y));
  }
}
