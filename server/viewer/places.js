// Where the viewer can take a visitor: a dozen named landscapes, and any other piece of land by chance.

/** A named view: degrees north and east, tile zoom, a line about it, and two colours for its swatch. */
export const PLACES = [
  { name: "Sahara", note: "sand seas and stony plateaus", lat: 26.1, lon: 8.6, zoom: 8, colours: ["#e6c48f", "#a8763f"] },
  { name: "Amazon", note: "rivers through a sea of leaves", lat: -3.2, lon: -60.2, zoom: 9, colours: ["#4f7a3c", "#1f3d1d"] },
  { name: "Alps", note: "ice, rock and green valleys", lat: 46.52, lon: 8.05, zoom: 10, colours: ["#f2f5f8", "#5b6f52"] },
  { name: "Po valley", note: "small fields, wide river", lat: 45.05, lon: 10.4, zoom: 12, colours: ["#b7b06c", "#5f7a3c"] },
  { name: "Dutch coast", note: "dunes between polders and sea", lat: 52.3, lon: 4.55, zoom: 11, colours: ["#7fa65a", "#3e6f8f"] },
  { name: "Siberia", note: "taiga along the Lena", lat: 66.3, lon: 123.9, zoom: 9, colours: ["#6d7f57", "#2d4034"] },
  { name: "Himalaya", note: "the highest ridges", lat: 27.95, lon: 86.9, zoom: 10, colours: ["#ffffff", "#7d746b"] },
  { name: "Great Barrier Reef", note: "turquoise over coral", lat: -18.4, lon: 147.1, zoom: 9, colours: ["#7fd8d4", "#15568a"] },
  { name: "Nile delta", note: "a green fan in the desert", lat: 30.75, lon: 31.1, zoom: 9, colours: ["#7d9a4c", "#d9bd85"] },
  { name: "Iowa", note: "a chessboard of farmland", lat: 42.05, lon: -93.6, zoom: 13, colours: ["#a9b76a", "#6b6a3a"] },
  { name: "Greenland's edge", note: "where the ice ends", lat: 69.2, lon: -50.1, zoom: 9, colours: ["#eaf3fa", "#7f93a3"] },
  { name: "Open Pacific", note: "nothing but water", lat: -12, lon: -140, zoom: 6, colours: ["#2d5f96", "#0a2347"] },
];

// Boxes that are mostly land: [south, west, north, east] in degrees.
const LAND = [
  [32, -120, 60, -80], [16, -104, 30, -98], [-38, -70, -5, -45], [0, -75, 8, -52], [12, -14, 32, 34], [-30, 15, 10, 38],
  [41, -6, 53, 30], [53, 30, 68, 140], [36, 45, 52, 125], [16, 44, 30, 56], [18, 74, 32, 88], [22, 98, 40, 118],
  [-32, 118, -20, 148], [60, -158, 68, -100], [65, -50, 80, -30],
];

/** A view of some piece of land: every box is as likely as its share of the sphere, zooms 7 to 15 alike. */
export function randomPlace(random = Math.random) {
  const sine = (degrees) => Math.sin((degrees * Math.PI) / 180);
  const areas = LAND.map(([south, west, north, east]) => (sine(north) - sine(south)) * (east - west));
  let left = random() * areas.reduce((sum, area) => sum + area, 0);
  const index = Math.max(0, areas.findIndex((area) => (left -= area) <= 0));
  const [south, west, north, east] = LAND[index];
  const height = sine(south) + random() * (sine(north) - sine(south));
  return {
    lat: (Math.asin(height) * 180) / Math.PI,
    lon: west + random() * (east - west),
    zoom: 7 + Math.floor(random() * 9),
  };
}
