// Figures for people: three significant digits and a unit; times in UTC, as in the logs.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const NONE = '–';
const SPACE = '\u00a0';

const absent = (value) => value === null || value === undefined || Number.isNaN(value);

const scaled = (value, steps) => {
  const [size, unit] = steps.find(([size]) => Math.abs(value) >= size * 0.9995) ?? steps.at(-1);
  const part = value / size;
  const digits = Math.abs(part) >= 99.95 ? 0 : Math.abs(part) >= 9.995 ? 1 : 2;
  return `${Number(part.toFixed(digits))}${unit && SPACE}${unit}`;
};

const THOUSANDS = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']];
const BYTES = [[1e12, 'TB'], [1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB'], [1, 'B']];

export const exact = (value) => (absent(value) ? NONE : whole.format(value));

/** 9,876 · 12.3 k · 1.2 M */
export const count = (value) => {
  if (absent(value)) return NONE;
  if (Math.abs(value) < 10 && !Number.isInteger(value)) return `${Number(value.toFixed(1))}`;
  return Math.abs(value) < 1e4 ? whole.format(value) : scaled(value, THOUSANDS);
};

/** 0.4/s · 12.3 k/s */
export const rate = (value) => {
  if (absent(value)) return NONE;
  if (value === 0) return '0/s';
  return value < 10 ? `${Number(value.toFixed(value < 1 ? 2 : 1))}/s` : `${count(value)}/s`;
};

export const bytes = (value) => (absent(value) ? NONE : scaled(value, BYTES));

/** 340 µs · 12 ms · 3.4 s · 2 min 5 s · 1 h 2 min · 3 d 4 h */
export const seconds = (value) => {
  if (absent(value)) return NONE;
  if (value === 0) return `0${SPACE}s`;
  if (value < 0.9995) return scaled(value * 1e3, [[1, 'ms'], [1e-3, 'µs']]);
  if (value < 59.95) return `${Number(value.toFixed(value < 9.95 ? 1 : 0))}${SPACE}s`;
  const [big, small, names] =
    value < 3599.5 ? [60, 1, ['min', 's']] : value < 86370 ? [3600, 60, ['h', 'min']] : [86400, 3600, ['d', 'h']];
  const parts = Math.round(value / small);
  const rest = parts % (big / small);
  const first = `${Math.floor(parts / (big / small))}${SPACE}${names[0]}`;
  return rest ? `${first} ${rest}${SPACE}${names[1]}` : first;
};

export const milliseconds = (value) => (absent(value) ? NONE : seconds(value / 1e3));

const date = (when) => {
  const parsed = when instanceof Date ? when : new Date(when);
  return absent(when) || Number.isNaN(parsed.getTime()) ? null : parsed;
};

/** 12:03:09 */
export const clock = (when) => date(when)?.toISOString().slice(11, 19) ?? NONE;

/** 2026-11-29 12:03:09 */
export const moment = (when) => date(when)?.toISOString().slice(0, 19).replace('T', ' ') ?? NONE;

/** A decimal as text with its digits grouped; never through a float, which would round money. */
export const decimal = (text) => {
  if (absent(text)) return NONE;
  const [integer, fraction] = String(text).split('.');
  const grouped = integer.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
};

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
