// The arithmetic of the page, free of the map: Web Mercator tiles, ground resolution, and how they are written for people.

const EQUATOR = 156543.03392804097; // metres per pixel at zoom 0 with 256 px tiles

/** Ground resolution in metres per pixel at a tile zoom and latitude in degrees. */
export function groundResolution(zoom, lat) {
  return (EQUATOR * Math.cos((lat * Math.PI) / 180)) / 2 ** zoom;
}

/** The tile [z, x, y] (XYZ scheme) that holds a position, at the integer zoom nearest to `zoom` and at most `deepest`. */
export function tileAt(zoom, lat, lon, deepest) {
  const z = Math.min(deepest, Math.max(0, Math.round(zoom)));
  const across = 2 ** z;
  const sine = Math.sin((Math.max(-85.0511, Math.min(85.0511, lat)) * Math.PI) / 180);
  const x = Math.floor(((lon + 180) / 360) * across);
  const y = Math.floor((0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)) * across);
  return [z, ((x % across) + across) % across, Math.min(across - 1, Math.max(0, y))];
}

/** "9.8 km/px", "153 m/px", "15 cm/px": three significant digits at most. */
export function writeResolution(metres) {
  const [value, unit] = metres >= 1000 ? [metres / 1000, "km"] : metres >= 1 ? [metres, "m"] : [metres * 100, "cm"];
  return `${value >= 99.5 ? value.toFixed(0) : value.toFixed(value >= 9.95 ? 1 : 2)} ${unit}/px`;
}

/** "46.52° N, 8.05° E", with as many decimals as the zoom can tell apart. */
export function writePosition(zoom, lat, lon) {
  const digits = decimals(zoom);
  const one = (value, positive, negative) => `${Math.abs(value).toFixed(digits)}° ${value < 0 ? negative : positive}`;
  return `${one(lat, "N", "S")}, ${one(lon, "E", "W")}`;
}

/** The permalink: "#zoom/lat/lon" for the globe, with "/flat" at the end for the flat map. */
export function writeHash({ zoom, lat, lon, view }) {
  const digits = decimals(zoom) + 1;
  return `#${Number(zoom.toFixed(2))}/${lat.toFixed(digits)}/${lon.toFixed(digits)}${view === "flat" ? "/flat" : ""}`;
}

/** Reads what writeHash wrote; null where the hash is no view of the map. */
export function readHash(hash) {
  const [zoom, lat, lon, view = "globe"] = hash.replace(/^#/, "").split("/");
  const numbers = [zoom, lat, lon].map((text) => (text ? Number(text) : NaN));
  if (numbers.some((value) => !Number.isFinite(value)) || Math.abs(numbers[1]) > 90) return null;
  return { zoom: numbers[0], lat: numbers[1], lon: numbers[2], view: view === "flat" ? "flat" : "globe" };
}

function decimals(zoom) {
  return Math.max(1, Math.min(6, Math.ceil(zoom / 3.5)));
}
