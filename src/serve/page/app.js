// Puts connection, model and sections together.

import { copy, setText } from './dom.js';
import { Feed } from './feed.js';
import { clock, seconds } from './format.js';
import { Model } from './model.js';
import * as sections from './sections.js';

const id = (name) => document.getElementById(name);
const model = new Model();
const health = new sections.Health();
const log = new sections.Log();
const configuration = new sections.Configuration();
const others = [sections.Flow, sections.Charts, sections.Batches, sections.Partitions, sections.Rejects, sections.Daily].map((Section) => new Section());
let lost = null;

const render = () => {
  if (!model.status) return;
  [...others, log, configuration].forEach((section) => section.show(model));
};

/** Many events become one drawing; none is drawn that nobody sees. */
let asked = false;
const renderSoon = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    render();
  });
};

// Batches and lines come in any number; they are drawn with the next status.
const feed = new Feed({
  load: (status) => {
    model.load(status);
    health.show(model, lost);
    renderSoon();
  },
  status: (status) => {
    if (model.update(status)) feed.again();
    health.show(model, lost);
    renderSoon();
  },
  batch: (batch) => model.addBatch(batch),
  log: (line) => model.addLine(line),
  quiet: (sinceMs, silent, why) => {
    lost = silent ? `${why ? `${why}; no` : 'no'} word from this process for ${seconds(Math.round(sinceMs / 1e3))}` : null;
    const banner = id('stale');
    banner.hidden = !silent;
    // Without the seconds, since it is read out whenever it changes.
    const figures = model.status ? ` The figures below are of ${clock(model.status.generated_at)}.` : '';
    setText(banner, silent ? `Not live: this process does not answer; trying again every few seconds.${figures}` : '');
    if (silent || id('health').dataset.state === 'lost') health.show(model, lost);
  },
});

for (const name of ['batches-role', 'measure', 'level', 'config-part', 'words']) id(name).addEventListener('input', render);
document.addEventListener('visibilitychange', () => document.hidden || renderSoon());

const points = (parts) => Object.fromEntries(parts.map((part) =>
  [part.id, [...part.points].map(([t, fields]) => ({ t, ...fields, phases_ms: part.phases.seconds.get(t)?.[0] }))]));
const COPIED = {
  all: () => ({ ...model.status, parts: [...model.parts.values()].map((part) =>
    ({ ...part.status, batches: part.batches, log: part.lines, history: points([part])[part.id] })) }),
  flow: () => ({ health: model.status.health, pipeline: model.status.pipeline, lag: model.status.lag,
    parts: model.status.parts.map(({ id: name, role, state, services, rates, totals, producer }) => ({ id: name, role, state, services, rates, totals, producer })) }),
  charts: () => ({ latency: model.status.lag?.latency, points: points([...model.parts.values()]) }),
  batches: () => model.batches(id('batches-role').value).map(({ report }) => report),
  partitions: () => ({ kafka: model.partitions.map(({ by, ...one }) => ({ ...one, consumer: by?.id ?? null })), lake: model.dates }),
  rejects: () => model.rejects.map(({ key, ...one }) => one),
  daily: () => model.lake?.daily ?? null,
  log: () => log.lines(model),
  config: () => configuration.chosen(model)?.values ?? null,
};

for (const button of document.querySelectorAll('[data-copy]')) {
  const of = button.closest('section')?.querySelector('h2')?.textContent ?? 'everything';
  button.setAttribute('aria-label', `Copy JSON of ${of}`);
}

document.addEventListener('click', async ({ target }) => {
  const what = target.dataset?.copy;
  if (!what || !model.status) return;
  let said = 'Copied';
  try {
    await copy(JSON.stringify(COPIED[what](), null, 2));
  } catch {
    said = 'Not allowed';
  }
  setText(target, said);
  setText(id('announce'), said);
  setTimeout(() => setText(target, 'Copy JSON'), 1_500);
});

// A browser may refuse storage; the choice lasts as long as the page then.
const THEMES = ['system', 'light', 'dark'];
const stored = (act) => {
  try {
    return act(localStorage);
  } catch {
    return null;
  }
};
const setTheme = (theme) => {
  document.documentElement.dataset.theme = theme;
  setText(id('theme'), `Theme: ${theme}`);
};
setTheme(stored((storage) => storage.getItem('theme')) ?? 'system');
id('theme').addEventListener('click', () => {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  setTheme(theme);
  stored((storage) => storage.setItem('theme', theme));
});
