// The viewer: a MapLibre GL map of the planet that tilejson.json describes, and the page's controls around it.
//
// Zoom in this file and in the permalink is the tile zoom (256 px tiles, as in /{z}/{x}/{y}.png); MapLibre counts from
// 512 px tiles, one less.

import { connectExports } from "./exports.js";
import { groundResolution, readHash, tileAt, writeHash, writePosition, writeResolution } from "./geography.js";
import { withKey } from "./key.js";
import { PLACES, randomPlace } from "./places.js";
import { drawStars } from "./stars.js";
import { watchTiles } from "./tiles.js";

const BASE_ZOOM = 4; // down to here tiles are the planet's base picture and cost the server next to nothing
const REQUESTS = 8; // tiles asked for at once: enough for a warm cache, few enough that one that left the screen is dropped
const SPIN = 1.6; // degrees per second of a globe that nobody has touched yet
const SPIN_FOR = 90; // seconds

const $ = (id) => document.getElementById(id);
const body = document.body;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const narrow = matchMedia("(max-width: 860px)");
let toastTimer = 0;

/** Shows a sentence for a moment; screen readers hear it. */
function toast(text) {
  const element = $("toast");
  element.textContent = text;
  element.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => element.classList.remove("shown"), 3200);
}

/** Says for good that the map cannot be shown, and what to do. */
function fail(text) {
  $("failure").textContent = text;
  $("failure").hidden = false;
  body.dataset.state = "failed";
}

/** The TileJSON document with its tile addresses made absolute. */
async function describePlanet() {
  const url = new URL(withKey("tilejson.json"), document.baseURI);
  const answer = await fetch(url);
  if (!answer.ok) throw Object.assign(new Error(`tilejson.json answered ${answer.status}`), { status: answer.status });
  const document_ = await answer.json();
  // URL() escapes braces, and the template needs them.
  const tiles = document_.tiles.map((tile) => decodeURI(new URL(tile, url).href));
  return { minzoom: 0, maxzoom: 20, ...document_, tiles };
}

/** The whole globe in the window, over Africa and Europe. */
function overview() {
  const lat = 18;
  const diameter = Math.min(innerWidth * 0.9, innerHeight * 0.78);
  // At map zoom m the globe is 512 * 2^m / (pi * cos(lat)) px across, so that it meets Mercator's scale at the centre.
  return { lat, lon: 14, zoom: Math.log2((diameter * Math.PI * Math.cos((lat * Math.PI) / 180)) / 512) + 1, view: "globe" };
}

function createMap(planet, start) {
  const raster = { type: "raster", tiles: planet.tiles, tileSize: 256, minzoom: planet.minzoom };
  const synthetic = "Synthetic: no record of any real place";
  const said = /synthetic/i.test(planet.attribution || "");
  const map = new maplibregl.Map({
    container: "map",
    center: [start.lon, start.lat],
    zoom: start.zoom - 1,
    minZoom: planet.minzoom - 1,
    maxZoom: planet.maxzoom, // in tile zooms one more than the deepest: a last, enlarged look
    dragRotate: false,
    touchPitch: false,
    pitchWithRotate: false,
    canvasContextAttributes: { antialias: true },
    attributionControl: false,
    style: {
      version: 8,
      projection: { type: start.view === "flat" ? "mercator" : "globe" },
      light: { anchor: "viewport", position: [1.5, 220, 30] },
      sky: { "atmosphere-blend": ["interpolate", ["linear"], ["zoom"], 0, 0.6, 4.5, 0.5, 6.5, 0] },
      sources: {
        // In the order in which they ask for tiles: the cheap ones first.
        base: { ...raster, maxzoom: Math.min(BASE_ZOOM, planet.maxzoom) },
        planet: { ...raster, maxzoom: planet.maxzoom, attribution: planet.attribution || "" },
      },
      layers: [
        { id: "sea", type: "background", paint: { "background-color": "#0c1a2c" } },
        // Under a view whose tiles are still being made lies the base picture, enlarged: blurred, but never nothing.
        { id: "base", type: "raster", source: "base", minzoom: BASE_ZOOM, paint: { "raster-fade-duration": 0 } },
        { id: "planet", type: "raster", source: "planet", paint: { "raster-fade-duration": calm ? 0 : 260 } },
      ],
    },
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(
    new maplibregl.AttributionControl({ compact: narrow.matches, customAttribution: said ? [] : [synthetic] }),
    "bottom-right",
  );
  map.addControl(new maplibregl.ScaleControl({ maxWidth: 110, unit: "metric" }), "bottom-right");
  map.getCanvas().setAttribute("aria-label", "Map of the synthetic Earth: arrow keys move, plus and minus zoom");
  return map;
}

function whereIs(map) {
  const { lat, lng } = map.getCenter().wrap();
  return { zoom: map.getZoom() + 1, lat, lon: lng, view: body.dataset.view };
}

/** Keeps the readout and the address in step with the map. */
function followMap(map, planet) {
  const read = () => {
    const { zoom, lat, lon } = whereIs(map);
    $("zoom").textContent = zoom.toFixed(1);
    $("position").textContent = writePosition(zoom, lat, lon);
    $("resolution").textContent = writeResolution(groundResolution(zoom, lat));
    $("tile").textContent = tileAt(zoom, lat, lon, planet.maxzoom).join("/");
    $("zoom-in").disabled = map.getZoom() >= map.getMaxZoom() - 1e-6;
    $("zoom-out").disabled = map.getZoom() <= map.getMinZoom() + 1e-6;
  };
  map.on("move", read);
  map.on("moveend", () => map.isMoving() || remember(map));
  read();
}

function remember(map) {
  if (body.dataset.spinning === undefined) history.replaceState(null, "", writeHash(whereIs(map)));
}

function setView(map, view) {
  body.dataset.view = view;
  map.setProjection({ type: view === "flat" ? "mercator" : "globe" });
  $("view").setAttribute("aria-pressed", String(view === "globe"));
}

function travel(map, { lat, lon, zoom }) {
  const target = { center: [lon, lat], zoom: zoom - 1 };
  if (calm) map.jumpTo(target);
  else map.flyTo({ ...target, maxDuration: 4500, curve: 1.5 });
}

/** Turns the globe slowly until somebody touches anything. */
function spin(map) {
  let last = performance.now();
  const end = last + SPIN_FOR * 1000;
  body.dataset.spinning = "";
  const stop = () => {
    delete body.dataset.spinning;
    for (const type of ["pointerdown", "wheel", "keydown"]) removeEventListener(type, stop, true);
  };
  for (const type of ["pointerdown", "wheel", "keydown"]) addEventListener(type, stop, { capture: true, passive: true });
  const step = (now) => {
    if (body.dataset.spinning === undefined) return;
    if (now > end) return void stop();
    const { lng, lat } = map.getCenter();
    map.jumpTo({ center: [lng - (SPIN * Math.min(100, now - last)) / 1000, lat] });
    last = now;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

async function copyTemplate(planet) {
  const template = planet.tiles[0];
  try {
    await navigator.clipboard.writeText(template);
  } catch {
    // Without HTTPS or permission there is no clipboard interface; the old way still copies.
    const area = Object.assign(document.createElement("textarea"), { value: template });
    body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) return toast(template);
  }
  return toast(`Copied ${template}`);
}

function buildPlaces(map) {
  const [list, button, fold] = [$("places"), $("places-button"), $("fold")];
  const show = (open) => {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
  };
  const unfold = (open) => {
    $("tools").hidden = !open;
    fold.setAttribute("aria-expanded", String(open));
  };
  const visit = (place, name) => {
    travel(map, place);
    toast(name);
    if (narrow.matches) {
      show(false);
      unfold(false);
    }
  };
  for (const place of PLACES) {
    const item = document.createElement("button");
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.background = `linear-gradient(135deg, ${place.colours[0]} 25%, ${place.colours[1]} 78%)`;
    const text = document.createElement("span");
    text.append(
      Object.assign(document.createElement("span"), { className: "name", textContent: place.name }),
      Object.assign(document.createElement("span"), { className: "note", textContent: place.note }),
    );
    item.append(swatch, text);
    item.addEventListener("click", () => visit(place, place.name));
    const entry = document.createElement("li");
    entry.append(item);
    list.append(entry);
  }
  button.addEventListener("click", () => show(list.hidden));
  fold.addEventListener("click", () => unfold($("tools").hidden));
  $("random").addEventListener("click", () => visit(randomPlace(), "Somewhere"));
  list.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      show(false);
      button.focus();
    }
  });
  unfold(!narrow.matches);
  return () => {
    unfold(true);
    show(list.hidden);
    if (!list.hidden) list.querySelector("button").focus();
  };
}

function connectControls(map, planet) {
  const togglePlaces = buildPlaces(map);
  const actions = {
    g: () => {
      setView(map, body.dataset.view === "globe" ? "flat" : "globe");
      remember(map);
    },
    c: () => copyTemplate(planet),
    r: () => $("random").click(),
    p: togglePlaces,
    e: connectExports(map, toast),
    "?": () => $("about").showModal(),
  };
  $("view").addEventListener("click", actions.g);
  $("copy").addEventListener("click", actions.c);
  $("about-button").addEventListener("click", actions["?"]);
  $("zoom-in").addEventListener("click", () => map.zoomIn());
  $("zoom-out").addEventListener("click", () => map.zoomOut());
  $("about").addEventListener("click", (event) => event.target === $("about") && $("about").close());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("about").open) return;
    if (event.target.closest?.("input, select, textarea")) return;
    actions[event.key.toLowerCase()]?.();
  });
  addEventListener("hashchange", () => {
    const view = readHash(location.hash);
    if (!view) return;
    setView(map, view.view);
    map.jumpTo({ center: [view.lon, view.lat], zoom: view.zoom - 1 });
  });
}

function reportTiles(count) {
  body.toggleAttribute("data-busy", count > 0);
  $("pending").hidden = count === 0;
  $("pending-text").textContent = count === 1 ? "Imagining the last tile" : `Imagining ${count} tiles`;
}

async function main() {
  drawStars($("stars"));
  if (!window.maplibregl) return fail("MapLibre GL did not load: run `npm ci` beside the server, or let this page reach unpkg.com.");
  let planet;
  try {
    planet = await describePlanet();
  } catch (error) {
    if (error.status === 401) return fail("This server asks for an API key: open the page with it, as /?key=...");
    return fail(`The planet's description did not load (${error.message}): check that the server is running, then reload.`);
  }
  const linked = readHash(location.hash);
  const start = linked || overview();
  body.dataset.view = start.view;
  maplibregl.setMaxParallelImageRequests(REQUESTS);
  let map;
  try {
    map = createMap(planet, start);
  } catch (error) {
    console.warn(error);
    return fail("This browser shows no WebGL 2 picture: turn on hardware acceleration, or try another browser.");
  }
  followMap(map, planet);
  connectControls(map, planet);
  $("view").setAttribute("aria-pressed", String(start.view === "globe"));
  watchTiles(map, "planet", reportTiles, (error) => toast(`A tile could not be made${error?.status ? ` (${error.status})` : ""}.`));
  // Not "load", which waits for every tile: a page that opens far down shows its base picture meanwhile.
  map.once("style.load", () => {
    body.dataset.state = "ready";
    if (!linked && !calm) spin(map);
  });
  return map;
}

main();
