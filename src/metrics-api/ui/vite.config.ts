import { readFileSync } from "node:fs";
import { type Plugin, defineConfig } from "vite";

// Where the numbers come from while the page is being written: `METRICS_URL=... npm run dev`.
const server = process.env.METRICS_URL ?? "http://127.0.0.1:8010";
const paths = ["live", "kpis", "locations", "dead-letters", "streams", "metrics", "orders", "pipeline"];

// What the page carries of others, with their terms, which ask to go wherever it goes.
const carried = ["react", "react-dom", "scheduler", "uplot"];

function licences(): Plugin {
  return {
    name: "licences",
    generateBundle() {
      const texts = carried.map((name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8")}`);
      this.emitFile({ type: "asset", name: "licences.txt", source: texts.join("\n") });
    },
  };
}

export default defineConfig({
  plugins: [licences()],
  // Relative, so that a proxy may put the page under any path.
  base: "./",
  build: {
    target: "es2022",
    assetsDir: "assets",
    // Nothing inside the page itself: its policy allows neither inline scripts nor data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: Object.fromEntries(paths.map((path) => [`/${path}`, server])) },
});
