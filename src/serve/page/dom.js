// The few ways in which the page writes into its document. Text is always text: nothing here reads markup.

/** Writes only what differs: a selection stays, and a screen reader hears nothing twice. */
export const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

export const make = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

/** Names and values, in order: `[['Uptime', '3 min', 'since …'], …]`; the third is a tooltip. */
export const setFacts = (list, facts) => {
  while (list.children.length > 2 * facts.length) list.lastChild.remove();
  facts.forEach(([name, value, title], index) => {
    if (list.children.length <= 2 * index) list.append(make('dt'), make('dd'));
    const [term, detail] = [list.children[2 * index], list.children[2 * index + 1]];
    setText(term, name);
    setText(detail, value);
    setTitle(detail, title);
  });
};

export const setTitle = (node, title) => {
  if (title) {
    if (node.title !== title) node.title = title;
  } else if (node.title) node.removeAttribute('title');
};

/** Keeps the choice where it is still there. */
export const setOptions = (select, options) => {
  const same = select.options.length === options.length
    && options.every(([value, label], index) => select.options[index].value === value && select.options[index].label === label);
  if (same) return;
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, label]) => new Option(label, value)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
};

/** Makes `wanted` the children of a parent, moving what is there already, and forgets the kept ones that are gone. */
const place = (parent, kept, wanted) => {
  const staying = new Set(wanted);
  for (const [key, child] of kept) {
    if (!staying.has(child)) kept.delete(key);
  }
  for (const child of [...parent.children]) {
    if (!staying.has(child)) child.remove();
  }
  let next = parent.firstChild;
  for (const child of wanted) {
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
};

/** A list of items that never change, each filled once by `fill(entry, item)` and kept by its key. */
export class List {
  constructor(list, key, fill, nothing) {
    Object.assign(this, { list, key, fill, kept: new Map(), none: make('li', 'soft', nothing) });
  }

  show(items) {
    place(this.list, this.kept, items.length ? items.map((item) => this.entry(item)) : [this.none]);
  }

  entry(item) {
    const key = this.key(item);
    if (!this.kept.has(key)) {
      const entry = make('li');
      this.fill(entry, item);
      this.kept.set(key, entry);
    }
    return this.kept.get(key);
  }
}

/**
 * A table whose rows follow a list of items: rows are kept by key, moved and rewritten only where they differ.
 *
 * A column is `{ label, text(item), title?(item), className?(item), number?, head?, wide?, fill?(cell, item) }`, `fill` in place
 * of `text` for items that never change.
 */
export class Table {
  constructor(table, columns, key, nothing) {
    Object.assign(this, { columns, key, rows: new Map() });
    const head = table.createTHead().insertRow();
    for (const { label, number } of columns) {
      const cell = make('th', number ? 'number' : '', label);
      cell.scope = 'col';
      head.append(cell);
    }
    this.body = table.createTBody();
    this.none = make('tr', 'none');
    const cell = make('td', '', nothing);
    cell.colSpan = columns.length;
    this.none.append(cell);
  }

  show(items) {
    place(this.body, this.rows, items.length ? items.map((item) => this.row(item)) : [this.none]);
  }

  row(item) {
    const key = this.key(item);
    let row = this.rows.get(key);
    const fresh = !row;
    if (fresh) {
      row = make('tr');
      for (const { number, head, wide } of this.columns) {
        const cell = make(head ? 'th' : 'td', [number && 'number', wide && 'wide'].filter(Boolean).join(' '));
        if (head) cell.scope = 'row';
        row.append(cell);
      }
      this.rows.set(key, row);
    }
    this.columns.forEach(({ text, title, className, fill }, index) => {
      const cell = row.children[index];
      if (fill) {
        if (fresh) fill(cell, item);
        return;
      }
      setText(cell, text(item));
      if (title) setTitle(cell, title(item));
      if (className) cell.className = `${this.columns[index].number ? 'number ' : ''}${className(item)}`;
    });
    return row;
  }
}

/** Puts text on the clipboard; where the browser keeps that for encrypted pages, by way of a selection. */
export const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const before = document.activeElement;
    const area = make('textarea', 'hidden', text);
    document.body.append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    before?.focus();
    if (!copied) throw new Error('the browser does not let this page copy');
  }
};
