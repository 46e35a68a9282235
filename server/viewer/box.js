// A box on the map: drawn by pointer or touch, shown as a layer, kept as [west, south, east, north] in degrees.

const LIMIT = 85.0511; // where Web Mercator ends
const SOURCE = "export-box";

/** The box between two corners; east exceeds 180 where it crosses the antimeridian. Null if it has no area. */
export function boxBetween(a, b) {
  const clamp = (lat) => Math.max(-LIMIT, Math.min(LIMIT, lat));
  let [west, east] = [Math.min(a.lng, b.lng), Math.max(a.lng, b.lng)];
  const [south, north] = [clamp(Math.min(a.lat, b.lat)), clamp(Math.max(a.lat, b.lat))];
  if (!(east > west) || !(north > south)) return null;
  if (east - west >= 360) [west, east] = [-180, 180];
  const turns = 360 * Math.floor((west + 180) / 360);
  return [west - turns, south, east - turns, north];
}

/** The box as a GeoJSON polygon with points along its edges, so that they follow parallels on the globe. */
export function polygonOf([west, south, east, north], steps = 32) {
  const along = (x0, y0, x1, y1) =>
    Array.from({ length: steps }, (_, i) => [x0 + ((x1 - x0) * i) / steps, y0 + ((y1 - y0) * i) / steps]);
  const ring = [
    ...along(west, south, east, south),
    ...along(east, south, east, north),
    ...along(east, north, west, north),
    ...along(west, north, west, south),
    [west, south],
  ];
  return { type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [ring] } };
}

/** Shows a box on a map (null: none) and lets it be drawn. */
export class BoxTool {
  constructor(map) {
    this.map = map;
    this.end = null; // ends drawing, while somebody draws
  }

  /** Shows `box`, or nothing. */
  show(box) {
    if (!box && !this.map.getSource(SOURCE)) return;
    if (document.body.dataset.state !== "ready") return void this.map.once("style.load", () => this.show(box));
    const data = box ? polygonOf(box) : { type: "FeatureCollection", features: [] };
    const source = this.map.getSource(SOURCE);
    if (source) return void source.setData(data);
    this.map.addSource(SOURCE, { type: "geojson", data });
    this.map.addLayer({ id: `${SOURCE}-fill`, type: "fill", source: SOURCE, paint: { "fill-color": "#9fd8ff", "fill-opacity": 0.16 } });
    this.map.addLayer({ id: `${SOURCE}-line`, type: "line", source: SOURCE, paint: { "line-color": "#9fd8ff", "line-width": 2 } });
  }

  /** Draws a box by pointer: `changed(box)` at every move, `finished(box or null)` at the end. */
  draw(changed, finished) {
    this.cancel();
    const surface = this.map.getCanvasContainer();
    let start = null;
    let box = null;
    const at = (event) => {
      const frame = surface.getBoundingClientRect();
      return this.map.unproject([event.clientX - frame.left, event.clientY - frame.top]);
    };
    const down = (event) => {
      if (start || !event.isPrimary || event.button > 0) return;
      event.preventDefault();
      start = at(event);
      try {
        surface.setPointerCapture(event.pointerId);
      } catch {
        // A pointer that is gone already: its moves come without capture or not at all.
      }
    };
    const move = (event) => {
      if (!start || !event.isPrimary) return;
      box = boxBetween(start, at(event));
      if (box) changed(box);
    };
    const up = (event) => {
      if (start && event.isPrimary) this.finish(box);
    };
    const handlers = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: () => this.finish(null) };
    for (const [type, handler] of Object.entries(handlers)) surface.addEventListener(type, handler);
    const gestures = [this.map.dragPan, this.map.touchZoomRotate, this.map.doubleClickZoom, this.map.boxZoom];
    for (const gesture of gestures) gesture.disable();
    document.body.dataset.drawing = "";
    this.finish = (result) => {
      this.end();
      finished(result);
    };
    this.end = () => {
      for (const [type, handler] of Object.entries(handlers)) surface.removeEventListener(type, handler);
      for (const gesture of gestures) gesture.enable();
      this.map.touchZoomRotate.disableRotation();
      delete document.body.dataset.drawing;
      this.end = null;
    };
  }

  /** Whether somebody draws. */
  get drawing() {
    return this.end !== null;
  }

  /** Gives up drawing; what is shown stays. */
  cancel() {
    if (this.end) this.finish(null);
  }
}
