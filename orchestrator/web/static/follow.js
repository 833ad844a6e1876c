// Listens to the events of a run. A connection that broke is made again by the browser; one that was answered with an
// error is not, and nobody is told which error it was.

import { AWAY, REASONS } from "./server.js";

const REOPEN_MS = 1000, LONGEST_MS = 30_000;    // until the next try after a refusal, twice as long each time

export class Follower {
  // address: gives that of the events behind what is known by now. names: of events. news: is called on each event, and
  // when the stream opens. look: asks for the run and gives the status of the answer, 0: none. say: shows how it stands.
  constructor({ address, names, news, look, say }) {
    Object.assign(this, { address, names, news, look, say, source: null, refusals: 0 });
  }

  start() {
    this.stop();
    const source = new EventSource(this.address());
    this.source = source;
    source.addEventListener("open", () => {
      this.refusals = 0;
      this.say("yes");
      this.news();                              // what happened while nobody listened
    });
    source.addEventListener("error", () => this.lost(source));
    for (const name of this.names) source.addEventListener(name, this.news);
  }

  stop() {
    clearTimeout(this.reopening);
    this.source?.close();
    this.source = null;
  }

  async lost(source) {
    this.say(`no: ${AWAY}; trying again`);
    if (source.readyState !== EventSource.CLOSED) return;
    const status = await this.look();
    if (this.source !== source) return;         // nobody listens any more, or somebody does again
    if (status !== 200) this.say(`no: ${REASONS[status] ?? AWAY}; trying again`);
    this.reopening = setTimeout(() => this.start(), Math.min(LONGEST_MS, REOPEN_MS * 2 ** this.refusals++));
  }
}
