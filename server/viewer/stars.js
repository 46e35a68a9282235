// The night behind the planet: the same few hundred stars for everyone, drawn once per window size.

/** Draws the stars on a canvas that covers the window, again whenever the window changes its size. */
export function drawStars(canvas) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const draw = () => {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = Math.round(innerWidth * ratio);
    canvas.height = Math.round(innerHeight * ratio);
    const next = sequence(2568);
    for (let count = Math.round((innerWidth * innerHeight) / 2600); count > 0; count -= 1) {
      const [x, y, brightness, warmth] = [next() * canvas.width, next() * canvas.height, next() ** 5, next()];
      const radius = (0.45 + 0.95 * brightness) * ratio;
      context.globalAlpha = 0.16 + 0.7 * brightness;
      context.fillStyle = warmth < 0.2 ? "#ffdcb8" : warmth < 0.5 ? "#cfe2ff" : "#ffffff";
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  };
  draw();
  addEventListener("resize", draw);
}

// mulberry32: numbers in [0, 1) that are the same on every visit.
function sequence(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
