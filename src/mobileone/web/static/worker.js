/** Runs networks away from the page, which never waits; protocol.js says what it is asked. */
self.onmessage = ({ data }) => self.postMessage({ id: data.id, error: "No network runs here yet." });
