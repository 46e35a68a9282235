// What the tiles on the screen are doing: how many are still being made, and a second try for those that failed.

const TRIES = 4;
const FIRST_WAIT = 1500; // milliseconds; each further try waits twice as long
const PATIENCE = 250; // a wait shorter than this is not worth a word

/**
 * Watches one source of a map. `report(count)` is called with the number of tiles being made, at most once a frame;
 * `failed(error)` when a tile has failed for good.
 */
export function watchTiles(map, source, report, failed) {
  const pending = new Map(); // key -> tile
  const tries = new Map(); // key -> failed tries
  let scheduled = 0;
  const name = (tile) => tile.tileID.key;

  const update = () => {
    clearTimeout(scheduled);
    scheduled = setTimeout(() => {
      for (const [key, tile] of pending) if (tile.state !== "loading" && tile.state !== "reloading") pending.delete(key);
      report(pending.size);
    }, pending.size ? PATIENCE : 60);
  };

  map.on("sourcedataloading", (event) => {
    if (event.sourceId === source && event.tile) {
      pending.set(name(event.tile), event.tile);
      update();
    }
  });
  const settle = (event) => {
    if (event.sourceId === source && event.tile) {
      if (event.tile.state === "loaded") tries.delete(name(event.tile));
      pending.delete(name(event.tile));
      update();
    }
  };
  map.on("sourcedata", settle);
  map.on("sourcedataabort", settle);
  map.on("idle", () => {
    pending.clear();
    update();
  });

  const retry = (tile) => {
    if (tile.state !== "errored" || !map.getSource(source)) return;
    const { z, x, y } = tile.tileID.canonical;
    map.refreshTiles(source, [{ z, x, y }]);
    // A tile out of view is not asked for again. One that is has become "expired", which MapLibre takes for drawable,
    // although a tile that failed has nothing to draw.
    if (tile.state === "errored") return;
    if (!tile.texture) tile.state = "loading";
    pending.set(name(tile), tile);
    update();
  };

  map.on("error", (event) => {
    if (!event.tile || event.sourceId !== source) {
      if (!event.tile) failed(event.error);
      return;
    }
    settle(event);
    const { tile } = event;
    const count = (tries.get(name(tile)) || 0) + 1;
    tries.set(name(tile), count);
    if (count >= TRIES || event.error?.status === 404) {
      tries.delete(name(tile)); // should it come into view again, it starts anew
      failed(event.error);
    } else setTimeout(() => retry(tile), FIRST_WAIT * 2 ** (count - 1));
  });
}
