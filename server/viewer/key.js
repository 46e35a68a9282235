// The API key of a server that asks for one: the page's own, /?key=...

const key = new URLSearchParams(location.search).get("key");

/** `address`, relative to the page, with the key if there is one. */
export function withKey(address) {
  return key === null ? address : `${address}${address.includes("?") ? "&" : "?"}key=${encodeURIComponent(key)}`;
}
