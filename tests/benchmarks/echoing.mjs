// The same record there and back through a pool of Node: run by workers.py where node and the pools are to be had.
//
//     node echoing.mjs piscina|workerpool COUNT        (node_modules in the folder NODE_POOLS, or here)
//
// Says on stderr what echoing.py says.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL, fileURLToPath } from "node:url";

const WORKERS = 2;
const IN_FLIGHT = 64;
const record = { number: 1, name: "a/picture/of/something.png", size: 0.5, tags: ["a", "b"], done: true }; // as in echoing.py
const [kind, count] = [process.argv[2], Number(process.argv[3])];
const require = createRequire(pathToFileURL(join(process.env.NODE_POOLS ?? process.cwd(), "x")));
const worker = fileURLToPath(new URL("./echoing_worker.cjs", import.meta.url));

async function open() {
  process.env.ECHOING = kind; // for the worker's module
  if (kind === "piscina") {
    const { Piscina } = require("piscina");
    const pool = new Piscina({ filename: worker, minThreads: WORKERS, maxThreads: WORKERS });
    return [(value) => pool.run(value), () => pool.destroy()];
  }
  const workerpool = require("workerpool");
  const pool = workerpool.pool(worker, { minWorkers: WORKERS, maxWorkers: WORKERS, workerType: "process" });
  return [(value) => pool.exec("echo", [value]), () => pool.terminate()];
}

const [send, close] = await open();
await Promise.all(Array.from({ length: 4 * WORKERS }, () => send(record)));
const trips = Math.max(50, Math.floor(count / 20));
let began = process.hrtime.bigint();
for (let n = 0; n < trips; n++) await send(record);
const trip = Number(process.hrtime.bigint() - began) / 1e9 / trips;
let left = count;
began = process.hrtime.bigint();
await Promise.all(
  Array.from({ length: IN_FLIGHT }, async () => {
    while (left-- > 0) await send(record);
  }),
);
const rate = count / (Number(process.hrtime.bigint() - began) / 1e9);
await close();
console.error(JSON.stringify({ trip, rate }));
