// The export panel: a box, a zoom and a format; what the server says it would cost; then the jobs themselves.

import { BoxTool, boxBetween } from "./box.js";
import { JobList } from "./jobs.js";
import { withKey } from "./key.js";
import { writeBytes, writeDuration } from "./quantities.js";

const $ = (id) => document.getElementById(id);
const EDGES = ["west", "south", "east", "north"];
const WAIT = 350; // milliseconds that the form rests before the server is asked for an estimate

/** Connects the panel to a map; `toast(text)` says something in passing. Returns what opens and closes it. */
export function connectExports(map, toast) {
  const tool = new BoxTool(map);
  const jobs = new JobList($("export-jobs"), toast);
  const form = $("export-form");
  let box = null;
  let timer = 0;
  let asking = null; // aborts the estimate that is under way

  const say = (text, bad = false) => {
    $("export-estimate").textContent = text;
    $("export-estimate").classList.toggle("bad", bad);
  };

  const request = () => {
    const [zoom, format] = [Number($("export-zoom").value), $("export-format").value];
    const body = { bbox: box, format, tile_format: $("export-tiles").value };
    return format === "cog" ? { ...body, zoom } : { ...body, maxzoom: zoom };
  };

  const post = async (body, signal) => {
    const answer = await fetch(withKey("exports"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.detail);
    return said;
  };

  const estimate = async () => {
    asking?.abort();
    if (!box) return;
    asking = new AbortController();
    try {
      const { area, estimate: cost } = await post({ ...request(), dry_run: true }, asking.signal);
      const tiles = `${cost.tiles.toLocaleString("en")} tile${cost.tiles === 1 ? "" : "s"}`;
      say(
        `${area.width.toLocaleString("en")} × ${area.height.toLocaleString("en")} px, ${tiles}: ` +
          `about ${writeBytes(cost.bytes)} and ${writeDuration(cost.seconds)}`,
      );
      $("export-start").disabled = false;
    } catch (error) {
      if (error.name !== "AbortError") say(error.message, true);
    }
  };

  const changed = () => {
    $("export-zoom-text").textContent = $("export-zoom").value;
    $("export-start").disabled = true;
    clearTimeout(timer);
    asking?.abort();
    if (!box) return say("Draw a box on the map, take what is in view, or type its edges.");
    say("Estimating …");
    timer = setTimeout(estimate, WAIT);
  };

  const setBox = (next, write = true) => {
    box = next;
    tool.show(box);
    if (write && box) EDGES.forEach((edge, i) => ($(`export-${edge}`).value = box[i].toFixed(5)));
    if (write && box) box = EDGES.map((edge) => Number($(`export-${edge}`).value));
  };

  const draw = () => {
    if (tool.drawing) return tool.cancel();
    $("export-draw").setAttribute("aria-pressed", "true");
    toast("Drag a box on the map");
    tool.draw(
      (next) => setBox(next),
      (next) => {
        $("export-draw").setAttribute("aria-pressed", "false");
        if (next) setBox(next);
        changed();
      },
    );
  };

  const takeView = () => {
    tool.cancel();
    const bounds = map.getBounds();
    // On a globe the bounds may reach around the world: at most what a flat window of the same zoom would show.
    const { lng } = map.getCenter();
    const half = Math.min(180, (180 * map.getContainer().clientWidth) / (512 * 2 ** map.getZoom()));
    const west = Math.max(bounds.getWest(), lng - half);
    const east = Math.min(bounds.getEast(), lng + half);
    setBox(boxBetween({ lng: west, lat: bounds.getSouth() }, { lng: east, lat: bounds.getNorth() }));
    changed();
  };

  const typed = () => {
    const values = EDGES.map((edge) => $(`export-${edge}`).valueAsNumber);
    if (values.some(Number.isNaN)) return;
    box = values;
    const [west, south, east, north] = values;
    tool.show(south < north && west !== east ? [west, south, east > west ? east : east + 360, north] : null);
    changed();
  };

  const start = async (event) => {
    event.preventDefault();
    if (!box || $("export-start").disabled) return;
    $("export-start").disabled = true;
    try {
      jobs.update(await post(request()));
      jobs.follow();
      toast("The export has started.");
      $("export-jobs").querySelector("button").focus();
    } catch (error) {
      say(error.message, true);
    }
    $("export-start").disabled = false;
  };

  const open = (shown) => {
    $("export").hidden = !shown;
    $("export-button").setAttribute("aria-expanded", String(shown));
    document.body.toggleAttribute("data-exporting", shown);
    if (shown) {
      if (!box) $("export-zoom").value = Math.max(0, Math.min(20, Math.round(map.getZoom() + 1)));
      tool.show(box);
      changed();
      jobs.refresh().catch((error) => toast(`The exports cannot be listed: ${error.message}`));
      $("export-draw").focus();
    } else {
      tool.cancel();
      tool.show(null);
      $("export-button").focus();
    }
  };

  const toggle = () => open($("export").hidden);
  $("export-button").addEventListener("click", toggle);
  $("export-close").addEventListener("click", () => open(false));
  $("export-draw").addEventListener("click", draw);
  $("export-view").addEventListener("click", takeView);
  for (const edge of EDGES) $(`export-${edge}`).addEventListener("input", typed);
  for (const id of ["export-zoom", "export-format", "export-tiles"]) $(id).addEventListener("input", changed);
  form.addEventListener("submit", start);
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || $("export").hidden || $("about").open) return;
    if (tool.drawing) tool.cancel();
    else open(false);
  });
  return toggle;
}
