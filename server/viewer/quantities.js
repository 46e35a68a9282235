// Sizes and times for people.

/** Bytes in the unit that leaves one to three digits before the point. */
export function writeBytes(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let index = 0;
  while (bytes >= 1000 && index < units.length - 1) {
    bytes /= 1000;
    index += 1;
  }
  return `${bytes < 10 && index > 0 ? bytes.toFixed(1) : Math.round(bytes)} ${units[index]}`;
}

/** Seconds in the largest unit that fits. */
export function writeDuration(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "a while";
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}
