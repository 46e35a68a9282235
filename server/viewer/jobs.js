// Export jobs as the server tells of them: a list with progress, cancelling and downloads. All addresses are relative.

import { withKey } from "./key.js";
import { writeBytes, writeDuration } from "./quantities.js";

const UNFINISHED = ["queued", "running"];
const SHOWN = 8;

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** One line about a job's state. */
export function describe(job) {
  const tiles = `${job.tiles_done.toLocaleString("en")} of ${job.tiles.toLocaleString("en")} tiles`;
  if (job.state === "queued") return "Waiting for its turn";
  if (job.state === "running") return `${Math.floor(job.percent)} % · ${tiles} · ${writeDuration(job.eta_seconds)} left`;
  if (job.state === "done") return `${writeBytes(job.bytes)} · ready`;
  return job.state === "failed" ? job.error : "Cancelled";
}

/** The list in `list`; `say(text)` is called when a job is over or something fails. */
export class JobList {
  constructor(list, say) {
    this.list = list;
    this.say = say;
    this.rows = new Map(); // id -> {job, row, and its parts}
    this.source = null;
  }

  /** Asks the server for all jobs and shows them anew. */
  async refresh() {
    const answer = await fetch(withKey("exports"));
    if (!answer.ok) throw new Error(`the list of exports answered ${answer.status}`);
    const { exports } = await answer.json();
    const shown = exports.filter((job, index) => index < SHOWN || UNFINISHED.includes(job.state));
    for (const [id, { row }] of this.rows) {
      if (!shown.some((job) => job.id === id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    for (const job of shown.reverse()) this.update(job);
    this.follow();
  }

  /** Shows a job, on top if it is new. */
  update(job) {
    const known = this.rows.get(job.id) || this.add(job);
    known.job = job;
    known.row.dataset.state = job.state;
    known.state.textContent = describe(job);
    known.bar.value = job.percent;
    known.bar.hidden = !UNFINISHED.includes(job.state);
    known.download.hidden = job.state !== "done";
    known.cancel.textContent = UNFINISHED.includes(job.state) ? "Cancel" : "Remove";
    known.cancel.setAttribute("aria-label", `${known.cancel.textContent} ${known.title.textContent}`);
  }

  add(job) {
    const { format, maxzoom, width, height } = job.area;
    const name = { cog: "COG", mbtiles: "MBTiles", pmtiles: "PMTiles" }[format];
    const title = element("strong", { textContent: `${name}, zoom ${maxzoom}, ${width} × ${height}` });
    const bar = element("progress", { max: 100 });
    bar.setAttribute("aria-label", `Progress of ${title.textContent}`);
    const state = element("span", { className: "state" });
    const download = element("a", { className: "button strong", textContent: "Download", href: withKey(`exports/${job.id}/file`), download: "" });
    const cancel = element("button", { type: "button" });
    cancel.addEventListener("click", () => this.remove(job.id));
    const row = element("li", {}, title, bar, state, element("div", { className: "row" }, download, cancel));
    row.dataset.id = job.id;
    this.list.prepend(row);
    const known = { job, row, title, bar, state, download, cancel };
    this.rows.set(job.id, known);
    return known;
  }

  async remove(id) {
    const answer = await fetch(withKey(`exports/${id}`), { method: "DELETE" });
    if (!answer.ok && answer.status !== 404) this.say(`The export could not be cancelled (${answer.status}).`);
    await this.refresh();
  }

  /** Listens to the job that is at work: one connection, for a browser has six and the map needs them. */
  follow() {
    const unfinished = [...this.rows.values()].map(({ job }) => job).filter((job) => UNFINISHED.includes(job.state));
    const job = unfinished.find(({ state }) => state === "running") || unfinished.at(-1) || null;
    if (this.source && this.source.id === job?.id) return;
    this.source?.stream.close();
    this.source = null;
    if (!job) return;
    const stream = new EventSource(withKey(`exports/${job.id}/events`));
    this.source = { id: job.id, stream };
    const over = () => {
      stream.close();
      this.source = null;
      this.refresh().catch((error) => this.say(error.message));
    };
    stream.addEventListener("progress", (event) => this.update(JSON.parse(event.data)));
    for (const state of ["done", "failed", "cancelled"]) {
      stream.addEventListener(state, (event) => {
        if (state === "done") this.say("The export is ready.");
        if (state === "failed") this.say(JSON.parse(event.data).error);
        over();
      });
    }
    stream.addEventListener("error", () => {
      // A server that restarts is tried again by the browser itself; one that does not know the job any more is not.
      if (stream.readyState === EventSource.CLOSED) over();
    });
  }
}
