// The connection: the whole state once, then its changes as server-sent events; and again, whenever it breaks.
//
// `EventSource` would reconnect by itself, but not after an error status, nor from a connection that sleep has left half
// open, and it could not tell what was missed meanwhile. So there is one way in: fetch, then listen from there.

const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 5_000;
const FETCH_MS = 10_000;
/** There is an event a second. So long without one, and the figures are called old… */
const STALE_MS = 4_000;
/** …and so long, and the connection is given up, although nothing has said that it is broken. */
const GIVE_UP_MS = 9_000;

export class Feed {
  /** @param {{load: Function, status: Function, batch: Function, log: Function, quiet: (sinceMs: number, lost: boolean, why: string) => void}} to */
  constructor(to) {
    this.to = to;
    this.heard = Date.now();
    this.failures = 0;
    this.why = '';
    setInterval(() => this.watch(), 500);
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && !this.busy && !this.source) this.connect();
      this.watch();
    });
    window.addEventListener('online', () => this.source || this.connect());
    this.connect();
  }

  async connect() {
    if (this.busy) return;
    this.busy = true;
    this.close();
    try {
      const answer = await fetch('api/status', { cache: 'no-store', signal: AbortSignal.timeout(FETCH_MS) });
      if (answer.status === 401) throw new Error('a token is needed: open the address that ends in ?token=…');
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      const status = await answer.json();
      this.word();
      this.to.load(status);
      this.listen(status.last_event_id);
    } catch (error) {
      this.failed(error.name === 'TypeError' ? '' : error.message);
    } finally {
      this.busy = false;
    }
  }

  listen(last) {
    const source = new EventSource(`api/events?last_event_id=${encodeURIComponent(last ?? '')}`);
    this.source = source;
    const on = (name, act) => source.addEventListener(name, (event) => {
      if (this.source !== source) return;
      this.word();
      act(JSON.parse(event.data));
    });
    on('status', (status) => {
      this.failures = 0;
      this.to.status(status);
    });
    on('batch', this.to.batch);
    on('log', this.to.log);
    on('reset', () => this.failed(''));
    source.addEventListener('error', () => this.source === source && this.failed(''));
  }

  word() {
    this.heard = Date.now();
    this.why = '';
    this.watch();
  }

  /** Connects anew, a moment later. */
  failed(why) {
    this.close();
    this.why = why;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), Math.min(LONGEST_RETRY_MS, RETRY_MS * 1.5 ** this.failures));
    this.failures += 1;
    this.watch();
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  watch() {
    const since = Date.now() - this.heard;
    if (this.source && since > GIVE_UP_MS) this.failed('');
    // A connection that breaks is one failure, and that nobody answers the next attempt is another.
    this.to.quiet(since, since > STALE_MS || this.failures > 1, this.why);
  }

  /** Fetches everything again, such as the history of a part that has just begun. */
  again() {
    if (this.source) this.connect();
  }
}
