// Live figures: asks for /admin/stats every two seconds and shows what has changed since the last answer.

const EVERY_MS = 2000;
const KEPT = 90;
const TIERS = {
  memory: ["memory", "#9fd8ff"],
  redis: ["Redis", "#b9a7ff"],
  disk: ["disk", "#6fb7a4"],
  coalesced: ["shared rendering", "#e8c987"],
  rendered: ["rendered", "#ef8f76"],
};
const KEY = "metaearth-key";
const lines = { requests: [], queue: [], evaluations: [] };
let last = null;

const $ = (id) => document.getElementById(id);
const sum = (numbers) => Object.values(numbers).reduce((all, number) => all + number, 0);
const show = (id, text) => { $(id).textContent = text; };

function number(value, digits = 1) {
  if (!Number.isFinite(value)) return "–";
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value.toFixed(value >= 100 || Number.isInteger(value) ? 0 : digits);
}

function bytes(value) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${value.toFixed(unit === "B" || value >= 100 ? 0 : 1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

function age(seconds) {
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${Math.floor(seconds % 60)} s`;
}

/** Rows of a list, [name, text] or [name, text, { colour, bad, share }]; elements are kept, so that a reader's place is too. */
function list(id, rows) {
  const target = $(id);
  while (target.children.length > rows.length) target.lastElementChild.remove();
  rows.forEach(([name, text, { colour, bad, share } = {}], index) => {
    let row = target.children[index];
    if (!row) {
      row = target.appendChild(document.createElement("div"));
      row.append(document.createElement("dt"), document.createElement("dd"));
    }
    const [title, value] = row.children;
    title.textContent = name;
    if (colour) {
      const mark = document.createElement("i");
      mark.className = "key-colour";
      mark.style.background = colour;
      title.prepend(mark);
    }
    value.textContent = text;
    row.classList.toggle("bad", Boolean(bad));
    let meter = row.querySelector("meter");
    if (share !== undefined && !meter) meter = row.appendChild(document.createElement("meter"));
    if (meter) meter.value = share;
  });
}

function spark(name, value) {
  const values = lines[name];
  values.push(value);
  if (values.length > KEPT) values.shift();
  const most = Math.max(...values, 1e-9);
  const points = values.map((v, i) => `${(300 - (values.length - 1 - i) * (300 / (KEPT - 1))).toFixed(1)},${(57 - 52 * (v / most)).toFixed(1)}`);
  const [area, line] = $(`${name}-spark`).children;
  line.setAttribute("d", `M${points.join("L")}`);
  area.setAttribute("d", `M${points[0].split(",")[0]},60L${points.join("L")}L300,60Z`);
}

/** What a counter, or each of a table of counters, has risen by; nothing where it fell, for then the server is a new one. */
function risen(now, before) {
  if (typeof now === "number") return Math.max(0, now - (before ?? 0));
  return Object.fromEntries(Object.entries(now).map(([name, value]) => [name, risen(value, before?.[name])]));
}

/** Milliseconds of each, in the time between two answers or, if there was none, since the start. */
function mean(now, before) {
  const recent = risen(now, before);
  const { count, seconds } = recent.count > 0 ? recent : now;
  return count ? (1000 * seconds) / count : NaN;
}

function draw(now) {
  const before = last ?? now;
  const elapsed = now.time - before.time;
  const rate = (value) => (elapsed > 0 ? value / elapsed : 0);
  const statuses = risen(now.requests, before.requests);
  const of = (digit) => rate(sum(Object.fromEntries(Object.entries(statuses).filter(([code]) => code[0] === digit))));

  const requests = rate(sum(statuses));
  show("requests", number(requests));
  spark("requests", requests);
  show("status-ok", number(of("2")));
  show("status-unmodified", number(rate(statuses["304"] ?? 0)));
  show("status-client", number(of("4")));
  show("status-server", number(of("5")));

  let tiles = risen(now.tiles, before.tiles);
  const recent = sum(tiles) > 0;
  if (!recent) tiles = now.tiles;
  const all = sum(tiles);
  const found = all - (tiles.rendered ?? 0) - (tiles.coalesced ?? 0);
  show("hit-rate", all ? `${((100 * found) / all).toFixed(found === all ? 0 : 1)} %` : "–");
  show("hit-span", recent ? "of tiles now" : "of tiles since the start");
  const tiers = Object.entries(TIERS).filter(([name]) => name in now.tiles);
  $("tiers").replaceChildren(...tiers.map(([name, [, colour]]) => {
    const part = document.createElement("i");
    part.style.width = `${all ? (100 * tiles[name]) / all : 0}%`;
    part.style.background = colour;
    return part;
  }));
  list("tier-list", tiers.map(([name, [text, colour]]) => [text, `${number(now.tiles[name])}`, { colour }]));

  const waiting = sum(now.queue);
  show("queue", number(waiting));
  spark("queue", waiting);
  list("queue-list", [
    ...Object.entries(now.queue).map(([name, count]) => [name, number(count)]),
    ["Waiting time", `${number(mean(now.wait, before.wait))} ms`],
  ]);

  show("render", number(mean(now.render, before.render)));
  const evaluations = rate(risen(now.evaluations, before.evaluations));
  show("evaluations", number(evaluations));
  spark("evaluations", evaluations);
  show("blocks", number(now.blocks));
  show("encode", `${number(mean(now.encode, before.encode))} ms`);
  show("request-time", `${number(mean(now.request, before.request))} ms`);

  const most = Math.max(...now.zooms, 1);
  now.zooms.forEach((count, zoom) => {
    const bar = $("zooms").children[zoom];
    bar.firstElementChild.style.height = `${(88 * count) / most}%`;
    bar.title = `zoom ${zoom}: ${count}`;
  });

  show("resident", bytes(now.resident_bytes));
  show("workers", now.workers > 1 ? `${now.workers} workers` : "one process");
  const caches = (kind, text) => Object.entries(now[kind]).map(([name, { bytes: kept, limit }]) =>
    [`${name} ${text}`, `${bytes(kept)} of ${bytes(limit)}`, { share: limit ? kept / limit : 0 }]);
  list("memory-list", [
    ["Processor", `${number(100 * rate(risen(now.cpu_seconds, before.cpu_seconds)), 0)} % of a core`],
    ...caches("memory_caches", "in memory"),
    ...caches("disk_caches", "on disk"),
    ...Object.entries(now.devices).map(([name, device]) =>
      [name, `${bytes(device.reserved)} of ${bytes(device.total)}`, { share: (device.total - device.free) / device.total }]),
  ]);

  const failed = Object.entries(now.requests).filter(([code]) => code[0] === "5").reduce((n, [, count]) => n + count, 0);
  const count = (name, value) => [name, number(value), { bad: value > 0 }];
  show("trouble", number(failed + now.failures + sum(now.cache_errors)));
  list("trouble-list", [
    count("5xx answers", failed),
    count("Renderings that failed", now.failures),
    count("Cache errors", sum(now.cache_errors)),
    ["Refused", number(sum(now.refused))],
    ["Given up by clients", number(sum(now.dropped))],
    ...Object.entries(now.cache_up).map(([name, up]) => [`${name} cache`, up ? "answers" : "does not answer", { bad: !up }]),
  ]);

  const { planet, seed, version, steps, device, identity } = now.build;
  show("what", `${planet}, seed ${seed}`);
  list("build", [
    ["Running for", age(now.time - now.started)],
    ["Device", device],
    ["Sampler steps", steps],
    ["Version", version],
    ["Identity", identity],
  ]);
}

function state(name, text) {
  document.body.dataset.state = name;
  show("state-text", text);
}

async function ask() {
  const key = sessionStorage.getItem(KEY);
  try {
    const answer = await fetch("admin/stats", { headers: key ? { "X-API-Key": key } : {}, cache: "no-store" });
    $("key-form").hidden = answer.status !== 401 && answer.status !== 403;
    if (!$("key-form").hidden) {
      state("locked", key ? "This key is not accepted" : "A key is needed");
      return;
    }
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const now = await answer.json();
    draw(now);
    last = now;
    state("live", "Live");
  } catch (error) {
    state("lost", error instanceof TypeError ? "No connection" : error.message);
  }
}

async function watch() {
  for (;;) {
    if (!document.hidden) await ask();
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}

$("zooms").replaceChildren(...Array.from({ length: 21 }, (_, zoom) => {
  const bar = document.createElement("div");
  const name = document.createElement("span");
  name.textContent = zoom;
  bar.append(document.createElement("i"), name);
  return bar;
}));
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value);
  ask();
});
watch();
