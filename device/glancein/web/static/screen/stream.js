// The line to the kiosk: server-sent events, and a watchdog that opens it again when it falls silent.
const SILENT_MS = 3500; // the kiosk's pulse comes every second
const RETRY_MS = 1000;

/**
 * Calls `heard(kind, data)` for every message and `lost()` once when the kiosk falls silent.
 * A kiosk that was started again has another boot name: then the whole page is loaded anew.
 */
export function listen(boot, heard, lost) {
  let source = null;
  let heardAt = performance.now();
  let isLost = false;
  let triedAt = 0;

  function open() {
    source?.close();
    triedAt = performance.now();
    source = new EventSource("/events");
    for (const kind of ["pulse", "sight", "answer"]) {
      source.addEventListener(kind, (event) => {
        const data = JSON.parse(event.data);
        heardAt = performance.now();
        isLost = false;
        if (kind === "pulse" && data.boot !== boot) return location.reload();
        heard(kind, data);
      });
    }
  }

  setInterval(() => {
    const now = performance.now();
    const dead = source.readyState === EventSource.CLOSED || now - heardAt > SILENT_MS;
    if (!dead) return;
    if (!isLost && now - heardAt > SILENT_MS / 2) {
      isLost = true;
      lost();
    }
    if (now - triedAt >= RETRY_MS) open();
  }, 250);
  open();
}

/** Ask the kiosk something; the answer's JSON, or null when it does not answer. */
export async function ask(path, fields) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": document.body.dataset.csrf },
      body: JSON.stringify(fields),
      signal: AbortSignal.timeout(8000),
    });
    return { ok: answer.ok, ...(await answer.json()) };
  } catch {
    return null;
  }
}
