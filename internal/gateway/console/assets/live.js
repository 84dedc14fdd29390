// Runs in a worker that all windows of a user share, and keeps one stream of new commits
// open for them. Windows send {tenant, after}, the tenant and the revision that they show,
// and null when they are hidden. They receive the newest commit of their tenant, and the
// connection's state: live, lost, or ended with the user's session.
"use strict";

const windows = new Map(); // by port
const newest = new Map(); // the newest commit, by tenant
let state = "live", stream, watched;

// The server sends a line every ten seconds.
const silence = 25000, retry = 1000, retryLater = 30000;

function join(port) {
  port.onmessage = ({ data }) => {
    if (data) windows.set(port, data); else windows.delete(port);
    if (data) port.postMessage({ state });
    const commit = data && newest.get(data.tenant);
    if (commit && commit.revision > data.after) port.postMessage({ commit });
    watch();
  };
}

function setState(now) {
  if (now === state) return;
  state = now;
  for (const port of windows.keys()) port.postMessage({ state });
}

const tenants = () => [...new Set([...windows.values()].map((w) => w.tenant))].filter(Boolean).sort();

// watch opens the stream again if the windows show other tenants.
function watch() {
  const wanted = windows.size ? tenants().join() : undefined;
  if (wanted === watched && (stream || wanted === undefined)) return;
  watched = wanted;
  stream?.abort();
  stream = undefined;
  for (const tenant of newest.keys()) if (!tenants().includes(tenant)) newest.delete(tenant);
  if (wanted !== undefined) follow(stream = new AbortController());
}

// follow keeps the stream open until another one replaces it.
async function follow(mine) {
  while (!mine.signal.aborted) {
    const pause = await receive(mine.signal);
    if (mine.signal.aborted) return;
    if (pause === undefined) { stream = undefined; return; }
    await new Promise((wake) => setTimeout(wake, pause));
  }
}

// receive receives commits until the stream ends, and returns how long to wait before the
// next one, or undefined if the session has ended.
async function receive(replaced) {
  const attempt = new AbortController();
  replaced.addEventListener("abort", () => attempt.abort());
  let timer;
  const heard = () => { clearTimeout(timer); timer = setTimeout(() => { setState("lost"); attempt.abort(); }, silence); };
  heard();
  try {
    const after = tenants().map((t) => "after=" + encodeURIComponent(`${t}@${newest.get(t)?.revision ?? Math.min(...[...windows.values()].filter((w) => w.tenant === t).map((w) => w.after))}`));
    const answer = await fetch("/-/live?" + after.join("&"), { signal: attempt.signal, redirect: "manual", cache: "no-store" });
    if (answer.type === "opaqueredirect") { setState("ended"); return undefined; }
    if (answer.status === 429) { setState("live"); return retryLater; } // the pages stay as they were loaded
    if (answer.status >= 500) { setState("lost"); return retry; }
    if (!answer.ok) return retryLater; // a tenant that this gateway does not have
    setState("live");
    await read(answer.body, heard).catch(() => {}); // it is lost if the next attempt fails
    return retry;
  } catch {
    if (!replaced.aborted) setState("lost");
    return retry;
  } finally {
    clearTimeout(timer);
  }
}

async function read(body, heard) {
  const decoder = new TextDecoder(), reader = body.getReader();
  for (let text = "";;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const lines = (text + decoder.decode(value, { stream: true })).split("\n");
    text = lines.pop();
    for (const line of lines) if (line) send(JSON.parse(line));
  }
}

function send(commit) {
  newest.set(commit.tenant, commit);
  for (const [port, shown] of windows) if (shown.tenant === commit.tenant) port.postMessage({ commit });
}

if ("onconnect" in self) self.onconnect = (event) => join(event.ports[0]);
else join(self); // a browser without shared workers
