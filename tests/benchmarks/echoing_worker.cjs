// What the pools of echoing.mjs run: piscina takes the function that this module is, workerpool one by its name.
const { createRequire } = require("node:module");
const { join } = require("node:path");

const echo = (value) => value;
module.exports = echo;
if (process.env.ECHOING === "workerpool") {
  createRequire(join(process.env.NODE_POOLS ?? process.cwd(), "x"))("workerpool").worker({ echo });
}
